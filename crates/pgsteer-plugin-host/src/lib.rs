//! Runs plugins: WebAssembly components behind the policy traits of `pgsteer-core`.
//!
//! A file goes through fixed stages ([`WasmLoader`]): `inspect` looks at it without running
//! anything, `compile` and `link` make code of it, a throw-away instance is then described,
//! configured, self-tested and asked a fixed set of questions (`canary`), and questions of the
//! recent past (`golden`). What is left is one instance per worker, each in a store of its own: an
//! error of any kind costs that store and nothing else. Nothing here knows what a plugin decides.

mod aot;
mod cache;
mod canary;
mod component;
mod crises;
mod engine;
mod error;
mod expand;
mod golden;
mod inspect;
mod instance;
mod kv;
mod limits;
mod loader;
mod log;
mod options;
mod patience;
mod plugin;
mod pulse;
mod state;
mod stubs;
pub mod tool;
mod v0_1;
#[cfg(test)]
mod version_tests;

pub use error::HostError;
pub use loader::WasmLoader;
pub use options::Options;
