//! Statements that name some tables stay on the primary; others are left to the next plugin.

use pgsteer_plugin_sdk::{Manifest, Needs, Plugin, Relation, Routed, Router, Statement};
use pgsteer_plugin_sdk::{config, export, json, manifest};

struct Policy(Vec<String>);

impl Plugin for Policy {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        let mut tables = vec!["accounts".to_owned()];
        for (key, value) in json::object(json)? {
            match &*key {
                "tables" => tables = config::texts(&key, &value)?,
                _ => return Err(config::unknown(&key, &value, &["tables"])),
            }
        }
        Ok(Self(tables))
    }

    fn needs(&self) -> Needs {
        Needs::none().relations()
    }
}

impl Router for Policy {
    fn decide(&mut self, statement: &Statement) -> Routed {
        let is_ours = |relation: &Relation| self.0.contains(&relation.name);
        match statement.relations.iter().any(is_ours) {
            true => Routed::primary().reusable(),
            false => Routed::abstain().reusable(),
        }
    }
}

export!(Policy: Router);
#[cfg(test)]
mod tests;
