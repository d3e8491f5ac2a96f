//! The key-value stores of plugins: one for each plugin, shared by all workers and by the versions
//! of the plugin that follow.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The stores of all plugins, by what they are called.
#[derive(Debug, Default)]
pub(crate) struct Stores(Mutex<HashMap<String, Arc<Store>>>);

impl Stores {
    /// The store of the plugin with this file name. The number in front of it is about the order
    /// of plugins: one that is moved keeps its store.
    pub(crate) fn of(&self, file_name: &str) -> Arc<Store> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(stem(file_name).to_owned()).or_default())
    }
}

/// A file name without the number in front.
fn stem(file_name: &str) -> &str {
    let rest = file_name.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix('-') {
        Some(stem) if rest.len() < file_name.len() && !stem.is_empty() => stem,
        _ => file_name,
    }
}

/// The store of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: Mutex<Entries>,
    version: Arc<AtomicU64>,
}

#[derive(Clone, Debug, Default)]
struct Entries {
    by_key: BTreeMap<String, Entry>,
    // Of all keys and values.
    bytes: usize,
    // Versions are never used again, not even for an entry that went and came back.
    last_version: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Arc<[u8]>,
    version: u64,
    expires: Option<Instant>,
}

/// What a plugin gets to see of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: Arc<[u8]>,
    pub(crate) version: u64,
    /// It goes away by itself.
    pub(crate) is_temporary: bool,
}

/// Why an entry was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvError {
    TooLarge,
    Full,
    /// It has this version, or 0 if it is not there.
    Conflict(u64),
}

impl Store {
    /// Grows with every change.
    pub(crate) fn version(&self) -> &Arc<AtomicU64> {
        &self.version
    }

    /// A copy for a plugin that is tried out or set up: what it writes is thrown away. The versions
    /// it gives are none that the store gives, so that who remembers one meets a conflict.
    pub(crate) fn copy(&self) -> Self {
        let mut entries = self.lock().clone();
        entries.last_version |= COPY_VERSION_BIT;
        Self {
            entries: Mutex::new(entries),
            version: Arc::default(),
        }
    }

    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Found> {
        let mut entries = self.lock();
        entries.expire(key, now);
        entries.by_key.get(key).map(Entry::found)
    }

    /// Keys that begin like this, in order, and whether one of them goes away by itself.
    pub(crate) fn keys(&self, prefix: &str, now: Instant) -> (Vec<String>, bool) {
        let mut entries = self.lock();
        entries.expire_all(now);
        let from = entries.by_key.range(prefix.to_owned()..);
        let mut is_temporary = false;
        let keys = from.take_while(|(key, _)| key.starts_with(prefix));
        let keys = keys.map(|(key, entry)| {
            is_temporary |= entry.expires.is_some();
            key.clone()
        });
        (keys.collect(), is_temporary)
    }

    /// See `wit/v0.1/plugin.wit`.
    pub(crate) fn put(
        &self,
        key: &str,
        value: &[u8],
        expect: Option<u64>,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<u64, KvError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        let mut entries = self.lock();
        entries.expire(key, now);
        let known = entries.by_key.get(key);
        let (version, replaced) = known.map_or((0, 0), |e| (e.version, key.len() + e.value.len()));
        if expect.is_some_and(|expected| expected != version) {
            return Err(KvError::Conflict(version));
        }
        let added = key.len() + value.len();
        if !entries.has_room(version == 0, added, replaced) {
            entries.expire_all(now);
            if !entries.has_room(version == 0, added, replaced) {
                return Err(KvError::Full);
            }
        }
        entries.last_version += 1;
        entries.bytes = entries.bytes + added - replaced;
        let entry = Entry {
            value: value.into(),
            version: entries.last_version,
            // A time that no clock will show is never.
            expires: ttl.and_then(|ttl| now.checked_add(ttl)),
        };
        let version = entry.version;
        entries.by_key.insert(key.to_owned(), entry);
        self.version.fetch_add(1, Ordering::AcqRel);
        Ok(version)
    }

