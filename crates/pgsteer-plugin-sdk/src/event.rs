//! What an observer is told.

use crate::{Class, NodeId, Traits};

/// A statement that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// [`Session::id`](crate::Session::id) of its session.
    pub session: u64,
    /// Empty unless [`Needs::identity`](crate::Needs::identity) asked for it.
    pub user: String,
    /// The same.
    pub database: String,
    /// See [`Statement::fingerprint`](crate::Statement::fingerprint).
    pub fingerprint: u64,
    /// What kind of statement it was.
    pub class: Class,
    /// What the host found out about it.
    pub traits: Traits,
    /// Where it ran; `None`: no server saw it.
    pub node: Option<NodeId>,
    /// Rows, as the server counted them.
    pub rows: u64,
    /// Bytes from the server to the client.
    pub bytes: u64,
    /// From the moment it was sent to a server until its answer was complete.
    pub microseconds: u64,
    /// SQLSTATE, if it failed.
    pub error: Option<String>,
}
