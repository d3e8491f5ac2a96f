//! From a route to a node: the rules that no policy may break, and the draw among the nodes a policy
//! allows.

use std::time::Duration;

use pgsteer_core::policy::{Candidate, Fallback, Limits, Route, Spread, fresh, traits};
use pgsteer_core::{Moment, Node, NodeId, Role};
use pgsteer_sql::{Analysis, Class, Isolation};

use crate::leg::Leg;
use crate::names::Meaning;
use crate::policies::Verdict;
use crate::steering::{Placement, Situation, Steering};
use crate::transaction::Open;

/// Why a statement goes to the node it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// As the policies said.
    Policy,
    /// The transaction is tied to the node: a server opened it, or it failed there.
    TiedToNode,
    /// It concerns the session alone and goes to a node the session holds.
    SessionState,
    /// It is not proven to only read.
    NotARead,
    /// Only the primary knows something that the session or the transaction set.
    TiedToPrimary,
    /// The transaction reads one snapshot, which two nodes do not have in common.
    OneSnapshot,
    /// The node drawn does not keep the limits; another one does.
    Replaced(NodeId),
    /// The node drawn does not keep the limits, and no other one allowed does.
    NoneKeepsLimits(NodeId),
    /// No node that the policy allows is usable.
    NoCandidate,
}

/// A node, if there is one, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) node: Option<NodeId>,
    pub(crate) rule: Rule,
}

fn choice(node: Option<NodeId>, rule: Rule) -> Choice {
    Choice { node, rule }
}

impl Placement {
    /// Whether rows may be different after the statement, as far as is known.
    pub(crate) fn may_write(&self, analysis: &Analysis) -> bool {
        if analysis.traits & traits::READS == 0 {
            return !only_session(analysis);
        }
        let in_doubt = traits::UNKNOWN_RELATION | traits::THROUGH_VIEW;
        self.meaning.calls_writer || self.traits & in_doubt != 0
    }

    /// Whether later reads of a batch might have to see what the statement did.
    pub(crate) fn ties_reads(&self, analysis: &Analysis) -> bool {
        !self.is_proven_read() && !only_session(analysis) && analysis.class != Class::Show
    }
}

/// Whether it leaves data alone and is about the session as a whole.
fn only_session(analysis: &Analysis) -> bool {
    concerns_session(analysis) && analysis.traits & traits::WRITES == 0
}

/// Whether it is about the session as a whole and not about data.
fn concerns_session(analysis: &Analysis) -> bool {
    matches!(
        analysis.class,
        Class::Setting | Class::Transaction | Class::Deallocate
    )
}

impl Steering {
    /// From a route to a node.
    pub(crate) fn choose(
        &mut self,
        analysis: &Analysis,
        bits: u64,
        verdict: &Verdict,
        meaning: &Meaning,
        now: Situation<'_>,
    ) -> Choice {
        let Situation { legs, avoid, .. } = now;
        let open = now.transaction.open();
        let failed = legs.iter().find(|leg| leg.has_failed());
        let pinned = open.and_then(|o| o.pinned).or(failed.map(|leg| leg.node));
        if let Some(node) = pinned.or(now.tied) {
            return choice(Some(node), Rule::TiedToNode);
        }
        let primary = self.primary(open, legs);
        if concerns_session(analysis) && bits & (traits::WRITES | traits::SEVERAL) == 0 {
            return choice(
                self.any_held(open, legs, primary, avoid),
                Rule::SessionState,
            );
        }
        if !Self::replica_can(analysis, bits, verdict) {
            return choice(primary, Rule::NotARead);
        }
        // What the session set by a function is known on the primary only, and a standby refuses
        // serializable transactions.
        let serializable = open.is_some_and(|o| o.mode.isolation == Some(Isolation::Serializable));
        if self.tied_to_primary || serializable || open.is_some_and(|o| o.tied_to_primary) {
            return choice(primary, Rule::TiedToPrimary);
        }
        if let Some(open) = open.filter(|open| open.needs_one_snapshot()) {
            let held = legs
                .iter()
                .find(|leg| leg.in_transaction())
                .map(|leg| leg.node);
            if held.is_some() || !open.is_read_only() {
                return choice(held.or(primary), Rule::OneSnapshot);
            }
        }
        match verdict.route {
            Route::Everywhere => choice(
                self.any_held(open, legs, primary, avoid),
                Rule::SessionState,
            ),
            Route::Node(node) if self.is_usable(node, avoid) => choice(Some(node), Rule::Policy),
            Route::Balanced(spread) => {
                let floor = self.floor(verdict, meaning, open.is_some());
                self.balanced(spread, verdict, floor, primary, avoid)
            }
            Route::Node(_) => choice(primary, Rule::NoCandidate),
            _ => choice(primary, Rule::Policy),
        }
    }

