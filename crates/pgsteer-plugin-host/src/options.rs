//! What the machinery for plugins is set up with.

use std::path::PathBuf;
use std::sync::Arc;

use pgsteer_core::Facts;

/// Settings of a [`WasmLoader`](crate::WasmLoader) or a [`Workbench`](crate::tool::Workbench).
#[derive(Clone, Debug)]
pub struct Options {
    /// Stack of a guest in bytes. Threads that ask plugins, and those that load them, need this
    /// much and some 512 KiB more: a guest that gets further than its thread's stack ends the
    /// process.
    pub stack_bytes_max: usize,
    /// Directory in which compiled components are kept across restarts, if any.
    pub state_dir: Option<PathBuf>,
    /// What is known about databases, for plugins with the grant `catalog`.
    pub facts: Option<Arc<Facts>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stack_bytes_max: STACK_BYTES_MAX,
            state_dir: None,
            facts: None,
        }
    }
}

/// Recursion of a guest traps here instead of eating a worker's stack of 2 MiB.
const STACK_BYTES_MAX: usize = 256 * 1024;
