//! The extended protocol: what each message of a batch means.
//!
//! Messages are sent on as they come; the answers are due in the same order. A batch normally stays
//! on one node. When it must change nodes, what is due from the first is awaited before anything is
//! sent to the second, so the order of answers is kept.

use std::rc::Rc;

use bytes::BufMut;
use pgsteer_core::NodeId;
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::{self, Target, tag};
use pgsteer_wire::malformed::malformed;
use pgsteer_wire::{ErrorReply, HEADER_LEN, Header, SqlState, encode, parameters};

use crate::batch::Batch;
use crate::console;
use crate::end::{End, unknown_message};
use crate::events::Watched;
use crate::flow::Request;
use crate::lost::Sent;
use crate::observe::Message;
use crate::prepared::{Parsed, Shown};
use crate::session::{Portal, Prepared, Session, already_prepared};
use crate::steering::Values;

/// Longest Parse the proxy keeps to repeat it on another server, in bytes; ours.
const PARSE_LEN_MAX: usize = 16 << 20;

/// Longest message that only carries names, in bytes; ours.
const NAMES_LEN_MAX: usize = 64 * 1024;

/// Name of a statement that does not exist.
const NO_STATEMENT: &[u8] = b"pgsteer: no such statement";

/// What is bound: the client's name for it, the statement if there is one, and what watches it.
type Bound = (Box<[u8]>, Option<Rc<Prepared>>, Option<Box<Watched>>);

