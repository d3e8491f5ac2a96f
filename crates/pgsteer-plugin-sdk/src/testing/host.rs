//! What stands in for the proxy in native tests: a log, a store, a clock, series and a catalog, of
//! the thread the test runs on.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::kv::{Entry, Error};

/// Empties everything and sets the clock back to 0.
pub fn reset() {
    HOST.take();
}

/// What was logged since the last call, each line with its level in front.
#[must_use]
pub fn logged() -> Vec<String> {
    HOST.with_borrow_mut(|host| std::mem::take(&mut host.log))
}

/// Sets the clock, which stands still otherwise. Entries of the store may be gone then.
pub fn set_clock_ms(now_ms: u64) {
    HOST.with_borrow_mut(|host| host.now_ms = now_ms);
}

/// Puts a relation into the catalog; the numbers are those of `wit/v0.1/plugin.wit`.
pub fn set_relation(database: &str, schema: &str, name: &str, kind: u8, persistence: u8) {
    let key = (database.to_owned(), schema.to_owned(), name.to_owned());
    HOST.with_borrow_mut(|host| {
        let oid = u32::try_from(host.catalog.len()).unwrap_or(0) + 16_384;
        host.catalog.insert(key, (oid, kind, persistence));
    });
}

/// What a series has come to: the sum of a counter, the last value of a gauge, the sum of the values
/// of a histogram; `None` if it was not defined.
#[must_use]
pub fn metric(name: &str) -> Option<f64> {
    HOST.with_borrow(|host| {
        let series = host.series.iter().find(|series| series.name == name);
        series.map(|series| series.value)
    })
}

/// What the plugin looked at since the last call, in order and once each: `kv`, `clock`, `catalog`.
/// The proxy remembers no answer that was given after a look at the last two.
#[must_use]
pub fn looked_at() -> Vec<&'static str> {
    HOST.with_borrow_mut(|host| std::mem::take(&mut host.looked_at))
}

#[derive(Default)]
struct Host {
    log: Vec<String>,
    now_ms: u64,
    store: BTreeMap<String, Kept>,
    changes: u64,
    series: Vec<Series>,
    catalog: HashMap<(String, String, String), (u32, u8, u8)>,
    looked_at: Vec<&'static str>,
}

struct Kept {
    entry: Entry,
    gone_at_ms: Option<u64>,
}

struct Series {
    name: String,
    is_gauge: bool,
    value: f64,
}

impl Host {
    fn look(&mut self, what: &'static str) {
        if !self.looked_at.contains(&what) {
            self.looked_at.push(what);
        }
    }

    fn store(&mut self) -> &mut BTreeMap<String, Kept> {
        self.look("kv");
        let now_ms = self.now_ms;
        let is_alive = |kept: &Kept| kept.gone_at_ms.is_none_or(|at| now_ms < at);
        self.store.retain(|_, kept| is_alive(kept));
        &mut self.store
    }
}

pub(crate) fn log(line: String) {
    HOST.with_borrow_mut(|host| host.log.push(line));
}

pub(crate) fn now_ms() -> u64 {
    HOST.with_borrow_mut(|host| {
        host.look("clock");
        host.now_ms
    })
}

pub(crate) fn relation(database: &str, schema: &str, name: &str) -> Option<(u32, u8, u8)> {
    let key = (database.to_owned(), schema.to_owned(), name.to_owned());
    HOST.with_borrow_mut(|host| {
        host.look("catalog");
        host.catalog.get(&key).copied()
    })
}

pub(crate) fn define(name: &str, is_gauge: bool) -> Result<u32, String> {
    HOST.with_borrow_mut(|host| {
        let known = host.series.iter().position(|series| series.name == name);
        let index = known.unwrap_or(host.series.len());
        if index >= SERIES_MAX {
            return Err(format!("there are {SERIES_MAX} series already"));
        }
        if known.is_none() {
            host.series.push(Series {
                name: name.to_owned(),
                is_gauge,
                value: 0.0,
            });
        }
        u32::try_from(index).map_err(|error| error.to_string())
    })
}

pub(crate) fn put_metric(series: u32, value: f64) {
    HOST.with_borrow_mut(|host| {
        let index = usize::try_from(series).unwrap_or(usize::MAX);
        if let Some(series) = host.series.get_mut(index) {
            series.value = if series.is_gauge {
                value
            } else {
                series.value + value
            };
        }
    });
}

pub(crate) fn get(key: &str) -> Option<Entry> {
    HOST.with_borrow_mut(|host| Some(host.store().get(key)?.entry.clone()))
}

