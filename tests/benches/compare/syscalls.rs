//! System calls per transaction in the steady state, counted by strace.
//!
//! A fixed number of transactions is run twice, few and many; the difference leaves out logins and all
//! that happens once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{postgres_bin_dir, wait_until};

use crate::contenders::{Contender, Front, Pooling, Settings, program};
use crate::measure::thread_ids;
use crate::results::{Syscalls, today};
use crate::scenarios::PIPELINE;
use crate::stage::{Stage, USER};

/// What is run: a name, who serves, the protocol, clients, statements by pipeline.
type Case = (&'static str, Contender, &'static str, u32, bool);

/// Counts them, if there is a strace.
///
/// # Errors
/// Something cannot be run.
pub(crate) async fn run(stage: &Stage) -> Result<BTreeMap<String, Syscalls>> {
    let mut found = BTreeMap::new();
    if program("strace").is_err() {
        println!("there is no strace: system calls are not counted");
        return Ok(found);
    }
    for (name, contender, protocol, clients, pipelined) in cases() {
        let front = contender.start(stage, 64).await?;
        let mut totals = Vec::new();
        // What the first clients bring along is there.
        load(&front, protocol, clients, FEW, pipelined)?;
        for transactions in [FEW, MANY] {
            let traced = Traced::start(&front).await?;
            load(&front, protocol, clients, transactions, pipelined)?;
            totals.push(traced.stop()?);
        }
        let count = f64::from((MANY - FEW) * clients);
        let mut calls = BTreeMap::new();
        for (call, many) in &totals[1] {
            let few = totals[0].get(call).copied().unwrap_or(0.0);
            let each = (many - few).max(0.0) / count;
            if each > 0.0005 {
                calls.insert(call.clone(), each);
            }
        }
        println!("{name}: {calls:.3?}");
        let made = today()?;
        found.insert(name.to_owned(), Syscalls { made, calls });
    }
    Ok(found)
}

fn cases() -> Vec<Case> {
    let session = || Contender::Pgsteer(Settings::default());
    let transaction = || Contender::Pgsteer(Settings::transaction());
    let bouncer = || Contender::PgBouncer(Pooling::Session);
    let shared = || Contender::PgBouncer(Pooling::Transaction);
    vec![
        ("simple, 1 client", session(), "simple", 1, false),
        ("simple, 32 clients", session(), "simple", 32, false),
        ("prepared, 32 clients", session(), "prepared", 32, false),
        (
            "pipeline of 10, 32 clients",
            session(),
            "extended",
            32,
            true,
        ),
        (
            "simple, 32 clients, transaction mode",
            transaction(),
            "simple",
            32,
            false,
        ),
        (
            "prepared, 32 clients, transaction mode",
            transaction(),
            "prepared",
            32,
            false,
        ),
        ("PgBouncer: simple, 1 client", bouncer(), "simple", 1, false),
        (
            "PgBouncer: simple, 32 clients",
            bouncer(),
            "simple",
            32,
            false,
        ),
        (
            "PgBouncer: simple, 32 clients, transaction mode",
            shared(),
            "simple",
            32,
            false,
        ),
    ]
}

/// A strace that counts what the threads do that serve clients.
struct Traced {
    child: Child,
    output: std::path::PathBuf,
}

impl Traced {
    async fn start(front: &Front) -> Result<Self> {
        let pid = front.pid().context("a process")?;
        let output = front.dir.join("strace");
        let mut command = Command::new(program("strace")?);
        command.args(["-c", "-o"]).arg(&output);
        let threads = serving(pid);
        for thread in &threads {
            command.args(["-p", &thread.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // Every thread is watched when its status says by whom.
        wait_until(Duration::from_secs(10), "strace to attach", || {
            let all = threads.iter().all(|id| is_traced(pid, *id));
            async move { all }
        })
        .await?;
        Ok(Self { child, output })
    }

    /// Calls by name.
    fn stop(mut self) -> Result<BTreeMap<String, f64>> {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process")?;
        kill_process(pid, Signal::INT)?;
        self.child.wait()?;
        parse(&self.output)
    }
}

/// The workers of pgsteer; another proxy has one thread.
fn serving(pid: u32) -> Vec<u32> {
    let all = thread_ids(pid);
    let workers = all.iter().filter(|(_, name)| name.starts_with("worker"));
    let workers: Vec<u32> = workers.map(|(number, _)| *number).collect();
    if workers.is_empty() {
        vec![pid]
    } else {
        workers
    }
}

fn is_traced(pid: u32, thread: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/status"));
    let status = status.unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("TracerPid:"));
    line.is_some_and(|line| !line.ends_with("\t0"))
}

/// Lines such as ` 50.00    0.000123           1       100           recvfrom`.
fn parse(path: &Path) -> Result<BTreeMap<String, f64>> {
    let text = std::fs::read_to_string(path)?;
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(count), Some(name)) = (words.get(3), words.last()) else {
            continue;
        };
        if let Ok(count) = count.parse::<f64>()
            && *name != "total"
        {
            calls.insert((*name).to_owned(), count);
        }
    }
    Ok(calls)
}

fn load(
    front: &Front,
    protocol: &str,
    clients: u32,
    transactions: u32,
    pipelined: bool,
) -> Result<()> {
    let mut command = Command::new(postgres_bin_dir()?.join("pgbench"));
    command
        .args(["-h", "127.0.0.1", "-U", USER, "-n", "-M", protocol])
        .args(["-p", &front.port.to_string(), "-c", &clients.to_string()])
        .args(["-t", &transactions.to_string()]);
    if pipelined {
        let file = front.dir.join("pipeline.sql");
        std::fs::write(&file, PIPELINE)?;
        command.arg("-f").arg(file);
    } else {
        command.arg("-S");
    }
    let output = command.arg("postgres").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {said}");
    Ok(())
}

/// Transactions of a client.
const FEW: u32 = 100;
const MANY: u32 = 600;