    /// Whether a replica could run it: nothing in it writes, locks, or leaves something behind
    /// that is looked for on the primary.
    fn replica_can(analysis: &Analysis, bits: u64, verdict: &Verdict) -> bool {
        const NEVER: u64 = traits::WRITES
            | traits::LOCKING
            | traits::SEVERAL
            | traits::UNKNOWN_RELATION
            | traits::TEMPORARY;
        const UNLESS_TRUSTED: u64 =
            traits::VOLATILE_FUNCTION | traits::UNKNOWN_FUNCTION | traits::THROUGH_VIEW;
        bits & traits::READS != 0
            && bits & NEVER == 0
            && (bits & UNLESS_TRUSTED == 0 || verdict.trusts_functions)
            // set_config, advisory locks, PREPARE.
            && analysis.effects.is_empty()
    }

    /// One of the candidates that keeps the limits, else the primary.
    fn balanced(
        &mut self,
        spread: Spread,
        verdict: &Verdict,
        floor: Moment,
        primary: Option<NodeId>,
        avoid: &[NodeId],
    ) -> Choice {
        let drawn = match spread {
            Spread::Session => self.session_node(verdict.plugin, avoid),
            Spread::Statement => {
                self.balance_node = self.draw(self.policies.candidates(verdict.plugin), |c| {
                    self.is_usable(c, avoid)
                });
                self.balance_node
            }
        };
        let Some(drawn) = drawn else {
            return choice(primary, Rule::NoCandidate);
        };
        let limits = verdict.limits;
        if self.keeps(drawn, limits, floor) {
            return choice(Some(drawn), Rule::Policy);
        }
        let candidates = self.policies.candidates(verdict.plugin);
        let fits = |id: NodeId| self.is_usable(id, avoid) && self.keeps(id, limits, floor);
        let other = match limits.otherwise {
            Fallback::Primary => None,
            Fallback::Another => self.draw(candidates, fits),
            Fallback::LeastLag => {
                let replicas = candidates
                    .iter()
                    .filter(|c| c.weight > 0.0 && self.is_replica(c.node) && fits(c.node));
                let least = replicas
                    .min_by_key(|c| self.lag_bytes(c.node))
                    .map(|c| c.node);
                // As in Pgpool-II it is the session's node from now on.
                self.balance_node = least.or(self.balance_node);
                least
            }
        };
        match other {
            Some(node) => choice(Some(node), Rule::Replaced(drawn)),
            None => choice(primary, Rule::NoneKeepsLimits(drawn)),
        }
    }

    /// The moment up to which a replica must have replayed everything.
    pub(crate) fn floor(&self, verdict: &Verdict, meaning: &Meaning, is_inside: bool) -> Moment {
        let (limits, writes) = (verdict.limits, &self.writes);
        // It ended in a pipeline, and when is not known yet: later than anything is.
        if limits.fresh != 0 && writes.is_pending() && !is_inside {
            return Moment(u64::MAX);
        }
        let mut floor = Moment::NEVER;
        if limits.fresh & fresh::SESSION != 0 {
            floor = floor.max(writes.floor());
        }
        if limits.fresh & fresh::DATABASE != 0 {
            floor = floor.max(writes.database.last_write());
        }
        if limits.fresh & fresh::RELATIONS != 0 && !meaning.relations.is_empty() {
            let cells = meaning.relations.iter().map(|r| writes.cell(r.oid));
            floor = floor.max(writes.last_write(cells));
        }
        if limits.fresh & fresh::KEYS != 0
            && let Some(keys) = &verdict.keys
        {
            floor = floor.max(writes.last_write_under(keys));
        }
        floor
    }

    /// Whether a node keeps the limits; the primary always does.
    pub(crate) fn keeps(&self, node: NodeId, limits: Limits, floor: Moment) -> bool {
        if !self.is_replica(node) {
            return true;
        }
        let Some(known) = self.worker.shared.facts.freshness.node(node) else {
            return false;
        };
        let bytes = || known.lag_bytes().is_some_and(|b| b <= limits.lag_bytes);
        let time = || {
            known
                .lag()
                .is_some_and(|l| l <= Duration::from_millis(limits.lag_ms))
        };
        known.as_of() >= floor
            && (limits.lag_bytes == 0 || bytes())
            && (limits.lag_ms == 0 || time())
    }

