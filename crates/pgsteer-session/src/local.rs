//! Statements the proxy answers itself: BEGIN, the end of a transaction that no server has seen,
//! and the SHOW commands.

use pgsteer_core::settings::PoolMode;
use pgsteer_sql::{Analysis, Class, Effect, TransactionMode};
use pgsteer_wire::backend::{TransactionStatus, tag};
use pgsteer_wire::{ErrorReply, Severity, SqlState, encode};

use crate::console::{self, Answer};
use crate::journal::quote_identifier;
use crate::leg::{Leg, PrologueError};
use crate::need::{Haste, LegError};
use crate::session::{Rare, Session, no_transactions};
use crate::transaction::{Loss, Open, Transaction};

impl Session {
    /// Whether the proxy answers this statement itself now.
    pub(crate) fn is_local(&self, analysis: &Analysis) -> bool {
        if self.transaction.is_refused() {
            return analysis.is_transaction_control() || analysis.class == Class::Empty;
        }
        let no_leg = !self.legs.iter().any(|leg| leg.in_transaction());
        if analysis.console.is_some() {
            return self.status() != TransactionStatus::Failed;
        }
        match analysis.sole_effect() {
            // Inside a transaction it is a warning; whether options still are possible only the
            // server knows.
            Some(Effect::Begin { mode, .. }) => {
                let inside = !self.transaction.is_none();
                let healthy = self.status() != TransactionStatus::Failed;
                let first = no_leg && self.unfinished.is_none();
                first || (inside && healthy && !mode.says_something())
            }
            Some(Effect::Commit { chain: false } | Effect::Rollback { chain: false }) => {
                let on_server = self.transaction.open().is_some_and(|o| o.pinned.is_some());
                no_leg && !on_server && !self.transaction.is_none()
            }
            Some(Effect::Listen(_) | Effect::Unlisten(_)) => self.hears_by_proxy(),
            // A statement prepared by the protocol may be on any node.
            Some(Effect::Deallocate(name)) => {
                let known = self.prepared.contains_key(name.as_bytes());
                known && self.status() != TransactionStatus::Failed
            }
            _ => false,
        }
    }

    /// Answers a simple query, without ReadyForQuery; `false` if a server must.
    pub(crate) async fn answer_locally(&mut self, analysis: &Analysis) -> bool {
        if !self.is_local(analysis) {
            return false;
        }
        if let Some(command) = &analysis.console {
            match self.command(command).await {
                Ok(answer) => {
                    if let Answer::Rows(_) = answer {
                        console::put_description(&mut self.client.output, command);
                    }
                    console::put_answer(&mut self.client.output, &answer);
                }
                Err(reply) => {
                    encode::error(&mut self.client.output, &reply);
                    self.refuse_transaction();
                }
            }
            return true;
        }
        if let Err(reply) = self.control_transaction(analysis).await {
            encode::error(&mut self.client.output, &reply);
        }
        true
    }

    /// The proxy refused a statement: if it was part of a transaction, that has failed, unless it had
    /// before, and its server says so.
    pub(crate) fn refuse_transaction(&mut self) {
        if self.legs.iter().any(Leg::has_failed) {
            return;
        }
        if let Some(open) = self.transaction.open_mut() {
            open.refused = true;
        }
    }

    /// Ends a transaction of which the proxy refused a statement, on all its legs, or takes it
    /// back to a savepoint.
    fn end_refused<'a>(&'a mut self, analysis: &'a Analysis) -> Rare<'a, Result<(), ErrorReply>> {
        Box::pin(async move {
            self.portals.note(analysis);
            let loss = self.transaction.open().map_or(Loss::None, |o| o.loss);
            let is_commit = matches!(analysis.sole_effect(), Some(Effect::Commit { .. }));
            let untold = matches!(loss, Loss::Untold(_));
            // To a client that takes COMMIT for done it must be an error; ROLLBACK is what it wants.
            let reply = (untold && is_commit).then(|| self.tell_loss());
            let sql = match (analysis.sole_effect(), self.transaction.open_mut()) {
                (Some(Effect::Commit { chain: false } | Effect::Rollback { chain: false }), _) => {
                    if let Transaction::Open(open) = std::mem::take(&mut self.transaction)
                        && let Some(before) = open.settings_before
                    {
                        self.settings.restore(&before);
                    }
                    self.steering.policies.clear_transaction_marks();
                    self.portals.clear();
                    "ROLLBACK".to_owned()
                }
                (Some(effect @ Effect::RollbackTo(name)), Some(open))
                    if loss == Loss::None && open.journal.savepoint(name).is_some() =>
                {
                    open.journal.note(effect);
                    open.refused = false;
                    format!("ROLLBACK TO {}", quote_identifier(name))
                }
                (
                    Some(Effect::Commit { chain: true } | Effect::Rollback { chain: true }),
                    Some(open),
                ) if loss == Loss::None => {
                    // What the failed one was has been undone with it.
                    *open = Open::new("BEGIN", TransactionMode::default());
                    self.steering.policies.clear_transaction_marks();
                    self.portals.clear();
                    "ROLLBACK".to_owned()
                }
                _ => return Err(reply.unwrap_or_else(|| self.tell_loss())),
            };
            self.roll_back(&sql).await;
            if let Some(reply) = reply {
                return Err(reply);
            }
            if self.transaction.is_refused() {
                return Err(self.tell_loss());
            }
            encode::command_complete(&mut self.client.output, "ROLLBACK");
            Ok(())
        })
    }

