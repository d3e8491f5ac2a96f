//! The nodes, as a plugin is told of them.

use crate::{Candidate, NodeId};

/// What a node said it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeRole {
    /// Not known, or newer than this crate.
    #[default]
    Unknown,
    /// Takes writes.
    Primary,
    /// Replays a primary's WAL.
    Replica,
}

/// One PostgreSQL server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// Position in the configuration.
    pub id: NodeId,
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What it said it is.
    pub role: NodeRole,
    /// The host would send statements there now.
    pub usable: bool,
    /// Share of balanced reads the operator gave it; `0 <= weight`.
    pub weight: f64,
    /// Bytes of WAL written on the primary and not yet replayed here; `None` if not known.
    pub lag_bytes: Option<u64>,
}

/// All nodes at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Topology {
    /// Grows with every change.
    pub epoch: u64,
    /// The nodes in order of their ids.
    pub nodes: Vec<Node>,
}

impl Topology {
    /// The usable nodes with the weights the operator gave them.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let usable = self.nodes.iter().filter(|node| node.usable);
        usable
            .map(|node| Candidate {
                node: node.id,
                weight: node.weight,
            })
            .collect()
    }
}
