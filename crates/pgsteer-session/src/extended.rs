//! The extended protocol: what each message of a batch means.
//!
//! Messages are sent on as they come; the answers are due in the same order. A batch normally stays
//! on one node. When it must change nodes, what is due from the first is awaited before anything is
//! sent to the second, so the order of answers is kept.

use std::rc::Rc;

use bytes::{BufMut, BytesMut};
use pgsteer_core::NodeId;
use pgsteer_pool::Channel;
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::{self, Target, tag};
use pgsteer_wire::malformed::malformed;
use pgsteer_wire::{ErrorReply, HEADER_LEN, Header, SqlState, encode, parameters};

use crate::batch::{Batch, begins};
use crate::console;
use crate::end::{End, unknown_message};
use crate::events::Watched;
use crate::flow::Request;
use crate::lost::Sent;
use crate::need::ends;
use crate::observe::Message;
use crate::portals::{Portal, cannot_be_run, no_portal};
use crate::prepared::Parsed;
use crate::session::{Prepared, Rare, Session, already_prepared};
use crate::steering::Values;

/// Longest Parse the proxy keeps to repeat it on another server, in bytes; ours.
pub(crate) const PARSE_LEN_MAX: usize = 16 << 20;

/// Longest message that only carries names, in bytes; ours.
pub(crate) const NAMES_LEN_MAX: usize = 64 * 1024;

/// Name of a statement that does not exist.
const NO_STATEMENT: &[u8] = b"pgsteer: no such statement";

/// A request that is sent, and what watches it.
pub(crate) type Sending = (Request, Option<Box<Watched>>);

/// Whether the batch goes on.
pub(crate) enum Progress {
    More,
    Over,
}

impl Session {
    /// Serves one batch.
    pub(crate) async fn extended(&mut self) -> Result<(), End> {
        let mut batch = Batch::default();
        self.flow.begin();
        // The whole batch may go in one piece, also behind the Parse of its statement.
        let mut may_run = true;
        loop {
            if std::mem::take(&mut may_run)
                && let Some(run) = self.front_run(&batch)
                && self.serve_run(run, &mut batch).await?
            {
                return Ok(());
            }
            // The rest of a long message goes before anything else is looked at.
            let header = if self.flow.up_left > 0 {
                None
            } else {
                match self.client_frame() {
                    Ok(header) => header,
                    Err(end) => return self.end_inside(&mut batch, end).await,
                }
            };
            let progress = match header {
                Some(header) => {
                    let is_first = batch.is_new();
                    let progress = self.extended_frame(header, &mut batch).await?;
                    may_run = is_first && header.tag == tag::PARSE && !batch.failed;
                    progress
                }
                None => {
                    self.await_client(&mut batch).await?;
                    Progress::More
                }
            };
            if self.flow.owes_sync {
                self.flow.owes_sync = false;
                return self.end_batch(&mut batch, false).await;
            }
            if let Progress::Over = progress {
                return Ok(());
            }
        }
    }

