//! Owns what is known about the nodes. One task takes observations and publishes the topology when
//! something changed; nobody else writes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::settings::{NodeFlag, NodeSettings};
use pgsteer_core::topology::{Activity, Health, Standing};
use pgsteer_core::{Facts, Generation, Node, NodeId, Publisher, Role, Settings, Topology};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::failover::{Conductor, Sight};
use crate::health::{NodeHealth, ProbeOutcome, step};
use crate::probe::{Answer, Fault, Observation, Standby, Upstream, role_word};

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
    // The last probe was refused by a server that lives.
    refuses: bool,
}

/// What the failover machine says about the nodes.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The node that counts as the primary.
    primary: Option<NodeId>,
    activity: Activity,
    /// Of each node, and how often its connections were to be closed.
    standings: Vec<(Standing, u64)>,
    /// The primary is new, and must not get writes yet.
    withheld: bool,
}

/// A new primary gets no write before every worker has closed its connections to the old one.
#[derive(Debug, Default)]
struct Handover {
    primary: Option<NodeId>,
    /// What the workers must have taken over, and how long they get for it.
    waits: Option<(Generation, Instant)>,
}

impl Handover {
    /// Whether the primary is to be withheld from the workers now.
    fn withholds(&mut self, primary: Option<NodeId>, facts: &Facts) -> bool {
        let is_new = self.primary.is_some() && primary.is_some() && self.primary != primary;
        self.primary = primary.or(self.primary);
        if is_new {
            // The next publication is the one to wait for.
            self.waits = Some((Generation(u64::MAX), Instant::now() + HANDOVER_MAX));
            return true;
        }
        let is_over = |(generation, until): &(Generation, Instant)| {
            facts.applied.by_all(*generation) || Instant::now() >= *until
        };
        self.waits = self.waits.filter(|waits| !is_over(waits));
        self.waits.is_some()
    }

    /// This was published with the primary withheld.
    fn published(&mut self, generation: Generation) {
        if let Some((awaited, _)) = &mut self.waits
            && *awaited == Generation(u64::MAX)
        {
            *awaited = generation;
        }
    }
}

impl View {
    fn of(conductor: &Conductor, nodes: usize) -> Self {
        let ids = (0u16..).take(nodes).map(NodeId);
        Self {
            primary: conductor.primary(),
            activity: conductor.activity(),
            standings: ids.map(|id| conductor.standing(id)).collect(),
            withheld: false,
        }
    }

    fn standing(&self, id: NodeId) -> (Standing, u64) {
        self.standings.get(id.index()).copied().unwrap_or_default()
    }
}

/// What the task that owns the topology listens to, and whom it tells.
pub(crate) struct Ends {
    pub(crate) observations: mpsc::Receiver<Observation>,
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    pub(crate) follows: watch::Receiver<Vec<bool>>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) facts: Arc<Facts>,
    /// Becomes true when every node was asked once and the result is published.
    pub(crate) ready: watch::Sender<bool>,
}

/// Runs until all probes are gone.
pub(crate) async fn run(mut nodes: Nodes, mut conductor: Conductor, mut ends: Ends) {
    let mut details_due = Instant::now();
    let mut handover = Handover::default();
    loop {
        let interval = ends.settings.borrow().probe.interval;
        let patience = match handover.waits {
            Some(_) => HANDOVER_LOOK,
            None => conductor.patience(),
        };
        let pause = interval.min(patience);
        let mut happened = None;
        tokio::select! {
            // Cancel safe: a message stays in the channel.
            observation = ends.observations.recv() => {
                let Some(observation) = observation else { return };
                nodes.observe(observation, SystemTime::now());
            }
            // Cancel safe, as it says.
            something = conductor.happened() => happened = Some(something),
            // Cancel safe: a change that nobody saw is reported again.
            changed = ends.settings.changed() => {
                if changed.is_err() {
                    return;
                }
                let settings = Arc::clone(&ends.settings.borrow_and_update());
                nodes.configure(&settings);
                conductor.configure(settings);
            }
            // Cancel safe: a change that nobody saw is reported again.
            changed = ends.follows.changed() => {
                if changed.is_err() {
                    return;
                }
                nodes.set_follows(&ends.follows.borrow_and_update(), SystemTime::now());
            }
            // Cancel safe: a timer. Brings out details that came too soon after the last ones.
            () = tokio::time::sleep(pause) => {}
        }
        let sights = nodes.sights(conductor.reigning(), &ends.facts, SystemTime::now());
        match happened {
            Some(happened) => conductor.take(happened, &sights),
            None => conductor.look(&sights),
        }
        let mut view = View::of(&conductor, nodes.0.len());
        view.withheld = handover.withholds(view.primary, &ends.facts);
        nodes.find_foreigners(&view);
        publish(&nodes, &view, &ends.publisher, &mut details_due, interval);
        handover.published(ends.publisher.current().generation);
        if nodes.0.iter().all(|node| node.observed) {
            ends.ready.send_replace(true);
        }
    }
}

