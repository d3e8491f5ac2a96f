//! For authors of plugins: one component, asked question by question, with what each cost.

use std::time::{Duration, Instant};

use pgsteer_core::Topology;
use pgsteer_core::policy::{LoadError, LoadReport, PluginSource, Policy, PolicyError};

use crate::engine::Metering;
use crate::error::{HostError, refused};
use crate::inspect::{inspect, validate};
use crate::loader::{Prepared, WasmLoader};
use crate::options::Options;
use crate::plugin::{Factory, Guest};

pub use crate::inspect::Inspection;

/// Loads components to look at them. Guests count here what they execute, in units of fuel: about
/// one for each instruction, the same on every machine.
#[derive(Debug)]
pub struct Workbench {
    loader: WasmLoader,
}

impl Workbench {
    /// Sets up an engine of its own.
    ///
    /// # Errors
    /// The engine cannot be set up on this machine, or a thread cannot be started.
    pub fn new(options: Options) -> Result<Self, HostError> {
        let loader = WasmLoader::with(options, Metering::On)?;
        Ok(Self { loader })
    }

    /// Looks at a file without compiling or running anything.
    ///
    /// # Errors
    /// It would be refused at stage `inspect`.
    pub fn inspect(&self, source: &PluginSource) -> Result<Inspection, LoadError> {
        let inspection = inspect(source);
        let checked = inspection.and_then(|inspection| {
            validate(&source.bytes)?;
            Ok(inspection)
        });
        checked.map_err(|reason| refused("inspect", reason))
    }

    /// Takes a file through every stage up to the canary.
    ///
    /// # Errors
    /// The first stage that refused it.
    pub fn load(&self, source: &PluginSource, topology: &Topology) -> Result<Specimen, LoadError> {
        let Prepared {
            inspection,
            description,
            environment: _,
            factory,
            image_bytes,
            report,
        } = self.loader.prepare(source, topology)?;
        let guest = factory.build();
        let guest = guest.map_err(|error| crate::error::failed("canary", &error))?;
        let summary = Summary {
            inspection,
            name: description.name,
            version: description.version,
            description: description.description,
            needs: description.profile.needs,
            deterministic: description.profile.deterministic,
            memory_bytes: guest.memory_bytes(),
            image_bytes,
            report,
        };
        Ok(Specimen {
            summary,
            factory,
            guest: Some(guest),
        })
    }
}

/// What is known about a component that was loaded.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What its file says.
    pub inspection: Inspection,
    /// Name from its manifest.
    pub name: String,
    /// Version from its manifest.
    pub version: String,
    /// What it does, in its own words.
    pub description: String,
    /// What it wants to be told under its configuration, bits of
    /// [`needs`](pgsteer_core::policy::needs).
    pub needs: u64,
    /// It promises that its answers depend on their input alone.
    pub deterministic: bool,
    /// Linear memory of a fresh instance in bytes.
    pub memory_bytes: usize,
    /// Machine code and data in bytes.
    pub image_bytes: usize,
    /// Stages and how long each took.
    pub report: LoadReport,
}

/// An answer and what it cost.
#[derive(Clone, Debug)]
pub struct Asked<T> {
    /// The answer, or how the plugin failed.
    pub answer: Result<T, PolicyError>,
    /// What it executed, in units of fuel.
    pub fuel: u64,
    /// How long it took. Counting fuel makes it a few per cent slower than in the proxy.
    pub time: Duration,
    /// The most linear memory the instance has had in bytes.
    pub memory_bytes: usize,
}

/// A component on the bench. Its instance keeps its state from question to question; after a
/// failure the next question goes to a fresh one.
pub struct Specimen {
    summary: Summary,
    factory: Factory,
    guest: Option<Box<dyn Guest>>,
}

impl std::fmt::Debug for Specimen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Specimen")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

impl Specimen {
    /// What is known about it.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Asks one question, such as `|policy| policy.decide(&statement)`; several are counted
    /// together.
    pub fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut dyn Policy) -> Result<T, PolicyError>,
    ) -> Asked<T> {
        let mut guest = match self.guest.take().map_or_else(|| self.factory.build(), Ok) {
            Ok(guest) => guest,
            Err(error) => {
                return Asked {
                    answer: Err(error),
                    fuel: 0,
                    time: Duration::ZERO,
                    memory_bytes: 0,
                };
            }
        };
        let fuel_before = guest.fuel_used();
        let start = Instant::now();
        let answer = question(&mut *guest);
        let time = start.elapsed();
        let asked = Asked {
            fuel: guest.fuel_used() - fuel_before,
            time,
            memory_bytes: guest.memory_bytes(),
            answer,
        };
        if asked.answer.is_ok() {
            self.guest = Some(guest);
        }
        asked
    }

    /// A fresh instance answers the next question.
    pub fn renew(&mut self) {
        self.guest = None;
    }
}
