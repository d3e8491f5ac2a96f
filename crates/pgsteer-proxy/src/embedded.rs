//! What is compiled into the program: the plugin that decides where no other does.

/// The default router, a WebAssembly component (`plugins/pgpool-router`).
pub const DEFAULT_ROUTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pgpool-router.wasm"));
