//! What a policy is told. The meaning of each field is in `wit/v0.1/plugin.wit`.

use pgsteer_sql::{FunctionRef, RelationRef};

use crate::NodeId;

/// Bits of [`StatementFacts::traits`], as documented in `wit/v0.1/plugin.wit`.
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
    /// Asked at Parse: the values of its parameters are not known yet.
    pub const VALUES_UNKNOWN: u64 = 1 << 30;
    /// Values withheld.
    pub const VALUES_WITHHELD: u64 = 1 << 31;
    /// How many there are.
    pub const COUNT: u32 = 32;
}

/// A session, as known when it was authenticated.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// Its number; 0 while a plugin is tried out.
    pub id: u64,
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
    /// What `open` of the same hook said.
    pub session_class: u32,
    /// Node drawn for this session's balanced reads.
    pub balance_node: Option<NodeId>,
    /// Marks of this transaction.
    pub transaction_marks: u32,
    /// Marks of this session.
    pub session_marks: u32,
    /// The text, whole; empty if it is withheld.
    pub sql: &'a str,
    /// Relations it names.
    pub relations: &'a [RelationRef],
    /// Functions it calls.
    pub functions: &'a [FunctionRef],
    /// Values of its parameters, if they are known.
    pub values: &'a [Value<'a>],
}

/// A value that a client bound to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// In text format.
    Text(&'a str),
    /// In binary format, or no valid UTF-8.
    Binary(&'a [u8]),
}

/// A statement that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Number of the session.
    pub session: u64,
    /// Its user.
    pub user: &'a str,
    /// Its database.
    pub database: &'a str,
    /// See [`StatementFacts::fingerprint`].
    pub fingerprint: u64,
    /// Class code.
    pub class: u16,
    /// Bits of [`traits`].
    pub traits: u64,
    /// The node that ran it, if one did.
    pub node: Option<NodeId>,
    /// Rows, as the server counted them.
    pub rows: u64,
    /// Bytes from the server to the client.
    pub bytes: u64,
    /// Time from sending it to the end of the answer, in microseconds.
    pub microseconds: u64,
    /// SQLSTATE, if it failed.
    pub error: Option<&'a str>,
}

/// What plugins want to be told about statements, as documented in `wit/v0.1/plugin.wit`.
pub mod needs {
    /// The SQL text.
    pub const SQL: u64 = 1 << 0;
    /// Relations.
    pub const RELATIONS: u64 = 1 << 1;
    /// Functions.
    pub const FUNCTIONS: u64 = 1 << 2;
    /// Values of parameters; takes a grant.
    pub const VALUES: u64 = 1 << 3;
    /// User and database of events.
    pub const IDENTITY: u64 = 1 << 4;
    /// All there are.
    pub const ALL: u64 = SQL | RELATIONS | FUNCTIONS | VALUES | IDENTITY;
}
