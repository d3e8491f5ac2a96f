//! What a plugin is told. The meaning of each field is in `wit/v0.1/plugin.wit`.

use crate::{Candidate, Class, Traits};

/// Position of a node in the proxy's configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A client session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Authenticated user.
    pub user: String,
    /// Database asked for.
    pub database: String,
    /// `application_name` of the startup packet, or empty.
    pub application_name: String,
    /// Numeric address without port; empty for a Unix socket.
    pub client_address: String,
    /// Settings that the session has overridden for itself, names and values. Ignore those you do
    /// not know.
    pub settings: Vec<(String, String)>,
}

/// One statement at the moment it is about to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// Equal for statements that differ only in literals.
    pub fingerprint: u64,
    /// What kind of statement it is.
    pub class: Class,
    /// What the host found out about it and the moment it is asked in.
    pub traits: Traits,
    /// [`Opening::class`](crate::Opening::class) of its session.
    pub session_class: u32,
    /// The node drawn for this session's balanced reads, if there is one.
    pub balance_node: Option<NodeId>,
    /// Marks set by earlier answers in this transaction.
    pub transaction_marks: u32,
    /// Marks set by earlier answers in this session.
    pub session_marks: u32,
    /// Number of parameters.
    pub parameter_count: u16,
    /// The text, if [`Needs::sql`](crate::Needs::sql) asked for it and it is not too long.
    pub sql: Option<String>,
    /// The relations it names, if [`Needs::relations`](crate::Needs::relations) asked for them.
    pub relations: Vec<Relation>,
    /// The functions it calls, if [`Needs::functions`](crate::Needs::functions) asked for them.
    pub functions: Vec<Function>,
}

/// A relation, as a statement names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relation {
    /// Its schema, if it is qualified.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// The statement, or one in its WITH list, writes it.
    pub written: bool,
}

/// A function, as a statement calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Its schema, if it is qualified; `pg_catalog` for what the grammar turns into a call.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
}

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
