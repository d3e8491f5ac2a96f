//! Between the generated bindings and the hooks: the state of the instance and the conversions.
//! Used by [`export!`](crate::export) only.

use std::cell::RefCell;

use crate::bindings::failover::exports::pgsteer::plugin::failover;
use crate::bindings::lifecycle::exports::pgsteer::plugin::lifecycle;
use crate::bindings::observer::exports::pgsteer::plugin::observer;
use crate::bindings::operator::exports::pgsteer::plugin::operator;
use crate::bindings::rewriter::exports::pgsteer::plugin::rewriter;
use crate::bindings::router::exports::pgsteer::plugin::router;
use crate::bindings::session::exports::pgsteer::plugin::session;
use crate::bindings::topology_listener::exports::pgsteer::plugin::topology_listener;
use crate::{Event, Failover, Gatekeeper, Observer, Operator, Plugin, Rewriter, Router};

mod answers;
mod crisis;
mod facts;

/// The one instance of a plugin inside its component.
#[derive(Debug)]
pub struct State<P>(RefCell<Option<P>>);

impl<P: Plugin> State<P> {
    /// Not configured yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only made in a constant")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    fn ask<T>(&self, question: impl FnOnce(&mut P) -> T) -> T {
        let mut state = self.0.borrow_mut();
        question(
            state
                .as_mut()
                .expect("the host configures an instance before it asks"),
        )
    }
}

/// A component: something that holds the state of a plugin.
pub trait Instance {
    /// The plugin.
    type Plugin: Plugin;

    /// Does something with the state.
    fn with<T>(ask: impl FnOnce(&State<Self::Plugin>) -> T) -> T;
}

fn ask<C: Instance, T>(question: impl FnOnce(&mut C::Plugin) -> T) -> T {
    C::with(|state| state.ask(question))
}

/// A panic ends the instance; without this nobody would learn what it said.
fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
}

impl<C: Instance> lifecycle::Guest for C {
    fn describe() -> lifecycle::Manifest {
        let manifest = C::Plugin::MANIFEST;
        lifecycle::Manifest {
            name: manifest.name.to_owned(),
            version: manifest.version.to_owned(),
            description: manifest.description.to_owned(),
            needs: manifest.may_need.0,
            deterministic: manifest.deterministic,
        }
    }

    fn configure(json: String) -> Result<(), String> {
        report_panics();
        let plugin = C::Plugin::configure(&json)?;
        C::with(|state| state.0.replace(Some(plugin)));
        Ok(())
    }

    fn needs() -> u64 {
        ask::<C, _>(|plugin| plugin.needs().0)
    }

    fn self_test() -> Result<(), String> {
        ask::<C, _>(Plugin::self_test)
    }
}

impl<C: Instance<Plugin: Gatekeeper>> session::Guest for C {
    fn admit(session: session::Session) -> session::Admitted {
        let session = session.into();
        ask::<C, _>(|plugin| plugin.admit(&session)).into()
    }
}

impl<C: Instance<Plugin: Rewriter>> rewriter::Guest for C {
    fn open(session: rewriter::Session) -> u32 {
        let session = session.into();
        ask::<C, _>(|plugin| plugin.classify(&session))
    }

    fn rewrite(statement: rewriter::Statement) -> rewriter::Answer {
        let statement = statement.into();
        ask::<C, _>(|plugin| plugin.rewrite(&statement)).into()
    }
}

impl<C: Instance<Plugin: Router>> router::Guest for C {
    fn open(session: router::Session) -> router::Opening {
        let session = session.into();
        ask::<C, _>(|plugin| plugin.open(&session)).into()
    }

    fn decide(statement: router::Statement) -> router::Routed {
        let statement = statement.into();
        ask::<C, _>(|plugin| plugin.decide(&statement)).into()
    }

    fn explain(reason: u32) -> String {
        ask::<C, _>(|plugin| plugin.explain(reason))
    }
}

impl<C: Instance<Plugin: Observer>> observer::Guest for C {
    fn observe(events: Vec<observer::Event>, dropped: u64) {
        let events: Vec<Event> = events.into_iter().map(Into::into).collect();
        ask::<C, _>(|plugin| plugin.observe(&events, dropped));
    }
}

impl<C: Instance<Plugin: Failover>> failover::Guest for C {
    fn decide(crisis: failover::Crisis) -> failover::Remedy {
        let crisis = crisis.into();
        ask::<C, _>(|plugin| plugin.decide(&crisis)).into()
    }
}

impl<C: Instance> topology_listener::Guest for C {
    fn changed(topology: topology_listener::Topology) {
        let topology = topology.into();
        ask::<C, _>(|plugin| plugin.topology_changed(&topology));
    }
}

impl<C: Instance<Plugin: Operator>> operator::Guest for C {
    fn command(text: String) -> Result<String, String> {
        ask::<C, _>(|plugin| plugin.command(&text))
    }
}