/// Publishes what has changed: at once what routing could notice, details at most once an interval.
fn publish(
    nodes: &Nodes,
    view: &View,
    publisher: &Publisher,
    details_due: &mut Instant,
    interval: Duration,
) {
    let current = Arc::clone(&publisher.current().topology);
    let next = nodes.topology(current.epoch, view);
    let now = Instant::now();
    if differs_for_routing(&current, &next) {
        let next = Arc::new(Topology {
            epoch: current.epoch + 1,
            ..next
        });
        publisher.publish(|snapshot| snapshot.topology = next);
        *details_due = now + interval;
    } else if next != *current && (now >= *details_due || differs_in_probes(&current, &next)) {
        publisher.publish(|snapshot| snapshot.topology = Arc::new(next));
        *details_due = now + interval;
    }
}

fn differs_for_routing(current: &Topology, next: &Topology) -> bool {
    let key = |node: &Node| {
        let state = (node.role, node.health, node.follows, node.standing);
        (state, node.weight.to_bits(), node.severances)
    };
    current.nodes.len() != next.nodes.len()
        || current.nodes.iter().map(key).ne(next.nodes.iter().map(key))
}

fn differs_in_probes(current: &Topology, next: &Topology) -> bool {
    let key = |node: &Node| node.last_probe_ok;
    current.activity != next.activity
        || current.nodes.iter().map(key).ne(next.nodes.iter().map(key))
}

/// How long the workers may take to close their connections to a former primary, and how often it is
/// looked whether they have (ours).
const HANDOVER_MAX: Duration = Duration::from_secs(1);
const HANDOVER_LOOK: Duration = Duration::from_millis(1);

/// The timeline of a replica is that of its WAL receiver; without one it says that of its last
/// restart point, which may be minutes old.
fn keep_timeline(before: &Answer, now: &mut Answer) {
    let same = before.system_identifier == now.system_identifier
        && before.role == Role::Replica
        && now.role == Role::Replica
        && now.lsn >= before.lsn;
    if same {
        now.timeline = now.timeline.max(before.timeline);
    }
}

