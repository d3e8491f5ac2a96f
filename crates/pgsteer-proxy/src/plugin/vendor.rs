//! The SDK as it is written beside a new plugin, which then needs nothing else of this repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::embedded::SDK_SOURCES;

/// The SDK, laid out as in its repository: it finds the interface by that.
pub(crate) fn vendored() -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    let manifest_path = format!("{SDK}/Cargo.toml");
    for (path, content) in SDK_SOURCES {
        let content = match *path {
            ROOT | LOCK => continue,
            path if path == manifest_path => standalone(content)?.into_bytes(),
            _ => content.to_vec(),
        };
        files.push((Path::new("sdk").join(path), content));
    }
    Ok(files)
}

/// The manifest of the SDK without what it takes from its workspace.
fn standalone(manifest: &[u8]) -> Result<String> {
    let read = |bytes: &[u8]| -> Result<Table> { Ok(std::str::from_utf8(bytes)?.parse()?) };
    let mut manifest = read(manifest)?;
    let root = read(source(ROOT).unwrap_or_default())?;
    let workspace = root.get("workspace").and_then(Value::as_table);
    let shared = |table: &str, key: &str| {
        let table = workspace
            .and_then(|w| w.get(table))
            .and_then(Value::as_table);
        table.and_then(|t| t.get(key)).cloned()
    };
    for (in_workspace, table) in [("package", "package"), ("dependencies", "dependencies")] {
        let Some(Value::Table(entries)) = manifest.get_mut(table) else {
            continue;
        };
        for (key, value) in entries.iter_mut().filter(|(_, v)| is_inherited(v)) {
            let known = shared(in_workspace, key);
            *value = known.with_context(|| format!("the workspace has no {table}.{key}"))?;
        }
    }
    for table in ["lints", "dev-dependencies"] {
        manifest.remove(table);
    }
    Ok(manifest.to_string())
}

fn is_inherited(value: &Value) -> bool {
    let flag = value.as_table().and_then(|table| table.get("workspace"));
    flag.and_then(Value::as_bool) == Some(true)
}

fn source(path: &str) -> Option<&'static [u8]> {
    let found = SDK_SOURCES.iter().find(|(known, _)| *known == path);
    found.map(|(_, content)| *content)
}

/// Where the SDK is in its repository.
pub(crate) const SDK: &str = "crates/pgsteer-plugin-sdk";
const ROOT: &str = "Cargo.toml";
const LOCK: &str = "plugins/Cargo.lock";

/// The versions of libraries with which the plugins of this very program were built.
pub(crate) fn versions() -> Result<&'static [u8]> {
    source(LOCK).context("the program was built without the sources of the SDK")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_stands_alone() {
        let files = vendored().expect("files");
        let manifest = files.iter().find(|(path, _)| path.ends_with("Cargo.toml"));
        let manifest = manifest.expect("a manifest").1.clone();
        let text = String::from_utf8(manifest).expect("text");
        assert!(!text.contains("workspace"), "{text}");
        assert!(text.contains("wit-bindgen"), "{text}");
        assert!(
            files
                .iter()
                .any(|(path, _)| path.ends_with("wit/v0.1/plugin.wit"))
        );
    }
}
