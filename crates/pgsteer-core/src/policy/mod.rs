//! The questions a policy answers, and what holds the policies together.
//!
//! A plugin is a WebAssembly component; `pgsteer-plugin-host` implements these traits for it. The
//! data plane asks through them and cannot tell one implementation from another.

mod facts;
mod loader;
mod set;

pub use facts::{
    Candidate, Decision, Fallback, Limits, Marks, Opening, Rejection, Reuse, Route, SessionFacts,
    Spread, StatementFacts, fresh, needs, traits,
};
pub use loader::{FailureClass, LoadError, LoadedPlugin, PluginLoader, PluginSource, PolicyError};
pub use set::{Plugin, PluginCounters, PluginReport, PluginState, PolicySet};

use crate::Topology;

/// Decides where statements run. One instance per worker; never called from two threads at once.
pub trait Router: Send {
    /// The nodes changed, or this instance is new.
    ///
    /// # Errors
    /// The plugin failed; the instance must not be used again.
    fn topology_changed(&mut self, topology: &Topology) -> Result<(), PolicyError>;

    /// A session begins, or the plugin is new to it.
    ///
    /// # Errors
    /// The plugin failed; the instance must not be used again.
    fn open(&mut self, session: &SessionFacts<'_>) -> Result<Opening, PolicyError>;

    /// Where a statement runs.
    ///
    /// # Errors
    /// The plugin failed; the instance must not be used again.
    fn decide(&mut self, statement: &StatementFacts<'_>) -> Result<Decision, PolicyError>;

    /// The rule behind [`Decision::reason`], in a few words for people.
    ///
    /// # Errors
    /// The plugin failed; the instance must not be used again.
    fn explain(&mut self, reason: u32) -> Result<String, PolicyError>;
}

/// Makes router instances of one plugin, for a worker whose instance was used up or failed.
pub trait RouterFactory: Send + Sync + std::fmt::Debug {
    /// A fresh, configured instance.
    ///
    /// # Errors
    /// The plugin failed while it was set up.
    fn instantiate(&self) -> Result<Box<dyn Router>, PolicyError>;
}
