//! What a store may hold. The limiter is on every store that ever runs a guest.

use wasmtime::ResourceLimiter;

/// Limits of one store and what it ran into.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes_max: usize,
    refused: bool,
}

impl Limiter {
    /// A limiter for one memory of this size in bytes.
    pub(crate) fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes_max,
            refused: false,
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
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.memory_bytes_max;
        self.refused |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= TABLE_ELEMENTS_MAX;
        self.refused |= !granted;
        Ok(granted)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// Elements of a table, of 8 bytes each.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 10_000;

/// Core instances of a component: the guest and the adapters around it.
const CORE_INSTANCES_MAX: usize = 16;

/// Tables of a component: the guest's and those of the adapters.
pub(crate) const TABLES_MAX: usize = 8;

/// Memories of a component.
pub(crate) const MEMORIES_MAX: usize = 1;

/// Bytes a guest may hand to the host in one call, results included.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 1024 * 1024;

/// Resource handles of a store; the interface has none.
pub(crate) const HANDLES_MAX: usize = 1_000;

/// Functions in a file; compile time grows with them.
pub(crate) const FUNCTIONS_MAX: u32 = 20_000;

/// Bytes of machine code of one component.
pub(crate) const COMPILED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Length of a statement that is still handed to a plugin; above, the text is withheld.
pub(crate) const SQL_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a text of the guest that are kept: a log line, an error, a rejection.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;
