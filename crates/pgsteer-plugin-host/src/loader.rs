//! The stages a plugin file goes through, in order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgsteer_core::policy::{
    FailureClass, Grants, LoadContext, LoadError, LoadReport, LoadedPlugin, PluginLoader,
    PluginSource, Policy, PolicyError,
};
use pgsteer_core::{Facts, Topology};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::aot::CompiledFiles;
use crate::cache::ComponentCache;
use crate::component::{check_resources, compile, image_bytes};
use crate::engine::{self, Metering};
use crate::error::{HostError, failed, printable, refused};
use crate::golden::Golden;
use crate::inspect::{Inspection, Interface, inspect, validate};
use crate::kv::Stores;
use crate::limits::Derived;
use crate::options::Options;
use crate::plugin::{Description, Factory, Linked};
use crate::pulse::Pulse;
use crate::state::{Environment, HostState};
use crate::stubs::linker_with_stubs;
use crate::{canary, v0_1};

/// Loads WebAssembly components. One per process: it owns the compiler, the thread that
/// interrupts guests, and the key-value stores of plugins.
pub struct WasmLoader {
    engine: Engine,
    pulse: Arc<Pulse>,
    linker: Linker<HostState>,
    compiled: Mutex<ComponentCache>,
    files: Option<CompiledFiles>,
    stores: Stores,
    facts: Option<Arc<Facts>>,
    start: Instant,
}

impl std::fmt::Debug for WasmLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WasmLoader")
    }
}

/// A plugin that was described and tried out.
pub(crate) struct Prepared {
    pub(crate) inspection: Inspection,
    pub(crate) description: Description,
    pub(crate) environment: Arc<Environment>,
    pub(crate) factory: Factory,
    pub(crate) image_bytes: usize,
    pub(crate) report: LoadReport,
}

impl WasmLoader {
    /// Sets up the engine.
    ///
    /// # Errors
    /// The engine cannot be set up on this machine, or a thread cannot be started.
    pub fn new(options: Options) -> Result<Self, HostError> {
        Self::with(options, Metering::Off)
    }

    pub(crate) fn with(options: Options, metering: Metering) -> Result<Self, HostError> {
        let (engine, pulse) = engine::new_engine(options.stack_bytes_max, metering)?;
        let mut linker = Linker::new(&engine);
        v0_1::add_to_linker(&mut linker).map_err(HostError::engine)?;
        let files = options.state_dir.map(CompiledFiles::new);
        Ok(Self {
            engine,
            pulse,
            linker,
            compiled: Mutex::default(),
            files,
            stores: Stores::default(),
            facts: options.facts,
            start: Instant::now(),
        })
    }

    /// Takes a file through all stages up to the canary.
    pub(crate) fn prepare(
        &self,
        source: &PluginSource,
        topology: &Topology,
    ) -> Result<Prepared, LoadError> {
        let mut report = LoadReport::default();
        let mut stages = Stages(&mut report.stages);
        let limits = Derived::new(&source.limits);
        let inspection = stages.time("inspect", || {
            inspect(source).map_err(|reason| refused("inspect", reason))
        })?;
        let (component, was_compiled) = stages.time("compile", || self.compiled(source))?;
        check_resources(&component, &limits)?;
        let linked = stages.time("link", || self.link(&component, &inspection))?;

        let store = self.stores.of(&source.name);
        let pulse = Arc::clone(&self.pulse);
        let environment = Environment::new(source, store, self.facts.clone(), self.start, pulse);
        let (trial, environment) = (Arc::new(environment.for_trial()), Arc::new(environment));
        let description = stages.time("describe", || linked.describe(&trial))?;
        let profile = description.profile;
        let asked = Arc::clone(&trial);
        let asked = Factory::new(Arc::clone(&linked), asked, profile, topology.clone());
        stages.time("canary", || try_out(&asked, &inspection))?;
        if inspection.logs && !source.grants.has(Grants::LOG) {
            let (plugin, lines) = (&*source.name, trial.lines_refused.load(Ordering::Relaxed));
            tracing::warn!(
                plugin,
                lines,
                "plugin may not write to the log, its lines are dropped"
            );
        }
        report.was_compiled = was_compiled;
        let live = Arc::clone(&environment);
        Ok(Prepared {
            inspection,
            description,
            factory: Factory::new(linked, live, profile, topology.clone()),
            environment,
            image_bytes: image_bytes(&component),
            report,
        })
    }

