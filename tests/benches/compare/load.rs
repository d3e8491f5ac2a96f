//! One run of pgbench, and what a proxy needed meanwhile.
//!
//! pgbench says every second how many transactions it has done. What is measured begins with the first
//! of these lines and ends with the last, so that logging in and out is left out of it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{DEFAULT_PASSWORD, postgres_bin_dir};

use crate::measure::{cpu_time, family, memory};
use crate::stage::USER;

/// What pgbench is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    /// Further arguments.
    pub(crate) args: Vec<String>,
    /// A script of its own.
    pub(crate) script: Option<String>,
    /// Logs in with a password, anew for each transaction.
    pub(crate) connects: bool,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Transactions per second.
    pub(crate) tps: f64,
    /// Processor time of the proxy for a transaction, in microseconds.
    pub(crate) cpu_us: f64,
    /// Resident memory of the proxy, in bytes.
    pub(crate) memory: u64,
}

/// The moment of a line of pgbench, and what it says.
struct Mark {
    at: Instant,
    cpu: Duration,
    tps: f64,
}

/// Runs pgbench against a port, and looks at a process and its children meanwhile.
///
/// # Errors
/// pgbench fails, or it was too short to be measured.
pub(crate) fn run(
    load: &Load,
    port: u16,
    pid: Option<u32>,
    seconds: u32,
    dir: &Path,
) -> Result<Sample> {
    // On a busy machine all the time may go by while the clients connect.
    let longer = [seconds, seconds + 3, seconds + 10];
    let mut last = Err(anyhow::anyhow!("it was not tried"));
    for seconds in longer {
        last = once(load, port, pid, seconds, dir);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn once(load: &Load, port: u16, pid: Option<u32>, seconds: u32, dir: &Path) -> Result<Sample> {
    let pids = pid.map(family).unwrap_or_default();
    let mut child = command(load, port, seconds, dir)?
        .spawn()
        .context("cannot run pgbench")?;
    let lines = BufReader::new(child.stderr.take().context("standard error")?).lines();
    let (mut marks, mut said) = (Vec::new(), String::new());
    for line in lines {
        let line = line?;
        if let Some(tps) = progress(&line) {
            let (at, cpu) = (Instant::now(), cpu_time(&pids));
            marks.push(Mark { at, cpu, tps });
        } else {
            said += &line;
            said.push('\n');
        }
    }
    let memory = memory(&pids)?;
    let mut output = String::new();
    let mut stdout = child.stdout.take().context("standard output")?;
    stdout.read_to_string(&mut output)?;
    let status = child.wait()?;
    let well = status.success() && output.contains("failed transactions: 0 (0.000%)");
    ensure!(well, "pgbench on port {port}: {status}\n{output}{said}");
    sample(&marks, memory)
}

fn sample(marks: &[Mark], memory: u64) -> Result<Sample> {
    let (Some(first), Some(last)) = (marks.first(), marks.last()) else {
        anyhow::bail!("pgbench said nothing");
    };
    ensure!(marks.len() > 1, "pgbench was too short");
    let seconds = (last.at - first.at).as_secs_f64();
    let counted = &marks[1..];
    let tps = counted.iter().map(|mark| mark.tps).sum::<f64>() / counted.len() as f64;
    let cpu = (last.cpu - first.cpu).as_secs_f64();
    Ok(Sample {
        tps,
        cpu_us: cpu * 1e6 / (tps * seconds),
        memory,
    })
}

fn command(load: &Load, port: u16, seconds: u32, dir: &Path) -> Result<Command> {
    let mut command = Command::new(postgres_bin_dir()?.join("pgbench"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    let user = if load.connects { "postgres" } else { USER };
    let threads = load.clients.min(2).to_string();
    // pgbench counts the time it takes to connect, and the first second is left out.
    let connecting = u32::try_from(load.clients / 100)?;
    let duration = (seconds + 1 + connecting).to_string();
    command
        .args(["-h", "127.0.0.1", "-U", user, "-n", "-P", "1"])
        .args(["-p", &port.to_string(), "-T", &duration])
        .args(["-c", &load.clients.to_string(), "-j", &threads])
        .args(&load.args);
    if load.connects {
        command.arg("-C");
    }
    if let Some(script) = &load.script {
        let file = dir.join("script.sql");
        std::fs::write(&file, script)?;
        command.arg("-f").arg(file);
    }
    command
        .arg("postgres")
        .env("PGPASSWORD", DEFAULT_PASSWORD)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// `progress: 1.0 s, 34567.8 tps, lat 0.9 ms stddev 0.3, 0 failed`
fn progress(line: &str) -> Option<f64> {
    let rest = line.strip_prefix("progress: ")?;
    let (_, rest) = rest.split_once(" s, ")?;
    rest.split(' ').next()?.parse().ok()
}
