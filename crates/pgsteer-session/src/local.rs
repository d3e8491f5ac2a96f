//! Statements the proxy answers itself: BEGIN, the end of a transaction that no server has seen,
//! and the SHOW commands.

use pgsteer_sql::{Analysis, Effect};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::{ErrorReply, Severity, SqlState, encode};

use crate::console;
use crate::session::Session;
use crate::transaction::{Open, Transaction};

impl Session {
    /// Whether the proxy answers this statement itself now.
    pub(crate) fn is_local(&self, analysis: &Analysis) -> bool {
        let no_leg = !self.legs.iter().any(|leg| leg.in_transaction());
        if analysis.console.is_some() {
            return self.status() != TransactionStatus::Failed;
        }
        match analysis.sole_effect() {
            Some(Effect::Begin { .. }) => no_leg,
            Some(Effect::Commit { chain: false } | Effect::Rollback { chain: false }) => {
                no_leg && !self.transaction.is_none()
            }
            _ => false,
        }
    }

    /// Answers a simple query, without ReadyForQuery; `false` if a server must.
    pub(crate) fn answer_locally(&mut self, analysis: &Analysis) -> bool {
        if !self.is_local(analysis) {
            return false;
        }
        if let Some(command) = analysis.console {
            let table = console::table(command, &self.steering);
            console::put_description(&mut self.client.output, &table);
            console::put_rows(&mut self.client.output, &table);
            return true;
        }
        self.control_transaction(analysis);
        true
    }

    /// Carries out BEGIN, COMMIT or ROLLBACK in the session's books, and says so.
    pub(crate) fn control_transaction(&mut self, analysis: &Analysis) {
        let out = &mut self.client.output;
        match analysis.sole_effect() {
            Some(Effect::Begin { .. }) if !self.transaction.is_none() => {
                let text = "there is already a transaction in progress";
                let reply = ErrorReply::error(SqlState::ACTIVE_SQL_TRANSACTION, text);
                encode::error(
                    out,
                    &ErrorReply {
                        severity: Severity::Warning,
                        ..reply
                    },
                );
                encode::command_complete(out, "BEGIN");
            }
            Some(Effect::Begin { mode, text }) => {
                encode::command_complete(out, "BEGIN");
                self.transaction = Transaction::Open(Open::new(text, *mode));
            }
            Some(Effect::Commit { .. }) => {
                encode::command_complete(out, "COMMIT");
                if let Transaction::Open(open) = std::mem::take(&mut self.transaction) {
                    open.journal.commit(&mut self.settings);
                }
                self.steering.policies.clear_transaction_marks();
            }
            _ => {
                encode::command_complete(out, "ROLLBACK");
                self.transaction = Transaction::None;
                self.steering.policies.clear_transaction_marks();
            }
        }
    }
}