    /// Fails a transaction that has failed at the proxy, or on a replica, at the server that takes its
    /// writes, which then answers a string that ends it and goes on.
    pub(crate) fn fail_on_server<'a>(
        &'a mut self,
        string: &'a Analysis,
    ) -> Rare<'a, Result<(), LegError>> {
        Box::pin(async move {
            let open = self.transaction.open();
            let held = self.legs.iter().find(|leg| leg.in_transaction());
            let held = held.map(|leg| leg.node);
            let stays = held.filter(|_| self.failed_stays(string));
            let pinned = open.and_then(|open| open.pinned).or(stays);
            let primary = self.steering.primary(open, &self.legs);
            let Some(node) = pinned.or(primary).or(held) else {
                return Ok(());
            };
            let took_part = self.held(node).is_some_and(|leg| leg.in_transaction());
            self.need(node, Haste::Waits).await?;
            if let Some(leg) = self.held(node)
                && let Err(lost) = leg.connection().run(&[FAILS]).await
            {
                return self.not_brought_up(node, took_part, PrologueError::Lost(lost));
            }
            // They only read, and a failed one would be asked before any other.
            self.finish_others(node, "ROLLBACK").await;
            if let Some(open) = self.transaction.open_mut() {
                open.refused = false;
            }
            Ok(())
        })
    }

    /// Rolls all legs back, to a savepoint if the transaction goes on.
    fn roll_back<'a>(&'a mut self, sql: &'a str) -> Rare<'a, ()> {
        Box::pin(async move {
            let is_over = self.transaction.is_none();
            let mut kept = Vec::with_capacity(self.legs.len());
            for mut leg in std::mem::take(&mut self.legs) {
                let done = match (leg.in_transaction(), is_over) {
                    (false, _) => true,
                    (true, true) => leg.ends_in_time(sql).await,
                    (true, false) => leg.connection().run(&[sql]).await.is_ok(),
                };
                if !done {
                    // Closing it undoes its part as well, and what came before the savepoint.
                    self.cancel.slot.remove(leg.node);
                    self.suspect(leg.node);
                    self.lose_transaction(leg.node);
                    continue;
                }
                if !leg.in_transaction() {
                    leg.note_transaction_end();
                }
                kept.push(leg);
            }
            self.legs = kept;
        })
    }

    /// Carries out BEGIN, COMMIT or ROLLBACK in the session's books, and says so.
    pub(crate) fn control_transaction<'a>(
        &'a mut self,
        analysis: &'a Analysis,
    ) -> Rare<'a, Result<(), ErrorReply>> {
        Box::pin(async move {
            if analysis.class == Class::Empty {
                encode::frame(&mut self.client.output, tag::EMPTY_QUERY, b"");
                return Ok(());
            }
            if self.transaction.is_refused() {
                return self.end_refused(analysis).await;
            }
            if let Some(Effect::Deallocate(name)) = analysis.sole_effect() {
                self.forget_prepared(name.as_bytes(), None);
                encode::command_complete(&mut self.client.output, "DEALLOCATE");
                return Ok(());
            }
            if let Some(effect @ (Effect::Listen(_) | Effect::Unlisten(_))) = analysis.sole_effect()
            {
                return self.listen(effect).await;
            }
            let out = &mut self.client.output;
            match analysis.sole_effect() {
                Some(effect @ Effect::Begin { mode, text }) if !self.transaction.is_none() => {
                    // PostgreSQL warns, and takes the options over all the same.
                    if let Some(open) = self
                        .transaction
                        .open_mut()
                        .filter(|_| mode.says_something())
                    {
                        let (mode, text) = (*mode, text.clone());
                        open.journal.note(&Effect::SetTransaction { mode, text });
                        open.set_mode(mode);
                    }
                    let text = "there is already a transaction in progress";
                    let reply = ErrorReply::error(SqlState::ACTIVE_SQL_TRANSACTION, text);
                    encode::error(
                        out,
                        &ErrorReply {
                            severity: Severity::Warning,
                            ..reply
                        },
                    );
                    encode::command_complete(out, begin_tag(effect));
                }
                Some(Effect::Begin { .. }) if self.mode == PoolMode::Statement => {
                    return Err(no_transactions(Severity::Error));
                }
                Some(effect @ Effect::Begin { mode, text }) => {
                    encode::command_complete(out, begin_tag(effect));
                    self.transaction = Transaction::Open(Open::new(text, *mode));
                }
                Some(Effect::Commit { .. }) => {
                    encode::command_complete(out, "COMMIT");
                    if let Transaction::Open(open) = std::mem::take(&mut self.transaction) {
                        let wishes = open.journal.commit(&mut self.settings);
                        let sent = self.listening.as_ref().is_some_and(|l| l.has_notified());
                        if wishes.listens() || sent {
                            self.catch_up_with_hub().await;
                        }
                        self.hear(wishes);
                    }
                    self.steering.policies.clear_transaction_marks();
                }
                _ => {
                    encode::command_complete(out, "ROLLBACK");
                    self.transaction = Transaction::None;
                    self.steering.policies.clear_transaction_marks();
                }
            }
            Ok(())
        })
    }
}

/// What no server can do, so that its transaction fails.
const FAILS: &str = "ROLLBACK TO \"pgsteer: failed at the proxy\"";

/// The command tag of what begins a transaction.
fn begin_tag(effect: &Effect) -> &'static str {
    let starts = |text: &str| {
        let verb = text.get(..5);
        verb.is_some_and(|verb| verb.eq_ignore_ascii_case("start"))
    };
    match effect {
        Effect::Begin { text, .. } if starts(text) => "START TRANSACTION",
        _ => "BEGIN",
    }
}
