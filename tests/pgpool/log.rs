//! What ran where, from the servers' logs.
//!
//! With `log_min_duration_statement = 0` a server writes one record per message it has carried out,
//! before it answers; for what failed there is the error and its STATEMENT. Each record is one write
//! to a file, so records of several processes do not mix. Statements are known by a mark in a
//! comment, portals by their names.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::lab::{DEADLINE, cluster, runtime};

/// How a statement appears in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As a query of the simple protocol, or executed by the extended one.
    Ran,
    /// Parsed by the extended protocol.
    Parsed,
    Failed,
}

/// Every mark and portal name that was found, with the nodes and how.
#[derive(Default)]
pub(crate) struct Sightings {
    offsets: [u64; 2],
    rests: [String; 2],
    seen: HashMap<String, Vec<(usize, How)>>,
}

static SIGHTINGS: Mutex<Option<Sightings>> = Mutex::new(None);

/// Reads both logs up to this moment: what the servers answered before it is in them. Then hands
/// over what is known about `names`.
pub(crate) fn sightings(names: &[String]) -> Result<BTreeMap<String, Vec<(usize, How)>>> {
    let mut guard = SIGHTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let sightings = guard.get_or_insert_default();
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let sentinel = format!("sentinel{number}");
    runtime().block_on(async {
        for node in cluster().nodes() {
            node.sql(&format!("SELECT 1 /*{sentinel}*/")).await?;
        }
        anyhow::Ok(())
    })?;
    for node in 0..2 {
        // The server wrote it before it answered.
        sightings.read(node, &sentinel)?;
    }
    let mut known = |name: &String| {
        let seen = sightings.seen.remove(name).unwrap_or_default();
        (name.clone(), seen)
    };
    Ok(names.iter().map(&mut known).collect())
}

impl Sightings {
    fn read(&mut self, node: usize, sentinel: &str) -> Result<()> {
        let path = cluster().root().join(format!("node{node}.log"));
        let mut file = File::open(&path).with_context(|| path.display().to_string())?;
        file.seek(SeekFrom::Start(self.offsets[node]))?;
        let mut bytes = Vec::new();
        let started = Instant::now();
        loop {
            let read = file.read_to_end(&mut bytes)?;
            self.offsets[node] += u64::try_from(read)?;
            if String::from_utf8_lossy(&bytes).contains(sentinel) {
                break;
            }
            ensure!(started.elapsed() < DEADLINE, "no {sentinel} in the log");
        }
        let mut text = std::mem::take(&mut self.rests[node]);
        text.push_str(&String::from_utf8_lossy(&bytes));
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.rests[node] = text.split_off(whole);
        let mut record = String::new();
        for line in text.lines() {
            // Further lines of a record begin with a tab.
            if !line.starts_with('\t') {
                self.take(node, &record);
                record.clear();
            }
            record.push_str(line);
            record.push('\n');
        }
        self.take(node, &record);
        Ok(())
    }

    fn take(&mut self, node: usize, record: &str) {
        let how = if record.contains(" STATEMENT:  ") {
            How::Failed
        } else if let Some((_, message)) = record.split_once(" LOG:  duration: ") {
            let Some((_, message)) = message.split_once(" ms  ") else {
                return;
            };
            if message.starts_with("parse ") {
                How::Parsed
            } else if message.starts_with("bind ") {
                return;
            } else {
                if let Some(portal) = portal(message) {
                    self.note(node, portal, How::Ran);
                }
                How::Ran
            }
        } else {
            return;
        };
        for mark in marks(record) {
            self.note(node, mark, how);
        }
    }

    fn note(&mut self, node: usize, name: &str, how: How) {
        self.seen
            .entry(name.to_owned())
            .or_default()
            .push((node, how));
    }
}

/// The portal in `execute statement/portal: text`, if it is one of ours.
fn portal(message: &str) -> Option<&str> {
    let (head, _) = message.split_once(": ")?;
    let (_, portal) = head.strip_prefix("execute ")?.split_once('/')?;
    portal.starts_with("portal").then_some(portal)
}

/// Marks look like `/*m12.3*/`.
fn marks(record: &str) -> impl Iterator<Item = &str> {
    let candidates = record.split("/*m").skip(1);
    candidates.filter_map(|rest| rest.split_once("*/").map(|(mark, _)| mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_understood() {
        let mut sightings = Sightings::default();
        for record in [
            "2026 [1] u@d LOG:  duration: 0.1 ms  statement: SELECT 1 /*m1.0*/\n",
            "2026 [1] u@d LOG:  duration: 0.1 ms  parse s: SELECT\n\t1 /*m1.1*/\n",
            "2026 [1] u@d LOG:  duration: 0.1 ms  bind s/portal1_2: SELECT 1 /*m1.1*/\n",
            "2026 [1] u@d LOG:  duration: 0.1 ms  execute s/portal1_2: SELECT 1 /*m1.3*/\n",
            "2026 [1] u@d STATEMENT:  SELEC /*m1.4*/\n",
        ] {
            sightings.take(1, record);
        }
        let seen = |name: &str| sightings.seen.get(name).map(|seen| seen[0].1);
        assert_eq!(seen("1.0"), Some(How::Ran));
        assert_eq!(seen("1.1"), Some(How::Parsed));
        assert_eq!(seen("1.3"), Some(How::Ran));
        assert_eq!(seen("1.4"), Some(How::Failed));
        assert_eq!(seen("portal1_2"), Some(How::Ran));
        assert_eq!(sightings.seen["1.1"].len(), 1);
    }
}
