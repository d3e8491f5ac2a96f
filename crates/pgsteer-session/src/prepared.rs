//! Prepared statements: what the client believes to have, and which server has it.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use bytes::BytesMut;
use pgsteer_core::policy::{OwnedValue, Value};
use pgsteer_core::{Generation, NodeId};
use pgsteer_pool::ServerLost;
use pgsteer_sql::Analysis;
use pgsteer_wire::parameters::{self, Bound};
use pgsteer_wire::{ErrorReply, HEADER_LEN, SqlState, encode, frontend};

use crate::batch::Batch;
use crate::end::End;
use crate::extended::put_renamed;
use crate::flow::{Lost, Request};
use crate::leg::Leg;
use crate::run::may_run;
use crate::session::{Prepared, Session, Soon, at_once, later};
use crate::statements::{Context, Shared};
use crate::steering::Values;

/// Memory for the prepared statements of one session, in bytes; ours.
const PREPARED_BYTES_MAX: usize = 64 << 20;

/// A Parse as servers are sent it.
pub(crate) struct Parsed {
    pub(crate) name: Box<[u8]>,
    frame: Rc<[u8]>,
    text_at: Range<usize>,
    /// See [`Prepared::parameter_count`].
    parameter_count: u16,
    pub(crate) analysis: Rc<Analysis>,
    /// See [`Prepared::map`].
    pub(crate) map: Option<Rc<[u16]>>,
}

impl Parsed {
    /// A message that was read.
    pub(crate) fn new(
        frame: Rc<[u8]>,
        parse: &frontend::Parse<'_>,
        analysis: Rc<Analysis>,
        map: Option<Rc<[u16]>>,
    ) -> Self {
        Self {
            name: parse.name.into(),
            text_at: text_at(parse),
            parameter_count: analysis.parameter_count.max(parse.type_count),
            frame,
            analysis,
            map,
        }
    }

    /// The same as before, in which no plugin has changed anything.
    pub(crate) fn again(last: &Prepared) -> Self {
        Self {
            name: last.client_name.clone(),
            frame: Rc::clone(&last.frame),
            text_at: last.text_at.clone(),
            parameter_count: last.parameter_count,
            analysis: Rc::clone(&last.analysis),
            map: None,
        }
    }
}

/// Values of a Bind, copied for the plugins that want to see them.
pub(crate) enum Shown {
    /// Nobody wants to, or there are none.
    Nothing,
    /// They are too long.
    Withheld,
    /// These.
    Values(Vec<OwnedValue>),
}

impl Shown {
    /// Reads the values of a Bind, in the order of the statement's own parameters.
    pub(crate) fn read(body: &[u8], map: Option<&[u16]>) -> Result<Self, End> {
        let (bound, _) = parameters::bound(body)?;
        let own = |bound: &Bound<'_>| match bound.bytes {
            None => OwnedValue::Null,
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !bound.binary => OwnedValue::Text(text.to_owned()),
                _ => OwnedValue::Binary(bytes.to_vec()),
            },
        };
        let Some(map) = map else {
            return Ok(Self::Values(bound.iter().map(own).collect()));
        };
        let of = |number: &u16| {
            let index = usize::from(*number).checked_sub(1);
            index.and_then(|i| bound.get(i)).map(own)
        };
        let mapped: Option<Vec<_>> = map.iter().map(of).collect();
        Ok(mapped.map_or(Self::Withheld, Self::Values))
    }

    /// In the form plugins are told; `room` keeps them.
    pub(crate) fn shown<'a>(&'a self, room: &'a mut Vec<Value<'a>>) -> Values<'a> {
        match self {
            Self::Nothing => Values::None,
            Self::Withheld => Values::Withheld,
            Self::Values(values) => {
                room.extend(values.iter().map(|value| match value {
                    OwnedValue::Null => Value::Null,
                    OwnedValue::Text(text) => Value::Text(text),
                    OwnedValue::Binary(bytes) => Value::Binary(bytes),
                }));
                Values::Known(room)
            }
        }
    }
}

/// Where the text stands in a Parse message.
fn text_at(parse: &frontend::Parse<'_>) -> Range<usize> {
    let start = HEADER_LEN + parse.name.len() + 1;
    start..start + parse.text.len()
}

