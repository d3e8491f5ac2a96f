//! What goes where, and what it must have seen.

use pgsteer_plugin_sdk::testing::{self, statement};
use pgsteer_plugin_sdk::{
    Candidate, Class, Fallback, Fresh, Needs, NodeId, NodeRole, Plugin, Reuse, Route, Routed,
    Router, Session, Spread, Statement, Traits, key,
};

use super::CausalReads;
use super::decide::UNSIGNED;
use super::settings::{KEYS, Settings};

fn plugin(json: &str) -> CausalReads {
    let mut plugin = CausalReads::configure(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    plugin.topology_changed(&testing::topology(&[
        (NodeRole::Primary, 0.5),
        (NodeRole::Replica, 1.0),
        (NodeRole::Replica, 2.0),
    ]));
    plugin
}

fn read() -> Statement {
    statement(Class::Select).with_traits(Traits::READS)
}

fn insert() -> Statement {
    statement(Class::Insert).with_traits(Traits::WRITES)
}

fn ask(plugin: &mut CausalReads, session: &Session, asked: Statement) -> Routed {
    let class = plugin.open(session).class;
    plugin.decide(&asked.with_session_class(class))
}

#[test]
fn a_write_and_a_read_of_one_user_have_the_same_key() {
    for (name, sessions) in [
        (
            "user",
            ["alice", "alice", "bob"].map(|user| testing::session(user, "shop")),
        ),
        (
            "database",
            ["shop", "shop", "news"].map(|database| testing::session("alice", database)),
        ),
        (
            "application_name",
            ["web", "web", "cron"]
                .map(|app| testing::session("alice", "shop").with_application_name(app)),
        ),
    ] {
        let json = format!(r#"{{"key": "{name}"}}"#);
        // Another instance, as in another worker.
        let [writer, reader, other] = sessions;
        let written = ask(&mut plugin(&json), &writer, insert());
        assert_eq!(written.route, Route::Primary, "{name}");
        let mut plugin = plugin(&json);
        let seen = ask(&mut plugin, &reader, read());
        assert_eq!(seen.route, Route::Balanced(Spread::Session), "{name}");
        assert_eq!(seen.keys, [written.keys[0], UNSIGNED], "{name}");
        assert_ne!(
            ask(&mut plugin, &other, read()).keys[0],
            seen.keys[0],
            "{name}"
        );
        assert_eq!(plugin.needs(), Needs::none());
    }
}

#[test]
fn what_a_keyed_read_asks_for() {
    let mut plugin = plugin(r#"{"wait_ms": 50, "spread": "statement"}"#);
    let answer = ask(&mut plugin, &testing::session("alice", "shop"), read());
    assert_eq!(answer.route, Route::Balanced(Spread::Statement));
    assert_eq!(answer.limits.fresh, Fresh::KEYS);
    assert_eq!(answer.limits.otherwise, Fallback::Another);
    assert_eq!(answer.limits.wait_ms, 50);
    assert_eq!(answer.reuse, Reuse::Statement);
    assert!(plugin.explain(answer.reason).contains("under its key"));
}

#[test]
fn keys_from_comments() {
    let mut plugin = plugin(r#"{"key": "comment:tenant"}"#);
    assert_eq!(plugin.needs(), Needs::none().sql());
    let session = testing::session("alice", "shop");
    for text in [
        "SELECT 1 /* tenant='42' */",
        "/* tenant='42', x='1' */ SELECT 1",
        "SELECT 1 -- tenant: 42",
    ] {
        let answer = ask(&mut plugin, &session, read().with_sql(text));
        assert_eq!(answer.keys, [key("42"), UNSIGNED], "{text}");
        let written = ask(&mut plugin, &session, insert().with_sql(text));
        assert_eq!(written.keys, [key("42")], "{text}");
    }
    let unsigned = ask(
        &mut plugin,
        &session,
        insert().with_sql("INSERT INTO t VALUES (1)"),
    );
    assert_eq!(unsigned.keys, [UNSIGNED], "everybody sees it");
}

#[test]
fn keys_from_parameters() {
    let mut plugin = plugin(r#"{"key": "parameter:2"}"#);
    assert_eq!(plugin.needs(), Needs::none().values());
    let session = testing::session("alice", "shop");
    let bound = read().with_value(Some("x")).with_value(Some("42"));
    assert_eq!(ask(&mut plugin, &session, bound).keys[0], key("42"));
    let parsed = |asked: Statement| asked.with_traits(Traits::VALUES_UNKNOWN);
    assert_eq!(
        ask(&mut plugin, &session, parsed(read())).route,
        Route::Abstain
    );
    assert_eq!(
        ask(&mut plugin, &session, parsed(insert())).route,
        Route::Primary
    );
    for without in [
        read(),
        read().with_value(Some("42")),
        read().with_value(Some("x")).with_value(None),
        read().with_value(Some("x")).with_binary_value(&[0, 42]),
    ] {
        let answer = ask(&mut plugin, &session, without);
        assert_eq!(answer.limits.fresh, Fresh::SESSION);
        assert_eq!(answer.keys, []);
    }
}

#[test]
fn reads_without_a_key() {
    for (word, route, fresh) in [
        ("session", Route::Balanced(Spread::Session), Fresh::SESSION),
        (
            "database",
            Route::Balanced(Spread::Session),
            Fresh::DATABASE,
        ),
        ("primary", Route::Primary, Fresh::ANY),
    ] {
        let json = format!(r#"{{"key": "application_name", "without_key": "{word}"}}"#);
        let mut plugin = plugin(&json);
        let answer = ask(&mut plugin, &testing::session("alice", "shop"), read());
        assert_eq!(
            (answer.route, answer.limits.fresh),
            (route, fresh),
            "{word}"
        );
    }
}

#[test]
fn what_is_no_plain_read_goes_to_the_primary() {
    let mut plugin = plugin("{}");
    let session = testing::session("alice", "shop");
    for traits in [
        Traits::WRITES,
        Traits::LOCKING,
        Traits::VOLATILE_FUNCTION,
        Traits::UNKNOWN_FUNCTION,
        Traits::SEVERAL,
        Traits::TEMPORARY,
        Traits::UNKNOWN_RELATION,
        Traits::SERIALIZABLE,
        Traits::REPEATABLE_READ,
        Traits::TRANSACTION_WROTE,
    ] {
        let answer = ask(&mut plugin, &session, read().with_traits(traits));
        assert_eq!(answer.route, Route::Primary, "{traits:?}");
        assert_eq!(answer.keys.len(), 1, "{traits:?}");
    }
    let unproven = ask(&mut plugin, &session, statement(Class::Select));
    assert_eq!(unproven.route, Route::Primary);
    let snapshot = Traits::REPEATABLE_READ | Traits::TRANSACTION_READ_ONLY;
    let answer = ask(&mut plugin, &session, read().with_traits(snapshot));
    assert_eq!(answer.route, Route::Balanced(Spread::Session));
    for class in [
        Class::TransactionControl,
        Class::SessionSetting,
        Class::Show,
        Class::Empty,
    ] {
        assert_eq!(
            ask(&mut plugin, &session, statement(class)).route,
            Route::Abstain
        );
    }
    for class in [Class::Execute, Class::Call, Class::Schema, Class::Unknown] {
        assert_eq!(
            ask(&mut plugin, &session, statement(class)).route,
            Route::Primary
        );
    }
}

#[test]
fn the_primary_has_the_weight_it_is_given() {
    let weights = |json: &str| {
        let opening = plugin(json).open(&testing::session("alice", "shop"));
        opening.candidates
    };
    let drawn = |node, weight| Candidate {
        node: NodeId(node),
        weight,
    };
    assert_eq!(weights("{}"), [drawn(0, 0.5), drawn(1, 1.0), drawn(2, 2.0)]);
    let none = r#"{"primary_weight": 0}"#;
    assert_eq!(weights(none), [drawn(0, 0.0), drawn(1, 1.0), drawn(2, 2.0)]);
}

#[test]
fn configuration_errors_name_key_value_and_what_is_allowed() {
    for (json, words) in [
        (r#"{"key": "tenant"}"#, ["key", "tenant", "comment:NAME"]),
        (
            r#"{"key": "comment:"}"#,
            ["key", "comment:", "comment:NAME"],
        ),
        (
            r#"{"key": "parameter:0"}"#,
            ["key", "parameter:0", "NUMBER"],
        ),
        (r#"{"wait_ms": 10001}"#, ["wait_ms", "10001", "10000"]),
        (r#"{"without_key": "no"}"#, ["without_key", "no", "session"]),
        (
            r#"{"primary_weight": -1}"#,
            ["primary_weight", "-1", "from 0"],
        ),
        (r#"{"wait": 1}"#, ["wait", "1", KEYS[2]]),
    ] {
        let error = Settings::from_json(json).err().unwrap_or_default();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{json}: {error:?}"
        );
    }
}
