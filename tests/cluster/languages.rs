//! Routers that are not written in Rust decide for a real proxy: the interface is nobody's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgsteer_core::policy::{PluginReport, PluginState};
use pgsteer_testkit::wait_until;

use crate::support::plugins::{drop_in, is_live, put};
use crate::support::{Options, Running, Wire, cluster, database, runtime};

/// To compile all of CPython takes half a minute, on a busy machine some more.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the scripts end with if their tools cannot be had here.
const UNAVAILABLE: i32 = 69;

/// Builds a component with the script of a language; `None` if its tools cannot be had.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
fn build(language: &str) -> Result<Option<Vec<u8>>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("languages")
        .join(language);
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("languages");
    let out = kept.join(format!("{language}.wasm"));
    if is_newer(&out, &[&dir, &dir.join("../../../wit/v0.1")]) {
        return Ok(Some(std::fs::read(&out)?));
    }
    let built = Command::new("sh")
        .arg(dir.join("build.sh"))
        .arg(&out)
        .env("PGSTEER_LANGUAGES_CACHE", &kept)
        .output()
        .context("sh")?;
    let said = String::from_utf8_lossy(&built.stderr);
    if built.status.code() == Some(UNAVAILABLE) {
        println!("SKIPPED, the router in {language} cannot be built here: {said}");
        return Ok(None);
    }
    ensure!(built.status.success(), "{language}: {said}");
    Ok(Some(std::fs::read(&out)?))
}

/// Whether a file was made after the last change in these directories.
fn is_newer(out: &Path, directories: &[&Path]) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let entries = directories
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok());
    let sources = entries.flatten().flatten().map(|entry| entry.path());
    let last = sources.filter_map(|path| changed(&path)).max();
    changed(out) > last
}

/// Waits for a report about a file.
fn report(proxy: &Running, what: &str, wanted: impl Fn(&PluginReport) -> bool) -> Result<String> {
    let subscription = proxy.subscription();
    let found = || {
        let mut subscription = subscription.clone();
        let reports = &subscription.get().plugin_reports;
        reports.iter().find(|report| wanted(report)).cloned()
    };
    // What is refused does not come.
    let is_over = |r: &PluginReport| r.state == PluginState::Refused;
    let any = || {
        let mut subscription = subscription.clone();
        found().is_some() || subscription.get().plugin_reports.iter().any(is_over)
    };
    runtime().block_on(wait_until(PATIENCE, what, || async { any() }))?;
    let mut all = subscription.clone();
    let reports = &all.get().plugin_reports;
    let lines = reports
        .iter()
        .map(|r| format!("{} {:?} {}", r.file_name, r.state, r.reason));
    let lines = || lines.collect::<Vec<_>>().join("\n");
    found().map(|r| r.reason).with_context(lines)
}

fn port(node: usize) -> String {
    cluster().nodes()[node].port().to_string()
}

/// What EXPLAIN ROUTE shows.
fn explained(wire: &mut Wire, sql: &str) -> String {
    let frames = wire.query(&format!("EXPLAIN ROUTE {sql}"));
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let values: Vec<String> = rows.flat_map(|row| row.values()).flatten().collect();
    values.join("\n")
}

#[test]
fn a_router_in_javascript() -> Result<()> {
    let Some(component) = build("javascript")? else {
        return Ok(());
    };
    // It leaves the primary alone, and nodes with a weight of 1 or less.
    let proxy = Options::weights([9, 1, 2]).start();
    let beside = b"[config]\nweight_min = 1\n";
    put(proxy.plugins(), "20-replicas.toml", beside)?;
    drop_in(proxy.plugins(), "20-replicas", &component)?;
    report(&proxy, "the router in JavaScript", |r| {
        is_live(r, "20-replicas", "replicas-js")
    })?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for number in 0..20 {
        let read = format!("SELECT inet_server_port(), {number} AS a{number}");
        assert_eq!(wire.value(&read), port(2));
        let write = format!("SELECT inet_server_port(), random() AS b{number}");
        assert_eq!(wire.value(&write), port(0));
    }
    let story = explained(&mut wire, "SELECT 1");
    assert!(story.contains("a plain SELECT, to a replica"), "{story}");

    // What it throws is the reason of a refusal, and the one that is there stays.
    let beside = b"[config]\nweight_min = \"much\"\n";
    put(proxy.plugins(), "20-replicas.toml", beside)?;
    let reason = report(&proxy, "the refusal", |r| r.state == PluginState::Refused)?;
    assert!(reason.contains("a number from 0"), "{reason}");
    assert_eq!(wire.value("SELECT inet_server_port()"), port(2));
    Ok(())
}

#[test]
fn a_router_in_python() -> Result<()> {
    let Some(component) = build("python")? else {
        return Ok(());
    };
    let setup = "CREATE SCHEMA reporting; CREATE TABLE reporting.sales AS SELECT 1 AS n;
        CREATE TABLE sales AS SELECT 1 AS n";
    drop(runtime().block_on(database("python", setup))?);
    // Balanced reads all go to the primary.
    let options = Options {
        plugins: "file_max = \"32MiB\"",
        ..Options::weights([1, 0, 0])
    };
    let proxy = options.start();
    let beside = b"[limits]\nmemory_max = \"32MiB\"\nfunctions_max = 40000\n\
                   configure_timeout = \"10s\"\n";
    put(proxy.plugins(), "20-reporting.toml", beside)?;
    drop_in(proxy.plugins(), "20-reporting", &component)?;
    report(&proxy, "the router in Python", |r| {
        is_live(r, "20-reporting", "reporting-py")
    })?;
    let mut wire = Wire::connect(proxy.port(), "python");
    wire.wait_for_catalog();
    for number in 0..20 {
        let read =
            |from: &str| format!("SELECT inet_server_port() FROM {from} WHERE n < {number} + 2");
        assert_eq!(wire.value(&read("reporting.sales")), port(2));
        assert_eq!(wire.value(&read("sales")), port(0));
    }
    let story = explained(&mut wire, "SELECT n FROM reporting.sales");
    assert!(story.contains("reads of schema reporting"), "{story}");
    assert_eq!(
        wire.value("INSERT INTO reporting.sales VALUES (2) RETURNING inet_server_port()"),
        port(0)
    );
    Ok(())
}
