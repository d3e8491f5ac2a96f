//! Reads what is known and what was counted, family by family.

use std::sync::atomic::Ordering;

use pgsteer_core::counters::{Counter, Counters, NodeCounters};
use pgsteer_core::histogram::Counted;
use pgsteer_core::topology::{Activity, Health, Node, Role, Standing};
use pgsteer_core::{Facts, Snapshot};

use super::text::Text;
use super::{plugins, pools, states};

/// Writes the whole page.
pub(super) fn collect(facts: &Facts, snapshot: &Snapshot, text: &mut Text) {
    let counters = facts.counters.get();
    whole(snapshot, counters.map(|counters| &**counters), text);
    nodes(facts, snapshot, text);
    if let Some(counters) = counters {
        statements(counters, snapshot, text);
    }
    pools::collect(facts, snapshot.settings.metrics.pools_max, text);
    states::collect(facts, snapshot.settings.metrics.pools_max, text);
    plugins::collect(snapshot, text);
    spans(facts, text);
    process(text);
}

fn whole(snapshot: &Snapshot, counters: Option<&Counters>, text: &mut Text) {
    let settings = &snapshot.settings;
    text.begin("pgsteer_build_info");
    text.put(&[("version", env!("CARGO_PKG_VERSION"))], true);
    text.one("pgsteer_workers", settings.workers as u64);
    text.one("pgsteer_snapshot_generation", snapshot.generation.0);
    text.one("pgsteer_draining", snapshot.draining);
    if let Some(counters) = counters {
        let accepted = counters.sum(|w| w.clients_accepted.get());
        text.one("pgsteer_clients", counters.clients());
        text.one("pgsteer_clients_max", settings.clients_max as u64);
        text.one("pgsteer_clients_accepted_total", accepted);
    }
    if let Some(counters) = counters {
        let made = counters.sum(|w| w.analyses_made.get());
        let asked = counters.sum(|w| w.analyses_asked.get());
        text.begin("pgsteer_analyses_total");
        text.put(&[("from", "memory")], asked.saturating_sub(made));
        text.put(&[("from", "parser")], made);
        text.one(
            "pgsteer_analyses_bytes",
            counters.sum(|w| w.analyses_bytes.get()),
        );
    }
    text.begin("pgsteer_failover_activity");
    let now = match snapshot.topology.activity {
        Activity::None => "none",
        Activity::Deciding => "deciding",
        Activity::Promoting(_) => "promoting",
        Activity::Switchover(..) => "switchover",
    };
    for activity in ["none", "deciding", "promoting", "switchover"] {
        text.put(&[("activity", activity)], activity == now);
    }
    let max = settings.pool.connections_per_node_max;
    text.one("pgsteer_node_connections_max", u64::from(max));
}

/// Labels of a node.
struct Place<'a> {
    node: &'a Node,
    id: String,
    port: String,
}

impl<'a> Place<'a> {
    fn of(node: &'a Node) -> Self {
        Self {
            node,
            id: node.id.0.to_string(),
            port: node.port.to_string(),
        }
    }

    fn labels(&self) -> [(&str, &str); 3] {
        [
            ("node", &self.id),
            ("host", &self.node.host),
            ("port", &self.port),
        ]
    }

    fn with<'b>(&'b self, name: &'b str, value: &'b str) -> [(&'b str, &'b str); 4] {
        let [node, host, port] = self.labels();
        [node, host, port, (name, value)]
    }
}

