//! The lists of names and texts, by the rows that were measured on Pgpool-II, and the switches that
//! come with them.

use pgsteer_plugin_sdk::testing::{self, statement};
use pgsteer_plugin_sdk::{
    Candidate, Class, Fallback, Fresh, Limits, NodeRole, Plugin, Route, Router, Spread, Statement,
    Traits,
};

use super::{KEYS, Parameters, PgpoolRouter};

const LB: Route = Route::Balanced(Spread::Session);
const P: Route = Route::Primary;

fn router(json: &str) -> PgpoolRouter {
    PgpoolRouter::configure(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn calling(function: &str) -> Statement {
    let read = statement(Class::Select).with_traits(Traits::READS);
    match function.split_once('.') {
        Some((schema, name)) => read.with_function(Some(schema), name),
        None => read.with_function(None, function),
    }
}

/// T4 and T5 of the measured cases; `v` marks a volatile function.
#[test]
fn function_lists() {
    let write = r#"{"write_function_list": "fs,r.*""#;
    let read = r#"{"read_only_function_list": "s2\\..*,now,nextval""#;
    let exact = r#", "compatibility": "exact""#;
    let rows = [
        (write, "", "fs", P),
        (write, "", "public.fs", LB),
        (write, "", "FS", P),
        (write, "", "random v", P),
        // The defect D7: the list switches the look at the catalog off.
        (write, "", "fv v", P),
        (write, exact, "fv v", LB),
        (read, "", "s2.fs", LB),
        (read, "", "fs", P),
        (read, "", "pg_catalog.now", P),
        (read, "", "now", LB),
        (read, "", "count", P),
        (read, "", "nextval v", LB),
        (read, exact, "nextval v", LB),
    ];
    for (list, more, function, expected) in rows {
        let json = format!("{list}{more}}}");
        let (name, volatile) = match function.strip_suffix(" v") {
            Some(name) => (name, Traits::VOLATILE_FUNCTION | Traits::VOLATILE_NAME),
            None => (function, Traits::empty()),
        };
        let asked = calling(name).with_traits(volatile);
        assert_eq!(
            router(&json).decide(&asked).route,
            expected,
            "{json}: {function}"
        );
    }
    let needs = |json| router(json).needs();
    assert_ne!(needs("{}"), needs(r#"{"write_function_list": "f"}"#));
}

/// T6.
#[test]
fn patterns() {
    let json = r#"{"primary_routing_query_pattern_list": "SELECT 1\\;;.*from t1.*"}"#;
    for (text, expected) in [
        ("SELECT 1;", P),
        ("SELECT 1 ;", LB),
        ("select 1;", P),
        ("SELECT  1;", LB),
        ("SELECT \"i\" FROM \"t1\";", P),
        ("SELECT i\nFROM t1", P),
        ("SELECT 2", LB),
    ] {
        let read = statement(Class::Select).with_traits(Traits::READS);
        let asked = read.with_sql(text);
        assert_eq!(router(json).decide(&asked).route, expected, "{text}");
    }
}

fn shares(json: &str, user: &str, database: &str, application: &str) -> Vec<(u32, f64)> {
    let mut router = router(json);
    let nodes = [
        (NodeRole::Primary, 1.0),
        (NodeRole::Replica, 1.0),
        (NodeRole::Replica, 3.0),
    ];
    router.topology_changed(&testing::topology(&nodes));
    let session = testing::session(user, database).with_application_name(application);
    let opening = router.open(&session);
    let shares = |c: &Candidate| (c.node.0, c.weight);
    opening.candidates.iter().map(shares).collect()
}

/// T7: what a preference means for the nodes reads are drawn from.
#[test]
fn redirects() {
    let all = vec![(0, 1.0), (1, 1.0), (2, 3.0)];
    let rows = [
        ("test:primary", "", vec![(0, 1.0), (1, 0.0), (2, 0.0)]),
        ("test:standby", "", vec![(1, 0.25), (2, 0.75), (0, 0.0)]),
        (
            "test:standby(0.5)",
            "",
            vec![(1, 0.125), (2, 0.375), (0, 0.5)],
        ),
        ("test:1(0.6)", "", vec![(1, 0.6), (0, 0.1), (2, 0.3)]),
        ("test:1(0.0)", "", vec![(1, 0.0), (0, 0.25), (2, 0.75)]),
        ("TEST:PRIMARY", "", vec![(0, 1.0), (1, 0.0), (2, 0.0)]),
        // Read as the number 0 by Pgpool-II, which surprises everybody.
        ("test:Standby", "", vec![(1, 0.25), (2, 0.75), (0, 0.0)]),
        ("test:Standby", "exact", vec![(0, 1.0), (1, 0.0), (2, 0.0)]),
        ("test:5", "", vec![(0, 1.0), (1, 0.0), (2, 0.0)]),
        ("tes:1", "", all.clone()),
        ("postgres:0,test:1", "", vec![(1, 1.0), (0, 0.0), (2, 0.0)]),
        ("postgres:0, test:1", "", vec![(1, 1.0), (0, 0.0), (2, 0.0)]),
        ("postgres:0, test:1", "exact", all.clone()),
        ("t.*:2", "", vec![(2, 1.0), (0, 0.0), (1, 0.0)]),
    ];
    for (list, compatibility, expected) in rows {
        let more = if compatibility.is_empty() {
            "safe"
        } else {
            compatibility
        };
        let json = format!(
            r#"{{"database_redirect_preference_list": "{list}", "compatibility": "{more}"}}"#
        );
        let found = shares(&json, "alice", "test", "psql");
        let close = |(a, b): (&(u32, f64), &(u32, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9;
        let same = found.len() == expected.len() && found.iter().zip(&expected).all(close);
        assert!(same, "{json}: {found:?}, expected {expected:?}");
    }
}

/// T8: a later list overrides an earlier one.
#[test]
fn redirects_by_application_database_and_user() {
    let json = r#"{"database_redirect_preference_list": "test:0",
        "app_name_redirect_preference_list": "psql:1", "user_redirect_preference_list": "app:2"}"#;
    let first = |user, database, application| shares(json, user, database, application)[0].0;
    assert_eq!(first("app", "test", "psql"), 1);
    assert_eq!(first("app", "test", "other"), 0);
    assert_eq!(first("app", "test", ""), 0);
    assert_eq!(first("app", "other", "other"), 2);
}

#[test]
fn relations_that_need_the_primary() {
    let read = |traits| statement(Class::Select).with_traits(Traits::READS | traits);
    let copy = |traits| statement(Class::Copy).with_traits(Traits::READS | traits);
    let exact = r#"{"compatibility": "exact"}"#;
    let rows = [
        ("{}", read(Traits::UNLOGGED), P),
        (
            r#"{"check_unlogged_table": false}"#,
            read(Traits::UNLOGGED),
            LB,
        ),
        ("{}", read(Traits::UNKNOWN_RELATION), P),
        ("{}", read(Traits::THROUGH_VIEW), P),
        (exact, read(Traits::THROUGH_VIEW), LB),
        ("{}", read(Traits::TEMPORARY), P),
        (
            r#"{"check_temp_table": "none"}"#,
            read(Traits::TEMPORARY),
            LB,
        ),
        ("{}", read(Traits::TEMPORARY_NAME), LB),
        (exact, read(Traits::TEMPORARY_NAME), P),
        // The defect D6: COPY is not looked at.
        ("{}", copy(Traits::CATALOG), P),
        (exact, copy(Traits::CATALOG), LB),
        (exact, read(Traits::CATALOG), P),
    ];
    for (json, asked, expected) in rows {
        let answer = router(json).decide(&asked);
        assert_eq!(answer.route, expected, "{json}: {:?}", asked.traits);
    }
}

#[test]
fn a_savepoint_clears_the_flag_in_pgpool_only() {
    let back = statement(Class::TransactionControl)
        .with_traits(Traits::IN_TRANSACTION | Traits::SAVEPOINT | Traits::ROLLBACK_TO);
    let cleared = |json| router(json).decide(&back).marks.clear_transaction;
    assert_eq!(cleared("{}"), 0);
    assert_eq!(cleared(r#"{"compatibility": "exact"}"#), 1);
}

#[test]
fn reads_of_written_relations() {
    let read = statement(Class::Select)
        .with_traits(Traits::READS | Traits::IN_TRANSACTION | Traits::WRITTEN_RELATION);
    let other = statement(Class::Select)
        .with_traits(Traits::READS | Traits::IN_TRANSACTION | Traits::TRANSACTION_WROTE);
    for mode in ["dml_adaptive", "dml_adaptive_global"] {
        let json = format!(
            r#"{{"disable_load_balance_on_write": "{mode}",
                "dml_adaptive_object_relationship_list": "t1:V1,f():t3, s.t2:v2"}}"#
        );
        let mut router = router(&json);
        assert_eq!(router.decide(&read).route, P, "{mode}");
        assert_eq!(router.decide(&other).route, LB, "{mode}");
        let insert = statement(Class::Insert).with_traits(Traits::WRITES);
        let insert = insert
            .with_relation(None, "T1", true)
            .with_function(None, "f");
        assert_eq!(router.decide(&insert).also_writes, ["v1", "t3"], "{mode}");
        let insert = statement(Class::Insert).with_traits(Traits::WRITES);
        let insert = insert.with_relation(Some("other"), "t2", true);
        assert!(router.decide(&insert).also_writes.is_empty(), "{mode}");
    }
}

#[test]
fn what_a_replica_must_keep() {
    let limits = |json| {
        let read = statement(Class::Select).with_traits(Traits::READS);
        router(json).decide(&read).limits
    };
    let session = Limits {
        fresh: Fresh::SESSION,
        otherwise: Fallback::Another,
        ..Limits::default()
    };
    assert_eq!(limits("{}"), session);
    let off = Limits {
        otherwise: Fallback::Primary,
        ..Limits::default()
    };
    assert_eq!(limits(r#"{"compatibility": "exact"}"#), off);
    let global = Limits {
        fresh: Fresh::SESSION.and(Fresh::DATABASE),
        ..session
    };
    assert_eq!(limits(r#"{"read_your_writes": "global"}"#), global);
    let late = Limits {
        wait_ms: 0,
        fresh: Fresh::ANY,
        otherwise: Fallback::LeastLag,
        lag_bytes: 1000,
        lag_ms: 250,
    };
    let json = r#"{"read_your_writes": "off", "delay_threshold": 1000,
        "delay_threshold_by_time": 250, "prefer_lower_delay_standby": true}"#;
    assert_eq!(limits(json), late);
    let adaptive = Limits {
        fresh: Fresh::SESSION.and(Fresh::RELATIONS),
        ..session
    };
    let json = r#"{"disable_load_balance_on_write": "dml_adaptive_global"}"#;
    assert_eq!(limits(json), adaptive);
}

#[test]
fn every_answer_has_a_rule_in_words() {
    let mut router = router("{}");
    for class in 0..=21 {
        let answer = router.decide(&statement(Class::from_code(class)));
        assert!(!router.explain(answer.reason).is_empty(), "class {class}");
    }
    assert_eq!(router.explain(u32::MAX), "");
}

#[test]
fn every_key_is_known_and_wrong_values_are_refused() {
    let mut values = vec![];
    for key in KEYS {
        let error = Parameters::from_json(&format!(r#"{{"{key}": []}}"#)).err();
        let error = error.unwrap_or_default();
        assert!(
            error.contains(key) && !error.contains("unknown"),
            "{key}: {error}"
        );
        values.push(error);
    }
    for (key, value, word) in [
        (
            "database_redirect_preference_list",
            "test:bogus",
            "names no node",
        ),
        (
            "database_redirect_preference_list",
            "test:1(2)",
            "0.0 to 1.0",
        ),
        ("database_redirect_preference_list", "test", "regex:node"),
        ("write_function_list", "f(", "regular expression"),
        (
            "dml_adaptive_object_relationship_list",
            "a:b:c",
            "relation:dependent",
        ),
    ] {
        let json = format!(r#"{{"{key}": "{value}"}}"#);
        let error = Parameters::from_json(&json).err().unwrap_or_default();
        assert!(
            error.contains(key) && error.contains(word),
            "{json}: {error}"
        );
    }
}

#[test]
fn the_readme_names_every_key() {
    let readme = include_str!("../README.md");
    for key in KEYS {
        assert!(readme.contains(&format!("| `{key}` |")), "{key}");
    }
}
