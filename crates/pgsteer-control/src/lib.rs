//! The control plane: configuration, probes, topology, plugin files, publication.

pub mod config;
pub mod health;
mod probe;
#[cfg(test)]
mod testing;
mod topology;
