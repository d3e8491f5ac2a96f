//! What the author of a pgsteer plugin writes against.
//!
//! A plugin is a type that implements [`Plugin`] and the hooks it wants to be asked about, and one
//! line, [`export!`]. Everything else (the component interface, memory, the state of the instance)
//! is made by this crate. The logic can be tested natively with `cargo test`; [`testing`] builds
//! the inputs and stands in for the proxy.
//!
//! ```
//! use pgsteer_plugin_sdk::{Class, Manifest, Plugin, Rejection, Routed, Router, Statement};
//!
//! struct Polite;
//!
//! impl Plugin for Polite {
//!     const MANIFEST: Manifest = pgsteer_plugin_sdk::manifest!().deterministic();
//!
//!     fn configure(_json: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Router for Polite {
//!     fn decide(&mut self, statement: &Statement) -> Routed {
//!         match statement.class {
//!             Class::Schema => Routed::reject(Rejection::forbidden("not during office hours")),
//!             _ => Routed::abstain(),
//!         }
//!     }
//! }
//!
//! pgsteer_plugin_sdk::export!(Polite: Router);
//! # fn main() {}
//! ```
//!
//! | hook | asked | may |
//! |---|---|---|
//! | [`Gatekeeper`] | when a client has proven who it is | refuse it, give it a pool, a role, parameters |
//! | [`Rewriter`] | once for each text | refuse it, replace it |
//! | [`Router`] | before each statement | say where it runs |
//! | [`Observer`] | afterwards | count, keep, warn |
//! | [`Failover`] | when the primary fails, or a node is lost or comes back | say what is done about it |
//! | [`Operator`] | `PGSTEER PLUGIN name TELL '...'` | do what it is told |
//!
//! What a plugin may call, each with the grant of the same name: [`log`], [`kv`], [`clock`],
//! [`metrics`], [`catalog`].

mod admission;
mod answer;
#[doc(hidden)]
pub mod bindings;
pub mod catalog;
mod class;
pub mod clock;
pub mod config;
mod event;
mod export;
mod facts;
mod failover;
#[doc(hidden)]
pub mod glue;
mod hooks;
pub mod json;
pub mod kv;
pub mod log;
pub mod metrics;
mod plugin;
mod rejection;
mod rewriting;
pub mod sql;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod topology;
mod traits;

pub use admission::{Admission, Admitted};
pub use answer::{
    Candidate, Fallback, Fresh, Limits, Marks, Opening, Reuse, Route, Routed, Spread, key,
};
pub use class::Class;
pub use event::Event;
pub use facts::{Function, NodeId, Relation, Session, Statement, Value};
pub use failover::{Crisis, NodeFlag, Occasion, Past, PastEvent, Remedy, Standing, Witness};
pub use hooks::{Failover, Gatekeeper, Observer, Operator, Rewriter, Router};
pub use plugin::{Manifest, Needs, Plugin};
pub use rejection::Rejection;
pub use rewriting::{Rewriting, Rewritten};
pub use topology::{Node, NodeRole, Topology};
pub use traits::Traits;
