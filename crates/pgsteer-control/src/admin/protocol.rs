//! What is said over the admin socket, by both sides.

use serde::{Deserialize, Serialize};

/// What an operator wants: `{"command":"detach","node":1}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the nodes are.
    List,
    /// A node may serve again.
    Attach {
        /// Its number.
        node: u16,
    },
    /// A node is taken out.
    Detach {
        /// Its number.
        node: u16,
    },
    /// A node becomes the primary although there is none.
    Promote {
        /// Its number.
        node: u16,
    },
    /// A node takes over from the primary.
    Switchover {
        /// Its number.
        node: u16,
    },
    /// The configuration is read again.
    Reload,
    /// The proxy ends.
    Stop {
        /// Without waiting for transactions.
        #[serde(default)]
        now: bool,
    },
    /// Another process of the program, as it is on disk now, takes over.
    Upgrade,
}

/// What the proxy says to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "answer", rename_all = "kebab-case")]
pub enum Reply {
    /// How the nodes are.
    Listed(Listed),
    /// Done; lines for the operator.
    Done(Vec<String>),
    /// Not done, and why.
    Refused(String),
    /// Nobody knows yet what became of it.
    Unknown(String),
}

/// The nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The node that takes writes.
    pub primary: Option<u16>,
    /// What is being done about the primary: `none`, `deciding`, `promoting 1`, `switchover 0 1`.
    pub activity: String,
    /// In order of their numbers.
    pub nodes: Vec<ListedNode>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedNode {
    /// Its number.
    pub id: u16,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `primary`, `replica`, `unknown`: what it said it is.
    pub role: String,
    /// `up`, `down`, `unknown`: from several probes.
    pub health: String,
    /// `in service`, `detached`, `closing`, `fenced`.
    pub standing: String,
    /// Whether statements may go there.
    pub usable: bool,
    /// Whether it replays what the primary writes; false only if that is known not to be so.
    pub follows: bool,
    /// Its share of balanced reads, relative to the others.
    pub weight: f64,
    /// Its timeline, if known.
    pub timeline: Option<u32>,
    /// Where it has written or replayed up to, as PostgreSQL writes it.
    pub lsn: Option<String>,
    /// Bytes of WAL that it lacks, if known.
    pub lag_bytes: Option<u64>,
    /// `pg_stat_replication.state`, or empty.
    pub replication_state: String,
    /// `pg_stat_replication.sync_state`, or empty.
    pub replication_sync_state: String,
    /// When health, role or whether it follows changed last, in UTC.
    pub since: String,
}

/// Longest request, its end included.
pub const LINE_BYTES_MAX: u64 = 4096;
