//! The freshness clock: up to which moment each node is known to have replayed what was written.
//!
//! The control plane notes the instant before it asks the primary for its WAL insert position. As
//! soon as a replica has replayed a sampled position, it is fresh as of that instant: everything
//! acknowledged before it can be read there. A session that wrote has a *floor*, the instant of the
//! acknowledgement, and may be served by nodes that are fresh as of it. All cells are atomics, so
//! the data plane compares two numbers per read and nobody waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::NodeId;

/// A moment in microseconds since the start of the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Before everything: the floor of a session that has nothing to miss.
    pub const NEVER: Self = Self(0);

    /// The time from an earlier moment to this one, zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A moment that is only ever moved forward, from any thread.
#[derive(Debug, Default)]
pub struct LatestMoment(AtomicU64);

impl LatestMoment {
    /// Moves it forward to this moment; an earlier one changes nothing.
    pub fn raise(&self, to: Moment) {
        self.0.fetch_max(to.0, Ordering::SeqCst);
    }

    /// The latest moment so far.
    #[must_use]
    pub fn get(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }
}

/// What is known of one node. Aligned, so that two nodes never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct NodeFreshness {
    as_of: AtomicU64,
    lag_bytes: AtomicU64,
    lag_micros: AtomicU64,
}

/// Stands for "not known" in the cells.
const UNKNOWN: u64 = u64::MAX;

impl NodeFreshness {
    /// The moment up to which everything acknowledged can be read here; [`Moment::NEVER`] if that
    /// is not known of any.
    #[must_use]
    pub fn as_of(&self) -> Moment {
        Moment(self.as_of.load(Ordering::Acquire))
    }

    /// Bytes of WAL the primary has written and this node has not replayed.
    #[must_use]
    pub fn lag_bytes(&self) -> Option<u64> {
        let bytes = self.lag_bytes.load(Ordering::Relaxed);
        (bytes != UNKNOWN).then_some(bytes)
    }

    /// For how long this node has been missing something; zero if it misses nothing.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        let micros = self.lag_micros.load(Ordering::Relaxed);
        (micros != UNKNOWN).then(|| Duration::from_micros(micros))
    }

    /// Publishes what was found out. Only the control plane calls it.
    pub fn set(&self, as_of: Moment, lag_bytes: Option<u64>, lag: Option<Duration>) {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(UNKNOWN - 1);
        self.lag_bytes
            .store(lag_bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.lag_micros
            .store(lag.map_or(UNKNOWN, micros), Ordering::Relaxed);
        self.as_of.store(as_of.0, Ordering::Release);
    }
}

/// The clock of all nodes.
#[derive(Debug)]
pub struct Freshness {
    start: Instant,
    nodes: Box<[NodeFreshness]>,
    /// The last write acknowledged to anybody: while nodes are behind it, they are watched closely.
    latest_write: LatestMoment,
    /// Whether somebody waits for a write: only then does one wake a thread.
    awaited: AtomicBool,
    written: Notify,
}

impl Freshness {
    /// A clock that starts at `start` and knows nothing of so many nodes.
    #[must_use]
    pub fn new(start: Instant, nodes: usize) -> Self {
        let node = |_| {
            let unknown = NodeFreshness::default();
            unknown.set(Moment::NEVER, None, None);
            unknown
        };
        Self {
            start,
            nodes: (0..nodes).map(node).collect(),
            latest_write: LatestMoment::default(),
            awaited: AtomicBool::new(false),
            written: Notify::new(),
        }
    }

    /// The moment of an instant; never [`Moment::NEVER`].
    #[must_use]
    pub fn moment(&self, of: Instant) -> Moment {
        let micros = of.saturating_duration_since(self.start).as_micros();
        Moment(u64::try_from(micros).unwrap_or(u64::MAX - 1).max(1))
    }

    /// What is known of a node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeFreshness> {
        self.nodes.get(id.index())
    }

    /// A write was acknowledged to somebody.
    pub fn note_write(&self, at: Moment) {
        self.latest_write.raise(at);
        // All four accesses are sequentially consistent: of a write here and a waiter that looks at
        // the same time, at least one sees the other.
        if self.awaited.load(Ordering::SeqCst) && self.awaited.swap(false, Ordering::SeqCst) {
            self.written.notify_one();
        }
    }

    /// Waits until a write later than `known` is acknowledged to anybody. For one waiter, the
    /// control plane.
    ///
    /// # Cancel safety
    /// Cancel safe: whoever waits again looks first.
    pub async fn written_after(&self, known: Moment) {
        loop {
            self.awaited.store(true, Ordering::SeqCst);
            if self.latest_write() > known {
                self.awaited.store(false, Ordering::SeqCst);
                return;
            }
            self.written.notified().await;
        }
    }

    /// The last write acknowledged to anybody.
    #[must_use]
    pub fn latest_write(&self) -> Moment {
        self.latest_write.get()
    }
}
