//! The stages a plugin file goes through, in order.

use std::sync::{Arc, Mutex, PoisonError};

use pgsteer_core::Topology;
use pgsteer_core::policy::{
    FailureClass, LoadError, LoadedPlugin, PluginLoader, PluginSource, PolicyError, Router, needs,
};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::exports::pgsteer::plugin::lifecycle::Manifest;
use crate::cache::ComponentCache;
use crate::component::{Linked, check_resources, compile, link};
use crate::error::{HostError, failed, printable, refused};
use crate::imports::{self, HostState};
use crate::inspect::inspect;
use crate::instance::{Instance, Limit};
use crate::router::{Code, Factory, configure};
use crate::{canary, engine};

/// Loads WebAssembly components. One per process: it owns the compiler and the thread that
/// interrupts guests.
pub struct WasmLoader {
    engine: Engine,
    linker: Linker<HostState>,
    compiled: Mutex<ComponentCache>,
}

impl std::fmt::Debug for WasmLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WasmLoader")
    }
}

impl WasmLoader {
    /// Sets up the engine.
    ///
    /// # Errors
    /// The engine cannot be set up on this machine, or a thread cannot be started.
    pub fn new() -> Result<Self, HostError> {
        let engine = engine::new_engine()?;
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker).map_err(HostError::engine)?;
        Ok(Self {
            engine,
            linker,
            compiled: Mutex::default(),
        })
    }

    fn compiled(&self, source: &PluginSource) -> Result<Component, LoadError> {
        let cache = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = cache().get(source) {
            return Ok(component);
        }
        let component = compile(&self.engine, &source.bytes)?;
        cache().put(source, component.clone());
        Ok(component)
    }
}

impl PluginLoader for WasmLoader {
    fn load(
        &self,
        source: &PluginSource,
        workers: usize,
        topology: &Topology,
    ) -> Result<LoadedPlugin, LoadError> {
        let limits = &source.limits;
        let inspected =
            inspect(&source.bytes, limits).map_err(|reason| refused("inspect", reason))?;
        let component = self.compiled(source)?;
        check_resources(&component, limits)?;
        let linked = link(&self.linker, &component, &inspected)?;

        let plugin: Arc<str> = source.name.as_str().into();
        let (manifest, needs) = describe(&linked, &plugin, source)?;
        let deterministic = manifest.deterministic;
        let (limits, config) = (limits.clone(), source.config.clone());
        let code = Code {
            linked,
            plugin,
            limits,
            config,
            needs,
            deterministic,
        };
        let factory = Factory::new(code, topology.clone());
        try_out(&factory)?;

        let build = |_| match factory.build() {
            Ok(router) => Ok(Box::new(router) as Box<dyn Router>),
            Err(error) => Err(failed("canary", &error)),
        };
        let instances = (0..workers).map(build).collect::<Result<_, _>>()?;
        Ok(LoadedPlugin {
            name: manifest.name,
            version: manifest.version,
            hooks: inspected.hooks(),
            deterministic,
            needs,
            factory: Arc::new(factory),
            instances,
        })
    }
}

/// Asks a first instance who it is, hands it the configuration, and asks what it needs.
fn describe(
    linked: &Linked,
    plugin: &Arc<str>,
    source: &PluginSource,
) -> Result<(Manifest, u64), LoadError> {
    let instance = Instance::new(linked, plugin, &source.limits);
    let mut instance = instance.map_err(|error| failed("link", &error))?;
    let manifest = instance
        .ask(Limit::Configure, |store, guests| {
            guests.lifecycle.call_describe(store)
        })
        .map_err(|error| failed("describe", &error))?;
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MANIFEST_TEXT_BYTES_MAX || !clean {
            return Err(refused(
                "describe",
                format!(
                    "its {what} must be 1 to {MANIFEST_TEXT_BYTES_MAX} visible ASCII characters"
                ),
            ));
        }
    }
    if manifest.needs & !needs::ALL != 0 {
        let needs = manifest.needs;
        return Err(refused(
            "describe",
            format!("it needs something this proxy does not have (bits {needs:#x})"),
        ));
    }
    configure(&mut instance, &source.config)
        .map_err(|error| failed("configure", &error))?
        .map_err(|reason| refused("configure", printable(&reason)))?;
    let needs = instance
        .ask(Limit::Configure, |store, guests| {
            guests.lifecycle.call_needs(store)
        })
        .map_err(|error| failed("configure", &error))?;
    let needs = needs & manifest.needs;
    Ok((manifest, needs))
}

/// Tries a plugin out. A busy machine may suspend a thread for longer than a question may take, so
/// one that is too slow gets another chance; one that loops is too slow each time.
fn try_out(factory: &Factory) -> Result<(), LoadError> {
    let mut chances = CHANCES;
    loop {
        chances -= 1;
        match try_once(factory) {
            Err(Tried::TooSlow(_)) if chances > 0 => {}
            Err(Tried::TooSlow(error) | Tried::Refused(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// How often a plugin may be too slow while it is tried out.
const CHANCES: u32 = 3;

/// Why a plugin did not pass.
enum Tried {
    TooSlow(LoadError),
    Refused(LoadError),
}

/// Asks a configured instance everything a worker might ask.
fn try_once(factory: &Factory) -> Result<(), Tried> {
    let judge = |stage, error: PolicyError| match error.class {
        FailureClass::Deadline => Tried::TooSlow(failed(stage, &error)),
        _ => Tried::Refused(failed(stage, &error)),
    };
    let mut router = factory.build().map_err(|error| judge("canary", error))?;
    router
        .self_test()
        .map_err(|error| judge("self-test", error))?
        .map_err(|reason| Tried::Refused(refused("self-test", printable(&reason))))?;
    canary::ask_golden_set(&mut router).map_err(|error| judge("canary", error))
}

const MANIFEST_TEXT_BYTES_MAX: usize = 64;
