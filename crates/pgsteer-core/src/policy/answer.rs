//! What a policy answers. The meaning of each field is in `wit/v0.1/plugin.wit`.

use crate::NodeId;

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
    /// Those of the transaction that are taken back.
    pub clear_transaction: u32,
}

/// Bits of [`Limits::fresh`]: whose acknowledged writes a replica must have replayed.
pub mod fresh {
    /// Those of this session, and those of the database before it began.
    pub const SESSION: u32 = 1 << 0;
    /// All of the database.
    pub const DATABASE: u32 = 1 << 1;
    /// Those to relations that the statement names.
    pub const RELATIONS: u32 = 1 << 2;
    /// Those noted under one of the answer's keys.
    pub const KEYS: u32 = 1 << 3;
    /// All there are.
    pub const ALL: u32 = SESSION | DATABASE | RELATIONS | KEYS;
}

/// Where a balanced read goes if the node drawn for it does not keep the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The primary.
    #[default]
    Primary,
    /// Another candidate that keeps them, else the primary.
    Another,
    /// The candidate that keeps them and lags least, else the primary.
    LeastLag,
}

/// What a replica must keep to serve a balanced read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bits of [`fresh`].
    pub fresh: u32,
    /// If the node drawn does not keep them.
    pub otherwise: Fallback,
    /// Most bytes of WAL behind; 0 for no limit.
    pub lag_bytes: u64,
    /// Longest time behind in milliseconds; 0 for no limit.
    pub lag_ms: u64,
    /// How long it may wait for a candidate to keep them, in milliseconds.
    pub wait_ms: u32,
}

/// What a guest looked at besides its input while it made up its mind, as the host saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Something that changes by itself, such as the clock: the answer must not be remembered.
    pub volatile: bool,
    /// Its key-value store: the answer is good until something in there changes.
    pub kv: bool,
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
    /// Relations that count as written with it, by name.
    pub also_writes: Vec<String>,
    /// What it writes is noted under these.
    pub keys: Vec<u64>,
    /// Why, as a number of the plugin's own.
    pub reason: u32,
    /// For [`Route::Balanced`].
    pub limits: Limits,
    /// The functions it calls only read, whatever the catalog says.
    pub trusts_functions: bool,
    /// What the plugin looked at.
    pub taint: Taint,
}

impl Decision {
    /// This route, not to be remembered, without anything else.
    #[must_use]
    pub fn new(route: Route) -> Self {
        Self {
            route,
            reuse: Reuse::Never,
            marks: Marks::default(),
            also_writes: Vec::new(),
            keys: Vec::new(),
            reason: 0,
            limits: Limits::default(),
            trusts_functions: false,
            taint: Taint::default(),
        }
    }
}

/// What a session begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Server connections of this name, and no others.
    pub pool: Option<String>,
    /// What this role may do.
    pub role: Option<String>,
    /// Parameters as if the client had asked for them.
    pub parameters: Vec<(String, String)>,
    /// Parameters that are set again at the beginning of each transaction.
    pub enforced: Vec<(String, String)>,
}

/// Answer to a client that has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The session begins.
    Admit(Admission),
    /// It does not.
    Refuse(Rejection),
}

/// Whether a statement runs as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// It does.
    Keep,
    /// This text runs in its place.
    Replace {
        /// The text.
        sql: String,
        /// For each of its parameters the client's, from 1; `None`: the same as before.
        parameters: Option<Vec<u16>>,
    },
    /// It does not run.
    Reject(Rejection),
}

/// Answer to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// What becomes of it.
    pub rewritten: Rewritten,
    /// Whether the answer may be remembered, for the exact text.
    pub reuse: Reuse,
    /// What the plugin looked at.
    pub taint: Taint,
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Abstain => f.write_str("abstain"),
            Self::Primary => f.write_str("primary"),
            Self::Balanced(Spread::Session) => f.write_str("balanced"),
            Self::Balanced(Spread::Statement) => f.write_str("balanced for each statement"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Everywhere => f.write_str("everywhere"),
            Self::Reject(r) => write!(f, "refuse: {} {}", r.sqlstate, r.message),
        }
    }
}
