//! What the host is asked to load, and with what.

#![allow(
    dead_code,
    unused_imports,
    clippy::allow_attributes,
    reason = "each test uses some of it"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::policy::{
    Grants, LoadContext, LoadError, LoadedPlugin, PluginLoader as _, PluginSource, Policy,
    SessionFacts, StatementFacts,
};
use pgsteer_core::settings::{OnFailure, PluginLimits};
use pgsteer_core::topology::{Activity, Health};
use pgsteer_core::{Node, NodeId, Role, Topology};
use pgsteer_plugin_host::{Options, WasmLoader};

pub(crate) use pgsteer_testkit::guest::{BAD, Guest, WIT, dummy};

pub(crate) fn limits() -> PluginLimits {
    PluginLimits {
        results_bytes_max: 1024 * 1024,
        log_lines_max: 10,
        functions_max: 20_000,
        decision_timeout: Duration::from_millis(20),
        configure_timeout: Duration::from_millis(50),
        memory_bytes_max: 16 * 1024 * 1024,
        file_bytes_max: 4 * 1024 * 1024,
        on_failure: OnFailure::Skip,
    }
}

pub(crate) fn source(bytes: impl Into<Arc<[u8]>>) -> PluginSource {
    PluginSource {
        name: "10-hostile".to_owned(),
        bytes: bytes.into(),
        sha256: String::new(),
        config: "{}".to_owned(),
        limits: limits(),
        grants: Grants::LOG,
    }
}

/// All grants but the stubs of WASI.
pub(crate) fn all_grants() -> Grants {
    let all = Grants::NAMED.iter().map(|(grant, _)| *grant);
    all.filter(|grant| *grant != Grants::WASI_STUBS)
        .fold(Grants::default(), Grants::with)
}

/// A primary and a replica.
pub(crate) fn topology() -> Topology {
    let node = |id, role| Node {
        role,
        health: Health::Up,
        last_probe_ok: true,
        ..Node::unknown(NodeId(id), "127.0.0.1", 5432)
    };
    Topology {
        epoch: 1,
        activity: Activity::None,
        nodes: vec![node(0, Role::Primary), node(1, Role::Replica)],
    }
}

/// One loader for all tests of a process, as in the proxy.
pub(crate) fn loader() -> &'static WasmLoader {
    static LOADER: std::sync::OnceLock<WasmLoader> = std::sync::OnceLock::new();
    LOADER.get_or_init(|| new_loader(Options::default()))
}

pub(crate) fn new_loader(options: Options) -> WasmLoader {
    WasmLoader::new(options).expect("the engine can be set up")
}

/// Nothing to compare with.
pub(crate) fn context(topology: &Topology, workers: usize) -> LoadContext<'_> {
    LoadContext {
        workers,
        topology,
        golden: &[],
        previous: None,
    }
}

pub(crate) fn load(bytes: impl Into<Arc<[u8]>>) -> Result<LoadedPlugin, LoadError> {
    load_source(&source(bytes))
}

pub(crate) fn load_source(source: &PluginSource) -> Result<LoadedPlugin, LoadError> {
    loader().load(source, &context(&topology(), 1))
}

/// The instance of a guest that behaves while it is loaded.
pub(crate) fn policy(guest: &Guest) -> Box<dyn Policy> {
    granted(guest, Grants::LOG)
}

pub(crate) fn granted(guest: &Guest, grants: Grants) -> Box<dyn Policy> {
    let source = PluginSource {
        grants,
        ..source(guest.build())
    };
    let loaded = load_source(&source);
    let mut loaded = loaded.expect("the guest behaves during loading");
    loaded.instances.pop().expect("one instance was asked for")
}

/// A guest that implements everything and may import everything.
pub(crate) fn everything() -> Guest {
    Guest {
        world: "everything".to_owned(),
        ..Guest::default()
    }
}

/// A guest that implements one hook.
pub(crate) fn only(hook: &str) -> Guest {
    let world = format!("world one {{ include host-api; export lifecycle; export {hook}; }}");
    Guest {
        wit: format!("{WIT}\n{world}\n"),
        world: "one".to_owned(),
        ..Guest::default()
    }
}

pub(crate) fn session() -> SessionFacts<'static> {
    SessionFacts {
        id: 1,
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
        sql,
        relations: &[],
        functions: &[],
        values: &[],
    }
}

#[track_caller]
pub(crate) fn check_refused(guest: &Guest, stage: &str, word: &str) {
    check_refused_source(&source(guest.build()), stage, word);
}

#[track_caller]
pub(crate) fn check_refused_source(source: &PluginSource, stage: &str, word: &str) {
    let error = load_source(source).err().expect("it must be refused");
    assert_eq!(error.stage, stage, "{error}");
    assert!(error.reason.contains(word), "{error}: no {word:?}");
}
