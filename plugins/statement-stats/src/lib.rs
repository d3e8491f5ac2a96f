//! Counts what happened: statements, errors, rows, bytes and times, shown by
//! `SHOW pool_plugin_metrics`.

use pgsteer_plugin_sdk::metrics::{Counter, Histogram};
use pgsteer_plugin_sdk::{Class, Event, Manifest, Observer, Plugin, export, manifest};

/// The plugin.
pub struct StatementStats {
    reads: Counter,
    writes: Counter,
    others: Counter,
    refused: Counter,
    errors: Counter,
    rows: Counter,
    bytes: Counter,
    times: Histogram,
    unseen: Counter,
}

impl Plugin for StatementStats {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        if json.trim() != "{}" {
            return Err(format!("takes no configuration, got {json}"));
        }
        Ok(Self {
            reads: Counter::define("reads", "statements")?,
            writes: Counter::define("writes", "statements")?,
            others: Counter::define("others", "statements")?,
            refused: Counter::define("refused", "statements")?,
            errors: Counter::define("errors", "statements")?,
            rows: Counter::define("rows", "rows")?,
            bytes: Counter::define("bytes", "bytes")?,
            times: Histogram::define("time", "microseconds")?,
            unseen: Counter::define("unseen", "statements")?,
        })
    }
}

impl Observer for StatementStats {
    fn observe(&mut self, events: &[Event], dropped: u64) {
        let mut rows = 0;
        let mut bytes = 0;
        for event in events {
            match event.class {
                Class::Select => self.reads.add(1.0),
                Class::Insert | Class::Update | Class::Delete | Class::Merge => {
                    self.writes.add(1.0);
                }
                _ => self.others.add(1.0),
            }
            match (&event.error, event.node) {
                (Some(_), None) => self.refused.add(1.0),
                (Some(_), Some(_)) => self.errors.add(1.0),
                (None, _) => {}
            }
            rows += event.rows;
            bytes += event.bytes;
            self.times.note(event.microseconds as f64);
        }
        self.rows.add(rows as f64);
        self.bytes.add(bytes as f64);
        self.unseen.add(dropped as f64);
    }
}

export!(StatementStats: Observer);

#[cfg(test)]
mod tests;
