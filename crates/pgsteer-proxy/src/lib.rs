//! The program: command line, wiring, signals.

pub mod embedded;
