//! New versions of plugins on their way into force, and out of it again, while clients work.

use std::sync::Arc;

use anyhow::Result;
use pgsteer_core::policy::{Plugin, PluginReport, PluginState};
use pgsteer_testkit::guest::Guest;

use crate::support::plugins::{
    component, drop_in, install, is_live, lines, put, refusal, wait_for_report,
};
use crate::support::{Options, Running, Wire, runtime};

/// Behaves, but for statements of this class, about which it does this.
fn bad_at(class: u16, body: &str) -> Vec<u8> {
    let guest = Guest {
        decide: format!("local.get 1 i32.const {class} i32.eq (if (then {body})) i32.const 256"),
        ..Guest::default()
    };
    guest.build()
}

fn report(
    proxy: &Running,
    what: &str,
    wanted: impl Fn(&PluginReport) -> bool,
) -> Result<PluginReport> {
    runtime().block_on(wait_for_report(&proxy.subscription(), what, wanted))
}

#[test]
fn a_plugin_that_misbehaves_after_5000_decisions_is_rolled_back_by_itself() -> Result<()> {
    const SHOW: u16 = 13;
    let proxy = Options::weights([0, 1, 1]).start();
    let primary = crate::support::cluster().primary().port().to_string();
    install(&proxy, "10-mine", "primary-only", "")?;
    // It looks fine while it is tried out: fingerprints of the questions of then are small.
    let hidden = "local.get 0 i64.const 48 i64.shr_u i64.eqz i32.eqz (if (then unreachable))";
    drop_in(proxy.plugins(), "10-mine", &bad_at(SHOW, hidden))?;
    report(&proxy, "the bad version", |r| {
        is_live(r, "10-mine", "hostile")
    })?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for _ in 0..5_000 {
        assert_eq!(wire.value("SELECT inet_server_port()"), primary);
    }
    let refused = |r: &PluginReport| r.file_name == "10-mine" && r.state == PluginState::Refused;
    let subscription = proxy.subscription();
    let is_refused = || {
        subscription
            .clone()
            .get()
            .plugin_reports
            .iter()
            .any(refused)
    };
    assert!(!is_refused(), "it has done nothing wrong so far");
    let mut asked = 0;
    while !is_refused() {
        // Not one statement fails: where it has no answer the next plugin decides.
        assert_eq!(wire.value("SHOW work_mem"), "4MB");
        asked += 1;
        assert!(asked < 2_000, "it is still there");
    }
    let story = report(&proxy, "the story", refused)?.reason;
    assert!(
        story.contains("probation") && story.contains("trap"),
        "{story}"
    );
    report(&proxy, "the version before", |r| {
        is_live(r, "10-mine", "primary-only")
    })?;
    assert_eq!(wire.value("SELECT inet_server_port()"), primary);
    Ok(())
}

#[test]
fn an_operator_rolls_back_pins_and_disables() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let primary = crate::support::cluster().primary().port().to_string();
    install(&proxy, "10-mine", "primary-only", "")?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    assert_eq!(wire.value("SELECT inet_server_port()"), primary);

    assert!(!lines(&mut wire, "PGSTEER PLUGIN mine DISABLE").is_empty());
    report(&proxy, "disabled", |r| {
        r.file_name == "10-mine" && r.state == PluginState::Disabled
    })?;
    assert_ne!(wire.value("SELECT inet_server_port()"), primary);
    assert!(!lines(&mut wire, "PGSTEER PLUGIN mine ENABLE").is_empty());
    report(&proxy, "enabled", |r| is_live(r, "10-mine", "primary-only"))?;
    assert_eq!(wire.value("SELECT inet_server_port()"), primary);

    drop_in(proxy.plugins(), "10-mine", &component("pgpool-router")?)?;
    report(&proxy, "the next version", |r| {
        is_live(r, "10-mine", "pgpool-router")
    })?;
    assert_ne!(wire.value("SELECT inet_server_port()"), primary);
    assert!(!lines(&mut wire, "PGSTEER PLUGIN 10-mine ROLLBACK").is_empty());
    report(&proxy, "rolled back", |r| {
        is_live(r, "10-mine", "primary-only")
    })?;
    assert_eq!(wire.value("SELECT inet_server_port()"), primary);

    let unknown = wire.query("PGSTEER PLUGIN nobody PIN");
    assert_eq!(refusal(&unknown).unwrap().0, "55000");
    Ok(())
}