/// A request that is sent, and what watches it.
type Sending = (Request, Option<Box<Watched>>);

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
                Some(header) => self.extended_frame(header, &mut batch).await?,
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
                    self.end_batch(batch, true).await?;
                    return Ok(Progress::Over);
                }
                self.skip(header).await?;
            }
            other => return self.end_inside(batch, unknown_message(other)).await,
        }
        Ok(Progress::More)
    }

    /// The session ends in the middle of a batch; what is due before that is answered.
    async fn end_inside<T>(&mut self, batch: &mut Batch, end: End) -> Result<T, End> {
        self.drain(batch).await?;
        Err(end)
    }

    async fn too_long(&mut self, header: Header, batch: &mut Batch) -> Result<Progress, End> {
        self.skip(header).await?;
        let len = header.frame_len();
        let text = format!("message of {len} bytes is longer than the proxy accepts");
        let reply = ErrorReply::error(SqlState::PROGRAM_LIMIT_EXCEEDED, text);
        self.fail(batch, &reply).await?;
        Ok(Progress::More)
    }

    /// The bytes of the client's next frame, as far as they are there.
    fn front(&self, header: Header) -> &[u8] {
        let have = header.frame_len().min(self.client.input.len());
        self.client.input.bytes().get(..have).unwrap_or_default()
    }

    fn front_body(&self, header: Header) -> &[u8] {
        self.front(header).get(HEADER_LEN..).unwrap_or_default()
    }

    async fn parse(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        self.meter.pool.client_parses.add(1);
        let frame: Box<[u8]> = self.front(header).into();
        self.client.input.consume(header.frame_len());
        let parsed = match self.parsed(frame)? {
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
        let local = needs_no_server(&analysis) && self.is_accepted_now(&analysis);
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
    fn is_prepared(&self, name: &[u8]) -> bool {
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

    /// A Parse as it is sent on: a plugin may have put another text in the place of the client's.
    fn parsed(&mut self, frame: Box<[u8]>) -> Result<Result<Parsed, ErrorReply>, End> {
        let body = frame.get(HEADER_LEN..).unwrap_or_default();
        let parse = frontend::parse(body)?;
        let analyses = &self.steering.worker.analyses;
        let analysis = analyses.borrow_mut().analyze(parse.text);
        self.note_trace(parse.text, analysis.fingerprint);
        let name: Box<[u8]> = parse.name.into();
        let replaced = if self.wants_rewrites() {
            match self.rewrite(&analysis, parse.text, true) {
                Ok(replaced) => replaced,
                Err(reply) => return Ok(Err(reply)),
            }
        } else {
            None
        };
        let Some(replaced) = replaced else {
            return Ok(Ok(Parsed {
                name,
                frame,
                analysis,
                map: None,
            }));
        };
        let map = replaced.map.clone();
        let mut new = bytes::BytesMut::new();
        parameters::put_parse(&mut new, body, replaced.text.as_bytes(), map.as_deref())?;
        Ok(Ok(Parsed {
            name,
            frame: new.as_ref().into(),
            analysis: Rc::clone(&replaced.analysis),
            map,
        }))
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

    /// In a failed transaction PostgreSQL parses only what ends it.
    fn is_accepted_now(&self, analysis: &Analysis) -> bool {
        let ends = matches!(
            analysis.sole_effect(),
            Some(
                Effect::Commit { .. }
                    | Effect::Rollback { .. }
                    | Effect::RollbackTo(_)
                    | Effect::PrepareTransaction
            )
        );
        ends || self.status() != TransactionStatus::Failed
    }

    async fn bind(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        self.meter.pool.binds.add(1);
        let bind = frontend::bind(self.front_body(header))?;
        let (portal, name): (Box<[u8]>, Box<[u8]>) = (bind.portal.into(), bind.statement.into());
        let prepared = self.known_prepared(&name);
        if self.shares() && !self.is_prepared(&name) {
            // The server may have one that is another session's.
            self.skip(header).await?;
            return self.fail(batch, &not_prepared(&name)).await;
        }
        let analysis = prepared.as_ref().map(|p| Rc::clone(&p.analysis));
        if let Some(local) = analysis.as_ref().filter(|a| self.is_local_in(batch, a)) {
            self.skip(header).await?;
            let begins = matches!(local.sole_effect(), Some(Effect::Begin { .. }));
            if begins && !self.close_part(batch).await? {
                return Ok(());
            }
            self.portals.insert(portal, Portal::local(analysis));
            return self
                .answer(batch, |out| encode::frame(out, b'2', b""))
                .await;
        }
        if let Some(prepared) = &prepared
            && let Err(reply) = self.ask_again(prepared)
        {
            self.skip(header).await?;
            return self.fail(batch, &reply).await;
        }
        let map = prepared.as_ref().and_then(|p| p.map.clone());
        let seen = self
            .values_of(header, prepared.as_deref(), map.as_deref())
            .await?;
        let mut room = Vec::new();
        let values = seen.shown(&mut room);
        let placed = self.choose_prepared(batch, prepared.as_deref(), values);
        let Some(node) = placed.await? else {
            return self.skip(header).await;
        };
        let text = prepared.as_ref().filter(|_| self.is_observed());
        let text: Option<Rc<[u8]>> = text.map(|p| p.text().into());
        let shown = text.as_deref().unwrap_or_default();
        if !self.observe_in(batch, node, Message::Bind, shown).await? {
            return self.skip(header).await;
        }
        match &prepared {
            Some(prepared) => {
                if !self.check_description(batch, node, &name, prepared).await? {
                    return self.skip(header).await;
                }
                self.put_preparation(node, &name, prepared);
            }
            None => self.put_stale(node),
        }
        let traits = analysis.as_ref().map_or(0, |a| batch.last_traits(node, a));
        let watched = analysis.as_ref().and_then(|a| self.watch(a, traits, node));
        let bound = Portal {
            node: Some(node),
            analysis,
            traits,
            text,
        };
        self.portals.insert(portal, bound);
        self.pass_on_bind(header, batch, node, (name, prepared, watched))
            .await
    }

    /// Sends a Bind, with the names and the values that the server knows.
    async fn pass_on_bind(
        &mut self,
        header: Header,
        batch: &mut Batch,
        node: NodeId,
        of: Bound,
    ) -> Result<(), End> {
        let (name, prepared, watched) = of;
        let map = prepared.as_ref().and_then(|p| p.map.clone());
        let own = match &prepared {
            Some(prepared) if *prepared.name != *name => Some(Rc::clone(&prepared.name)),
            _ => None,
        };
        let request = Request::Bind {
            renamed: own.clone().map(|own| Box::new((own, name))),
        };
        match (map, own) {
            (Some(map), own) => {
                let request = (request, watched);
                self.bind_mapped(header, batch, node, (&map, own, request))
                    .await
            }
            (None, Some(own)) => {
                self.pass_on_renamed(header, node, &own, (request, watched));
                Ok(())
            }
            (None, None) => {
                self.pass_on_watched(header, node, request, watched);
                Ok(())
            }
        }
    }

    /// The values of the Bind at the front, as far as a plugin wants to see them; if there is a map
    /// the message must be whole to be changed.
    async fn values_of(
        &mut self,
        header: Header,
        prepared: Option<&Prepared>,
        map: Option<&[u16]>,
    ) -> Result<Shown, End> {
        let wanted = self.steering.worker.policies.borrow().wanted().values;
        let has_some = prepared.is_some_and(|p| may_bind(&p.analysis));
        if map.is_some() && header.frame_len() <= PARSE_LEN_MAX {
            self.complete(header, PARSE_LEN_MAX).await?;
        }
        if !wanted || !has_some {
            return Ok(Shown::Nothing);
        }
        if header.frame_len() > NAMES_LEN_MAX {
            return Ok(Shown::Withheld);
        }
        self.complete(header, NAMES_LEN_MAX).await?;
        Shown::read(self.front_body(header), map)
    }

    /// A Bind of values for a text whose parameters are numbered in another way.
    async fn bind_mapped(
        &mut self,
        header: Header,
        batch: &mut Batch,
        node: NodeId,
        (map, own, request): (&[u16], Option<Rc<[u8]>>, Sending),
    ) -> Result<(), End> {
        if header.frame_len() > PARSE_LEN_MAX {
            return self.too_long(header, batch).await.map(|_| ());
        }
        let mut message = bytes::BytesMut::new();
        let put = parameters::put_bind(&mut message, self.front_body(header), map);
        self.client.input.consume(header.frame_len());
        if put.is_err() {
            let text =
                "the message binds another number of values than the statement has parameters";
            let reply = ErrorReply::error(SqlState::PROTOCOL_VIOLATION, text);
            return self.fail(batch, &reply).await;
        }
        if let Some(own) = own {
            message = renamed(&message, &own, 0);
        }
        if let Some(leg) = self.held(node) {
            leg.connection().channel.output.extend_from_slice(&message);
        }
        self.flow.expect_watched(request.0, request.1);
        Ok(())
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

    async fn describe_statement(
        &mut self,
        header: Header,
        batch: &mut Batch,
        name: &[u8],
    ) -> Result<(), End> {
        let prepared = self.known_prepared(name);
        if let Err(reply) = self.check_text(name) {
            self.skip(header).await?;
            return self.fail(batch, &reply).await;
        }
        if self.shares() && !self.is_prepared(name) {
            self.skip(header).await?;
            return self.fail(batch, &not_prepared(name)).await;
        }
        if let Some(prepared) = prepared.as_ref().filter(|p| needs_no_server(&p.analysis)) {
            self.skip(header).await?;
            let put = |out: &mut bytes::BytesMut| {
                encode::frame(out, b't', &[0, 0]);
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
            Some(prepared) => self.put_preparation(node, name, prepared),
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
        if let Some(Portal {
            node: None,
            analysis: Some(analysis),
            ..
        }) = portal
        {
            self.skip(header).await?;
            return self.execute_local(batch, &analysis).await;
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
            self.count(node, analysis);
        }
        let watched = analysis.as_ref().and_then(|a| self.watch(a, traits, node));
        let ends = |a: &Rc<Analysis>| {
            matches!(
                a.sole_effect(),
                Some(Effect::Commit { .. } | Effect::Rollback { .. })
            )
        };
        let ends = self.enforced.is_some() && analysis.as_ref().is_some_and(ends);
        let sent = analysis.as_ref().map_or(Sent::Inside, |a| Sent::of(a));
        let analysis = analysis.filter(|a| a.may_change_session());
        let request = Request::Execute {
            analysis,
            copies,
            sent,
        };
        self.pass_on_watched(header, node, request, watched);
        if ends {
            // What comes next is a new transaction, which begins with what a plugin wants set.
            self.close_part(batch).await?;
        }
        Ok(())
    }

    async fn execute_local(&mut self, batch: &mut Batch, analysis: &Analysis) -> Result<(), End> {
        if !self.drain(batch).await? {
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
        match self.control_transaction(analysis).await {
            Ok(()) => Ok(()),
            Err(reply) => self.fail(batch, &reply).await,
        }
    }

    async fn flush_batch(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        self.client.input.consume(header.frame_len());
        self.client.flush().await?;
        if let Some(leg) = batch.active.and_then(|node| self.held(node)) {
            encode::frame(&mut leg.connection().channel.output, tag::FLUSH, b"");
        }
        Ok(())
    }

    /// Copied data: for a server that is about to take it, which is found out first; else it was
    /// on its way when the copy had failed already.
    async fn copied_data(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        if self.flow.may_copy() {
            self.drain(batch).await?;
            return Ok(());
        }
        self.skip(header).await
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
    fn pass_on_renamed(&mut self, header: Header, node: NodeId, own: &[u8], request: Sending) {
        self.flow.expect_watched(request.0, request.1);
        let len = header.frame_len().min(self.client.input.len());
        let (input, legs) = (&mut self.client.input, &mut self.legs);
        if let Some(leg) = legs.iter_mut().find(|leg| leg.node == node) {
            let bytes = input.bytes().get(..len).unwrap_or_default();
            let message = renamed(bytes, own, header.frame_len() - len);
            leg.connection().channel.output.extend_from_slice(&message);
        }
        input.consume(len);
        self.flow.up_left = header.frame_len() - len;
    }

    fn pass_on_watched(
        &mut self,
        header: Header,
        node: NodeId,
        request: Request,
        watched: Option<Box<Watched>>,
    ) {
        self.flow.expect_watched(request, watched);
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

/// PostgreSQL's words for it.
fn not_prepared(name: &[u8]) -> ErrorReply {
    let text = match name {
        b"" => "unnamed prepared statement does not exist".to_owned(),
        name => {
            let name = String::from_utf8_lossy(name);
            format!("prepared statement \"{name}\" does not exist")
        }
    };
    ErrorReply::error(SqlState::INVALID_SQL_STATEMENT_NAME, text)
}

/// A message with the name servers have for its statement in the place of the client's. `more` bytes
/// of it follow later.
pub(crate) fn renamed(message: &[u8], own: &[u8], more: usize) -> bytes::BytesMut {
    let mut out = bytes::BytesMut::with_capacity(message.len() + own.len());
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
    out.put_u8(tag);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.extend_from_slice(before);
    out.extend_from_slice(own);
    out.extend_from_slice(rest);
    out
}

/// Whether values may be bound to it; of what is not understood nobody knows.
fn may_bind(analysis: &Analysis) -> bool {
    analysis.parameter_count > 0 || analysis.class == Class::Unknown
}

/// Whether Parse and Describe of it are answered without a server: it has neither parameters nor
/// rows of its own, and where it runs is known at Bind only.
fn needs_no_server(analysis: &Analysis) -> bool {
    analysis.console.is_some() || analysis.is_transaction_control()
}

fn describe_local(out: &mut bytes::BytesMut, analysis: &Analysis) {
    match &analysis.console {
        Some(command) => console::put_description(out, command),
        None => encode::frame(out, b'n', b""),
    }
}
