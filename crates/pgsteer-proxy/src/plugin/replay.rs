//! `pgsteer plugin replay`: a recording through two versions of a plugin, and where they differ.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use pgsteer_control::recording;
use pgsteer_core::Role;
use pgsteer_core::policy::{Answers, Hooks, Sample};
use pgsteer_plugin_host::tool::Specimen;
use serde_json::{Value, json};

use super::args::ReplayArgs;
use super::question::{NODES, topology};
use super::{Report, Verdict, shown, source, usage};

/// Runs the command.
pub(crate) fn run(args: &ReplayArgs) -> Result<Report> {
    let samples = read(&args.recording)?;
    let workbench = source::workbench()?;
    let nodes = topology(&nodes(&samples));
    let config = args.config.as_deref();
    let old = source::read_files(&args.old, config)?;
    let new = source::read_files(&args.new, config)?;
    // Marks are recorded by file name: both get those of the old one.
    let file = old.name.clone();
    let old = source::load(&workbench, &old, &nodes)?;
    // An engine of its own: what the one keeps is not for the other.
    let workbench = source::workbench()?;
    let new = source::load(&workbench, &new, &nodes)?;
    let (of_old, of_new) = (about_statements(&old), about_statements(&new));
    let both = of_old.both(of_new);
    if both.is_empty() {
        bail!(
            "there is nothing to compare: they have no hook in common that is asked about statements"
        );
    }
    let (mut old, mut new) = (Side::new(old, both), Side::new(new, both));
    let mut found = Found::default();
    for sample in &samples {
        found.note(sample, old.ask(sample, &file), new.ask(sample, &file));
    }
    let mut report = report(args, &samples, &old, &new, found);
    for (name, hooks) in [("old", of_old), ("new", of_new)] {
        for hook in hooks
            .names()
            .filter(|hook| !both.names().any(|b| b == *hook))
        {
            let note =
                format!("\nnot compared: the hook {hook}, which the {name} version alone has");
            report.text.push_str(&note);
        }
    }
    Ok(report)
}

/// Hooks of a plugin that a recording can be put to.
fn about_statements(specimen: &Specimen) -> Hooks {
    specimen
        .summary()
        .inspection
        .hooks
        .both(Hooks::REWRITER.with(Hooks::ROUTER))
}

/// Every line of a recording.
fn read(path: &Path) -> Result<Vec<Sample>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(format!("{shown}: cannot be read: {error}")))?;
    let samples = recording::read(&text).map_err(|error| usage(format!("{shown}, {error}")))?;
    if samples.is_empty() {
        return Err(usage(format!("{shown}: there is no decision in it")));
    }
    Ok(samples)
}

/// As many nodes as the recording speaks of.
fn nodes(samples: &[Sample]) -> Vec<(Role, f64)> {
    let named = samples.iter().filter_map(|s| s.balance_node);
    let count = named.map(|node| node.index() + 1).max().unwrap_or(0);
    let mut nodes = NODES.to_vec();
    nodes.resize(count.max(nodes.len()), (Role::Replica, 1.0));
    nodes
}

/// One version.
struct Side {
    specimen: Specimen,
    hooks: Hooks,
    fuel: u64,
    failures: usize,
}

impl Side {
    fn new(specimen: Specimen, hooks: Hooks) -> Self {
        Self {
            hooks,
            specimen,
            fuel: 0,
            failures: 0,
        }
    }

    fn ask(&mut self, sample: &Sample, file: &str) -> Result<Answers, String> {
        let hooks = self.hooks;
        let asked = self
            .specimen
            .ask(|policy| Answers::ask(policy, hooks, sample, file));
        self.fuel += asked.fuel;
        asked.answer.map_err(|error| {
            self.failures += 1;
            error.to_string()
        })
    }
}

/// Differences, those alike together.
#[derive(Debug, Default)]
struct Found {
    groups: HashMap<(u64, String, String), Group>,
    different: usize,
    refused_anew: usize,
}

#[derive(Debug)]
struct Group {
    count: usize,
    sql: String,
}

