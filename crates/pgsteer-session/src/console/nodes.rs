//! What is shown about nodes: `pool_nodes`, `pool_backend_stats`, `pool_health_check_stats`.

use pgsteer_core::counters::{Counter, NodeCounters};
use pgsteer_core::probes::NodeProbes;
use pgsteer_core::topology::Health;
use pgsteer_core::{Node, Role};

use super::time::{utc, utc_or_empty};
use crate::steering::Steering;

/// A row of `pool_nodes`.
pub(crate) fn node_row(node: &Node, nodes: &[Node], steering: &Steering) -> Vec<String> {
    let selects = count(node, steering, |n| &n.selects);
    let pg_role = if node.last_probe_ok {
        node.role
    } else {
        Role::Unknown
    };
    vec![
        node.id.to_string(),
        node.host.to_string(),
        node.port.to_string(),
        status(node).to_owned(),
        match (node.last_probe_ok, node.health) {
            (true, _) => "up",
            (false, Health::Unknown) => "unknown",
            (false, _) => "down",
        }
        .to_owned(),
        share(node.weight, nodes.iter().map(|n| n.weight)),
        role(node.role, "standby").to_owned(),
        role(pg_role, "unknown").to_owned(),
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

/// A row of `pool_health_check_stats`.
pub(crate) fn health_check_row(node: &Node, probes: Option<&NodeProbes>) -> Vec<String> {
    let mut row = beginning(node);
    row.push(utc(node.changed_at));
    let none = NodeProbes::default();
    let probes = probes.unwrap_or(&none);
    let total = probes.total();
    let (least, most) = probes.durations();
    let (success, failure) = (probes.last_success(), probes.last_failure());
    row.extend([
        total.to_string(),
        probes.successes.get().to_string(),
        probes.failures.get().to_string(),
        // A node is probed however it is.
        "0".to_owned(),
        probes.retries.get().to_string(),
        mean(probes.retries.get(), total, 1.0),
        probes.retries_max().to_string(),
        most.as_millis().to_string(),
        least.as_millis().to_string(),
        mean(micros(probes), total, 1000.0),
        utc_or_empty(success.max(failure)),
        utc_or_empty(success),
        String::new(),
        utc_or_empty(failure),
    ]);
    row
}

fn micros(probes: &NodeProbes) -> u64 {
    u64::try_from(probes.duration_total().as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "for people, six decimals")]
fn mean(sum: u64, count: u64, unit: f64) -> String {
    let mean = if count == 0 {
        0.0
    } else {
        sum as f64 / count as f64 / unit
    };
    format!("{mean:.6}")
}

/// Which node it is and how it is.
fn beginning(node: &Node) -> Vec<String> {
    vec![
        node.id.to_string(),
        node.host.to_string(),
        node.port.to_string(),
        status(node).to_owned(),
        role(node.role, "standby").to_owned(),
    ]
}

/// Whether statements are sent there.
pub(crate) fn status(node: &Node) -> &'static str {
    if node.is_usable() { "up" } else { "down" }
}

/// A weight as its share of all.
pub(crate) fn share(weight: f64, all: impl Iterator<Item = f64>) -> String {
    let total: f64 = all.sum();
    let share = if total > 0.0 { weight / total } else { 0.0 };
    format!("{share:.6}")
}

fn count(node: &Node, steering: &Steering, counter: impl Fn(&NodeCounters) -> &Counter) -> String {
    let counters = &steering.worker.shared.counters;
    let of = |n: &NodeCounters| counter(n).get();
    let sum = counters.sum(|w| w.nodes.get(node.id.index()).map_or(0, of));
    sum.to_string()
}

fn role(role: Role, otherwise: &'static str) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Replica => "standby",
        Role::Unknown => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use pgsteer_core::NodeId;
    use pgsteer_core::probes::ProbeEnd;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn probes_as_pgpool_shows_them() {
        let node = Node {
            role: Role::Replica,
            health: Health::Up,
            last_probe_ok: true,
            changed_at: at(1_795_403_139),
            ..Node::unknown(NodeId(1), "127.0.0.1", 25433)
        };
        let probes = NodeProbes::default();
        for (answered, millis, retries) in [(true, 16, 0), (false, 2, 0), (true, 3, 1)] {
            probes.note(ProbeEnd {
                answered,
                took: Duration::from_millis(millis),
                at: at(1_795_403_200 + millis),
                retries,
            });
        }
        let row = health_check_row(&node, Some(&probes)).join("|");
        assert_eq!(
            row,
            "1|127.0.0.1|25433|up|standby|2026-11-23 03:05:39|3|2|1|0|1|0.333333|1|16|2|7.000000|\
             2026-11-23 03:06:43|2026-11-23 03:06:43||2026-11-23 03:06:42"
        );
        let unknown = health_check_row(&node, None);
        assert_eq!(
            unknown[6..].join("|"),
            "0|0|0|0|0|0.000000|0|0|0|0.000000||||"
        );
    }
}
