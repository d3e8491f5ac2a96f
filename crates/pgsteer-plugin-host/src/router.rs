//! A guest as a router. Called on workers: nothing here allocates on the way of a decision.

use std::sync::{Arc, Mutex, PoisonError};

use pgsteer_core::Topology;
use pgsteer_core::policy::{
    Decision, Opening, PolicyError, Reuse, Router, RouterFactory, SessionFacts, StatementFacts,
};
use pgsteer_core::settings::PluginLimits;

use crate::bindings::exports::pgsteer::plugin::topology_listener;
use crate::component::Linked;
use crate::convert;
use crate::error::{invalid, printable};
use crate::instance::{Instance, Limit};

/// A plugin as its instances see it.
pub(crate) struct Code {
    pub(crate) linked: Linked,
    /// File name without directory and extension, for the log.
    pub(crate) plugin: Arc<str>,
    pub(crate) limits: PluginLimits,
    pub(crate) config: String,
    /// What it wants to be told about statements.
    pub(crate) needs: u64,
    /// It promised that its answers depend on their input alone.
    pub(crate) deterministic: bool,
}

/// Makes instances that are configured and know the newest topology any instance was told.
pub(crate) struct Factory {
    code: Arc<Code>,
    topology: Arc<Mutex<Topology>>,
}

impl Factory {
    pub(crate) fn new(code: Code, topology: Topology) -> Self {
        Self {
            code: Arc::new(code),
            topology: Arc::new(Mutex::new(topology)),
        }
    }

    pub(crate) fn build(&self) -> Result<WasmRouter, PolicyError> {
        let code = Arc::clone(&self.code);
        let mut instance = Instance::new(&code.linked, &code.plugin, &code.limits)?;
        configure(&mut instance, &code.config)?.map_err(invalid)?;
        let mut router = WasmRouter {
            code,
            live: Some(instance),
            nodes: 0,
            newest: Arc::clone(&self.topology),
        };
        let topology = self
            .topology
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        router.tell(&topology)?;
        Ok(router)
    }
}

impl std::fmt::Debug for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factory")
            .field("plugin", &self.code.plugin)
            .finish_non_exhaustive()
    }
}

impl RouterFactory for Factory {
    fn instantiate(&self) -> Result<Box<dyn Router>, PolicyError> {
        Ok(Box::new(self.build()?))
    }
}

/// Hands the configuration to a fresh instance; the inner error is the plugin's own.
pub(crate) fn configure(
    instance: &mut Instance,
    config: &str,
) -> Result<Result<(), String>, PolicyError> {
    instance.ask(Limit::Configure, |store, guests| {
        guests.lifecycle.call_configure(store, config)
    })
}

/// One instance, until it fails.
pub(crate) struct WasmRouter {
    code: Arc<Code>,
    live: Option<Instance>,
    nodes: usize,
    newest: Arc<Mutex<Topology>>,
}

impl WasmRouter {
    /// Asks the instance; an error of any kind ends it.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Instance) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        let Some(instance) = &mut self.live else {
            return Err(invalid("the instance failed before and must be replaced"));
        };
        let answer = question(instance);
        if answer.is_err() {
            self.live = None;
        }
        answer
    }

    fn tell(&mut self, topology: &Topology) -> Result<(), PolicyError> {
        self.nodes = topology.nodes.len();
        let nodes: Vec<_> = topology.nodes.iter().map(convert::node).collect();
        let told = topology_listener::Topology {
            epoch: topology.epoch,
            nodes: &nodes,
        };
        self.ask(|instance| {
            instance.ask(Limit::Decision, |store, guests| {
                match &guests.topology_listener {
                    Some(listener) => listener.call_changed(store, told),
                    None => Ok(()),
                }
            })
        })
    }

    pub(crate) fn self_test(&mut self) -> Result<Result<(), String>, PolicyError> {
        self.ask(|instance| {
            instance.ask(Limit::Configure, |store, guests| {
                guests.lifecycle.call_self_test(store)
            })
        })
    }
}

impl Router for WasmRouter {
    fn topology_changed(&mut self, topology: &Topology) -> Result<(), PolicyError> {
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if newest.epoch < topology.epoch {
                newest.clone_from(topology);
            }
        }
        self.tell(topology)
    }

    fn open(&mut self, session: &SessionFacts<'_>) -> Result<Opening, PolicyError> {
        let (nodes, session) = (self.nodes, convert::session(session));
        self.ask(|instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                guests.router.call_open(store, session)
            })?;
            convert::opening(&answer, nodes)
        })
    }

    fn decide(&mut self, statement: &StatementFacts<'_>) -> Result<Decision, PolicyError> {
        let (nodes, deterministic) = (self.nodes, self.code.deterministic);
        let names = convert::names(statement, self.code.needs);
        let statement = convert::statement(statement, self.code.needs, &names);
        self.ask(|instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                guests.router.call_decide(store, statement)
            })?;
            let mut decision = convert::decision(answer, nodes)?;
            if !deterministic {
                // Without the promise an answer is good for this one statement.
                decision.reuse = Reuse::Never;
            }
            Ok(decision)
        })
    }

    fn explain(&mut self, reason: u32) -> Result<String, PolicyError> {
        self.ask(|instance| {
            let text = instance.ask(Limit::Decision, |store, guests| {
                guests.router.call_explain(store, reason)
            })?;
            Ok(printable(&text))
        })
    }
}
