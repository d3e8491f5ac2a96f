//! The replica that has the most becomes the primary; some nodes never do.

use pgsteer_plugin_sdk::{Crisis, Failover, Manifest, NodeRole, Occasion, Plugin, Remedy};
use pgsteer_plugin_sdk::{Standing, config, export, json, manifest};

struct Policy(Vec<String>);

impl Plugin for Policy {
    const MANIFEST: Manifest = manifest!();

    fn configure(json: &str) -> Result<Self, String> {
        let mut never = Vec::new();
        for (key, value) in json::object(json)? {
            match &*key {
                "never" => never = config::texts(&key, &value)?,
                _ => return Err(config::unknown(&key, &value, &["never"])),
            }
        }
        Ok(Self(never))
    }
}

impl Failover for Policy {
    fn decide(&mut self, crisis: &Crisis) -> Remedy {
        if crisis.occasion != Occasion::PrimaryLost || crisis.subject.is_none() {
            return Remedy::Abstain; // The built-in policy is asked.
        }
        let fit = crisis.nodes.iter().filter(|n| n.up && n.role == NodeRole::Replica);
        let fit = fit.filter(|n| n.standing == Standing::InService && !self.0.contains(&n.host));
        let best = fit.max_by_key(|node| node.position());
        best.map_or(Remedy::Wait(1_000), |node| Remedy::Promote(node.id))
    }
}

export!(Policy: Failover);
#[cfg(test)]
mod tests;
