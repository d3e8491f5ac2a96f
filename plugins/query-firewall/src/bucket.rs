//! How often something may run, summed over all workers.
//!
//! A bucket holds as many pieces as may run in a second, and fills up again as time goes by. The
//! bucket is in the store; a worker takes several pieces at once if there are many, because each
//! change of the store makes the proxy ask about all statements again.

use std::collections::HashMap;

use pgsteer_plugin_sdk::{clock, kv};

use crate::rule::Rate;

/// What this worker has taken and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<String, u64>);

impl Buckets {
    /// Takes a piece of the bucket of this name; `false` if it is empty.
    pub(crate) fn take(&mut self, name: &str, rate: Rate) -> bool {
        if let Some(left) = self.0.get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            return true;
        }
        let taken = fetch(name, rate, clock::now_ms());
        if taken > 0 {
            self.0.insert(name.to_owned(), taken - 1);
        }
        taken > 0
    }
}

/// Takes pieces out of the store: at most ten times a second.
fn fetch(name: &str, rate: Rate, now_ms: u64) -> u64 {
    let key = format!("bucket:{name}");
    let wanted = (rate.per_minute / 600).max(1);
    for _ in 0..ATTEMPTS {
        let kept = kv::get(&key);
        let old = kept.as_ref().and_then(|entry| Level::read(&entry.value));
        let level = old.map_or(Level::full(rate, now_ms), |old| old.refilled(rate, now_ms));
        let taken = (level.parts / PARTS).min(wanted);
        if taken == 0 {
            return 0;
        }
        let left = Level {
            parts: level.parts - taken * PARTS,
            at_ms: now_ms,
        };
        let version = kept.map_or(kv::ABSENT, |entry| entry.version);
        match kv::replace(&key, left.write().as_bytes(), version, TTL_MS) {
            Ok(_) => return taken,
            Err(kv::Error::Conflict(_)) => {}
            // No room to count: rather too few than too many.
            Err(kv::Error::TooLarge | kv::Error::Full) => return 0,
        }
    }
    0
}

/// How full a bucket is. A piece has as many parts as a minute has milliseconds, so that the sums
/// are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    parts: u64,
    at_ms: u64,
}

impl Level {
    fn full(rate: Rate, at_ms: u64) -> Self {
        let parts = rate.per_minute.saturating_mul(1_000).max(PARTS);
        // Nothing is ever nothing.
        let parts = if rate.per_minute == 0 { 0 } else { parts };
        Self { parts, at_ms }
    }

    fn refilled(self, rate: Rate, now_ms: u64) -> Self {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let parts = self
            .parts
            .saturating_add(passed_ms.saturating_mul(rate.per_minute));
        Self {
            parts: parts.min(Self::full(rate, now_ms).parts),
            at_ms: now_ms,
        }
    }

    fn write(self) -> String {
        format!("{} {}", self.parts, self.at_ms)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (parts, at_ms) = str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self {
            parts: parts.parse().ok()?,
            at_ms: at_ms.parse().ok()?,
        })
    }
}

const PARTS: u64 = 60_000;

/// A bucket that was not touched for so long is full anyway.
const TTL_MS: u64 = 120_000;

/// Other workers may be faster.
const ATTEMPTS: u32 = 4;
