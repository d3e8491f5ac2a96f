//! The trait a plugin implements and how it introduces itself.

use crate::{Opening, Routed, Session, Statement, Topology};

/// How a plugin introduces itself. Made by [`manifest!`](crate::manifest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) deterministic: bool,
}

impl Manifest {
    /// A plugin whose answers are not remembered.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            deterministic: false,
        }
    }

    /// Promises that answers depend on nothing but their input, the configuration and the topology.
    /// Without it no answer is remembered.
    #[must_use]
    pub const fn deterministic(mut self) -> Self {
        self.deterministic = true;
        self
    }
}

/// What a plugin wants to be told about statements besides numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(pub(crate) u64);

impl Needs {
    /// Numbers only, which cost nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// The text of statements, literals included. Costs a copy per question, and remembered answers
    /// are then kept per exact text.
    #[must_use]
    pub const fn sql(self) -> Self {
        Self(self.0 | 1 << 0)
    }

    /// The relations a statement names.
    #[must_use]
    pub const fn relations(self) -> Self {
        Self(self.0 | 1 << 1)
    }

    /// The functions a statement calls.
    #[must_use]
    pub const fn functions(self) -> Self {
        Self(self.0 | 1 << 2)
    }
}

/// A [`Manifest`] with the name and version of the package it is used in.
#[macro_export]
macro_rules! manifest {
    () => {
        $crate::Manifest::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    };
}

/// A plugin that decides where statements run.
///
/// The proxy keeps one instance per worker thread and asks it one question at a time. A panic, or
/// an answer that takes longer than the limit, costs the instance: it is thrown away and a new one
/// is configured.
pub trait Router: Sized + 'static {
    /// How the plugin introduces itself.
    const MANIFEST: Manifest;

    /// Makes an instance from the plugin's configuration, a JSON object (`{}` if there is none).
    ///
    /// # Errors
    /// A sentence for the operator: which key, which value, what would be allowed. The plugin is
    /// then refused, and what ran before goes on.
    fn configure(json: &str) -> Result<Self, String>;

    /// What it wants to be told under its configuration.
    fn needs(&self) -> Needs {
        Needs::none()
    }

    /// A last check before the plugin goes live; it was configured and knows the topology.
    ///
    /// # Errors
    /// A sentence for the operator; the plugin is refused.
    fn self_test(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// The nodes changed. Also called once after [`Router::configure`].
    fn topology_changed(&mut self, topology: &Topology) {
        let _ = topology;
    }

    /// A session begins, or this instance is new to it.
    fn open(&mut self, session: &Session) -> Opening {
        let _ = session;
        Opening::default()
    }

    /// Where a statement runs.
    fn decide(&mut self, statement: &Statement) -> Routed;

    /// The rule behind [`Routed::reason`](crate::Routed::reason), in a few words for people.
    fn explain(&self, reason: u32) -> String {
        let _ = reason;
        String::new()
    }
}
