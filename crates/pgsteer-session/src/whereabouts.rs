//! What others can see of a session: who it is, and what it did last. Written by its worker alone,
//! without waiting, and read by the console of any session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_sql::PinReason;

/// Who a session belongs to.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) user: Arc<str>,
    pub(crate) database: Arc<str>,
    /// Numeric address.
    pub(crate) client_host: Arc<str>,
    pub(crate) client_port: u16,
    /// Where it was accepted; none for a Unix socket.
    pub(crate) local: Option<SocketAddr>,
    /// What the client calls itself in its startup packet.
    pub(crate) application_name: Arc<str>,
    /// Number of the session.
    pub(crate) session: u64,
    /// TLS encrypts it.
    pub(crate) is_encrypted: bool,
    /// It is one of the console.
    pub(crate) is_console: bool,
    /// When it was logged in.
    pub(crate) started: SystemTime,
}

/// Why a session keeps a server between its transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) node: NodeId,
    pub(crate) reason: PinReason,
    /// The statement that did it, without its literals; empty if it was not kept.
    pub(crate) text: String,
    pub(crate) since: SystemTime,
}

/// A text without what stands in quotes, as far as it goes.
pub(crate) fn without_strings(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut parts = text.split('\'');
    while let Some(part) = parts.next() {
        match part.find("$$") {
            Some(at) => {
                shown.push_str(part.get(..at).unwrap_or_default());
                shown.push_str("$$...");
                break;
            }
            None => shown.push_str(part),
        }
        if parts.next().is_some() {
            shown.push_str("'...'");
        }
    }
    shown
}

/// A session that waits for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) in_transaction: bool,
    /// The node of its balanced reads.
    pub(crate) balance_node: Option<NodeId>,
    /// Since when, in seconds since 1970.
    pub(crate) since: u64,
}

/// The last time a session waited for its client, in one word: bit 0 says that there was one, bit 1
/// that it was inside a transaction, then 17 bits for the node plus one, then the second.
#[derive(Debug, Default)]
pub(crate) struct LastRest(AtomicU64);

impl LastRest {
    /// The session begins to wait for its client. Runs for every statement: one store.
    pub(crate) fn set(&self, rest: Rest) {
        let node = rest.balance_node.map_or(0, |n| u64::from(n.0) + 1);
        let word = 1 | u64::from(rest.in_transaction) << 1 | node << 2 | rest.since << 19;
        self.0.store(word, Ordering::Relaxed);
    }

    /// None if it has never waited, because it is still being logged in.
    pub(crate) fn get(&self) -> Option<Rest> {
        let word = self.0.load(Ordering::Relaxed);
        let node = (word >> 2 & 0x1_ffff).checked_sub(1);
        (word & 1 != 0).then(|| Rest {
            in_transaction: word & 2 != 0,
            balance_node: node.and_then(|n| u16::try_from(n).ok()).map(NodeId),
            since: word >> 19,
        })
    }
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It waits for its client.
    Idle,
    /// A query is under way.
    Active,
    /// A query is under way and waits for a server.
    Waiting,
}

/// What a session does, and since when.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    epoch: Instant,
    // Two bits say what it does, the others since when, in microseconds since the epoch.
    word: AtomicU64,
    // When the query began that is under way or was last, and the transaction that is under way;
    // in microseconds since the epoch, plus one; 0 for none.
    query: AtomicU64,
    transaction: AtomicU64,
    prepared: AtomicU32,
}

impl Default for Whereabouts {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            word: AtomicU64::new(0),
            query: AtomicU64::new(0),
            transaction: AtomicU64::new(0),
            prepared: AtomicU32::new(0),
        }
    }
}

impl Whereabouts {
    fn at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn since(&self, at: &AtomicU64) -> Option<Duration> {
        let at = at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.epoch
                .elapsed()
                .saturating_sub(Duration::from_micros(at)),
        )
    }

    /// From now on it does this. Runs for every query: one store.
    pub(crate) fn set(&self, doing: Doing, now: Instant) {
        let word = self.at(now) << 2 | doing as u64;
        self.word.store(word, Ordering::Relaxed);
    }

    /// A query begins, and perhaps a transaction with it.
    pub(crate) fn begin(&self, now: Instant, transaction: bool) {
        let at = self.at(now) + 1;
        self.query.store(at, Ordering::Relaxed);
        if transaction {
            self.transaction.store(at, Ordering::Relaxed);
        }
        self.set(Doing::Active, now);
    }

    /// The query ends, and perhaps the transaction with it.
    pub(crate) fn end(&self, now: Instant, in_transaction: bool) {
        if !in_transaction {
            self.transaction.store(0, Ordering::Relaxed);
        }
        self.set(Doing::Idle, now);
    }

    /// Time since the last query began.
    pub(crate) fn query(&self) -> Duration {
        self.since(&self.query).unwrap_or_default()
    }

    /// Time since the transaction began that is under way.
    pub(crate) fn transaction(&self) -> Option<Duration> {
        self.since(&self.transaction)
    }

    /// What it does, and for how long.
    pub(crate) fn get(&self) -> (Doing, Duration) {
        let word = self.word.load(Ordering::Relaxed);
        let doing = match word & 3 {
            0 => Doing::Idle,
            1 => Doing::Active,
            _ => Doing::Waiting,
        };
        let since = Duration::from_micros(word >> 2);
        (doing, self.epoch.elapsed().saturating_sub(since))
    }

    /// Statements it has prepared by the protocol.
    pub(crate) fn note_prepared(&self, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.prepared.store(number, Ordering::Relaxed);
    }

    /// The number of these.
    pub(crate) fn prepared(&self) -> u32 {
        self.prepared.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_not_shown() {
        let shown = without_strings("SET a = 'secret', b = 'it''s'; DO $$ 'more' $$");
        assert_eq!(shown, "SET a = '...', b = '...''...'; DO $$...");
        assert_eq!(without_strings("LOAD 'cut of"), "LOAD '...'");
    }

    #[test]
    fn a_word_holds_it_all() {
        let last = LastRest::default();
        assert_eq!(last.get(), None);
        for in_transaction in [false, true] {
            for balance_node in [None, Some(NodeId(0)), Some(NodeId(u16::MAX))] {
                let since = 1_795_403_139;
                let rest = Rest {
                    in_transaction,
                    balance_node,
                    since,
                };
                last.set(rest);
                assert_eq!(last.get(), Some(rest));
            }
        }
    }
}
