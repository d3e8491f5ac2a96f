//! Runs plugins: WebAssembly components behind the policy traits of `pgsteer-core`.
//!
//! A file goes through fixed stages ([`WasmLoader`]): `inspect` looks at it without running
//! anything, `compile` and `link` make code of it, a throw-away instance is then described,
//! configured, self-tested and asked a golden set of questions (`canary`). What is left is one
//! instance per worker, each in a store of its own: an error of any kind costs that store and
//! nothing else. Nothing here knows what a plugin decides.

mod bindings;
mod cache;
mod canary;
mod component;
mod convert;
mod engine;
mod error;
mod imports;
mod inspect;
mod instance;
mod limits;
mod loader;
mod router;

pub use error::HostError;
pub use loader::WasmLoader;
