//! `pgsteer plugin build`: from Rust to a component.

#[path = "../../build/guest.rs"]
mod guest;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use toml::{Table, Value};

use super::args::BuildArgs;
use super::inspect::{self, Outside};
use super::{Report, shown, usage};

/// Runs the command.
pub(crate) fn run(args: &BuildArgs, json: bool) -> Result<Report> {
    let package = Package::read(&args.dir)?;
    let directory = std::fs::canonicalize(&args.dir)?;
    let shared = std::env::var_os("CARGO_TARGET_DIR").map(std::path::absolute);
    let target = shared
        .transpose()?
        .unwrap_or_else(|| directory.join("target"));
    let talk = if json {
        Stdio::piped()
    } else {
        Stdio::inherit()
    };
    guest::compile(&directory, &target, talk).map_err(|reason| anyhow!(reason))?;
    let component = guest::wrap(&target, &package.library).map_err(|reason| anyhow!(reason))?;
    let output = args.output.clone();
    let output = output.unwrap_or_else(|| args.dir.join(format!("{}.wasm", package.name)));
    guest::write(&output, &component).map_err(|reason| anyhow!(reason))?;
    let outside = Outside::of(&output, &component)?;
    Ok(report(
        &package,
        &args.dir,
        &output,
        component.len(),
        &outside,
    ))
}

/// What its Cargo.toml says.
pub(super) struct Package {
    pub(super) name: String,
    library: String,
}

impl Package {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("Cargo.toml");
        let shown = path.display();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| usage(format!("{shown}: cannot be read: {error}")))?;
        let manifest: Table = text.parse().with_context(|| shown.to_string())?;
        let named = |table: &str| {
            let table = manifest.get(table).and_then(Value::as_table);
            table.and_then(|t| t.get("name")).and_then(Value::as_str)
        };
        let name = named("package");
        let name = name.ok_or_else(|| usage(format!("{shown}: is not that of a package")))?;
        let library = named("lib").unwrap_or(name);
        let is_cdylib = crate_types(&manifest).any(|kind| kind == "cdylib");
        if !is_cdylib {
            return Err(usage(format!(
                "{shown}: makes no WebAssembly module: add crate-type = [\"cdylib\"] under [lib]"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            library: library.to_owned(),
        })
    }
}

fn crate_types(manifest: &Table) -> impl Iterator<Item = &str> {
    let library = manifest.get("lib").and_then(Value::as_table);
    let kinds = library
        .and_then(|l| l.get("crate-type"))
        .and_then(Value::as_array);
    kinds.into_iter().flatten().filter_map(Value::as_str)
}

fn report(
    package: &Package,
    directory: &Path,
    output: &Path,
    bytes: usize,
    outside: &Outside,
) -> Report {
    let name = &package.name;
    let file = output.display();
    let mut next = Vec::new();
    if directory.join("cases.toml").is_file() {
        next.push(format!("pgsteer plugin test {}", directory.display()));
    } else {
        next.push(format!("pgsteer plugin check {file}"));
    }
    let live: PathBuf = [
        PathBuf::from("/path/to/plugins"),
        format!("10-{name}.wasm").into(),
    ]
    .iter()
    .collect();
    next.push(format!("cp {file} {}", live.display()));
    if !outside.grants.is_empty() {
        let grants = inspect::list_of(&outside.grants);
        next.push(format!(
            "write grants = {grants} into 10-{name}.toml beside it"
        ));
    }
    let mut sheet = shown::Sheet::default();
    sheet.line("file", file.to_string());
    sheet.line("size", shown::bytes(bytes));
    sheet.line("hooks", outside.hooks.join(", "));
    sheet.line("needs grants", inspect::or_none(&outside.grants));
    Report::good(
        format!("{sheet}\n\nnext:\n  {}", next.join("\n  ")),
        json!({
            "file": file.to_string(),
            "bytes": bytes,
            "hooks": outside.hooks,
            "grants": outside.grants,
            "next": next,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_module_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let read = |text: &str| {
            std::fs::write(dir.path().join("Cargo.toml"), text).expect("written");
            Package::read(dir.path())
        };
        let missing = Package::read(&dir.path().join("nowhere"));
        assert!(missing.is_err());
        assert!(read("[workspace]\n").is_err());
        assert!(read("[package]\nname = \"x\"\n").is_err());
        let text = "[package]\nname = \"x-y\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
        let package = read(text).expect("a plugin");
        assert_eq!((&*package.name, &*package.library), ("x-y", "x-y"));
    }
}