    pub(crate) fn is_replica(&self, node: NodeId) -> bool {
        let node = self.snapshot.topology.node(node);
        node.is_some_and(|n| n.role == Role::Replica)
    }

    fn lag_bytes(&self, node: NodeId) -> u64 {
        let known = self.worker.shared.facts.freshness.node(node);
        known.and_then(|k| k.lag_bytes()).unwrap_or(u64::MAX)
    }

    /// The node that takes writes. While a transaction has a leg on one, that one: a transaction
    /// does not move.
    pub(crate) fn primary(&self, open: Option<&Open>, legs: &[Leg]) -> Option<NodeId> {
        let topology = &self.snapshot.topology;
        let is_primary = |leg: &&Leg| {
            topology
                .node(leg.node)
                .is_some_and(|n| n.role == Role::Primary)
        };
        if open.is_some()
            && let Some(leg) = legs.iter().filter(|l| l.in_transaction()).find(is_primary)
        {
            return Some(leg.node);
        }
        topology.primary().map(|node| node.id)
    }

    /// A node for a statement that concerns the session as a whole: one it holds already, the
    /// primary if possible.
    fn any_held(
        &mut self,
        open: Option<&Open>,
        legs: &[Leg],
        primary: Option<NodeId>,
        avoid: &[NodeId],
    ) -> Option<NodeId> {
        let fits = |leg: &&Leg| open.is_none() || leg.in_transaction();
        let held = || legs.iter().filter(fits);
        let on_primary = held().find(|leg| Some(leg.node) == primary);
        on_primary
            .or_else(|| held().next())
            .map(|leg| leg.node)
            .or(primary)
            .or_else(|| self.login_node(avoid))
    }

    fn is_usable(&self, node: NodeId, avoid: &[NodeId]) -> bool {
        let known = self.snapshot.topology.node(node);
        !avoid.contains(&node)
            && known.is_some_and(|n| n.is_usable())
            && !(self.leaves_replicas() && self.is_replica(node))
    }

    /// A replica has not replayed yet what the session needs to connect to it: for a second or two all
    /// of them are left alone, as long as there is a primary. `false`: they are already.
    pub(crate) fn leave_replicas(&mut self) -> bool {
        let is_new = !self.leaves_replicas();
        if is_new {
            self.replicas_from = self.worker.second() + 2;
        }
        is_new
    }

    fn leaves_replicas(&self) -> bool {
        let primary = || self.snapshot.topology.primary();
        self.worker.second() < self.replicas_from && primary().is_some_and(Node::is_usable)
    }

    /// A node was drawn for balanced reads of the session. What is drawn while replicas are left alone is
    /// not kept.
    fn keep_drawn(&mut self, drawn: Option<NodeId>) -> Option<NodeId> {
        if !self.leaves_replicas() {
            self.balance_node = drawn;
        }
        drawn
    }

    /// The node for balanced reads of the session, drawn anew if it is no candidate any more.
    fn session_node(&mut self, plugin: usize, avoid: &[NodeId]) -> Option<NodeId> {
        let candidates = self.policies.candidates(plugin);
        let still = |node: &NodeId| {
            self.is_usable(*node, avoid)
                && candidates.iter().any(|c| c.node == *node && c.weight > 0.0)
        };
        if let Some(node) = self.balance_node.filter(still) {
            return Some(node);
        }
        let drawn = self.draw(candidates, |c| self.is_usable(c, avoid));
        self.keep_drawn(drawn)
    }

    /// A node to log in at: where balanced reads would go, else any that is usable.
    pub(crate) fn login_node(&mut self, avoid: &[NodeId]) -> Option<NodeId> {
        let candidates = self.policies.first_candidates();
        let drawn = self.draw(candidates, |c| self.is_usable(c, avoid));
        let usable = || {
            self.snapshot
                .topology
                .nodes
                .iter()
                .filter(|n| self.is_usable(n.id, avoid))
        };
        let primary = usable().find(|n| n.role == Role::Primary);
        let any = primary.or_else(|| usable().next()).map(|n| n.id);
        self.keep_drawn(drawn).or(any)
    }

    /// Draws among the candidates that fit, by weight.
    fn draw(&self, candidates: &[Candidate], fits: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let fitting = || candidates.iter().filter(|c| c.weight > 0.0 && fits(c.node));
        let total: f64 = fitting().map(|c| c.weight).sum();
        let mut point = self.worker.next_point() * total;
        let mut last = None;
        for candidate in fitting() {
            last = Some(candidate.node);
            if point < candidate.weight {
                break;
            }
            point -= candidate.weight;
        }
        last
    }
}
