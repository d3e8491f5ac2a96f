//! A plugin between its file and its instances, whatever version of the interface it was built
//! for.

use std::sync::{Arc, Mutex, PoisonError};

use pgsteer_core::Topology;
use pgsteer_core::policy::{LoadError, Policy, PolicyError, PolicyFactory};

use crate::state::Environment;

/// A compiled component whose imports are resolved and whose hooks are looked up.
pub(crate) trait Linked: Send + Sync {
    /// Asks a first instance who it is, hands it the configuration, and asks what it needs.
    fn describe(&self, environment: &Arc<Environment>) -> Result<Description, LoadError>;

    /// A configured instance that knows the topology. It keeps `newest` up to date.
    fn build(
        &self,
        environment: &Arc<Environment>,
        profile: Profile,
        newest: &Arc<Mutex<Topology>>,
    ) -> Result<Box<dyn Guest>, PolicyError>;
}

/// An instance, with what only this crate asks it.
pub(crate) trait Guest: Policy {
    /// The inner error is the plugin's own.
    fn self_test(&mut self) -> Result<Result<(), String>, PolicyError>;

    /// What it has executed so far, in units of fuel; 0 unless it is metered.
    fn fuel_used(&self) -> u64;
}

/// What a plugin says it is, checked.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) profile: Profile,
}

/// What its instances must know about a plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// What it wants to be told, and may be told.
    pub(crate) needs: u64,
    /// It promised that its answers depend on their input alone.
    pub(crate) deterministic: bool,
}

/// Makes instances that are configured and know the newest topology any instance was told.
pub(crate) struct Factory {
    linked: Arc<dyn Linked>,
    environment: Arc<Environment>,
    profile: Profile,
    topology: Arc<Mutex<Topology>>,
}

impl Factory {
    pub(crate) fn new(
        linked: Arc<dyn Linked>,
        environment: Arc<Environment>,
        profile: Profile,
        topology: Topology,
    ) -> Self {
        Self {
            linked,
            environment,
            profile,
            topology: Arc::new(Mutex::new(topology)),
        }
    }

    pub(crate) fn build(&self) -> Result<Box<dyn Guest>, PolicyError> {
        self.linked
            .build(&self.environment, self.profile, &self.topology)
    }
}

impl std::fmt::Debug for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factory")
            .field("plugin", &self.environment.plugin)
            .finish_non_exhaustive()
    }
}

impl PolicyFactory for Factory {
    fn instantiate(&self) -> Result<Box<dyn Policy>, PolicyError> {
        Ok(self.build()?)
    }

    fn instantiate_for_trial(&self) -> Result<Box<dyn Policy>, PolicyError> {
        let environment = Arc::new(self.environment.for_trial());
        let guest = self
            .linked
            .build(&environment, self.profile, &self.topology)?;
        Ok(guest)
    }
}

/// The newest topology that any instance was told.
pub(crate) fn newest(topology: &Mutex<Topology>) -> Topology {
    let newest = topology.lock().unwrap_or_else(PoisonError::into_inner);
    newest.clone()
}
