//! Tests of the whole proxy on real PostgreSQL servers.
//!
//! Most tests share one cluster and have a database of their own in it; tests that stop servers
//! have a cluster of their own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes the helpers of tests for production code"
)]

mod support;

mod access;
mod auth;
mod cancel;
mod console;
mod console_orders;
mod corners;
mod drivers;
mod failover;
mod failure;
mod fresh;
mod hooks;
mod hostile;
mod isolation;
mod languages;
mod listen;
mod load;
mod metrics;
mod pooling;
mod programs;
mod protocol;
mod quotas;
mod replication;
mod rewrite;
mod rollout;
mod routing;
mod sharing;
mod show;
mod swap;
mod through_failover;
mod tls;
mod traces;
mod unix_sockets;
mod violations;
