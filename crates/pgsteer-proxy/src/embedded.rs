//! What is compiled into the program: the plugins that decide where no other does.

/// The default router, a WebAssembly component (`plugins/pgpool-router`).
pub const DEFAULT_ROUTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pgpool-router.wasm"));

/// The default failover policy, a WebAssembly component (`plugins/pgpool-failover`).
pub const DEFAULT_FAILOVER: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/pgpool-failover.wasm"));

/// The plugin that does the least (`plugins/primary-only`), for comparison.
pub(crate) const FLOOR_PLUGIN: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/primary-only.wasm"));

/// What the SDK is made of, by path from the root of the repository, for `pgsteer plugin new`; with
/// the manifest of the workspace and the versions that the plugins here are built with.
pub(crate) const SDK_SOURCES: &[(&str, &[u8])] =
    include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));
