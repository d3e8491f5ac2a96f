//! What a failover policy is told, in the types of the interface, and what it answers.

use pgsteer_core::policy::{Crisis, PastEvent, PolicyError, Receiver, Remedy, Witness};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::{Health, Standing};
use pgsteer_core::{NodeId, Role};

use super::answers::node_id;
use super::bindings::exports::pgsteer::plugin::failover;
use crate::error::printable;

/// Lists of a crisis in the form the interface takes them.
pub(super) struct Lists<'a> {
    nodes: Vec<failover::Witness<'a>>,
    history: Vec<failover::PastEvent<'a>>,
}

impl<'a> Lists<'a> {
    pub(super) fn new(crisis: &'a Crisis) -> Self {
        Self {
            nodes: crisis.nodes.iter().map(witness).collect(),
            history: crisis.history.iter().map(past_event).collect(),
        }
    }
}

pub(super) fn told<'a>(crisis: &'a Crisis, lists: &'a Lists<'a>) -> failover::Crisis<'a> {
    failover::Crisis {
        occasion: crisis.occasion as u16,
        subject: crisis.subject.map(number),
        primary: crisis.primary.map(number),
        for_ms: crisis.for_ms,
        nodes: &lists.nodes,
        history: &lists.history,
        refused: &crisis.refused,
    }
}

/// `nodes` is the number of nodes the guest was told about.
pub(super) fn remedy(answer: &failover::Remedy, nodes: usize) -> Result<Remedy, PolicyError> {
    let node = |id: u32| node_id(id, nodes);
    Ok(match answer {
        failover::Remedy::Abstain => Remedy::Abstain,
        failover::Remedy::Wait(ms) => Remedy::Wait(*ms),
        failover::Remedy::Promote(id) => Remedy::Promote(node(*id)?),
        failover::Remedy::Follow(id) => Remedy::Follow(node(*id)?),
        failover::Remedy::Detach(id) => Remedy::Detach(node(*id)?),
        failover::Remedy::Reattach(id) => Remedy::Reattach(node(*id)?),
        failover::Remedy::GiveUp(reason) => Remedy::GiveUp(printable(reason)),
    })
}

fn number(id: NodeId) -> u32 {
    u32::from(id.0)
}

fn witness(node: &Witness) -> failover::Witness<'_> {
    failover::Witness {
        id: number(node.id),
        host: &node.host,
        port: node.port,
        flag: match node.flag {
            NodeFlag::AllowToFailover => 0,
            NodeFlag::DisallowToFailover => 1,
            NodeFlag::AlwaysPrimary => 2,
        },
        role: match node.role {
            Role::Unknown => 0,
            Role::Primary => 1,
            Role::Replica => 2,
        },
        up: node.health == Health::Up,
        failures: node.failures,
        standing: match node.standing {
            Standing::InService => 0,
            Standing::Detached => 1,
            Standing::Closing => 2,
            Standing::Fenced => 3,
        },
        since_ms: node.since_ms,
        system_identifier: node.system_identifier,
        timeline: node.timeline,
        lsn: node.lsn,
        received_lsn: node.received_lsn,
        receiver: match node.receiver {
            Receiver::Unknown => 0,
            Receiver::None => 1,
            Receiver::Streaming => 2,
        },
        silent_ms: node.silent_ms,
        follows: node.follows.map(number),
        behind_bytes: node.behind_bytes,
        sync_state: &node.sync_state,
    }
}

fn past_event(event: &PastEvent) -> failover::PastEvent<'_> {
    failover::PastEvent {
        ago_ms: event.ago_ms,
        node: number(event.node),
        what: event.what,
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::policy::FailureClass;

    use super::*;

    #[test]
    fn answers_name_nodes_that_were_told() {
        let good = remedy(&failover::Remedy::Promote(2), 3);
        assert_eq!(good.ok(), Some(Remedy::Promote(NodeId(2))));
        for bad in [
            failover::Remedy::Promote(3),
            failover::Remedy::Follow(65_536),
            failover::Remedy::Detach(u32::MAX),
            failover::Remedy::Reattach(3),
        ] {
            let error = remedy(&bad, 3).expect_err("no such node");
            assert_eq!(error.class, FailureClass::Invalid, "{bad:?}: {error}");
        }
        let none = remedy(&failover::Remedy::Follow(0), 0);
        assert!(none.is_err(), "there are no nodes at all");
    }

    #[test]
    fn reasons_are_printable_and_bounded() {
        let give_up = |reason: &str| remedy(&failover::Remedy::GiveUp(reason.to_owned()), 1);
        let expected = Remedy::GiveUp("a\\n\\u{1b}".to_owned());
        assert_eq!(give_up("a\n\u{1b}").ok(), Some(expected));
        let Ok(Remedy::GiveUp(long)) = give_up(&"ü".repeat(100_000)) else {
            panic!("it is an answer");
        };
        assert!(long.len() <= crate::limits::TEXT_BYTES_MAX);
    }
}
