//! What a store knows besides the guest, and what all instances of a plugin share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pgsteer_core::Facts;
use pgsteer_core::policy::{Grants, PluginSource, Series, SeriesKind, SeriesTable, Taint};
use pgsteer_core::settings::PluginLimits;

use crate::error::printable;
use crate::kv::Store;
use crate::limits::{Derived, Limiter};
use crate::log::LogBudget;
use crate::patience::Patience;
use crate::pulse::Pulse;

/// What all instances of one version of a plugin share.
#[derive(Debug)]
pub(crate) struct Environment {
    /// File name without directory and extension, for the log.
    pub(crate) plugin: Arc<str>,
    pub(crate) limits: PluginLimits,
    pub(crate) grants: Grants,
    /// A JSON object.
    pub(crate) config: String,
    pub(crate) kv: Arc<Store>,
    pub(crate) series: Arc<SeriesTable>,
    pub(crate) facts: Option<Arc<Facts>>,
    /// The clock of guests begins here.
    pub(crate) start: Instant,
    /// What interrupts guests.
    pub(crate) pulse: Arc<Pulse>,
    /// Lines that were dropped because it may not write to the log.
    pub(crate) lines_refused: AtomicU64,
}

impl Environment {
    pub(crate) fn new(
        source: &PluginSource,
        kv: Arc<Store>,
        facts: Option<Arc<Facts>>,
        start: Instant,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self {
            plugin: source.name.as_str().into(),
            limits: source.limits.clone(),
            grants: source.grants,
            config: source.config.clone(),
            kv,
            series: Arc::default(),
            facts,
            start,
            pulse,
            lines_refused: AtomicU64::new(0),
        }
    }

    /// The same for a plugin that is tried out: what it keeps and counts is thrown away.
    pub(crate) fn for_trial(&self) -> Self {
        Self {
            plugin: Arc::clone(&self.plugin),
            limits: self.limits.clone(),
            grants: self.grants,
            config: self.config.clone(),
            kv: Arc::new(self.kv.copy()),
            series: Arc::default(),
            facts: self.facts.clone(),
            start: self.start,
            pulse: Arc::clone(&self.pulse),
            lines_refused: AtomicU64::new(0),
        }
    }
}

/// What a store knows besides the guest.
#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) limiter: Limiter,
    pub(crate) environment: Arc<Environment>,
    /// What the guest looked at since it was entered.
    pub(crate) patience: Patience,
    pub(crate) taint: Taint,
    /// It is being set up, and may say what it is going to count.
    pub(crate) is_configuring: bool,
    kv_writes: KvWrites,
    log: LogBudget,
    last_error: Option<String>,
    // By the number the guest was given.
    series: Vec<Option<Arc<Series>>>,
}

/// Where changes of the key-value store go.
#[derive(Debug)]
enum KvWrites {
    /// Until it begins its work: a version that is loaded may still be refused. The copy is made
    /// by the first change, and thrown away.
    Aside(Option<Store>),
    Live,
}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl HostState {
    pub(crate) fn new(environment: Arc<Environment>) -> Self {
        let limits = &environment.limits;
        Self {
            limiter: Limiter::new(Derived::new(limits)),
            taint: Taint::default(),
            patience: Patience::default(),
            is_configuring: false,
            kv_writes: KvWrites::Aside(None),
            log: LogBudget::new(limits.log_lines_max),
            last_error: None,
            series: Vec::new(),
            environment,
        }
    }

    /// The key-value store to read from.
    pub(crate) fn kv(&self) -> &Store {
        match &self.kv_writes {
            KvWrites::Aside(Some(copy)) => copy,
            KvWrites::Aside(None) | KvWrites::Live => &self.environment.kv,
        }
    }

    /// The key-value store to change.
    pub(crate) fn kv_to_change(&mut self) -> &Store {
        let live = &self.environment.kv;
        match &mut self.kv_writes {
            KvWrites::Aside(copy) => copy.get_or_insert_with(|| live.copy()),
            KvWrites::Live => live,
        }
    }

    /// From now on what it writes counts; what it wrote before is thrown away.
    pub(crate) fn begin(&mut self) {
        self.kv_writes = KvWrites::Live;
    }

    /// The last line of level `error` it wrote: where a guest says what a panic was about.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Writes a line to the log, if there is one left.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        if level == Level::Error {
            self.last_error = Some(printable(message));
        }
        if !self.environment.grants.has(Grants::LOG) {
            let refused = &self.environment.lines_refused;
            refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(dropped) = self.log.take(Instant::now()) else {
            return;
        };
        let plugin = &*self.environment.plugin;
        if dropped > 0 {
            tracing::warn!(plugin, dropped, "plugin logs too much, lines were dropped");
        }
        let line = printable(message);
        match level {
            Level::Trace => tracing::trace!(plugin, line, "plugin"),
            Level::Debug => tracing::debug!(plugin, line, "plugin"),
            Level::Info => tracing::info!(plugin, line, "plugin"),
            Level::Warn => tracing::warn!(plugin, line, "plugin"),
            Level::Error => tracing::error!(plugin, line, "plugin"),
        }
    }

    /// The number of a series; the error is for the guest.
    pub(crate) fn define_series(
        &mut self,
        name: &str,
        kind: SeriesKind,
        unit: &str,
    ) -> Result<u32, String> {
        if !self.is_configuring {
            return Err("series are defined while configuring".to_owned());
        }
        for text in [name, unit] {
            if text.len() > SERIES_TEXT_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!(
                    "names and units have at most {SERIES_TEXT_BYTES_MAX} visible ASCII characters"
                ));
            }
        }
        if name.is_empty() {
            return Err("a series has a name".to_owned());
        }
        let table = &self.environment.series;
        let (index, series) = table.define(name, kind, unit, SERIES_MAX).ok_or_else(|| {
            format!("there are {SERIES_MAX} series, or one of this name of another kind")
        })?;
        if self.series.len() <= index {
            self.series.resize(index + 1, None);
        }
        if let Some(place) = self.series.get_mut(index) {
            *place = Some(series);
        }
        u32::try_from(index).map_err(|_| "too many series".to_owned())
    }

    /// Notes a value of a series that this instance defined.
    pub(crate) fn note(&self, series: u32, value: f64) {
        let known = usize::try_from(series).ok();
        if let Some(Some(series)) = known.and_then(|index| self.series.get(index)) {
            series.put(value);
        }
    }
}

/// Promised in `wit/v0.1/plugin.wit`.
const SERIES_MAX: usize = 32;

/// Ours: they are shown in columns.
const SERIES_TEXT_BYTES_MAX: usize = 63;
