//! What plugins that watch are told: where a statement went, how long it took, what came back. While
//! nobody watches, nothing is counted and no clock is read.

use std::rc::Rc;
use std::time::Instant;

use pgsteer_core::NodeId;
use pgsteer_sql::Analysis;
use pgsteer_wire::ErrorReply;

use crate::policies::Seen;
use crate::session::Session;

/// A statement on its way.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    fingerprint: u64,
    class: u16,
    traits: u64,
    node: NodeId,
    start: Instant,
}

impl Watched {
    /// A statement that is sent to a node now.
    pub(crate) fn new(analysis: &Analysis, traits: u64, node: NodeId) -> Box<Self> {
        Box::new(Self {
            fingerprint: analysis.fingerprint,
            class: analysis.class as u16,
            traits,
            node,
            start: Instant::now(),
        })
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Somebody wants to know.
    pub(crate) counts: bool,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// SQLSTATE of the first error; zeros for none.
    pub(crate) error: [u8; 5],
}

impl Tally {
    /// A new exchange begins.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            counts: self.counts,
            ..Self::default()
        };
    }

    /// A frame goes to the client. Hot.
    pub(crate) fn add_bytes(&mut self, len: usize) {
        if self.counts {
            self.bytes += len as u64;
        }
    }

    /// A command was completed; its tag ends in the number of rows, if it has one.
    pub(crate) fn add_rows(&mut self, tag: &[u8]) {
        if self.counts {
            let number = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            let number = std::str::from_utf8(number).ok();
            let rows = number.and_then(|n| n.parse::<u64>().ok());
            self.rows = self.rows.saturating_add(rows.unwrap_or(0));
        }
    }

    /// The server said that something failed.
    pub(crate) fn set_error(&mut self, sqlstate: &str) {
        if self.counts && self.error == [0; 5] {
            self.error = sqlstate.as_bytes().try_into().unwrap_or(*b"XX000");
        }
    }
}

/// A watched statement that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) watched: Box<Watched>,
    pub(crate) tally: Tally,
}

impl Session {
    /// Whether any plugin watches; the flow counts if so.
    pub(crate) fn watches(&mut self) -> bool {
        let watches = self.steering.worker.policies.borrow().wanted().events;
        self.flow.tally.counts = watches;
        watches
    }

    /// A statement that is sent to a node now, if anybody wants to know.
    pub(crate) fn watch(
        &mut self,
        analysis: &Analysis,
        traits: u64,
        node: NodeId,
    ) -> Option<Box<Watched>> {
        self.watches().then(|| Watched::new(analysis, traits, node))
    }

    /// A watched statement has ended.
    pub(crate) fn note_end(&self, ended: Ended) {
        let Ended { watched, tally } = ended;
        let taken = watched.start.elapsed().as_micros();
        self.note_event(Seen {
            node: Some(watched.node),
            rows: tally.rows,
            bytes: tally.bytes,
            microseconds: u64::try_from(taken).unwrap_or(u64::MAX),
            error: tally.error,
            ..self.seen((watched.fingerprint, watched.class, watched.traits))
        });
    }

    /// Those of the last exchange.
    pub(crate) fn note_ended(&mut self) {
        for ended in std::mem::take(&mut self.flow.ended) {
            self.note_end(ended);
        }
    }

    /// A statement was refused: no server saw it.
    pub(crate) fn note_refusal(&mut self, analysis: &Analysis, reply: &ErrorReply, extended: bool) {
        if !self.watches() {
            return;
        }
        let protocol = if extended {
            pgsteer_core::policy::traits::EXTENDED
        } else {
            0
        };
        let state = reply.sqlstate.as_str().as_bytes();
        let facts = (
            analysis.fingerprint,
            analysis.class as u16,
            analysis.traits | protocol,
        );
        self.note_event(Seen {
            error: state.try_into().unwrap_or(*b"XX000"),
            ..self.seen(facts)
        });
    }

    fn note_event(&self, seen: Seen) {
        self.steering.worker.policies.borrow_mut().note(seen);
    }

    fn seen(&self, (fingerprint, class, traits): (u64, u16, u64)) -> Seen {
        let identity = &self.steering.identity;
        Seen {
            session: identity.session,
            user: Rc::clone(&identity.user),
            database: Rc::clone(&identity.database),
            fingerprint,
            class,
            traits,
            node: None,
            rows: 0,
            bytes: 0,
            microseconds: 0,
            error: [0; 5],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn rows_are_read_off_the_tag() {
        let rows = |tag: &[u8]| {
            let mut tally = Tally {
                counts: true,
                ..Tally::default()
            };
            tally.add_rows(tag);
            tally.rows
        };
        for (tag, expected) in [
            (&b"SELECT 5"[..], 5),
            (b"INSERT 0 3", 3),
            (b"COPY 12", 12),
            (b"CREATE TABLE", 0),
            (b"", 0),
        ] {
            assert_eq!(rows(tag), expected, "{}", String::from_utf8_lossy(tag));
        }
        let mut nobody = Tally::default();
        nobody.add_rows(b"SELECT 5");
        nobody.add_bytes(7);
        nobody.set_error("42501");
        assert_eq!(nobody, Tally::default());
    }
}
