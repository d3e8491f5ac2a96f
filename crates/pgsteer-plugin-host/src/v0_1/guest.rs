//! A guest as a policy. Called on workers: nothing here allocates on the way of a decision.

use std::sync::{Arc, Mutex, PoisonError};

use pgsteer_core::Topology;
use pgsteer_core::policy::{
    Admitted, Crisis, Decision, Event, Hooks, Opening, Policy, PolicyError, Remedy, Reuse,
    Rewriting, SessionFacts, StatementFacts,
};

use super::bindings::exports::pgsteer::plugin::topology_listener;
use super::told::{Asked, Lists};
use super::{Code, Guests, answers, crisis, told};
use crate::error::{invalid, printable, printable_lines};
use crate::instance::{Instance, Limit};
use crate::plugin::{Guest, Profile, newest};
use crate::state::Environment;

/// One instance, until it fails.
pub(super) struct WasmPolicy {
    profile: Profile,
    hooks: Hooks,
    live: Option<Instance<Guests>>,
    nodes: usize,
    newest: Arc<Mutex<Topology>>,
    // What it had and did when it failed.
    memory_bytes: usize,
    fuel_used: u64,
}

impl WasmPolicy {
    /// A configured instance that knows the topology.
    pub(super) fn new(
        code: &Code,
        environment: &Arc<Environment>,
        profile: Profile,
        topology: &Arc<Mutex<Topology>>,
    ) -> Result<Self, PolicyError> {
        let mut instance = code.instance(environment)?;
        configure(&mut instance, &environment.config)?.map_err(invalid)?;
        let mut policy = Self {
            profile,
            hooks: code.hooks,
            live: Some(instance),
            nodes: 0,
            newest: Arc::clone(topology),
            memory_bytes: 0,
            fuel_used: 0,
        };
        let topology = newest(topology);
        policy.tell(&topology)?;
        if let Some(instance) = &mut policy.live {
            instance.begin();
        }
        Ok(policy)
    }

    /// Asks the instance about a hook; an error of any kind ends it.
    fn ask<T>(
        &mut self,
        hook: Hooks,
        question: impl FnOnce(&mut Instance<Guests>) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        if !self.hooks.has(hook) {
            return Err(invalid(format!("it does not implement {hook}")));
        }
        let Some(instance) = &mut self.live else {
            return Err(invalid("the instance failed before and must be replaced"));
        };
        let answer = question(instance);
        if answer.is_err() {
            self.memory_bytes = instance.memory_bytes();
            self.fuel_used = instance.fuel_used();
            self.live = None;
        }
        answer
    }

    fn tell(&mut self, topology: &Topology) -> Result<(), PolicyError> {
        self.nodes = topology.nodes.len();
        if !self.hooks.has(Hooks::TOPOLOGY_LISTENER) {
            return Ok(());
        }
        let nodes: Vec<_> = topology.nodes.iter().map(told::node).collect();
        let changed = topology_listener::Topology {
            epoch: topology.epoch,
            nodes: &nodes,
        };
        self.ask(Hooks::TOPOLOGY_LISTENER, |instance| {
            instance.ask(Limit::Decision, |store, guests| {
                there(&guests.topology_listener)?.call_changed(store, changed)
            })
        })
    }

    /// Without the promise an answer is good for this one statement.
    fn reuse(&self, reuse: Reuse) -> Reuse {
        if self.profile.deterministic {
            reuse
        } else {
            Reuse::Never
        }
    }
}

/// The functions of a hook; whether it is there was looked at before.
fn there<T>(hook: &Option<T>) -> wasmtime::Result<&T> {
    hook.as_ref()
        .ok_or_else(|| wasmtime::Error::msg("the hook is not implemented"))
}

/// Hands the configuration to a fresh instance; the inner error is the plugin's own.
pub(super) fn configure(
    instance: &mut Instance<Guests>,
    config: &str,
) -> Result<Result<(), String>, PolicyError> {
    instance.set_configuring(true);
    let answer = instance.ask(Limit::Configure, |store, guests| {
        guests.lifecycle.call_configure(store, config)
    });
    instance.set_configuring(false);
    answer
}

impl Guest for WasmPolicy {
    fn self_test(&mut self) -> Result<Result<(), String>, PolicyError> {
        self.ask(Hooks::default(), |instance| {
            instance.ask(Limit::Configure, |store, guests| {
                guests.lifecycle.call_self_test(store)
            })
        })
    }

