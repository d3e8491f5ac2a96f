//! What a failover policy is told, and what it answers. The meaning of each field is in
//! `wit/v0.1/failover.wit`.

use crate::{NodeId, NodeRole};

/// Why a failover policy is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Occasion {
    /// Newer than this crate: abstain.
    #[default]
    Unknown,
    /// There is no primary: the last one does not answer, or says that it is a replica.
    PrimaryLost,
    /// A node says that it is a primary and is not the one that counts as it.
    OtherPrimary,
    /// A node that is not the primary does not answer any more and still counts as in service.
    NodeLost,
    /// A node that was taken out or fenced answers as a replica of the primary.
    NodeBack,
}

/// What the operator allows a failover to do to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeFlag {
    /// Anything.
    #[default]
    AllowToFailover,
    /// Nothing; also what is newer than this crate.
    DisallowToFailover,
    /// It is the primary whatever it says.
    AlwaysPrimary,
}

/// Whether a node may serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It may.
    #[default]
    InService,
    /// It was taken out.
    Detached,
    /// It is a primary that is about to be demoted.
    Closing,
    /// It was a primary and is not a replica of the present one yet; also what is newer than this
    /// crate.
    Fenced,
}

/// A node as it said last, and as the proxy sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Witness {
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Position in the configuration.
    pub id: NodeId,
    /// What a failover may do to it.
    pub flag: NodeFlag,
    /// What it said it is.
    pub role: NodeRole,
    /// It answers.
    pub up: bool,
    /// Failed probes in a row.
    pub failures: u32,
    /// Whether it may serve.
    pub standing: Standing,
    /// Since when it is up or down and has its role, in milliseconds.
    pub since_ms: u64,
    /// Equal on all nodes of a cluster.
    pub system_identifier: Option<u64>,
    /// Grows with every promotion.
    pub timeline: Option<u32>,
    /// Position in the WAL up to which it has written (primary) or replayed (replica).
    pub lsn: Option<u64>,
    /// Position up to which a replica has received and kept WAL.
    pub received_lsn: Option<u64>,
    /// Whether it is connected to the node it follows, if that is known.
    pub connected: Option<bool>,
    /// Milliseconds since it last heard from that node.
    pub silent_ms: Option<u64>,
    /// The node it follows, if that is one of the configuration.
    pub follows: Option<NodeId>,
    /// Bytes it lacks of what the primary is known to have written.
    pub behind_bytes: Option<u64>,
    /// `sync_state` of the primary's last word about it (`sync`, `quorum`, `potential`, `async`), or
    /// empty.
    pub sync_state: String,
}

impl Witness {
    /// How much of the WAL it has: what was received will be replayed before a promotion ends.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.lsn.max(self.received_lsn)
    }

    /// The primary waited for it when it committed.
    #[must_use]
    pub fn is_synchronous(&self) -> bool {
        matches!(self.sync_state.as_str(), "sync" | "quorum")
    }
}

/// Kinds of things that were done or happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Past {
    /// Newer than this crate: to be ignored.
    #[default]
    Unknown,
    /// The node was promoted by the proxy.
    Promoted,
    /// It should have been, and was not.
    PromotionFailed,
    /// Somebody else promoted it, and it counts as the primary since.
    Followed,
    /// It was taken out.
    Detached,
    /// It serves again.
    Attached,
    /// It is kept out until it is a replica.
    Fenced,
    /// It did not answer any more.
    Lost,
    /// It answered again.
    Back,
}

/// Something that was done or happened since the proxy started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastEvent {
    /// Milliseconds ago.
    pub ago_ms: u64,
    /// The node it was about.
    pub node: NodeId,
    /// What it was.
    pub what: Past,
}

/// What a failover policy is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crisis {
    /// Why.
    pub occasion: Occasion,
    /// The node it is about: the lost primary, the other primary, the node that is lost or back.
    pub subject: Option<NodeId>,
    /// The node that counts as the primary.
    pub primary: Option<NodeId>,
    /// How long it has been so, in milliseconds.
    pub for_ms: u64,
    /// All nodes.
    pub nodes: Vec<Witness>,
    /// The last things that were done, the latest last.
    pub history: Vec<PastEvent>,
    /// Why the host did not follow the answer before this one, or empty.
    pub refused: String,
}

impl Crisis {
    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Witness> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&Witness> {
        self.node(self.subject?)
    }

    /// The node that counts as the primary.
    #[must_use]
    pub fn primary(&self) -> Option<&Witness> {
        self.node(self.primary?)
    }

    /// How long ago this happened to a node last, in milliseconds.
    #[must_use]
    pub fn last(&self, what: Past, node: NodeId) -> Option<u64> {
        let mut latest_first = self.history.iter().rev();
        let found = latest_first.find(|event| event.what == what && event.node == node);
        found.map(|event| event.ago_ms)
    }
}

/// What is to be done. It is advice: the proxy checks it against rules that no plugin can override,
/// and says in [`Crisis::refused`] why it did not follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The next plugin is asked; after the last one nothing is done.
    Abstain,
    /// Nothing yet; ask again after so many milliseconds.
    Wait(u32),
    /// Promote this replica.
    Promote(NodeId),
    /// This node is the primary: somebody else promoted it.
    Follow(NodeId),
    /// Take this node out.
    Detach(NodeId),
    /// Let this node serve again.
    Reattach(NodeId),
    /// Nothing can be done, for this reason; asked again when a node changes.
    GiveUp(String),
}

impl Remedy {
    /// Nothing can be done, for this reason.
    #[must_use]
    pub fn give_up(reason: impl Into<String>) -> Self {
        Self::GiveUp(reason.into())
    }
}
