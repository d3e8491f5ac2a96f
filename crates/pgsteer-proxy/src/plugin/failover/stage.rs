//! A made-up cluster over time, and what the proxy would do about it: which question comes next,
//! and what becomes of an answer. Simpler than the real one, and of the same opinion.

use pgsteer_core::policy::{Crisis, Occasion, PastEvent, Receiver, Remedy, Witness};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::{Health, Standing};
use pgsteer_core::{NodeId, Role};

use super::scenario::Change;

/// The cluster at one moment.
pub(super) struct Stage {
    pub(super) now_ms: u64,
    nodes: Vec<Node>,
    // The node that counts as the primary, or did last.
    primary: Option<NodeId>,
    events: Vec<(u64, NodeId, &'static str)>,
    // Up to where a primary is known to have written.
    written: u64,
    // Questions that are not done with; the last one asked is the first.
    open: Vec<Open>,
    // Questions that were answered for as long as nothing changes.
    settled: Vec<(Occasion, NodeId)>,
}

struct Node {
    witness: Witness,
    since_ms: u64,
    silent_since_ms: Option<u64>,
}

/// A question that is not done with.
struct Open {
    what: (Occasion, NodeId),
    since_ms: u64,
    again_ms: u64,
    refused: String,
}

impl Stage {
    pub(super) fn new(nodes: &[Change]) -> Self {
        let node = |(id, change): (u16, &Change)| {
            let mut node = Node {
                witness: healthy(NodeId(id)),
                since_ms: 0,
                silent_since_ms: None,
            };
            node.apply(change);
            node
        };
        let mut stage = Self {
            now_ms: 0,
            nodes: (0..).zip(nodes).map(node).collect(),
            primary: None,
            events: Vec::new(),
            written: 0,
            open: Vec::new(),
            settled: Vec::new(),
        };
        let is_primary = |node: &&Node| node.is_primary() && node.is(Standing::InService);
        let primary = stage.nodes.iter().find(is_primary);
        stage.primary = primary.map(|node| node.witness.id);
        stage.derive();
        stage
    }

    /// Something happens.
    pub(super) fn change(&mut self, changes: &[(NodeId, Change)]) {
        let now_ms = self.now_ms;
        for (id, change) in changes {
            let Some(node) = self.nodes.get_mut(id.index()) else {
                continue;
            };
            let (was_up, role) = (node.is_up(), node.witness.role);
            node.apply(change);
            if node.is_up() != was_up || node.witness.role != role {
                node.since_ms = now_ms;
            }
            let what = match (was_up, node.is_up()) {
                (true, false) => "lost",
                (false, true) => "back",
                _ => continue,
            };
            self.events.push((now_ms, *id, what));
        }
        if !changes.is_empty() {
            self.settled.clear();
            self.open.clear();
        }
        self.derive();
    }

    /// What follows from what the nodes are.
    fn derive(&mut self) {
        let primaries = self.nodes.iter().filter(|node| node.is_primary());
        let written = primaries.filter_map(|node| node.witness.lsn).max();
        self.written = self.written.max(written.unwrap_or(0));
        let (written, now_ms, primary) = (self.written, self.now_ms, self.primary);
        let alive: Vec<bool> = self.nodes.iter().map(Node::is_up).collect();
        for node in &mut self.nodes {
            let witness = &mut node.witness;
            if witness.role != Role::Replica {
                (witness.follows, witness.received_lsn) = (None, None);
                (witness.behind_bytes, witness.receiver) = (None, Receiver::Unknown);
                node.silent_since_ms = None;
                continue;
            }
            witness.follows = witness.follows.or(primary.filter(|id| *id != witness.id));
            let has = witness.lsn.max(witness.received_lsn).unwrap_or(0);
            witness.behind_bytes = Some(written.saturating_sub(has));
            let follows = witness.follows;
            let streams = follows.is_some_and(|id| alive.get(id.index()) == Some(&true));
            witness.receiver = if streams {
                Receiver::Streaming
            } else {
                Receiver::None
            };
            node.silent_since_ms = match streams {
                true => None,
                false => node.silent_since_ms.or(Some(now_ms)),
            };
        }
    }

    /// The question that is due now, if there is one.
    pub(super) fn question(&mut self) -> Option<Crisis> {
        let all = self.all_questions();
        self.open.retain(|open| all.contains(&open.what));
        for what in all {
            let at = self.open.iter().position(|open| open.what == what);
            let open = match at {
                Some(at)
                    if self
                        .open
                        .get(at)
                        .is_some_and(|open| open.again_ms > self.now_ms) =>
                {
                    continue;
                }
                Some(at) => self.open.remove(at),
                None => Open {
                    what,
                    since_ms: self.now_ms,
                    again_ms: self.now_ms,
                    refused: String::new(),
                },
            };
            let crisis = self.crisis(&open);
            self.open.insert(0, open);
            return Some(crisis);
        }
        None
    }

