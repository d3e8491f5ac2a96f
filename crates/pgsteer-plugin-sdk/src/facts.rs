//! What a plugin is told. The meaning of each field is in `wit/v0.1/plugin.wit`.

use crate::{Class, Traits};

/// Position of a node in the proxy's configuration, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A client session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its number, unique in the life of the proxy; 0 while the plugin is tried out.
    pub id: u64,
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
    /// Equal for statements that differ only in literals. PREPARE, EXECUTE, DECLARE and EXPLAIN have
    /// that of the statement in them, and a class of their own.
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
    /// The text. Empty unless [`Needs::sql`](crate::Needs::sql) asked for it, and if it is too long
    /// ([`Traits::TEXT_WITHHELD`]); a rewriter always has it.
    pub sql: String,
    /// The relations it names, if [`Needs::relations`](crate::Needs::relations) asked for them.
    pub relations: Vec<Relation>,
    /// The functions it calls, if [`Needs::functions`](crate::Needs::functions) asked for them.
    pub functions: Vec<Function>,
    /// What was bound to its parameters, if [`Needs::values`](crate::Needs::values) asked for them.
    /// Not known yet at Parse ([`Traits::VALUES_UNKNOWN`]).
    pub values: Vec<Value>,
}

/// What a client bound to a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// In text format.
    Text(String),
    /// In binary format, or in text format and not valid UTF-8.
    Binary(Vec<u8>),
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
