//! The contracts of pgsteer.
//!
//! The data plane moves bytes, the control plane decides what should be true. They never call each
//! other; they meet here, through an immutable [`Snapshot`] that goes down and counters that go up.
//! This crate does no I/O, names no plugin and reads no SQL.

pub mod admin;
pub mod applied;
pub mod auth;
pub mod catalog;
pub mod connections;
pub mod counters;
pub mod facts;
pub mod freshness;
pub mod histogram;
pub mod ids;
pub mod policy;
pub mod pool_counters;
pub mod probes;
pub mod quotas;
pub mod servers;
pub mod settings;
pub mod shown;
pub mod snapshot;
pub mod spans;
pub mod succession;
pub mod topology;
pub mod traffic;

pub use applied::Applied;
pub use catalog::{Catalog, Catalogs, Database};
pub use connections::Connections;
pub use facts::Facts;
pub use freshness::{Freshness, Moment};
pub use ids::{Generation, NodeId, SessionId};
pub use settings::Settings;
pub use snapshot::{Publisher, Snapshot, Subscription};
pub use succession::Succession;
pub use topology::{Node, Role, Topology};
