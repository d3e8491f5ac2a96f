//! What a policy is told and what it answers. The meaning of each field is in `wit/plugin.wit`.

use pgsteer_sql::{FunctionRef, RelationRef};

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
    /// Names an unlogged relation.
    pub const UNLOGGED: u64 = 1 << 21;
    /// Names a relation of which the catalog facts are missing.
    pub const UNKNOWN_RELATION: u64 = 1 << 22;
    /// Names a relation that an earlier statement of this transaction named while it wrote.
    pub const WRITTEN_RELATION: u64 = 1 << 23;
    /// Names a view behind which there is something that makes it no plain read.
    pub const THROUGH_VIEW: u64 = 1 << 24;
    /// A relation of a name in it is temporary in some other session.
    pub const TEMPORARY_NAME: u64 = 1 << 25;
    /// A function of a name in it is declared volatile in some schema.
    pub const VOLATILE_NAME: u64 = 1 << 26;
    /// ROLLBACK TO.
    pub const ROLLBACK_TO: u64 = 1 << 27;
    /// SET or BEGIN that makes a transaction read only, and nothing else.
    pub const SETS_READ_ONLY: u64 = 1 << 28;
    /// A relation of a name in it is a system catalog, whatever the name means here.
    pub const CATALOG_NAME: u64 = 1 << 29;
    /// How many there are.
    pub const COUNT: u32 = 30;
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
    /// Settings that the session has overridden for itself, by name.
    pub settings: &'a [(&'a str, &'a str)],
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
    /// Relations it names.
    pub relations: &'a [RelationRef],
    /// Functions it calls.
    pub functions: &'a [FunctionRef],
}

/// What plugins want to be told about statements, as documented in `wit/plugin.wit`.
pub mod needs {
    /// The SQL text.
    pub const SQL: u64 = 1 << 0;
    /// Relations.
    pub const RELATIONS: u64 = 1 << 1;
    /// Functions.
    pub const FUNCTIONS: u64 = 1 << 2;
    /// All there are.
    pub const ALL: u64 = SQL | RELATIONS | FUNCTIONS;
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
    /// All there are.
    pub const ALL: u32 = SESSION | DATABASE | RELATIONS;
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
    /// Why, as a number of the plugin's own.
    pub reason: u32,
    /// For [`Route::Balanced`].
    pub limits: Limits,
    /// The functions it calls only read, whatever the catalog says.
    pub trusts_functions: bool,
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
            reason: 0,
            limits: Limits::default(),
            trusts_functions: false,
        }
    }
}
