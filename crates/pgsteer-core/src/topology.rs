//! The nodes and what is known about them.

use std::sync::Arc;
use std::time::SystemTime;

use crate::NodeId;

/// What a node said it is (`pg_is_in_recovery()`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Not asked yet, or it never answered.
    #[default]
    Unknown,
    /// Takes writes.
    Primary,
    /// Replays a primary's WAL.
    Replica,
}

/// Judgement about a node from several probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No probe has ended yet.
    #[default]
    Unknown,
    /// Answered the last probe.
    Up,
    /// Failed the configured number of probes in a row.
    Down,
}

/// Whether statements may go to a node, apart from how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// They may.
    #[default]
    InService,
    /// Somebody took it out: an operator, or the failover policy. Sessions leave it when they are at
    /// rest.
    Detached,
    /// It is a primary that is about to be demoted: transactions that run there may end, new ones
    /// wait for the next primary. Sessions leave it when they are at rest.
    Closing,
    /// It is not the primary, whatever it says, and not a replica of the primary yet: nothing goes
    /// there.
    Fenced,
}

impl Standing {
    /// In words of the log and of tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InService => "in service",
            Self::Detached => "detached",
            Self::Closing => "closing",
            Self::Fenced => "fenced",
        }
    }
}

/// What is being done about the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Nothing: there is a primary, or none was ever seen.
    #[default]
    None,
    /// There is no primary, and the failover policy decides what to do.
    Deciding,
    /// This node is being promoted.
    Promoting(NodeId),
    /// The work of the first node is being handed to the second.
    Switchover(NodeId, NodeId),
}

/// One PostgreSQL instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Position in the configuration.
    pub id: NodeId,
    /// Host name, address, or directory of a Unix socket (starts with `/`).
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// Share of balanced reads, relative to the other nodes; `0 <= weight`.
    pub weight: f64,
    /// What it said it is.
    pub role: Role,
    /// Whether it answers.
    pub health: Health,
    /// Whether the last single probe succeeded; `health` follows with the configured patience.
    pub last_probe_ok: bool,
    /// Whether it replays what the current primary writes. False only for a replica that is known
    /// not to: it follows another primary, or nobody, and what it answers gets older and older, or
    /// is about other data. A replica about which nothing is known yet follows.
    pub follows: bool,
    /// Whether statements may go there, apart from how it is.
    pub standing: Standing,
    /// Grows whenever every connection to it is to be closed at once, whatever is going on there:
    /// it does not answer any more, or it must not.
    pub severances: u64,
    /// Its timeline, if it said so.
    pub timeline: Option<u32>,
    /// Position up to which it has written (primary) or replayed (replica).
    pub lsn: Option<u64>,
    /// Bytes of WAL the primary has and this node has not replayed; `None` if not known.
    pub lag_bytes: Option<u64>,
    /// `pg_stat_replication.state` of this node as its primary reports it, or empty.
    pub replication_state: String,
    /// `pg_stat_replication.sync_state`, or empty.
    pub replication_sync_state: String,
    /// When health, role or `follows` last changed.
    pub changed_at: SystemTime,
}

impl Node {
    /// A node of which nothing is known yet; its weight is 1.
    #[must_use]
    pub fn unknown(id: NodeId, host: &str, port: u16) -> Self {
        Self {
            id,
            host: host.into(),
            port,
            weight: 1.0,
            role: Role::Unknown,
            health: Health::Unknown,
            last_probe_ok: false,
            follows: true,
            standing: Standing::InService,
            severances: 0,
            timeline: None,
            lsn: None,
            lag_bytes: None,
            replication_state: String::new(),
            replication_sync_state: String::new(),
            changed_at: SystemTime::UNIX_EPOCH,
        }
    }

    /// Whether statements may be sent there: up, in service, its role is known, and it follows the
    /// primary if it is a replica.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let fit = match self.role {
            Role::Unknown => false,
            Role::Primary => true,
            Role::Replica => self.follows,
        };
        self.health == Health::Up && self.standing == Standing::InService && fit
    }
}

/// All nodes at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Grows with every change that routing could notice: health, role, weight, `follows`,
    /// `standing`, `severances`.
    pub epoch: u64,
    /// What is being done about the primary.
    pub activity: Activity,
    /// In order of their ids; `nodes[i].id == NodeId(i)`.
    pub nodes: Vec<Node>,
}

impl Topology {
    /// The usable primary. With several (a split brain not yet resolved) the answer is none:
    /// better to refuse writes than to send them to the wrong one.
    #[must_use]
    pub fn primary(&self) -> Option<&Node> {
        let mut primaries = self
            .nodes
            .iter()
            .filter(|n| n.is_usable() && n.role == Role::Primary);
        match (primaries.next(), primaries.next()) {
            (Some(node), None) => Some(node),
            _ => None,
        }
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())
    }
}
