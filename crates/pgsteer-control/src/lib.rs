//! The control plane: configuration, probes, topology, plugin files, publication.
pub mod config;
