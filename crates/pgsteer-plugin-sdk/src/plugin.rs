//! How a plugin introduces itself and what all plugins have.

use crate::Topology;

/// How a plugin introduces itself. Made by [`manifest!`](crate::manifest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    pub(crate) deterministic: bool,
    pub(crate) may_need: Needs,
}

impl Manifest {
    /// A plugin whose answers are not remembered.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str, description: &'static str) -> Self {
        Self {
            name,
            version,
            description,
            deterministic: false,
            may_need: Needs::none().sql().relations().functions().identity(),
        }
    }

    /// Promises that answers depend on nothing but their input, the configuration, the topology, and
    /// what is read through [`kv`](crate::kv), [`clock`](crate::clock) and
    /// [`catalog`](crate::catalog) at that moment. Without it no answer is remembered.
    #[must_use]
    pub const fn deterministic(mut self) -> Self {
        self.deterministic = true;
        self
    }

    /// [`Plugin::needs`] may ask for the values of parameters.
    #[must_use]
    pub const fn may_need_values(mut self) -> Self {
        self.may_need = self.may_need.values();
        self
    }
}

/// A [`Manifest`] with the name, version and description of the package it is used in.
#[macro_export]
macro_rules! manifest {
    () => {
        $crate::Manifest::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        )
    };
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
    /// are then kept per exact text. A rewriter has it anyway.
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

    /// The values of its parameters. Takes the grant `values`, and
    /// [`Manifest::may_need_values`].
    #[must_use]
    pub const fn values(self) -> Self {
        Self(self.0 | 1 << 3)
    }

    /// User and database of events.
    #[must_use]
    pub const fn identity(self) -> Self {
        Self(self.0 | 1 << 4)
    }
}

/// Every plugin; what it is asked about are the hooks, traits of their own.
///
/// The proxy keeps one instance per worker thread and asks it one question at a time. A panic, or
/// an answer that takes longer than the limit, costs the instance: it is thrown away and a new one
/// is configured. What all instances shall know goes into [`kv`](crate::kv).
pub trait Plugin: Sized + 'static {
    /// How the plugin introduces itself.
    const MANIFEST: Manifest;

    /// Makes an instance from the plugin's configuration, a JSON object (`{}` if there is none).
    /// [`config`](crate::config) helps to read it.
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

    /// The nodes changed. Also called once after [`Plugin::configure`]. A router is told; another
    /// plugin if it is exported with `Topology`.
    fn topology_changed(&mut self, topology: &Topology) {
        let _ = topology;
    }
}
