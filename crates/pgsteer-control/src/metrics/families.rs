//! The one table of everything Prometheus is shown; `docs/metrics.md` is made from it.

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Values of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Names of its labels, in order.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// The family of this name.
pub(super) fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind,
        labels,
        help,
    }
}

use Kind::{Counter, Gauge, Histogram};

const NODE: &[&str] = &["node", "host", "port"];
const POOL: &[&str] = &["database", "user"];
const PLUGIN: &[&str] = &["plugin"];

/// Every family, in the order of the page.
#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = &[
    row("pgsteer_build_info", Gauge, &["version"], "1, with the version of the program."),
    row("pgsteer_workers", Gauge, &[], "Threads that serve clients."),
    row("pgsteer_snapshot_generation", Counter, &[], "Times the state that workers see was published."),
    row("pgsteer_draining", Gauge, &[], "1 while the proxy shuts down."),
    row("pgsteer_clients", Gauge, &[], "Clients that are connected."),
    row("pgsteer_clients_max", Gauge, &[], "Clients that may be (listen.clients_max)."),
    row("pgsteer_clients_accepted_total", Counter, &[], "Connections of clients that were accepted."),
    row("pgsteer_analyses_total", Counter, &["from"], "Texts of statements that were analysed: remembered from before (memory), or read anew (parser)."),
    row("pgsteer_analyses_bytes", Gauge, &[], "Memory of the analyses that the workers remember."),
    row("pgsteer_failover_activity", Gauge, &["activity"], "1 for what is being done about the primary: none, deciding, promoting, switchover."),
    row("pgsteer_node_up", Gauge, NODE, "1 if the node answers its probes."),
    row("pgsteer_node_usable", Gauge, NODE, "1 if statements may go there: up, in service, its role known, and following the primary if it is a replica."),
    row("pgsteer_node_role", Gauge, &["node", "host", "port", "role"], "1 for the role the node said it has: primary, replica, unknown."),
    row("pgsteer_node_standing", Gauge, &["node", "host", "port", "standing"], "1 for whether the node may serve apart from how it is: in service, detached, closing, fenced."),
    row("pgsteer_node_weight", Gauge, NODE, "Its share of balanced reads, relative to the other nodes."),
    row("pgsteer_node_timeline", Gauge, NODE, "Its timeline, if it said so."),
    row("pgsteer_node_lag_bytes", Gauge, NODE, "Bytes of WAL the primary has written and the node has not replayed, if known."),
    row("pgsteer_node_lag_seconds", Gauge, NODE, "For how long the node has been missing something, if known; 0 if it misses nothing."),
    row("pgsteer_node_connections", Gauge, NODE, "Server connections to the node, those that are being opened among them."),
    row("pgsteer_node_connections_max", Gauge, &[], "Server connections that there may be to each node (pool.connections_per_node_max)."),
    row("pgsteer_node_probes_total", Counter, &["node", "host", "port", "outcome"], "Probes of the node that were answered, or failed."),
    row("pgsteer_node_probe_seconds_total", Counter, NODE, "Time that probes took together."),
    row("pgsteer_node_statements_total", Counter, &["node", "host", "port", "kind"], "Statements sent to the node, sorted as SHOW pool_backend_stats does."),
    row("pgsteer_node_errors_total", Counter, &["node", "host", "port", "severity"], "Errors that came back from the node."),
    row("pgsteer_node_prepared_statements", Gauge, NODE, "Statements that are prepared on the server connections to the node."),
    row("pgsteer_node_waiting", Gauge, NODE, "Sessions that wait for a connection to the node, because there are as many as there may be."),
    row("pgsteer_node_query_seconds", Histogram, NODE, "How long queries took, from their first byte to their last answer, by the node that was asked last."),
    row("pgsteer_query_seconds", Histogram, POOL, "How long queries took, from their first byte to their last answer; a batch of the extended protocol is one."),
    row("pgsteer_transaction_seconds", Histogram, POOL, "How long transactions took; a statement outside of one is one by itself."),
    row("pgsteer_wait_seconds", Histogram, POOL, "How long sessions waited for a server connection or a node; what was there at once is not counted."),
    row("pgsteer_login_seconds", Histogram, POOL, "How long logins took, from the startup packet."),
    row("pgsteer_pool_logins_total", Counter, POOL, "Clients that logged in."),
    row("pgsteer_pool_received_bytes_total", Counter, POOL, "Bytes that came from clients."),
    row("pgsteer_pool_sent_bytes_total", Counter, POOL, "Bytes that went to clients."),
    row("pgsteer_pool_assignments_total", Counter, POOL, "Times a session got a server connection."),
    row("pgsteer_pool_clients", Gauge, &["database", "user", "state"], "Clients that are logged in: idle (the client has the word), active (a query is under way), waiting (it waits for a server connection or a node)."),
    row("pgsteer_pool_servers", Gauge, &["database", "user", "state"], "Server connections: login (being opened), active (a session has it), idle, tested (made fit for the next session)."),
    row("pgsteer_plugin_info", Gauge, &["plugin", "name", "version", "state"], "1, with what the file holds and what became of it: live, probation, shadow, refused, disabled."),
    row("pgsteer_plugin_calls_total", Counter, PLUGIN, "Questions that went to the plugin."),
    row("pgsteer_plugin_cached_total", Counter, PLUGIN, "Questions answered from memory."),
    row("pgsteer_plugin_failures_total", Counter, &["plugin", "class"], "Questions it failed to answer: trap, deadline, memory, abi, invalid."),
    row("pgsteer_plugin_refusals_total", Counter, PLUGIN, "Statements and sessions it refused."),
    row("pgsteer_plugin_rewrites_total", Counter, PLUGIN, "Statements it rewrote."),
    row("pgsteer_plugin_events_total", Counter, PLUGIN, "Events it was told."),
    row("pgsteer_plugin_events_dropped_total", Counter, PLUGIN, "Events it was too slow for."),
    row("pgsteer_plugin_rested_total", Counter, PLUGIN, "Questions it was not asked because it rests after failures."),
    row("pgsteer_plugin_quarantined", Gauge, PLUGIN, "1 if it is not asked any more until an operator says so."),
    row("pgsteer_plugin_memory_bytes", Gauge, PLUGIN, "The most memory an instance has had."),
    row("pgsteer_plugin_seconds", Histogram, PLUGIN, "How long answers took, of every sixteenth question."),
    row("pgsteer_plugin_counter_total", Counter, &["plugin", "series", "unit"], "Counters that the plugin keeps itself."),
    row("pgsteer_plugin_gauge", Gauge, &["plugin", "series", "unit"], "Values that the plugin sets itself."),
    row("pgsteer_plugin_values_total", Counter, &["plugin", "series", "unit"], "How many values the plugin put into a histogram of its own."),
    row("pgsteer_plugin_values_sum_total", Counter, &["plugin", "series", "unit"], "Their sum."),
    row("pgsteer_spans_total", Counter, &["outcome"], "Spans of traced statements: sent, failed (the collector did not take them), dropped (too many waited)."),
    row("process_start_time_seconds", Gauge, &[], "When the process was started, since 1970."),
    row("process_resident_memory_bytes", Gauge, &[], "Memory of the process that is not swapped out."),
    row("process_open_fds", Gauge, &[], "File descriptors in use."),
];
