//! How long a plugin takes from file to live, and whether anybody notices: a component is swapped again
//! and again while 32 clients read and write.
//!
//! `cargo bench -p pgsteer-tests --bench swaps -- 10000` swaps so many times (200 by default). "compiled"
//! is a component whose code was never seen before, "cached" one whose machine code is kept.

#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark prints, and clippy takes the helpers of tests for production code"
)]

#[path = "../cluster/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgsteer_core::Subscription;
use pgsteer_testkit::pgbench;
use support::plugins::{component, drop_in};
use support::{DEADLINE, Options, Running, database, runtime};

fn main() -> Result<()> {
    let number = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let swaps: usize = number.unwrap_or(200);
    let options = Options {
        plugins: "settle = \"1ms\"\nprobation = \"0s\"\nstate_dir = \"state\"",
        ..Options::default()
    };
    let proxy = options.start();
    runtime().block_on(async {
        drop(database("swaps", "").await?);
        let conninfo = proxy.conninfo("swaps");
        let init = pgbench(&conninfo, &["-i", "-q", "-s", "4"]).await?;
        init.success()?;
        let done = Arc::new(AtomicBool::new(false));
        let (loaded, measured) =
            tokio::join!(load(&conninfo, &done), measure(&proxy, swaps, &done));
        let transactions = loaded?;
        measured?;
        println!("{transactions} transactions of 32 clients meanwhile, none failed");
        anyhow::Ok(())
    })
}

/// Reads and writes until it is done; the number of transactions, none of which may fail.
async fn load(conninfo: &str, done: &AtomicBool) -> Result<u64> {
    let mut transactions = 0;
    for mode in ["simple", "extended", "prepared"].iter().cycle() {
        let mix = ["-b", "select-only", "-b", "tpcb-like", "-M", mode];
        let args = [&["-n", "-c", "32", "-j", "2", "-T", "10"], &mix[..]].concat();
        let output = pgbench(conninfo, &args).await?;
        let failed = "number of failed transactions: 0 (0.000%)";
        let well = output.status.success() && output.stdout.contains(failed);
        ensure!(well, "{}{}", output.stdout, output.stderr);
        let count = output.stdout.split("processed: ").nth(1);
        let count = count.and_then(|rest| rest.split_whitespace().next());
        transactions += count.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        if done.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(transactions)
}

async fn measure(proxy: &Running, swaps: usize, done: &AtomicBool) -> Result<()> {
    let result = measure_all(proxy, swaps).await;
    done.store(true, Ordering::Relaxed);
    result
}

async fn measure_all(proxy: &Running, swaps: usize) -> Result<()> {
    let base = component("primary-only")?;
    println!("component of {} bytes", base.len());
    let variant = |number: usize| [base.clone(), custom_section(number)].concat();
    let mut times = Vec::new();
    for number in 0..swaps.min(50) {
        times.push(swap(proxy, &variant(number)).await?);
    }
    report("file to live, compiled", &mut times);
    let before = resident_kib()?;
    times.clear();
    for number in 0..swaps {
        times.push(swap(proxy, &variant(number % 5)).await?);
    }
    report("file to live, cached", &mut times);
    let after = resident_kib()?;
    println!("resident memory: {before} KiB before those, {after} KiB behind them");
    Ok(())
}

/// Drops a file and waits until it decides.
async fn swap(proxy: &Running, bytes: &[u8]) -> Result<Duration> {
    let mut subscription = proxy.subscription();
    let before = live(&mut subscription);
    let start = Instant::now();
    drop_in(proxy.plugins(), "50-swapped", bytes)?;
    while live(&mut subscription) == before {
        let changed = tokio::time::timeout(DEADLINE, subscription.changed());
        ensure!(
            changed.await.context("it does not go live")?,
            "the proxy is gone"
        );
    }
    Ok(start.elapsed())
}

/// What tells the plugin that decides from the one before it.
fn live(subscription: &mut Subscription) -> Option<String> {
    let plugins = &subscription.get().policies.plugins;
    let own = plugins.iter().find(|p| &*p.file_name == "50-swapped");
    own.map(|plugin| format!("{} {}", plugin.sha256, plugin.generation))
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    let (half, most) = (at(50), at(99));
    let last = times.last().copied().unwrap_or_default();
    println!(
        "{what}: {} times, half of them within {half:.1?}, 99 % within {most:.1?}, all within {last:.1?}",
        times.len()
    );
}

/// A section that means nothing and makes the file another one.
fn custom_section(number: usize) -> Vec<u8> {
    let text = format!("variant {number:06}");
    let mut section = vec![0, u8::try_from(text.len() + 2).unwrap_or(u8::MAX), 1, b'x'];
    section.extend(text.bytes());
    section
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).context("no VmRSS")
}
