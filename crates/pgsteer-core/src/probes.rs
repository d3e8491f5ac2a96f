//! What became of the probes of each node, counted since the start. Each node's numbers have one
//! writer, the task that probes it; anybody reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::NodeId;
use crate::counters::Counter;

/// The probes of all nodes.
#[derive(Debug, Default)]
pub struct Probes(Box<[NodeProbes]>);

impl Probes {
    /// None has been made yet of so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| NodeProbes::default()).collect())
    }

    /// Those of one node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeProbes> {
        self.0.get(id.index())
    }
}

/// Which nodes sessions had trouble with, told to those that probe them.
#[derive(Debug)]
pub struct Suspicions(Box<[Notify]>);

impl Suspicions {
    /// None, of so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Notify::new()).collect())
    }

    /// A session could not reach the node, or was told that it shuts down: it is probed at once. A
    /// node that is suspected many times meanwhile is probed once.
    pub fn raise(&self, id: NodeId) {
        if let Some(node) = self.0.get(id.index()) {
            node.notify_one();
        }
    }

    /// Waits until somebody suspects the node. One task per node may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a suspicion that was not taken is taken by the next call.
    pub async fn raised(&self, id: NodeId) {
        match self.0.get(id.index()) {
            Some(node) => node.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// One probe that has ended.
#[derive(Clone, Copy, Debug)]
pub struct ProbeEnd {
    /// The node answered.
    pub answered: bool,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: SystemTime,
    /// Probes made early in a row because the ones before failed, this one among them.
    pub retries: u64,
}

/// The probes of one node.
#[derive(Debug, Default)]
pub struct NodeProbes {
    /// Probes that were answered.
    pub successes: Counter,
    /// Probes that were not.
    pub failures: Counter,
    /// Probes made early because the one before failed.
    pub retries: Counter,
    retries_max: AtomicU64,
    total_micros: Counter,
    max_micros: AtomicU64,
    // Plus one; zero while there is none.
    min_micros: AtomicU64,
    // Seconds since 1970; zero while there is none.
    last_success: AtomicU64,
    last_failure: AtomicU64,
}

impl NodeProbes {
    /// A probe has ended. Only the node's own task may call this.
    pub fn note(&self, end: ProbeEnd) {
        let micros = u64::try_from(end.took.as_micros()).unwrap_or(u64::MAX - 1);
        let since = end.at.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.map_or(0, |d| d.as_secs());
        if end.answered {
            self.successes.add(1);
            self.last_success.store(seconds, Ordering::Relaxed);
        } else {
            self.failures.add(1);
            self.last_failure.store(seconds, Ordering::Relaxed);
        }
        if end.retries > 0 {
            self.retries.add(1);
        }
        self.retries_max.fetch_max(end.retries, Ordering::Relaxed);
        self.total_micros.add(micros);
        self.max_micros.fetch_max(micros, Ordering::Relaxed);
        let least = self.min_micros.load(Ordering::Relaxed);
        if least == 0 || micros < least - 1 {
            self.min_micros.store(micros + 1, Ordering::Relaxed);
        }
    }

    /// All that have ended.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.successes.get() + self.failures.get()
    }

    /// Most early probes in a row.
    #[must_use]
    pub fn retries_max(&self) -> u64 {
        self.retries_max.load(Ordering::Relaxed)
    }

    /// Shortest and longest time one took; zero while there is none.
    #[must_use]
    pub fn durations(&self) -> (Duration, Duration) {
        let micros = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let least = micros(&self.min_micros).saturating_sub(1);
        let most = micros(&self.max_micros);
        (Duration::from_micros(least), Duration::from_micros(most))
    }

    /// Time they took together.
    #[must_use]
    pub fn duration_total(&self) -> Duration {
        Duration::from_micros(self.total_micros.get())
    }

    /// When the last one ended that was answered.
    #[must_use]
    pub fn last_success(&self) -> Option<SystemTime> {
        time(&self.last_success)
    }

    /// When the last one ended that was not.
    #[must_use]
    pub fn last_failure(&self) -> Option<SystemTime> {
        time(&self.last_failure)
    }
}

fn time(cell: &AtomicU64) -> Option<SystemTime> {
    let seconds = cell.load(Ordering::Relaxed);
    (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_counted() {
        let probes = Probes::new(1);
        let node = probes.node(NodeId(0)).unwrap();
        assert_eq!(node.durations(), (Duration::ZERO, Duration::ZERO));
        assert_eq!(node.last_success(), None);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (answered, millis, seconds, retries) in [
            (true, 4, 10, 0),
            (false, 9, 11, 0),
            (false, 2, 12, 1),
            (true, 5, 13, 2),
        ] {
            node.note(ProbeEnd {
                answered,
                took: Duration::from_millis(millis),
                at: at(seconds),
                retries,
            });
        }
        assert_eq!((node.total(), node.successes.get()), (4, 2));
        assert_eq!((node.failures.get(), node.retries.get()), (2, 2));
        assert_eq!(node.retries_max(), 2);
        let (least, most) = node.durations();
        assert_eq!((least.as_millis(), most.as_millis()), (2, 9));
        assert_eq!(node.duration_total().as_millis(), 20);
        assert_eq!(
            (node.last_success(), node.last_failure()),
            (Some(at(13)), Some(at(12)))
        );
    }
}
