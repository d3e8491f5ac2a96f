//! What others can see of a session: who it is, and what it did last. Written by its worker alone,
//! without waiting, and read by the console of any session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use pgsteer_core::NodeId;
use pgsteer_sql::PinReason;

/// Who a session belongs to.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) user: Box<str>,
    pub(crate) database: Box<str>,
    /// Numeric address.
    pub(crate) client_host: Box<str>,
    pub(crate) client_port: u16,
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

#[cfg(test)]
mod tests {
    use super::*;

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
