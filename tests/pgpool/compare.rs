//! Runs programs through both proxies and holds the results against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;

use crate::differences::{self, Difference};
use crate::lab::Pair;
use crate::program::{self, Program, Seen};

/// A unit of a program with all that is known about it.
pub(crate) struct Case<'a> {
    pub(crate) units: &'a [String],
    pub(crate) unit: usize,
    pub(crate) pgpool: &'a [Seen],
    pub(crate) pgsteer: &'a [Seen],
    pub(crate) what: What,
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The node.
    Node,
    /// Pgpool-II ran it on both nodes, and pgsteer used a node afterwards that it had not told.
    Untold,
    /// One of the two ended the session.
    End,
}

impl Case<'_> {
    pub(crate) fn sql(&self) -> &str {
        &self.units[self.unit]
    }

    /// Where Pgpool-II ran it.
    pub(crate) fn pgpool(&self) -> Vec<usize> {
        self.pgpool[self.unit].nodes.iter().copied().collect()
    }

    /// Where pgsteer ran it.
    pub(crate) fn pgsteer(&self) -> Vec<usize> {
        self.pgsteer[self.unit].nodes.iter().copied().collect()
    }

    /// The transaction state before it, as a client of Pgpool-II was told.
    pub(crate) fn state(&self) -> char {
        let before = self.unit.checked_sub(1);
        before.map_or('I', |before| self.pgpool[before].state)
    }

    /// The units since the last one that ended outside a transaction.
    pub(crate) fn transaction(&self) -> impl Iterator<Item = &String> {
        let outside = self.pgpool[..self.unit]
            .iter()
            .rposition(|seen| seen.state == 'I');
        self.units[outside.map_or(0, |at| at + 1)..self.unit].iter()
    }
}

/// Runs the programs, compares, and fails if anything differs that is not `expected`, or if a
/// difference that is expected was not met.
pub(crate) fn compare(pair: &Pair, programs: &[Program], expected: &[&'static str]) -> Result<()> {
    let [pgpool, pgsteer] = pair.ports();
    // One after the other: what a program leaves behind is the same for both.
    let mut runs = Vec::new();
    for program in programs {
        runs.push(program::run(pair, pgpool, program));
        runs.push(program::run(pair, pgsteer, program));
    }
    let located = program::locate(runs)?;
    let expected: Vec<&Difference> = expected.iter().map(|id| differences::find(id)).collect();
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (program, seen) in programs.iter().zip(located.chunks(2)) {
        let units = program.units();
        let [pgpool, pgsteer] = seen else {
            unreachable!("chunks of two")
        };
        for (unit, what) in differing(&units, pgpool, pgsteer) {
            let case = Case {
                units: &units,
                unit,
                pgpool,
                pgsteer,
                what,
            };
            match expected
                .iter()
                .find(|difference| (difference.applies)(&case))
            {
                Some(difference) => *met.entry(difference.id).or_default() += 1,
                None => wrong.push(shown(&case)),
            }
        }
    }
    let unmet = expected
        .iter()
        .filter(|difference| !met.contains_key(difference.id));
    wrong.extend(unmet.map(|difference| {
        format!(
            "expected difference {} was not met: {}",
            difference.id, difference.reason
        )
    }));
    let count = wrong.len();
    wrong.truncate(SHOWN);
    assert!(
        wrong.is_empty(),
        "{count} differences with\n{}:\n\n{}",
        pair.shown,
        wrong.join("\n\n")
    );
    Ok(())
}

/// The rule: a statement that Pgpool-II runs on one node must run there. One that it runs on both
/// (BEGIN, SET, SAVEPOINT and their like) pgsteer tells a node when it is used, perhaps never; so
/// what counts is that every node that is used afterwards has been told.
fn differing(units: &[String], pgpool: &[Seen], pgsteer: &[Seen]) -> Vec<(usize, What)> {
    let mut found = Vec::new();
    for unit in 0..units.len() {
        let (Some(theirs), Some(ours)) = (pgpool.get(unit), pgsteer.get(unit)) else {
            break;
        };
        if (theirs.state == 'X') != (ours.state == 'X') {
            found.push((unit, What::End));
        } else if theirs.nodes.len() == 2 {
            let used = used_afterwards(units, pgpool, pgsteer, unit);
            if !used.is_subset(&ours.nodes) {
                found.push((unit, What::Untold));
            }
        } else if theirs.nodes != ours.nodes {
            found.push((unit, What::Node));
        }
    }
    found
}

/// The nodes pgsteer ran statements on while `unit` was in force.
fn used_afterwards(
    units: &[String],
    pgpool: &[Seen],
    pgsteer: &[Seen],
    unit: usize,
) -> BTreeSet<usize> {
    let sql = units[unit].to_uppercase();
    let concerns_session = [
        "COMMIT",
        "ROLLBACK",
        "END",
        "ABORT",
        "DISCARD",
        "DEALLOCATE",
        "RELEASE",
    ]
    .iter()
    .any(|word| sql.contains(word));
    // What failed is not in force, and an end needs no telling to those who come later.
    if concerns_session || pgsteer[unit].state == 'E' || pgpool[unit].state == 'E' {
        return BTreeSet::new();
    }
    let is_local = pgsteer[unit].state == 'T';
    let mut used = BTreeSet::new();
    for later in unit + 1..pgsteer.len().min(pgpool.len()) {
        let text = units[later].to_uppercase();
        let is_end = is_local && pgsteer[later].state == 'I';
        let undoes = ["ROLLBACK", "RELEASE", "DISCARD", "RESET", "SET "];
        if is_end || undoes.iter().any(|word| text.contains(word)) {
            break;
        }
        if pgpool[later].nodes.len() == 1 {
            used.extend(&pgsteer[later].nodes);
        }
    }
    used
}

fn shown(case: &Case<'_>) -> String {
    let mut text = format!("{:?} differs: {}", case.what, case.sql());
    for (unit, sql) in case.units.iter().enumerate() {
        let side = |all: &[Seen]| {
            all.get(unit).map_or_else(String::new, |seen| {
                format!("{:?} {} {}", seen.nodes, seen.state, seen.outcome)
            })
        };
        let sign = if unit == case.unit { "->" } else { "  " };
        let (theirs, ours) = (side(case.pgpool), side(case.pgsteer));
        let _ = write!(
            text,
            "\n  {sign} {sql}\n        pgpool {theirs}   pgsteer {ours}"
        );
    }
    text
}

/// Differences printed at most.
const SHOWN: usize = 40;
