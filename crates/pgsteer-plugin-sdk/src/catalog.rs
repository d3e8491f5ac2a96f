//! What the databases hold, as the proxy knows it. Takes the grant `catalog`; an answer given after
//! a look at it is not remembered.
//!
//! In a native test it holds what `testing::set_relation` put there.

/// A relation of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Its number in `pg_class`.
    pub oid: u32,
    /// What it is.
    pub kind: Kind,
    /// How long it stays.
    pub persistence: Persistence,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Table, partitioned table, materialised view or sequence.
    Table,
    /// View.
    View,
    /// Foreign table.
    ForeignTable,
    /// Index or another relation that cannot be queried, or newer than this crate.
    Other,
}

/// How long a relation stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Persistence {
    /// It is on replicas too.
    Permanent,
    /// It is empty after a crash, and on replicas.
    Unlogged,
    /// To the end of its session.
    Temporary,
    /// Newer than this crate.
    Unknown,
}

impl Facts {
    pub(crate) fn new(oid: u32, kind: u8, persistence: u8) -> Self {
        Self {
            oid,
            kind: match kind {
                1 => Kind::Table,
                2 => Kind::View,
                3 => Kind::ForeignTable,
                _ => Kind::Other,
            },
            persistence: match persistence {
                1 => Persistence::Permanent,
                2 => Persistence::Unlogged,
                3 => Persistence::Temporary,
                _ => Persistence::Unknown,
            },
        }
    }
}

/// A relation by its qualified name; `None` if it is not there, or the catalog is not loaded.
#[cfg(target_arch = "wasm32")]
#[must_use]
pub fn relation(database: &str, schema: &str, name: &str) -> Option<Facts> {
    let found = crate::bindings::host::pgsteer::plugin::catalog::relation(database, schema, name)?;
    Some(Facts::new(found.oid, found.kind, found.persistence))
}

/// A relation by its qualified name; `None` if it is not there, or the catalog is not loaded.
#[cfg(not(target_arch = "wasm32"))]
#[must_use]
pub fn relation(database: &str, schema: &str, name: &str) -> Option<Facts> {
    let (oid, kind, persistence) = crate::testing::host::relation(database, schema, name)?;
    Some(Facts::new(oid, kind, persistence))
}
