//! The freshness clock at work: asks the nodes in rounds, publishes as of when each replica is fresh,
//! and tells the topology which replicas do not follow the primary.
//!
//! A round asks the primary for the end of its WAL and, as soon as that has answered, the replicas
//! how far they have replayed. One task per node asks, one task owns the state ([`clock`]); nobody
//! else writes `Facts::freshness`.

mod clock;
mod follow;
mod node;
mod question;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::topology::Health;
use pgsteer_core::{Facts, Moment, NodeId, Role, Settings, Subscription};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use clock::{Clock, PACE_CLOSE};
pub(crate) use follow::Patience;
use follow::Verdict;
use node::{Asker, Report, Timed};
use samples::Sample;

/// What the task of the clock works with.
pub(crate) struct Watch {
    /// Where it publishes.
    pub(crate) facts: Arc<Facts>,
    /// Roles of the nodes.
    pub(crate) subscription: Subscription,
    /// User and timeout of the probes.
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    /// Whether each node follows; the topology task publishes it.
    pub(crate) follows: watch::Sender<Vec<bool>>,
    /// How long signs must last.
    pub(crate) patience: Patience,
}

/// Runs until the snapshots end.
pub(crate) async fn run(watch: Watch) {
    let settings = Arc::clone(&watch.settings.borrow());
    let count = settings.nodes.len();
    // A node has one question out at a time, and one report of it.
    let (sender, mut reports) = mpsc::channel(count.max(1) * 2);
    let mut askers = JoinSet::new();
    let mut rounds = Vec::new();
    for (index, node) in (0..).zip(&settings.nodes) {
        let (round, receiver) = watch::channel(0);
        let (own, facts) = (watch.settings.clone(), Arc::clone(&watch.facts));
        let asker = Asker::new(NodeId(index), node.clone(), own, facts);
        askers.spawn(asker.run(receiver, sender.clone()));
        rounds.push(round);
    }
    let mut rounds = Rounds {
        clock: Clock::new(count, watch.patience),
        watch,
        roles: vec![Role::Unknown; count],
        primary: None,
        rounds,
        primary_asked: false,
    };
    rounds.set_roles();
    let mut last = Instant::now();
    // One write may cut the pause of a round short, not every one of a stream of them.
    let mut listens = true;
    loop {
        let (pace, latest_write) = rounds.pace();
        tokio::select! {
            // Cancel safe: a message stays in the channel.
            report = reports.recv() => {
                let Some(report) = report else { return };
                rounds.take(&report);
            }
            // Cancel safe: a timer.
            () = tokio::time::sleep_until(last + pace) => {
                last = Instant::now();
                listens = true;
                rounds.begin();
            }
            // Cancel safe: looks first. Leads to another pace.
            () = rounds.watch.facts.freshness.written_after(latest_write),
                if listens && pace > PACE_CLOSE => listens = false,
            // Cancel safe: a change that nobody saw is reported again.
            open = rounds.watch.subscription.changed() => {
                if !open {
                    return;
                }
                rounds.set_roles();
            }
        }
    }
}

struct Rounds {
    watch: Watch,
    clock: Clock,
    roles: Vec<Role>,
    primary: Option<NodeId>,
    /// By node: a change is the question.
    rounds: Vec<watch::Sender<u64>>,
    /// Whether the replicas still wait for the primary's answer.
    primary_asked: bool,
}

impl Rounds {
    fn now(&self) -> Moment {
        self.watch.facts.freshness.moment(std::time::Instant::now())
    }

    /// The pause between rounds, and the write it was chosen by.
    fn pace(&self) -> (Duration, Moment) {
        let latest_write = self.watch.facts.freshness.latest_write();
        (self.clock.pace(latest_write, self.now()), latest_write)
    }