    async fn extended_frame(&mut self, header: Header, batch: &mut Batch) -> Result<Progress, End> {
        if batch.failed && !matches!(header.tag, tag::SYNC | tag::TERMINATE) {
            self.skip(header).await?;
            return Ok(Progress::More);
        }
        let whole = if header.tag == tag::PARSE {
            PARSE_LEN_MAX
        } else {
            NAMES_LEN_MAX
        };
        match header.tag {
            // Bind carries its names first; the rest is passed on as it comes.
            tag::BIND => self.complete(header, NAMES_LEN_MAX).await?,
            tag::PARSE | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH | tag::SYNC => {
                if header.frame_len() > whole {
                    return self.too_long(header, batch).await;
                }
                self.complete(header, whole).await?;
            }
            _ => {}
        }
        if let Some(text) = malformed(header.tag, self.front_body(header)) {
            let reply = ErrorReply::error(SqlState::PROTOCOL_VIOLATION, text);
            self.fail(batch, &reply).await?;
            if header.tag != tag::SYNC {
                return self.skip(header).await.map(|()| Progress::More);
            }
        }
        if refers_to_books(header.tag)
            && self.flow.may_change_session()
            && !self.drain(batch).await?
        {
            // SET, BEGIN and the like must be in the books before anything else is looked at.
            return self.skip(header).await.map(|()| Progress::More);
        }
        match header.tag {
            tag::PARSE => self.parse(header, batch).await?,
            tag::BIND => self.bind(header, batch).await?,
            tag::DESCRIBE => self.describe(header, batch).await?,
            tag::CLOSE => self.close(header, batch).await?,
            tag::EXECUTE => self.execute(header, batch).await?,
            tag::FLUSH => self.flush_batch(header, batch).await?,
            tag::SYNC => return self.sync(header, batch).await,
            tag::TERMINATE => return self.end_inside(batch, End::Terminated).await,
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {
                self.copied_data(header, batch).await?;
            }
            // A simple query without Sync before it ends the batch by itself.
            tag::QUERY | tag::FUNCTION_CALL => {
                if self.drain(batch).await? {
                    self.end_with_query(batch).await?;
                    return Ok(Progress::Over);
                }
                self.skip(header).await?;
            }
            other => return self.end_inside(batch, unknown_message(other)).await,
        }
        Ok(Progress::More)
    }

