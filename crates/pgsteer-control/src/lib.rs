//! The control plane of pgsteer: configuration, probes, topology, freshness of replicas,
//! catalogs, plugin files, publication.
//!
//! [`config::load`] turns a file or environment variables into checked settings. [`Control::start`]
//! loads the plugins, begins to probe the nodes and publishes what it finds as snapshots, to which
//! the data plane subscribes. Nothing here touches a client connection.
//! [`import::import`] turns a configuration of Pgpool-II into one of pgsteer.

pub mod admin;
mod catalog;
mod certificates;
pub mod client;
pub mod config;
mod connection;
mod control;
mod doors;
mod export;
mod failover;
mod files;
mod freshness;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod health;
pub mod import;
mod metrics;
mod pcp;
mod plugins;
mod probe;
pub mod recording;
pub mod sockets;
#[cfg(test)]
mod testing;
mod tls;
mod topology;
mod users;

pub use control::{Control, StartError};
pub use doors::{DoorError, Doors};
pub use plugins::{Embedded, Section, read_plugin};
