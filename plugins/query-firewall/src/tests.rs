//! Rules, orders, and what they cost those they are not about.

use pgsteer_plugin_sdk::testing::{self, statement};
use pgsteer_plugin_sdk::{
    Class, Needs, NodeId, NodeRole, Operator, Plugin, Reuse, Route, Router, Session, Spread,
    Statement, Traits, kv,
};

use super::QueryFirewall;

fn plugin(json: &str) -> QueryFirewall {
    let mut plugin = QueryFirewall::configure(json).unwrap_or_else(|e| panic!("{json}: {e}"));
    plugin.topology_changed(&testing::topology(&[
        (NodeRole::Primary, 1.0),
        (NodeRole::Replica, 1.0),
    ]));
    plugin
}

fn session() -> Session {
    testing::session("alice", "shop").with_application_name("web")
}

fn read(fingerprint: u64) -> Statement {
    let read = statement(Class::Select).with_traits(Traits::READS);
    read.with_fingerprint(fingerprint).with_sql("SELECT 1")
}

fn ask(plugin: &mut QueryFirewall, session: &Session, asked: Statement) -> Route {
    let class = plugin.open(session).class;
    plugin.decide(&asked.with_session_class(class)).route
}

/// In words: the SQLSTATE of a refusal.
fn route(plugin: &mut QueryFirewall, asked: Statement) -> String {
    match ask(plugin, &session(), asked) {
        Route::Reject(rejection) => rejection.sqlstate,
        Route::Abstain => String::new(),
        other => format!("{other:?}"),
    }
}