    /// When there is a question next, if time alone brings one.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.open.iter().map(|open| open.again_ms).min()
    }

    /// All that could be asked, the most urgent first.
    fn all_questions(&self) -> Vec<(Occasion, NodeId)> {
        let alive = self.has_primary();
        let lost = self
            .primary
            .filter(|_| !alive)
            .map(|id| (Occasion::PrimaryLost, id));
        let others = self.nodes.iter().filter_map(|node| {
            let witness = &node.witness;
            if Some(witness.id) == self.primary {
                return None;
            }
            let follows = alive && witness.follows == self.primary;
            let occasion = match (node.is_up(), witness.role) {
                (true, Role::Primary) if alive && !node.is(Standing::Detached) => {
                    Occasion::OtherPrimary
                }
                (false, _) if node.is(Standing::InService) => Occasion::NodeLost,
                (true, Role::Replica) if follows && !node.is(Standing::InService) => {
                    Occasion::NodeBack
                }
                _ => return None,
            };
            Some((occasion, witness.id))
        });
        let all = lost.into_iter().chain(others);
        all.filter(|what| !self.settled.contains(what)).collect()
    }

    fn has_primary(&self) -> bool {
        let node = self.primary.and_then(|id| self.nodes.get(id.index()));
        node.is_some_and(|node| node.is_up() && node.is_primary())
    }

    fn crisis(&self, open: &Open) -> Crisis {
        let (occasion, subject) = open.what;
        let witness = |node: &Node| Witness {
            since_ms: self.now_ms - node.since_ms,
            silent_ms: match node.witness.role {
                Role::Replica => Some(node.silent_since_ms.map_or(0, |since| self.now_ms - since)),
                _ => None,
            },
            ..node.witness.clone()
        };
        let event = |(at, node, what): &(u64, NodeId, &'static str)| PastEvent {
            ago_ms: self.now_ms - at,
            node: *node,
            what,
        };
        Crisis {
            occasion,
            subject: Some(subject),
            primary: self.primary.filter(|_| self.has_primary()),
            for_ms: self.now_ms - open.since_ms,
            nodes: self.nodes.iter().map(witness).collect(),
            history: self.events.iter().map(event).collect(),
            refused: open.refused.clone(),
        }
    }

    /// The answer is checked and followed.
    pub(super) fn take(&mut self, remedy: &Remedy) {
        let followed = match remedy {
            Remedy::Wait(ms) => {
                self.ask_again(u64::from(*ms).max(WAIT_MS_MIN), "");
                return;
            }
            Remedy::Abstain | Remedy::GiveUp(_) => {
                self.settled.extend(self.open.first().map(|open| open.what));
                return;
            }
            Remedy::Promote(id) => self.promote(*id),
            Remedy::Follow(id) => self.follow(*id),
            Remedy::Detach(id) => self.stand(*id, Standing::Detached, "detached"),
            Remedy::Reattach(id) => self.reattach(*id),
        };
        match followed {
            Ok(()) => {
                // The one that was asked; others wait as they did.
                if !self.open.is_empty() {
                    self.open.remove(0);
                }
                self.settled.clear();
                self.derive();
            }
            Err(reason) => self.refuse(&reason),
        }
    }

    /// The answer is not followed.
    pub(super) fn refuse(&mut self, reason: &str) {
        self.ask_again(TICK_MS, reason);
    }

    /// The answer is followed, and it does not work.
    pub(super) fn fail(&mut self, remedy: &Remedy) {
        if let Remedy::Promote(id) = remedy {
            self.events.push((self.now_ms, *id, "promotion-failed"));
        }
        self.refuse("it was tried and did not work");
    }

    fn ask_again(&mut self, after_ms: u64, refused: &str) {
        if let Some(open) = self.open.first_mut() {
            open.again_ms = self.now_ms + after_ms;
            refused.clone_into(&mut open.refused);
        }
    }

    fn promote(&mut self, id: NodeId) -> Result<(), String> {
        let highest = self.nodes.iter().filter_map(|node| node.witness.timeline);
        let timeline = highest.max().unwrap_or(0) + 1;
        let is_lost = self
            .open
            .first()
            .is_some_and(|open| open.what.0 == Occasion::PrimaryLost);
        let node = self.node(id)?;
        let wrong = if !is_lost {
            "there is a primary"
        } else if !node.is_up() || node.witness.role != Role::Replica {
            "it does not answer as a replica"
        } else if node.witness.flag != NodeFlag::AllowToFailover {
            "its flag forbids it"
        } else if !node.is(Standing::InService) {
            "it is not in service"
        } else {
            node.witness.role = Role::Primary;
            node.witness.timeline = Some(timeline);
            node.witness.lsn = node.witness.lsn.max(node.witness.received_lsn);
            self.replace_primary(id, "promoted");
            self.repoint(id, timeline);
            return Ok(());
        };
        Err(format!("node {id} was not promoted: {wrong}"))
    }

