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
        ("tcp.keepalive", "off"),
        ("POOL.Size", "8"),
    ]);
    assert_eq!(changes.keys().filter(|key| *key == "pool.size").count(), 1);
    let settings = load(&changes).expect("settings").settings;
    assert_eq!(settings.pool.limits.size, 8);
    assert_eq!(settings.pool.mode, PoolMode::Statement);
    assert_eq!(settings.timeouts.query, Duration::from_millis(1500));
    let weights: Vec<f64> = settings.nodes.iter().map(|node| node.weight).collect();
    assert_eq!(weights, [1.0, 0.5]);
    assert!(!settings.pool.tcp.keepalive);
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
        ("router.maxLag", "5"),
        ("router.limits.b", "off"),
        ("router.limits.c", "x = 1"),
    ]);
    let router = load(&changes).expect("settings").settings.router_config;
    for part in [r#""maxLag":5"#, r#""b":"off""#, r#""c":"x = 1""#] {
        assert!(router.contains(part), "{part}: {router}");
    }
    assert!(router.contains(r#""limits":{"#), "{router}");
}

#[test]
fn what_cannot_be_changed_says_why() {
    let none = Changes::default();
    let in_the_file = "in the configuration alone";
    for (name, text, part) in [
        ("listen.workers", "2", "takes a restart"),
        ("max_client_conn", "2", "takes a restart"),
        ("nodes[0].host", "c", "takes a restart"),
        ("probe.password", "p", in_the_file),
        ("users[0].password", "p", in_the_file),
        ("failover.failover_command", "rm -r x", in_the_file),
        ("nodes[0].data_dir", "$(x)", in_the_file),
        ("auth.hba_file", "/etc/passwd", in_the_file),
        ("auth.method", "trust", in_the_file),
        ("console.operators", "me", in_the_file),
        ("server_reset_query", "DROP TABLE t", in_the_file),
        ("admin_users", "me", in_the_file),
        ("router", "5", "is not one setting"),
        ("nodes[x].weight", "5", "is not one setting"),
        ("pool", "5", "is not a setting"),
        ("no_such", "5", "is not a setting"),
        ("pool.size", "many", "is not a whole number"),
        ("tcp.keepalive", "perhaps", "is not on or off"),
        ("default_pool_size", "many", "is not a whole number"),
        ("max_db_connections", "-1", "is out of range"),
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
