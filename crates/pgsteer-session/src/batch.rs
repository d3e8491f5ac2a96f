//! The messages between two Syncs: which nodes they went to, and how they end.

use bytes::BytesMut;
use pgsteer_core::NodeId;
use pgsteer_pool::ServerLost;
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::{ErrorReply, Severity, encode};

use crate::effects::sets_by_function;
use crate::end::{End, with_severity};
use crate::flow::Request;
use crate::hold::{Attempts, Denied};
use crate::journal::Settings;
use crate::listen_wishes::Wishes;
use crate::need::LegError;
use crate::portals::Portal;
use crate::relay::{RelayError, Stop, Until};
use crate::session::{Prepared, Session};
use crate::steering::{Placement, Values};

/// What has happened since the last Sync.
#[derive(Default)]
pub(crate) struct Batch {
    /// The node that answers now; none: the proxy itself, or nobody yet.
    pub(crate) active: Option<NodeId>,
    /// Nodes that were sent something and not Sync.
    touched: Vec<NodeId>,
    /// Something failed: everything up to Sync is thrown away.
    pub(crate) failed: bool,
    /// The proxy failed it: its servers must be made to undo what they did.
    abort: bool,
    /// Where the statement that was parsed or bound last in this batch went.
    pub(crate) parsed: Option<(u64, NodeId)>,
    /// Marks to set if all goes well.
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
    /// How the statement was placed that was placed last, if it was on this node.
    pub(crate) fn last_placement(&self, node: NodeId) -> Option<&Placement> {
        self.placements.last().filter(|p| p.node == node)
    }

