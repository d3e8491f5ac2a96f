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
mod console;
mod effects;
mod functions;
mod inner;
mod normalize;
mod references;
mod schema;
mod trace_parent;

pub use analysis::{
    Analysis, Class, Effect, FunctionRef, Isolation, OwnState, PinReason, RelationRef,
    TransactionMode, analyze, is_proven_read,
};
pub use cache::Cache;
pub use console::Console;
pub use effects::{may_leave_something, set_config_names, set_value};
pub use functions::{Volatility, is_write_in_disguise, known_volatility, leaves_rows_alone};
pub use normalize::without_literals;
pub use trace_parent::{TraceParent, trace_parent};

/// Longer texts are not parsed, in bytes: the parser takes about a millisecond per 16 KiB.
pub const TEXT_LEN_MAX: usize = 64 * 1024;
