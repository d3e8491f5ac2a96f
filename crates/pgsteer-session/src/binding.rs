//! Bind: a statement and its values become a portal, on the node where it is to run.

use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_sql::Analysis;
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::{ErrorReply, Header, SqlState, encode, frontend, parameters};

use crate::batch::Batch;
use crate::end::End;
use crate::events::Watched;
use crate::extended::{
    NAMES_LEN_MAX, PARSE_LEN_MAX, Sending, front_body, is_accepted_in_failed, may_bind,
    not_prepared, put_renamed,
};
use crate::flow::Request;
use crate::observe::Message;
use crate::portals::Portal;
use crate::prepared::Shown;
use crate::session::{Prepared, Rare, Session, Soon, at_once, later};

/// A Bind that was read.
struct Binding {
    portal: Box<[u8]>,
    prepared: Option<Rc<Prepared>>,
    /// See [`frontend::Bind`].
    counts: Option<(u16, u16)>,
}

impl Session {
    pub(crate) async fn bind(&mut self, header: Header, batch: &mut Batch) -> Result<(), End> {
        self.meter.pool.binds.add(1);
        let bind = frontend::bind(front_body(&self.client, header))?;
        let (portal, counts): (Box<[u8]>, _) = (bind.portal.into(), bind.counts);
        let known = self.prepared.get(bind.statement).map(Rc::clone);
        if known.is_none() && self.shares() && !self.is_prepared(bind.statement) {
            // The server may have one that is another session's.
            let reply = not_prepared(bind.statement);
            return self.refuse(header, batch, reply).await;
        }
        let prepared = known.map(|known| self.as_of_now(known));
        if let Some(prepared) = &prepared
            && self.is_local_in(batch, &prepared.analysis)
        {
            self.skip(header).await?;
            if let Err(reply) = prepared.check_count(&prepared.client_name, counts) {
                return self.fail(batch, &reply).await;
            }
            return self.bind_local(batch, portal, &prepared.analysis).await;
        }
        if let Some(prepared) = &prepared
            && let Err(reply) = self.ask_again(prepared)
        {
            return self.refuse(header, batch, reply).await;
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
        self.bind_on(
            header,
            batch,
            node,
            Binding {
                portal,
                prepared,
                counts,
            },
        )
        .await
    }

    /// Binds on a node, which is first told what it must know.
    async fn bind_on(
        &mut self,
        header: Header,
        batch: &mut Batch,
        node: NodeId,
        binding: Binding,
    ) -> Result<(), End> {
        let Binding {
            portal,
            prepared,
            counts,
        } = binding;
        let analysis = prepared.as_ref().map(|p| Rc::clone(&p.analysis));
        let checked = match &prepared {
            // Of no statement, and in a failed transaction, the server has something else to say first.
            None => Ok(()),
            Some(prepared) => {
                let counted = self.check_count(node, prepared, counts);
                let failed = self.status() == TransactionStatus::Failed;
                counted.and_then(|()| match failed {
                    true => Ok(()),
                    false => self.portals.check_free(&portal, Some(node)),
                })
            }
        };
        if let Err(reply) = checked {
            return self.refuse(header, batch, reply).await;
        }
        let text = prepared.as_ref().filter(|_| self.is_observed());
        let text: Option<Rc<[u8]>> = text.map(|p| p.text().into());
        let shown = text.as_deref().unwrap_or_default();
        if !self.observe_in(batch, node, Message::Bind, shown).await? {
            return self.skip(header).await;
        }
        match &prepared {
            Some(prepared) => {
                if !self.check_description(batch, node, prepared).await? {
                    return self.skip(header).await;
                }
                self.put_preparation(node, prepared);
            }
            None => self.put_stale(node),
        }
        let traits = analysis.as_ref().map_or(0, |a| batch.last_traits(node, a));
        let watched = analysis.as_ref().and_then(|a| self.watch(a, traits, node));
        let bound = Portal::on(node, analysis, traits, text);
        self.portals.insert(portal, bound);
        self.pass_on_bind(header, batch, node, (prepared, watched))
            .await
    }

    /// Binds what the proxy answers itself.
    fn bind_local<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        portal: Box<[u8]>,
        analysis: &'a Rc<Analysis>,
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            if self.status() == TransactionStatus::Failed && !is_accepted_in_failed(analysis) {
                let reply = self.tell_loss();
                return self.fail(batch, &reply).await;
            }
            if let Err(reply) = self.portals.check_free(&portal, None) {
                return self.fail(batch, &reply).await;
            }
            let local = Portal::local(Some(Rc::clone(analysis)));
            self.portals.insert(portal, local);
            self.answer(batch, |out| encode::frame(out, b'2', b""))
                .await
        })
    }

    /// Sends a Bind, with the names and the values that the server knows.
    async fn pass_on_bind(
        &mut self,
        header: Header,
        batch: &mut Batch,
        node: NodeId,
        (prepared, watched): (Option<Rc<Prepared>>, Option<Box<Watched>>),
    ) -> Result<(), End> {
        let map = prepared.as_ref().and_then(|p| p.map.clone());
        let renamed = prepared.filter(|p| *p.name != *p.client_name);
        let own = renamed.as_ref().map(|p| Rc::clone(&p.name));
        let request = (Request::Bind { renamed }, watched);
        match (map, own) {
            (Some(map), own) => {
                return self
                    .bind_mapped(header, batch, node, (&map, own, request))
                    .await;
            }
            (None, Some(own)) => self.pass_on_renamed(header, node, &own, request),
            (None, None) => self.pass_on_watched(header, node, request.0, request.1),
        }
        Ok(())
    }

    /// The values of the Bind at the front, as far as a plugin wants to see them; if there is a map
    /// the message must be whole to be changed.
    fn values_of<'a>(
        &'a mut self,
        header: Header,
        prepared: Option<&Prepared>,
        map: Option<&'a [u16]>,
    ) -> Soon<'a, Result<Shown, End>> {
        let wanted = self.steering.worker.policies.borrow().wanted().values;
        let shows = wanted && prepared.is_some_and(|p| may_bind(&p.analysis));
        if !shows && map.is_none() {
            return at_once(Ok(Shown::Nothing));
        }
        later(async move {
            if map.is_some() && header.frame_len() <= PARSE_LEN_MAX {
                self.complete(header, PARSE_LEN_MAX).await?;
            }
            if !shows {
                return Ok(Shown::Nothing);
            }
            if header.frame_len() > NAMES_LEN_MAX {
                return Ok(Shown::Withheld);
            }
            self.complete(header, NAMES_LEN_MAX).await?;
            Shown::read(self.front_body(header), map)
        })
    }

    /// A Bind of values for a text whose parameters are numbered in another way.
    fn bind_mapped<'a>(
        &'a mut self,
        header: Header,
        batch: &'a mut Batch,
        node: NodeId,
        (map, own, request): (&'a [u16], Option<Rc<[u8]>>, Sending),
    ) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
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
                let mut named = bytes::BytesMut::new();
                put_renamed(&mut named, &message, &own, 0);
                message = named;
            }
            if let Some(leg) = self.held(node) {
                leg.connection().channel.output.extend_from_slice(&message);
            }
            self.flow.expect_watched(request.0, request.1);
            Ok(())
        })
    }
}