    /// Whether it was there.
    pub(crate) fn delete(&self, key: &str, now: Instant) -> bool {
        let mut entries = self.lock();
        entries.expire(key, now);
        let was_there = entries.remove(key);
        if was_there {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        was_there
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn found(&self) -> Found {
        Found {
            value: Arc::clone(&self.value),
            version: self.version,
            is_temporary: self.expires.is_some(),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

impl Entries {
    fn has_room(&self, is_new: bool, added: usize, replaced: usize) -> bool {
        let count = self.by_key.len() + usize::from(is_new);
        count <= ENTRIES_MAX && self.bytes + added - replaced <= BYTES_MAX
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(entry) = self.by_key.remove(key) else {
            return false;
        };
        self.bytes -= key.len() + entry.value.len();
        true
    }

    fn expire(&mut self, key: &str, now: Instant) {
        if self.by_key.get(key).is_some_and(|e| e.is_over(now)) {
            self.remove(key);
        }
    }

    fn expire_all(&mut self, now: Instant) {
        let over = self.by_key.iter().filter(|(_, entry)| entry.is_over(now));
        let over: Vec<String> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.remove(&key);
        }
    }
}

/// Nobody changes a store that often.
const COPY_VERSION_BIT: u64 = 1 << 62;

/// These four are promised in `wit/v0.1/plugin.wit`.
const KEY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 4 * 1024;
const ENTRIES_MAX: usize = 1_000;
const BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Store, key: &str, value: &[u8], expect: Option<u64>) -> Result<u64, KvError> {
        store.put(key, value, expect, None, Instant::now())
    }

    #[test]
    fn a_plugin_keeps_its_store_when_its_number_changes() {
        let stores = Stores::default();
        let first = stores.of("10-mine");
        assert!(Arc::ptr_eq(&first, &stores.of("20-mine")));
        assert!(Arc::ptr_eq(&first, &stores.of("mine")));
        assert!(!Arc::ptr_eq(&first, &stores.of("10-other")));
        assert_eq!((stem("10-"), stem("-a"), stem("7up")), ("10-", "-a", "7up"));
    }

    #[test]
    fn versions_tell_changes_apart() {
        let store = Store::default();
        let first = put(&store, "a", b"1", Some(0)).expect("it is new");
        assert_eq!(
            put(&store, "a", b"2", Some(0)),
            Err(KvError::Conflict(first))
        );
        assert_eq!(put(&store, "b", b"", Some(9)), Err(KvError::Conflict(0)));
        let second = put(&store, "a", b"2", Some(first)).expect("nobody else wrote");
        assert!(second > first);
        let now = Instant::now();
        assert!(store.delete("a", now) && !store.delete("a", now));
        let third = put(&store, "a", b"3", Some(0)).expect("it was deleted");
        assert!(third > second, "versions are not used again");
        assert_eq!(store.version().load(Ordering::Acquire), 4, "four changes");
        let copy = store.copy();
        assert!(put(&copy, "a", b"4", None).is_ok());
        assert_eq!(store.get("a", now).map(|f| f.version), Some(third));
    }

    #[test]
    fn quotas_are_kept() {
        let store = Store::default();
        for (key, value) in [("", 0), (&*"k".repeat(129), 0), ("k", 4097)] {
            assert_eq!(
                put(&store, key, &vec![0; value], None),
                Err(KvError::TooLarge)
            );
        }
        for number in 0..1000 {
            assert!(put(&store, &format!("{number}"), b"x", None).is_ok());
        }
        assert_eq!(put(&store, "more", b"", None), Err(KvError::Full));
        assert!(put(&store, "7", b"longer", None).is_ok(), "it is there");
        assert!(store.delete("8", Instant::now()));
        assert!(
            put(&store, "more", b"", None).is_ok(),
            "there is room again"
        );

        let store = Store::default();
        let written =
            (0..).take_while(|n| put(&store, &format!("{n:04}"), &[0; 4096], None).is_ok());
        assert_eq!(written.count(), 1024 * 1024 / 4100);
    }

    #[test]
    fn entries_end() {
        let (store, start) = (Store::default(), Instant::now());
        let ttl = Some(Duration::from_millis(5));
        assert!(store.put("a1", b"x", None, ttl, start).is_ok());
        assert!(put(&store, "a2", b"x", None).is_ok());
        assert!(
            store
                .put("a3", b"x", None, Some(Duration::MAX), start)
                .is_ok()
        );
        assert_eq!(store.get("a1", start).map(|f| f.is_temporary), Some(true));
        let keys = |now| store.keys("a", now);
        assert_eq!(
            keys(start),
            (vec!["a1".into(), "a2".into(), "a3".into()], true)
        );
        let later = start + Duration::from_millis(5);
        assert_eq!(store.get("a1", later), None);
        assert_eq!(keys(later), (vec!["a2".into(), "a3".into()], false));
        assert!(store.keys("b", later).0.is_empty());
    }
}
