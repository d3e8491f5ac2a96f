//! Compiled components, before they are linked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pgsteer_core::policy::LoadError;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::{printable, refused};
use crate::limits::{Derived, MEMORIES_MAX};

/// Compiles a component that was inspected. Takes about a millisecond per KiB of code.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    let refused = |reason: String| refused("compile", reason);
    // The compiler is large; a mistake in it must not end the control plane.
    let compiled = catch_unwind(AssertUnwindSafe(|| Component::from_binary(engine, bytes)));
    compiled
        .map_err(|_| refused("the compiler panicked".to_owned()))?
        .map_err(|error| refused(printable(&format!("{error:#}"))))
}

/// Machine code and data in bytes.
pub(crate) fn image_bytes(component: &Component) -> usize {
    let range = component.image_range();
    (range.end as usize).saturating_sub(range.start as usize)
}

/// Whether an instance would fit into its limits from the start.
pub(crate) fn check_resources(component: &Component, limits: &Derived) -> Result<(), LoadError> {
    let length = image_bytes(component);
    if length > limits.compiled_bytes_max {
        return Err(refused(
            "compile",
            format!(
                "{length} bytes of machine code, allowed are {}",
                limits.compiled_bytes_max
            ),
        ));
    }
    let refused = |reason: String| Err(refused("inspect", reason));
    let Some(required) = component.resources_required() else {
        return refused("imports core modules".to_owned());
    };
    if required.num_memories as usize > MEMORIES_MAX {
        return refused(format!(
            "has {} memories, allowed are {MEMORIES_MAX}",
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
    let (tables, elements) = (limits.tables_max, limits.table_elements_max);
    if required.num_tables as usize > tables
        || required.max_initial_table_size.unwrap_or_default() > elements as u64
    {
        return refused(format!(
            "needs too many tables; allowed are {tables} of {elements} elements"
        ));
    }
    Ok(())
}

/// Size of a page of linear memory; other sizes are switched off.
const PAGE_BYTES: u64 = 64 * 1024;
