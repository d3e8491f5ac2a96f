//! The program: command line, wiring, signals. No logic of its own: [`run`] puts the parts
//! together, in the order in which `ARCHITECTURE.md` tells them.

mod admin;
pub mod cli;
pub mod embedded;
mod explain;
mod import;
mod lab;
mod logging;
mod node;
mod open_files;
mod plugin;
mod run;
mod serve;
mod signals;
mod upgrade;

pub use run::Proxy;
