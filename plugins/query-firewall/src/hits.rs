//! How often a rule concerned a statement. A worker counts for itself and tells the others at 1, 2,
//! 4, 8 and so on: what is shown is at least half of the truth, and counting changes the store
//! hardly ever.

use std::collections::HashMap;

use pgsteer_plugin_sdk::kv;

/// What this worker has counted.
#[derive(Debug, Default)]
pub(crate) struct Hits(HashMap<String, Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    seen: u64,
    told: u64,
}

impl Hits {
    /// Counts one; returns how many this worker has seen if it is time to say so. What is told is kept
    /// for so many milliseconds (0: until it is forgotten).
    pub(crate) fn note(&mut self, name: &str, ttl_ms: u64) -> Option<u64> {
        let count = self.0.entry(name.to_owned()).or_default();
        count.seen += 1;
        if !count.seen.is_power_of_two() {
            return None;
        }
        let new = count.seen - count.told;
        // A store that is full does not count.
        let told = kv::update(&key(name), ttl_ms, |old| {
            (read(old) + new).to_string().into_bytes()
        });
        if told.is_ok() {
            count.told = count.seen;
        }
        Some(count.seen)
    }
}

/// How many all workers have told of.
pub(crate) fn of(name: &str) -> u64 {
    read(kv::get(&key(name)).map(|entry| entry.value).as_deref())
}

/// Starts again.
pub(crate) fn forget(name: &str) {
    kv::delete(&key(name));
}

fn read(value: Option<&[u8]>) -> u64 {
    let text = value.and_then(|value| str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn key(name: &str) -> String {
    format!("hits:{name}")
}