    /// Takes over roles from the topology. Nodes that stopped being what they were are not fresh
    /// any more from here on.
    fn set_roles(&mut self) {
        let topology = Arc::clone(&self.watch.subscription.get().topology);
        let role = |node: &pgsteer_core::Node| match node.health {
            Health::Up => node.role,
            Health::Down | Health::Unknown => Role::Unknown,
        };
        let roles: Vec<Role> = topology.nodes.iter().map(role).collect();
        let primary = topology.primary().map(|node| node.id);
        if (&roles, primary) == (&self.roles, self.primary) {
            return;
        }
        (self.roles, self.primary) = (roles, primary);
        self.clock.set_roles(&self.roles, primary);
        self.publish_all();
        self.begin();
    }

    /// Begins a round. If the primary has not answered in the last one, nobody waits for it.
    fn begin(&mut self) {
        if !self.roles.contains(&Role::Replica) {
            return;
        }
        let was_asked = self.primary_asked;
        if let Some(primary) = self.primary {
            self.ask(primary);
            self.primary_asked = true;
        }
        if was_asked || self.primary.is_none() {
            self.ask_replicas();
        }
    }

    fn ask(&self, node: NodeId) {
        if let Some(round) = self.rounds.get(node.index()) {
            round.send_modify(|round| *round = round.wrapping_add(1));
        }
    }

    fn ask_replicas(&self) {
        for (index, role) in (0..).zip(&self.roles) {
            if *role == Role::Replica {
                self.ask(NodeId(index));
            }
        }
    }

    /// Takes in what came of a question.
    fn take(&mut self, report: &Report) {
        let node = report.node;
        let role = self.roles.get(node.index()).copied().unwrap_or_default();
        let is_primary = self.primary == Some(node);
        match report.answer {
            // The topology will learn of another role soon; until then the node is nothing.
            Some(timed) if timed.answer.role != role => self.clock.lost(node),
            Some(timed) if is_primary => {
                self.sampled(timed);
                return;
            }
            Some(timed) => {
                if let Some(details) = timed.answer.details {
                    self.clock.received(node, details.receiver);
                }
                let position = timed.answer.position;
                self.clock.replayed(node, timed.answered, position);
            }
            None => self.clock.lost(node),
        }
        if is_primary {
            self.primary_asked = false;
            self.ask_replicas();
        }
        self.settle(node);
        self.publish_follows();
    }

    fn sampled(&mut self, timed: Timed) {
        let sample = Sample {
            moment: timed.asked,
            position: timed.answer.position,
        };
        let timeline = timed.answer.details.and_then(|details| details.timeline);
        self.clock.sampled(sample, timeline);
        self.primary_asked = false;
        self.ask_replicas();
        for index in (0..).take(self.roles.len()) {
            self.settle(NodeId(index));
        }
        self.publish_follows();
    }

    /// Judges a node and publishes its place on the clock; whether all follow is published after.
    fn settle(&mut self, node: NodeId) {
        let now = self.now();
        if let Some(verdict) = self.clock.judge(node, now) {
            self.log(node, verdict);
        }
        self.publish(node, now);
    }

    fn publish_all(&self) {
        let now = self.now();
        for index in (0..).take(self.roles.len()) {
            self.publish(NodeId(index), now);
        }
        self.publish_follows();
    }

    fn publish_follows(&self) {
        let follows = self.clock.follows();
        self.watch.follows.send_if_modified(|published| {
            let changed = *published != follows;
            *published = follows;
            changed
        });
    }

    fn publish(&self, node: NodeId, now: Moment) {
        let reading = self.clock.reading(node, now);
        if let Some(cells) = self.watch.facts.freshness.node(node) {
            cells.set(reading.as_of, reading.lag_bytes, reading.lag);
        }
    }

    fn log(&self, id: NodeId, verdict: Verdict) {
        let settings = self.watch.settings.borrow();
        let Some(node) = settings.nodes.get(id.index()) else {
            return;
        };
        let (node, host, port) = (id.0, &*node.host, node.port);
        match verdict {
            Verdict::Astray(reason) => warn!(
                node,
                host,
                port,
                %reason,
                "replica does not follow the primary, it gets no statements"
            ),
            Verdict::Follows => info!(node, host, port, "replica follows the primary again"),
        }
    }
}

#[cfg(test)]
mod cluster_tests;
