//! What a failover policy is told, and what it may answer.

use crate::NodeId;
use crate::settings::NodeFlag;
use crate::topology::{Health, Role, Standing};

/// Why a failover policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Occasion {
    /// There is no primary: the last one does not answer, or says that it is a replica.
    PrimaryLost = 1,
    /// A node says that it is a primary and is not the one that counts as it.
    OtherPrimary = 2,
    /// A node that is not the primary does not answer any more and still counts as in service.
    NodeLost = 3,
    /// A node that the policy took out, or that was fenced, answers as a replica of the primary.
    NodeBack = 4,
}

/// What a node is doing about the WAL of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receiver {
    /// Not known.
    #[default]
    Unknown,
    /// It has no connection to one that it follows.
    None,
    /// It is connected.
    Streaming,
}

/// A node as the policy sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness {
    /// Position in the configuration.
    pub id: NodeId,
    /// Host name, address, or directory of a Unix socket.
    pub host: std::sync::Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What a failover may do to it.
    pub flag: NodeFlag,
    /// What it said last.
    pub role: Role,
    /// Whether it answers.
    pub health: Health,
    /// Failed probes in a row.
    pub failures: u32,
    /// Whether it may serve.
    pub standing: Standing,
    /// Since when health and role are as they are, in milliseconds.
    pub since_ms: u64,
    /// Equal on all nodes of a cluster.
    pub system_identifier: Option<u64>,
    /// Its timeline, as it said last.
    pub timeline: Option<u32>,
    /// Position up to which it has written (primary) or replayed (replica).
    pub lsn: Option<u64>,
    /// Position up to which a replica has received and kept WAL.
    pub received_lsn: Option<u64>,
    /// Whether it is connected to what it follows.
    pub receiver: Receiver,
    /// Milliseconds since it last heard from what it follows.
    pub silent_ms: Option<u64>,
    /// The node it follows, if that is one of ours.
    pub follows: Option<NodeId>,
    /// Bytes it lacks of what the primary is known to have written.
    pub behind_bytes: Option<u64>,
    /// `sync_state` of the primary's last word about it, or empty.
    pub sync_state: String,
}

/// Something that was done, or failed, since the proxy started; the last few are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEvent {
    /// Milliseconds ago.
    pub ago_ms: u64,
    /// The node it was about.
    pub node: NodeId,
    /// `promoted`, `promotion-failed`, `followed`, `detached`, `attached`, `fenced`, `lost`,
    /// `back`.
    pub what: &'static str,
}

/// What a failover policy is asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Crisis {
    /// Why.
    pub occasion: Occasion,
    /// The node it is about: the lost primary, the other primary, the node that is lost or back.
    pub subject: Option<NodeId>,
    /// The node that counts as the primary, if there is one.
    pub primary: Option<NodeId>,
    /// How long it has been so, in milliseconds.
    pub for_ms: u64,
    /// All nodes.
    pub nodes: Vec<Witness>,
    /// What was done before, the latest last.
    pub history: Vec<PastEvent>,
    /// Why the answer before this question was not followed, or empty.
    pub refused: String,
}

/// What a failover policy answers. It is checked before anything is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The next policy is asked.
    Abstain,
    /// Nothing yet; ask again after so many milliseconds.
    Wait(u32),
    /// Promote this replica.
    Promote(NodeId),
    /// This one is the primary: somebody else promoted it.
    Follow(NodeId),
    /// Take this node out.
    Detach(NodeId),
    /// Let this node serve again.
    Reattach(NodeId),
    /// Nothing can be done, for this reason; asked again when a node changes.
    GiveUp(String),
}
