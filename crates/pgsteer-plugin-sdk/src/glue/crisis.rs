//! What a failover policy is told and answers, in the types of this crate and of the interface.

use crate::bindings::failover::exports::pgsteer::plugin::failover;
use crate::{
    Crisis, NodeFlag, NodeId, NodeRole, Occasion, Past, PastEvent, Remedy, Standing, Witness,
};

impl From<failover::Crisis> for Crisis {
    fn from(crisis: failover::Crisis) -> Self {
        Self {
            occasion: match crisis.occasion {
                1 => Occasion::PrimaryLost,
                2 => Occasion::OtherPrimary,
                3 => Occasion::NodeLost,
                4 => Occasion::NodeBack,
                _ => Occasion::Unknown,
            },
            subject: crisis.subject.map(NodeId),
            primary: crisis.primary.map(NodeId),
            for_ms: crisis.for_ms,
            nodes: crisis.nodes.into_iter().map(Into::into).collect(),
            history: crisis.history.into_iter().map(Into::into).collect(),
            refused: crisis.refused,
        }
    }
}

impl From<failover::Witness> for Witness {
    fn from(node: failover::Witness) -> Self {
        Self {
            id: NodeId(node.id),
            host: node.host,
            port: node.port,
            flag: match node.flag {
                0 => NodeFlag::AllowToFailover,
                2 => NodeFlag::AlwaysPrimary,
                _ => NodeFlag::DisallowToFailover,
            },
            role: match node.role {
                1 => NodeRole::Primary,
                2 => NodeRole::Replica,
                _ => NodeRole::Unknown,
            },
            up: node.up,
            failures: node.failures,
            standing: match node.standing {
                0 => Standing::InService,
                1 => Standing::Detached,
                2 => Standing::Closing,
                _ => Standing::Fenced,
            },
            since_ms: node.since_ms,
            system_identifier: node.system_identifier,
            timeline: node.timeline,
            lsn: node.lsn,
            received_lsn: node.received_lsn,
            connected: match node.receiver {
                1 => Some(false),
                2 => Some(true),
                _ => None,
            },
            silent_ms: node.silent_ms,
            follows: node.follows.map(NodeId),
            behind_bytes: node.behind_bytes,
            sync_state: node.sync_state,
        }
    }
}

impl From<failover::PastEvent> for PastEvent {
    fn from(event: failover::PastEvent) -> Self {
        Self {
            ago_ms: event.ago_ms,
            node: NodeId(event.node),
            what: match event.what.as_str() {
                "promoted" => Past::Promoted,
                "promotion-failed" => Past::PromotionFailed,
                "followed" => Past::Followed,
                "detached" => Past::Detached,
                "attached" => Past::Attached,
                "fenced" => Past::Fenced,
                "lost" => Past::Lost,
                "back" => Past::Back,
                _ => Past::Unknown,
            },
        }
    }
}

impl From<Remedy> for failover::Remedy {
    fn from(remedy: Remedy) -> Self {
        match remedy {
            Remedy::Abstain => Self::Abstain,
            Remedy::Wait(ms) => Self::Wait(ms),
            Remedy::Promote(node) => Self::Promote(node.0),
            Remedy::Follow(node) => Self::Follow(node.0),
            Remedy::Detach(node) => Self::Detach(node.0),
            Remedy::Reattach(node) => Self::Reattach(node.0),
            Remedy::GiveUp(reason) => Self::GiveUp(reason),
        }
    }
}
