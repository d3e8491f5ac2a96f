//! A ledger that must balance, whatever happens to the servers behind the proxy.
//!
//! Clients move money between accounts and note for each attempt what they were told. Meanwhile
//! nodes are killed, stopped, frozen, cut off, promoted by somebody else and brought back, one fault
//! after the other as a plan from a seed says. In the end what the clients were told is compared
//! with what is there. `PGSTEER_CHAOS_SEED` replays a plan, `PGSTEER_CHAOS_MINUTES` makes it longer, and
//! `PGSTEER_CHAOS_ONLY=Kill` takes only the faults whose names begin so.

#![expect(
    clippy::print_stdout,
    reason = "the seed and what happened are shown with a failure"
)]

mod audit;
mod books;
mod driver;
mod faults;
mod plan;
mod site;
mod teller;
mod wire_session;

#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod proxy;
#[path = "../support/wire.rs"]
#[expect(
    dead_code,
    clippy::panic,
    reason = "other tests need more of it, and panic where it fails"
)]
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::Cluster;

use books::Books;
use plan::Plan;
use site::{Promoter, Site};

/// One cluster at a time: its faults are told from slowness by deadlines.
static ALONE: Mutex<()> = Mutex::new(());

/// The proxy promotes.
#[test]
fn no_acknowledged_commit_is_lost_when_the_proxy_promotes() -> Result<()> {
    run(Promoter::Proxy, &Plan::short(Promoter::Proxy))
}

/// `failover.promote = false`: an operator or Patroni promotes, the proxy follows.
#[test]
fn no_acknowledged_commit_is_lost_when_somebody_else_promotes() -> Result<()> {
    run(Promoter::Other, &Plan::short(Promoter::Other))
}

/// What `make chaos` runs, with a seed of its own each time.
#[test]
#[ignore = "takes PGSTEER_CHAOS_MINUTES (10), and is for `make chaos`"]
fn the_long_form() -> Result<()> {
    let minutes = number("PGSTEER_CHAOS_MINUTES").unwrap_or(10);
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    if let Some(seed) = number("PGSTEER_CHAOS_SEED") {
        return run_seed(seed);
    }
    while Instant::now() < end {
        run_seed(plan::random_seed()?)?;
    }
    Ok(())
}

/// The seed decides everything but the pace.
fn run_seed(seed: u64) -> Result<()> {
    let promoter = if seed.is_multiple_of(4) {
        Promoter::Other
    } else {
        Promoter::Proxy
    };
    run(promoter, &Plan::from_seed(seed, promoter, PLAN_FAULTS))
}

/// Faults between two audits of the long form.
const PLAN_FAULTS: usize = 16;

fn run(promoter: Promoter, plan: &Plan) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "seed {} ({promoter:?} promotes): {:?}",
        plan.seed, plan.faults
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let cluster = runtime.block_on(site::start_cluster())?;
    let books = Books::default();
    let memory = resident_kib()?;
    let mut site = runtime.block_on(Site::open(&cluster, promoter))?;
    let outcome = std::thread::scope(|scope| {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (handle, cluster) = (runtime.handle().clone(), &cluster);
        scope.spawn(move || {
            handle.block_on(async {
                tokio::select! {
                    failed = cluster.serve_commands() => failed,
                    _ = stopped => Ok(()),
                }
            })
        });
        let tellers = teller::start(scope, &books, site.port(), plan.seed);
        let outcome = runtime.block_on(faults::carry_out(&mut site, plan, &books));
        books.close();
        for thread in tellers {
            if thread.join().is_err() {
                books.find("a client panicked".to_owned());
            }
        }
        drop(stop);
        outcome
    });
    let memory = (memory, resident_kib()?);
    println!("{}", books.summary());
    println!(
        "resident memory of proxy and clients: {} KiB, then {} KiB",
        memory.0, memory.1
    );
    outcome
        .with_context(|| format!("seed {}", plan.seed))
        .with_context(|| site.audit_log())
        .with_context(|| site.node_logs())?;
    runtime.block_on(audit::check(&cluster, &books))?;
    ensure!(
        memory.1 < memory.0 + MEMORY_GROWTH_KIB,
        "resident memory grew from {} to {} KiB",
        memory.0,
        memory.1
    );
    let findings = books.findings();
    let log = site.audit_log();
    ensure!(
        findings.is_empty(),
        "seed {}:\n{}\n{log}",
        plan.seed,
        findings.join("\n")
    );
    drop(site);
    runtime.block_on(cluster.stop())
}

/// `proxy.rs` can start a proxy in front of a cluster that all tests share.
fn cluster() -> &'static Cluster {
    unreachable!("each test has a cluster of its own")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).context("no VmRSS")
}

/// The proxy's plugins, its pools and the notes of the clients; a leak of the long form is more.
const MEMORY_GROWTH_KIB: u64 = 300 << 10;
