//! What a statement that ran changed about the session.

use pgsteer_core::NodeId;
use pgsteer_core::policy::traits;
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::backend::TransactionStatus;

use crate::session::Session;
use crate::steering::Placement;
use crate::transaction::{Open, Transaction};

impl Session {
    /// A statement was sent to a leg.
    pub(crate) fn count(&mut self, node: NodeId, analysis: &Analysis) {
        if let Some(counters) = self.steering.worker.counters().nodes.get(node.index()) {
            let select = matches!(analysis.class, Class::Select | Class::Empty);
            let counter = if select {
                &counters.selects
            } else {
                &counters.others
            };
            counter.add(1);
        }
        let wrote = analysis.traits & traits::WRITES != 0;
        if let Some(open) = self.transaction.open_mut().filter(|_| wrote) {
            open.wrote = true;
        }
    }

    /// A statement succeeded on a leg.
    pub(crate) fn apply(&mut self, analysis: &Analysis, node: NodeId) {
        for effect in &analysis.effects {
            self.apply_effect(effect, node);
        }
    }

    /// The marks a policy wanted set when this statement has succeeded.
    pub(crate) fn apply_marks(&mut self, placement: &Placement) {
        let in_transaction = !self.transaction.is_none();
        self.steering
            .policies
            .mark(&placement.verdict, in_transaction);
    }

    fn apply_effect(&mut self, effect: &Effect, node: NodeId) {
        match effect {
            Effect::Savepoint(_) | Effect::Release(_) | Effect::RollbackTo(_) => {
                if let Some(open) = self.transaction.open_mut() {
                    open.journal.note(effect);
                }
                self.told(node);
            }
            Effect::SetTransaction { mode, .. } => {
                if let Some(open) = self.transaction.open_mut() {
                    open.journal.note(effect);
                    open.set_mode(*mode);
                }
                self.told(node);
            }
            Effect::Set { name, local, text } => {
                match self.transaction.open_mut() {
                    Some(open) => open.journal.note(effect),
                    None if *local => {}
                    None => self.settings.set(name, text),
                }
                self.told(node);
            }
            Effect::ResetAll => {
                self.settings.reset(&[]);
                self.told(node);
                for (name, text) in &self.startup {
                    self.settings.set(name, text);
                }
            }
            Effect::DiscardAll => self.discard_all(node),
            Effect::CreateTemporary(name) => {
                self.steering.temporary.insert(name.clone());
            }
            Effect::Pin(reason) => {
                if let Some(leg) = self.held(node) {
                    leg.pinned = Some(*reason);
                }
            }
            Effect::Deallocate(name) => self.forget_prepared(name.as_bytes(), Some(node)),
            Effect::DeallocateAll => self.forget_all_prepared(node),
            Effect::Commit { chain: true } | Effect::Rollback { chain: true } => {
                let mode = self
                    .transaction
                    .open()
                    .map(|open| open.mode)
                    .unwrap_or_default();
                let begin = self
                    .transaction
                    .open()
                    .map_or("BEGIN".into(), |o| o.begin.clone());
                self.end_transaction(node);
                let mut next = Open::new(&begin, mode);
                next.pinned = Some(node);
                self.transaction = Transaction::Open(next);
                self.told(node);
            }
            Effect::Begin { .. }
            | Effect::Commit { chain: false }
            | Effect::Rollback { chain: false }
            | Effect::PrepareTransaction => {}
        }
    }

    /// The leg ran the statement that changed settings or journal.
    fn told(&mut self, node: NodeId) {
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) {
            leg.note_up_to_date(&self.settings, &self.transaction);
        }
    }

    fn discard_all(&mut self, node: NodeId) {
        self.settings.reset(&self.startup);
        self.prepared.clear();
        self.prepared_bytes = 0;
        self.portals.clear();
        self.steering.temporary.clear();
        for other in std::mem::take(&mut self.legs) {
            if other.node == node {
                self.legs.push(other);
            } else {
                self.let_go(other);
            }
        }
        if let Some(leg) = self.legs.first_mut() {
            leg.prepared.clear();
            leg.stale.clear();
            leg.pinned = None;
        }
    }

    /// Ends the transaction in the session's books, by what the server's last answer said.
    fn end_transaction(&mut self, node: NodeId) {
        let Transaction::Open(open) = std::mem::take(&mut self.transaction) else {
            return;
        };
        if self.flow.command_tag() != b"ROLLBACK" {
            open.journal.commit(&mut self.settings);
        }
        self.told(node);
        self.portals.clear();
        self.steering.policies.clear_transaction_marks();
    }

    /// Compares the session's books with what the server says after an exchange.
    pub(crate) async fn reconcile(&mut self, node: NodeId) {
        let Some(leg) = self.held(node) else { return };
        let status = leg.status();
        match (&self.transaction, status) {
            (Transaction::None, TransactionStatus::Idle) => {}
            (Transaction::None, _) => {
                self.transaction = Transaction::Open(Open::on_server(node));
                self.told(node);
            }
            (Transaction::Open(_), TransactionStatus::Idle) => {
                self.end_transaction(node);
                self.finish_others(node, "COMMIT").await;
            }
            (Transaction::Open(_), _) => {}
        }
    }

    /// Ends the transaction on all legs but this one, which only read: what becomes of it there
    /// changes nothing for anybody.
    pub(crate) async fn finish_others(&mut self, node: NodeId, sql: &str) {
        let mut kept = Vec::with_capacity(self.legs.len());
        for mut leg in std::mem::take(&mut self.legs) {
            if leg.node != node && leg.in_transaction() {
                let done = leg.connection().run(&[sql]).await;
                if done.is_err() || leg.in_transaction() {
                    self.cancel.slot.remove(leg.node);
                    continue;
                }
            }
            kept.push(leg);
        }
        self.legs = kept;
    }
}