impl Found {
    fn note(
        &mut self,
        sample: &Sample,
        old: Result<Answers, String>,
        new: Result<Answers, String>,
    ) {
        if old == new {
            return;
        }
        self.different += 1;
        let refuses = |side: &Result<Answers, String>| side.as_ref().is_ok_and(Answers::refuses);
        self.refused_anew += usize::from(refuses(&new) && !refuses(&old));
        let words = |side: Result<Answers, String>| {
            side.map_or_else(|error| format!("fails: {error}"), |a| a.words())
        };
        let key = (sample.fingerprint, words(old), words(new));
        let sql = || sample.sql.clone();
        let group = self.groups.entry(key).or_insert_with(|| Group {
            count: 0,
            sql: sql(),
        });
        group.count += 1;
    }

    /// The most frequent first.
    fn sorted(self) -> Vec<(usize, String, String, String)> {
        let groups = self.groups.into_iter();
        let mut groups: Vec<_> = groups
            .map(|((_, old, new), group)| (group.count, group.sql, old, new))
            .collect();
        groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.cmp(b)));
        groups
    }
}

fn report(args: &ReplayArgs, samples: &[Sample], old: &Side, new: &Side, found: Found) -> Report {
    let total = samples.len();
    let (different, refused_anew) = (found.different, found.refused_anew);
    let mut text = format!(
        "{}, {different} answered in another way ({})",
        shown::plural(total, "decision"),
        shown::share(different as f64, total as f64)
    );
    if refused_anew > 0 {
        text.push_str(&format!("; {refused_anew} refused by the new version only"));
    }
    for (name, side) in [("old", old), ("new", new)] {
        if side.failures > 0 {
            text.push_str(&format!(
                "\nthe {name} version failed {} times",
                side.failures
            ));
        }
    }
    let groups = found.sorted();
    for (count, sql, before, after) in groups.iter().take(args.show) {
        let sql = if sql.is_empty() {
            "(text not recorded)"
        } else {
            sql
        };
        text.push_str(&format!(
            "\n\n{count} times: {sql}\n  old: {before}\n  new: {after}"
        ));
    }
    if groups.len() > args.show {
        let more = groups.len() - args.show;
        text.push_str(&format!(
            "\n\nand {more} more kinds of differences: --show {}",
            groups.len()
        ));
    }
    let each = |side: &Side| side.fuel / u64::try_from(total.max(1)).unwrap_or(1);
    text.push_str(&format!(
        "\n\nfuel for a decision: old {}, new {}",
        shown::count(each(old)),
        shown::count(each(new))
    ));
    let group = |(count, sql, before, after): &(usize, String, String, String)| json!({ "count": count, "sql": sql, "old": before, "new": after });
    Report {
        verdict: Verdict::when(different == 0 && new.failures == 0),
        text,
        json: json!({
            "decisions": total,
            "different": different,
            "refused_by_new_only": refused_anew,
            "failures": { "old": old.failures, "new": new.failures },
            "fuel_per_decision": { "old": each(old), "new": each(new) },
            "differences": groups.iter().take(args.show).map(group).collect::<Vec<Value>>(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;

    use super::*;

    #[test]
    fn there_are_as_many_nodes_as_the_recording_names() {
        let on = |node: u16| Sample {
            balance_node: Some(NodeId(node)),
            ..Sample::default()
        };
        assert_eq!(nodes(&[Sample::default()]).len(), 3);
        assert_eq!(nodes(&[on(1), on(6)]).len(), 7);
    }

    #[test]
    fn differences_alike_are_counted_together() {
        let sample = |fingerprint: u64| Sample {
            fingerprint,
            sql: format!("SELECT {fingerprint}"),
            ..Sample::default()
        };
        let fails = |text: &str| Err(text.to_owned());
        let mut found = Found::default();
        found.note(&sample(1), fails("x"), fails("x"));
        found.note(&sample(2), fails("x"), fails("y"));
        found.note(&sample(1), fails("x"), fails("y"));
        found.note(&sample(1), fails("x"), fails("y"));
        assert_eq!(found.different, 3);
        let groups = found.sorted();
        let counts: Vec<_> = groups.iter().map(|g| (g.0, g.1.as_str())).collect();
        assert_eq!(counts, [(2, "SELECT 1"), (1, "SELECT 2")]);
    }
}
