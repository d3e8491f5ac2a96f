//! What a store may hold. The limiter is on every store that ever runs a guest.
//!
//! Some limits grow with what the operator allows a plugin to have: a guest that brings an
//! interpreter has more functions, and with them more modules, tables and machine code.

use pgsteer_core::settings::PluginLimits;
use wasmtime::ResourceLimiter;

/// Limits that follow from the configured ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Derived {
    /// Linear memory in bytes, of all memories of a component together.
    pub(crate) memory_bytes_max: usize,
    /// Elements of one table, of 8 bytes each: a pointer to each function the file may have.
    pub(crate) table_elements_max: usize,
    /// Tables of a component: the guest's and those of the adapters.
    pub(crate) tables_max: usize,
    /// Core instances of a component: the guest and the adapters around it.
    pub(crate) core_instances_max: usize,
    /// Bytes of compiled image: machine code for each function the file may have, and the data of
    /// the file.
    pub(crate) compiled_bytes_max: usize,
}

impl Derived {
    pub(crate) fn new(limits: &PluginLimits) -> Self {
        let functions = limits.functions_max as usize;
        let code = functions.saturating_mul(CODE_BYTES_PER_FUNCTION);
        Self {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: functions.max(TABLE_ELEMENTS_MIN),
            tables_max: TABLES_MIN + functions / FUNCTIONS_PER_MODULE,
            core_instances_max: CORE_INSTANCES_MIN + functions / FUNCTIONS_PER_MODULE,
            compiled_bytes_max: code.saturating_add(limits.file_bytes_max),
        }
    }
}

/// Limits of one store and what it ran into.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Derived,
    refused: bool,
    memory_bytes: usize,
}

impl Limiter {
    pub(crate) fn new(limits: Derived) -> Self {
        Self {
            limits,
            refused: false,
            memory_bytes: 0,
        }
    }

    /// Whether memory was refused since [`Limiter::forget`].
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// Before a guest is entered.
    pub(crate) fn forget(&mut self) {
        self.refused = false;
    }

    /// The most linear memory there was, of all memories together; none of them ever shrinks.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(more);
        let granted = total <= self.limits.memory_bytes_max;
        if granted {
            self.memory_bytes = total;
        }
        self.refused |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.limits.table_elements_max;
        self.refused |= !granted;
        Ok(granted)
    }

    fn instances(&self) -> usize {
        self.limits.core_instances_max
    }

    fn tables(&self) -> usize {
        self.limits.tables_max
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// Optimised code of real guests has 200 to 800 bytes a function; ours, with room.
const CODE_BYTES_PER_FUNCTION: usize = 2 * 1024;

/// Guests that are linked while they start bring a module for each library, of a few thousand
/// functions; ours.
const FUNCTIONS_PER_MODULE: usize = 1_000;

const TABLE_ELEMENTS_MIN: usize = 1_000;
const CORE_INSTANCES_MIN: usize = 16;
const TABLES_MIN: usize = 8;

/// Memories of a component: one for each of the parts it was put together from. Each takes 4 GiB of
/// address space.
pub(crate) const MEMORIES_MAX: usize = 4;

/// Resource handles of a store; the interface has none.
pub(crate) const HANDLES_MAX: usize = 1_000;

/// Length of a statement that is still handed to a plugin, and of all values of its parameters
/// together; above, they are withheld.
pub(crate) const SQL_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a text of the guest that are kept: a log line, an error, a rejection.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// Bytes of an answer to an operator that are kept.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Calls after which an instance makes room for a fresh one: what a guest leaks does not add up.
pub(crate) const CALLS_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::{Derived, Limiter};

    #[test]
    fn all_memories_of_a_component_count_together() {
        let limits = Derived {
            memory_bytes_max: 10,
            table_elements_max: 0,
            tables_max: 0,
            core_instances_max: 0,
            compiled_bytes_max: 0,
        };
        let mut limiter = Limiter::new(limits);
        let mut grow = |current, desired| {
            let granted = limiter.memory_growing(current, desired, None);
            (
                granted.expect("no error"),
                limiter.memory_bytes(),
                limiter.refused(),
            )
        };
        assert_eq!(grow(0, 4), (true, 4, false));
        assert_eq!(grow(0, 3), (true, 7, false));
        assert_eq!(grow(4, 7), (true, 10, false));
        assert_eq!(grow(3, 4), (false, 10, true));
    }
}
