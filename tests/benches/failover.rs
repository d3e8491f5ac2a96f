//! How long applications cannot write when the primary is killed: pgsteer with its default settings,
//! then Pgpool-II, in front of the same servers.
//!
//! `cargo bench -p pgsteer-tests --bench failover -- 10` kills ten primaries for each (5 by default).
//! With `--profile dev` the proxy is the one that tests use, which makes no difference here: what
//! takes time is patience, not work.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints, and clippy takes the helpers of tests for production code"
)]

#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod proxy;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pgsteer_testkit::pgpool::Pgpool;
use pgsteer_testkit::{Cluster, Mode, Node, conninfo, wait_until};
use proxy::Running;
use tokio::time::{sleep, timeout};
use tokio_postgres::NoTls;

fn main() -> Result<()> {
    let number = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let rounds: usize = number.unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cluster = Cluster::builder()
            .fast(true)
            .hba_line("host all all 127.0.0.1/32 trust")
            .start()
            .await?;
        let table = "CREATE TABLE written (at timestamptz DEFAULT now())";
        cluster.primary().sql(table).await?;
        println!("{}", cluster.primary().value("SELECT version()").await?);
        measure_pgsteer(&cluster, rounds).await?;
        let script = failover_script(&cluster)?;
        for on_error in ["on", "off"] {
            measure_pgpool(&cluster, rounds, &script, on_error).await?;
        }
        cluster.stop().await
    })
}

async fn measure_pgsteer(cluster: &Cluster, rounds: usize) -> Result<()> {
    let mut text = "[listen]\naddress = \"127.0.0.1:0\"\n[auth]\nmethod = \"trust\"\n\
                    [[users]]\nname = \"postgres\"\npassword = \"password\"\n\
                    [plugins]\ndir = \"plugins\"\n"
        .to_owned();
    for node in cluster.nodes() {
        let (host, port) = (node.host(), node.port());
        text += &format!("[[nodes]]\nhost = \"{host}\"\nport = {port}\n");
    }
    let proxy = Running::with_configuration(&text, cluster)?;
    let mut results = Vec::new();
    for _ in 0..rounds {
        let mut subscription = proxy.subscription();
        wait_until(DEADLINE, "the proxy to use all nodes", || {
            let topology = &subscription.get().topology;
            let ready = topology.nodes.iter().all(|node| node.is_usable());
            let ready = ready && topology.primary().is_some();
            async move { ready }
        })
        .await?;
        results.push(round(cluster, proxy.port()).await?);
    }
    report("pgsteer, default settings", &mut results);
    Ok(())
}

async fn measure_pgpool(
    cluster: &Cluster,
    rounds: usize,
    script: &Path,
    on_error: &str,
) -> Result<()> {
    let command = format!("{} %d %P %H %r", script.display());
    // As in the examples of its documentation; what is not here has its default.
    let settings = [
        ("sr_check_period", "10"),
        ("health_check_period", "5"),
        ("health_check_timeout", "30"),
        ("health_check_user", "postgres"),
        ("health_check_max_retries", "3"),
        ("failover_on_backend_error", on_error),
        ("failover_command", command.as_str()),
    ];
    let mut results = Vec::new();
    for _ in 0..rounds {
        // A new one each time: it does not take nodes back by itself.
        let pgpool = Pgpool::start(cluster, &[1, 1, 1], &settings).await?;
        let result = round(cluster, pgpool.port()).await;
        results.push(result.with_context(|| pgpool.log())?);
    }
    let what = format!("Pgpool-II, failover_on_backend_error = {on_error}");
    report(&what, &mut results);
    Ok(())
}

/// Time without writes, and how many of them failed.
type Outage = (Duration, u64);

