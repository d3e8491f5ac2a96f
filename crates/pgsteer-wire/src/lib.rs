//! PostgreSQL's frontend/backend protocol as values.
//!
//! Frames for everything that is relayed, pgwire's message types for the few messages that the
//! proxy opens or writes itself, SQLSTATEs, and the password mechanisms. No sockets, no runtime, no
//! logging: the same input gives the same output, and no input makes it panic.
//!
//! Source of the protocol facts: PostgreSQL documentation, chapter "Frontend/Backend Protocol".

#![warn(clippy::indexing_slicing)]

pub mod backend;
pub mod encode;
pub mod error_response;
pub mod frame;
pub mod frontend;
pub mod malformed;
pub mod md5;
pub mod parameters;
pub mod scram;
pub mod sqlstate;
pub mod startup;

pub use error_response::{ErrorReply, Severity};
pub use frame::{FrameError, HEADER_LEN, Header};
pub use sqlstate::SqlState;
