//! The questions a policy answers, and what holds the policies together.
//!
//! A plugin is a WebAssembly component; `pgsteer-plugin-host` implements these traits for it. The
//! data plane asks through them and cannot tell one implementation from another.

mod answer;
mod compare;
mod facts;
mod failover;
mod hooks;
mod loader;
mod plugin;
mod sample;
mod series;
mod set;
mod tap;

pub use answer::{
    Admission, Admitted, Candidate, Decision, Fallback, Limits, Marks, Opening, Rejection, Reuse,
    Rewriting, Rewritten, Route, Spread, Taint, fresh,
};
pub use compare::Answers;
pub use facts::{Event, SessionFacts, StatementFacts, Value, needs, traits};
pub use failover::{Crisis, Occasion, PastEvent, Receiver, Remedy, Witness};
pub use hooks::{Grants, Hooks};
pub use loader::{
    FailureClass, LoadContext, LoadError, LoadReport, LoadedPlugin, PluginLoader, PluginSource,
    PolicyError,
};
pub use plugin::{Plugin, PluginCounters, TimeHistogram};
pub use sample::{OwnedValue, Sample};
pub use series::{Series, SeriesKind, SeriesTable};
pub use set::{PluginReport, PluginState, PolicySet};
pub use tap::Tap;

use crate::Topology;

/// One instance of a plugin. Belongs to one thread at a time, and is asked only about hooks that
/// the plugin implements; another question is a failure of class `Invalid`. After any error the
/// instance must not be used again.
pub trait Policy: Send {
    /// The nodes changed, or this instance is new.
    ///
    /// # Errors
    /// The plugin failed.
    fn topology_changed(&mut self, topology: &Topology) -> Result<(), PolicyError>;

    /// Whether a session may begin, and with what.
    ///
    /// # Errors
    /// The plugin failed.
    fn admit(&mut self, session: &SessionFacts<'_>) -> Result<Admitted, PolicyError>;

    /// A session begins, or the plugin is new to it, for [`Policy::rewrite`].
    ///
    /// # Errors
    /// The plugin failed.
    fn open_rewriter(&mut self, session: &SessionFacts<'_>) -> Result<u32, PolicyError>;

    /// Whether a statement runs as it is.
    ///
    /// # Errors
    /// The plugin failed.
    fn rewrite(&mut self, statement: &StatementFacts<'_>) -> Result<Rewriting, PolicyError>;

    /// A session begins, or the plugin is new to it, for [`Policy::decide`].
    ///
    /// # Errors
    /// The plugin failed.
    fn open(&mut self, session: &SessionFacts<'_>) -> Result<Opening, PolicyError>;

    /// Where a statement runs.
    ///
    /// # Errors
    /// The plugin failed.
    fn decide(&mut self, statement: &StatementFacts<'_>) -> Result<Decision, PolicyError>;

    /// The rule behind [`Decision::reason`], in a few words for people.
    ///
    /// # Errors
    /// The plugin failed.
    fn explain(&mut self, reason: u32) -> Result<String, PolicyError>;

    /// What happened; `dropped` events were left out before.
    ///
    /// # Errors
    /// The plugin failed.
    fn observe(&mut self, events: &[Event<'_>], dropped: u64) -> Result<(), PolicyError>;

    /// A command of an operator; the inner error is the plugin's answer to it.
    ///
    /// # Errors
    /// The plugin failed.
    fn command(&mut self, text: &str) -> Result<Result<String, String>, PolicyError>;

    /// What is to be done about the primary, or about a node that is lost or back.
    ///
    /// # Errors
    /// The plugin failed, or has no such hook.
    fn remedy(&mut self, crisis: &Crisis) -> Result<Remedy, PolicyError> {
        let _crisis = crisis;
        Err(PolicyError {
            class: FailureClass::Invalid,
            reason: "it does not decide about failovers".to_owned(),
        })
    }

    /// The most linear memory it has had, in bytes.
    fn memory_bytes(&self) -> usize;

    /// Calls after which, or memory above which, it should make room for a fresh instance.
    fn is_worn(&self) -> bool {
        false
    }
}

/// Makes instances of one plugin, for a worker whose instance was used up or failed.
pub trait PolicyFactory: Send + Sync + std::fmt::Debug {
    /// A fresh, configured instance.
    ///
    /// # Errors
    /// The plugin failed while it was set up.
    fn instantiate(&self) -> Result<Box<dyn Policy>, PolicyError>;

    /// The same, for questions that nobody acts upon: what it keeps and counts is thrown away.
    ///
    /// # Errors
    /// The plugin failed while it was set up.
    fn instantiate_for_trial(&self) -> Result<Box<dyn Policy>, PolicyError> {
        self.instantiate()
    }
}
