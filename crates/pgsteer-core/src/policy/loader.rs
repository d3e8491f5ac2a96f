//! How a plugin gets from bytes to something that answers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use thiserror::Error;

use super::{Grants, Hooks, Policy, PolicyFactory, Sample, SeriesTable};
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

impl FailureClass {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Abi,
        Self::Invalid,
    ];
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
    /// What it may do.
    pub grants: Grants,
}

/// Why a file was refused; the running plugin stays.
#[derive(Clone, Debug, Error)]
#[error("refused at stage {stage}: {reason}")]
pub struct LoadError {
    /// Which step refused it: `read`, `verify`, `inspect`, `compile`, `link`, `describe`,
    /// `configure`, `self-test`, `canary`, `golden`, `shadow`, `probation`; `set` if another of its
    /// set was refused.
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
    /// What it does, in its own words.
    pub description: String,
    /// Hooks it implements.
    pub hooks: Hooks,
    /// It may be remembered what it answered.
    pub deterministic: bool,
    /// What it wants to be told about statements, bits of [`super::needs`].
    pub needs: u64,
    /// Makes further instances.
    pub factory: Arc<dyn PolicyFactory>,
    /// One instance per worker; the topology was told to each.
    pub instances: Vec<Box<dyn Policy>>,
    /// Grows with every change of its key-value store.
    pub kv_version: Arc<AtomicU64>,
    /// What it counts itself.
    pub series: Arc<SeriesTable>,
    /// How it got here.
    pub report: LoadReport,
}

/// How a plugin got through the stages.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Stages and how long each took, in order.
    pub stages: Vec<(&'static str, Duration)>,
    /// Its machine code was there already.
    pub was_compiled: bool,
    /// Real questions it was asked, with the answers of the version before it at hand.
    pub golden_asked: usize,
    /// How many of them it answered in another way.
    pub golden_different: usize,
    /// Some of the differences, in words.
    pub differences: Vec<String>,
}

/// What a plugin is loaded for.
#[derive(Clone, Copy)]
pub struct LoadContext<'a> {
    /// How many instances are wanted.
    pub workers: usize,
    /// The nodes.
    pub topology: &'a Topology,
    /// Questions of the recent past.
    pub golden: &'a [Sample],
    /// The version in force, if there is one.
    pub previous: Option<&'a dyn PolicyFactory>,
}

/// Turns files into plugins. Slow (compiles): never called on a worker.
pub trait PluginLoader: Send + Sync {
    /// Takes the file through every stage and builds an instance for each worker.
    ///
    /// # Errors
    /// The first stage that refused it.
    fn load(
        &self,
        source: &PluginSource,
        context: &LoadContext<'_>,
    ) -> Result<LoadedPlugin, LoadError>;
}
