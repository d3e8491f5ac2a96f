//! What a guest may call. All of it is linked always: whether a plugin may import it was decided
//! when its file was inspected.

use std::time::{Duration, Instant};

use pgsteer_core::catalog::{Persistence, RelationKind, SearchPath};
use pgsteer_core::policy::SeriesKind;
use wasmtime::component::{HasSelf, Linker};

use super::bindings::pgsteer::plugin::{catalog, clock, kv, log, metrics, types};
use crate::kv::KvError;
use crate::state::{HostState, Level};

/// Makes the imports available to guests.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    metrics::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    clock::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    catalog::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    kv::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl types::Host for HostState {}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log(level, &message);
    }
}

impl metrics::Host for HostState {
    fn define(&mut self, name: String, kind: metrics::Kind, unit: String) -> Result<u32, String> {
        let kind = match kind {
            metrics::Kind::Counter => SeriesKind::Counter,
            metrics::Kind::Gauge => SeriesKind::Gauge,
            metrics::Kind::Histogram => SeriesKind::Histogram,
        };
        self.define_series(&name, kind, &unit)
    }

    fn put(&mut self, series: u32, value: f64) {
        self.note(series, value);
    }
}

impl clock::Host for HostState {
    fn now_ms(&mut self) -> u64 {
        self.taint.volatile = true;
        let since = self.environment.start.elapsed().as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

impl catalog::Host for HostState {
    fn relation(
        &mut self,
        database: String,
        schema: String,
        name: String,
    ) -> Option<catalog::Facts> {
        self.taint.volatile = true;
        let facts = self.environment.facts.as_ref()?;
        let catalog = facts.catalogs.known(&database)?.catalog()?;
        let path = SearchPath::Unknown;
        let found = catalog.relations(Some(&schema), &name, &path).next()?;
        Some(catalog::Facts {
            oid: found.oid,
            kind: match found.kind {
                RelationKind::Stored => 1,
                RelationKind::View(_) => 2,
            },
            persistence: match found.persistence {
                Persistence::Permanent => 1,
                Persistence::Unlogged => 2,
                Persistence::Temporary => 3,
            },
        })
    }
}

impl kv::Host for HostState {
    fn get(&mut self, key: String) -> Option<kv::Entry> {
        self.taint.kv = true;
        let found = self.kv().get(&key, Instant::now())?;
        self.taint.volatile |= found.is_temporary;
        Some(kv::Entry {
            value: found.value.to_vec(),
            version: found.version,
        })
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        ttl_ms: u64,
    ) -> Result<u64, kv::Error> {
        // An answer that came with a change cannot be replaced by a copy of it.
        self.taint.volatile = true;
        let ttl = (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms));
        let store = self.kv_to_change();
        let written = store.put(&key, &value, expect, ttl, Instant::now());
        written.map_err(|error| match error {
            KvError::TooLarge => kv::Error::TooLarge,
            KvError::Full => kv::Error::Full,
            KvError::Conflict(version) => kv::Error::Conflict(version),
        })
    }

    fn delete(&mut self, key: String) -> bool {
        self.taint.volatile = true;
        self.kv_to_change().delete(&key, Instant::now())
    }

    fn keys(&mut self, prefix: String) -> Vec<String> {
        self.taint.kv = true;
        let (keys, is_temporary) = self.kv().keys(&prefix, Instant::now());
        self.taint.volatile |= is_temporary;
        keys
    }
}
