//! Owns what is known about the nodes. One task takes observations and publishes the topology when
//! something changed; nobody else writes it.

use std::sync::Arc;
use std::time::SystemTime;

use pgsteer_core::settings::NodeSettings;
use pgsteer_core::topology::{Activity, Health, Standing};
use pgsteer_core::{Node, NodeId, Publisher, Role, Settings, Topology};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::health::{NodeHealth, ProbeOutcome, step};
use crate::probe::{Answer, Observation, Standby, role_word};

/// Everything known about the nodes.
#[derive(Debug)]
pub(crate) struct Nodes(Vec<Known>);

#[derive(Debug)]
struct Known {
    settings: NodeSettings,
    health: NodeHealth,
    answer: Option<Answer>,
    observed: bool,
    foreign: bool,
    follows: bool,
}

/// Runs until all probes are gone. `ready` becomes true when every node was asked once and the
/// result is published.
pub(crate) async fn run(
    mut nodes: Nodes,
    mut observations: mpsc::Receiver<Observation>,
    mut settings: watch::Receiver<Arc<Settings>>,
    mut follows: watch::Receiver<Vec<bool>>,
    publisher: Arc<Publisher>,
    ready: watch::Sender<bool>,
) {
    let mut details_due = Instant::now();
    loop {
        let interval = settings.borrow().probe.interval;
        tokio::select! {
            // Cancel safe: a message stays in the channel.
            observation = observations.recv() => {
                let Some(observation) = observation else { return };
                let failures_max = settings.borrow().probe.failures_max;
                nodes.observe(observation, failures_max, SystemTime::now());
            }
            // Cancel safe: a change that nobody saw is reported again.
            changed = settings.changed() => {
                if changed.is_err() {
                    return;
                }
                nodes.set_weights(&settings.borrow_and_update());
            }
            // Cancel safe: a change that nobody saw is reported again.
            changed = follows.changed() => {
                if changed.is_err() {
                    return;
                }
                nodes.set_follows(&follows.borrow_and_update(), SystemTime::now());
            }
            // Cancel safe: a timer. Brings out details that came too soon after the last ones.
            () = tokio::time::sleep(interval) => {}
        }
        let current = Arc::clone(&publisher.current().topology);
        let next = nodes.topology(current.epoch);
        let now = Instant::now();
        if differs_for_routing(&current, &next) {
            let next = Arc::new(Topology {
                epoch: current.epoch + 1,
                ..next
            });
            publisher.publish(|snapshot| snapshot.topology = next);
            details_due = now + interval;
        } else if next != *current && (now >= details_due || differs_in_probes(&current, &next)) {
            publisher.publish(|snapshot| snapshot.topology = Arc::new(next));
            details_due = now + interval;
        }
        if nodes.0.iter().all(|node| node.observed) {
            ready.send_replace(true);
        }
    }
}

fn differs_for_routing(current: &Topology, next: &Topology) -> bool {
    let key = |node: &Node| (node.role, node.health, node.follows, node.weight.to_bits());
    current.nodes.len() != next.nodes.len()
        || current.nodes.iter().map(key).ne(next.nodes.iter().map(key))
}

fn differs_in_probes(current: &Topology, next: &Topology) -> bool {
    let key = |node: &Node| node.last_probe_ok;
    current.nodes.iter().map(key).ne(next.nodes.iter().map(key))
}

impl Nodes {
    /// Nodes that were never asked.
    pub(crate) fn new(settings: &[NodeSettings], now: SystemTime) -> Self {
        let known = |settings: &NodeSettings| Known {
            settings: settings.clone(),
            health: NodeHealth::new(now),
            answer: None,
            observed: false,
            foreign: false,
            follows: true,
        };
        Self(settings.iter().map(known).collect())
    }

    /// Takes in what came of a probe.
    pub(crate) fn observe(&mut self, observation: Observation, failures_max: u32, now: SystemTime) {
        let Some(node) = self.0.get_mut(observation.node.index()) else {
            return;
        };
        node.observed = true;
        let outcome = match &observation.result {
            Ok(answer) => ProbeOutcome::Answered(answer.role),
            Err(_) => ProbeOutcome::Failed,
        };
        let after = step(&node.health, outcome, failures_max, now);
        log_change(observation.node, node, &after);
        node.health = after;
        if let Ok(answer) = observation.result {
            node.answer = Some(answer);
        }
        self.find_foreigners();
    }

    fn set_weights(&mut self, settings: &Settings) {
        for (node, settings) in self.0.iter_mut().zip(&settings.nodes) {
            node.settings.weight = settings.weight;
        }
    }

    /// Takes over which replicas follow the primary.
    fn set_follows(&mut self, follows: &[bool], now: SystemTime) {
        for (node, follows) in self.0.iter_mut().zip(follows) {
            if node.follows != *follows {
                node.follows = *follows;
                node.health.changed_at = now;
            }
        }
    }

