//! `pgsteer plugin compile`: machine code where the proxy looks for it, so that neither a start nor
//! a swap has to wait for the compiler.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pgsteer_core::policy::{LoadContext, LoadedPlugin, PluginLoader as _, PluginSource};
use pgsteer_plugin_host::{Options, WasmLoader};
use serde_json::json;

use super::args::CompileArgs;
use super::question::{NODES, topology};
use super::{Report, shown, source};

/// Runs the command.
pub(crate) fn run(args: &CompileArgs) -> Result<Report> {
    let source = source::read(&args.plugin)?;
    let options = Options {
        state_dir: Some(args.state_dir.clone()),
        ..Options::default()
    };
    make_private(&args.state_dir)?;
    let first = load(&options, &source)?;
    let was_there = first.report.was_compiled;
    // What cannot be kept is not an error for the loader; so it is looked at with another one.
    let is_there = was_there || load(&options, &source)?.report.was_compiled;
    let directory = args.state_dir.display();
    if !is_there {
        bail!("it compiles, but cannot be kept in {directory}; the line above says why");
    }
    let stages = first.report.stages.iter();
    let took = stages
        .filter(|(stage, _)| *stage == "compile")
        .map(|(_, t)| *t);
    let took: std::time::Duration = took.sum();
    let text = if was_there {
        format!("{directory} has it already")
    } else {
        format!(
            "compiled in {}, kept in {directory}; it serves this version of pgsteer on this kind \
             of processor",
            shown::time(took)
        )
    };
    Ok(Report::good(
        text,
        json!({
            "state_dir": directory.to_string(),
            "sha256": source.sha256,
            "was_there": was_there,
            "microseconds": super::check::micros(took),
        }),
    ))
}

/// A directory for the proxy's user alone, unless it is there.
fn make_private(directory: &Path) -> Result<()> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.with_context(|| format!("cannot make {}", directory.display()))
}

/// As the proxy loads it.
pub(super) fn load(options: &Options, source: &PluginSource) -> Result<LoadedPlugin> {
    let loader = WasmLoader::new(options.clone()).context("cannot start the plugin engine")?;
    let context = LoadContext {
        workers: 1,
        topology: &topology(&NODES),
        golden: &[],
        previous: None,
    };
    let loaded = loader.load(source, &context);
    loaded.with_context(|| format!("{}.wasm", source.name))
}
