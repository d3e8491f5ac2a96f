//! What the host is asked to load, and with what.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::policy::{
    LoadError, LoadedPlugin, PluginLoader as _, PluginSource, SessionFacts, StatementFacts,
};
use pgsteer_core::settings::{OnFailure, PluginLimits};
use pgsteer_core::topology::Health;
use pgsteer_core::{Node, NodeId, Role, Topology};
use pgsteer_plugin_host::WasmLoader;

pub(crate) use pgsteer_testkit::guest::{BAD, Guest, WIT, dummy};

pub(crate) fn limits() -> PluginLimits {
    PluginLimits {
        decision_timeout: Duration::from_millis(20),
        configure_timeout: Duration::from_millis(50),
        memory_bytes_max: 16 * 1024 * 1024,
        file_bytes_max: 4 * 1024 * 1024,
        on_failure: OnFailure::Skip,
    }
}

pub(crate) fn source(bytes: impl Into<Arc<[u8]>>) -> PluginSource {
    let bytes = bytes.into();
    let name = "10-hostile".to_owned();
    PluginSource {
        name,
        bytes,
        sha256: String::new(),
        config: "{}".to_owned(),
        limits: limits(),
    }
}

/// A primary and a replica.
pub(crate) fn topology() -> Topology {
    let node = |id, role| Node {
        id: NodeId(id),
        host: "127.0.0.1".into(),
        port: 5432,
        weight: 1.0,
        role,
        health: Health::Up,
        last_probe_ok: true,
        follows: true,
        lag_bytes: None,
        replication_state: String::new(),
        replication_sync_state: String::new(),
        changed_at: SystemTime::UNIX_EPOCH,
    };
    Topology {
        epoch: 1,
        nodes: vec![node(0, Role::Primary), node(1, Role::Replica)],
    }
}

/// One loader for all tests of a process, as in the proxy.
pub(crate) fn loader() -> &'static WasmLoader {
    static LOADER: std::sync::OnceLock<WasmLoader> = std::sync::OnceLock::new();
    LOADER.get_or_init(|| WasmLoader::new().expect("the engine can be set up"))
}

pub(crate) fn load(bytes: impl Into<Arc<[u8]>>) -> Result<LoadedPlugin, LoadError> {
    loader().load(&source(bytes), 1, &topology())
}

pub(crate) fn session() -> SessionFacts<'static> {
    SessionFacts {
        user: "a",
        database: "b",
        application_name: "c",
        client_address: "",
        settings: &[],
    }
}

pub(crate) fn statement(fingerprint: u64, sql: &str) -> StatementFacts<'_> {
    StatementFacts {
        fingerprint,
        class: 1,
        traits: 1,
        session_class: 0,
        balance_node: None,
        transaction_marks: 0,
        session_marks: 0,
        parameter_count: 0,
        sql,
        relations: &[],
        functions: &[],
    }
}
