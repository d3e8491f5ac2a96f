//! Changes of settings while the proxy runs.

use std::path::Path;
use std::time::Duration;

use pgsteer_core::settings::PoolMode;

use super::Changes;
use crate::config::{ConfigErrors, Loaded, Source, load_with};

const FILE: &str = "
[pool]
size = 5
[[users]]
name = \"postgres\"
password = \"p\"
[[nodes]]
host = \"a\"
[[nodes]]
host = \"b\"
";

fn load(changes: &Changes) -> Result<Loaded, ConfigErrors> {
    let read = |_: &Path| Ok(FILE.to_owned());
    load_with(&Source::File("p.toml".into()), changes, [], &read, 2)
}

fn changed(changes: &[(&str, &str)]) -> Changes {
    let all = Changes::default();
    changes.iter().fold(all, |all, (name, text)| {
        all.with(name, text).expect("a change")
    })
}

#[test]
fn a_change_takes_the_place_of_what_the_file_says() {
    let changes = changed(&[
        ("pool.size", "7"),
        ("pool_mode", "statement"),
        ("timeouts.query", "1500ms"),
        ("nodes[1].weight", "0.5"),
        ("console.operators", "ann, bob"),
        ("tcp.keepalive", "off"),
        ("pool.size", "8"),
    ]);
    assert_eq!(changes.keys().filter(|key| *key == "pool.size").count(), 1);
    let settings = load(&changes).expect("settings").settings;
    assert_eq!(settings.pool.limits.size, 8);
    assert_eq!(settings.pool.mode, PoolMode::Statement);
    assert_eq!(settings.timeouts.query, Duration::from_millis(1500));
    let weights: Vec<f64> = settings.nodes.iter().map(|node| node.weight).collect();
    assert_eq!(weights, [1.0, 0.5]);
    assert_eq!(settings.operators, ["ann", "bob"]);
}

#[test]
fn names_of_pgbouncer_have_its_units() {
    let changes = changed(&[("query_timeout", "3"), ("default_pool_size", "9")]);
    let settings = load(&changes).expect("settings").settings;
    assert_eq!(settings.timeouts.query, Duration::from_secs(3));
    assert_eq!(settings.pool.limits.size, 9);
    let off = changes.with("query_timeout", "0").expect("off again");
    let settings = load(&off).expect("settings").settings;
    assert_eq!(settings.timeouts.query, Duration::ZERO);
}

#[test]
fn what_a_plugin_reads_is_a_value_of_toml_or_text() {
    let changes = changed(&[
        ("router.a", "5"),
        ("router.b", "off"),
        ("router.c", "x = 1"),
    ]);
    let shown = format!("{changes:?}");
    assert!(shown.contains("(\"router.a\", Integer(5))"), "{shown}");
    assert!(shown.contains("(\"router.b\", String(\"off\"))"), "{shown}");
    assert!(
        shown.contains("(\"router.c\", String(\"x = 1\"))"),
        "{shown}"
    );
}

#[test]
fn what_cannot_be_changed_says_why() {
    let none = Changes::default();
    for (name, text, part) in [
        ("listen.workers", "2", "takes a restart"),
        ("max_client_conn", "2", "takes a restart"),
        ("nodes[0].host", "c", "takes a restart"),
        ("probe.password", "p", "is a secret"),
        ("users[0].password", "p", "is a secret"),
        ("router", "5", "is a section"),
        ("pool", "5", "is not a setting"),
        ("no_such", "5", "is not a setting"),
        ("pool.size", "many", "is not a whole number"),
        ("tcp.keepalive", "perhaps", "is not on or off"),
        ("default_pool_size", "many", "is not a whole number"),
        ("verbose", "1", "standard error"),
    ] {
        let why = none.with(name, text).expect_err(name);
        assert!(why.contains(part), "{name}: {why}");
    }
}

#[test]
fn a_value_that_is_not_allowed_is_not_blamed_on_the_file() {
    for (name, text, part) in [
        ("pool.mode", "always", "SET pool.mode: is \"always\""),
        ("pool.size", "-1", "SET pool.size: "),
        ("nodes[2].weight", "1", "SET nodes[2].weight: is not there"),
    ] {
        let errors = load(&changed(&[(name, text)])).expect_err(name).to_string();
        assert!(errors.contains(part), "{errors}");
        assert!(!errors.contains("p.toml"), "{errors}");
    }
}
