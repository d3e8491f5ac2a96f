//! What becomes of a session when a server connection of it is lost, or is to be let go of.
//!
//! A session ends with its server only if the server had state that no other can take over, or if a
//! message to the client was cut off. Otherwise the client is told what happened to its statement or
//! its transaction, and goes on.

use pgsteer_core::NodeId;
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::HEADER_LEN;
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::{ErrorReply, Severity, SqlState};

use crate::end::{End, server_lost, with_severity};
use crate::leg::Leg;
use crate::relay::RelayError;
use crate::session::{Session, transaction_failed};
use crate::transaction::{Loss, Transaction};

/// What was sent to a server that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// If it was inside a transaction, nothing that ends it.
    Inside,
    /// Something that may have ended the transaction.
    MayEnd,
}

impl Sent {
    /// What a statement may have done to the transaction it was sent in.
    pub(crate) fn of(analysis: &Analysis) -> Self {
        let ends = |effect: &Effect| {
            matches!(
                effect,
                Effect::Commit { .. } | Effect::Rollback { .. } | Effect::PrepareTransaction
            )
        };
        let rolls_back = matches!(analysis.sole_effect(), Some(Effect::Rollback { .. }));
        let unknown = analysis.class == Class::Unknown;
        if unknown || (analysis.effects.iter().any(ends) && !rolls_back) {
            Self::MayEnd
        } else {
            Self::Inside
        }
    }
}

impl Session {
    /// A node does not do what it should: it is probed at once.
    pub(crate) fn suspect(&self, node: NodeId) {
        if self.steering.snapshot.settings.failover.on_backend_error {
            self.steering.worker.shared.facts.suspicions.raise(node);
        }
    }

    /// A node said that it shuts down, or starts up.
    pub(crate) fn suspect_shutdown(&self, node: NodeId) {
        if self.steering.snapshot.settings.failover.on_backend_shutdown {
            self.steering.worker.shared.facts.suspicions.raise(node);
        }
    }

    /// A node refused a connection, or there was nobody to refuse it.
    pub(crate) fn suspect_for_refusal(&self, node: NodeId, reply: &ErrorReply) {
        match reply.sqlstate.as_str() {
            "57P01" | "57P02" | "57P03" => self.suspect_shutdown(node),
            "53300" => {}
            _ => self.suspect(node),
        }
    }

    fn suspect_for(&self, node: NodeId, error: &RelayError) {
        match error {
            RelayError::ServerLost(_) => self.suspect(node),
            RelayError::ServerLeaving(_) => self.suspect_shutdown(node),
            RelayError::ClientGone | RelayError::ClientProtocol | RelayError::Refused(_) => {}
        }
    }

    /// A server refused to become what the session is, and nothing of what the client asked it for
    /// runs. Its leg is closed; gives the message for the client.
    ///
    /// # Errors
    /// The session cannot go on.
    pub(crate) fn refused(&mut self, node: NodeId, message: &[u8]) -> Result<Vec<u8>, End> {
        let body = message.get(HEADER_LEN..).unwrap_or_default();
        let pinned = self.held(node).is_some_and(|leg| leg.pinned.is_some());
        if pinned || self.flow.is_inside_frame() {
            return Err(self.end_of(RelayError::Refused(message.to_vec())));
        }
        let took_part = self
            .held(node)
            .is_some_and(|leg| leg.took_part && !leg.begins);
        self.drop_leg(node);
        self.is_refused = true;
        self.steering.writes.forget();
        self.refuse_transaction();
        if took_part {
            self.lose_transaction(node);
        }
        Ok(with_severity(body, Severity::Error))
    }

    /// A server that runs something for the client is lost. Its leg is closed; gives what the client
    /// is told.
    ///
    /// # Errors
    /// The session cannot go on.
    pub(crate) fn lost(
        &mut self,
        node: NodeId,
        error: RelayError,
        sent: Sent,
    ) -> Result<ErrorReply, End> {
        self.suspect_for(node, &error);
        let pinned = self.held(node).is_some_and(|leg| leg.pinned.is_some());
        let by_server = matches!(
            error,
            RelayError::ServerLost(_) | RelayError::ServerLeaving(_)
        );
        if pinned || !by_server || self.flow.is_inside_frame() || self.flow.fatal {
            return Err(self.end_of(error));
        }
        self.drop_leg(node);
        let reply = if self.transaction.is_none() || sent == Sent::MayEnd {
            // What was noted as written may have been.
            self.steering.writes.acknowledged(node);
            self.forget_transaction();
            server_lost()
        } else {
            self.lose_transaction(node);
            self.tell_loss()
        };
        Ok(match error {
            RelayError::ServerLeaving(message) => {
                let body = message.get(HEADER_LEN..).unwrap_or_default();
                let words = ErrorFields::new(body).message();
                reply.with_detail(format!("Node {node} said: {words}"))
            }
            _ => reply,
        })
    }