    /// The session ends in the middle of a batch; what is due before that is answered.
    fn end_inside<'a, T: 'a>(
        &'a mut self,
        batch: &'a mut Batch,
        end: End,
    ) -> Rare<'a, Result<T, End>> {
        Box::pin(async move {
            self.drain(batch).await?;
            Err(end)
        })
    }

    pub(crate) fn too_long<'a>(
        &'a mut self,
        header: Header,
        batch: &'a mut Batch,
    ) -> Rare<'a, Result<Progress, End>> {
        Box::pin(async move {
            self.skip(header).await?;
            let len = header.frame_len();
            let text = format!("message of {len} bytes is longer than the proxy accepts");
            let reply = ErrorReply::error(SqlState::PROGRAM_LIMIT_EXCEEDED, text);
            self.fail(batch, &reply).await?;
            Ok(Progress::More)
        })
    }

    fn front(&self, header: Header) -> &[u8] {
        front(&self.client, header)
    }

    pub(crate) fn front_body(&self, header: Header) -> &[u8] {
        front_body(&self.client, header)
    }

    async fn parse(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        self.meter.pool.client_parses.add(1);
        let parsed = match self.parsed(header)? {
            Ok(parsed) => parsed,
            Err(reply) => return self.fail(batch, &reply).await,
        };
        let name: Box<[u8]> = parsed.name.clone();
        let analysis = Rc::clone(&parsed.analysis);
        if let Err(reply) = self.check_text(&name) {
            return self.fail(batch, &reply).await;
        }
        if !name.is_empty() && self.is_prepared(&name) {
            let shown = String::from_utf8_lossy(&name);
            return self.fail(batch, &already_prepared(&shown)).await;
        }
        let local = self.needs_no_server(&analysis) && self.is_accepted_now(&analysis);
        if local && !self.drain(batch).await? {
            return Ok(());
        }
        let before = self.prepared.get(&name).map(Rc::clone);
        let prepared = match self.remember_prepared(parsed) {
            Ok(prepared) => prepared,
            Err(reply) => return self.fail(batch, &reply).await,
        };
        if local {
            encode::frame(&mut self.client.output, b'1', b"");
            return Ok(());
        }
        let text = prepared.text();
        let (wants_values, values) = self.values_at_parse(&analysis);
        let Some(node) = self.choose(batch, &analysis, text, values).await? else {
            self.take_back_prepared(&name, before);
            return Ok(());
        };
        // Where it runs is asked again once the values are known.
        batch.parsed = (!wants_values).then_some((prepared.id, node));
        if !self.observe_in(batch, node, Message::Parse, text).await? {
            self.take_back_prepared(&name, before);
            return Ok(());
        }
        self.put_stale(node);
        self.meter.pool.server_parses.add(1);
        let watched = self.watch(&analysis, batch.last_traits(node, &analysis), node);
        self.put_parse(node, (name, before), &prepared, watched);
        self.put_stale(node);
        Ok(())
    }

    /// Servers do not see the client's names, so it is the proxy that refuses what they would.
    fn check_text(&self, name: &[u8]) -> Result<(), ErrorReply> {
        if !self.shares() {
            return Ok(());
        }
        let Err(error) = std::str::from_utf8(name) else {
            return Ok(());
        };
        let len = error.error_len().unwrap_or(1);
        let bytes = name.get(error.valid_up_to()..).unwrap_or_default();
        let bytes = bytes.iter().take(len).map(|byte| format!(" {byte:#04x}"));
        let text = format!(
            "invalid byte sequence for encoding \"UTF8\":{}",
            bytes.collect::<String>()
        );
        Err(ErrorReply::error(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            text,
        ))
    }

    /// Whether the client has a statement of this name, whichever way it prepared it.
    pub(crate) fn is_prepared(&self, name: &[u8]) -> bool {
        let by_sql = || {
            let name = std::str::from_utf8(name).ok();
            self.shares() && name.is_some_and(|name| self.sql_prepared.get(name).is_some())
        };
        self.prepared.contains_key(name) || by_sql()
    }

    /// Sends a Parse, unless the server knows what another session prepared there: then it is only
    /// asked to say so in its turn. In a failed transaction it would refuse.
    fn put_parse(
        &mut self,
        node: NodeId,
        (name, before): (Box<[u8]>, Option<Rc<Prepared>>),
        prepared: &Prepared,
        watched: Option<Box<Watched>>,
    ) {
        let healthy = self.status() != TransactionStatus::Failed;
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return;
        };
        let is_known = leg.told().statements.is_used(&prepared.name, prepared.id);
        if is_known && healthy {
            encode::close_statement(&mut leg.connection().channel.output, NO_STATEMENT);
            let id = prepared.id;
            let request = Request::InPlaceOfParse { name, id, before };
            self.flow.expect_watched(request, watched);
            return;
        }
        leg.put_parse(prepared);
        let request = Request::Parse {
            name,
            own: Rc::clone(&prepared.name),
            id: prepared.id,
            before,
        };
        self.flow.expect_watched(request, watched);
    }

    /// The Parse at the front as it is sent on: a plugin may have put another text in the place of the
    /// client's.
    fn parsed(&mut self, header: Header) -> Result<Result<Parsed, ErrorReply>, End> {
        let rewrites = self.wants_rewrites();
        let frame = self.front(header);
        let last = self.prepared.get(&b""[..]).filter(|last| {
            // Many drivers say so each time.
            !rewrites && last.map.is_none() && *last.frame == *frame
        });
        if let Some(last) = last {
            let (again, last) = (Parsed::again(last), Rc::clone(last));
            self.client.input.consume(header.frame_len());
            self.note_trace(last.text(), last.analysis.fingerprint);
            return Ok(Ok(again));
        }
        let frame = Rc::<[u8]>::from(frame);
        self.client.input.consume(header.frame_len());
        let body = frame.get(HEADER_LEN..).unwrap_or_default();
        let parse = frontend::parse(body)?;
        let analysis = self.steering.worker.analyze(parse.text);
        self.note_trace(parse.text, analysis.fingerprint);
        let replaced = if rewrites {
            match self.rewrite(&analysis, parse.text, true) {
                Ok(replaced) => replaced,
                Err(reply) => return Ok(Err(reply)),
            }
        } else {
            None
        };
        let Some(replaced) = replaced else {
            return Ok(Ok(Parsed::new(Rc::clone(&frame), &parse, analysis, None)));
        };
        let map = replaced.map.clone();
        let mut new = BytesMut::new();
        parameters::put_parse(&mut new, body, replaced.text.as_bytes(), map.as_deref())?;
        let parse = frontend::parse(new.get(HEADER_LEN..).unwrap_or_default())?;
        let analysis = Rc::clone(&replaced.analysis);
        Ok(Ok(Parsed::new(new.as_ref().into(), &parse, analysis, map)))
    }

    /// Whether some plugin wants to see what will be bound to a statement, and what it is told now.
    fn values_at_parse(&self, analysis: &Analysis) -> (bool, Values<'static>) {
        let wanted = self.steering.worker.policies.borrow().wanted().values;
        if wanted && may_bind(analysis) {
            (true, Values::NotYet)
        } else {
            (false, Values::None)
        }
    }

    /// Whether Parse and Describe of it are answered without a server: it has neither parameters nor
    /// rows of its own, and where it runs is known at Bind only, or no server would be asked now.
    fn needs_no_server(&self, analysis: &Analysis) -> bool {
        let is_empty = analysis.class == Class::Empty;
        analysis.console.is_some()
            || analysis.is_transaction_control()
            || (is_empty && self.transaction.is_refused())
    }

    /// In a failed transaction PostgreSQL parses only what ends it, or is empty.
    fn is_accepted_now(&self, analysis: &Analysis) -> bool {
        let accepted = analysis.class == Class::Empty || is_accepted_in_failed(analysis);
        accepted || self.status() != TransactionStatus::Failed
    }

    async fn describe(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let (is_statement, name): (bool, Box<[u8]>) =
            match frontend::target(header.tag, self.front_body(header))? {
                Target::Statement(name) => (true, name.into()),
                Target::Portal(name) => (false, name.into()),
            };
        if is_statement {
            return self.describe_statement(header, batch, &name).await;
        }
        let portal = self.portals.get(&name).cloned();
        if let Some(Portal {
            node: None,
            analysis: Some(analysis),
            ..
        }) = portal
        {
            self.skip(header).await?;
            return self
                .answer(batch, |out| describe_local(out, &analysis))
                .await;
        }
        let Some(node) = self.choose_portal(batch, portal.as_ref()).await? else {
            return self.skip(header).await;
        };
        let request = Request::Describe {
            map: None,
            of: None,
        };
        self.pass_on(header, node, request);
        Ok(())
    }

    fn describe_statement<'a>(
        &'a mut self,
        header: Header,
        batch: &'a mut Batch,
        name: &'a [u8],
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            let prepared = self.known_prepared(name);
            if let Err(reply) = self.check_text(name) {
                return self.refuse(header, batch, reply).await;
            }
            if self.shares() && !self.is_prepared(name) {
                return self.refuse(header, batch, not_prepared(name)).await;
            }
            let by_proxy = |p: &&Rc<Prepared>| self.needs_no_server(&p.analysis);
            if let Some(prepared) = prepared.as_ref().filter(by_proxy) {
                self.skip(header).await?;
                let put = |out: &mut BytesMut| {
                    // As it was said to have: types that were given, in the form they were given.
                    encode::frame(out, b't', prepared.types());
                    describe_local(out, &prepared.analysis);
                };
                return self.answer(batch, put).await;
            }
            let values = match &prepared {
                Some(prepared) => self.values_at_parse(&prepared.analysis).1,
                None => Values::None,
            };
            let placed = self.choose_prepared(batch, prepared.as_deref(), values);
            let Some(node) = placed.await? else {
                return self.skip(header).await;
            };
            match &prepared {
                Some(prepared) => self.put_preparation(node, prepared),
                None => self.put_stale(node),
            }
            let map = prepared.as_ref().and_then(|p| p.map.clone());
            let of = prepared.clone().filter(|_| !name.is_empty());
            let request = Request::Describe { map, of };
            match prepared.filter(|p| *p.name != *name) {
                Some(prepared) => {
                    self.pass_on_renamed(header, node, &prepared.name, (request, None));
                }
                None => self.pass_on(header, node, request),
            }
            Ok(())
        })
    }

    async fn close(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let (statement, portal) = match frontend::target(header.tag, self.front_body(header))? {
            Target::Statement(name) => (Some(Box::<[u8]>::from(name)), None),
            Target::Portal(name) => (None, Some(Box::<[u8]>::from(name))),
        };
        let portal = portal.and_then(|name| self.portals.remove(&name));
        let node = portal
            .and_then(|p| p.node)
            .filter(|node| self.held(*node).is_some());
        if let Some(node) = node {
            if self.activate(batch, node).await? {
                self.pass_on(header, node, Request::Close { stale: None });
                return Ok(());
            }
            return self.skip(header).await;
        }
        self.skip(header).await?;
        if self.drain(batch).await? {
            if let Some(name) = statement {
                self.forget_prepared(&name, None);
            }
            encode::frame(&mut self.client.output, b'3', b"");
        }
        Ok(())
    }

    async fn execute(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        let name: Box<[u8]> = frontend::execute(self.front_body(header))?.into();
        let portal = self.portals.get(&name).cloned();
        if let Err(reply) = self.check_execute(&name, portal.as_ref()) {
            return self.refuse(header, batch, reply).await;
        }
        if let Some(Portal {
            node: None,
            analysis: Some(analysis),
            ..
        }) = portal
        {
            self.skip(header).await?;
            return self.execute_local(batch, &name, &analysis).await;
        }
        let Some(node) = self.choose_portal(batch, portal.as_ref()).await? else {
            return self.skip(header).await;
        };
        let (analysis, traits, text) =
            portal.map_or((None, 0, None), |p| (p.analysis, p.traits, p.text));
        let shown = text.as_deref().unwrap_or_default();
        if !self
            .observe_in(batch, node, Message::Execute, shown)
            .await?
        {
            return self.skip(header).await;
        }
        let mut copies = false;
        if let Some(analysis) = &analysis {
            if analysis.is_transaction_control() {
                if !self.drain(batch).await? {
                    return self.skip(header).await;
                }
                self.tell_savepoint(analysis, node).await;
                self.end_reads(analysis, node).await;
            }
            copies = analysis.may_copy_in();
            self.before_notify(analysis).await;
            self.count(node, analysis);
        }
        let watched = analysis.as_ref().and_then(|a| self.watch(a, traits, node));
        let enforces = self.enforced.is_some();
        let ends = |a: &Rc<Analysis>| match a.sole_effect() {
            // What comes next begins with what a plugin wants set in each transaction.
            Some(Effect::Commit { .. } | Effect::Rollback { .. }) => enforces,
            // It stands for itself, and what comes next with what the startup packet says.
            Some(Effect::DiscardAll) => true,
            _ => false,
        };
        let ends = analysis.as_ref().is_some_and(ends);
        let sent = analysis.as_ref().map_or(Sent::Inside, |a| Sent::of(a));
        let analysis = analysis.filter(|a| a.may_change_session());
        let request = Request::Execute {
            analysis,
            copies,
            sent,
        };
        self.pass_on_watched(header, node, request, watched);
        if ends {
            self.close_part(batch).await?;
        }
        Ok(())
    }

    /// Whether a portal may be executed now, as far as servers would not say so themselves.
    ///
    /// # Errors
    /// PostgreSQL's words for why not.
    fn check_execute(&mut self, name: &[u8], portal: Option<&Portal>) -> Result<(), ErrorReply> {
        let is_refused = self.transaction.is_refused();
        let Some(portal) = portal else {
            return if is_refused {
                Err(no_portal(name))
            } else {
                Ok(())
            };
        };
        let by_proxy = is_refused || portal.node.is_none();
        let exits = portal
            .analysis
            .as_deref()
            .is_some_and(is_accepted_in_failed);
        if by_proxy && !exits && self.status() == TransactionStatus::Failed {
            return Err(self.tell_loss());
        }
        if portal.is_done {
            return Err(cannot_be_run(name));
        }
        let twice = portal
            .analysis
            .as_ref()
            .and_then(|a| self.prepared_twice(a));
        twice.map_or(Ok(()), |name| Err(already_prepared(name)))
    }

    fn execute_local<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        name: &'a [u8],
        analysis: &'a Rc<Analysis>,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            // What was sent since BEGIN was bound is no part of what it begins.
            let ready = match begins(analysis) && self.transaction.is_none() {
                true => self.close_part(batch).await?,
                false => self.drain(batch).await?,
            };
            if !ready {
                return Ok(());
            }
            if let Some(command) = &analysis.console {
                return match self.command(command).await {
                    Ok(answer) => {
                        console::put_answer(&mut self.client.output, &answer);
                        Ok(())
                    }
                    Err(reply) => self.fail(batch, &reply).await,
                };
            }
            let done = match analysis.sole_effect() {
                Some(effect @ (Effect::Listen(_) | Effect::Unlisten(_))) => {
                    self.listen_later(effect, &mut batch.wishes).await
                }
                _ => self.control_transaction(analysis).await,
            };
            if let Err(reply) = done {
                return self.fail(batch, &reply).await;
            }
            // The end of a transaction destroys its own portal, and an empty one can be executed again.
            let ended = matches!(
                analysis.sole_effect(),
                Some(Effect::Commit { .. } | Effect::Rollback { .. })
            );
            if ended {
                self.portals.clear();
            } else if analysis.class != Class::Empty {
                let done = Portal {
                    is_done: true,
                    ..Portal::local(Some(Rc::clone(analysis)))
                };
                self.portals.insert(name.into(), done);
            }
            Ok(())
        })
    }

    fn flush_batch<'a>(
        &'a mut self,
        header: Header,
        batch: &'a mut Batch,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            self.client.input.consume(header.frame_len());
            self.client.flush().await?;
            if let Some(leg) = batch.active.and_then(|node| self.held(node)) {
                encode::frame(&mut leg.connection().channel.output, tag::FLUSH, b"");
            }
            Ok(())
        })
    }

    /// Copied data: for a server that is about to take it, which is found out first; else it was
    /// on its way when the copy had failed already.
    fn copied_data<'a>(
        &'a mut self,
        header: Header,
        batch: &'a mut Batch,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            if self.flow.may_copy() {
                self.drain(batch).await?;
                return Ok(());
            }
            self.skip(header).await
        })
    }

    async fn sync(&mut self, header: Header, batch: &mut Batch) -> Result<Progress, End> {
        if self.flow.may_copy() {
            // If the server takes data, this Sync means nothing, and is taken out with the data.
            self.drain(batch).await?;
            return Ok(Progress::More);
        }
        self.client.input.consume(header.frame_len());
        self.end_batch(batch, false).await?;
        Ok(Progress::Over)
    }

    /// Passes a message of the client on, as far as it is there; the relay takes care of the rest.
    fn pass_on(&mut self, header: Header, node: NodeId, request: Request) {
        self.pass_on_watched(header, node, request, None);
    }

    /// The same with the name servers have for its statement.
    pub(crate) fn pass_on_renamed(
        &mut self,
        header: Header,
        node: NodeId,
        own: &[u8],
        request: Sending,
    ) {
        self.flow.expect_watched(request.0, request.1);
        self.put_frame(header, node, Some(own));
    }

    pub(crate) fn pass_on_watched(
        &mut self,
        header: Header,
        node: NodeId,
        request: Request,
        watched: Option<Box<Watched>>,
    ) {
        self.flow.expect_watched(request, watched);
        self.put_frame(header, node, None);
    }

    fn put_frame(&mut self, header: Header, node: NodeId, own: Option<&[u8]>) {
        let len = header.frame_len().min(self.client.input.len());
        let more = header.frame_len() - len;
        self.put_front(node, len, own, more);
        self.flow.up_left = more;
    }

    /// Puts so many bytes of the client into what a server is sent next: a message of which `more` bytes
    /// follow later, with the name servers have for its statement if there is one, or else anything.
    pub(crate) fn put_front(&mut self, node: NodeId, len: usize, own: Option<&[u8]>, more: usize) {
        let (input, legs) = (&mut self.client.input, &mut self.legs);
        if let Some(leg) = legs.iter_mut().find(|leg| leg.node == node) {
            let bytes = input.bytes().get(..len).unwrap_or_default();
            let output = &mut leg.connection().channel.output;
            match own {
                Some(own) => put_renamed(output, bytes, own, more),
                None => output.extend_from_slice(bytes),
            }
        }
        input.consume(len);
    }
}