    fn fuel_used(&self) -> u64 {
        let live = self.live.as_ref();
        live.map_or(self.fuel_used, Instance::fuel_used)
    }
}

impl Policy for WasmPolicy {
    fn topology_changed(&mut self, topology: &Topology) -> Result<(), PolicyError> {
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if newest.epoch < topology.epoch {
                newest.clone_from(topology);
            }
        }
        self.tell(topology)
    }

    fn admit(&mut self, session: &SessionFacts<'_>) -> Result<Admitted, PolicyError> {
        let session = told::session(session);
        self.ask(Hooks::SESSION, |instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.session)?.call_admit(store, session)
            })?;
            answers::admitted(answer)
        })
    }

    fn open_rewriter(&mut self, session: &SessionFacts<'_>) -> Result<u32, PolicyError> {
        let session = told::session(session);
        self.ask(Hooks::REWRITER, |instance| {
            instance.ask(Limit::Decision, |store, guests| {
                there(&guests.rewriter)?.call_open(store, session)
            })
        })
    }

    fn rewrite(&mut self, statement: &StatementFacts<'_>) -> Result<Rewriting, PolicyError> {
        let needs = self.profile.needs;
        let lists = Lists::new(statement, needs);
        let statement = told::statement(statement, Asked::Rewriter, needs, &lists);
        let mut answer = self.ask(Hooks::REWRITER, |instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.rewriter)?.call_rewrite(store, statement)
            })?;
            answers::rewriting(answer, instance.taint())
        })?;
        answer.reuse = self.reuse(answer.reuse);
        Ok(answer)
    }

    fn open(&mut self, session: &SessionFacts<'_>) -> Result<Opening, PolicyError> {
        let (nodes, session) = (self.nodes, told::session(session));
        self.ask(Hooks::ROUTER, |instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.router)?.call_open(store, session)
            })?;
            answers::opening(&answer, nodes)
        })
    }

    fn decide(&mut self, statement: &StatementFacts<'_>) -> Result<Decision, PolicyError> {
        let (nodes, needs) = (self.nodes, self.profile.needs);
        let lists = Lists::new(statement, needs);
        let statement = told::statement(statement, Asked::Router, needs, &lists);
        let mut decision = self.ask(Hooks::ROUTER, |instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.router)?.call_decide(store, statement)
            })?;
            answers::decision(answer, nodes, instance.taint())
        })?;
        decision.reuse = self.reuse(decision.reuse);
        Ok(decision)
    }

    fn explain(&mut self, reason: u32) -> Result<String, PolicyError> {
        self.ask(Hooks::ROUTER, |instance| {
            let text = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.router)?.call_explain(store, reason)
            })?;
            Ok(printable(&text))
        })
    }

    fn observe(&mut self, events: &[Event<'_>], dropped: u64) -> Result<(), PolicyError> {
        let needs = self.profile.needs;
        let events: Vec<_> = events.iter().map(|e| told::event(e, needs)).collect();
        self.ask(Hooks::OBSERVER, |instance| {
            instance.ask(Limit::Decision, |store, guests| {
                there(&guests.observer)?.call_observe(store, &events, dropped)
            })
        })
    }

    fn command(&mut self, text: &str) -> Result<Result<String, String>, PolicyError> {
        self.ask(Hooks::OPERATOR, |instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.operator)?.call_command(store, text)
            })?;
            Ok(match answer {
                Ok(text) => Ok(printable_lines(&text)),
                Err(text) => Err(printable_lines(&text)),
            })
        })
    }

    fn remedy(&mut self, asked: &Crisis) -> Result<Remedy, PolicyError> {
        let lists = crisis::Lists::new(asked);
        let told = crisis::told(asked, &lists);
        self.ask(Hooks::FAILOVER, |instance| {
            let answer = instance.ask(Limit::Decision, |store, guests| {
                there(&guests.failover)?.call_decide(store, told)
            })?;
            crisis::remedy(&answer, asked.nodes.len())
        })
    }

    fn memory_bytes(&self) -> usize {
        let live = self.live.as_ref();
        live.map_or(self.memory_bytes, Instance::memory_bytes)
    }

    fn is_worn(&self) -> bool {
        self.live.as_ref().is_some_and(Instance::is_worn)
    }
}
