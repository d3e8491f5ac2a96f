//! Sends every statement to the primary: the smallest plugin there is.

use pgsteer_plugin_sdk::{Manifest, Plugin, Routed, Router, Statement, export, manifest};

/// The plugin; it keeps no state and has no configuration.
pub struct PrimaryOnly;

impl Plugin for PrimaryOnly {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        match json.trim() {
            "{}" => Ok(Self),
            other => Err(format!("takes no configuration, got {other}")),
        }
    }
}

impl Router for PrimaryOnly {
    fn decide(&mut self, _statement: &Statement) -> Routed {
        Routed::primary().reusable()
    }
}

export!(PrimaryOnly: Router);

#[cfg(test)]
mod tests;
