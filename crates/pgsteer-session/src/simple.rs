//! The simple protocol: one text, one answer up to ReadyForQuery.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::Either;
use pgsteer_core::NodeId;
use pgsteer_core::policy::traits;
use pgsteer_sql::{Analysis, Class, Effect, TEXT_LEN_MAX};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::malformed::malformed;
use pgsteer_wire::{ErrorReply, Header, Severity, SqlState, encode};

use crate::end::{End, with_severity};
use crate::events::Ended;
use crate::flow::Request;
use crate::hold::{Attempts, Denied};
use crate::leg::Leg;
use crate::lost::Sent;
use crate::need::{LegError, ends};
use crate::observe::Message;
use crate::relay::{RelayError, Stop, Until, send};
use crate::session::{Placed, Rare, Session, Soon, at_once, later, query_text};
use crate::steering::{Placement, Values};
use crate::transaction::{Loss, Open};

/// In the place of a text where there is none.
const FUNCTION_CALL: &[u8] = b"(function call)";

/// Fingerprint of a function call.
pub(crate) const FUNCTION_CALL_PRINT: u64 = 1;

/// Why a statement was sent to nobody.
enum NotRun {
    /// The client is told, and the session goes on.
    Reply(ErrorReply),
    /// The session ends.
    End(End),
    /// A server's own words, as body of an ErrorResponse.
    Refused(Vec<u8>),
}

/// Where a statement runs.
struct Found {
    node: NodeId,
    /// What is known of it.
    traits: u64,
    /// Another node may run it if this one fails.
    again: bool,
    /// How it was placed, if somebody will ask.
    placement: Option<Box<Placement>>,
}

impl From<Denied> for NotRun {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Reply(reply) => Self::Reply(reply),
            Denied::End(end) => Self::End(end),
        }
    }
}

impl Session {
    /// Runs the Query at the front of the client's input.
    pub(crate) async fn simple_query(&mut self, header: Header) -> Result<(), End> {
        self.complete(header, TEXT_LEN_MAX + 16).await?;
        let input = self.client.input.bytes();
        let whole = input.len() >= header.frame_len();
        let body = input.get(5..header.frame_len()).unwrap_or_default();
        if let Some(text) = malformed(header.tag, body).filter(|_| whole) {
            let reply = ErrorReply::error(SqlState::PROTOCOL_VIOLATION, text);
            return self.refuse_simple(header, reply).await;
        }
        let analysis = if whole {
            self.steering.worker.analyze(query_text(input))
        } else {
            // Too long to be looked at: it may be a migration.
            Rc::new(Analysis {
                changes_schema: true,
                traits: Analysis::opaque(0).traits | traits::TEXT_WITHHELD,
                ..Analysis::opaque(0)
            })
        };
        if whole {
            self.note_trace_of_query(analysis.fingerprint);
        }
        // It takes the unnamed statement's place, whoever answers.
        self.forget_prepared(b"", None);
        if whole && self.answer_locally(&analysis).await {
            self.client.input.consume(header.frame_len());
            let status = self.status();
            encode::ready(&mut self.client.output, status);
            return Ok(self.client.flush().await?);
        }
        match self.rewrite_query(header, analysis) {
            Ok((header, analysis)) => self.run_simple(header, &analysis).await,
            Err(reply) => self.refuse_simple(header, reply).await,
        }
    }

