//! Counts slow statements, and says so in the log.

use pgsteer_plugin_sdk::{Event, Manifest, Observer, Plugin, metrics::Counter};
use pgsteer_plugin_sdk::{config, export, json, log, manifest};

struct Policy(u64, Counter);

impl Plugin for Policy {
    const MANIFEST: Manifest = manifest!();

    fn configure(json: &str) -> Result<Self, String> {
        let mut slow_ms = 1_000;
        for (key, value) in json::object(json)? {
            match &*key {
                "slow_ms" => slow_ms = config::number(&key, &value)?,
                _ => return Err(config::unknown(&key, &value, &["slow_ms"])),
            }
        }
        Ok(Self(slow_ms, Counter::define("slow", "statements")?))
    }
}

impl Observer for Policy {
    fn observe(&mut self, events: &[Event], _dropped: u64) {
        for event in events {
            let (id, ms) = (event.fingerprint, event.microseconds / 1_000);
            if ms >= self.0 {
                self.1.add(1.0);
                log::info(&format!("statement {id:x} took {ms} ms"));
            }
        }
    }
}

export!(Policy: Observer);
#[cfg(test)]
mod tests;
