//! The same statements through pgsteer and through the real Pgpool-II, in front of the same two
//! nodes: where does each of them run?
//!
//! The node is read from the servers' logs, so neither proxy is believed. What may differ is in one
//! table, `differences`; anything else is a failure, and so is an entry that nothing needs.

#![expect(
    clippy::panic,
    reason = "clippy takes the helpers of tests for production code"
)]

mod balancing;
mod compare;
mod differences;
mod generated;
mod lab;
mod log;
mod program;
mod settings;

mod extended;
mod functions;
mod matrix;
mod modes;
mod objects;
mod redirects;
mod sessions;
