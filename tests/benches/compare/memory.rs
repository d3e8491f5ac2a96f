//! Resident memory of pgsteer for each thing that there can be many of: the difference that many of
//! them make, divided by their number. What the kernel holds for a socket is not in it.

use anyhow::{Context, Result};
use pgsteer_testkit::wait_until;

use crate::clients::{RawClient, crowd};
use crate::components::{Answer, component};
use crate::contenders::{Contender, Front, Pooling, Settings};
use crate::load;
use crate::measure::{family, memory};
use crate::results::{Cost, Memory, today};
use crate::scenarios::{IDLE_CLIENTS, select};
use crate::stage::Stage;

/// Measures all of them.
///
/// # Errors
/// pgsteer does not start, or does not serve.
pub(crate) async fn run(stage: &Stage) -> Result<Memory> {
    let mut found = Memory {
        made: today()?,
        ..Memory::default()
    };
    let mut add = |name: &str, (bytes, count): (f64, usize)| {
        println!("{name:50} {bytes:12.0} bytes (by {count})");
        found.costs.insert(name.to_owned(), Cost { bytes, count });
    };
    let transaction = Contender::Pgsteer(Settings::transaction());
    add("idle client", idle_clients(stage, &transaction).await?);
    let bouncer = Contender::PgBouncer(Pooling::Transaction);
    add(
        "idle client of PgBouncer",
        idle_clients(stage, &bouncer).await?,
    );
    let session = Contender::Pgsteer(Settings::default());
    add(
        "client with a server connection",
        busy_clients(stage, &session).await?,
    );
    let bouncer = Contender::PgBouncer(Pooling::Session);
    let of_bouncer = busy_clients(stage, &bouncer).await?;
    add("client with a server connection of PgBouncer", of_bouncer);
    let small = with(stage, WORKERS.0, 0).await?;
    let large = with(stage, WORKERS.1, 0).await?;
    let more = WORKERS.1 - WORKERS.0;
    add("process with one worker", (small, 1));
    add("further worker", ((large - small) / more as f64, more));
    // Each worker has an instance of each plugin; code and description are there once.
    let small_plugins = with(stage, WORKERS.0, PLUGINS).await?;
    let large_plugins = with(stage, WORKERS.1, PLUGINS).await?;
    let instances = (large_plugins - large) - (small_plugins - small);
    let count = more * PLUGINS;
    let instance = instances / count as f64;
    add("plugin instance", (instance, count));
    let plugin = (small_plugins - small) / PLUGINS as f64 - WORKERS.0 as f64 * instance;
    add("plugin without its instances", (plugin, PLUGINS));
    Ok(found)
}

/// Clients that have logged in and asked nothing.
async fn idle_clients(stage: &Stage, contender: &Contender) -> Result<(f64, usize)> {
    let front = contender.start(stage, IDLE_CLIENTS).await?;
    // So that what the first ones bring along is there.
    let first = crowd(front.port, 100)?;
    let before = resident(&front)?;
    let idle = crowd(front.port, IDLE_CLIENTS - first.len())?;
    let after = resident(&front)?;
    let count = idle.len();
    for client in idle.into_iter().chain(first) {
        client.close();
    }
    Ok(((after - before) / count as f64, count))
}

/// Clients that have asked something and keep their server.
async fn busy_clients(stage: &Stage, contender: &Contender) -> Result<(f64, usize)> {
    let front = contender.start(stage, BUSY_CLIENTS).await?;
    let mut first = crowd(front.port, 20)?;
    ask(&mut first)?;
    let before = resident(&front)?;
    let mut busy = crowd(front.port, BUSY_CLIENTS)?;
    ask(&mut busy)?;
    let after = resident(&front)?;
    let count = busy.len();
    for client in busy.into_iter().chain(first) {
        client.close();
    }
    Ok(((after - before) / count as f64, count))
}

fn ask(clients: &mut [RawClient]) -> Result<()> {
    for client in clients {
        client.query("SELECT 1")?;
    }
    Ok(())
}

/// A process with so many workers and further plugins, when all have been asked.
async fn with(stage: &Stage, workers: usize, plugins: usize) -> Result<f64> {
    let components = (0..plugins).map(|n| component(n + 10, Answer::AbstainOnce));
    let settings = Settings {
        workers,
        components: components.collect(),
        ..Settings::default()
    };
    let front = Contender::Pgsteer(settings).start(stage, 64).await?;
    // Clients go to the worker that has the fewest.
    let load = select("simple", workers * 4);
    load::run(&load, front.port, front.pid(), 2, &front.dir)?;
    let pid = front.pid().context("a process")?;
    let pids = family(pid);
    // When what was needed to start is given back.
    let mut last = 0;
    wait_until(SETTLED_WITHIN, "memory to settle", || {
        let now = memory(&pids).unwrap_or(0);
        let is_settled = now == last;
        last = now;
        async move { is_settled }
    })
    .await?;
    Ok(last as f64)
}

fn resident(front: &Front) -> Result<f64> {
    let pid = front.pid().context("a process")?;
    Ok(memory(&family(pid))? as f64)
}

const BUSY_CLIENTS: usize = 400;
const WORKERS: (usize, usize) = (1, 9);
const PLUGINS: usize = 24;
const SETTLED_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);
