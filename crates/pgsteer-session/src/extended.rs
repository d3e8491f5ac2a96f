//! The extended protocol: a batch of messages up to Sync.
//!
//! Messages are sent on as they come; the answers are due in the same order. A batch normally stays
//! on one node. When it must change nodes, what is due from the first is awaited before anything is
//! sent to the second, so the order of answers is kept.

use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_sql::Analysis;
use pgsteer_wire::frontend::{self, Target, tag};
use pgsteer_wire::{ErrorReply, HEADER_LEN, Header, SqlState, encode};

use crate::end::End;
use crate::flow::Request;
use crate::relay::{Stop, Until};
use crate::session::{LegError, Portal, Prepared, Session};
use crate::steering::Placement;

/// Longest Parse the proxy keeps to repeat it on another server, in bytes; ours.
const PARSE_LEN_MAX: usize = 16 << 20;

/// Longest message that only carries names, in bytes; ours.
const NAMES_LEN_MAX: usize = 64 * 1024;

/// What has happened since the last Sync.
#[derive(Default)]
pub(crate) struct Batch {
    /// The node that answers now; none: the proxy itself, or nobody yet.
    active: Option<NodeId>,
    /// Nodes that were sent something and not Sync.
    touched: Vec<NodeId>,
    /// Something failed: everything up to Sync is thrown away.
    failed: bool,
    /// The proxy failed it: its servers must be made to undo what they did.
    abort: bool,
    /// Where the statement that was parsed last in this batch went.
    parsed: Option<(u64, Option<NodeId>)>,
    /// Marks to set if all goes well.
    placements: Vec<Placement>,
    /// A statement of this batch is not a read: nothing may go to a replica any more.
    writes: bool,
}

/// Whether the batch goes on.
enum Progress {
    More,
    Over,
}

impl Session {
    /// Serves one batch.
    pub(crate) async fn extended(&mut self) -> Result<(), End> {
        let mut batch = Batch::default();
        self.flow.begin();
        loop {
            if self.flow.up_left > 0 {
                // The rest of a long message goes before anything else is looked at.
                self.await_client(&mut batch).await?;
                continue;
            }
            let Some(header) = self.client_frame()? else {
                self.await_client(&mut batch).await?;
                continue;
            };
            if let Progress::Over = self.extended_frame(header, &mut batch).await? {
                return Ok(());
            }
        }
    }

    /// Passes answers on until the client sends more.
    async fn await_client(&mut self, batch: &mut Batch) -> Result<(), End> {
        let busy = !self.flow.is_drained() || self.flow.up_left > 0;
        if let Some(node) = batch.active.filter(|_| busy) {
            let stop = self.relay(node, Until::ClientInput).await;
            stop.map_err(|e| self.end_of(e))?;
            self.note_progress(batch, node);
            return Ok(());
        }
        self.client.flush().await?;
        if let Some(leg) = batch.active.and_then(|node| self.held(node)) {
            leg.connection()
                .channel
                .flush()
                .await
                .map_err(|_| End::Fatal(crate::end::server_lost()))?;
        }
        match self.client.fill().await? {
            0 => Err(End::ClientGone),
            _ => Ok(()),
        }
    }

    /// Takes over what the answers said.
    fn note_progress(&mut self, batch: &mut Batch, node: NodeId) {
        batch.failed |= self.flow.error;
        for (analysis, rolled_back) in std::mem::take(&mut self.flow.succeeded) {
            self.apply(&analysis, node, rolled_back);
        }
        if self.flow.error {
            self.forget_lost(node);
        }
    }

