//! What is known of a database's catalog: relations and functions by name, as they were at one
//! moment, and the registry through which the data plane asks for it and the control plane
//! delivers.
//!
//! A [`Catalog`] is immutable. Names are resolved along a search path as PostgreSQL does it; what
//! cannot be resolved is said so and never guessed.

mod database;
mod names;

use std::collections::HashMap;
use std::sync::Arc;

pub use database::{Catalogs, Database};
pub use names::{CatalogBuilder, SearchPath};

/// How long a relation lives, and whether replicas have its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Replicas have it.
    Permanent,
    /// Its rows, or those of a partition or child of it, exist on the primary only.
    Unlogged,
    /// It belongs to one session.
    Temporary,
}

/// What a relation is, as far as reading it makes a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// Something with rows of its own: table, partitioned or foreign table, materialized view,
    /// sequence.
    Stored,
    /// A view, with its query as `pg_get_viewdef` prints it under an empty search path, so that
    /// all names in it are qualified.
    View(Arc<str>),
}

/// A relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: Arc<str>,
    /// What it is.
    pub kind: RelationKind,
    /// How long it lives.
    pub persistence: Persistence,
    /// A write into it runs code of users: triggers, rules, policies.
    pub runs_code: bool,
}

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// Depends on its arguments alone.
    Immutable,
    /// Does not change anything and gives the same answer within a statement.
    Stable,
    /// May do anything.
    Volatile,
}

/// A function, aggregate or window function; one row of `pg_proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its schema.
    pub schema: Arc<str>,
    /// Fewest arguments a call may have (defaults left out).
    pub arguments_min: u16,
    /// Most arguments a call may have; `u16::MAX` if it is variadic.
    pub arguments_max: u16,
    /// What it says it does.
    pub volatility: Volatility,
    /// By its text it may leave something in the session: a parameter, a lock, a temporary table.
    pub may_leave_something: bool,
}

/// The names of one database at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// [`Database::schema_epoch`] when loading began: the catalog tells the truth while that has
    /// not changed.
    pub(crate) epoch: u64,
    relations: HashMap<Box<str>, Vec<Relation>>,
    functions: HashMap<Box<str>, Vec<Function>>,
    search_path: Option<Box<str>>,
    role_search_paths: HashMap<Box<str>, Box<str>>,
}