    /// The component, and whether it was there already.
    fn compiled(&self, source: &PluginSource) -> Result<(Component, bool), LoadError> {
        let cache = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = cache().get(source) {
            return Ok((component, true));
        }
        let files = self.files.as_ref();
        let on_disk = files.and_then(|files| files.get(&self.engine, &source.bytes));
        let was_compiled = on_disk.is_some();
        let component = match on_disk {
            Some(component) => component,
            None => {
                validate(&source.bytes).map_err(|reason| refused("inspect", reason))?;
                let component = compile(&self.engine, &source.bytes)?;
                if let Some(files) = files {
                    files.put(&self.engine, &source.bytes, &component);
                }
                component
            }
        };
        cache().put(source, component.clone());
        Ok((component, was_compiled))
    }

    fn link(
        &self,
        component: &Component,
        inspection: &Inspection,
    ) -> Result<Arc<dyn Linked>, LoadError> {
        let with_stubs;
        let linker = if inspection.grants.has(Grants::WASI_STUBS) {
            with_stubs = linker_with_stubs(&self.linker, component)?;
            &with_stubs
        } else {
            &self.linker
        };
        match inspection.version() {
            Interface::V0_1 => v0_1::link(linker, component, inspection.hooks),
        }
    }
}

impl PluginLoader for WasmLoader {
    fn load(
        &self,
        source: &PluginSource,
        context: &LoadContext<'_>,
    ) -> Result<LoadedPlugin, LoadError> {
        let prepared = self.prepare(source, context.topology)?;
        let mut report = prepared.report;
        let hooks = prepared.inspection.hooks;

        let start = Instant::now();
        let golden = Golden {
            factory: &prepared.factory,
            hooks,
            file: &source.name,
            samples: context.golden,
            previous: context.previous,
        };
        golden.ask(&mut report)?;
        if !context.golden.is_empty() {
            report.stages.push(("golden", start.elapsed()));
        }

        let start = Instant::now();
        let factory = prepared.factory;
        let build = |_| match factory.build() {
            Ok(policy) => Ok(policy as Box<dyn Policy>),
            Err(error) => Err(failed("canary", &error)),
        };
        let instances = (0..context.workers).map(build).collect::<Result<_, _>>()?;
        report.stages.push(("build", start.elapsed()));
        let Description {
            name,
            version,
            description,
            profile,
        } = prepared.description;
        Ok(LoadedPlugin {
            name,
            version,
            description,
            hooks,
            deterministic: profile.deterministic,
            needs: profile.needs,
            factory: Arc::new(factory),
            instances,
            kv_version: Arc::clone(prepared.environment.kv.version()),
            series: Arc::clone(&prepared.environment.series),
            report,
        })
    }
}

/// Stages and how long each took.
struct Stages<'a>(&'a mut Vec<(&'static str, Duration)>);

impl Stages<'_> {
    fn time<T>(
        &mut self,
        stage: &'static str,
        work: impl FnOnce() -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let start = Instant::now();
        let result = work();
        self.0.push((stage, start.elapsed()));
        result
    }
}

/// Tries a plugin out. A busy machine may suspend a thread for longer than a question may take, so
/// one that is too slow gets another chance; one that loops is too slow each time.
fn try_out(factory: &Factory, inspection: &Inspection) -> Result<(), LoadError> {
    let mut chances = CHANCES;
    loop {
        chances -= 1;
        match try_once(factory, inspection) {
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
fn try_once(factory: &Factory, inspection: &Inspection) -> Result<(), Tried> {
    let judge = |stage, error: PolicyError| match error.class {
        FailureClass::Deadline => Tried::TooSlow(failed(stage, &error)),
        _ => Tried::Refused(failed(stage, &error)),
    };
    let mut guest = factory.build().map_err(|error| judge("canary", error))?;
    guest
        .self_test()
        .map_err(|error| judge("self-test", error))?
        .map_err(|reason| Tried::Refused(refused("self-test", printable(&reason))))?;
    let mut policy: Box<dyn Policy> = guest;
    canary::ask_golden_set(&mut *policy, inspection.hooks).map_err(|error| judge("canary", error))
}