    async fn extended_frame(&mut self, header: Header, batch: &mut Batch) -> Result<Progress, End> {
        let whole = match header.tag {
            tag::PARSE => PARSE_LEN_MAX,
            _ => NAMES_LEN_MAX,
        };
        if batch.failed && header.tag != tag::SYNC && header.tag != tag::TERMINATE {
            self.skip(header).await?;
            return Ok(Progress::More);
        }
        match header.tag {
            tag::PARSE | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH | tag::SYNC
                if header.frame_len() > whole =>
            {
                return self.too_long(header, batch).await;
            }
            // Bind carries its names first; the rest is passed on as it comes.
            tag::BIND => self.complete(header, NAMES_LEN_MAX).await?,
            tag::PARSE | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH | tag::SYNC => {
                self.complete(header, whole).await?;
            }
            _ => {}
        }
        match header.tag {
            tag::PARSE => self.parse(header, batch).await?,
            tag::BIND => self.bind(header, batch).await?,
            tag::DESCRIBE | tag::CLOSE => self.describe_or_close(header, batch).await?,
            tag::EXECUTE => self.execute(header, batch).await?,
            tag::FLUSH => self.flush_batch(header, batch).await?,
            tag::SYNC => return self.sync(header, batch).await,
            tag::TERMINATE => return Err(End::Terminated),
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => self.skip(header).await?,
            // A simple query without Sync before it ends the batch by itself.
            tag::QUERY | tag::FUNCTION_CALL => {
                self.drain(batch).await?;
                if batch.failed {
                    self.skip(header).await?;
                    return Ok(Progress::More);
                }
                self.end_batch(batch, true).await?;
                return Ok(Progress::Over);
            }
            other => {
                let text = format!("invalid frontend message type {other}");
                return Err(End::Fatal(ErrorReply::fatal(
                    SqlState::PROTOCOL_VIOLATION,
                    text,
                )));
            }
        }
        Ok(Progress::More)
    }

    async fn too_long(&mut self, header: Header, batch: &mut Batch) -> Result<Progress, End> {
        self.skip(header).await?;
        let text = format!(
            "message of {} bytes is longer than the proxy accepts",
            header.frame_len()
        );
        self.fail(
            batch,
            &ErrorReply::error(SqlState::PROGRAM_LIMIT_EXCEEDED, text),
        )
        .await?;
        Ok(Progress::More)
    }

    async fn parse(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let frame: Box<[u8]> = self
            .client
            .input
            .bytes()
            .get(..header.frame_len())
            .unwrap_or_default()
            .into();
        self.client.input.consume(header.frame_len());
        let parse = frontend::parse(frame.get(HEADER_LEN..).unwrap_or_default())?;
        let analysis = self
            .steering
            .worker
            .analyses
            .borrow_mut()
            .analyze(parse.text);
        let (name, text) = (parse.name.to_vec(), parse.text.to_vec());
        if !name.is_empty() && self.prepared.contains_key(name.as_slice()) {
            let shown = String::from_utf8_lossy(&name);
            let text = format!("prepared statement \"{shown}\" already exists");
            let reply = ErrorReply::error(SqlState::DUPLICATE_PREPARED_STATEMENT, text);
            return self.fail(batch, &reply).await;
        }
        let local = analysis.console.is_some() || analysis.is_transaction_control();
        let prepared = match self.remember_prepared(&name, frame, Rc::clone(&analysis)) {
            Ok(prepared) => prepared,
            Err(reply) => return self.fail(batch, &reply).await,
        };
        if local {
            self.drain(batch).await?;
            encode::frame(&mut self.client.output, b'1', b"");
            return Ok(());
        }
        let Some(node) = self.choose(batch, &analysis, &text).await? else {
            return Ok(());
        };
        batch.parsed = Some((prepared.id, Some(node)));
        self.put_stale(node);
        let Some(leg) = self.held(node) else {
            return Ok(());
        };
        leg.connection()
            .channel
            .output
            .extend_from_slice(&prepared.frame);
        leg.prepared.insert(name.as_slice().into(), prepared.id);
        self.flow.expect(Request::Parse {
            name: name.into(),
            id: prepared.id,
        });
        Ok(())
    }

    async fn bind(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let have = header.frame_len().min(self.client.input.len());
        let body = self
            .client
            .input
            .bytes()
            .get(HEADER_LEN..have)
            .unwrap_or_default();
        let bind = frontend::bind(body)?;
        let (portal, name) = (bind.portal.to_vec(), bind.statement.to_vec());
        let prepared = self.prepared.get(name.as_slice()).map(Rc::clone);
        let analysis = prepared.as_ref().map(|p| Rc::clone(&p.analysis));
        if let Some(analysis) = analysis.as_ref().filter(|a| self.is_local(a)) {
            let analysis = Some(Rc::clone(analysis));
            self.portals.insert(
                portal.into(),
                Portal {
                    node: None,
                    analysis,
                },
            );
            self.skip(header).await?;
            self.drain(batch).await?;
            encode::frame(&mut self.client.output, b'2', b"");
            return Ok(());
        }
        let Some(node) = self.choose_prepared(batch, prepared.as_deref()).await? else {
            return self.skip(header).await;
        };
        match &prepared {
            Some(prepared) => self.put_preparation(node, &name, prepared),
            None => self.put_stale(node),
        }
        self.portals.insert(
            portal.into(),
            Portal {
                node: Some(node),
                analysis,
            },
        );
        self.pass_on(header, node, Request::Bind);
        Ok(())
    }

