//! How a plugin gets from bytes to something that answers.

use std::sync::Arc;

use thiserror::Error;

use super::{Router, RouterFactory};
use crate::Topology;
use crate::settings::PluginLimits;

/// What kind of failure a plugin had; each has its own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The guest trapped (unreachable, division by zero, stack overflow, ...).
    Trap,
    /// It ran longer than its limit.
    Deadline,
    /// It asked for more memory than its limit and did not cope.
    Memory,
    /// A value did not fit the interface (bad pointer, invalid UTF-8, unknown case, too long).
    Abi,
    /// A well-formed answer broke a rule, such as a node that does not exist.
    Invalid,
}

/// A plugin failed while it was asked. Whatever instance it came from must be dropped.
#[derive(Clone, Debug, Error)]
#[error("plugin failed ({class:?}): {reason}")]
pub struct PolicyError {
    /// What kind of failure.
    pub class: FailureClass,
    /// For the log, never for a client.
    pub reason: String,
}

/// A plugin file as found.
#[derive(Clone, Debug)]
pub struct PluginSource {
    /// File name without directory and extension, such as `10-mine`.
    pub name: String,
    /// The component.
    pub bytes: Arc<[u8]>,
    /// SHA-256 of the component in hexadecimal.
    pub sha256: String,
    /// Its configuration, a JSON object.
    pub config: String,
    /// Its limits.
    pub limits: PluginLimits,
}

/// Why a file was refused; the running plugin stays.
#[derive(Clone, Debug, Error)]
#[error("refused at stage {stage}: {reason}")]
pub struct LoadError {
    /// Which step of loading refused it: `inspect`, `compile`, `link`, `describe`, `configure`,
    /// `self-test`, `canary`.
    pub stage: &'static str,
    /// What was wrong and what to do about it.
    pub reason: String,
}

/// A plugin that passed every stage, with an instance for each worker.
pub struct LoadedPlugin {
    /// Name from its manifest.
    pub name: String,
    /// Version from its manifest.
    pub version: String,
    /// Hooks it implements, in the words of `wit/`.
    pub hooks: Vec<&'static str>,
    /// It may be remembered what it answered.
    pub deterministic: bool,
    /// What it wants to be told about statements, bits of [`super::needs`].
    pub needs: u64,
    /// Makes further instances.
    pub factory: Arc<dyn RouterFactory>,
    /// One instance per worker; the topology was told to each.
    pub instances: Vec<Box<dyn Router>>,
}

/// Turns files into plugins. Slow (compiles): never called on a worker.
pub trait PluginLoader: Send + Sync {
    /// Takes the file through every stage and builds an instance for each of `workers`.
    ///
    /// # Errors
    /// The first stage that refused it.
    fn load(
        &self,
        source: &PluginSource,
        workers: usize,
        topology: &Topology,
    ) -> Result<LoadedPlugin, LoadError>;
}
