//! Compiled and linked components: everything about a plugin that instances share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pgsteer_core::policy::LoadError;
use pgsteer_core::settings::PluginLimits;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::exports::pgsteer::plugin::{lifecycle, router, topology_listener};
use crate::error::{printable, refused};
use crate::imports::HostState;
use crate::inspect::{self, Inspected};
use crate::limits::{COMPILED_BYTES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// A component with its imports resolved and its hooks looked up by name.
pub(crate) struct Linked {
    pub(crate) pre: InstancePre<HostState>,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) router: router::GuestIndices,
    pub(crate) topology_listener: Option<topology_listener::GuestIndices>,
}

/// Compiles a component that was inspected. Takes about a millisecond per KiB of code.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    let refused = |reason: String| refused("compile", reason);
    // The compiler is large; a mistake in it must not end the control plane.
    let compiled = catch_unwind(AssertUnwindSafe(|| Component::from_binary(engine, bytes)));
    let component = compiled
        .map_err(|_| refused("the compiler panicked".to_owned()))?
        .map_err(|error| refused(printable(&format!("{error:#}"))))?;
    let range = component.image_range();
    let length = (range.end as usize).saturating_sub(range.start as usize);
    if length > COMPILED_BYTES_MAX {
        return Err(refused(format!(
            "{length} bytes of machine code, allowed are {COMPILED_BYTES_MAX}"
        )));
    }
    Ok(component)
}

/// Whether an instance would fit into its limits from the start.
pub(crate) fn check_resources(
    component: &Component,
    limits: &PluginLimits,
) -> Result<(), LoadError> {
    let refused = |reason: String| Err(refused("inspect", reason));
    let Some(required) = component.resources_required() else {
        return refused("imports core modules".to_owned());
    };
    if required.num_memories as usize > MEMORIES_MAX {
        return refused(format!(
            "has {} memories, allowed is one",
            required.num_memories
        ));
    }
    let pages = required.max_initial_memory_size.unwrap_or_default();
    let initial = pages.saturating_mul(PAGE_BYTES);
    if initial > limits.memory_bytes_max as u64 {
        let max = limits.memory_bytes_max;
        return refused(format!(
            "starts with {initial} bytes of memory, allowed are {max}"
        ));
    }
    if required.num_tables as usize > TABLES_MAX
        || required.max_initial_table_size.unwrap_or_default() > TABLE_ELEMENTS_MAX as u64
    {
        return refused(format!(
            "needs too many tables; allowed are {TABLES_MAX} of {TABLE_ELEMENTS_MAX} elements"
        ));
    }
    Ok(())
}

/// Resolves imports and finds the hooks.
pub(crate) fn link(
    linker: &Linker<HostState>,
    component: &Component,
    inspected: &Inspected,
) -> Result<Linked, LoadError> {
    let wrong = |what: &str, error: wasmtime::Error| {
        refused(
            "link",
            format!("{what}: {}", printable(&format!("{error:#}"))),
        )
    };
    let pre = linker
        .instantiate_pre(component)
        .map_err(|error| wrong("imports", error))?;
    let hook = |name: &str, error| wrong(&format!("hook {name} has the wrong type"), error);
    let lifecycle = lifecycle::GuestIndices::new(&pre);
    let lifecycle = lifecycle.map_err(|error| hook(inspect::LIFECYCLE, error))?;
    let router = router::GuestIndices::new(&pre);
    let router = router.map_err(|error| hook(inspect::ROUTER, error))?;
    let topology_listener = if inspected.listens_to_topology {
        let listener = topology_listener::GuestIndices::new(&pre);
        Some(listener.map_err(|error| hook(inspect::TOPOLOGY_LISTENER, error))?)
    } else {
        None
    };
    Ok(Linked {
        pre,
        lifecycle,
        router,
        topology_listener,
    })
}

/// Size of a page of linear memory; other sizes are switched off.
const PAGE_BYTES: u64 = 64 * 1024;
