//! The program: command line, wiring, signals. No logic of its own: [`run`] puts the parts
//! together, in the order in which `ARCHITECTURE.md` tells them.

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
mod signals;

pub use run::{Proxy, run};
