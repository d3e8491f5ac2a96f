//! The messages between two Syncs: which nodes they went to, and how they end.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::Either;
use pgsteer_core::NodeId;
use pgsteer_pool::ServerLost;
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::{ErrorReply, Header, Severity, encode};
use smallvec::SmallVec;

use crate::effects::sets_by_function;
use crate::end::{End, with_severity};
use crate::flow::Request;
use crate::hold::{Attempts, Denied};
use crate::journal::Settings;
use crate::listen_wishes::Wishes;
use crate::need::LegError;
use crate::portals::Portal;
use crate::relay::{RelayError, Stop, Until};
use crate::session::{Placed, Prepared, Rare, Session, Soon, at_once, later};
use crate::steering::{Placement, Values};

/// What has happened since the last Sync.
#[derive(Default)]
pub(crate) struct Batch {
    /// The node that answers now; none: the proxy itself, or nobody yet.
    pub(crate) active: Option<NodeId>,
    /// Nodes that were sent something and not Sync.
    touched: SmallVec<[NodeId; 4]>,
    /// Something failed: everything up to Sync is thrown away.
    pub(crate) failed: bool,
    /// The proxy failed it: its servers must be made to undo what they did.
    abort: bool,
    /// Where the statement that was parsed or bound last in this batch went.
    pub(crate) parsed: Option<(u64, NodeId)>,
    /// Where the statement went that was placed last, and what was known of it then.
    last: Option<(NodeId, u64)>,
    /// Those with marks to set if all goes well; all if somebody wants to see them.
    placements: Vec<Placement>,
    /// Where a statement of this batch went that wrote, or could have: the others go there as well.
    written: Option<NodeId>,
    /// Parameters as they were before the batch changed them outside a transaction.
    settings_before: Option<Settings>,
    /// Where it did so last.
    set_on: Option<NodeId>,
    /// What the client wants to hear if the batch succeeds.
    pub(crate) wishes: Wishes,
}

impl Batch {
    /// Whether nothing of it was sent anywhere, or has failed.
    pub(crate) fn is_new(&self) -> bool {
        self.active.is_none() && self.touched.is_empty() && !self.failed
    }

    /// Whether nothing of it is due from another node than the one where this statement was parsed.
    pub(crate) fn is_at(&self, prepared: u64) -> bool {
        let parsed = self.parsed.is_some_and(|(id, _)| id == prepared);
        self.is_new() || (parsed && self.touched.len() == 1)
    }

    /// How the statement was placed that was placed last, if it was on this node.
    pub(crate) fn last_placement(&self, node: NodeId) -> Option<&Placement> {
        self.placements.last().filter(|p| p.node == node)
    }

    /// What was known of it then.
    pub(crate) fn last_traits(&self, node: NodeId, analysis: &Analysis) -> u64 {
        let here = self.last.filter(|(last, _)| *last == node);
        here.map_or(analysis.traits, |(_, traits)| traits)
    }
}

/// A batch without Sync at its end: it is one transaction with the simple query that comes next.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Where it changed something.
    pub(crate) node: NodeId,
    settings_before: Option<Settings>,
    /// The query was refused by the proxy.
    pub(crate) is_refused: bool,
}

