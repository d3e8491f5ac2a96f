//! Where a statement goes: asks the policies, and holds their answers to the rules that no policy
//! may break.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use pgsteer_core::policy::{Candidate, Route, SessionFacts, Spread, StatementFacts, traits};
use pgsteer_core::{NodeId, Role, Snapshot};
use pgsteer_sql::{Analysis, Class, Isolation};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::{ErrorReply, SqlState};

use crate::leg::Leg;
use crate::policies::{SessionPolicies, Verdict};
use crate::transaction::{Open, Transaction};
use crate::worker::Worker;

/// Who the client is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) user: Rc<str>,
    pub(crate) database: Rc<str>,
    pub(crate) application_name: String,
    pub(crate) client_address: String,
}

/// A node for a statement, and what the policies said.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) node: NodeId,
    pub(crate) verdict: Verdict,
}

/// No node for a statement.
#[derive(Debug)]
pub(crate) enum Unplaced {
    /// A policy refused it.
    Refused(ErrorReply),
    /// No node fits now; one may later.
    NoNode,
}

/// The part of a session that knows where things go.
pub(crate) struct Steering {
    pub(crate) worker: Rc<Worker>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) identity: Identity,
    pub(crate) policies: SessionPolicies,
    /// The node drawn for balanced reads of the session.
    pub(crate) balance_node: Option<NodeId>,
    /// Temporary relations the session created.
    pub(crate) temporary: HashSet<Box<str>>,
    /// The session called `set_config`: only the primary knows what it set.
    pub(crate) tied_to_primary: bool,
}

/// Longer texts are not shown to plugins, in bytes.
const PLUGIN_TEXT_LEN_MAX: usize = 64 * 1024;

impl Steering {
    /// Takes over the latest snapshot, unless a transaction is under way, which is to see one
    /// state from beginning to end.
    pub(crate) fn refresh(&mut self, transaction: &Transaction) {
        if transaction.is_none() && self.worker.has_newer(&self.snapshot) {
            self.snapshot = self.worker.snapshot();
        }
        // Plugins are the worker's: all its sessions ask the latest ones.
        let mut policies = self.worker.policies.borrow_mut();
        policies.refresh(self.worker.subscription.borrow_mut().get());
        let identity = &self.identity;
        let facts = SessionFacts {
            user: &identity.user,
            database: &identity.database,
            application_name: &identity.application_name,
            client_address: &identity.client_address,
        };
        policies.open(&mut self.policies, &facts);
    }

    /// Where a statement goes. `avoid` are nodes that have just failed.
    pub(crate) fn place(
        &mut self,
        statement: &Statement<'_>,
        transaction: &Transaction,
        legs: &[Leg],
        avoid: &[NodeId],
    ) -> Result<Placement, Unplaced> {
        self.refresh(transaction);
        let open = transaction.open();
        let failed = legs
            .iter()
            .find(|leg| leg.status() == TransactionStatus::Failed);
        let tied = open.and_then(|o| o.pinned).or(failed.map(|leg| leg.node));
        let facts = self.facts(statement, open);
        let verdict = self
            .worker
            .policies
            .borrow_mut()
            .decide(&self.policies, &facts);
        if let Route::Reject(rejection) = &verdict.route {
            let sqlstate = SqlState::from_text(&rejection.sqlstate);
            let sqlstate = sqlstate.unwrap_or(SqlState::INSUFFICIENT_PRIVILEGE);
            let mut reply = ErrorReply::error(sqlstate, rejection.message.clone());
            reply.hint.clone_from(&rejection.hint);
            return Err(Unplaced::Refused(reply));
        }
        if let Some(node) = tied {
            return Ok(Placement { node, verdict });
        }
        let node = self.resolve(statement.analysis, &verdict, open, legs, avoid);
        node.map(|node| Placement { node, verdict })
            .ok_or(Unplaced::NoNode)
    }