    /// Finds a node that runs it, and runs it there.
    async fn run_simple(&mut self, header: Header, analysis: &Rc<Analysis>) -> Result<(), End> {
        let mut attempts = Attempts::default();
        attempts.tied = self.unfinished.as_ref().map(|batch| batch.node);
        loop {
            let Found {
                node,
                traits,
                again,
                placement,
            } = match self.find_node(analysis, &mut attempts).await {
                Ok(found) => found,
                Err(NotRun::Reply(reply)) => return self.refuse_simple(header, reply).await,
                Err(NotRun::End(end)) => return Err(end),
                Err(NotRun::Refused(body)) => {
                    let message = with_severity(&body, Severity::Error);
                    self.client.output.extend_from_slice(&message);
                    self.refuse_transaction();
                    return self.end_simple(header).await;
                }
            };
            self.tell_savepoint(analysis, node).await;
            self.end_reads(analysis, node).await;
            let retry = again && self.may_retry(node);
            if let Some(placement) = placement.as_ref().filter(|_| self.is_observed()) {
                self.observe_query(header, placement);
            }
            let watched = self.watch(analysis, traits, node);
            let ran = self.exchange(header, analysis, node, retry).await;
            let again = retry && !self.flow.answered;
            if let Some(watched) = watched.filter(|_| ran.is_ok() || !again) {
                if ran.is_err() {
                    self.flow.tally.set_error("08006");
                }
                let tally = self.flow.tally;
                self.note_end(Ended { watched, tally });
            }
            let left = if retry {
                header.frame_len()
            } else {
                self.flow.up_left
            };
            match ran {
                Ok(stop) => {
                    self.finish_simple(node, placement.as_deref(), analysis)
                        .await;
                    self.tell_own().await?;
                    return self.after_stop(node, stop);
                }
                Err(error @ (RelayError::ServerLost(_) | RelayError::ServerLeaving(_)))
                    if again =>
                {
                    self.take_back(node, &error);
                    attempts.note_lost(node);
                }
                Err(RelayError::Refused(message)) => {
                    let message = self.refused(node, &message)?;
                    return self.end_lost(left, &message).await;
                }
                Err(error) => {
                    let reply = self.lost(node, error, Sent::of(analysis))?;
                    let mut message = BytesMut::new();
                    encode::error(&mut message, &reply);
                    return self.end_lost(left, &message).await;
                }
            }
        }
    }