/// The bytes of the client's next frame, as far as they are there.
fn front(client: &Channel, header: Header) -> &[u8] {
    let have = header.frame_len().min(client.input.len());
    client.input.bytes().get(..have).unwrap_or_default()
}

pub(crate) fn front_body(client: &Channel, header: Header) -> &[u8] {
    front(client, header).get(HEADER_LEN..).unwrap_or_default()
}

/// Whether PostgreSQL binds and executes it in a transaction that has failed.
pub(crate) fn is_accepted_in_failed(analysis: &Analysis) -> bool {
    analysis.sole_effect().is_some_and(ends)
}

/// Whether what a message means depends on what the session has set, prepared and begun.
fn refers_to_books(tag: u8) -> bool {
    use frontend::tag::{BIND, CLOSE, DESCRIBE, EXECUTE, PARSE};
    matches!(tag, PARSE | BIND | DESCRIBE | EXECUTE | CLOSE)
}

/// PostgreSQL's words for it.
pub(crate) fn not_prepared(name: &[u8]) -> ErrorReply {
    let text = match name {
        b"" => "unnamed prepared statement does not exist".to_owned(),
        name => {
            let name = String::from_utf8_lossy(name);
            format!("prepared statement \"{name}\" does not exist")
        }
    };
    ErrorReply::error(SqlState::INVALID_SQL_STATEMENT_NAME, text)
}

