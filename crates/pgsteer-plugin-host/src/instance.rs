//! One instance in one store, and the only way into it.

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::policy::{PolicyError, Taint};
use wasmtime::Store;
use wasmtime::component::{self, InstancePre};

use crate::error::classify;
use crate::limits::{CALLS_MAX, HANDLES_MAX};
use crate::pulse::Pulse;
use crate::state::{Environment, HostState};

/// An instance with the functions `G` of its interface. After any error it must be dropped: the
/// guest's state is in doubt.
pub(crate) struct Instance<G> {
    store: Store<HostState>,
    guests: G,
    pulse: Arc<Pulse>,
    decision_timeout: Duration,
    configure_timeout: Duration,
    calls: u64,
    // Memory when it was set up.
    memory_bytes_min: usize,
    metered: bool,
    fuel_used: u64,
}

/// Which limit a question has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Asked by a worker.
    Decision,
    /// Asked while the instance is set up.
    Configure,
}

impl<G> Instance<G> {
    /// Runs the start function, if there is one, within the limit for configuring, and finds the
    /// functions.
    pub(crate) fn new(
        pre: &InstancePre<HostState>,
        environment: &Arc<Environment>,
        find: impl FnOnce(&mut Store<HostState>, &component::Instance) -> wasmtime::Result<G>,
    ) -> Result<Self, PolicyError> {
        let limits = &environment.limits;
        let mut store = Store::new(pre.engine(), HostState::new(Arc::clone(environment)));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.results_bytes_max);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().patience.look()));
        store.set_epoch_deadline(1);
        store.data_mut().patience.begin(limits.configure_timeout);
        let metered = store.set_fuel(u64::MAX).is_ok();
        environment.pulse.begin();
        let guests = pre.instantiate(&mut store);
        environment.pulse.end();
        let guests = guests
            .and_then(|instance| find(&mut store, &instance))
            .map_err(|error| classify(&error, store.data()))?;
        let memory_bytes_min = store.data().limiter.memory_bytes();
        Ok(Self {
            store,
            guests,
            pulse: Arc::clone(&environment.pulse),
            decision_timeout: limits.decision_timeout,
            configure_timeout: limits.configure_timeout,
            calls: 0,
            memory_bytes_min,
            metered,
            fuel_used: 0,
        })
    }

    /// Asks the guest. Its limits are set anew for each question.
    pub(crate) fn ask<T>(
        &mut self,
        limit: Limit,
        question: impl FnOnce(&mut Store<HostState>, &G) -> wasmtime::Result<T>,
    ) -> Result<T, PolicyError> {
        let timeout = match limit {
            Limit::Decision => self.decision_timeout,
            Limit::Configure => self.configure_timeout,
        };
        self.store.set_epoch_deadline(1);
        let state = self.store.data_mut();
        state.patience.begin(timeout);
        state.limiter.forget();
        state.taint = Taint::default();
        self.calls += 1;
        self.pulse.begin();
        let answer = if self.metered {
            self.ask_metered(question)
        } else {
            question(&mut self.store, &self.guests)
        };
        self.pulse.end();
        answer.map_err(|error| classify(&error, self.store.data()))
    }

    #[cold]
    fn ask_metered<T>(
        &mut self,
        question: impl FnOnce(&mut Store<HostState>, &G) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        self.store.set_fuel(u64::MAX)?;
        let answer = question(&mut self.store, &self.guests);
        self.fuel_used += u64::MAX - self.store.get_fuel()?;
        answer
    }

    /// From now on it may say what it is going to count, or may not.
    pub(crate) fn set_configuring(&mut self, is_configuring: bool) {
        self.store.data_mut().is_configuring = is_configuring;
    }

    /// It begins its work: this much memory it has from the start, and what it writes counts.
    pub(crate) fn begin(&mut self) {
        self.store.data_mut().begin();
        self.calls = 0;
        self.memory_bytes_min = self.memory_bytes();
    }

    /// What it looked at while it answered last.
    pub(crate) fn taint(&self) -> Taint {
        self.store.data().taint
    }

    /// The most linear memory it has had.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes()
    }

    /// What it has executed so far; 0 unless it is metered.
    pub(crate) fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Whether it should make room for a fresh one. A guest that is large from the start is not
    /// worn by that: the next one would be as large.
    pub(crate) fn is_worn(&self) -> bool {
        let memory = self.memory_bytes();
        let limit = self.store.data().environment.limits.memory_bytes_max;
        let is_full = memory > limit / 4 * 3 && memory > self.memory_bytes_min;
        is_full || self.calls >= CALLS_MAX
    }
}