    /// A read that another node may run is taken back from a server that is lost.
    pub(crate) fn take_back(&mut self, node: NodeId, error: &RelayError) {
        self.suspect_for(node, error);
        self.drop_leg(node);
        self.flow.abandon();
        self.busy = false;
    }

    /// Nobody knows whether the transaction was committed: it is over.
    fn forget_transaction(&mut self) {
        self.transaction = Transaction::None;
        self.ended_with = None;
        self.steering.policies.clear_transaction_marks();
        self.portals.clear();
        let (over, kept) = std::mem::take(&mut self.legs)
            .into_iter()
            .partition(Leg::in_transaction);
        self.legs = kept;
        for leg in Vec::from_iter::<Vec<Leg>>(over) {
            self.cancel.slot.remove(leg.node);
        }
    }

    /// A node that took part in the transaction is lost: it was rolled back, and counts as failed
    /// until the client ends it.
    pub(crate) fn lose_transaction(&mut self, node: NodeId) {
        self.steering.writes.forget();
        if let Some(open) = self.transaction.open_mut() {
            open.refused = true;
            open.pinned = None;
            open.loss = Loss::Untold(node);
        }
    }

    /// What the client is told of a transaction that has failed, by the next statement in it.
    pub(crate) fn tell_loss(&mut self) -> ErrorReply {
        if let Some(open) = self.transaction.open_mut()
            && let Loss::Untold(node) = open.loss
        {
            open.loss = Loss::Told;
            return transaction_lost(node);
        }
        transaction_failed()
    }

    /// A leg on which nothing was going on is lost.
    pub(crate) fn leg_is_gone(
        &mut self,
        index: usize,
        last_words: Option<Vec<u8>>,
    ) -> Result<(), End> {
        let leg = self.legs.remove(index);
        self.cancel.slot.remove(leg.node);
        match &last_words {
            Some(_) => self.suspect_shutdown(leg.node),
            None => self.suspect(leg.node),
        }
        if leg.pinned.is_some() {
            let silent = || End::Fatal(crate::end::server_lost_idle());
            return Err(last_words.map_or_else(silent, End::Message));
        }
        if leg.in_transaction() {
            self.lose_transaction(leg.node);
        }
        Ok(())
    }

    fn is_free_to_leave(&self, leg: &Leg) -> bool {
        let bound = leg.busy || leg.in_transaction() || leg.pinned.is_some();
        !bound && self.is_to_leave(leg)
    }

    /// Whether a leg is on a node that is not in service, or of a server that an operator wants closed.
    fn is_to_leave(&self, leg: &Leg) -> bool {
        let worker = &self.steering.worker;
        worker.is_withdrawn(leg.node)
            || worker
                .pools
                .is_retired(leg.peek(), &self.steering.identity.database)
    }

    /// Whether the session holds a leg at rest on a node that is not in service.
    pub(crate) fn can_leave(&self) -> bool {
        self.legs.iter().any(|leg| self.is_free_to_leave(leg))
    }

    /// Lets go of legs at rest on nodes that are not in service.
    pub(crate) fn leave_nodes(&mut self) {
        for leg in std::mem::take(&mut self.legs) {
            if self.is_free_to_leave(&leg) {
                self.let_go(leg);
            } else {
                self.legs.push(leg);
            }
        }
        let stays = self.legs.iter().any(|leg| self.is_to_leave(leg));
        self.control.leave.set(stays);
    }
}

/// The transaction is gone with its node, and has done nothing.
fn transaction_lost(node: NodeId) -> ErrorReply {
    let text = format!("node {node} of this transaction was lost, the transaction was rolled back");
    ErrorReply::error(SqlState::SERIALIZATION_FAILURE, text).with_hint("Repeat the transaction.")
}

/// A transaction needs a node that takes no new work.
pub(crate) fn node_withdrawn(node: NodeId) -> ErrorReply {
    let text = format!("node {node} left service before this transaction got there");
    ErrorReply::error(SqlState::SERIALIZATION_FAILURE, text).with_hint("Repeat the transaction.")
}