/// Ways to write the address of this very machine.
fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
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
            refuses: false,
            follows: true,
        };
        Self(settings.iter().map(known).collect())
    }

    /// Takes in what came of a probe.
    pub(crate) fn observe(&mut self, mut observation: Observation, now: SystemTime) {
        let fixed = |node: &Known| node.settings.flag == NodeFlag::AlwaysPrimary;
        let is_fixed = self.0.iter().any(fixed);
        let Some(node) = self.0.get_mut(observation.node.index()) else {
            return;
        };
        node.observed = true;
        if let Ok(answer) = &mut observation.result
            && is_fixed
        {
            answer.role = if fixed(node) {
                Role::Primary
            } else {
                Role::Replica
            };
        }
        let failures_max = node.settings.probe.failures_max;
        let outcome = match &observation.result {
            Ok(answer) => ProbeOutcome::Answered(answer.role),
            Err(_) => ProbeOutcome::Failed,
        };
        let after = step(&node.health, outcome, failures_max, now);
        let refusal = observation.result.as_ref().err();
        node.refuses = refusal.is_some_and(Fault::is_sign_of_life);
        log_change(observation.node, node, &after);
        node.health = after;
        if let Ok(mut answer) = observation.result {
            if let Some(before) = &node.answer {
                keep_timeline(before, &mut answer);
            }
            node.answer = Some(answer);
        }
    }

    fn configure(&mut self, settings: &Settings) {
        for (node, settings) in self.0.iter_mut().zip(&settings.nodes) {
            node.settings.clone_from(settings);
        }
    }

    /// What the failover machine sees.
    fn sights(&self, reign: Option<NodeId>, facts: &Facts, now: SystemTime) -> Vec<Sight> {
        // Its last word counts, whether it is still there or not.
        let primary = reign.and_then(|id| self.0.get(id.index())?.answer.as_ref());
        let ids = (0u16..).map(NodeId);
        let sight = |(id, known): (NodeId, &Known)| {
            let mut sight = self.sight(id, known, now);
            let standby = primary.zip(known.answer.as_ref());
            let standby = standby.and_then(|(p, a)| self.standby(p, a, &known.settings));
            if let Some(standby) = standby.filter(|_| reign != Some(id)) {
                sight.sync_state.clone_from(&standby.sync_state);
                // It may reach the primary under a name that is not the configured one.
                sight.follows = sight.follows.or(reign);
            }
            sight.connections = facts.connections.get(id);
            sight
        };
        ids.zip(&self.0).map(sight).collect()
    }

    fn sight(&self, id: NodeId, known: &Known, now: SystemTime) -> Sight {
        let health = &known.health;
        let answer = known.answer.as_ref();
        let upstream = answer.map(|answer| &answer.upstream);
        Sight {
            id,
            host: Arc::clone(&known.settings.host),
            port: known.settings.port,
            flag: known.settings.flag,
            observed: known.observed,
            up: health.health == Health::Up,
            down: health.health == Health::Down,
            failures: health.failures,
            refuses: known.refuses,
            role: health.role,
            age: now.duration_since(health.changed_at).unwrap_or_default(),
            system_identifier: answer.and_then(|answer| answer.system_identifier),
            timeline: answer.and_then(|answer| answer.timeline),
            lsn: answer.and_then(|answer| answer.lsn),
            received: answer.and_then(|answer| answer.received),
            receiver: upstream
                .map(|upstream| upstream.receiver)
                .unwrap_or_default(),
            silent: upstream.and_then(|upstream| upstream.silent),
            receiver_timeout: upstream.and_then(|upstream| upstream.timeout),
            follows: upstream.and_then(|upstream| self.followed(upstream)),
            sync_state: String::new(),
            connections: 0,
        }
    }

    /// The node a replica is connected to, if it is one of ours without doubt.
    fn followed(&self, upstream: &Upstream) -> Option<NodeId> {
        let is_it = |known: &Known| {
            let (host, own) = (upstream.host.as_str(), &*known.settings.host);
            let address = known
                .answer
                .as_ref()
                .map(|answer| answer.names.address.as_str());
            let same = host == own || Some(host) == address || (is_local(host) && is_local(own));
            same && !host.is_empty() && Some(known.settings.port) == upstream.port
        };
        let mut found = (0u16..).zip(&self.0).filter(|(_, known)| is_it(known));
        let (first, _) = found.next()?;
        found.next().is_none().then_some(NodeId(first))
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
    fn find_foreigners(&mut self, view: &View) {
        let Some(identifier) = self
            .primary(view)
            .and_then(|answer| answer.system_identifier)
        else {
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

    /// The answer of the node that counts as the primary, if it is up and one.
    fn primary(&self, view: &View) -> Option<&Answer> {
        let Some(id) = view.primary else {
            return self.only_primary();
        };
        let node = self.0.get(id.index())?;
        let is_up = node.health.health == Health::Up && node.health.role == Role::Primary;
        node.answer.as_ref().filter(|_| is_up)
    }

    /// The answer of the one primary that is up.
    fn only_primary(&self) -> Option<&Answer> {
        let up =
            |node: &&Known| node.health.health == Health::Up && node.health.role == Role::Primary;
        let mut primaries = self.0.iter().filter(up);
        match (primaries.next(), primaries.next()) {
            (Some(node), None) => node.answer.as_ref(),
            _ => None,
        }
    }

    /// What is to be published.
    pub(crate) fn topology(&self, epoch: u64, view: &View) -> Topology {
        let primary = self.primary(view);
        let nodes = (0..)
            .zip(&self.0)
            .map(|(index, node)| self.node(NodeId(index), node, primary, view));
        Topology {
            epoch,
            activity: view.activity,
            nodes: nodes.collect(),
        }
    }

    fn node(&self, id: NodeId, known: &Known, primary: Option<&Answer>, view: &View) -> Node {
        let (standing, severances) = view.standing(id);
        let no_writes = view.primary != Some(id) || view.withheld;
        // Until it is known whether it is to be followed it gets no writes.
        let is_new = no_writes && standing == Standing::InService;
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
            role: match known.health.role {
                _ if known.foreign => Role::Unknown,
                Role::Primary if is_new => Role::Replica,
                role => role,
            },
            health: known.health.health,
            last_probe_ok: known.health.last_probe_ok,
            follows: known.follows,
            standing,
            severances,
            timeline: known.answer.as_ref().and_then(|answer| answer.timeline),
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
