//! Guests written by hand against the canonical ABI, with one thing wrong at a time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::policy::{
    LoadError, LoadedPlugin, PluginLoader as _, PluginSource, SessionFacts, StatementFacts,
};
use pgsteer_core::settings::{OnFailure, PluginLimits};
use pgsteer_core::topology::Health;
use pgsteer_core::{Node, NodeId, Role, Topology};
use pgsteer_plugin_host::WasmLoader;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

pub(crate) const WIT: &str = include_str!("../../../../wit/plugin.wit");

/// The fingerprint for which a guest misbehaves; the golden set does not contain it.
pub(crate) const BAD: u64 = 2989;

/// Function bodies of a guest in the text format. The defaults behave well: everything goes to the
/// primary.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) describe: String,
    pub(crate) configure: String,
    pub(crate) self_test: String,
    pub(crate) open: String,
    pub(crate) decide: String,
    pub(crate) changed: String,
    pub(crate) realloc: String,
    /// Further fields of the module, such as a start function.
    pub(crate) fields: String,
    /// Fields that must come first, such as imports.
    pub(crate) imports: String,
    pub(crate) memory: String,
    /// The interface it is built for.
    pub(crate) wit: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            describe: "i32.const 64".to_owned(),
            configure: "i32.const 128".to_owned(),
            self_test: "i32.const 128".to_owned(),
            open: "i32.const 192".to_owned(),
            decide: "i32.const 256".to_owned(),
            changed: String::new(),
            realloc: REALLOC.to_owned(),
            fields: String::new(),
            imports: String::new(),
            memory: r#"(memory (export "memory") 32)"#.to_owned(),
            wit: WIT.to_owned(),
        }
    }
}

impl Guest {
    /// Misbehaves for the statement with the fingerprint [`BAD`] only.
    pub(crate) fn bad_decide(body: &str) -> Self {
        let decide = format!("local.get 0 i64.const {BAD} i64.eq (if (then {body})) i32.const 256");
        Self {
            decide,
            ..Self::default()
        }
    }

    fn module(&self) -> String {
        let Self {
            describe,
            configure,
            self_test,
            open,
            decide,
            changed,
            realloc,
            ..
        } = self;
        let Self {
            fields,
            imports,
            memory,
            ..
        } = self;
        format!(
            r#"(module {imports} {memory}
            (global $heap (mut i32) (i32.const 65536))
            {fields}
            (func (export "pgsteer:plugin/lifecycle@0.1.0#describe") (result i32) {describe})
            (func (export "pgsteer:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
                {configure})
            (func (export "pgsteer:plugin/lifecycle@0.1.0#self-test") (result i32) {self_test})
            (func (export "pgsteer:plugin/router@0.1.0#open")
                (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {open})
            (func $decide (export "pgsteer:plugin/router@0.1.0#decide")
                (param i64 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {decide})
            (func (export "pgsteer:plugin/topology-listener@0.1.0#changed") (param i64 i32 i32)
                {changed})
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (data (i32.const 16) "hostile")
            (data (i32.const 32) "1")
            (data (i32.const 64) "\10\00\00\00\07\00\00\00\20\00\00\00\01\00\00\00")
            (data (i32.const 256) "\01"))"#
        )
    }

    /// The component.
    pub(crate) fn build(&self) -> Vec<u8> {
        let module = wat::parse_str(self.module()).expect("the text of the guest is valid");
        encode(module, &self.wit, "router-plugin")
    }
}

/// A component whose functions do nothing but trap, for another version of the interface.
pub(crate) fn dummy(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_source("plugin.wit", wit)
        .expect("the interface is valid");
    let world_id = resolve
        .select_world(&[package], Some(world))
        .expect("the world exists");
    let module = wit_component::dummy_module(&resolve, world_id, ManglingAndAbi::Standard32);
    encode(module, wit, world)
}

fn encode(mut module: Vec<u8>, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_source("plugin.wit", wit)
        .expect("the interface is valid");
    let world = resolve
        .select_world(&[package], Some(world))
        .expect("the world exists");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("metadata can be embedded");
    let mut encoder = ComponentEncoder::default()
        .validate(false)
        .module(&module)
        .expect("the module fits the interface");
    encoder.encode().expect("the module can be wrapped")
}

pub(crate) fn limits() -> PluginLimits {
    PluginLimits {
        decision_timeout: Duration::from_millis(3),
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
    }
}

/// Hands out memory upwards and begins again after a MiB: no value of a test lives longer.
const REALLOC: &str = "
    global.get $heap i32.const 1048576 i32.gt_u
    (if (then i32.const 65536 global.set $heap))
    global.get $heap
    global.get $heap local.get 3 i32.add i32.const 7 i32.add i32.const -8 i32.and global.set $heap";