    /// A replica with another system identifier than the primary belongs to another cluster: what
    /// it would answer is about other data.
    fn find_foreigners(&mut self) {
        let Some(identifier) = self.primary().and_then(|answer| answer.system_identifier) else {
            return;
        };
        for (index, node) in self.0.iter_mut().enumerate() {
            let own = node
                .answer
                .as_ref()
                .and_then(|answer| answer.system_identifier);
            let is_replica = node.health.role == Role::Replica;
            let foreign = is_replica && own.is_some_and(|own| own != identifier);
            if foreign && !node.foreign {
                let (host, port) = (&*node.settings.host, node.settings.port);
                let advice = "it gets no statements; name the replicas of one primary only";
                warn!(
                    node = index,
                    host, port, advice, "node belongs to another cluster"
                );
            }
            node.foreign = foreign;
        }
    }

    /// The answer of the one primary that is up.
    fn primary(&self) -> Option<&Answer> {
        let up =
            |node: &&Known| node.health.health == Health::Up && node.health.role == Role::Primary;
        let mut primaries = self.0.iter().filter(up);
        match (primaries.next(), primaries.next()) {
            (Some(node), None) => node.answer.as_ref(),
            _ => None,
        }
    }

    /// What is to be published.
    pub(crate) fn topology(&self, epoch: u64) -> Topology {
        let primary = self.primary();
        let nodes = (0..)
            .zip(&self.0)
            .map(|(index, node)| self.node(NodeId(index), node, primary));
        Topology {
            epoch,
            activity: Activity::None,
            nodes: nodes.collect(),
        }
    }

    fn node(&self, id: NodeId, known: &Known, primary: Option<&Answer>) -> Node {
        let is_live_replica =
            known.health.health == Health::Up && known.health.role == Role::Replica;
        let answer = known
            .answer
            .as_ref()
            .filter(|_| is_live_replica && !known.foreign);
        let primary_lsn = primary.and_then(|primary| primary.lsn);
        let replica_lsn = answer.and_then(|answer| answer.lsn);
        let standby = primary
            .zip(answer)
            .and_then(|(p, a)| self.standby(p, a, &known.settings));
        Node {
            id,
            host: Arc::clone(&known.settings.host),
            port: known.settings.port,
            weight: known.settings.weight,
            role: if known.foreign {
                Role::Unknown
            } else {
                known.health.role
            },
            health: known.health.health,
            last_probe_ok: known.health.last_probe_ok,
            follows: known.follows,
            standing: Standing::InService,
            severances: 0,
            timeline: None,
            lsn: known.answer.as_ref().and_then(|answer| answer.lsn),
            // Positions are of different moments: a replica asked later may be ahead.
            lag_bytes: primary_lsn
                .zip(replica_lsn)
                .map(|(p, r)| p.saturating_sub(r)),
            replication_state: standby.map(|s| s.state.clone()).unwrap_or_default(),
            replication_sync_state: standby.map(|s| s.sync_state.clone()).unwrap_or_default(),
            changed_at: known.health.changed_at,
        }
    }

    /// The row about a replica on its primary: by slot, else by name, else by address, each only if
    /// it leaves no doubt.
    fn standby<'a>(
        &self,
        primary: &'a Answer,
        replica: &Answer,
        settings: &NodeSettings,
    ) -> Option<&'a Standby> {
        let names = &replica.names;
        let only = |matches: &dyn Fn(&Standby) -> bool| {
            let mut rows = primary.standbys.iter().filter(|row| matches(row));
            rows.next().filter(|_| rows.next().is_none())
        };
        let by_slot = only(&|row| !names.slot.is_empty() && row.slot == names.slot);
        let host_and_port = format!("{}:{}", settings.host, settings.port);
        let by_name = only(&|row| {
            let name = row.application_name.as_str();
            !name.is_empty()
                && (name == host_and_port || name == &*settings.host || name == names.cluster_name)
        });
        let here = |node: &&Known| {
            node.answer
                .as_ref()
                .is_some_and(|answer| answer.names.address == names.address)
        };
        let alone = !names.address.is_empty() && self.0.iter().filter(here).count() == 1;
        let by_address = only(&|row| alone && row.address == names.address);
        by_slot.or(by_name).or(by_address)
    }
}

fn log_change(id: NodeId, node: &Known, after: &NodeHealth) {
    let before = &node.health;
    let (node, host, port) = (id.0, &*node.settings.host, node.settings.port);
    match (before.health, after.health) {
        (Health::Up, Health::Down) => {
            warn!(node, host, port, failures = after.failures, "node is down");
        }
        (Health::Down, Health::Up) => info!(node, host, port, "node is up"),
        _ => {}
    }
    if before.role != after.role && before.role != Role::Unknown {
        let (was, role) = (role_word(before.role), role_word(after.role));
        warn!(node, host, port, was, role, "node changed its role");
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
