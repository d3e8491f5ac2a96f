//! What a statement is and does, from its text alone.
//!
//! [`analyze`] asks PostgreSQL's own grammar and its own scanner, and answers with our own small
//! types: the syntax tree does not leave this crate. [`Cache`] stands in front of it, keyed so that
//! statements that differ only in literals share an entry. The same text gives the same answer; no
//! text makes it panic; texts above [`TEXT_LEN_MAX`] are not parsed and count as writes.

#![warn(clippy::indexing_slicing)]

mod analysis;
mod cache;
mod classify;
mod effects;
mod functions;
mod normalize;
mod tokens;

pub use analysis::{
    Analysis, Class, Console, Effect, Isolation, PinReason, TransactionMode, analyze,
};
pub use cache::Cache;

/// Longer texts are not parsed, in bytes: the parser takes about a millisecond per 16 KiB.
pub const TEXT_LEN_MAX: usize = 64 * 1024;
