//! What the author of a pgsteer plugin writes against.
//!
//! A plugin is a type that implements [`Router`] and one line, [`export_router!`]. Everything else
//! (the component interface, memory, the state of the instance) is made by this crate. The logic
//! can be tested natively with `cargo test`; [`testing`] builds the inputs.
//!
//! ```
//! use pgsteer_plugin_sdk::{Class, Manifest, Opening, Routed, Router, Session, Statement};
//!
//! struct Polite;
//!
//! impl Router for Polite {
//!     const MANIFEST: Manifest = pgsteer_plugin_sdk::manifest!().deterministic();
//!
//!     fn configure(_json: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn decide(&mut self, statement: &Statement) -> Routed {
//!         match statement.class {
//!             Class::Schema => Routed::reject("42501", "not during office hours"),
//!             _ => Routed::abstain(),
//!         }
//!     }
//! }
//!
//! pgsteer_plugin_sdk::export_router!(Polite);
//! # fn main() {}
//! ```

mod answer;
#[doc(hidden)]
pub mod bindings;
mod class;
mod export;
mod facts;
#[doc(hidden)]
pub mod glue;
pub mod json;
pub mod log;
mod router;
pub mod testing;
mod traits;

pub use answer::{
    Candidate, Fallback, Fresh, Limits, Marks, Opening, Rejection, Reuse, Route, Routed, Spread,
};
pub use class::Class;
pub use facts::{Function, Node, NodeId, NodeRole, Relation, Session, Statement, Topology};
pub use router::{Manifest, Needs, Router};
pub use traits::Traits;
