//! Version 0.1 of the interface (`wit/v0.1`): everything that knows its types. A later version
//! gets a module of its own beside this one; which one a file needs is decided once, by the names
//! of its exports.

mod answers;
mod bindings;
mod crisis;
mod describe;
mod guest;
mod imports;
mod told;

use std::sync::Arc;

use pgsteer_core::policy::{Hooks, LoadError};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre, Linker};

use self::bindings::exports::pgsteer::plugin::{
    failover, lifecycle, observer, operator, rewriter, router, session, topology_listener,
};
use crate::error::{printable, refused};
use crate::plugin::Linked;
use crate::state::HostState;

pub(crate) use imports::add_to_linker;

/// A component with its imports resolved and its hooks looked up by name.
pub(crate) struct Code {
    pre: InstancePre<HostState>,
    hooks: Hooks,
    indices: Indices,
}

struct Indices {
    lifecycle: lifecycle::GuestIndices,
    session: Option<session::GuestIndices>,
    rewriter: Option<rewriter::GuestIndices>,
    router: Option<router::GuestIndices>,
    observer: Option<observer::GuestIndices>,
    topology_listener: Option<topology_listener::GuestIndices>,
    operator: Option<operator::GuestIndices>,
    failover: Option<failover::GuestIndices>,
}

/// The functions of an instance.
struct Guests {
    lifecycle: lifecycle::Guest,
    session: Option<session::Guest>,
    rewriter: Option<rewriter::Guest>,
    router: Option<router::Guest>,
    observer: Option<observer::Guest>,
    topology_listener: Option<topology_listener::Guest>,
    operator: Option<operator::Guest>,
    failover: Option<failover::Guest>,
}

/// Resolves imports and finds the hooks.
pub(crate) fn link(
    linker: &Linker<HostState>,
    component: &Component,
    hooks: Hooks,
) -> Result<Arc<dyn Linked>, LoadError> {
    let pre = linker.instantiate_pre(component);
    let pre = pre.map_err(|error| wrong("imports", &error))?;
    let indices = Indices::new(&pre, hooks)?;
    Ok(Arc::new(Code {
        pre,
        hooks,
        indices,
    }))
}

impl Indices {
    fn new(pre: &InstancePre<HostState>, hooks: Hooks) -> Result<Self, LoadError> {
        let find = Finder { pre, hooks };
        Ok(Self {
            lifecycle: find.always("lifecycle", lifecycle::GuestIndices::new)?,
            session: find.optional(Hooks::SESSION, session::GuestIndices::new)?,
            rewriter: find.optional(Hooks::REWRITER, rewriter::GuestIndices::new)?,
            router: find.optional(Hooks::ROUTER, router::GuestIndices::new)?,
            observer: find.optional(Hooks::OBSERVER, observer::GuestIndices::new)?,
            topology_listener: find.optional(
                Hooks::TOPOLOGY_LISTENER,
                topology_listener::GuestIndices::new,
            )?,
            operator: find.optional(Hooks::OPERATOR, operator::GuestIndices::new)?,
            failover: find.optional(Hooks::FAILOVER, failover::GuestIndices::new)?,
        })
    }

    fn load(&self, store: &mut Store<HostState>, instance: &Instance) -> wasmtime::Result<Guests> {
        macro_rules! load {
            ($hook:ident) => {{
                let indices = self.$hook.as_ref();
                let guest = indices.map(|indices| indices.load(&mut *store, instance));
                guest
                    .transpose()
                    .map_err(|error| wrong_type(stringify!($hook), &error))?
            }};
        }
        let lifecycle = self.lifecycle.load(&mut *store, instance);
        Ok(Guests {
            lifecycle: lifecycle.map_err(|error| wrong_type("lifecycle", &error))?,
            session: load!(session),
            rewriter: load!(rewriter),
            router: load!(router),
            observer: load!(observer),
            topology_listener: load!(topology_listener),
            operator: load!(operator),
            failover: load!(failover),
        })
    }
}

/// Types are looked at when the functions of an instance are.
fn wrong_type(hook: &str, error: &wasmtime::Error) -> wasmtime::Error {
    let (hook, cause) = (hook.replace('_', "-"), error.root_cause());
    wasmtime::Error::msg(format!("hook {hook} has the wrong type: {cause}"))
}

struct Finder<'a> {
    pre: &'a InstancePre<HostState>,
    hooks: Hooks,
}

impl Finder<'_> {
    fn always<T>(
        &self,
        name: &str,
        find: impl FnOnce(&InstancePre<HostState>) -> wasmtime::Result<T>,
    ) -> Result<T, LoadError> {
        find(self.pre).map_err(|error| wrong(&format!("hook {name} has the wrong type"), &error))
    }

    fn optional<T>(
        &self,
        hook: Hooks,
        find: impl FnOnce(&InstancePre<HostState>) -> wasmtime::Result<T>,
    ) -> Result<Option<T>, LoadError> {
        if !self.hooks.has(hook) {
            return Ok(None);
        }
        self.always(&hook.to_string(), find).map(Some)
    }
}

fn wrong(what: &str, error: &wasmtime::Error) -> LoadError {
    refused(
        "link",
        format!("{what}: {}", printable(&format!("{error:#}"))),
    )
}