pub(crate) fn put(key: &str, value: &[u8], expect: Option<u64>, ttl_ms: u64) -> Result<u64, Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    HOST.with_borrow_mut(|host| {
        let store = host.store();
        let version = store.get(key).map_or(0, |kept| kept.entry.version);
        if expect.is_some_and(|expected| expected != version) {
            return Err(Error::Conflict(version));
        }
        let size = |(key, kept): (&String, &Kept)| key.len() + kept.entry.value.len();
        let others = store.iter().filter(|(other, _)| *other != key);
        let (entries, bytes) = others.fold((0, 0), |(entries, bytes), pair| {
            (entries + 1, bytes + size(pair))
        });
        if entries >= ENTRIES_MAX || bytes + key.len() + value.len() > BYTES_MAX {
            return Err(Error::Full);
        }
        host.changes += 1;
        let entry = Entry {
            value: value.to_vec(),
            version: host.changes,
        };
        let gone_at_ms = (ttl_ms > 0).then(|| host.now_ms.saturating_add(ttl_ms));
        host.store
            .insert(key.to_owned(), Kept { entry, gone_at_ms });
        Ok(host.changes)
    })
}

pub(crate) fn delete(key: &str) -> bool {
    HOST.with_borrow_mut(|host| host.store().remove(key).is_some())
}

pub(crate) fn keys(prefix: &str) -> Vec<String> {
    HOST.with_borrow_mut(|host| {
        let keys = host.store().keys();
        keys.filter(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    })
}

/// Those of the proxy.
const SERIES_MAX: usize = 32;
const ENTRIES_MAX: usize = 1_000;
const BYTES_MAX: usize = 1 << 20;
const KEY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 4 << 10;

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, ENTRIES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
    use crate::kv::{self, Error};
    use crate::metrics::{Counter, Gauge, Histogram};
    use crate::testing::{looked_at, metric, reset, set_clock_ms, set_relation};
    use crate::{catalog, clock};

    #[test]
    fn versions_tell_who_was_faster() {
        let first = kv::replace("a", b"1", kv::ABSENT, kv::FOREVER).expect("it is not there");
        assert_eq!(
            kv::replace("a", b"2", kv::ABSENT, 0),
            Err(Error::Conflict(first))
        );
        let second = kv::replace("a", b"2", first, 0).expect("nobody changed it");
        assert_eq!(
            kv::replace("a", b"3", first, 0),
            Err(Error::Conflict(second))
        );
        assert!(kv::delete("a") && !kv::delete("a"));
        assert_eq!(
            kv::replace("a", b"3", second, 0),
            Err(Error::Conflict(kv::ABSENT))
        );
    }

    #[test]
    fn entries_are_gone_when_their_time_has_come() {
        kv::set_for("a:1", b"x", 10).expect("there is room");
        kv::set("a:2", b"x").expect("there is room");
        kv::set("b", b"x").expect("there is room");
        assert_eq!(kv::keys("a:"), ["a:1", "a:2"]);
        set_clock_ms(9);
        assert!(kv::get("a:1").is_some());
        set_clock_ms(10);
        assert_eq!(kv::keys("a:"), ["a:2"]);
        reset();
        assert_eq!(kv::get("b"), None);
    }

    #[test]
    fn the_store_is_bounded() {
        let (long, large) = ("k".repeat(KEY_BYTES_MAX + 1), vec![0; VALUE_BYTES_MAX + 1]);
        assert_eq!(kv::set("", b""), Err(Error::TooLarge));
        assert_eq!(kv::set(&long, b""), Err(Error::TooLarge));
        assert_eq!(kv::set("k", &large), Err(Error::TooLarge));
        for number in 0..ENTRIES_MAX {
            kv::set(&number.to_string(), b"").expect("there is room");
        }
        assert_eq!(kv::set("one more", b""), Err(Error::Full));
        kv::set("0", b"1").expect("it takes the place of the old one");
        reset();
        let value = vec![0; VALUE_BYTES_MAX - 3];
        let full = (0..ENTRIES_MAX).find(|n| kv::set(&format!("{n:03}"), &value).is_err());
        assert_eq!(full, Some(BYTES_MAX / VALUE_BYTES_MAX));
    }

    #[test]
    fn series_add_up() {
        let counter = Counter::define("c", "statements").expect("a series");
        assert_eq!(Counter::define("c", "statements"), Ok(counter));
        counter.add(1.0);
        counter.add(2.0);
        let gauge = Gauge::define("g", "nodes").expect("a series");
        gauge.set(5.0);
        gauge.set(4.0);
        let histogram = Histogram::define("h", "ms").expect("a series");
        histogram.note(7.0);
        let values = ["c", "g", "h", "x"].map(metric);
        assert_eq!(values, [Some(3.0), Some(4.0), Some(7.0), None]);
        let mut more = (0..).map(|n| Counter::define(&n.to_string(), ""));
        assert_eq!(more.position(|defined| defined.is_err()), Some(29));
    }

    #[test]
    fn what_was_looked_at_is_known() {
        set_relation("shop", "public", "t", 2, 1);
        let facts = catalog::relation("shop", "public", "t").expect("it was put there");
        assert_eq!(
            (facts.kind, facts.persistence),
            (catalog::Kind::View, catalog::Persistence::Permanent)
        );
        assert_eq!(catalog::relation("shop", "public", "u"), None);
        set_clock_ms(5);
        assert_eq!(clock::now_ms(), 5);
        assert_eq!(looked_at(), ["catalog", "clock"]);
        assert!(looked_at().is_empty());
    }
}