impl Session {
    /// A simple query ends the batch. What the batch did outside a transaction is committed or undone
    /// with that.
    pub(crate) fn end_with_query<'a>(
        &'a mut self,
        batch: &'a mut Batch,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            let changed = batch.written.or(batch.set_on);
            let Some(node) = changed.filter(|_| self.transaction.is_none()) else {
                return self.end_batch(batch, true).await;
            };
            for other in std::mem::take(&mut batch.touched) {
                if other != node {
                    self.sync_leg(batch, other, true, false).await?;
                }
            }
            for placement in std::mem::take(&mut batch.placements) {
                self.apply_marks(&placement);
            }
            self.unfinished = Some(Box::new(Unfinished {
                node,
                settings_before: batch.settings_before.take(),
                is_refused: false,
            }));
            Ok(())
        })
    }

    /// The query behind a batch without Sync has run, or has not.
    pub(crate) fn finish<'a>(&'a mut self, unfinished: Unfinished) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            let node = unfinished.node;
            let undone = self.flow.error || unfinished.is_refused;
            if self.held(node).is_some_and(|leg| leg.busy) {
                // It was not sent there.
                self.flow.begin();
                let mut batch = Batch {
                    failed: unfinished.is_refused,
                    ..Batch::default()
                };
                self.sync_leg(&mut batch, node, true, unfinished.is_refused)
                    .await?;
                self.busy = false;
            }
            if let Some(before) = unfinished.settings_before.filter(|_| undone) {
                self.settings.restore(&before);
            }
            if self.transaction.is_none() {
                self.portals.clear();
            }
            Ok(())
        })
    }

    /// Passes answers on until the client sends more.
    pub(crate) async fn await_client(&mut self, batch: &mut Batch) -> Result<(), End> {
        let busy = !self.flow.is_drained() || self.flow.up_left > 0;
        if let Some(node) = batch.active.filter(|_| busy) {
            match self.relay(node, Until::ClientInput).await {
                Ok(_) => self.note_progress(batch, node),
                Err(error) => self.lost_in(batch, node, error).await?,
            }
            return Ok(());
        }
        self.client.flush().await?;
        if let Some(node) = batch.active
            && let Some(leg) = self.held(node)
            && let Err(error) = leg.connection().channel.flush().await
        {
            let lost = RelayError::ServerLost(error.into());
            return self.lost_in(batch, node, lost).await;
        }
        match self.fill().await? {
            0 => Err(End::ClientGone),
            _ => Ok(()),
        }
    }

    /// Takes over what the answers said.
    fn note_progress(&mut self, batch: &mut Batch, node: NodeId) {
        batch.failed |= self.flow.error;
        for (analysis, rolled_back) in std::mem::take(&mut self.flow.succeeded) {
            if self.transaction.is_none() {
                batch
                    .settings_before
                    .get_or_insert_with(|| self.settings.clone());
                // Of what ran at a replica nothing can become part of a transaction that writes.
                let sets = analysis.class == Class::Setting || sets_by_function(&analysis);
                let here = Some(node).filter(|node| sets && !self.steering.is_replica(*node));
                batch.set_on = here.or(batch.set_on);
            }
            self.apply(&analysis, node, rolled_back);
            if let Some(open) = self.transaction.open_mut() {
                // What was set before it began is undone with it.
                let before = batch.settings_before.take().map(Box::new);
                open.settings_before = before.or(open.settings_before.take());
            }
        }
        if self.flow.error {
            self.forget_lost(node);
        }
        if !self.flow.ended.is_empty() {
            self.note_ended();
        }
    }

    /// Answers in the server's place, after what is due before; nothing if the batch has failed.
    pub(crate) async fn answer(
        &mut self,
        batch: &mut Batch,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<(), End> {
        if self.drain(batch).await? {
            put(&mut self.client.output);
        }
        Ok(())
    }

    /// A node for a statement, ready to be written to; `None` if the batch failed meanwhile.
    pub(crate) fn choose<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        analysis: &'a Analysis,
        text: &'a [u8],
        values: Values<'a>,
    ) -> Soon<'a, Result<Option<NodeId>, End>> {
        let asked = (analysis, text, values);
        match self.choose_now(batch, asked) {
            Ok(node) => at_once(Ok(Some(node))),
            Err(first) => later(self.choose_in_time(batch, *first, asked)),
        }
    }

    /// The same if there is nothing to wait for; else what came of the first attempt.
    fn choose_now(&mut self, batch: &mut Batch, asked: Asked<'_>) -> Result<NodeId, Box<First>> {
        let mut attempts = Attempts::default();
        match self.place_in(batch, &mut attempts, asked) {
            Ok(Placed::There(placement))
                if is_next(batch, &placement) && self.has_ready(placement.node, asked.0) =>
            {
                let node = placement.node;
                self.note_chosen(batch, placement, asked.0, asked.1);
                self.begin_on(batch, node);
                Ok(node)
            }
            placed => Err(Box::new((attempts, placed))),
        }
    }

    /// Where a statement of a batch goes.
    fn place_in(
        &mut self,
        batch: &Batch,
        attempts: &mut Attempts,
        (analysis, text, values): Asked<'_>,
    ) -> Result<Placed, Denied> {
        // It must see what the batch wrote, and is committed with it.
        attempts.tied = batch.written.or_else(|| self.set_in(batch, analysis));
        self.place(analysis, Some(text), values, attempts, Duration::ZERO)
    }

    /// [`Session::choose`], from what came of the first attempt on.
    async fn choose_in_time(
        &mut self,
        batch: &mut Batch,
        (mut attempts, placed): First,
        asked: Asked<'_>,
    ) -> Result<Option<NodeId>, End> {
        let (analysis, text, _) = asked;
        let mut first = Some(placed);
        loop {
            let settled = self.settle(batch, &mut attempts, first.take(), asked);
            let Some(placement) = settled.await? else {
                return Ok(None);
            };
            let (node, read) = (placement.node, placement.is_proven_read());
            // Nothing is due from another one, and what is put for this one is not asked of it.
            batch.active = batch.active.filter(|active| *active == node);
            let again = match self.need_for(node, analysis, true).await {
                Ok(()) => {
                    self.note_chosen(batch, placement, analysis, text);
                    return Ok(self.activate(batch, node).await?.then_some(node));
                }
                Err(LegError::NodeFailed(_) | LegError::Moved) if batch.touched.contains(&node) => {
                    // It is lost with what was sent there before it.
                    let lost = RelayError::ServerLost(ServerLost::Closed);
                    return self.lost_in(batch, node, lost).await.map(|()| None);
                }
                Err(LegError::NodeFailed(reply)) => {
                    self.after_failure(&mut attempts, node, reply, read).await
                }
                Err(LegError::Moved) => self.after_move(&mut attempts).await,
                Err(LegError::Reply(reply)) => Err(Denied::Reply(reply)),
                Err(LegError::Ended(end)) => return Err(end),
                Err(LegError::Refused(body)) => {
                    let message = with_severity(&body, Severity::Error);
                    return self.fail_with(batch, &message).await.map(|()| None);
                }
            };
            if let Err(denied) = again {
                return self.fail_denied(batch, denied).await.map(|()| None);
            }
        }
    }

    /// A statement was placed, and its leg is ready.
    fn note_chosen(
        &mut self,
        batch: &mut Batch,
        placement: Placement,
        analysis: &Analysis,
        text: &[u8],
    ) {
        let node = placement.node;
        if placement.ties_reads(analysis) && !self.steering.is_replica(node) {
            batch.written = Some(node);
        }
        self.note_code(analysis, &placement, text);
        batch.last = Some((node, placement.traits));
        if self.is_looked_at_later(&placement) {
            batch.placements.push(placement);
        }
    }

    /// Where a statement of a batch goes, when nothing is due from another node any more; `None` if
    /// the batch failed meanwhile.
    async fn settle(
        &mut self,
        batch: &mut Batch,
        attempts: &mut Attempts,
        mut first: Option<Result<Placed, Denied>>,
        asked: Asked<'_>,
    ) -> Result<Option<Placement>, End> {
        let (analysis, text, values) = asked;
        loop {
            let mut placed = match first.take() {
                Some(placed) => placed,
                None => self.place_in(batch, attempts, asked),
            };
            if matches!(placed, Ok(Placed::Later)) {
                let later = self.place_later(analysis, Some(text), values, attempts);
                placed = later.await;
            }
            let placement = match placed {
                Ok(Placed::There(placement)) => placement,
                Ok(Placed::Nowhere | Placed::Later) => {
                    if !self.rest_in(batch).await? {
                        return Ok(None);
                    }
                    match self.hold(attempts, None).await {
                        Ok(()) => continue,
                        Err(denied) => {
                            return self.fail_denied(batch, denied).await.map(|()| None);
                        }
                    }
                }
                Err(denied) => return self.fail_denied(batch, denied).await.map(|()| None),
            };
            if batch.active == Some(placement.node) {
                return Ok(Some(placement));
            }
            // What the batch changed so far must be in the books before another node is told.
            let waits = batch.active.is_some() && !self.flow.is_drained();
            if !self.drain(batch).await? {
                return Ok(None);
            }
            if !waits {
                return Ok(Some(placement));
            }
            // Much may have changed meanwhile.
        }
    }

    /// Where a statement goes because of what a batch sets outside a transaction: SET to the primary,
    /// and BEGIN behind it to where it was set, because it becomes part of what begins there.
    fn set_in(&self, batch: &Batch, analysis: &Analysis) -> Option<NodeId> {
        if !self.transaction.is_none() {
            None
        } else if begins(analysis) {
            batch.set_on
        } else {
            let primary = self.steering.snapshot.topology.primary();
            let sets = analysis.class == Class::Setting;
            primary.filter(|_| sets).map(|node| node.id)
        }
    }

    /// A statement is about to wait: what was asked before it is answered, and reads are ended, so
    /// that their node can be left. `false` if the batch failed meanwhile.
    fn rest_in<'a>(&'a mut self, batch: &'a mut Batch) -> Rare<'a, Result<bool, End>> {
        Box::pin(async move {
            if batch.written.is_some() {
                self.drain(batch).await
            } else {
                self.close_part(batch).await
            }
        })
    }

    fn fail_denied<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        denied: Denied,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            match denied {
                Denied::Reply(reply) => self.fail(batch, &reply).await,
                Denied::End(end) => Err(end),
            }
        })
    }

    /// A server of the batch is lost: the request that was due is answered by an error, everything
    /// after it is thrown away up to Sync, and the session goes on.
    fn lost_in<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        node: NodeId,
        error: RelayError,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            self.note_progress(batch, node);
            let sent = self.flow.sent();
            let mut message = BytesMut::new();
            match error {
                RelayError::Refused(words) => message.extend(self.refused(node, &words)?),
                error => encode::error(&mut message, &self.lost(node, error, sent)?),
            }
            if !batch.failed {
                self.client.output.extend_from_slice(&message);
            }
            (batch.failed, batch.abort) = (true, true);
            (batch.active, batch.parsed) = (None, None);
            batch.touched.retain(|touched| *touched != node);
            let owes_sync = self.flow.copy_in && self.flow.held_syncs;
            let left = self.flow.up_left;
            self.flow.abandon();
            self.forget_lost(node);
            // The client sent it while the server took its data, and waits for the answer.
            self.flow.owes_sync = owes_sync;
            self.skip_bytes(left).await
        })
    }

    /// The node for Bind or Describe of a statement; of one that does not exist, any node will
    /// say so.
    pub(crate) fn choose_prepared<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        prepared: Option<&'a Prepared>,
        values: Values<'a>,
    ) -> Soon<'a, Result<Option<NodeId>, End>> {
        let Some(prepared) = prepared else {
            return Either::Right(self.choose_any(batch, 2));
        };
        if let Some((id, node)) = batch.parsed
            && id == prepared.id
            && batch.active == Some(node)
        {
            return at_once(Ok(Some(node)));
        }
        // What was asked without the values is asked again with them, and for other values anew.
        let for_all = matches!(values, Values::None).then_some(prepared.id);
        let asked = (&*prepared.analysis, prepared.text(), values);
        match self.choose_now(batch, asked) {
            Ok(node) => {
                batch.parsed = for_all.map(|id| (id, node));
                at_once(Ok(Some(node)))
            }
            Err(first) => later(async move {
                let node = self.choose_in_time(batch, *first, asked).await?;
                batch.parsed = for_all.zip(node);
                Ok(node)
            }),
        }
    }

    /// The node of a portal; cursors declared in SQL live where the transaction writes.
    pub(crate) fn choose_portal<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        portal: Option<&Portal>,
    ) -> Soon<'a, Result<Option<NodeId>, End>> {
        match portal
            .and_then(|p| p.node)
            .filter(|node| self.held(*node).is_some())
        {
            Some(node) if batch.active == Some(node) => at_once(Ok(Some(node))),
            Some(node) => {
                later(async move { Ok(self.activate(batch, node).await?.then_some(node)) })
            }
            None => Either::Right(self.choose_any(batch, 3)),
        }
    }

    /// The node for a message about something that does not exist, with a fingerprint of its own.
    fn choose_any<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        fingerprint: u64,
    ) -> Rare<'a, Result<Option<NodeId>, End>> {
        Box::pin(async move {
            let opaque = Analysis::opaque(fingerprint);
            self.choose(batch, &opaque, b"", Values::None).await
        })
    }

    /// Makes a node the one that answers; `false` if the batch failed meanwhile.
    pub(crate) async fn activate(&mut self, batch: &mut Batch, node: NodeId) -> Result<bool, End> {
        if batch.active != Some(node) {
            if !self.drain(batch).await? {
                return Ok(false);
            }
            self.begin_on(batch, node);
        }
        Ok(true)
    }

    /// It answers from now on; nothing is due from another one.
    fn begin_on(&mut self, batch: &mut Batch, node: NodeId) {
        if batch.active == Some(node) {
            return;
        }
        batch.active = Some(node);
        self.busy = true;
        if !batch.touched.contains(&node) {
            batch.touched.push(node);
        }
        if let Some(leg) = self.held(node) {
            leg.busy = true;
            leg.connection().channel.lend_output();
        }
    }

    /// Awaits what is due from the node that answers now; `false` if the batch has failed.
    pub(crate) async fn drain(&mut self, batch: &mut Batch) -> Result<bool, End> {
        if let Some(node) = batch.active {
            if !self.flow.is_drained() {
                if let Some(leg) = self.held(node) {
                    encode::frame(&mut leg.connection().channel.output, tag::FLUSH, b"");
                }
                if let Err(error) = self.relay(node, Until::Drained).await {
                    self.lost_in(batch, node, error).await?;
                    return Ok(false);
                }
            }
            self.note_progress(batch, node);
        }
        Ok(!batch.failed)
    }

    /// What came so far in the batch is over with, and something new begins: BEGIN is about to be
    /// answered by the proxy, and reads that came before it were transactions of their own, as far as
    /// anybody can tell; or a COMMIT was sent.
    pub(crate) fn close_part<'a>(
        &'a mut self,
        batch: &'a mut Batch,
    ) -> Rare<'a, Result<bool, End>> {
        Box::pin(async move {
            if !self.drain(batch).await? {
                return Ok(false);
            }
            self.end_batch(batch, true).await?;
            (batch.active, batch.parsed) = (None, None);
            (batch.written, batch.set_on) = (None, None);
            Ok(!batch.failed)
        })
    }

    /// Whether the proxy answers this statement itself at this place of the batch.
    pub(crate) fn is_local_in(&self, batch: &Batch, analysis: &Analysis) -> bool {
        // A BEGIN after a write or a SET makes that part of the transaction: the server must see it.
        let changed = batch.written.or(batch.set_on).is_some();
        self.is_local(analysis) && !(changed && begins(analysis))
    }

    /// Fails the batch with an error of the proxy's own. What its servers did in it since the
    /// last Sync is undone, as PostgreSQL would.
    pub(crate) fn fail<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        reply: &'a ErrorReply,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            let mut message = BytesMut::new();
            encode::error(&mut message, reply);
            self.fail_with(batch, &message).await
        })
    }

    /// The same instead of the client's next message.
    pub(crate) fn refuse<'a>(
        &'a mut self,
        header: Header,
        batch: &'a mut Batch,
        reply: ErrorReply,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            self.skip(header).await?;
            self.fail(batch, &reply).await
        })
    }

    fn fail_with<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        message: &'a [u8],
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            if self.drain(batch).await? {
                (batch.failed, batch.abort) = (true, true);
                self.refuse_transaction();
                self.client.output.extend_from_slice(message);
            }
            Ok(())
        })
    }

    /// Sends Sync wherever something was sent; the last ReadyForQuery is the client's.
    pub(crate) async fn end_batch(&mut self, batch: &mut Batch, hidden: bool) -> Result<(), End> {
        let last = batch.active.or(batch.touched.last().copied());
        batch.touched.retain(|node| Some(*node) != last);
        for node in std::mem::take(&mut batch.touched) {
            self.drain(batch).await?;
            // What failed on one node must not be committed on another.
            self.sync_leg(batch, node, true, batch.failed).await?;
        }
        let last = last.filter(|node| self.legs.iter().any(|leg| leg.node == *node));
        let synced = match last {
            Some(node) => self.sync_leg(batch, node, hidden, batch.abort).await?,
            None => false,
        };
        self.conclude(batch, (last, synced), hidden).await
    }

    /// The servers have ended the batch; `last` has said so if `synced`.
    pub(crate) async fn conclude(
        &mut self,
        batch: &mut Batch,
        (last, synced): (Option<NodeId>, bool),
        hidden: bool,
    ) -> Result<(), End> {
        if !synced && !hidden {
            let status = self.status();
            encode::ready(&mut self.client.output, status);
        }
        let wishes = std::mem::take(&mut batch.wishes);
        if !batch.failed {
            self.hear_later(wishes);
        }
        self.tell_own().await?;
        self.client.flush().await?;
        self.busy = false;
        if self.status() == TransactionStatus::Idle {
            self.portals.clear();
        }
        if let Some(before) = batch.settings_before.take().filter(|_| batch.failed) {
            self.settings.restore(&before);
        }
        if let Some(node) = last {
            self.learn(node, !batch.failed).await;
        }
        if !batch.failed {
            for placement in std::mem::take(&mut batch.placements) {
                self.apply_marks(&placement);
            }
        }
        Ok(())
    }

    /// Sends Sync to a leg; `false` if its answer will not come.
    async fn sync_leg(
        &mut self,
        batch: &mut Batch,
        node: NodeId,
        hidden: bool,
        abort: bool,
    ) -> Result<bool, End> {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return Ok(false);
        };
        let out = &mut leg.connection().channel.output;
        if abort {
            // Refers to a portal that cannot exist, which makes the server skip to Sync and undo.
            encode::frame(out, tag::EXECUTE, b"pgsteer: no such portal\0\0\0\0\0");
            self.flow.expect_hidden(Request::Abort);
        }
        encode::frame(out, tag::SYNC, b"");
        if hidden {
            self.flow.expect_hidden(Request::Sync);
        } else {
            self.flow.last_word = self.last_word();
            self.flow.expect(Request::Sync);
        }
        self.await_ready(batch, node).await
    }

    /// Awaits the answer to a Sync; `false` if it will not come.
    pub(crate) async fn await_ready(
        &mut self,
        batch: &mut Batch,
        node: NodeId,
    ) -> Result<bool, End> {
        let stop = match self.relay(node, Until::Ready).await {
            Ok(stop) => stop,
            Err(error) => {
                self.lost_in(batch, node, error).await?;
                return Ok(false);
            }
        };
        self.note_progress(batch, node);
        if let Some(leg) = self.held(node) {
            leg.busy = false;
        }
        if stop == Stop::Ready {
            self.reconcile(node).await;
        }
        Ok(true)
    }
}

/// A statement that is to be placed: what is known of it, its text and its values.
type Asked<'a> = (&'a Analysis, &'a [u8], Values<'a>);

/// What came of the first attempt to place one.
type First = (Attempts, Result<Placed, Denied>);

/// Whether what was sent before it need not be awaited.
fn is_next(batch: &Batch, placement: &Placement) -> bool {
    batch.active.is_none_or(|active| active == placement.node)
}

pub(crate) fn begins(analysis: &Analysis) -> bool {
    matches!(analysis.sole_effect(), Some(Effect::Begin { .. }))
}