fn nodes(facts: &Facts, snapshot: &Snapshot, text: &mut Text) {
    let places: Vec<_> = snapshot.topology.nodes.iter().map(Place::of).collect();
    let servers = facts.servers.list();
    let prepared: Vec<_> = servers
        .iter()
        .map(|card| (card.about.node, card.prepared()))
        .collect();
    let mut each = |name: &str, value: &dyn Fn(&Node) -> Option<f64>| {
        text.begin(name);
        for place in &places {
            if let Some(value) = value(place.node) {
                text.put(&place.labels(), value);
            }
        }
    };
    let flag = |is: bool| Some(f64::from(u8::from(is)));
    each("pgsteer_node_up", &|node| flag(node.health == Health::Up));
    each("pgsteer_node_usable", &|node| flag(node.is_usable()));
    each("pgsteer_node_weight", &|node| Some(node.weight));
    each("pgsteer_node_timeline", &|node| {
        node.timeline.map(f64::from)
    });
    each("pgsteer_node_lag_bytes", &|node| {
        let fresh = facts
            .freshness
            .node(node.id)
            .and_then(|fresh| fresh.lag_bytes());
        fresh.or(node.lag_bytes).map(|bytes| bytes as f64)
    });
    each("pgsteer_node_lag_seconds", &|node| {
        let fresh = facts.freshness.node(node.id);
        fresh
            .and_then(|fresh| fresh.lag())
            .map(|lag| lag.as_secs_f64())
    });
    each("pgsteer_node_connections", &|node| {
        Some(f64::from(facts.connections.get(node.id)))
    });
    each("pgsteer_node_prepared_statements", &|node| {
        let there = prepared.iter().filter(|(id, _)| *id == node.id);
        Some(there.map(|(_, count)| f64::from(*count)).sum())
    });
    each("pgsteer_node_waiting", &|node| {
        Some(f64::from(facts.connections.waiting(node.id)))
    });
    each("pgsteer_node_probe_seconds_total", &|node| {
        let probes = facts.probes.node(node.id);
        probes.map(|probes| probes.duration_total().as_secs_f64())
    });
    text.begin("pgsteer_node_role");
    for place in &places {
        for (role, name) in ROLES {
            text.put(&place.with("role", name), place.node.role == role);
        }
    }
    text.begin("pgsteer_node_standing");
    for place in &places {
        for standing in STANDINGS {
            let is = place.node.standing == standing;
            text.put(&place.with("standing", standing.name()), is);
        }
    }
    text.begin("pgsteer_node_probes_total");
    for place in &places {
        if let Some(probes) = facts.probes.node(place.node.id) {
            text.put(&place.with("outcome", "answered"), probes.successes.get());
            text.put(&place.with("outcome", "failed"), probes.failures.get());
        }
    }
}

fn statements(counters: &Counters, snapshot: &Snapshot, text: &mut Text) {
    let places: Vec<_> = snapshot.topology.nodes.iter().map(Place::of).collect();
    let mut each = |name: &str, label: &str, cells: &[(&str, Cell)]| {
        text.begin(name);
        for place in &places {
            for (value, cell) in cells {
                let of = |node: &NodeCounters| cell(node).get();
                let index = place.node.id.index();
                let count = counters.sum(|worker| worker.nodes.get(index).map_or(0, of));
                text.put(&place.with(label, value), count);
            }
        }
    };
    each("pgsteer_node_statements_total", "kind", &KINDS);
    each("pgsteer_node_errors_total", "severity", &SEVERITIES);
    text.begin("pgsteer_node_query_seconds");
    for place in &places {
        let mut counted = Counted::default();
        for worker in counters.workers() {
            if let Some(node) = worker.nodes.get(place.node.id.index()) {
                node.query_times.add_to(&mut counted);
            }
        }
        text.histogram(&place.labels(), &counted);
    }
}

type Cell = fn(&NodeCounters) -> &Counter;

const KINDS: [(&str, Cell); 6] = [
    ("select", |node| &node.selects),
    ("insert", |node| &node.inserts),
    ("update", |node| &node.updates),
    ("delete", |node| &node.deletes),
    ("ddl", |node| &node.ddl),
    ("other", |node| &node.others),
];

const SEVERITIES: [(&str, Cell); 3] = [
    ("panic", |node| &node.panics),
    ("fatal", |node| &node.fatals),
    ("error", |node| &node.errors),
];

const ROLES: [(Role, &str); 3] = [
    (Role::Primary, "primary"),
    (Role::Replica, "replica"),
    (Role::Unknown, "unknown"),
];

const STANDINGS: [Standing; 4] = [
    Standing::InService,
    Standing::Detached,
    Standing::Closing,
    Standing::Fenced,
];

fn spans(facts: &Facts, text: &mut Text) {
    text.begin("pgsteer_spans_total");
    let spans = &facts.spans;
    for (outcome, count) in [
        ("sent", &spans.sent),
        ("failed", &spans.failed),
        ("dropped", &spans.dropped),
    ] {
        text.put(&[("outcome", outcome)], count.load(Ordering::Relaxed));
    }
}

/// What Prometheus' own libraries show of a process, by their names.
fn process(text: &mut Text) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    if let Some(started) = started() {
        text.one("process_start_time_seconds", started);
    }
    if let Some(pages) = read("statm").and_then(|statm| number(statm.split(' ').nth(1))) {
        let bytes = pages.saturating_mul(rustix::param::page_size() as u64);
        text.one("process_resident_memory_bytes", bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        text.one("process_open_fds", (open.count() as u64).saturating_sub(1));
    }
}

/// When the machine was started, and how long after it this process was (proc(5)).
fn started() -> Option<f64> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let machine = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it may hold anything; this is the twentieth field behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let each = rustix::param::clock_ticks_per_second() as f64;
    Some(machine.trim().parse::<f64>().ok()? + ticks / each)
}
