//! Plugins are replaced while clients work, and bad ones hurt nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use pgsteer_core::policy::{Plugin, PluginReport, PluginState};
use pgsteer_testkit::guest::Guest;
use pgsteer_testkit::{pgbench, wait_until};

use crate::support::plugins::{component, drop_in, is_live, wait_for_report};
use crate::support::{DEADLINE, Options, Running, Wire, database, runtime};

/// Nodes of some new sessions, by port.
fn ports(proxy: &Running) -> std::collections::BTreeSet<String> {
    let ask = |_| Wire::connect(proxy.port(), "postgres").value("SELECT inet_server_port()");
    (0..40).map(ask).collect()
}

#[test]
fn a_component_is_replaced_fifty_times_under_load() -> Result<()> {
    runtime().block_on(async {
        drop(database("swap", "").await?);
        let proxy = Options::default().start();
        let conninfo = proxy.conninfo("swap");
        pgbench(&conninfo, &["-i", "-q", "-s", "4"])
            .await?
            .success()?;
        crate::support::cluster()
            .wait_until_caught_up(DEADLINE)
            .await?;
        let done = AtomicBool::new(false);
        let swapped = async {
            let swapped = swap(&proxy, 50).await;
            done.store(true, Ordering::Relaxed);
            swapped
        };
        let loaded = async {
            for mode in ["simple", "prepared"].iter().cycle() {
                load(&conninfo, mode).await?;
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            anyhow::Ok(())
        };
        let (swapped, loaded) = tokio::join!(swapped, loaded);
        swapped?;
        loaded?;
        for report in proxy.subscription().get().plugin_reports.iter() {
            let failures = |p: &Arc<Plugin>| p.failures();
            assert_eq!(
                report.plugin.as_ref().map_or(0, failures),
                0,
                "{}",
                report.file_name
            );
        }
        Ok(())
    })
}

/// Two routers take turns under one file name; each is live before the next comes.
async fn swap(proxy: &Running, count: usize) -> Result<()> {
    let routers = ["primary-only", "pgpool-router"];
    let bytes = [component(routers[0])?, component(routers[1])?];
    for number in 0..count {
        let (name, bytes) = (routers[number % 2], &bytes[number % 2]);
        drop_in(proxy.plugins(), "50-swapped", bytes)?;
        let live = |r: &PluginReport| is_live(r, "50-swapped", name);
        wait_for_report(&proxy.subscription(), &format!("swap {number}"), live).await?;
    }
    Ok(())
}

/// Reads and writes by 32 clients, none of which may fail.
async fn load(conninfo: &str, mode: &str) -> Result<()> {
    let scripts = ["-b", "select-only", "-b", "tpcb-like", "-M", mode];
    let args = [&["-n", "-c", "32", "-j", "2", "-T", "3"], &scripts[..]].concat();
    let output = pgbench(conninfo, &args).await?;
    let failed = "number of failed transactions: 0 (0.000%)";
    let well = output.status.success()
        && !output.stderr.contains("error")
        && output.stdout.contains(failed);
    anyhow::ensure!(well, "{}{}", output.stdout, output.stderr);
    Ok(())
}

#[test]
fn a_plugin_changes_where_reads_of_running_sessions_go() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let primary = crate::support::cluster().primary().port().to_string();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    assert_ne!(wire.value("SELECT inet_server_port()"), primary);
    drop_in(
        proxy.plugins(),
        "10-primary-only",
        &component("primary-only")?,
    )?;
    let subscription = proxy.subscription();
    let live = |r: &PluginReport| is_live(r, "10-primary-only", "primary-only");
    runtime().block_on(wait_for_report(&subscription, "the plugin", live))?;
    assert_eq!(wire.value("SELECT inet_server_port()"), primary);
    assert_eq!(ports(&proxy).into_iter().collect::<Vec<_>>(), [primary]);
    Ok(())
}

