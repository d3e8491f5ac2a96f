//! Reads on replicas that have replayed what was written under the same key: a user, a tenant, a
//! request.
//!
//! `settings` reads the configuration, `decide` tells reads from writes. The key itself never leaves
//! the plugin: the proxy gets a number made from it.

use pgsteer_plugin_sdk::{
    Candidate, Manifest, Needs, NodeRole, Opening, Plugin, Routed, Router, Session, Statement,
    Topology, Value, export, key, manifest, sql,
};

mod decide;
mod settings;

use settings::{Key, Settings};

/// The plugin.
pub struct CausalReads {
    settings: Settings,
    candidates: Vec<Candidate>,
}

impl Plugin for CausalReads {
    const MANIFEST: Manifest = manifest!().deterministic().may_need_values();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            settings: Settings::from_json(json)?,
            candidates: Vec::new(),
        })
    }

    fn needs(&self) -> Needs {
        match self.settings.key {
            Key::User | Key::Database | Key::ApplicationName => Needs::none(),
            Key::Comment(_) => Needs::none().sql(),
            Key::Parameter(_) => Needs::none().values(),
        }
    }

    fn topology_changed(&mut self, topology: &Topology) {
        self.candidates = topology.candidates();
        let Some(weight) = self.settings.primary_weight else {
            return;
        };
        let primaries = topology
            .nodes
            .iter()
            .filter(|n| n.role == NodeRole::Primary);
        for primary in primaries {
            for candidate in self.candidates.iter_mut().filter(|c| c.node == primary.id) {
                candidate.weight = weight;
            }
        }
    }
}

impl Router for CausalReads {
    fn open(&mut self, session: &Session) -> Opening {
        let name = match self.settings.key {
            Key::User => &session.user,
            Key::Database => &session.database,
            Key::ApplicationName => &session.application_name,
            Key::Comment(_) | Key::Parameter(_) => "",
        };
        Opening {
            class: if name.is_empty() {
                NO_KEY
            } else {
                fold(key(name))
            },
            candidates: self.candidates.clone(),
        }
    }

    fn decide(&mut self, statement: &Statement) -> Routed {
        decide::decide(&self.settings, statement, self.key(statement)).reusable()
    }

    fn explain(&self, reason: u32) -> String {
        decide::Reason::text(reason).to_owned()
    }
}

impl CausalReads {
    /// The number of a statement's key, if it has one.
    fn key(&self, statement: &Statement) -> Option<u64> {
        match &self.settings.key {
            // Sessions with the same key have the same class, also in another worker.
            Key::User | Key::Database | Key::ApplicationName => {
                let class = statement.session_class;
                (class != NO_KEY).then(|| u64::from(class))
            }
            Key::Comment(name) => sql::tag(&statement.sql, name).map(key),
            Key::Parameter(number) => match statement.values.get(number.checked_sub(1)?)? {
                Value::Text(text) => Some(key(text)),
                // What it is in text depends on its type, which is not known here.
                Value::Binary(_) | Value::Null => None,
            },
        }
    }
}

/// Class of sessions without a key.
const NO_KEY: u32 = 0;

/// Two names with the same number only wait for each other's writes.
fn fold(key: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = key.to_be_bytes();
    let (high, low) = (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    );
    (high ^ low).max(NO_KEY + 1)
}

export!(CausalReads: Router);

#[cfg(test)]
mod tests;
