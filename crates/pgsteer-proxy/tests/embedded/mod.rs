//! Loads an embedded plugin as the proxy loads it.

use std::time::Duration;

use pgsteer_core::Topology;
use pgsteer_core::policy::{
    Grants, LoadContext, LoadError, LoadedPlugin, PluginLoader as _, PluginSource,
};
use pgsteer_core::settings::{OnFailure, PluginLimits};
use pgsteer_plugin_host::{Options, WasmLoader};

/// Loads this component with this configuration, a JSON object.
pub(crate) fn load(
    component: &[u8],
    config: &str,
    topology: &Topology,
) -> Result<LoadedPlugin, LoadError> {
    let limits = PluginLimits {
        decision_timeout: Duration::from_millis(20),
        configure_timeout: Duration::from_secs(1),
        memory_bytes_max: 16 << 20,
        file_bytes_max: 4 << 20,
        results_bytes_max: 1 << 20,
        log_lines_max: 10,
        functions_max: 20_000,
        on_failure: OnFailure::Skip,
    };
    let source = PluginSource {
        name: "90-embedded".to_owned(),
        bytes: component.into(),
        sha256: String::new(),
        config: config.to_owned(),
        limits,
        grants: Grants::default(),
    };
    let context = LoadContext {
        workers: 2,
        topology,
        golden: &[],
        previous: None,
    };
    let loader = WasmLoader::new(Options::default()).expect("the engine can be set up");
    loader.load(&source, &context)
}