/// Kills the primary under clients that write, and brings the cluster to order again.
async fn round(cluster: &Cluster, port: u16) -> Result<Outage> {
    let state = Arc::new(Writes::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(Arc::clone(&state), port)))
        .collect();
    let written = |count: u64| {
        let state = Arc::clone(&state);
        move || {
            let done = state.done.load(Ordering::Relaxed) >= count;
            async move { done }
        }
    };
    wait_until(DEADLINE, "writes", written(100)).await?;
    // Not always at the same moment of a health check.
    sleep(Duration::from_millis(
        u64::from(std::process::id() % 7) * 100 + 300,
    ))
    .await;
    let primary = cluster.acting_primary().await.context("no primary")?;
    let failed_before = state.failed.load(Ordering::Relaxed);
    let killed = Instant::now();
    primary.stop(Mode::Kill9).await?;
    // Some milliseconds later, when its last process has ended.
    let dead = Instant::now();
    wait_until(DEADLINE, "a write", || {
        let first = state.first_after(dead);
        async move { first.is_some() }
    })
    .await?;
    let first = state.first_after(dead).context("a write")? - killed;
    state.over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await?;
    }
    let failed = state.failed.load(Ordering::Relaxed) - failed_before;
    come_to_order(cluster, primary).await?;
    Ok((first, failed))
}

#[derive(Default)]
struct Writes {
    over: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    /// When each began and ended.
    times: Mutex<Vec<(Instant, Instant)>>,
}

impl Writes {
    /// When the first write ended that began after a moment.
    fn first_after(&self, moment: Instant) -> Option<Instant> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let after = times.iter().filter(|(begun, _)| *begun >= moment);
        after.map(|(_, ended)| *ended).min()
    }
}

/// Writes, and connects again when it has to, as an application does.
async fn write(state: Arc<Writes>, port: u16) {
    let conninfo = conninfo(port, "postgres");
    while !state.over.load(Ordering::Relaxed) {
        let opened = timeout(DEADLINE, tokio_postgres::connect(&conninfo, NoTls)).await;
        let Ok(Ok((client, connection))) = opened else {
            state.failed.fetch_add(1, Ordering::Relaxed);
            sleep(BETWEEN_WRITES).await;
            continue;
        };
        tokio::spawn(connection);
        while !state.over.load(Ordering::Relaxed) && !client.is_closed() {
            let begun = Instant::now();
            let insert = "INSERT INTO written DEFAULT VALUES";
            let written = timeout(DEADLINE, client.batch_execute(insert)).await;
            if matches!(written, Ok(Ok(()))) {
                state.done.fetch_add(1, Ordering::Relaxed);
                let mut times = state.times.lock().unwrap_or_else(PoisonError::into_inner);
                times.push((begun, Instant::now()));
            } else {
                state.failed.fetch_add(1, Ordering::Relaxed);
            }
            sleep(BETWEEN_WRITES).await;
        }
    }
}

async fn come_to_order(cluster: &Cluster, killed: &Node) -> Result<()> {
    let primary = cluster.acting_primary().await.context("no primary")?;
    for node in cluster.nodes() {
        if node.name() != primary.name() && node.name() != killed.name() {
            node.rejoin(primary).await?;
        }
    }
    killed.rejoin(primary).await?;
    Ok(())
}

fn report(what: &str, results: &mut [Outage]) {
    results.sort();
    let median = results[results.len() / 2].0;
    let (worst, _) = results[results.len() - 1];
    let failed: u64 = results.iter().map(|(_, failed)| failed).sum();
    let all: Vec<String> = results.iter().map(|(t, _)| format!("{t:.1?}")).collect();
    println!(
        "{what}: median {median:.1?}, worst {worst:.1?} of {}; {:.1} errors per writer; all: {}",
        results.len(),
        failed as f64 / (WRITERS * results.len()) as f64,
        all.join(", ")
    );
}

/// What the documentation of Pgpool-II suggests, in a few lines: if the failed node was the primary,
/// the new main node is promoted.
fn failover_script(cluster: &Cluster) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let psql = pgsteer_testkit::postgres_bin_dir()?.join("psql");
    let path = cluster.root().join("pgpool-failover");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = \"$2\" ] || exit 0\n\
         exec '{}' -h \"$3\" -p \"$4\" -U postgres -d postgres -c 'SELECT pg_promote(false)'\n",
        psql.display()
    );
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// `proxy.rs` can start a proxy in front of a cluster that all tests share.
fn cluster() -> &'static Cluster {
    unreachable!("the benchmark has its own")
}

const WRITERS: usize = 4;
const BETWEEN_WRITES: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(120);
