//! The data plane: client connections, the session state machine, the query pipeline, the relay.
//!
//! Reading order: [`listener`](DataPlane) accepts, `login` makes a session, `session` is the life
//! of one, `simple` and `extended` are the two protocols, `steering` finds the node, `leg` is the
//! hold on it, `flow` and `relay` move the bytes.
//!
//! Nothing on the way of a statement crosses threads, takes a lock or reads a file.

mod auth;
mod batch;
mod cancel;
mod console;
mod decision_cache;
mod effects;
mod end;
mod extended;
mod flow;
mod handshake;
mod journal;
mod leg;
mod listener;
mod local;
mod login;
mod policies;
mod prepared;
mod relay;
mod session;
mod simple;
mod steering;
mod transaction;
mod worker;

pub use listener::{DataPlane, bind};
pub use worker::Shared;
