//! Runs programs through both proxies and holds the results against each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use crate::differences::{self, Difference};
use crate::lab::Lab;
use crate::program::{self, Program, Run, Seen};
use crate::settings::{Rules, Setting};

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

    /// All units before it.
    pub(crate) fn before(&self) -> impl Iterator<Item = &String> {
        self.units[..self.unit].iter()
    }

    /// The units since the last one that ended outside a transaction.
    pub(crate) fn transaction(&self) -> impl Iterator<Item = &String> {
        let outside = self.pgpool[..self.unit]
            .iter()
            .rposition(|seen| seen.state == 'I');
        self.units[outside.map_or(0, |at| at + 1)..self.unit].iter()
    }
}

/// Programs under the same settings, and the differences they must meet.
pub(crate) struct Group {
    /// Its database, for which `setup` is run once.
    pub(crate) database: &'static str,
    pub(crate) settings: &'static [Setting],
    /// Ids of differences to pgsteer's default rules, and to `compatibility = "exact"`.
    pub(crate) safer: &'static [&'static str],
    pub(crate) exact: &'static [&'static str],
}

impl Group {
    /// Runs the programs through all proxies and compares. Fails if anything differs that is not
    /// expected, or if an expected difference was not met. Returns what Pgpool-II did.
    pub(crate) fn run(&self, programs: &[Program]) -> Result<Vec<Vec<Seen>>> {
        let lab = Lab::start(self.database, [0, 1], self.settings)?;
        let mut runs: Vec<Vec<Run>> = vec![Vec::new()];
        runs.extend(lab.pgsteer().map(|_| Vec::new()));
        // A program's runs one after the other: they find the same tables.
        for program in programs {
            let pgsteer = lab.pgsteer().map(|(_, port)| (port, true));
            let proxies = std::iter::once((lab.pgpool(), false)).chain(pgsteer);
            for ((port, knows_catalogs), runs) in proxies.zip(&mut runs) {
                runs.push(program::run(&lab, port, program, knows_catalogs));
            }
        }
        let mut located = program::locate(runs)?;
        let pgpool = located.remove(0);
        for ((rules, _), pgsteer) in lab.pgsteer().zip(&located) {
            let expected = match rules {
                Rules::Safer => self.safer,
                Rules::Exact => self.exact,
            };
            let wrong = unexpected(programs, &pgpool, pgsteer, expected);
            let (count, shown) = (wrong.len(), &wrong[..wrong.len().min(SHOWN)]);
            assert!(
                wrong.is_empty(),
                "{rules:?} rules: {count} differences with\n{}:\n\n{}",
                lab.shown,
                shown.join("\n\n")
            );
        }
        Ok(pgpool)
    }
}

/// The differences that are not expected, and the expected ones that were not met, in words.
fn unexpected(
    programs: &[Program],
    pgpool: &[Vec<Seen>],
    pgsteer: &[Vec<Seen>],
    expected: &[&str],
) -> Vec<String> {
    let expected: Vec<&Difference> = expected.iter().map(|id| differences::find(id)).collect();
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    for (program, (pgpool, pgsteer)) in programs.iter().zip(pgpool.iter().zip(pgsteer)) {
        let units = program.units();
        for (unit, what) in differing(&units, pgpool, pgsteer) {
            let case = Case {
                units: &units,
                unit,
                pgpool,
                pgsteer,
                what,
            };
            match expected.iter().find(|entry| (entry.applies)(&case)) {
                Some(entry) => {
                    met.insert(entry.id);
                }
                None => wrong.push(format!("{}{}", program.title, shown(&case))),
            }
        }
    }
    // One program, chosen by its seed, need not meet them all.
    let is_whole = programs.len() > 1;
    let unmet = expected
        .iter()
        .filter(|entry| is_whole && !met.contains(entry.id));
    wrong.extend(unmet.map(|entry| format!("was not met: {}: {}", entry.id, entry.reason)));
    wrong
}

/// The rule: a statement runs on the same node. One that only tells a server something (BEGIN, SET,
/// SAVEPOINT and their like; Pgpool-II runs most of them on both nodes at once) pgsteer tells a node
/// when it is used, perhaps never; so what counts is that every node that is used afterwards has
/// been told.
fn differing(units: &[String], pgpool: &[Seen], pgsteer: &[Seen]) -> Vec<(usize, What)> {
    let mut found = Vec::new();
    for unit in 0..units.len() {
        let (Some(theirs), Some(ours)) = (pgpool.get(unit), pgsteer.get(unit)) else {
            break;
        };
        if (theirs.state == 'X') != (ours.state == 'X') {
            found.push((unit, What::End));
        } else if theirs.nodes.len() == 2 || only_tells(&units[unit]) {
            let used = used_afterwards(units, pgpool, pgsteer, unit);
            if !used.is_subset(&ours.nodes) {
                found.push((unit, What::Untold));
            }
        } else if theirs.nodes != ours.nodes && !is_run_later(units, unit) {
            found.push((unit, What::Node));
        }
    }
    found
}

/// A Parse is told to further nodes when the statement is run there: then only that counts.
fn is_run_later(units: &[String], unit: usize) -> bool {
    let parsed = units[unit]
        .strip_prefix("[Parse ")
        .and_then(|rest| rest.split_once(']'));
    parsed.is_some_and(|(name, _)| units.contains(&format!("[Run {name}]")))
}

/// Whether a statement is of a kind that changes only what a server knows of the session.
fn only_tells(sql: &str) -> bool {
    let word = first_word(sql);
    let kinds = [
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT",
        "RELEASE",
        "SET",
        "RESET",
        "DISCARD",
    ];
    kinds.contains(&&*word) && !sql.contains("; ") && !sql.contains("PREPARED")
}

/// The nodes pgsteer ran statements on while `unit` was in force. Empty for what is not replayed in
/// its own words: a savepoint is made under its name, and a second BEGIN changes nothing.
fn used_afterwards(
    units: &[String],
    pgpool: &[Seen],
    pgsteer: &[Seen],
    unit: usize,
) -> BTreeSet<usize> {
    let word = first_word(&units[unit]);
    let was_inside = unit > 0 && pgsteer[unit - 1].state != 'I';
    let is_replayed = match &*word {
        "BEGIN" | "START" => !was_inside,
        // SET LOCAL outside a transaction changes nothing.
        "SET" => !units[unit].contains("SET LOCAL") || pgsteer[unit].state == 'T',
        _ => false,
    };
    if !is_replayed || pgsteer[unit].failed() || pgpool[unit].failed() {
        return BTreeSet::new();
    }
    let opens = word != "SET";
    let is_local = opens || pgsteer[unit].state == 'T';
    let mut used = BTreeSet::new();
    for later in unit + 1..pgsteer.len().min(pgpool.len()) {
        let ends = is_local && pgsteer[later].state == 'I';
        // Taken back, said again in other words, or over.
        let is_over = match &*first_word(&units[later]) {
            "COMMIT" | "END" => is_local,
            "ROLLBACK" | "ABORT" => true,
            "DISCARD" | "RESET" | "SET" => !opens,
            _ => false,
        };
        if ends || is_over {
            break;
        }
        if !only_tells(&units[later]) && pgpool[later].nodes.len() == 1 {
            used.extend(&pgsteer[later].nodes);
        }
    }
    used
}

fn first_word(sql: &str) -> String {
    let sql = sql.trim_start_matches("[extended] ");
    sql.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_uppercase()
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
