//! The default failover policy: what Pgpool-II does when a node fails or comes back, with the
//! replica that has the most in place of the one with the lowest number.
//!
//! `settings` reads the configuration, `promotion` is about a lost primary, `primaries` about a
//! second one, `nodes` about other nodes. The proxy checks every answer against rules of its own; a
//! rule here is about what is wanted, not about what is safe.

use pgsteer_plugin_sdk::{
    Crisis, Failover, Manifest, NodeFlag, NodeId, Occasion, Plugin, Remedy, Witness, export,
    manifest,
};

mod nodes;
mod primaries;
mod promotion;
mod settings;

use settings::Settings;

/// The plugin.
pub struct PgpoolFailover {
    settings: Settings,
    // What it advised last in this crisis, and which of its advice was refused.
    offered: Option<NodeId>,
    refused: Vec<NodeId>,
}

impl Plugin for PgpoolFailover {
    const MANIFEST: Manifest = manifest!();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            settings: Settings::from_json(json)?,
            offered: None,
            refused: Vec::new(),
        })
    }
}

impl Failover for PgpoolFailover {
    fn decide(&mut self, crisis: &Crisis) -> Remedy {
        match crisis.occasion {
            Occasion::PrimaryLost => self.primary_lost(crisis),
            Occasion::OtherPrimary => primaries::other_primary(&self.settings, crisis),
            Occasion::NodeLost => nodes::lost(crisis),
            Occasion::NodeBack => nodes::back(&self.settings, crisis),
            _ => Remedy::Abstain,
        }
    }
}

impl PgpoolFailover {
    fn primary_lost(&mut self, crisis: &Crisis) -> Remedy {
        if !crisis.refused.is_empty()
            && let Some(node) = self.offered.take()
        {
            // Whatever the reason was, it is hardly gone already.
            self.refused.push(node);
            return Remedy::Wait(AFTER_REFUSAL_MS);
        }
        let remedy = promotion::primary_lost(&self.settings, crisis, &mut self.refused);
        if let Remedy::Promote(node) | Remedy::Follow(node) = remedy {
            self.offered = Some(node);
        }
        remedy
    }
}

/// The node that is the primary whatever happens, if the operator named one.
fn always_primary(crisis: &Crisis) -> Option<&Witness> {
    let mut nodes = crisis.nodes.iter();
    nodes.find(|node| node.flag == NodeFlag::AlwaysPrimary)
}

/// Whether both hold the same data, as far as is known.
fn same_cluster(one: &Witness, other: &Witness) -> bool {
    match (one.system_identifier, other.system_identifier) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// How long nothing is advised after advice that was not followed (ours).
const AFTER_REFUSAL_MS: u32 = 500;

/// When to look again if nothing can be done now (Pgpool-II looks for a primary every second).
const AGAIN_MS: u32 = 1_000;

export!(PgpoolFailover: Failover);

#[cfg(test)]
mod tests;
