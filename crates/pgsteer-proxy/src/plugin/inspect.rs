//! `pgsteer plugin inspect`: what a component is and wants.

use std::path::Path;

use anyhow::Result;
use pgsteer_core::policy::{PluginSource, needs};
use pgsteer_plugin_host::tool::{Inspection, Summary};
use serde_json::json;

use super::args::FileArgs;
use super::question::{NODES, topology};
use super::shown::{self, Sheet};
use super::{Report, source};

/// What a file says without being run.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) hooks: Vec<&'static str>,
    /// Without these it is refused.
    pub(crate) grants: Vec<&'static str>,
}

impl Outside {
    /// Looks at a component.
    ///
    /// # Errors
    /// It would be refused whatever it is granted.
    pub(crate) fn of(file: &Path, component: &[u8]) -> Result<Self> {
        let mut source = source::read_files(file, None)?;
        source.bytes = component.into();
        source.grants = source::all_grants();
        let inspection = source::workbench()?.inspect(&source)?;
        Ok(Self::new(&inspection))
    }

    pub(crate) fn new(inspection: &Inspection) -> Self {
        Self {
            hooks: inspection.hooks.names().collect(),
            grants: inspection.grants.names().collect(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &FileArgs) -> Result<Report> {
    let mut source = source::read(args)?;
    source.grants = source::all_grants();
    let workbench = source::workbench()?;
    let inspection = workbench.inspect(&source)?;
    let mut sheet = outside(&source, &inspection);
    let mut json = json!({
        "file": args.file.display().to_string(),
        "sha256": source.sha256,
        "bytes": inspection.file_bytes,
        "functions": inspection.functions,
        "interface": inspection.interface,
        "hooks": inspection.hooks.names().collect::<Vec<_>>(),
        "imports": inspection.imports,
        "grants": inspection.grants.names().collect::<Vec<_>>(),
        "logs": inspection.logs,
    });
    // What it says about itself takes running it, which may fail where looking did not.
    match source::quietly(|| workbench.load(&source, &topology(&NODES))) {
        Ok(specimen) => {
            manifest(&mut sheet, specimen.summary());
            if specimen.summary().needs & needs::VALUES != 0 {
                sheet.line("values", "it is told them with the grant values only");
            }
            json["manifest"] = manifest_json(specimen.summary());
        }
        Err(refused) => {
            sheet.line("manifest", format!("not known: {refused}"));
            json["manifest"] = json!({ "stage": refused.stage, "reason": refused.reason });
        }
    }
    Ok(Report::good(sheet.to_string(), json))
}

fn outside(source: &PluginSource, inspection: &Inspection) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.line("sha256", &source.sha256);
    sheet.line("size", shown::bytes(inspection.file_bytes));
    sheet.line("functions", shown::count(inspection.functions.into()));
    sheet.line("interface", &inspection.interface);
    sheet.line(
        "hooks",
        inspection.hooks.names().collect::<Vec<_>>().join(", "),
    );
    sheet.line_if("imports", inspection.imports.join("\n"));
    let grants: Vec<_> = inspection.grants.names().collect();
    sheet.line("needs grants", or_none(&grants));
    if inspection.logs {
        sheet.line("log", "its lines are dropped without the grant log");
    }
    sheet
}

/// What it says about itself.
pub(crate) fn manifest(sheet: &mut Sheet, summary: &Summary) {
    sheet.line("name", format!("{} {}", summary.name, summary.version));
    sheet.line_if("does", &summary.description);
    sheet.line("is told", or_none(&told(summary.needs)));
    let remembered = if summary.deterministic {
        "as it says itself, answer by answer"
    } else {
        "never: it does not promise that its answers depend on the question alone"
    };
    sheet.line("remembered", remembered);
    sheet.line("memory", shown::bytes(summary.memory_bytes));
    sheet.line("machine code", shown::bytes(summary.image_bytes));
}

/// The same as JSON.
pub(crate) fn manifest_json(summary: &Summary) -> serde_json::Value {
    json!({
        "name": summary.name,
        "version": summary.version,
        "description": summary.description,
        "needs": told(summary.needs),
        "deterministic": summary.deterministic,
        "memory_bytes": summary.memory_bytes,
        "image_bytes": summary.image_bytes,
    })
}

/// What it is told besides numbers.
fn told(bits: u64) -> Vec<&'static str> {
    let known = [
        (needs::SQL, "text"),
        (needs::RELATIONS, "relations"),
        (needs::FUNCTIONS, "functions"),
        (needs::VALUES, "values of parameters"),
        (needs::IDENTITY, "user and database of events"),
    ];
    let named = known.into_iter().filter(|(bit, _)| bits & bit != 0);
    named.map(|(_, name)| name).collect()
}

/// Words, or the word for none.
pub(crate) fn or_none(words: &[&str]) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// As a list in TOML.
pub(crate) fn list_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use pgsteer_core::policy::Grants;

    use super::*;

    #[test]
    fn words_are_lists() {
        assert_eq!(told(needs::SQL | needs::FUNCTIONS), ["text", "functions"]);
        assert_eq!(or_none(&[]), "none");
        assert_eq!(list_of(&["log", "kv"]), "[\"log\", \"kv\"]");
        assert!(all_are_granted());
    }

    fn all_are_granted() -> bool {
        let all = source::all_grants();
        Grants::NAMED.iter().all(|(grant, _)| all.has(*grant))
    }
}
