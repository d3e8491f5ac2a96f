//! `pgsteer plugin check`: whether the proxy would take a component, with what stands beside it.

use anyhow::Result;
use pgsteer_core::policy::{Grants, LoadError, PluginSource};
use pgsteer_plugin_host::tool::{Inspection, Specimen, Summary, Workbench};
use serde_json::{Value, json};

use super::args::FileArgs;
use super::question::{NODES, topology};
use super::shown::{self, Sheet};
use super::{Report, Verdict, inspect, source};

/// Runs the command.
pub(crate) fn run(args: &FileArgs) -> Result<Report> {
    let source = source::read(args)?;
    let workbench = source::workbench()?;
    let file = args.file.display().to_string();
    Ok(
        match source::quietly(|| workbench.load(&source, &topology(&NODES))) {
            Ok(specimen) => accepted(&file, &source, &specimen),
            Err(refused) => refusal(&file, &source, &workbench, &refused),
        },
    )
}

fn accepted(file: &str, source: &PluginSource, specimen: &Specimen) -> Report {
    let summary = specimen.summary();
    let limits = &source.limits;
    let mut sheet = Sheet::default();
    sheet.line("name", format!("{} {}", summary.name, summary.version));
    sheet.line_if("does", &summary.description);
    let hooks: Vec<_> = summary.inspection.hooks.names().collect();
    sheet.line("hooks", hooks.join(", "));
    sheet.line("grants", grants(source.grants, &summary.inspection));
    let used = |used: usize, limit: usize| {
        let share = shown::share(used as f64, limit as f64);
        format!(
            "{} of {} ({share})",
            shown::bytes(used),
            shown::bytes(limit)
        )
    };
    let size = summary.inspection.file_bytes;
    sheet.line("size", used(size, limits.file_bytes_max));
    sheet.line(
        "memory",
        used(summary.memory_bytes, limits.memory_bytes_max),
    );
    sheet.line("machine code", shown::bytes(summary.image_bytes));
    sheet.line("stages", stages(summary));
    let text = format!("{file}: the proxy would take it\n\n{sheet}");
    Report::good(text, accepted_json(file, source, summary))
}

fn accepted_json(file: &str, source: &PluginSource, summary: &Summary) -> Value {
    let stage = |(name, time): &(&str, std::time::Duration)| json!({ "stage": name, "microseconds": micros(*time) });
    json!({
        "file": file,
        "accepted": true,
        "sha256": source.sha256,
        "bytes": summary.inspection.file_bytes,
        "hooks": summary.inspection.hooks.names().collect::<Vec<_>>(),
        "grants_given": source.grants.names().collect::<Vec<_>>(),
        "grants_needed": summary.inspection.grants.names().collect::<Vec<_>>(),
        "manifest": inspect::manifest_json(summary),
        "stages": summary.report.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}

/// Microseconds as a number for JSON.
pub(super) fn micros(time: std::time::Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn stages(summary: &Summary) -> String {
    let stages = summary.report.stages.iter();
    let shown = stages.map(|(name, time)| format!("{name} {}", shown::time(*time)));
    shown.collect::<Vec<_>>().join(", ")
}

/// What it was given, of that what it does not use, and whether its log lines are seen.
fn grants(given: Grants, inspection: &Inspection) -> String {
    let log = if inspection.logs {
        Grants::LOG
    } else {
        Grants::default()
    };
    // Nothing in the file shows whether the last two are used.
    let by_answers = Grants::VALUES.with(Grants::REWRITE_ANY);
    let used = inspection.grants.with(log).with(by_answers);
    let unused: Vec<_> = Grants::NAMED
        .iter()
        .filter(|(grant, _)| given.has(*grant) && !used.has(*grant))
        .map(|(_, name)| *name)
        .collect();
    let mut text = inspect::or_none(&given.names().collect::<Vec<_>>());
    if !unused.is_empty() {
        text.push_str(&format!("; it has no use for {}", unused.join(", ")));
    }
    if inspection.logs && !given.has(Grants::LOG) {
        text.push_str("; without log the lines it logs are dropped");
    }
    text
}

fn refusal(
    file: &str,
    source: &PluginSource,
    workbench: &Workbench,
    refused: &LoadError,
) -> Report {
    let mut text = format!("{file}: {refused}");
    // Hooks and grants help even then, if it can be looked at.
    let generous = PluginSource {
        grants: source::all_grants(),
        ..source.clone()
    };
    let looked = workbench.inspect(&generous).ok();
    let outside = looked.as_ref().map(inspect::Outside::new);
    if let Some(outside) = &outside {
        let mut sheet = Sheet::default();
        sheet.line("hooks", outside.hooks.join(", "));
        sheet.line("needs grants", inspect::or_none(&outside.grants));
        let given: Vec<_> = source.grants.names().collect();
        sheet.line("has grants", inspect::or_none(&given));
        text.push_str(&format!("\n\n{sheet}"));
    }
    Report {
        verdict: Verdict::Bad,
        text,
        json: json!({
            "file": file,
            "accepted": false,
            "stage": refused.stage,
            "reason": refused.reason,
            "hooks": outside.as_ref().map(|o| o.hooks.clone()),
            "grants_needed": outside.as_ref().map(|o| o.grants.clone()),
            "grants_given": source.grants.names().collect::<Vec<_>>(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_compared_with_what_is_used() {
        let both = Grants::LOG.with(Grants::KV);
        for (given, needed, logs, expected) in [
            (Grants::default(), Grants::default(), false, "none"),
            (both, Grants::KV, true, "log, kv"),
            (both, Grants::KV, false, "log, kv; it has no use for log"),
            (
                Grants::KV,
                Grants::KV,
                true,
                "kv; without log the lines it logs are dropped",
            ),
            (Grants::VALUES, Grants::default(), false, "values"),
        ] {
            let mut inspection = Inspection::default();
            (inspection.grants, inspection.logs) = (needed, logs);
            assert_eq!(grants(given, &inspection), expected);
        }
    }
}