/// Puts a message with the name servers have for its statement in the place of the client's. `more`
/// bytes of it follow later.
pub(crate) fn put_renamed(out: &mut BytesMut, message: &[u8], own: &[u8], more: usize) {
    let (tag, body) = (message.first(), message.get(HEADER_LEN..));
    let (tag, body) = (tag.copied().unwrap_or_default(), body.unwrap_or_default());
    // Before the name: the portal of a Bind, or what kind of thing Describe asks about.
    let before = match tag {
        tag::BIND => body.iter().position(|b| *b == 0).map_or(0, |at| at + 1),
        tag::PARSE => 0,
        _ => 1,
    };
    let (before, rest) = body.split_at(before.min(body.len()));
    let behind = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let rest = rest.get(behind..).unwrap_or_default();
    let len = 4 + before.len() + own.len() + rest.len() + more;
    out.reserve(1 + len);
    out.put_u8(tag);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.extend_from_slice(before);
    out.extend_from_slice(own);
    out.extend_from_slice(rest);
}

/// Whether values may be bound to it; of what is not understood nobody knows.
pub(crate) fn may_bind(analysis: &Analysis) -> bool {
    analysis.parameter_count > 0 || analysis.class == Class::Unknown
}

fn describe_local(out: &mut BytesMut, analysis: &Analysis) {
    match &analysis.console {
        Some(command) => console::put_description(out, command),
        None => encode::frame(out, b'n', b""),
    }
}