    fn follow(&mut self, id: NodeId) -> Result<(), String> {
        let node = self.node(id)?;
        if !(node.is_up() && node.is_primary()) {
            return Err(format!("node {id} was not followed: it is no primary"));
        }
        node.witness.standing = Standing::InService;
        self.replace_primary(id, "followed");
        Ok(())
    }

    fn replace_primary(&mut self, id: NodeId, what: &'static str) {
        let old = self.primary.replace(id).filter(|old| *old != id);
        self.events.push((self.now_ms, id, what));
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.since_ms = self.now_ms;
        }
        if let Some(old) = old {
            // A node that was the primary and is a replica is not fenced.
            let node = self.nodes.get(old.index());
            if node.is_some_and(Node::is_primary) {
                let _there = self.stand(old, Standing::Fenced, "fenced");
            }
        }
    }

    /// The other replicas are made to follow it.
    fn repoint(&mut self, id: NodeId, timeline: u32) {
        let others = self.nodes.iter_mut().filter(|node| node.witness.id != id);
        for node in others.filter(|node| node.is_up() && node.witness.role == Role::Replica) {
            node.witness.follows = Some(id);
            node.witness.timeline = Some(timeline);
        }
    }

    fn reattach(&mut self, id: NodeId) -> Result<(), String> {
        let primary = self.primary;
        let node = self.node(id)?;
        if !node.is_up() || node.witness.role != Role::Replica || node.witness.follows != primary {
            return Err(format!(
                "node {id} was not taken back: it replays from no primary"
            ));
        }
        self.stand(id, Standing::InService, "attached")
    }

    fn stand(&mut self, id: NodeId, standing: Standing, what: &'static str) -> Result<(), String> {
        self.node(id)?.witness.standing = standing;
        self.events.push((self.now_ms, id, what));
        Ok(())
    }

    fn node(&mut self, id: NodeId) -> Result<&mut Node, String> {
        let node = self.nodes.get_mut(id.index());
        node.ok_or_else(|| format!("there is no node {id}"))
    }
}

impl Node {
    fn apply(&mut self, change: &Change) {
        let witness = &mut self.witness;
        let Change {
            role,
            up,
            flag,
            standing,
            system,
            timeline,
            replayed,
            received,
            follows,
            sync,
        } = change;
        witness.role = role.unwrap_or(witness.role);
        if let Some(up) = up {
            (witness.health, witness.failures) = match up {
                true => (Health::Up, 0),
                false => (Health::Down, FAILURES),
            };
        }
        witness.flag = flag.unwrap_or(witness.flag);
        witness.standing = standing.unwrap_or(witness.standing);
        witness.system_identifier = system.or(witness.system_identifier);
        witness.timeline = timeline.or(witness.timeline);
        // What was not received cannot have been replayed.
        let least = |lsn: u64| received.map_or(lsn, |received| lsn.min(received));
        witness.lsn = replayed.or(witness.lsn.map(least));
        witness.received_lsn = received.or(witness.received_lsn).max(witness.lsn);
        witness.follows = follows.or(witness.follows);
        if let Some(sync) = sync {
            witness.sync_state.clone_from(sync);
        }
    }

    fn is_up(&self) -> bool {
        self.witness.health == Health::Up
    }

    fn is_primary(&self) -> bool {
        self.witness.role == Role::Primary
    }

    fn is(&self, standing: Standing) -> bool {
        self.witness.standing == standing
    }
}

fn healthy(id: NodeId) -> Witness {
    Witness {
        id,
        host: format!("node{id}").into(),
        port: 5432,
        flag: NodeFlag::AllowToFailover,
        role: Role::Unknown,
        health: Health::Up,
        failures: 0,
        standing: Standing::InService,
        since_ms: 0,
        system_identifier: Some(1),
        timeline: Some(1),
        lsn: Some(POSITION),
        received_lsn: Some(POSITION),
        receiver: Receiver::Unknown,
        silent_ms: None,
        follows: None,
        behind_bytes: None,
        sync_state: String::new(),
    }
}

/// Where everybody is if nothing is said.
const POSITION: u64 = 0x0300_0000;

/// Failed probes after which a node is down, as is usual.
const FAILURES: u32 = 3;

/// Between two probes, as is usual: after that a question that was not done with comes again.
const TICK_MS: u64 = 1_000;

/// A shorter wait is taken for this one.
const WAIT_MS_MIN: u64 = 10;
