//! What a policy is told and what it answers. The meaning of each field is in `wit/plugin.wit`.

use crate::NodeId;

/// Bits of [`StatementFacts::traits`], as documented in `wit/plugin.wit`.
pub mod traits {
    /// Reads only, as far as the host can prove.
    pub const READS: u64 = 1 << 0;
    /// Writes.
    pub const WRITES: u64 = 1 << 1;
    /// Has a locking clause.
    pub const LOCKING: u64 = 1 << 2;
    /// Calls a volatile function.
    pub const VOLATILE_FUNCTION: u64 = 1 << 3;
    /// One of several statements in a string.
    pub const SEVERAL: u64 = 1 << 4;
    /// Has parameters.
    pub const PARAMETERS: u64 = 1 << 5;
    /// Inside an explicit transaction.
    pub const IN_TRANSACTION: u64 = 1 << 6;
    /// The transaction is read only.
    pub const TRANSACTION_READ_ONLY: u64 = 1 << 7;
    /// The transaction is serializable.
    pub const SERIALIZABLE: u64 = 1 << 8;
    /// The transaction is repeatable read.
    pub const REPEATABLE_READ: u64 = 1 << 9;
    /// The session is pinned to a node.
    pub const PINNED: u64 = 1 << 10;
    /// Refers to a temporary relation.
    pub const TEMPORARY: u64 = 1 << 11;
    /// Refers to a system catalog.
    pub const CATALOG: u64 = 1 << 12;
    /// Calls a function the host does not know.
    pub const UNKNOWN_FUNCTION: u64 = 1 << 13;
    /// Text starts with white space.
    pub const LEADING_SPACE: u64 = 1 << 14;
    /// Text starts with a comment.
    pub const LEADING_COMMENT: u64 = 1 << 15;
    /// Text does not start like a read.
    pub const NOT_LIKE_A_READ: u64 = 1 << 16;
    /// An earlier statement of this transaction wrote.
    pub const TRANSACTION_WROTE: u64 = 1 << 17;
    /// Extended protocol.
    pub const EXTENDED: u64 = 1 << 18;
    /// Text withheld, it is too long.
    pub const TEXT_WITHHELD: u64 = 1 << 19;
    /// SAVEPOINT, RELEASE or ROLLBACK TO.
    pub const SAVEPOINT: u64 = 1 << 20;
}

/// A session, as known when it was authenticated.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// Authenticated user.
    pub user: &'a str,
    /// Database asked for.
    pub database: &'a str,
    /// `application_name` of the startup packet, or empty.
    pub application_name: &'a str,
    /// Numeric address without port, or empty.
    pub client_address: &'a str,
}

/// One statement at the moment it is about to run.
#[derive(Clone, Copy, Debug)]
pub struct StatementFacts<'a> {
    /// Equal for statements that differ only in literals.
    pub fingerprint: u64,
    /// Class code.
    pub class: u16,
    /// Bits of [`traits`].
    pub traits: u64,
    /// What [`super::Router::open`] said.
    pub session_class: u32,
    /// Node drawn for this session's balanced reads.
    pub balance_node: Option<NodeId>,
    /// Marks of this transaction.
    pub transaction_marks: u32,
    /// Marks of this session.
    pub session_marks: u32,
    /// Number of parameters.
    pub parameter_count: u16,
    /// The text, whole.
    pub sql: &'a str,
}

/// A node with its share of balanced reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its share; finite, `0 <= weight`.
    pub weight: f64,
}

/// Answer to the beginning of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opening {
    /// Comes back with every statement.
    pub class: u32,
    /// Nodes for balanced reads.
    pub candidates: Vec<Candidate>,
}

/// How often a node is drawn for balanced reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Once for the session.
    Session,
    /// For every statement.
    Statement,
}

/// Why a statement is refused, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Five characters.
    pub sqlstate: String,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where a statement runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// No opinion.
    Abstain,
    /// The primary.
    Primary,
    /// One of the opening's candidates.
    Balanced(Spread),
    /// This node.
    Node(NodeId),
    /// Every node the session uses.
    Everywhere,
    /// Nowhere.
    Reject(Rejection),
}

/// What a copy of an answer may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing.
    Never,
    /// The same statement with the same facts.
    Statement,
}

/// Bits kept for the plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Until the transaction ends.
    pub transaction: u32,
    /// Until the session ends.
    pub session: u32,
}

/// Answer to a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where it runs.
    pub route: Route,
    /// Whether the answer may be remembered.
    pub reuse: Reuse,
    /// Set when the statement has succeeded.
    pub marks: Marks,
}
