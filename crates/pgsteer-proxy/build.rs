//! Builds the plugins in `plugins/` as WebAssembly components and embeds the default policies.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs};

#[path = "build/guest.rs"]
mod guest;
#[path = "build/sdk.rs"]
mod sdk;

fn main() {
    if let Err(reason) = run() {
        for line in reason.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn run() -> Result<(), String> {
    let crate_dir = path_from("CARGO_MANIFEST_DIR")?;
    let out_dir = path_from("OUT_DIR")?;
    let root = crate_dir
        .ancestors()
        .nth(2)
        .ok_or("the crate lies in crates/")?;
    // <target>/<profile>/build/<package>/out
    let target = out_dir
        .ancestors()
        .nth(4)
        .ok_or("OUT_DIR lies in the target directory")?;

    let plugins = root.join("plugins");
    let names = names(&plugins)?;
    watch(root, &crate_dir, &names);
    sdk::embed(root, &out_dir.join("sdk_files.rs"))?;
    guest::compile(&plugins, &target.join("guests"), Stdio::piped())?;
    for name in &names {
        let component = guest::wrap(&target.join("guests"), name)?;
        guest::write(
            &target.join("plugins").join(format!("{name}.wasm")),
            &component,
        )?;
        if EMBEDDED.contains(&name.as_str()) {
            guest::write(&out_dir.join(format!("{name}.wasm")), &component)?;
        }
    }
    for name in EMBEDDED {
        if !out_dir.join(format!("{name}.wasm")).exists() {
            return Err(format!("plugins/{name} is missing"));
        }
    }
    Ok(())
}

/// The plugins of a workspace: its directories that are packages.
fn names(plugins: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(plugins).map_err(|error| guest::at(plugins, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| guest::at(plugins, &error))?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Not the whole of `plugins/`: somebody may build there by hand, in `plugins/target`.
fn watch(root: &Path, crate_dir: &Path, names: &[String]) {
    let fixed = [
        crate_dir.join("build.rs"),
        crate_dir.join("build"),
        root.join("wit"),
        root.join("crates/pgsteer-plugin-sdk"),
        root.join("Cargo.toml"),
        root.join("plugins/Cargo.toml"),
        root.join("plugins/Cargo.lock"),
    ];
    let plugins = names.iter().map(|name| root.join("plugins").join(name));
    for path in fixed.into_iter().chain(plugins) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn path_from(variable: &str) -> Result<PathBuf, String> {
    let path = env::var_os(variable).ok_or_else(|| format!("cargo sets {variable}"))?;
    fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Plugins that are part of the program: those that decide where no other does, and the one that
/// does the least, for `pgsteer plugin bench`.
const EMBEDDED: [&str; 3] = ["pgpool-router", "pgpool-failover", "primary-only"];