fn tell(plugin: &mut QueryFirewall, text: &str) -> String {
    plugin
        .command(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn an_order_holds_in_all_workers_until_it_is_taken_back() {
    let (mut here, mut there) = (plugin("{}"), plugin("{}"));
    let said = tell(&mut here, "block 7 because it scans everything");
    assert_eq!(said, "7: block because it scans everything (not seen yet)");
    let answer = there.decide(&read(7));
    let Route::Reject(rejection) = answer.route else {
        panic!("{answer:?}")
    };
    assert_eq!(rejection.sqlstate, "42501");
    assert_eq!(
        rejection.message,
        "this statement is blocked: it scans everything"
    );
    assert!(rejection.hint.is_some_and(|hint| hint.contains("order 7")));
    assert_eq!(there.explain(answer.reason), "blocked");
    assert_eq!(answer.reuse, Reuse::Never, "each is counted");
    assert_eq!(route(&mut there, read(8)), "");
    assert_eq!(tell(&mut there, "unblock 7"), "statement 7 runs as usual");
    assert_eq!(route(&mut here, read(7)), "");
    assert!(here.command("unblock 7").is_err());
}

#[test]
fn what_no_rule_concerns_is_remembered() {
    let mut plugin = plugin(r#"{"rules": [{"class": "delete", "action": "block"}]}"#);
    tell(&mut plugin, "throttle 7 to 1/s");
    let _ = testing::looked_at();
    let answer = plugin.decide(&read(8));
    assert_eq!(
        (answer.route, answer.reuse),
        (Route::Abstain, Reuse::Statement)
    );
    assert_eq!(testing::looked_at(), ["kv"], "not the clock");
}

#[test]
fn an_order_ends_by_itself() {
    let mut plugin = plugin("{}");
    tell(&mut plugin, "block 7 for 10min because of a bug");
    testing::set_clock_ms(599_999);
    assert_eq!(route(&mut plugin, read(7)), "42501");
    testing::set_clock_ms(600_000);
    assert_eq!(route(&mut plugin, read(7)), "");
    assert_eq!(
        tell(&mut plugin, "list"),
        "nothing is blocked, throttled or rerouted"
    );
}

#[test]
fn a_bucket_is_shared_and_fills_up() {
    let (mut here, mut there) = (plugin("{}"), plugin("{}"));
    tell(&mut here, "throttle 7 to 2/s");
    assert_eq!(route(&mut here, read(7)), "");
    assert_eq!(route(&mut there, read(7)), "");
    assert_eq!(route(&mut here, read(7)), "53000");
    assert_eq!(route(&mut there, read(7)), "53000");
    testing::set_clock_ms(499);
    assert_eq!(route(&mut here, read(7)), "53000");
    testing::set_clock_ms(500);
    assert_eq!(route(&mut there, read(7)), "");
    assert_eq!(route(&mut here, read(7)), "53000");
    testing::set_clock_ms(100_000);
    let passed = (0..10).filter(|_| route(&mut here, read(7)).is_empty());
    assert_eq!(passed.count(), 2, "no more than fits in");
}

#[test]
fn rates() {
    for (rate, passed) in [("0/s", 0), ("90/min", 1), ("1/min", 1), ("600/s", 600)] {
        testing::reset();
        let mut plugin = plugin("{}");
        tell(&mut plugin, &format!("throttle 7 to {rate}"));
        let through = (0..1_000).filter(|_| route(&mut plugin, read(7)).is_empty());
        assert_eq!(through.count(), passed, "{rate}");
    }
}

#[test]
fn reroutes() {
    let mut plugin = plugin("{}");
    let write = statement(Class::Update)
        .with_traits(Traits::WRITES)
        .with_fingerprint(7);
    for (target, of_read, of_write) in [
        ("primary", Route::Primary, Route::Primary),
        (
            "replicas",
            Route::Balanced(Spread::Statement),
            Route::Abstain,
        ),
        ("node 1", Route::Node(NodeId(1)), Route::Abstain),
    ] {
        tell(&mut plugin, &format!("reroute 7 to {target}"));
        assert_eq!(ask(&mut plugin, &session(), read(7)), of_read, "{target}");
        assert_eq!(
            ask(&mut plugin, &session(), write.clone()),
            of_write,
            "{target}"
        );
    }
    let opening = plugin.open(&session());
    assert_eq!(opening.candidates.len(), 1, "replicas only");
    plugin.topology_changed(&testing::topology(&[(NodeRole::Primary, 1.0)]));
    tell(&mut plugin, "reroute 7 to replicas");
    assert_eq!(
        ask(&mut plugin, &session(), read(7)),
        Route::Abstain,
        "there are none"
    );
}

#[test]
fn each_condition_counts() {
    let asked = read(7)
        .with_sql("  SELECT pg_sleep(1) FROM Audit.log")
        .with_relation(Some("audit"), "log", false)
        .with_function(None, "pg_sleep");
    for (condition, fits) in [
        (r#""fingerprint": "7""#, true),
        (r#""fingerprint": 8"#, false),
        (r#""class": "select""#, true),
        (r#""class": "copy""#, false),
        (r#""relation": "log""#, true),
        (r#""relation": "audit.log""#, true),
        (r#""relation": "public.log""#, false),
        (r#""function": "pg_sleep""#, true),
        (r#""function": "pg_catalog.pg_sleep""#, true),
        (r#""function": "now""#, false),
        (r#""user": "alice""#, true),
        (r#""user": "bob""#, false),
        (r#""application_name": "web""#, true),
        (r#""application_name": "cron""#, false),
        (r#""user": "alice", "application_name": "cron""#, false),
        (r#""begins": "select PG_SLEEP""#, true),
        (r#""begins": "pg_sleep""#, false),
        (r#""contains": "from audit""#, true),
        (r#""contains": "where""#, false),
        (r#""class": "select", "user": "bob""#, false),
    ] {
        // One before it that is about other sessions: each has a bit of its own.
        let json = format!(
            r#"{{"rules": [{{"user": "nobody", "action": "reroute", "to": "primary"}},
                {{{condition}, "action": "block"}}]}}"#
        );
        let mut plugin = plugin(&json);
        assert_eq!(
            route(&mut plugin, asked.clone()) == "42501",
            fits,
            "{condition}"
        );
    }
}

#[test]
fn a_rule_by_class_is_not_evaded_by_what_stands_around_it() {
    let rule = r#""class": "delete", "relation": "audit.log", "action": "block""#;
    let mut plugin = plugin(&format!(r#"{{"rules": [{{{rule}}}]}}"#));
    let of = |class| statement(class).with_fingerprint(7);
    let audit = |class, written| of(class).with_relation(Some("audit"), "log", written);
    for (asked, is_blocked) in [
        (audit(Class::Delete, true), true),
        (
            audit(Class::Select, true).with_traits(Traits::SEVERAL),
            true,
        ),
        (of(Class::Select).with_traits(Traits::SEVERAL), false),
        (audit(Class::Select, true), true),
        (audit(Class::Explain, true), true),
        (audit(Class::Merge, true), true),
        (
            audit(Class::Insert, true).with_relation(None, "copies", true),
            true,
        ),
        (audit(Class::Select, false), false),
        (audit(Class::Insert, true), false),
        (
            audit(Class::Insert, true).with_relation(None, "sources", false),
            false,
        ),
        (audit(Class::Schema, true), false),
        (of(Class::Select).with_relation(None, "others", true), false),
    ] {
        let shown = format!("{asked:?}");
        assert_eq!(route(&mut plugin, asked) == "42501", is_blocked, "{shown}");
    }
}

#[test]
fn a_rule_about_the_text_is_not_evaded_by_a_long_one() {
    let json = r#"{"rules": [{"contains": "audit", "action": "block"},
        {"begins": "vacuum", "class": "utility", "action": "block"}]}"#;
    let mut plugin = plugin(json);
    let long = statement(Class::Select).with_traits(Traits::TEXT_WITHHELD);
    assert_eq!(route(&mut plugin, long), "42501");
    assert_eq!(route(&mut plugin, read(7)), "");
}

#[test]
fn the_counter_of_an_order_does_not_outlive_it() {
    let mut plugin = plugin("{}");
    for id in 0..10 {
        tell(&mut plugin, &format!("block {id} for 10min"));
        assert_eq!(route(&mut plugin, read(id)), "42501");
    }
    tell(&mut plugin, "block 77");
    assert_eq!(route(&mut plugin, read(77)), "42501");
    assert_eq!(kv::keys("hits:").len(), 11);
    testing::set_clock_ms(600_000);
    assert_eq!(kv::keys(""), ["hits:order 77", "order:77"]);
}

#[test]
fn only_what_rules_are_about_is_asked_for() {
    for (condition, needs) in [
        (r#""class": "select""#, Needs::none()),
        (r#""relation": "t""#, Needs::none().relations()),
        (r#""function": "f""#, Needs::none().functions()),
        (
            r#""contains": "x", "relation": "t""#,
            Needs::none().sql().relations(),
        ),
    ] {
        let json = format!(r#"{{"rules": [{{{condition}, "action": "block"}}]}}"#);
        assert_eq!(plugin(&json).needs(), needs, "{condition}");
    }
}

#[test]
fn log_only_changes_nothing() {
    let json = r#"{"log_only": true, "rules": [{"class": "select", "action": "block"}]}"#;
    let mut plugin = plugin(json);
    for _ in 0..5 {
        assert_eq!(route(&mut plugin, read(7)), "");
    }
    let lines = testing::logged();
    assert_eq!(lines.len(), 3, "at 1, 2 and 4: {lines:?}");
    assert!(
        lines[0].contains("rule 1: would block, statement 7"),
        "{lines:?}"
    );
}

#[test]
fn the_list_has_orders_and_rules_and_counts() {
    let json =
        r#"{"rules": [{"class": "copy", "action": "throttle", "to": "5/s", "because": "load"}]}"#;
    let mut plugin = plugin(json);
    tell(&mut plugin, "reroute 0xff to node 1 for 2h");
    for _ in 0..9 {
        route(&mut plugin, read(255));
    }
    let expected = "255: reroute to node 1 for 2h (seen at least 8 times)\n\
                    rule 1: throttle to 5/s because load (not seen yet)";
    assert_eq!(tell(&mut plugin, "list"), expected);
    assert_eq!(tell(&mut plugin, "clear"), "1 orders are taken back");
    assert!(!tell(&mut plugin, "list").contains("255"));
    assert!(tell(&mut plugin, "help").contains("throttle"));
    assert!(tell(&mut plugin, "block -1").starts_with("18446744073709551615: block"));
}

#[test]
fn what_is_no_command_is_said_so() {
    let mut plugin = plugin("{}");
    for text in [
        "",
        "block",
        "block x",
        "block 7 for",
        "block 7 for 10",
        "block 7 to 5/s",
        "throttle 7",
        "throttle 7 to 5",
        "reroute 7 to mars",
        "reroute 7 to node x",
        "unblock",
        "drop 7",
    ] {
        assert!(plugin.command(text).is_err(), "{text}");
    }
}

#[test]
fn configuration_errors_name_the_rule_and_what_is_allowed() {
    for (rules, words) in [
        (r#"{"class": "select"}"#, ["rule 1", "action must be", ""]),
        (r#"{"action": "block"}"#, ["rule 1", "no condition", ""]),
        (
            r#"{"class": "x", "action": "block"}"#,
            ["class", "\"x\"", "delete"],
        ),
        (
            r#"{"class": "copy", "action": "throttle"}"#,
            ["rule 1", "action must be", "5/s"],
        ),
        (
            r#"{"class": "copy", "action": "block", "to": "x"}"#,
            ["to", "\"x\"", "node NUMBER"],
        ),
        (
            r#"{"table": "t", "action": "block"}"#,
            ["table", "\"t\"", "relation"],
        ),
        (
            r#"{"fingerprint": "z", "action": "block"}"#,
            ["fingerprint", "\"z\"", "must be"],
        ),
    ] {
        let json = format!(r#"{{"rules": [{rules}]}}"#);
        let error = QueryFirewall::configure(&json).err().unwrap_or_default();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{json}: {error:?}"
        );
    }
}