    /// A node that runs it and is ready to, and whether another may if that one fails.
    fn find_node<'a>(
        &'a mut self,
        analysis: &'a Analysis,
        attempts: &'a mut Attempts,
    ) -> Soon<'a, Result<Found, NotRun>> {
        if self.ends_failed_and_goes_on(analysis) {
            return later(async move {
                self.move_failed(analysis).await?;
                let placed = self.place(analysis, None, Values::None, attempts, Duration::ZERO);
                self.find_in_time(analysis, attempts, placed).await
            });
        }
        match self.place(analysis, None, Values::None, attempts, Duration::ZERO) {
            Ok(Placed::There(placement)) if self.has_ready(placement.node, analysis) => {
                at_once(Ok(self.found(analysis, attempts, placement)))
            }
            placed => later(self.find_in_time(analysis, attempts, placed)),
        }
    }

    /// The same, from what came of the first attempt on.
    async fn find_in_time(
        &mut self,
        analysis: &Analysis,
        attempts: &mut Attempts,
        mut placed: Result<Placed, Denied>,
    ) -> Result<Found, NotRun> {
        loop {
            if matches!(placed, Ok(Placed::Later)) {
                placed = self
                    .place_later(analysis, None, Values::None, attempts)
                    .await;
            }
            if let Placed::There(placement) = placed? {
                let (node, read) = (placement.node, placement.is_proven_read());
                match self.need_for(node, analysis, false).await {
                    Ok(()) => return Ok(self.found(analysis, attempts, placement)),
                    Err(LegError::NodeFailed(reply)) => {
                        self.after_failure(attempts, node, reply, read).await?;
                    }
                    Err(LegError::Moved) => self.after_move(attempts).await?,
                    Err(LegError::Reply(reply)) => return Err(NotRun::Reply(reply)),
                    Err(LegError::Ended(end)) => return Err(NotRun::End(end)),
                    Err(LegError::Refused(body)) => return Err(NotRun::Refused(body)),
                }
            } else {
                self.hold(attempts, None).await?;
            }
            placed = self.place(analysis, None, Values::None, attempts, Duration::ZERO);
        }
    }

    /// A statement was placed, and its leg is ready.
    fn found(
        &mut self,
        analysis: &Analysis,
        attempts: &mut Attempts,
        placement: Placement,
    ) -> Found {
        attempts.note_found();
        let text = match self.may_pin(analysis, &placement) {
            true => query_text(self.client.input.bytes()).to_vec(),
            false => Vec::new(),
        };
        self.note_code(analysis, &placement, &text);
        let node = placement.node;
        Found {
            node,
            traits: placement.traits,
            again: placement.is_proven_read() && attempts.may_repeat(node),
            placement: self
                .is_looked_at_later(&placement)
                .then(|| Box::new(placement)),
        }
    }

    /// Whether it is a string that ends a transaction which has failed elsewhere than where writes go, at
    /// the proxy or on a replica, and may do something else behind that.
    fn ends_failed_and_goes_on(&self, analysis: &Analysis) -> bool {
        if analysis.statement_count < 2 {
            return false;
        }
        let open = self.transaction.open().filter(|o| o.loss == Loss::None);
        let Some(open) = open.filter(|_| analysis.effects.iter().any(ends)) else {
            return false;
        };
        let on_replica = |leg: &Leg| leg.has_failed() && self.steering.is_replica(leg.node);
        let moves = open.pinned.is_none() && !self.failed_stays(analysis);
        open.refused || (moves && self.legs.iter().any(on_replica))
    }

    /// Whether a transaction that has failed must go on where it is, if a string takes it back to a
    /// savepoint: there is its snapshot, and portals that are older than the savepoint outlive the error.
    pub(crate) fn failed_stays(&self, string: &Analysis) -> bool {
        let ends = matches!(
            string.effects.first(),
            Some(Effect::Commit { .. } | Effect::Rollback { .. } | Effect::PrepareTransaction)
        );
        // Of the first statement; what is not that is refused, and nothing has ended.
        let is_over = string.class == Class::Transaction && ends;
        let open = self.transaction.open();
        !is_over && (open.is_some_and(Open::keeps_snapshot) || self.portals.has_named())
    }

    /// Has a transaction that failed elsewhere fail where such a string is to run. If that cannot be had
    /// what failed on a replica stays there, and ends there at least.
    async fn move_failed(&mut self, string: &Analysis) -> Result<(), NotRun> {
        let moved = self.fail_on_server(string).await;
        let open = self.transaction.open();
        let is_lost = open.is_some_and(|open| open.loss != Loss::None);
        let goes_on = !self.transaction.is_refused() && self.legs.iter().any(Leg::has_failed);
        match moved {
            Ok(()) => Ok(()),
            Err(LegError::Ended(end)) => Err(NotRun::End(end)),
            Err(LegError::Reply(reply)) if is_lost => Err(NotRun::Reply(reply)),
            Err(_) if goes_on => Ok(()),
            Err(LegError::Refused(body)) => Err(NotRun::Refused(body)),
            Err(_) => Err(NotRun::Reply(self.tell_loss())),
        }
    }

    /// The server that ran it is lost: the client is told, and the session goes on. `left` are the
    /// bytes of the client that belong to it still.
    fn end_lost<'a>(&'a mut self, left: usize, message: &'a [u8]) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            self.flow.abandon();
            self.busy = false;
            self.client.output.extend_from_slice(message);
            self.skip_bytes(left).await?;
            let status = self.status();
            encode::ready(&mut self.client.output, status);
            Ok(self.client.flush().await?)
        })
    }

    /// Tells who wants to know what is about to be sent, as far as it is there.
    fn observe_query(&mut self, header: Header, placement: &Placement) {
        let text: Box<[u8]> = match header.tag {
            tag::QUERY => query_text(self.client.input.bytes()).into(),
            _ => FUNCTION_CALL.into(),
        };
        self.observe(placement.node, Message::Query, &text, Some(placement));
    }

    /// Whether a read that this node does not answer may be sent to another one: nothing of it
    /// can have happened, and the session loses nothing with this node.
    fn may_retry(&mut self, node: NodeId) -> bool {
        self.transaction.is_none()
            && self.unfinished.is_none()
            && self.held(node).is_some_and(|leg| leg.pinned.is_none())
    }

    /// What a statement about savepoints means to the other legs of the transaction.
    pub(crate) fn tell_savepoint<'a>(
        &'a mut self,
        analysis: &'a Analysis,
        node: NodeId,
    ) -> Soon<'a, ()> {
        match analysis.sole_effect() {
            Some(Effect::RollbackTo(name)) => {
                Either::Right(self.tell_others(node, name, "ROLLBACK TO"))
            }
            Some(Effect::Release(name)) => Either::Right(self.tell_others(node, name, "RELEASE")),
            _ => at_once(()),
        }
    }

    /// ROLLBACK TO and RELEASE concern every leg that knows the savepoint. One that does not has
    /// done nothing since.
    fn tell_others<'a>(
        &'a mut self,
        node: NodeId,
        savepoint: &'a str,
        verb: &'a str,
    ) -> Rare<'a, ()> {
        Box::pin(async move {
            let number = self
                .transaction
                .open()
                .and_then(|open| open.journal.savepoint(savepoint));
            let Some(number) = number else { return };
            let sql = format!("{verb} {}", crate::journal::quote_identifier(savepoint));
            let mut lost = Vec::new();
            for leg in &mut self.legs {
                // An error makes the leg a failed one, which the client sees at its next use.
                if leg.node != node
                    && leg.knows_savepoint(number)
                    && leg.connection().run(&[&sql]).await.is_err()
                {
                    lost.push(leg.node);
                }
            }
            for node in lost {
                self.suspect(node);
                self.drop_leg(node);
                self.lose_transaction(node);
            }
        })
    }

    /// COMMIT is about to go to this node: legs elsewhere only read, and end first. A replica that
    /// holds a snapshot or a lock for this transaction could keep what it wrote from being
    /// replayed, and the server that commits may wait for that (`synchronous_commit`).
    pub(crate) fn end_reads(&mut self, analysis: &Analysis, node: NodeId) -> Soon<'_, ()> {
        let commits = matches!(
            analysis.sole_effect(),
            Some(Effect::Commit { chain: false } | Effect::PrepareTransaction)
        );
        let healthy = self.status() != TransactionStatus::Failed;
        match commits && healthy {
            true => Either::Right(self.finish_others(node, "COMMIT")),
            false => at_once(()),
        }
    }

    async fn exchange(
        &mut self,
        header: Header,
        analysis: &Analysis,
        node: NodeId,
        keep_request: bool,
    ) -> Result<Stop, RelayError> {
        self.before_notify(analysis).await;
        self.flow.begin();
        self.flow.began_failed = self.status() == TransactionStatus::Failed;
        if !analysis.effects.is_empty() {
            // PREPARE may give a name that its server has still from before.
            self.put_stale(node);
        }
        self.flow.expect(Request::Query);
        self.flow.reports.begin(analysis);
        self.count(node, analysis);
        self.flow.last_word = self.last_word();
        let len = header.frame_len().min(self.client.input.len());
        let input = &mut self.client.input;
        let mut sent = Ok(());
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) {
            leg.busy = true;
            let channel = &mut leg.connection().channel;
            let bytes = input.bytes().get(..len).unwrap_or_default();
            sent = std::future::poll_fn(|cx| Poll::Ready(send(cx, channel, bytes))).await;
        }
        // Whatever became of it: what is left of it belongs to nobody else.
        self.flow.up_left = header.frame_len() - len;
        if !keep_request {
            self.client.input.consume(len);
        }
        self.busy = true;
        sent.map_err(|e| RelayError::ServerLost(e.into()))?;
        let ran = self.relay(node, Until::Ready).await;
        if let Some(leg) = self.held(node) {
            leg.busy = false;
        }
        if keep_request && ran.is_ok() {
            self.client.input.consume(len);
        }
        self.busy = ran.is_err();
        ran
    }

    async fn finish_simple(
        &mut self,
        node: NodeId,
        placement: Option<&Placement>,
        analysis: &Rc<Analysis>,
    ) {
        if self.flow.error {
            self.doubt(analysis, node);
        } else {
            if let Some(placement) = placement {
                self.apply_marks(placement);
            }
            if analysis.may_change_session() {
                let rolled_back = self.flow.command_tag() == b"ROLLBACK";
                self.apply(analysis, node, rolled_back);
            }
        }
        self.reconcile(node).await;
        if self.transaction.is_none() {
            self.portals.clear();
        }
        self.learn(node, !self.flow.error).await;
    }

    fn after_stop(&mut self, node: NodeId, stop: Stop) -> Result<(), End> {
        let gone = || self.legs.iter().position(|leg| leg.node == node);
        match (stop == Stop::ReadyAndGone).then(gone).flatten() {
            Some(index) => self.leg_is_gone(index, None),
            None => Ok(()),
        }
    }

    fn refuse_simple<'a>(
        &'a mut self,
        header: Header,
        reply: ErrorReply,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            if let Some(batch) = &mut self.unfinished {
                batch.is_refused = true;
            }
            encode::error(&mut self.client.output, &reply);
            self.refuse_transaction();
            self.end_simple(header).await
        })
    }

    /// Ends a simple query that no server saw.
    async fn end_simple(&mut self, header: Header) -> Result<(), End> {
        self.skip(header).await?;
        let status = self.status();
        encode::ready(&mut self.client.output, status);
        Ok(self.client.flush().await?)
    }

    /// FunctionCall (fast path): nobody knows what it does, so it counts as a write.
    pub(crate) fn function_call<'a>(&'a mut self, header: Header) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            let analysis = Rc::new(Analysis {
                traits: Analysis::opaque(FUNCTION_CALL_PRINT).traits | traits::TEXT_WITHHELD,
                ..Analysis::opaque(FUNCTION_CALL_PRINT)
            });
            if self.wants_rewrites()
                && let Err(reply) = self.rewrite(&analysis, b"", false)
            {
                return self.refuse_simple(header, reply).await;
            }
            self.run_simple(header, &analysis).await
        })
    }
}