    async fn describe_or_close(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let frame = self
            .client
            .input
            .bytes()
            .get(..header.frame_len())
            .unwrap_or_default();
        let target = frontend::target(header.tag, frame.get(HEADER_LEN..).unwrap_or_default())?;
        let (is_statement, name) = match target {
            Target::Statement(name) => (true, name.to_vec()),
            Target::Portal(name) => (false, name.to_vec()),
        };
        if header.tag == tag::CLOSE {
            return self.close(header, batch, is_statement, &name).await;
        }
        if is_statement {
            return self.describe_statement(header, batch, &name).await;
        }
        let portal = self.portals.get(name.as_slice()).cloned();
        if let Some(Portal {
            node: None,
            analysis: Some(analysis),
        }) = portal
        {
            self.skip(header).await?;
            self.drain(batch).await?;
            self.describe_local(&analysis);
            return Ok(());
        }
        let Some(node) = self.choose_portal(batch, portal.as_ref()).await? else {
            return self.skip(header).await;
        };
        self.pass_on(header, node, Request::Describe);
        Ok(())
    }

    async fn describe_statement(
        &mut self,
        header: Header,
        batch: &mut Batch,
        name: &[u8],
    ) -> Result<(), End> {
        let prepared = self.prepared.get(name).map(Rc::clone);
        let local = |a: &Analysis| a.console.is_some() || a.is_transaction_control();
        if let Some(prepared) = prepared.as_ref().filter(|p| local(&p.analysis)) {
            self.skip(header).await?;
            self.drain(batch).await?;
            encode::frame(&mut self.client.output, b't', &[0, 0]);
            self.describe_local(&prepared.analysis);
            return Ok(());
        }
        let Some(node) = self.choose_prepared(batch, prepared.as_deref()).await? else {
            return self.skip(header).await;
        };
        match &prepared {
            Some(prepared) => self.put_preparation(node, name, prepared),
            None => self.put_stale(node),
        }
        self.pass_on(header, node, Request::Describe);
        Ok(())
    }

    fn describe_local(&mut self, analysis: &Analysis) {
        match analysis.console {
            Some(command) => {
                encode::row_description(&mut self.client.output, crate::console::columns(command));
            }
            None => encode::frame(&mut self.client.output, b'n', b""),
        }
    }

    async fn close(
        &mut self,
        header: Header,
        batch: &mut Batch,
        is_statement: bool,
        name: &[u8],
    ) -> Result<(), End> {
        let portal = if is_statement {
            None
        } else {
            self.portals.remove(name)
        };
        if let Some(node) = portal.and_then(|p| p.node) {
            let placed = self.activate(batch, node).await?;
            if placed {
                self.pass_on(header, node, Request::Close);
            } else {
                self.skip(header).await?;
            }
            return Ok(());
        }
        if is_statement {
            self.forget_prepared(name, None);
        }
        self.skip(header).await?;
        self.drain(batch).await?;
        encode::frame(&mut self.client.output, b'3', b"");
        Ok(())
    }

