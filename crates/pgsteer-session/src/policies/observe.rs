//! What happened, for plugins that watch. Events are kept and handed over some at a time: a call
//! costs more than an event.

use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{Event, Hooks, needs};

use super::Policies;

/// Events that are handed over at once; the worker's tick hands over fewer.
const BATCH_LEN: usize = 64;

/// A statement that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) session: u64,
    pub(crate) user: Rc<str>,
    pub(crate) database: Rc<str>,
    pub(crate) fingerprint: u64,
    pub(crate) class: u16,
    pub(crate) traits: u64,
    pub(crate) node: Option<NodeId>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) microseconds: u64,
    /// SQLSTATE; zeros for none.
    pub(crate) error: [u8; 5],
}

impl Seen {
    fn event(&self, identity: bool) -> Event<'_> {
        let shown = |text| if identity { text } else { "" };
        let error = std::str::from_utf8(&self.error).ok();
        Event {
            session: self.session,
            user: shown(&self.user),
            database: shown(&self.database),
            fingerprint: self.fingerprint,
            class: self.class,
            traits: self.traits,
            node: self.node,
            rows: self.rows,
            bytes: self.bytes,
            microseconds: self.microseconds,
            error: error.filter(|state| *state != "\0\0\0\0\0"),
        }
    }
}

/// Events that were not handed over yet.
#[derive(Default)]
pub(super) struct Events {
    waiting: Vec<Seen>,
}

impl Policies {
    /// A statement has ended.
    pub(crate) fn note(&mut self, seen: Seen) {
        self.events.waiting.push(seen);
        if self.events.waiting.len() >= BATCH_LEN {
            self.deliver();
        }
    }

    /// Hands over what waits. A plugin that fails, or rests, does without.
    pub(crate) fn deliver(&mut self) {
        if self.events.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.events.waiting);
        let count = waiting.len() as u64;
        for seat in &mut self.seats {
            if !seat.plugin.hooks.has(Hooks::OBSERVER) {
                continue;
            }
            let identity = seat.plugin.needs & needs::IDENTITY != 0;
            let events: Vec<_> = waiting.iter().map(|seen| seen.event(identity)).collect();
            let dropped = seat.dropped;
            let told = seat.ask(self.worker, &self.topology, |p| p.observe(&events, dropped));
            let counters = seat.plugin.counters(self.worker);
            if let Some(Ok(())) = told {
                counters.events.add(count);
                seat.dropped = 0;
            } else {
                counters.events_dropped.add(count);
                seat.dropped += count;
            }
        }
        self.events.waiting = waiting;
        self.events.waiting.clear();
    }
}
