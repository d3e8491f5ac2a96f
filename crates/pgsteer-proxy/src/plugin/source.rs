//! The component that a command is about, and the bench it is put on.

use std::path::Path;

use anyhow::{Context, Result};
use pgsteer_control::read_plugin;
use pgsteer_core::Topology;
use pgsteer_core::policy::{Grants, PluginSource};
use pgsteer_plugin_host::Options;
use pgsteer_plugin_host::tool::{Specimen, Workbench};
use tracing::subscriber::NoSubscriber;

use super::args::FileArgs;
use super::usage;

/// A component with its configuration, limits and grants.
///
/// # Errors
/// A file cannot be read, or is wrong.
pub(crate) fn read(args: &FileArgs) -> Result<PluginSource> {
    read_plugin(&args.file, args.config.as_deref()).map_err(usage)
}

/// The same by path.
pub(crate) fn read_files(file: &Path, config: Option<&Path>) -> Result<PluginSource> {
    read_plugin(file, config).map_err(usage)
}

/// Where components are asked.
pub(crate) fn workbench() -> Result<Workbench> {
    Workbench::new(Options::default()).context("cannot start the plugin engine")
}

/// Loads a component for questions.
///
/// # Errors
/// The stage that refused it, and why.
pub(crate) fn load(
    workbench: &Workbench,
    source: &PluginSource,
    topology: &Topology,
) -> Result<Specimen> {
    let loaded = quietly(|| workbench.load(source, topology));
    loaded.with_context(|| format!("{}.wasm", source.name))
}

/// While a plugin is tried out it is asked odd things; what it logs about them is not about what
/// the author asks.
pub(crate) fn quietly<T>(load: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(NoSubscriber::default(), load)
}

/// Everything a plugin can be granted, for commands that only look at it.
pub(crate) fn all_grants() -> Grants {
    let all = Grants::NAMED.iter().map(|(grant, _)| *grant);
    all.fold(Grants::default(), Grants::with)
}
