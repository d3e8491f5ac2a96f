//! Plugins that misbehave in service, one after the other, while 32 clients work in every protocol.

mod bodies;
mod load;
mod memory;

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use pgsteer_core::policy::{Plugin, PluginReport, PluginState};
use pgsteer_testkit::wait_until;
use sha2::{Digest as _, Sha256};

use crate::support::plugins::{component, drop_in, is_live, refusal, wait_for_report};
use crate::support::{DEADLINE, Frame, Options, Running, Wire, database, msg, runtime, shown};
use bodies::Hostile;
use load::Load;

const FILE: &str = "10-hostile";

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Puts it into force.
async fn put_in_force(proxy: &Running, hostile: &Hostile) -> Result<PluginReport> {
    let bytes = hostile.guest.build();
    let hash = sha256(&bytes);
    drop_in(proxy.plugins(), FILE, &bytes)?;
    let live = |r: &PluginReport| r.sha256 == hash && is_live(r, FILE, "hostile");
    wait_for_report(&proxy.subscription(), hostile.what, live).await
}

/// Waits until it has done what it does.
async fn wait_for_its_deeds(plugin: &Plugin, hostile: &Hostile) -> Result<()> {
    let is_done = || match hostile.fails {
        true => plugin.failures() > 0,
        false => plugin.sum(|counters| counters.calls.get()) > 100,
    };
    wait_until(DEADLINE, hostile.what, || async { is_done() }).await
}

fn first_value(frames: &[Frame]) -> Option<String> {
    let row = frames.iter().find(|frame| frame.tag == b'D');
    row.and_then(|row| row.values().swap_remove(0))
}

/// A new session is served as if there were no plugin, in every protocol; what an operator asks may
/// fail, and costs the session nothing.
fn check_session(proxy: &Running, what: &str) {
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for number in 0..5 {
        let next = (number + 1).to_string();
        let sql = format!("SELECT {number} + 1");
        assert_eq!(wire.value(&sql), next, "{what}");
        let frames = wire.extended(&sql);
        assert_eq!(first_value(&frames), Some(next.clone()), "{what}");
        let pipeline = [
            msg::statement("SELECT $1::int", &[Some(&next)]),
            msg::statement("SELECT $1::int + 1", &[Some(&next)]),
            msg::sync(),
        ];
        wire.send(&pipeline.concat());
        let frames = wire.until(b'Z');
        let values = frames.iter().filter(|frame| frame.tag == b'D');
        let values: Vec<_> = values.flat_map(Frame::values).flatten().collect();
        let expected = [next, (number + 2).to_string()];
        assert_eq!(values, expected, "{what}: {}", shown(&frames));
    }
    wire.query("EXPLAIN ROUTE SELECT 1");
    wire.query("PGSTEER PLUGIN hostile TELL 'bad'");
    assert_eq!(wire.value("SELECT 4711"), "4711", "{what}");
}

const GRANTS: &str = "grants = [\"log\", \"metrics\", \"kv\"]";

fn options(plugins: &'static str) -> Options {
    Options {
        plugins,
        ..Options::weights([0, 1, 1])
    }
}

#[test]
fn what_plugins_do_in_service_no_client_notices() -> Result<()> {
    const PLUGINS: &str = "grants = [\"log\", \"metrics\", \"kv\"]\nprobation = \"0s\"";
    runtime().block_on(async {
        drop(database("hostile", "").await?);
        let proxy = options(PLUGINS).start();
        let load = Load::new(&proxy, "hostile").await?;
        // The others stay until they have done what they do, and some clients have met that.
        let thorough = bodies::some();
        let bad = async {
            for hostile in bodies::all() {
                let report = put_in_force(&proxy, &hostile).await?;
                check_session(&proxy, hostile.what);
                if let Some(plugin) = &report.plugin {
                    wait_for_its_deeds(plugin, &hostile).await?;
                }
                if thorough.iter().any(|h| h.what == hostile.what) {
                    load.whole_run(hostile.what).await?;
                }
            }
            load.end();
            anyhow::Ok(())
        };
        tokio::try_join!(bad, load.run())?;
        load.check("hostile").await
    })
}

#[test]
fn where_nothing_may_pass_clients_are_refused_with_58000_and_nothing_else() -> Result<()> {
    const PLUGINS: &str = "grants = [\"log\", \"metrics\", \"kv\"]\nprobation = \"0s\"\n\
                           on_failure = \"reject\"";
    runtime().block_on(async {
        drop(database("hostile_reject", "").await?);
        let proxy = options(PLUGINS).start();
        let load = Load::new(&proxy, "hostile_reject").await?;
        for hostile in bodies::some() {
            let report = put_in_force(&proxy, &hostile).await?;
            let errors = load.errors().await?;
            let strange = errors.iter().find(|line| !is_expected(line));
            ensure!(strange.is_none(), "{}: {strange:?}", hostile.what);
            if let Some(plugin) = &report.plugin {
                wait_for_its_deeds(plugin, &hostile).await?;
            }
            check_refusals(&proxy, hostile.what);
        }
        Ok(())
    })
}

/// Whether a line that pgbench prints may be there.
fn is_expected(line: &str) -> bool {
    let is_ours = line.contains("plugin \"hostile\" failed and this must not pass");
    // It goes on to execute what it was told it cannot prepare.
    let is_pgbench = line.contains("prepared statement \"P_") && line.ends_with("does not exist");
    let words = ["ERROR:", "FATAL:", "closed the connection"];
    is_ours || is_pgbench || !words.iter().any(|word| line.contains(word))
}

/// Whatever is refused is refused with 58000, in every protocol.
fn check_refusals(proxy: &Running, what: &str) {
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let pipeline = [
        msg::statement("SELECT 1", &[]),
        msg::statement("SELECT 2", &[]),
        msg::sync(),
    ];
    for _ in 0..3 {
        let mut all = wire.query("SELECT 1");
        all.extend(wire.extended("SELECT 1"));
        wire.send(&pipeline.concat());
        all.extend(wire.until(b'Z'));
        let errors = all.iter().filter(|frame| frame.tag == b'E');
        for error in errors {
            assert_eq!(error.error().0, "58000", "{what}");
        }
        // Nobody waits for observers, and they refuse nothing.
        assert_eq!(refusal(&all).is_some(), !what.contains("observe"), "{what}");
    }
}

#[test]
fn a_version_that_misbehaves_under_load_is_rolled_back() -> Result<()> {
    runtime().block_on(async {
        drop(database("hostile_probation", "").await?);
        let proxy = options(GRANTS).start();
        let load = Load::new(&proxy, "hostile_probation").await?;
        drop_in(proxy.plugins(), FILE, &component("primary-only")?)?;
        let good = |r: &PluginReport| is_live(r, FILE, "primary-only");
        let subscription = proxy.subscription();
        wait_for_report(&subscription, "the good one", good).await?;
        let bad = async {
            for hostile in bodies::some() {
                let bytes = hostile.guest.build();
                let hash = sha256(&bytes);
                drop_in(proxy.plugins(), FILE, &bytes)?;
                let refused = |r: &PluginReport| {
                    r.sha256 == hash && r.state == PluginState::Refused && !r.reason.is_empty()
                };
                let story = wait_for_report(&subscription, hostile.what, refused).await?;
                let reason = &story.reason;
                ensure!(reason.contains("probation"), "{}: {reason}", hostile.what);
                wait_for_report(&subscription, "the good one again", good).await?;
                check_session(&proxy, hostile.what);
            }
            load.end();
            anyhow::Ok(())
        };
        tokio::try_join!(bad, load.run())?;
        load.check("hostile_probation").await
    })
}