    async fn execute(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let frame = self
            .client
            .input
            .bytes()
            .get(..header.frame_len())
            .unwrap_or_default();
        let name = frontend::execute(frame.get(HEADER_LEN..).unwrap_or_default())?.to_vec();
        let portal = self.portals.get(name.as_slice()).cloned();
        if let Some(Portal {
            node: None,
            analysis: Some(analysis),
        }) = portal
        {
            self.skip(header).await?;
            self.drain(batch).await?;
            match analysis.console {
                Some(command) => {
                    let table = crate::console::table(command, &self.steering);
                    crate::console::put_rows(&mut self.client.output, &table);
                }
                None => {
                    if let Err(reply) = self.control_transaction(&analysis).await {
                        return self.fail(batch, &reply).await;
                    }
                }
            }
            return Ok(());
        }
        let Some(node) = self.choose_portal(batch, portal.as_ref()).await? else {
            return self.skip(header).await;
        };
        let analysis = portal.and_then(|p| p.analysis);
        if let Some(analysis) = &analysis {
            if analysis.is_transaction_control() {
                self.drain(batch).await?;
                if batch.failed {
                    return self.skip(header).await;
                }
                self.end_elsewhere(analysis, node).await;
            }
            self.count(node, analysis);
        }
        let effects = analysis.filter(|a| !a.effects.is_empty());
        self.pass_on(header, node, Request::Execute(effects));
        Ok(())
    }

    async fn flush_batch(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        self.client.input.consume(header.frame_len());
        self.client.flush().await?;
        if let Some(leg) = batch.active.and_then(|node| self.held(node)) {
            encode::frame(&mut leg.connection().channel.output, tag::FLUSH, b"");
        }
        Ok(())
    }

    async fn sync(&mut self, header: Header, batch: &mut Batch) -> Result<Progress, End> {
        self.client.input.consume(header.frame_len());
        if self.end_batch(batch, false).await? == Stop::Drained {
            // The server took the Sync for part of a copy and waits for another one.
            return Ok(Progress::More);
        }
        Ok(Progress::Over)
    }

    /// Sends Sync wherever something was sent; the last ReadyForQuery is the client's.
    async fn end_batch(&mut self, batch: &mut Batch, hidden: bool) -> Result<Stop, End> {
        let last = batch.active.or(batch.touched.last().copied());
        batch.touched.retain(|node| Some(*node) != last);
        for node in std::mem::take(&mut batch.touched) {
            self.drain(batch).await?;
            self.sync_leg(batch, node, true).await?;
        }
        let stop = match last {
            Some(node) => self.sync_leg(batch, node, hidden).await?,
            None => {
                if !hidden {
                    let status = self.status();
                    encode::ready(&mut self.client.output, status);
                }
                self.client.flush().await?;
                Stop::Ready
            }
        };
        self.busy = stop != Stop::Ready;
        if stop == Stop::Ready && !batch.failed {
            for placement in std::mem::take(&mut batch.placements) {
                self.apply_marks(&placement);
            }
        }
        Ok(stop)
    }

    async fn sync_leg(
        &mut self,
        batch: &mut Batch,
        node: NodeId,
        hidden: bool,
    ) -> Result<Stop, End> {
        let Some(leg) = self.held(node) else {
            return Ok(Stop::Ready);
        };
        let out = &mut leg.connection().channel.output;
        if batch.abort {
            // Refers to a portal that cannot exist, which makes the server skip to Sync and undo.
            encode::frame(out, tag::EXECUTE, b"pgsteer: no such portal\0\0\0\0\0");
        }
        encode::frame(out, tag::SYNC, b"");
        if batch.abort {
            self.flow.expect_hidden(Request::Abort);
        }
        if hidden {
            self.flow.expect_hidden(Request::Sync);
        } else {
            self.flow.expect(Request::Sync);
        }
        self.cancel.slot.start(node);
        let ran = self.relay(node, Until::Ready).await;
        self.cancel.slot.stop();
        let stop = ran.map_err(|e| self.end_of(e))?;
        self.note_progress(batch, node);
        if stop == Stop::Ready {
            self.reconcile(node).await;
        }
        Ok(stop)
    }

    /// Passes a message of the client on, as far as it is there; the relay takes care of the rest.
    fn pass_on(&mut self, header: Header, node: NodeId, request: Request) {
        self.flow.expect(request);
        let len = header.frame_len().min(self.client.input.len());
        let (input, legs) = (&mut self.client.input, &mut self.legs);
        if let Some(leg) = legs.iter_mut().find(|leg| leg.node == node) {
            let bytes = input.bytes().get(..len).unwrap_or_default();
            leg.connection().channel.output.extend_from_slice(bytes);
        }
        input.consume(len);
        self.flow.up_left = header.frame_len() - len;
    }
}

