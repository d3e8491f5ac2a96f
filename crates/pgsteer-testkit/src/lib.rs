//! Real PostgreSQL clusters for tests and for `pgsteer lab`.
//!
//! A [`Cluster`] is a primary and its streaming replicas, made with the binaries of the machine
//! (`initdb`, `pg_basebackup`, `postgres`), never with containers or mocks. It works as root (the
//! servers then run as the OS user `postgres`) and as an ordinary user, and nothing of it outlives
//! this process, however that ends. A missing PostgreSQL is an error that names what to install.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = pgsteer_testkit::Cluster::builder().fast(true).start().await?;
//! cluster.primary().sql("CREATE TABLE t (a int)").await?;
//! cluster.replicas()[0].stop(pgsteer_testkit::Mode::Kill9).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: `builder` (what can be asked for), `cluster` and `node` (what one gets), `setup`
//! (how data directories come to be), `process` (how servers live and die), `rejoin` and `commands`
//! (how a former primary becomes a replica), `fault` (how the network fails).

mod account;
mod binaries;
mod builder;
mod clients;
mod cluster;
mod commands;
mod conf;
pub mod daemon;
mod fault;
#[cfg(feature = "guest")]
pub mod guest;
mod node;
#[cfg(feature = "pgpool")]
pub mod pgpool;
pub mod ports;
mod process;
mod rejoin;
mod replication;
mod setup;
mod site;
mod wait;

pub use binaries::postgres_bin_dir;
pub use builder::{Builder, DEFAULT_PASSWORD};
pub use clients::{ClientOutput, client, conninfo, pgbench, psql};
pub use cluster::Cluster;
pub use fault::{Link, Passage};
pub use node::{Mode, Node};
pub use rejoin::Rejoined;
pub use wait::wait_until;
