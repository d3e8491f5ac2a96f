//! The topology in words.

use pgsteer_core::shown::{role, utc};
use pgsteer_core::topology::{Activity, Health};
use pgsteer_core::{Node, Role, Topology};

use super::{Listed, ListedNode};

/// The reply to a request for the nodes.
pub(super) fn listed(topology: &Topology) -> Listed {
    Listed {
        primary: topology.primary().map(|node| node.id.0),
        activity: activity(topology.activity),
        nodes: topology.nodes.iter().map(node).collect(),
    }
}

fn activity(activity: Activity) -> String {
    match activity {
        Activity::None => "none".to_owned(),
        Activity::Deciding => "deciding".to_owned(),
        Activity::Promoting(node) => format!("promoting {node}"),
        Activity::Switchover(from, to) => format!("switchover {from} {to}"),
    }
}

fn node(node: &Node) -> ListedNode {
    ListedNode {
        id: node.id.0,
        host: node.host.to_string(),
        port: node.port,
        role: match node.role {
            Role::Replica => "replica",
            other => role(other, "unknown"),
        }
        .to_owned(),
        health: match node.health {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
        .to_owned(),
        standing: node.standing.name().to_owned(),
        usable: node.is_usable(),
        follows: node.follows,
        weight: node.weight,
        timeline: node.timeline,
        lsn: node.lsn.map(lsn),
        lag_bytes: node.lag_bytes,
        replication_state: node.replication_state.clone(),
        replication_sync_state: node.replication_sync_state.clone(),
        since: utc(node.changed_at),
    }
}

/// A position as `pg_lsn` is written.
fn lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;

    use super::*;

    #[test]
    fn positions_and_activities_are_written_as_postgresql_writes_them() {
        assert_eq!(lsn(0), "0/0");
        assert_eq!(lsn(0x1_0300_00A0), "1/30000A0");
        assert_eq!(activity(Activity::Promoting(NodeId(2))), "promoting 2");
        let both = Activity::Switchover(NodeId(0), NodeId(1));
        assert_eq!(activity(both), "switchover 0 1");
    }
}