#[test]
fn a_broken_file_is_refused_with_a_reason_and_the_old_plugin_stays() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let primary = crate::support::cluster().primary().port().to_string();
    let good = component("primary-only")?;
    drop_in(proxy.plugins(), "10-mine", &good)?;
    let subscription = proxy.subscription();
    let live = |r: &PluginReport| is_live(r, "10-mine", "primary-only");
    runtime().block_on(wait_for_report(&subscription, "the good plugin", live))?;

    let halves = good.len() / 2;
    let loops = Guest {
        configure: LOOP.to_owned(),
        ..Guest::default()
    };
    let traps = Guest {
        self_test: "unreachable".to_owned(),
        ..Guest::default()
    };
    for (what, bytes) in [
        ("random bytes", vec![0x5a; 5000]),
        ("nothing", Vec::new()),
        ("half a component", good[..halves].to_vec()),
        (
            "a component that never ends its configuration",
            loops.build(),
        ),
        ("a component that fails its own test", traps.build()),
        ("a file that is too large", vec![0; 5 << 20]),
    ] {
        drop_in(proxy.plugins(), "10-mine", &bytes)?;
        let refused = |r: &PluginReport| {
            r.file_name == "10-mine" && r.state == PluginState::Refused && !r.reason.is_empty()
        };
        let report = runtime().block_on(wait_for_report(&subscription, what, refused))?;
        let mut wire = Wire::connect(proxy.port(), "postgres");
        let shown = wire.query("SHOW pool_plugins");
        let rows: Vec<_> = shown.iter().filter(|frame| frame.tag == b'D').collect();
        let listed = |state: &str, reason: &str| {
            rows.iter().any(|row| {
                let values: Vec<_> = row.values().into_iter().map(Option::unwrap).collect();
                let is_state = values[9] == state || (state == "live" && values[9] == "probation");
                let is_reason = state == "live" || values[11] == reason;
                values[0] == "10-mine" && is_state && is_reason
            })
        };
        assert!(listed("refused", &report.reason), "{what}");
        assert!(listed("live", ""), "{what}");
        assert_eq!(wire.value("SELECT inet_server_port()"), primary, "{what}");
        drop_in(proxy.plugins(), "10-mine", &good)?;
        let mended = |reports: &[PluginReport]| {
            let mut mine = reports.iter().filter(|r| r.file_name == "10-mine");
            mine.all(|r| r.state != PluginState::Refused)
        };
        runtime().block_on(wait_until(DEADLINE, "the good plugin again", || async {
            mended(&subscription.clone().get().plugin_reports)
        }))?;
    }
    Ok(())
}

const LOOP: &str = "(loop br 0)";

/// Clients are served whatever a plugin does, and it is written down that it fails.
#[test]
fn hostile_plugins_are_skipped() -> Result<()> {
    let grow = "(loop i32.const 16 memory.grow i32.const -1 i32.ne br_if 0) unreachable";
    for (what, body) in [
        ("loops", LOOP),
        ("traps", "unreachable"),
        ("grows its memory", grow),
        ("answers with a wild pointer", "i32.const 0x7ffffff0 return"),
        (
            "answers with an unknown route",
            "i32.const 256 i32.const 17 i32.store8",
        ),
        (
            "answers with a node that is not there",
            "i32.const 256 i32.const 3 i32.store8 i32.const 260 i32.const 7 i32.store",
        ),
    ] {
        // Without probation, which would take it out of force.
        let options = Options {
            plugins: "probation = \"0s\"",
            ..Options::weights([0, 1, 1])
        };
        let proxy = options.start();
        drop_in(
            proxy.plugins(),
            "10-hostile",
            &Guest::bad_in_service(body).build(),
        )?;
        let subscription = proxy.subscription();
        let live = |r: &PluginReport| is_live(r, "10-hostile", "hostile");
        runtime().block_on(wait_for_report(&subscription, what, live))?;

        let mut wire = Wire::connect(proxy.port(), "postgres");
        let primary = crate::support::cluster().primary().port().to_string();
        for number in 0..5 {
            // The built-in router decides.
            let read = format!("SELECT inet_server_port(), {number} AS a{number}");
            assert_ne!(wire.value(&read), primary, "{what}");
            let write = format!("SELECT inet_server_port(), random() AS b{number}");
            assert_eq!(wire.value(&write), primary, "{what}");
        }
        assert_eq!(ports(&proxy).len(), 2, "{what}");
        let failing = |r: &PluginReport| {
            let failures = |p: &Arc<Plugin>| p.failures();
            r.file_name == "10-hostile" && r.plugin.as_ref().is_some_and(|p| failures(p) > 0)
        };
        runtime().block_on(wait_for_report(&subscription, what, failing))?;
    }
    Ok(())
}

#[test]
fn with_reject_a_failing_plugin_refuses_statements() -> Result<()> {
    let options = Options {
        plugins: "on_failure = \"reject\"\nprobation = \"0s\"",
        ..Options::weights([0, 1, 1])
    };
    let proxy = options.start();
    let guest = Guest::bad_in_service("unreachable").build();
    drop_in(proxy.plugins(), "10-hostile", &guest)?;
    let subscription = proxy.subscription();
    let live = |r: &PluginReport| is_live(r, "10-hostile", "hostile");
    runtime().block_on(wait_for_report(&subscription, "the plugin", live))?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let frames = wire.query("SELECT 1");
    let error = frames
        .iter()
        .find(|frame| frame.tag == b'E')
        .map(|f| f.error().0);
    assert_eq!(error.as_deref(), Some("58000"));
    Ok(())
}
