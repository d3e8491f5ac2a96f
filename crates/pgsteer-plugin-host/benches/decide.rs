//! Nanoseconds per decision of a real router, through everything a worker goes through; and what
//! a rewriting, a batch of events and loading cost, with guests written by hand.
//!
//! The router is the argument or, without one, `plugins/pgpool-router.wasm` in the target
//! directory, where the build of the proxy puts it. `cargo bench -p pgsteer-plugin-host`.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../../../tests/support/measure.rs"]
mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{
    Event, LoadedPlugin, PluginLoader as _, PluginSource, Policy, StatementFacts, traits,
};
use pgsteer_plugin_host::{Options, WasmLoader};

use measure::measure;
use support::{Guest, all_grants, context, only, session, source, topology};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let path = path.map_or_else(default_path, |path| Ok(PathBuf::from(path)))?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let router = PluginSource {
        grants: all_grants(),
        ..source(bytes)
    };
    loading(&router)?;
    let loader = WasmLoader::new(Options::default())?;
    routing(&loader, &router)?;
    rewriting(&loader)?;
    observing(&loader)
}

/// From file to instances for two workers.
fn loading(source: &PluginSource) -> Result<(), Box<dyn Error>> {
    println!("component of {} bytes", source.bytes.len());
    let dir = tempfile::tempdir()?;
    let options = Options {
        state_dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    for what in ["load, compiling", "load, compiled before a restart"] {
        let loader = WasmLoader::new(options.clone())?;
        time_load(what, &loader, source)?;
        if what != "load, compiling" {
            time_load("load, compiled by this process", &loader, source)?;
        }
    }
    Ok(())
}

fn time_load(what: &str, loader: &WasmLoader, source: &PluginSource) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let loaded = load(loader, source, 2)?;
    println!("{what:46} {:10.0} µs", start.elapsed().as_secs_f64() * 1e6);
    for (stage, time) in loaded.report.stages {
        println!("    {stage:42} {:10.0} µs", time.as_secs_f64() * 1e6);
    }
    Ok(())
}

fn routing(loader: &WasmLoader, source: &PluginSource) -> Result<(), Box<dyn Error>> {
    let (loaded, mut router) = instance(loader, source)?;
    measure("decide: select", || router.decide(&select(0)).is_ok());
    measure("decide: in transaction", || {
        router.decide(&select(traits::IN_TRANSACTION)).is_ok()
    });
    measure("decide: insert", || router.decide(&insert()).is_ok());
    measure("open", || router.open(&session()).is_ok());
    let topology = topology();
    measure("topology, 2 nodes", || {
        router.topology_changed(&topology).is_ok()
    });
    measure("new instance", || loaded.factory.instantiate().is_ok());
    Ok(())
}

/// A guest that answers with the text it was given.
fn rewriting(loader: &WasmLoader) -> Result<(), Box<dyn Error>> {
    let echo = "i32.const 512 i32.const 1 i32.store8
        i32.const 516 local.get 8 i32.store i32.const 520 local.get 9 i32.store i32.const 512";
    let guest = Guest {
        rewrite: echo.to_owned(),
        ..only("rewriter")
    };
    let (_, mut rewriter) = instance(loader, &source(guest.build()))?;
    let statement = StatementFacts {
        sql: REWRITTEN,
        ..select(0)
    };
    measure("rewrite: 124 bytes", || {
        rewriter.rewrite(&statement).is_ok()
    });
    Ok(())
}

fn observing(loader: &WasmLoader) -> Result<(), Box<dyn Error>> {
    let (_, mut observer) = instance(loader, &source(only("observer").build()))?;
    let event = Event {
        session: 1,
        user: "alice",
        database: "shop",
        fingerprint: 1,
        class: 1,
        traits: traits::READS,
        node: Some(NodeId(1)),
        rows: 1,
        bytes: 100,
        microseconds: 250,
        error: None,
    };
    let events = [event; 64];
    measure("observe: 64 events", || {
        observer.observe(&events, 0).is_ok()
    });
    Ok(())
}

fn load(
    loader: &WasmLoader,
    source: &PluginSource,
    workers: usize,
) -> Result<LoadedPlugin, Box<dyn Error>> {
    Ok(loader.load(source, &context(&topology(), workers))?)
}

fn instance(
    loader: &WasmLoader,
    source: &PluginSource,
) -> Result<(LoadedPlugin, Box<dyn Policy>), Box<dyn Error>> {
    let mut loaded = load(loader, source, 1)?;
    let instance = loaded.instances.pop().ok_or("no instance")?;
    Ok((loaded, instance))
}

fn select(more: u64) -> StatementFacts<'static> {
    StatementFacts {
        traits: traits::READS | more,
        balance_node: Some(NodeId(1)),
        ..support::statement(1, SELECT)
    }
}

fn insert() -> StatementFacts<'static> {
    StatementFacts {
        class: 2,
        traits: traits::WRITES,
        ..select(0)
    }
}

const SELECT: &str = "SELECT balance FROM accounts WHERE id = 4711 AND branch = 7";

const REWRITTEN: &str = "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = \
    o.customer_id WHERE o.tenant = 42 AND o.state = 'open'";

/// The benchmark's own executable lies in `<target>/<profile>/deps`.
fn default_path() -> Result<PathBuf, Box<dyn Error>> {
    let executable = std::env::current_exe()?;
    let target = executable
        .ancestors()
        .nth(3)
        .ok_or("not in a target directory")?;
    Ok(target.join("plugins").join("pgpool-router.wasm"))
}
