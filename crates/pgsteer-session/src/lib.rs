//! The data plane: client connections, the session state machine, the query pipeline, the relay.
//!
//! Reading order: [`listener`](DataPlane) accepts, `login` makes a session, `session` is the life
//! of one, `simple` and `extended` are the two protocols, `steering` finds the node (`names`
//! says what a statement refers to, `balance` chooses), `leg` is the hold on it, `flow` and `relay` move the bytes,
//! `console` answers questions about the proxy, `observe` tells a client where its statements go.
//! `policies` holds the plugins, `rewrite` puts another text in the place of a statement.
//!
//! Nothing on the way of a statement crosses threads, takes a lock or reads a file, but for LISTEN and
//! NOTIFY.

mod application_name;
mod auth;
mod balance;
mod batch;
mod binding;
mod cancel;
mod catch_up;
mod client_limits;
mod console;
mod effects;
mod end;
mod ending;
mod events;
mod explain;
mod extended;
mod flow;
mod handshake;
mod hold;
mod idle;
mod journal;
mod learn;
mod lease;
mod leg;
mod listen;
mod listen_hub;
mod listen_inbox;
mod listen_wishes;
mod listener;
mod local;
mod login;
mod lost;
#[doc(hidden)]
pub mod measure;
mod meter;
mod names;
mod need;
mod notifiers;
mod observe;
mod pause;
mod policies;
mod portals;
mod prefill;
mod prepared;
mod relay;
mod replication;
mod reports;
mod requests;
mod rewrite;
mod run;
mod search_path;
mod session;
mod simple;
mod sql_prepared;
mod statements;
mod steering;
mod trace;
mod transaction;
mod unix_socket;
mod whereabouts;
mod worker;
mod writes;

pub use listener::{DataPlane, Listener, bind};
pub use unix_socket::UnixSocketFile;
pub use worker::Shared;
