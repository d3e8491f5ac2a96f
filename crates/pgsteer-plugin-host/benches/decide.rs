//! Nanoseconds per decision of a real router, through everything a worker goes through.
//!
//! The component is the argument or, without one, `plugins/pgpool-router.wasm` in the target
//! directory, where the build of the proxy puts it. `cargo bench -p pgsteer-plugin-host`.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../../../tests/support/measure.rs"]
mod measure;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use pgsteer_core::policy::{PluginLoader as _, PluginSource, SessionFacts, StatementFacts, traits};
use pgsteer_core::settings::{OnFailure, PluginLimits};
use pgsteer_core::topology::Health;
use pgsteer_core::{Node, NodeId, Role, Topology};
use pgsteer_plugin_host::WasmLoader;

use measure::measure;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let path = path.map_or_else(default_path, |path| Ok(PathBuf::from(path)))?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let source = source(bytes);
    let loader = WasmLoader::new()?;
    for what in ["load, compiling", "load, compiled before"] {
        let start = Instant::now();
        loader.load(&source, 2, &topology())?;
        println!("{what:28} {:10.1} µs", start.elapsed().as_secs_f64() * 1e6);
    }
    let mut loaded = loader.load(&source, 1, &topology())?;
    let mut router = loaded.instances.pop().ok_or("no instance")?;
    println!(
        "{} {}, {} bytes",
        loaded.name,
        loaded.version,
        source.bytes.len()
    );

    measure("decide: select", || router.decide(&select(0)).is_ok());
    measure("decide: in transaction", || {
        router.decide(&select(traits::IN_TRANSACTION)).is_ok()
    });
    measure("decide: insert", || router.decide(&insert()).is_ok());
    let session = SessionFacts {
        user: "alice",
        database: "shop",
        application_name: "",
        client_address: "",
        settings: &[],
    };
    measure("open", || router.open(&session).is_ok());
    let topology = topology();
    measure("topology, 3 nodes", || {
        router.topology_changed(&topology).is_ok()
    });
    measure("new instance", || loaded.factory.instantiate().is_ok());
    Ok(())
}

fn select(more: u64) -> StatementFacts<'static> {
    StatementFacts {
        fingerprint: 1,
        class: 1,
        traits: traits::READS | more,
        session_class: 0,
        balance_node: Some(NodeId(1)),
        transaction_marks: 0,
        session_marks: 0,
        parameter_count: 0,
        sql: "SELECT balance FROM accounts WHERE id = 4711 AND branch = 7",
        relations: &[],
        functions: &[],
    }
}

fn insert() -> StatementFacts<'static> {
    StatementFacts {
        class: 2,
        traits: traits::WRITES,
        ..select(0)
    }
}

fn source(bytes: Vec<u8>) -> PluginSource {
    let limits = PluginLimits {
        decision_timeout: Duration::from_millis(20),
        configure_timeout: Duration::from_secs(1),
        memory_bytes_max: 16 << 20,
        file_bytes_max: 4 << 20,
        on_failure: OnFailure::Skip,
    };
    let (name, config) = ("bench".to_owned(), "{}".to_owned());
    PluginSource {
        name,
        bytes: bytes.into(),
        sha256: String::new(),
        config,
        limits,
    }
}

fn topology() -> Topology {
    let node = |id, role| Node {
        id: NodeId(id),
        host: "192.0.2.1".into(),
        port: 5432,
        weight: 1.0,
        role,
        health: Health::Up,
        last_probe_ok: true,
        follows: true,
        lag_bytes: Some(0),
        replication_state: String::new(),
        replication_sync_state: String::new(),
        changed_at: SystemTime::UNIX_EPOCH,
    };
    let nodes = vec![
        node(0, Role::Primary),
        node(1, Role::Replica),
        node(2, Role::Replica),
    ];
    Topology { epoch: 1, nodes }
}

/// The benchmark's own executable lies in `<target>/<profile>/deps`.
fn default_path() -> Result<PathBuf, Box<dyn Error>> {
    let executable = std::env::current_exe()?;
    let target = executable
        .ancestors()
        .nth(3)
        .ok_or("not in a target directory")?;
    Ok(target.join("plugins").join("pgpool-router.wasm"))
}
