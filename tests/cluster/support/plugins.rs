//! Plugins for the tests: built ones and their configurations, put in place as an operator would.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use pgsteer_core::Subscription;
use pgsteer_core::policy::{PluginReport, PluginState};
use pgsteer_testkit::wait_until;

use super::{DEADLINE, Running, Wire, runtime};

/// A plugin as the build made it.
pub(crate) fn component(name: &str) -> Result<Vec<u8>> {
    // <target>/<profile>/deps/<this binary>
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(3).context("a target directory")?;
    let path = target.join("plugins").join(format!("{name}.wasm"));
    std::fs::read(&path).with_context(|| format!("no {}", path.display()))
}

/// Puts a file in place in one step.
pub(crate) fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = dir.join(format!(".{number}.part"));
    std::fs::write(&beside, bytes)?;
    Ok(std::fs::rename(beside, dir.join(name))?)
}

/// Puts a component in place.
pub(crate) fn drop_in(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    put(dir, &format!("{name}.wasm"), bytes)
}

/// Waits for a report about a plugin file.
pub(crate) async fn wait_for_report(
    subscription: &Subscription,
    what: &str,
    wanted: impl Fn(&PluginReport) -> bool,
) -> Result<PluginReport> {
    let found = || {
        let mut subscription = subscription.clone();
        let reports = &subscription.get().plugin_reports;
        reports.iter().find(|report| wanted(report)).cloned()
    };
    let waited = wait_until(DEADLINE, what, || async { found().is_some() }).await;
    waited.with_context(|| {
        let reports = Arc::clone(&subscription.clone().get().plugin_reports);
        let line = |r: &PluginReport| format!("{} {:?} {}", r.file_name, r.state, r.reason);
        reports.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    found().with_context(|| format!("{what}: gone again"))
}

/// Whether this file decides and holds the plugin of this name.
pub(crate) fn is_live(report: &PluginReport, file: &str, name: &str) -> bool {
    let plugin = report.plugin.as_ref();
    report.file_name == file
        && matches!(report.state, PluginState::Live | PluginState::Probation)
        && plugin.is_some_and(|plugin| plugin.name == name)
}

/// Puts a plugin of this repository into the directory of a proxy, with the text of the file beside
/// it, and waits until it decides.
pub(crate) fn install(proxy: &Running, file: &str, plugin: &str, beside: &str) -> Result<()> {
    put(proxy.plugins(), &format!("{file}.toml"), beside.as_bytes())?;
    drop_in(proxy.plugins(), file, &component(plugin)?)?;
    let live = |r: &PluginReport| is_live(r, file, plugin);
    runtime().block_on(wait_for_report(&proxy.subscription(), file, live))?;
    Ok(())
}

/// The first column of the rows of a console command.
pub(crate) fn lines(wire: &mut Wire, sql: &str) -> Vec<String> {
    let frames = wire.query(sql);
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let first = rows.filter_map(|row| row.values().into_iter().next().flatten());
    first.collect()
}

/// SQLSTATE and message of the first error among frames.
pub(crate) fn refusal(frames: &[super::Frame]) -> Option<(String, String)> {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    error.map(super::Frame::error)
}