    /// What was known of it then.
    pub(crate) fn last_traits(&self, node: NodeId, analysis: &Analysis) -> u64 {
        let placement = self.last_placement(node);
        placement.map_or(analysis.traits, |placement| placement.traits)
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
    pub(crate) async fn end_with_query(&mut self, batch: &mut Batch) -> Result<(), End> {
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
        self.unfinished = Some(Unfinished {
            node,
            settings_before: batch.settings_before.take(),
            is_refused: false,
        });
        Ok(())
    }

    /// The query behind a batch without Sync has run, or has not.
    pub(crate) async fn finish(&mut self, unfinished: Unfinished) -> Result<(), End> {
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
    pub(crate) async fn choose(
        &mut self,
        batch: &mut Batch,
        analysis: &Analysis,
        text: &[u8],
        values: Values<'_>,
    ) -> Result<Option<NodeId>, End> {
        let mut attempts = Attempts::default();
        loop {
            let placed = self.place_in(batch, &mut attempts, (analysis, text, values));
            let Some(placement) = placed.await? else {
                return Ok(None);
            };
            let node = placement.node;
            let (read, writes) = (placement.is_proven_read(), placement.ties_reads(analysis));
            // Nothing is due from another one, and what is put for this one is not asked of it.
            batch.active = batch.active.filter(|active| *active == node);
            let again = match self.need_for(node, analysis, true).await {
                Ok(()) => {
                    if writes && !self.steering.is_replica(node) {
                        batch.written = Some(node);
                    }
                    self.note_code(analysis, &placement, text);
                    batch.placements.push(placement);
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

    /// Where a statement of a batch goes, when nothing is due from another node any more; `None` if
    /// the batch failed meanwhile.
    async fn place_in(
        &mut self,
        batch: &mut Batch,
        attempts: &mut Attempts,
        (analysis, text, values): (&Analysis, &[u8], Values<'_>),
    ) -> Result<Option<Placement>, End> {
        loop {
            // It must see what the batch wrote, and is committed with it.
            attempts.tied = batch.written.or_else(|| self.set_in(batch, analysis));
            let placed = self.place(analysis, Some(text), values, attempts).await;
            let placement = match placed {
                Ok(Some(placement)) => placement,
                Ok(None) => {
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
    async fn rest_in(&mut self, batch: &mut Batch) -> Result<bool, End> {
        if batch.written.is_some() {
            self.drain(batch).await
        } else {
            self.close_part(batch).await
        }
    }

    async fn fail_denied(&mut self, batch: &mut Batch, denied: Denied) -> Result<(), End> {
        match denied {
            Denied::Reply(reply) => self.fail(batch, &reply).await,
            Denied::End(end) => Err(end),
        }
    }

    /// A server of the batch is lost: the request that was due is answered by an error, everything
    /// after it is thrown away up to Sync, and the session goes on.
    async fn lost_in(
        &mut self,
        batch: &mut Batch,
        node: NodeId,
        error: RelayError,
    ) -> Result<(), End> {
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
    }

    /// The node for Bind or Describe of a statement; of one that does not exist, any node will
    /// say so.
    pub(crate) async fn choose_prepared(
        &mut self,
        batch: &mut Batch,
        prepared: Option<&Prepared>,
        values: Values<'_>,
    ) -> Result<Option<NodeId>, End> {
        let Some(prepared) = prepared else {
            let opaque = Analysis::opaque(2);
            return self.choose(batch, &opaque, b"", Values::None).await;
        };
        if let Some((id, node)) = batch.parsed
            && id == prepared.id
            && batch.active == Some(node)
        {
            return Ok(Some(node));
        }
        let node = self
            .choose(batch, &prepared.analysis, prepared.text(), values)
            .await?;
        // What was asked without the values is asked again with them, and for other values anew.
        let for_all = matches!(values, Values::None);
        batch.parsed = node.filter(|_| for_all).map(|node| (prepared.id, node));
        Ok(node)
    }

    /// The node of a portal; cursors declared in SQL live where the transaction writes.
    pub(crate) async fn choose_portal(
        &mut self,
        batch: &mut Batch,
        portal: Option<&Portal>,
    ) -> Result<Option<NodeId>, End> {
        match portal
            .and_then(|p| p.node)
            .filter(|node| self.held(*node).is_some())
        {
            Some(node) => Ok(self.activate(batch, node).await?.then_some(node)),
            None => {
                let opaque = Analysis::opaque(3);
                self.choose(batch, &opaque, b"", Values::None).await
            }
        }
    }

    /// Makes a node the one that answers; `false` if the batch failed meanwhile.
    pub(crate) async fn activate(&mut self, batch: &mut Batch, node: NodeId) -> Result<bool, End> {
        if batch.active != Some(node) {
            if !self.drain(batch).await? {
                return Ok(false);
            }
            batch.active = Some(node);
            self.busy = true;
            if !batch.touched.contains(&node) {
                batch.touched.push(node);
            }
            if let Some(leg) = self.held(node) {
                leg.busy = true;
            }
        }
        Ok(true)
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
    pub(crate) async fn close_part(&mut self, batch: &mut Batch) -> Result<bool, End> {
        if !self.drain(batch).await? {
            return Ok(false);
        }
        self.end_batch(batch, true).await?;
        (batch.active, batch.parsed) = (None, None);
        (batch.written, batch.set_on) = (None, None);
        Ok(!batch.failed)
    }

    /// Whether the proxy answers this statement itself at this place of the batch.
    pub(crate) fn is_local_in(&self, batch: &Batch, analysis: &Analysis) -> bool {
        // A BEGIN after a write or a SET makes that part of the transaction: the server must see it.
        let changed = batch.written.or(batch.set_on).is_some();
        self.is_local(analysis) && !(changed && begins(analysis))
    }

    /// Fails the batch with an error of the proxy's own. What its servers did in it since the
    /// last Sync is undone, as PostgreSQL would.
    pub(crate) async fn fail(&mut self, batch: &mut Batch, reply: &ErrorReply) -> Result<(), End> {
        let mut message = BytesMut::new();
        encode::error(&mut message, reply);
        self.fail_with(batch, &message).await
    }

    async fn fail_with(&mut self, batch: &mut Batch, message: &[u8]) -> Result<(), End> {
        if self.drain(batch).await? {
            (batch.failed, batch.abort) = (true, true);
            self.refuse_transaction();
            self.client.output.extend_from_slice(message);
        }
        Ok(())
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

pub(crate) fn begins(analysis: &Analysis) -> bool {
    matches!(analysis.sole_effect(), Some(Effect::Begin { .. }))
}
