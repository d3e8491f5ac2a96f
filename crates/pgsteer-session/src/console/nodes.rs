//! What is shown about nodes: `pool_nodes`, `pool_backend_stats`, `pool_health_check_stats`.

use pgsteer_core::Node;
use pgsteer_core::counters::{Counter, NodeCounters};
use pgsteer_core::shown::{beginning, pg_role, pg_status, role, utc};
pub(crate) use pgsteer_core::shown::{health_check_row, share, status};

use crate::steering::Steering;

/// A row of `pool_nodes`.
pub(crate) fn node_row(node: &Node, nodes: &[Node], steering: &Steering) -> Vec<String> {
    let selects = count(node, steering, |n| &n.selects);
    vec![
        node.id.to_string(),
        node.host.to_string(),
        node.port.to_string(),
        status(node).to_owned(),
        pg_status(node).to_owned(),
        share(node.weight, nodes.iter().map(|n| n.weight)),
        role(node.role, "standby").to_owned(),
        pg_role(node).to_owned(),
        selects,
        (steering.balance_node == Some(node.id)).to_string(),
        node.lag_bytes.unwrap_or(0).to_string(),
        node.replication_state.clone(),
        node.replication_sync_state.clone(),
        utc(node.changed_at),
    ]
}

/// A row of `pool_backend_stats`.
pub(crate) fn backend_stats_row(node: &Node, steering: &Steering) -> Vec<String> {
    let mut row = beginning(node);
    let counters: [fn(&NodeCounters) -> &Counter; 9] = [
        |n| &n.selects,
        |n| &n.inserts,
        |n| &n.updates,
        |n| &n.deletes,
        |n| &n.ddl,
        |n| &n.others,
        |n| &n.panics,
        |n| &n.fatals,
        |n| &n.errors,
    ];
    row.extend(counters.map(|counter| count(node, steering, counter)));
    row
}

fn count(node: &Node, steering: &Steering, counter: impl Fn(&NodeCounters) -> &Counter) -> String {
    let counters = &steering.worker.shared.counters;
    let of = |n: &NodeCounters| counter(n).get();
    let sum = counters.sum(|w| w.nodes.get(node.id.index()).map_or(0, of));
    sum.to_string()
}
