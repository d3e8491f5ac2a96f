//! Prepared statements: what the client believes to have, and which server has it.

use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_sql::Analysis;
use pgsteer_wire::{ErrorReply, SqlState, encode};

use crate::flow::Request;
use crate::session::{Prepared, Session};

/// Memory for the prepared statements of one session, in bytes; ours.
const PREPARED_BYTES_MAX: usize = 64 << 20;

impl Session {
    /// Keeps a Parse message under its name.
    pub(crate) fn remember_prepared(
        &mut self,
        name: &[u8],
        frame: Box<[u8]>,
        analysis: Rc<Analysis>,
    ) -> Result<Rc<Prepared>, ErrorReply> {
        self.forget_prepared(name, None);
        self.prepared_bytes += frame.len();
        if self.prepared_bytes > PREPARED_BYTES_MAX {
            self.prepared_bytes -= frame.len();
            let text = "prepared statements of this session need more memory than allowed";
            return Err(ErrorReply::error(SqlState::PROGRAM_LIMIT_EXCEEDED, text)
                .with_hint("Close statements that are not needed any more."));
        }
        self.next_parse += 1;
        let prepared = Rc::new(Prepared {
            id: self.next_parse,
            frame,
            analysis,
        });
        self.prepared.insert(name.into(), Rc::clone(&prepared));
        Ok(prepared)
    }

    /// Forgets a prepared statement; servers that have it are told when they are used next, except
    /// the one that knows already.
    pub(crate) fn forget_prepared(&mut self, name: &[u8], knows: Option<NodeId>) {
        if let Some(old) = self.prepared.remove(name) {
            self.prepared_bytes -= old.frame.len().min(self.prepared_bytes);
        }
        for leg in &mut self.legs {
            // The unnamed statement needs no Close: the next Parse takes its place.
            let known = leg.prepared.remove(name).is_some();
            if known && Some(leg.node) != knows && !name.is_empty() {
                leg.stale.push(name.into());
            }
        }
    }

    /// Forgets all of them, after DEALLOCATE ALL on one server.
    pub(crate) fn forget_all_prepared(&mut self, knows: NodeId) {
        let names: Vec<_> = self.prepared.keys().cloned().collect();
        for name in names {
            self.forget_prepared(&name, Some(knows));
        }
    }

    /// Puts in front what a server needs before it can be asked for this statement: Close of what
    /// was forgotten, Parse of what it does not have.
    pub(crate) fn put_preparation(&mut self, node: NodeId, name: &[u8], prepared: &Prepared) {
        self.put_stale(node);
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return;
        };
        if leg.prepared.get(name) == Some(&prepared.id) {
            return;
        }
        let out = &mut leg.connection().channel.output;
        out.extend_from_slice(&prepared.frame);
        leg.prepared.insert(name.into(), prepared.id);
        self.flow.expect_hidden(Request::Parse {
            name: name.into(),
            id: prepared.id,
        });
    }

    /// Puts Close of what was forgotten in front.
    pub(crate) fn put_stale(&mut self, node: NodeId) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return;
        };
        for name in std::mem::take(&mut leg.stale) {
            encode::close_statement(&mut leg.connection().channel.output, &name);
            self.flow.expect_hidden(Request::Close);
        }
    }

    /// Parse messages an error swept away: that server does not have those statements, and the
    /// client does not have those it had no ParseComplete for.
    pub(crate) fn forget_lost(&mut self, node: NodeId) {
        for lost in std::mem::take(&mut self.flow.lost) {
            if let Some(leg) = self.held(node)
                && leg.prepared.get(&lost.name) == Some(&lost.id)
            {
                leg.prepared.remove(&lost.name);
            }
            let known = self
                .prepared
                .get(&lost.name)
                .is_some_and(|p| p.id == lost.id);
            if known && !lost.hidden {
                self.forget_prepared(&lost.name, None);
            }
        }
    }
}
