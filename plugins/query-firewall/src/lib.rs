//! Blocks, throttles and reroutes statements: by rules of the configuration, and by fingerprint from
//! the console, live.
//!
//! `settings` reads the configuration, `rule` is what a rule is about and what it does, `console` is
//! what operators say and `orders` keeps it, `bucket` limits how often something runs, `hits` counts.
//!
//! A statement that no rule concerns costs one look into the store, and its answer is remembered until
//! an operator says something else.

use pgsteer_plugin_sdk::{
    Candidate, Fallback, Fresh, Limits, Manifest, Needs, NodeRole, Opening, Operator, Plugin,
    Rejection, Routed, Router, Session, Spread, Statement, Topology, Traits, export, kv, log,
    manifest,
};

mod bucket;
mod console;
mod hits;
mod orders;
mod rule;
mod settings;

use bucket::Buckets;
use hits::Hits;
use rule::{Action, Target};
use settings::Settings;

/// The plugin.
pub struct QueryFirewall {
    settings: Settings,
    replicas: Vec<Candidate>,
    buckets: Buckets,
    hits: Hits,
}

impl Plugin for QueryFirewall {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            settings: Settings::from_json(json)?,
            replicas: Vec::new(),
            buckets: Buckets::default(),
            hits: Hits::default(),
        })
    }

    fn needs(&self) -> Needs {
        self.settings.needs()
    }

    fn topology_changed(&mut self, topology: &Topology) {
        let is_replica = |candidate: &Candidate| {
            let mut nodes = topology.nodes.iter();
            nodes.any(|node| node.id == candidate.node && node.role == NodeRole::Replica)
        };
        self.replicas = topology.candidates();
        self.replicas.retain(is_replica);
    }
}

impl Router for QueryFirewall {
    fn open(&mut self, session: &Session) -> Opening {
        Opening {
            class: self.settings.class(session),
            candidates: self.replicas.clone(),
        }
    }

    fn decide(&mut self, statement: &Statement) -> Routed {
        let fingerprint = statement.fingerprint;
        if let Some(order) = orders::about(fingerprint) {
            let name = orders::name(fingerprint);
            let seen = self.hits.note(&name, order.ttl_ms());
            return self.apply(&name, seen, &order.action, &order.because, statement);
        }
        let position = self.settings.matching(statement);
        let rule = position.and_then(|position| self.settings.rules.get(position));
        let (Some(position), Some(rule)) = (position, rule.cloned()) else {
            return Routed::abstain().reusable();
        };
        let name = rule::name(position);
        let seen = self.hits.note(&name, kv::FOREVER);
        self.apply(&name, seen, &rule.action, &rule.because, statement)
    }

    fn explain(&self, reason: u32) -> String {
        let words = ["", "blocked", "throttled", "rerouted", "logged only"];
        let index = usize::try_from(reason).ok();
        let word = index.and_then(|index| words.get(index));
        word.copied().unwrap_or_default().to_owned()
    }
}

impl Operator for QueryFirewall {
    fn command(&mut self, text: &str) -> Result<String, String> {
        console::run(&self.settings, text)
    }
}

impl QueryFirewall {
    /// What becomes of a statement that a rule concerns. Not remembered, so that each is counted.
    fn apply(
        &mut self,
        name: &str,
        seen: Option<u64>,
        action: &Action,
        because: &str,
        about: &Statement,
    ) -> Routed {
        if self.settings.log_only {
            if let Some(count) = seen {
                let id = about.fingerprint;
                log::info(&format!(
                    "{name}: would {action}, statement {id}, seen here {count} times"
                ));
            }
            return Routed::abstain().because(LOGGED);
        }
        match action {
            Action::Block => {
                let message = sentence("this statement is blocked", because);
                let hint = format!("It is {name} of the query firewall; ask who runs the proxy.");
                Routed::reject(Rejection::forbidden(message).hint(hint)).because(BLOCKED)
            }
            Action::Throttle(rate) => {
                if self.buckets.take(name, *rate) {
                    return Routed::abstain().because(THROTTLED);
                }
                let message = sentence(&format!("this statement is limited to {rate}"), because);
                Routed::reject(Rejection::overloaded(message).hint("Try again later."))
                    .because(THROTTLED)
            }
            Action::Reroute(target) => self.reroute(*target, about).because(REROUTED),
        }
    }

    /// What may write stays where the next plugin sends it.
    fn reroute(&self, target: Target, about: &Statement) -> Routed {
        let writes = Traits::WRITES | Traits::LOCKING;
        let reads = about.traits.contains(Traits::READS) && !about.traits.intersects(writes);
        match target {
            Target::Primary => Routed::primary(),
            Target::Node(node) if reads => Routed::node(node),
            Target::Replicas if reads && !self.replicas.is_empty() => {
                Routed::balanced(Spread::Statement).within(Limits {
                    fresh: Fresh::SESSION,
                    otherwise: Fallback::Another,
                    ..Limits::default()
                })
            }
            Target::Node(_) | Target::Replicas => Routed::abstain(),
        }
    }
}

fn sentence(what: &str, because: &str) -> String {
    match because {
        "" => what.to_owned(),
        because => format!("{what}: {because}"),
    }
}

/// Reasons of answers.
const BLOCKED: u32 = 1;
const THROTTLED: u32 = 2;
const REROUTED: u32 = 3;
const LOGGED: u32 = 4;

export!(QueryFirewall: Router, Operator);

#[cfg(test)]
mod tests;
