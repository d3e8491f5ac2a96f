//! The switch, and what it does to sessions and statements.

use pgsteer_plugin_sdk::testing::{self, statement};
use pgsteer_plugin_sdk::{
    Admitted, Class, Gatekeeper, Operator, Plugin, Reuse, Route, Router, Statement, Traits,
};

use super::Maintenance;

fn plugin(json: &str) -> Maintenance {
    Maintenance::configure(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The SQLSTATE and the message of a refusal.
fn admit(plugin: &mut Maintenance, user: &str) -> Option<(String, String)> {
    match plugin.admit(&testing::session(user, "shop")) {
        Admitted::Admit(_) => None,
        Admitted::Refuse(rejection) => Some((rejection.sqlstate, rejection.message)),
    }
}

fn route(plugin: &mut Maintenance, user: &str, asked: Statement) -> Option<String> {
    let class = plugin.open(&testing::session(user, "shop")).class;
    let answer = plugin.decide(&asked.with_session_class(class));
    assert_eq!(answer.reuse, Reuse::Statement);
    match answer.route {
        Route::Abstain => None,
        Route::Reject(rejection) => Some(rejection.sqlstate),
        other => panic!("{other:?}"),
    }
}

fn read() -> Statement {
    statement(Class::Select).with_traits(Traits::READS)
}

fn insert() -> Statement {
    statement(Class::Insert).with_traits(Traits::WRITES)
}

#[test]
fn closed_to_all_but_some() {
    let mut here = plugin(r#"{"allow_users": ["dba"]}"#);
    let mut there = plugin(r#"{"allow_users": ["dba"]}"#);
    assert_eq!(admit(&mut here, "alice"), None);
    let answer = here.command("on because we move to new disks");
    assert_eq!(
        answer.as_deref(),
        Ok("maintenance is on: we move to new disks")
    );
    let refused = admit(&mut there, "alice").expect("the other worker knows too");
    assert_eq!(refused.0, "57P03");
    assert_eq!(refused.1, "closed for maintenance: we move to new disks");
    assert_eq!(admit(&mut there, "dba"), None);
    assert_eq!(route(&mut there, "alice", read()).as_deref(), Some("57P03"));
    assert_eq!(route(&mut there, "dba", insert()), None);
    let under_way = insert().with_traits(Traits::IN_TRANSACTION);
    assert_eq!(route(&mut there, "alice", under_way), None);
    let begin = statement(Class::TransactionControl);
    assert_eq!(route(&mut there, "alice", begin).as_deref(), Some("57P03"));
    assert_eq!(there.command("off").as_deref(), Ok("maintenance is off"));
    assert_eq!(admit(&mut here, "alice"), None);
    assert_eq!(route(&mut here, "alice", insert()), None);
}

#[test]
fn only_writes_are_refused() {
    let mut plugin = plugin("{}");
    plugin.command("on read-only").expect("a command");
    assert_eq!(admit(&mut plugin, "alice"), None);
    let refused = Some("25006".to_owned());
    let reading = |class| statement(class).with_traits(Traits::READS);
    for (asked, expected) in [
        (read(), None),
        (reading(Class::Copy), None),
        (reading(Class::Execute), None),
        (reading(Class::Explain), None),
        (statement(Class::Cursor), None),
        (statement(Class::TransactionControl), None),
        (statement(Class::SessionSetting), None),
        (statement(Class::Show), None),
        (insert(), refused.clone()),
        (
            insert().with_traits(Traits::IN_TRANSACTION),
            refused.clone(),
        ),
        (read().with_traits(Traits::LOCKING), refused.clone()),
        (
            read().with_traits(Traits::VOLATILE_FUNCTION),
            refused.clone(),
        ),
        (statement(Class::Select), refused.clone()),
        (statement(Class::Execute), refused.clone()),
        (statement(Class::Schema), refused.clone()),
        (statement(Class::Call), refused.clone()),
        (statement(Class::Utility), refused.clone()),
        (statement(Class::Unknown), refused.clone()),
    ] {
        let shown = format!("{:?} {:?}", asked.class, asked.traits);
        assert_eq!(route(&mut plugin, "alice", asked), expected, "{shown}");
    }
    let mut lenient = self::plugin(r#"{"allow_volatile_functions": true}"#);
    let volatile = read().with_traits(Traits::VOLATILE_FUNCTION);
    assert_eq!(route(&mut lenient, "alice", volatile), None);
}

#[test]
fn a_view_that_calls_what_may_write_is_refused() {
    let view = || read().with_traits(Traits::THROUGH_VIEW);
    let mut strict = plugin(r#"{"default": "read-only"}"#);
    assert_eq!(
        route(&mut strict, "alice", view()).as_deref(),
        Some("25006")
    );
    let json = r#"{"default": "read-only", "allow_volatile_functions": true}"#;
    assert_eq!(route(&mut plugin(json), "alice", view()), None);
}

#[test]
fn what_is_configured_holds_until_a_command() {
    let mut plugin = plugin(r#"{"default": "read-only", "because": "a restore"}"#);
    let status = plugin.command("status");
    assert_eq!(
        status.as_deref(),
        Ok("maintenance is read-only: a restore (as configured)")
    );
    assert_eq!(
        route(&mut plugin, "alice", insert()).as_deref(),
        Some("25006")
    );
    plugin.command("off").expect("a command");
    assert_eq!(route(&mut plugin, "alice", insert()), None);
}

#[test]
fn it_ends_by_itself() {
    let mut plugin = plugin("{}");
    let answer = plugin.command("on for 10min because of a backup");
    assert!(answer.is_ok_and(|text| text.ends_with("(for 10min)")));
    testing::set_clock_ms(599_999);
    assert!(admit(&mut plugin, "alice").is_some());
    testing::set_clock_ms(600_000);
    assert_eq!(admit(&mut plugin, "alice"), None);
    assert_eq!(testing::looked_at(), ["kv"], "answers are remembered");
}

#[test]
fn what_is_no_command_is_said_so() {
    let mut plugin = plugin("{}");
    for text in [
        "",
        "onn",
        "on read only",
        "on for",
        "on for 10",
        "on for 0s",
        "off now",
    ] {
        assert!(plugin.command(text).is_err(), "{text}");
    }
    let status = plugin.command(" status ");
    assert_eq!(status.as_deref(), Ok("maintenance is off (as configured)"));
    assert!(
        plugin
            .command("help")
            .is_ok_and(|text| text.contains("read-only"))
    );
}

#[test]
fn configuration_errors_name_key_value_and_what_is_allowed() {
    for (json, words) in [
        (r#"{"default": "maybe"}"#, ["default", "maybe", "read-only"]),
        (r#"{"allow_users": "dba"}"#, ["allow_users", "dba", "list"]),
        (r#"{"users": []}"#, ["users", "[]", "allow_users"]),
    ] {
        let error = Maintenance::configure(json).err().unwrap_or_default();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{json}: {error:?}"
        );
    }
}