impl Session {
    /// A node for a statement, ready to be written to; `None` if the batch failed meanwhile.
    async fn choose(
        &mut self,
        batch: &mut Batch,
        analysis: &Analysis,
        text: &[u8],
    ) -> Result<Option<NodeId>, End> {
        if batch.writes
            && let Some(node) = batch.active
        {
            return Ok(self.activate(batch, node).await?.then_some(node));
        }
        let mut avoid = Vec::new();
        loop {
            let placement = match self.place(analysis, Some(text), &avoid).await {
                Ok(placement) => placement,
                Err(reply) => return self.fail(batch, &reply).await.map(|()| None),
            };
            let node = placement.node;
            match self.need(node).await {
                Ok(()) => {
                    batch.writes |= !analysis.is_proven_read();
                    batch.placements.push(placement);
                    return Ok(self.activate(batch, node).await?.then_some(node));
                }
                Err(LegError::NodeFailed(_))
                    if avoid.is_empty()
                        && self.transaction.is_none()
                        && analysis.is_proven_read() =>
                {
                    avoid.push(node);
                }
                Err(LegError::NodeFailed(reply) | LegError::Reply(reply)) => {
                    return self.fail(batch, &reply).await.map(|()| None);
                }
                Err(LegError::Ended(reply)) => return Err(End::Fatal(reply)),
                Err(LegError::Refused(body)) => {
                    self.drain(batch).await?;
                    encode::frame(&mut self.client.output, b'E', &body);
                    batch.failed = true;
                    return Ok(None);
                }
            }
        }
    }

    /// The node for Bind or Describe of a statement; of one that does not exist, any node will
    /// say so.
    async fn choose_prepared(
        &mut self,
        batch: &mut Batch,
        prepared: Option<&Prepared>,
    ) -> Result<Option<NodeId>, End> {
        let Some(prepared) = prepared else {
            return self.choose(batch, &Analysis::opaque(2), b"").await;
        };
        if let Some((id, Some(node))) = batch.parsed
            && id == prepared.id
        {
            return Ok(self.activate(batch, node).await?.then_some(node));
        }
        let body = prepared.frame.get(HEADER_LEN..).unwrap_or_default();
        let text = frontend::parse(body).map(|p| p.text).unwrap_or_default();
        let node = self.choose(batch, &prepared.analysis, text).await?;
        batch.parsed = Some((prepared.id, node));
        Ok(node)
    }

    /// The node of a portal; cursors declared in SQL live where the transaction writes.
    async fn choose_portal(
        &mut self,
        batch: &mut Batch,
        portal: Option<&Portal>,
    ) -> Result<Option<NodeId>, End> {
        match portal.and_then(|p| p.node) {
            Some(node) => Ok(self.activate(batch, node).await?.then_some(node)),
            None => self.choose(batch, &Analysis::opaque(3), b"").await,
        }
    }

    /// Makes a node the one that answers; `false` if the batch failed meanwhile.
    async fn activate(&mut self, batch: &mut Batch, node: NodeId) -> Result<bool, End> {
        if batch.active != Some(node) {
            self.drain(batch).await?;
            if batch.failed {
                return Ok(false);
            }
            batch.active = Some(node);
            self.busy = true;
            if !batch.touched.contains(&node) {
                batch.touched.push(node);
            }
        }
        Ok(true)
    }

    /// Awaits what is due from the node that answers now.
    async fn drain(&mut self, batch: &mut Batch) -> Result<(), End> {
        let Some(node) = batch.active else {
            return Ok(());
        };
        if !self.flow.is_drained() {
            if let Some(leg) = self.held(node) {
                encode::frame(&mut leg.connection().channel.output, tag::FLUSH, b"");
            }
            let stop = self.relay(node, Until::Drained).await;
            stop.map_err(|e| self.end_of(e))?;
        }
        self.note_progress(batch, node);
        Ok(())
    }

    /// Fails the batch with an error of the proxy's own. What its servers did in it since the
    /// last Sync is undone, as PostgreSQL would.
    async fn fail(&mut self, batch: &mut Batch, reply: &ErrorReply) -> Result<(), End> {
        self.drain(batch).await?;
        if batch.failed {
            return Ok(());
        }
        (batch.failed, batch.abort) = (true, true);
        self.refuse_transaction();
        encode::error(&mut self.client.output, reply);
        Ok(())
    }
}
