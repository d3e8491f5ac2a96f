//! What is kept of a run: the JSON beside the page.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// All figures of the last run of each part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Results {
    pub(crate) site: Site,
    /// The circumstances, in a sentence.
    pub(crate) note: String,
    pub(crate) scenarios: BTreeMap<String, Measured>,
    pub(crate) syscalls: BTreeMap<String, Syscalls>,
    pub(crate) memory: Memory,
    pub(crate) curves: BTreeMap<String, Curve>,
}

/// The machine and the versions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Site {
    pub(crate) cores: usize,
    pub(crate) model: String,
    pub(crate) kernel: String,
    pub(crate) pgsteer: String,
    pub(crate) postgres: String,
    pub(crate) pgbouncer: String,
    pub(crate) haproxy: String,
    pub(crate) pgpool: String,
    pub(crate) pgbench: String,
}

/// A scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Measured {
    /// The day.
    pub(crate) made: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    /// Clients that were connected and did nothing.
    pub(crate) idle: usize,
    /// Names of the contenders as they took turns.
    pub(crate) order: Vec<String>,
    pub(crate) results: BTreeMap<String, Figures>,
}

/// A contender in a scenario.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Transactions per second: median, least and most of the rounds.
    pub(crate) tps: f64,
    pub(crate) tps_least: f64,
    pub(crate) tps_most: f64,
    /// Processor time of the proxy per transaction, in microseconds.
    pub(crate) cpu_us: f64,
    /// Resident memory of the proxy, in bytes.
    pub(crate) memory: f64,
}

/// System calls of the workers per transaction, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Syscalls {
    pub(crate) made: String,
    pub(crate) calls: BTreeMap<String, f64>,
}

/// Resident memory, in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) made: String,
    /// What each costs, and how many of it were looked at.
    pub(crate) costs: BTreeMap<String, Cost>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cost {
    pub(crate) bytes: f64,
    pub(crate) count: usize,
}

/// How something grows with something else.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Curve {
    pub(crate) made: String,
    /// What is varied, and what is measured.
    pub(crate) x: String,
    pub(crate) y: String,
    /// Values that were tried.
    pub(crate) at: Vec<f64>,
    /// A line for each name.
    pub(crate) lines: BTreeMap<String, Vec<f64>>,
}

impl Results {
    /// Reads them; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("cannot understand {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The figures of a contender in a scenario.
    pub(crate) fn of(&self, scenario: &str, contender: &str) -> Option<Figures> {
        let measured = self.scenarios.get(scenario)?;
        measured.results.get(contender).copied()
    }

    /// What became of pgsteer's figures since those of `before`, one line each.
    pub(crate) fn changes(&self, before: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (scenario, measured) in &self.scenarios {
            for (name, now) in &measured.results {
                let Some(then) = before.of(scenario, name) else {
                    continue;
                };
                if name.starts_with("pgsteer") && (now.tps, now.cpu_us) != (then.tps, then.cpu_us) {
                    lines.push(format!(
                        "{scenario}, {name}: {:+.1} % transactions/s, {:+.1} % CPU per transaction",
                        change(then.tps, now.tps),
                        change(then.cpu_us, now.cpu_us)
                    ));
                }
            }
        }
        lines
    }
}

fn change(then: f64, now: f64) -> f64 {
    if then == 0.0 {
        0.0
    } else {
        (now / then - 1.0) * 100.0
    }
}

/// The day, in UTC.
///
/// # Errors
/// There is no `date`.
pub(crate) fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    let output = output.context("cannot run date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
