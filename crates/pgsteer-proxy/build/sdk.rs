//! Makes a list of the sources of the SDK, to be compiled into the program: `pgsteer plugin new`
//! writes them beside a new plugin, which then needs nothing else of this repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::guest;

/// Writes an expression in Rust: a slice of paths from the root of the repository, with contents.
pub(crate) fn embed(root: &Path, list: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    for file in ["Cargo.toml", "plugins/Cargo.lock"] {
        files.push(root.join(file));
    }
    files.push(root.join(SDK).join("Cargo.toml"));
    for directory in [root.join(SDK).join("src"), root.join("wit")] {
        collect(&directory, &mut files)?;
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        let (name, file) = (name.to_string_lossy(), file.to_string_lossy());
        // Writing to a string does not fail.
        let _ = writeln!(text, "    ({name:?}, include_bytes!({file:?})),");
    }
    text.push_str("]\n");
    guest::write(list, text.as_bytes())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(directory).map_err(|error| guest::at(directory, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| guest::at(directory, &error))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

const SDK: &str = "crates/pgsteer-plugin-sdk";
