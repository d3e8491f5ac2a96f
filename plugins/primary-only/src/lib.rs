//! Sends every statement to the primary: the smallest plugin there is.

use pgsteer_plugin_sdk::{Manifest, Routed, Router, Statement, export_router, manifest};

/// The plugin; it keeps no state and has no configuration.
pub struct PrimaryOnly;

impl Router for PrimaryOnly {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        match json.trim() {
            "{}" => Ok(Self),
            other => Err(format!("takes no configuration, got {other}")),
        }
    }

    fn decide(&mut self, _statement: &Statement) -> Routed {
        Routed::primary().reusable()
    }
}

export_router!(PrimaryOnly);

#[cfg(test)]
mod tests;
