//! What the kernel knows of processes: time and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process and its children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    all.extend(numbers.filter(|other| parent(*other) == Some(pid)));
    all
}

/// The name in front may hold anything, so the fields are counted from behind it.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// User and system time of processes so far. The scheduler counts it in nanoseconds, for each thread;
/// threads that have ended are left out.
pub(crate) fn cpu_time(pids: &[u32]) -> Duration {
    let threads = pids.iter().flat_map(|pid| threads(*pid));
    Duration::from_nanos(threads.sum())
}

/// Nanoseconds that each thread of a process has run.
fn threads(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let of_thread = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse().ok()
    };
    entries.filter_map(of_thread).collect()
}

/// Numbers of the threads of a process, with their names.
pub(crate) fn thread_ids(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let of_thread = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, name.trim().to_owned()))
    };
    entries.filter_map(of_thread).collect()
}

/// Resident memory of processes in bytes; pages that several share are counted once.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn memory(pids: &[u32]) -> Result<u64> {
    let mut total = 0;
    for pid in pids {
        // One that has just ended has none.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u64 = number.context("no Pss in smaps_rollup")?.parse()?;
        total += kib * 1024;
    }
    Ok(total)
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}