    fn facts<'a>(&self, statement: &Statement<'a>, open: Option<&Open>) -> StatementFacts<'a> {
        let analysis = statement.analysis;
        let mut bits = analysis.traits;
        if statement.extended {
            bits |= traits::EXTENDED;
        }
        if self.is_temporary(analysis) {
            bits |= traits::TEMPORARY;
        }
        if let Some(open) = open {
            bits |= traits::IN_TRANSACTION;
            bits |= if open.is_read_only() {
                traits::TRANSACTION_READ_ONLY
            } else {
                0
            };
            bits |= if open.wrote {
                traits::TRANSACTION_WROTE
            } else {
                0
            };
            bits |= if open.pinned.is_some() {
                traits::PINNED
            } else {
                0
            };
            bits |= match open.mode.isolation {
                Some(Isolation::Serializable) => traits::SERIALIZABLE,
                Some(Isolation::RepeatableRead) => traits::REPEATABLE_READ,
                _ => 0,
            };
        }
        let sql = if statement.text.len() <= PLUGIN_TEXT_LEN_MAX {
            statement.text
        } else {
            b""
        };
        if sql.len() != statement.text.len() {
            bits |= traits::TEXT_WITHHELD;
        }
        StatementFacts {
            fingerprint: analysis.fingerprint,
            class: analysis.class as u16,
            traits: bits,
            session_class: 0,
            balance_node: self.balance_node,
            transaction_marks: 0,
            session_marks: 0,
            parameter_count: analysis.parameter_count,
            sql: std::str::from_utf8(sql).unwrap_or_default(),
        }
    }

    fn is_temporary(&self, analysis: &Analysis) -> bool {
        !self.temporary.is_empty() && analysis.names.iter().any(|n| self.temporary.contains(n))
    }

    /// From a route to a node.
    fn resolve(
        &mut self,
        analysis: &Analysis,
        verdict: &Verdict,
        open: Option<&Open>,
        legs: &[Leg],
        avoid: &[NodeId],
    ) -> Option<NodeId> {
        let primary = self.primary(open, legs);
        let concerns_session = matches!(
            analysis.class,
            Class::Setting | Class::Transaction | Class::Deallocate
        );
        let writes = analysis.traits & (traits::WRITES | traits::SEVERAL) != 0;
        if concerns_session && !writes {
            return self.any_held(open, legs, primary, avoid);
        }
        // What PREPARE leaves behind is looked for on the primary, where EXECUTE goes.
        let replica_can = analysis.is_proven_read()
            && analysis.class != Class::Prepare
            && !self.is_temporary(analysis);
        // What the session set by a function is known on the primary only, and a standby refuses
        // serializable transactions.
        let serializable = open.is_some_and(|o| o.mode.isolation == Some(Isolation::Serializable));
        let tied = self.tied_to_primary || serializable || open.is_some_and(|o| o.tied_to_primary);
        if !replica_can || tied {
            return primary;
        }
        if let Some(open) = open.filter(|open| open.needs_one_snapshot()) {
            let held = legs
                .iter()
                .find(|leg| leg.in_transaction())
                .map(|leg| leg.node);
            if held.is_some() || !open.is_read_only() {
                return held.or(primary);
            }
        }
        match verdict.route {
            Route::Everywhere => self.any_held(open, legs, primary, avoid),
            Route::Node(node) if self.is_usable(node, avoid) => Some(node),
            Route::Balanced(Spread::Session) => {
                self.session_node(verdict.plugin, avoid).or(primary)
            }
            Route::Balanced(Spread::Statement) => {
                self.balance_node = self.draw(self.policies.candidates(verdict.plugin), avoid);
                self.balance_node.or(primary)
            }
            _ => primary,
        }
    }

    /// The node that takes writes. While a transaction has a leg on one, that one: a transaction
    /// does not move.
    fn primary(&self, open: Option<&Open>, legs: &[Leg]) -> Option<NodeId> {
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
        !avoid.contains(&node)
            && self
                .snapshot
                .topology
                .node(node)
                .is_some_and(|n| n.is_usable())
    }

    /// The node for balanced reads of the session, drawn anew if it is no candidate any more.
    fn session_node(&mut self, plugin: usize, avoid: &[NodeId]) -> Option<NodeId> {
        let candidates = self.policies.candidates(plugin);
        let still = |node: &NodeId| {
            self.is_usable(*node, avoid)
                && candidates.iter().any(|c| c.node == *node && c.weight > 0.0)
        };
        if !self.balance_node.as_ref().is_some_and(still) {
            self.balance_node = self.draw(candidates, avoid);
        }
        self.balance_node
    }

    /// A node to log in at: where balanced reads would go, else any that is usable.
    pub(crate) fn login_node(&mut self, avoid: &[NodeId]) -> Option<NodeId> {
        self.balance_node = self.draw(self.policies.first_candidates(), avoid);
        let usable = || {
            self.snapshot
                .topology
                .nodes
                .iter()
                .filter(|n| self.is_usable(n.id, avoid))
        };
        let primary = usable().find(|n| n.role == Role::Primary);
        self.balance_node
            .or(primary.or_else(|| usable().next()).map(|n| n.id))
    }

    /// Draws among usable candidates by weight.
    fn draw(&self, candidates: &[Candidate], avoid: &[NodeId]) -> Option<NodeId> {
        let usable = || candidates.iter().filter(|c| self.is_usable(c.node, avoid));
        let total: f64 = usable().map(|c| c.weight).sum();
        let mut point = self.worker.next_point() * total;
        let mut last = None;
        for candidate in usable().filter(|c| c.weight > 0.0) {
            last = Some(candidate.node);
            if point < candidate.weight {
                break;
            }
            point -= candidate.weight;
        }
        last
    }
}

/// A statement that is to be placed.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) analysis: &'a Analysis,
    pub(crate) text: &'a [u8],
    pub(crate) extended: bool,
}