#[test]
fn files_behind_hold_go_together() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    put(proxy.plugins(), "HOLD", b"")?;
    drop_in(proxy.plugins(), "10-first", &component("primary-only")?)?;
    drop_in(proxy.plugins(), "20-broken", b"nonsense")?;
    std::fs::remove_file(proxy.plugins().join("HOLD"))?;
    let broken = |r: &PluginReport| r.file_name == "20-broken" && r.state == PluginState::Refused;
    report(&proxy, "the broken one", broken)?;
    // All or none.
    let mut subscription = proxy.subscription();
    let reports = &subscription.get().plugin_reports;
    assert!(
        !reports
            .iter()
            .any(|r| is_live(r, "10-first", "primary-only"))
    );

    put(proxy.plugins(), "HOLD", b"")?;
    drop_in(proxy.plugins(), "10-first", &component("primary-only")?)?;
    drop_in(proxy.plugins(), "20-broken", &component("statement-stats")?)?;
    put(
        proxy.plugins(),
        "20-broken.toml",
        b"grants = [\"metrics\"]\n",
    )?;
    std::fs::remove_file(proxy.plugins().join("HOLD"))?;
    let first = report(&proxy, "the first", |r| {
        is_live(r, "10-first", "primary-only")
    })?;
    let second = report(&proxy, "the second", |r| {
        is_live(r, "20-broken", "statement-stats")
    })?;
    let generation = |r: &PluginReport| r.plugin.as_ref().map(|p: &Arc<Plugin>| p.generation);
    assert_eq!(generation(&first), generation(&second), "one swap");
    Ok(())
}

#[test]
fn a_shadow_is_asked_and_decides_nothing() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let primary = crate::support::cluster().primary().port().to_string();
    let rollout =
        "[rollout]\nshadow = \"100%\"\nshadow_decisions = 200\ndifferences_max = \"10%\"\n";
    install(&proxy, "10-mine", "primary-only", rollout)?;
    drop_in(proxy.plugins(), "10-mine", &component("pgpool-router")?)?;
    let shadow = |r: &PluginReport| r.file_name == "10-mine" && r.state == PluginState::Shadow;
    report(&proxy, "the shadow", shadow)?;
    let refused = |r: &PluginReport| r.file_name == "10-mine" && r.state == PluginState::Refused;
    let subscription = proxy.subscription();
    let is_refused = || {
        subscription
            .clone()
            .get()
            .plugin_reports
            .iter()
            .any(refused)
    };
    let mut wire = Wire::connect(proxy.port(), "postgres");
    while !is_refused() {
        for _ in 0..50 {
            assert_eq!(wire.value("SELECT inet_server_port()"), primary);
        }
    }
    let story = report(&proxy, "the story", refused)?;
    assert!(story.reason.contains("shadow"), "{}", story.reason);
    Ok(())
}

#[test]
fn decisions_are_recorded_without_literals_unless_asked() -> Result<()> {
    let proxy = Options::default().start();
    let port = proxy.port();
    for (sql, has_literal) in [
        ("PGSTEER RECORD 20", false),
        ("PGSTEER RECORD 20 WITH VALUES", true),
    ] {
        let asking = std::thread::spawn(move || {
            let mut wire = Wire::connect(port, "postgres");
            lines(&mut wire, sql)
        });
        let mut wire = Wire::connect(port, "postgres");
        while !asking.is_finished() {
            assert_eq!(wire.value("SELECT 'a secret'"), "a secret");
        }
        let recorded = asking.join().expect("the recording ends");
        let samples: Vec<_> = recorded
            .iter()
            .filter(|line| line.starts_with('{'))
            .collect();
        assert!(samples.len() >= 20, "{recorded:?}");
        assert!(
            samples
                .iter()
                .all(|line| line.contains("\"user\":\"postgres\""))
        );
        assert_eq!(
            samples.iter().any(|line| line.contains("a secret")),
            has_literal,
            "{sql}"
        );
    }
    Ok(())
}
