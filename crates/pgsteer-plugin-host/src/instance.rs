//! One instance in one store, and the only way into it.

use std::sync::Arc;

use pgsteer_core::policy::PolicyError;
use pgsteer_core::settings::PluginLimits;
use wasmtime::Store;

use crate::bindings::exports::pgsteer::plugin::{lifecycle, router, topology_listener};
use crate::component::Linked;
use crate::engine::ticks;
use crate::error::classify;
use crate::imports::HostState;
use crate::inspect;
use crate::limits::{HANDLES_MAX, HOSTCALL_BYTES_MAX};

/// The functions of an instance.
pub(crate) struct Guests {
    pub(crate) lifecycle: lifecycle::Guest,
    pub(crate) router: router::Guest,
    pub(crate) topology_listener: Option<topology_listener::Guest>,
}

/// An instance. After any error it must be dropped: the guest's state is in doubt.
pub(crate) struct Instance {
    store: Store<HostState>,
    guests: Guests,
    decision_ticks: u64,
    configure_ticks: u64,
}

/// Which limit a question has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Asked by a worker.
    Decision,
    /// Asked while the instance is set up.
    Configure,
}

impl Instance {
    /// Runs the start function, if there is one, within the limit for configuring.
    pub(crate) fn new(
        linked: &Linked,
        plugin: &Arc<str>,
        limits: &PluginLimits,
    ) -> Result<Self, PolicyError> {
        let state = HostState::new(Arc::clone(plugin), limits.memory_bytes_max);
        let mut store = Store::new(linked.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        let configure_ticks = ticks(limits.configure_timeout);
        store.set_epoch_deadline(configure_ticks);
        let guests = instantiate(linked, &mut store)
            .map_err(|error| classify(&error, &store.data().limiter))?;
        let decision_ticks = ticks(limits.decision_timeout);
        Ok(Self {
            store,
            guests,
            decision_ticks,
            configure_ticks,
        })
    }

    /// Asks the guest. The limit is set anew for each question.
    pub(crate) fn ask<T>(
        &mut self,
        limit: Limit,
        question: impl FnOnce(&mut Store<HostState>, &Guests) -> wasmtime::Result<T>,
    ) -> Result<T, PolicyError> {
        let ticks = match limit {
            Limit::Decision => self.decision_ticks,
            Limit::Configure => self.configure_ticks,
        };
        self.store.set_epoch_deadline(ticks);
        self.store.data_mut().limiter.forget();
        question(&mut self.store, &self.guests)
            .map_err(|error| classify(&error, &self.store.data().limiter))
    }
}

fn instantiate(linked: &Linked, store: &mut Store<HostState>) -> wasmtime::Result<Guests> {
    let instance = linked.pre.instantiate(&mut *store)?;
    let lifecycle = linked.lifecycle.load(&mut *store, &instance);
    let router = linked.router.load(&mut *store, &instance);
    let topology_listener = linked.topology_listener.as_ref();
    let topology_listener = topology_listener.map(|indices| indices.load(&mut *store, &instance));
    Ok(Guests {
        lifecycle: lifecycle.map_err(|error| wrong_type(inspect::LIFECYCLE, &error))?,
        router: router.map_err(|error| wrong_type(inspect::ROUTER, &error))?,
        topology_listener: topology_listener
            .transpose()
            .map_err(|error| wrong_type(inspect::TOPOLOGY_LISTENER, &error))?,
    })
}

fn wrong_type(hook: &str, error: &wasmtime::Error) -> wasmtime::Error {
    let cause = error.root_cause();
    wasmtime::Error::msg(format!("hook {hook} has the wrong type: {cause}"))
}