/// The same under the name servers know it by.
fn text_under(own: &[u8], name: &[u8], text_at: &Range<usize>) -> Range<usize> {
    let moved = |at: usize| at - name.len() + own.len();
    moved(text_at.start)..moved(text_at.end)
}

impl Session {
    /// Keeps a Parse message under its name.
    pub(crate) fn remember_prepared(&mut self, parsed: Parsed) -> Result<Rc<Prepared>, ErrorReply> {
        let Parsed {
            name,
            frame,
            text_at,
            parameter_count,
            analysis,
            map,
        } = parsed;
        let is_too_much = |bytes: usize| bytes + frame.len() > PREPARED_BYTES_MAX;
        // The next Parse of the unnamed one takes its place on servers, too.
        if !name.is_empty() || is_too_much(self.prepared_bytes) {
            self.forget_prepared(&name, None);
        }
        if is_too_much(self.prepared_bytes) {
            let text = "prepared statements of this session need more memory than allowed";
            return Err(ErrorReply::error(SqlState::PROGRAM_LIMIT_EXCEEDED, text)
                .with_hint("Close statements that are not needed any more."));
        }
        let context = self.parse_context();
        let shares = self.shares() && !name.is_empty();
        let Shared {
            id,
            name: own,
            frame,
        } = self.on_servers(&name, frame, context);
        let prepared = Rc::new(Prepared {
            id,
            client_name: name.clone(),
            text_at: text_under(&own, &name, &text_at),
            name: own,
            frame,
            parameter_count,
            context,
            is_shared: shares,
            runs: map.is_none() && may_run(&analysis),
            analysis,
            map,
            chain: Cell::new(self.steering.worker.policies.borrow().chain()),
            described: Cell::default(),
        });
        self.prepared_bytes += prepared.frame.len();
        if let Some(old) = self.prepared.insert(name, Rc::clone(&prepared)) {
            self.prepared_bytes -= old.frame.len().min(self.prepared_bytes);
        }
        Ok(prepared)
    }

    /// What a statement is parsed under now.
    fn parse_context(&mut self) -> Context {
        let (settings, transaction) = (&self.settings, &self.transaction);
        let hasher = &self.steering.worker.hasher;
        Context {
            parameters: self.parse_parameters.number(hasher, settings, transaction),
            schema: self.steering.names.schema(),
        }
    }

    /// How a statement of the client is called on servers. The unnamed one is the client's own: the
    /// next one takes its place.
    fn on_servers(&self, name: &[u8], frame: Rc<[u8]>, context: Context) -> Shared {
        let worker = &self.steering.worker;
        let mut book = worker.statements.borrow_mut();
        let shares = self.shares() && !name.is_empty();
        let shared = shares.then(|| book.shared(&frame, context, || worker.next_parse()));
        match shared {
            Some(Ok(shared)) => (*shared).clone(),
            _ => Shared {
                id: worker.next_parse(),
                name: name.into(),
                frame,
            },
        }
    }

    /// The statement of this name. If it is shared and the session has set something since that may
    /// give it another meaning, it is another one on the servers.
    pub(crate) fn known_prepared(&mut self, name: &[u8]) -> Option<Rc<Prepared>> {
        let known = Rc::clone(self.prepared.get(name)?);
        Some(self.as_of_now(known))
    }

    /// A statement as servers are to know it under what the session has set by now.
    pub(crate) fn as_of_now(&mut self, prepared: Rc<Prepared>) -> Rc<Prepared> {
        let name = &*prepared.client_name;
        if !self.shares() || name.is_empty() {
            return prepared;
        }
        let context = Context {
            schema: prepared.context.schema,
            ..self.parse_context()
        };
        if context == prepared.context {
            return prepared;
        }
        let frame = Rc::clone(&prepared.frame);
        let Shared {
            id,
            name: own,
            frame,
        } = self.on_servers(name, frame, context);
        let again = Rc::new(Prepared {
            id,
            text_at: text_under(&own, &prepared.name, &prepared.text_at),
            name: own,
            frame,
            context,
            ..Prepared::clone(&prepared)
        });
        self.prepared.insert(name.into(), Rc::clone(&again));
        again
    }

