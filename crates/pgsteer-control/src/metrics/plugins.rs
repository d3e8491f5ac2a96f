//! What plugins did, and what they count themselves.

use std::sync::Arc;

use pgsteer_core::Snapshot;
use pgsteer_core::policy::{FailureClass, Plugin, PluginCounters, Series, SeriesKind};

use super::text::Text;

/// Writes the families of plugins.
pub(super) fn collect(snapshot: &Snapshot, text: &mut Text) {
    text.begin("pgsteer_plugin_info");
    for report in snapshot.plugin_reports.iter() {
        let plugin = report.plugin.as_ref();
        let labels = [
            ("plugin", report.file_name.as_str()),
            ("name", plugin.map_or("", |plugin| plugin.name.as_str())),
            (
                "version",
                plugin.map_or("", |plugin| plugin.version.as_str()),
            ),
            ("state", report.state.name()),
        ];
        text.put(&labels, true);
    }
    let plugins = &snapshot.policies.plugins;
    for (name, read) in COUNTS {
        text.begin(name);
        for plugin in plugins {
            text.put(&[("plugin", &plugin.file_name)], plugin.sum(read));
        }
    }
    text.begin("pgsteer_plugin_failures_total");
    for plugin in plugins {
        for (index, class) in FailureClass::ALL.iter().enumerate() {
            let name = format!("{class:?}").to_lowercase();
            let count = plugin.sum(|c| c.failures.get(index).map_or(0, |cell| cell.get()));
            text.put(&[("plugin", &plugin.file_name), ("class", &name)], count);
        }
    }
    text.begin("pgsteer_plugin_quarantined");
    for plugin in plugins {
        text.put(&[("plugin", &plugin.file_name)], plugin.is_quarantined());
    }
    text.begin("pgsteer_plugin_memory_bytes");
    for plugin in plugins {
        text.put(&[("plugin", &plugin.file_name)], plugin.memory_bytes());
    }
    text.begin("pgsteer_plugin_seconds");
    for plugin in plugins {
        let (up_to, count, sum) = plugin.times();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let up_to = up_to.into_iter().map(|(ns, total)| (seconds(ns), total));
        text.distribution(&[("plugin", &plugin.file_name)], up_to, count, seconds(sum));
    }
    own(plugins, text);
}

/// The series of plugins; a family of its own for each kind, since their names are anybody's.
fn own(plugins: &[Arc<Plugin>], text: &mut Text) {
    type Read = fn(&Series) -> f64;
    let families: [(&str, SeriesKind, Read); 4] = [
        (
            "pgsteer_plugin_counter_total",
            SeriesKind::Counter,
            Series::value,
        ),
        ("pgsteer_plugin_gauge", SeriesKind::Gauge, Series::value),
        (
            "pgsteer_plugin_values_total",
            SeriesKind::Histogram,
            |series| series.count() as f64,
        ),
        (
            "pgsteer_plugin_values_sum_total",
            SeriesKind::Histogram,
            Series::value,
        ),
    ];
    for (name, kind, read) in families {
        text.begin(name);
        for plugin in plugins {
            for series in plugin
                .series
                .all()
                .iter()
                .filter(|series| series.kind == kind)
            {
                let labels = [
                    ("plugin", &*plugin.file_name),
                    ("series", series.name.as_str()),
                    ("unit", series.unit.as_str()),
                ];
                text.put(&labels, read(series));
            }
        }
    }
}

type Read = fn(&PluginCounters) -> u64;

const COUNTS: [(&str, Read); 7] = [
    ("pgsteer_plugin_calls_total", |c| c.calls.get()),
    ("pgsteer_plugin_cached_total", |c| c.cached.get()),
    ("pgsteer_plugin_refusals_total", |c| c.refusals.get()),
    ("pgsteer_plugin_rewrites_total", |c| c.rewrites.get()),
    ("pgsteer_plugin_events_total", |c| c.events.get()),
    ("pgsteer_plugin_events_dropped_total", |c| {
        c.events_dropped.get()
    }),
    ("pgsteer_plugin_rested_total", |c| c.rested.get()),
];