    /// Forgets a prepared statement; servers that have it are told when they are used next, except
    /// the one that knows already. Those that are shared stay there for others.
    pub(crate) fn forget_prepared(&mut self, name: &[u8], knows: Option<NodeId>) {
        if let Some(old) = self.prepared.remove(name) {
            self.prepared_bytes -= old.frame.len().min(self.prepared_bytes);
        }
        for leg in &mut self.legs {
            // The unnamed statement needs no Close: the next Parse takes its place.
            let node = leg.node;
            let told = leg.told();
            if told.statements.remove(name) && Some(node) != knows && !name.is_empty() {
                told.stale.push(name.into());
            }
        }
    }

    /// A Parse came to nothing: its name means what it meant before.
    pub(crate) fn take_back_prepared(&mut self, name: &[u8], before: Option<Rc<Prepared>>) {
        self.forget_prepared(name, None);
        if let Some(before) = before {
            self.prepared_bytes += before.frame.len();
            self.prepared.insert(name.into(), before);
        }
    }

    /// EXECUTE in SQL means a statement of the protocol, which servers know under another name: it is
    /// prepared there under the client's, too. Others who get that server find nothing of it.
    pub(crate) async fn expose(
        &mut self,
        node: NodeId,
        analysis: &Analysis,
        in_batch: bool,
    ) -> Result<(), ServerLost> {
        let Some(name) = analysis.executes.as_deref() else {
            return Ok(());
        };
        if self.sql_prepared.get(name).is_some() {
            return Ok(());
        }
        let Some(prepared) = self.known_prepared(name.as_bytes()) else {
            return Ok(());
        };
        let session = self.steering.identity.session;
        // Its server is its own in session mode, and nobody else will find it there.
        let mark = self.shares().then(|| self.sql_prepared.mark(session));
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return Ok(());
        };
        let told = leg.told();
        if told.statements.is_used(name.as_bytes(), prepared.id) {
            return Ok(());
        }
        told.statements
            .insert(name.as_bytes(), prepared.id, prepared.frame.len());
        told.sql = mark.or(told.sql);
        let mut message = BytesMut::new();
        put_renamed(&mut message, &prepared.frame, name.as_bytes(), 0);
        if leg.busy || in_batch {
            leg.connection().channel.output.extend_from_slice(&message);
            self.flow.expect_hidden(Request::Parse {
                name: name.as_bytes().into(),
                own: name.as_bytes().into(),
                id: prepared.id,
                before: None,
            });
            return Ok(());
        }
        leg.connection().run_message(&message).await.map(|_| ())
    }

    /// Forgets all of them, after DEALLOCATE ALL on one server.
    pub(crate) fn forget_all_prepared(&mut self, knows: NodeId) {
        // The unnamed one stays.
        let named = self.prepared.keys().filter(|name| !name.is_empty());
        let names: Vec<_> = named.cloned().collect();
        for name in names {
            self.forget_prepared(&name, Some(knows));
        }
    }

    /// Other plugins may be in force than those that had their say when it was prepared: they have
    /// theirs now. It keeps its text, which the client was told about; it may be refused.
    ///
    /// # Errors
    /// A plugin refuses it.
    pub(crate) fn ask_again(&mut self, prepared: &Prepared) -> Result<(), ErrorReply> {
        let wants = self.wants_rewrites();
        let chain = self.steering.worker.policies.borrow().chain();
        if prepared.chain.replace(chain) == chain || !wants {
            return Ok(());
        }
        let asked = self.rewrite(&prepared.analysis, prepared.text(), true);
        if asked.is_err() {
            prepared.chain.set(Generation::default());
        }
        asked.map(|_| ())
    }

    /// Puts in front what a server needs before it can be asked for this statement: Close of what
    /// was forgotten, Parse of what it does not have.
    pub(crate) fn put_preparation(&mut self, node: NodeId, prepared: &Prepared) {
        self.put_stale(node);
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return;
        };
        if leg.told().statements.is_used(&prepared.name, prepared.id) {
            return;
        }
        leg.put_parse(prepared);
        self.meter.pool.server_parses.add(1);
        self.flow.expect_hidden(Request::Parse {
            name: prepared.client_name.clone(),
            own: Rc::clone(&prepared.name),
            id: prepared.id,
            before: None,
        });
        self.put_stale(node);
    }

    /// The schema may have changed since the client was told what rows a statement gives, and this server
    /// is about to parse it anew: PostgreSQL would refuse to run it with other rows, so it is looked at
    /// first. `false` if the batch has failed.
    pub(crate) fn check_description<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        node: NodeId,
        prepared: &'a Prepared,
    ) -> Soon<'a, Result<bool, End>> {
        let is_named = !prepared.client_name.is_empty();
        let Some(described) = prepared.described.get().filter(|_| is_named) else {
            return at_once(Ok(true));
        };
        if prepared.context.schema == self.steering.names.schema() {
            return at_once(Ok(true));
        }
        let known = |leg: &mut Leg| leg.told().statements.id(&prepared.name) == Some(prepared.id);
        if self.held(node).is_none_or(known) {
            return at_once(Ok(!batch.failed));
        }
        later(self.describes_the_same(batch, node, prepared, described))
    }

    /// Whether a server describes a statement as another did before.
    async fn describes_the_same(
        &mut self,
        batch: &mut Batch,
        node: NodeId,
        prepared: &Prepared,
        described: u64,
    ) -> Result<bool, End> {
        if !self.drain(batch).await? {
            return Ok(false);
        }
        self.put_preparation(node, prepared);
        if let Some(leg) = self.held(node) {
            encode::describe_statement(&mut leg.connection().channel.output, &prepared.name);
        }
        self.flow.description = None;
        self.flow.expect_hidden(Request::Describe {
            map: None,
            of: None,
        });
        if !self.drain(batch).await? || self.flow.description == Some(described) {
            return Ok(!batch.failed);
        }
        if let Some(leg) = self.held(node) {
            let told = leg.told();
            told.statements.remove(&prepared.name);
            told.stale.push((*prepared.name).into());
        }
        let text = "cached plan must not change result type";
        let reply = ErrorReply::error(SqlState::FEATURE_NOT_SUPPORTED, text);
        self.fail(batch, &reply).await?;
        Ok(false)
    }

    /// A server that parses a statement anew may find fault with its text, where one that has it would
    /// only have seen that the number of values is wrong.
    ///
    /// # Errors
    /// It is: PostgreSQL's words for it.
    pub(crate) fn check_count(
        &mut self,
        node: NodeId,
        prepared: &Prepared,
        counts: Option<(u16, u16)>,
    ) -> Result<(), ErrorReply> {
        let known = |leg: &mut Leg| leg.told().statements.id(&prepared.name) == Some(prepared.id);
        if self.held(node).is_none_or(known) {
            return Ok(());
        }
        prepared.check_count(&prepared.client_name, counts)
    }

    /// Puts Close of what was forgotten in front.
    pub(crate) fn put_stale(&mut self, node: NodeId) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return;
        };
        if leg.told().stale.is_empty() {
            return;
        }
        for name in std::mem::take(&mut leg.told().stale) {
            encode::close_statement(&mut leg.connection().channel.output, &name);
            self.flow
                .expect_hidden(Request::Close { stale: Some(name) });
        }
    }

    /// What an error swept away: that server does not have those statements, or still has them, and
    /// the client does not have those it had no ParseComplete for.
    pub(crate) fn forget_lost(&mut self, node: NodeId) {
        // The last first: each gives its name back to what was there before it.
        for lost in std::mem::take(&mut self.flow.lost).into_iter().rev() {
            let (name, own, id, before, hidden) = match lost {
                Lost::Parse {
                    name,
                    own,
                    id,
                    before,
                    hidden,
                } => (name, own, id, before, hidden),
                Lost::Close { name } => {
                    if let Some(leg) = self.held(node) {
                        leg.told().stale.push(name);
                    }
                    continue;
                }
            };
            if let Some(own) = own
                && let Some(leg) = self.held(node)
                && leg.told().statements.id(&own) == Some(id)
            {
                leg.told().statements.remove(&own);
            }
            let known = self.prepared.get(&name).is_some_and(|p| p.id == id);
            if known && !hidden {
                self.take_back_prepared(&name, before);
            }
        }
    }
}
