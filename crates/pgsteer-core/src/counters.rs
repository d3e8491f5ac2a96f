//! Counters that the data plane writes and anybody reads.
//!
//! Every cell has one writing thread (the worker it belongs to), so adding is a plain load and
//! store. Readers add up the cells of all workers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::histogram::Histogram;

/// A counter with one writing thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only the owning worker may call this: concurrent calls lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// It is this from now on, for what is measured and not counted. As [`Counter::add`].
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The count now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker did on one node: statements by kind, as Pgpool-II sorts them, and errors that
/// came back.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// SELECT, VALUES, TABLE, WITH, and empty strings.
    pub selects: Counter,
    /// INSERT.
    pub inserts: Counter,
    /// UPDATE.
    pub updates: Counter,
    /// DELETE.
    pub deletes: Counter,
    /// Schema changes, and what has no counter of its own: COPY, CALL, DO, MERGE, cursors.
    pub ddl: Counter,
    /// Settings, transaction control, SHOW, EXPLAIN and the like, and what no grammar knows.
    pub others: Counter,
    /// Errors of severity PANIC.
    pub panics: Counter,
    /// Errors of severity FATAL.
    pub fatals: Counter,
    /// Errors of severity ERROR.
    pub errors: Counter,
    /// How long queries took of which this node answered the last statement.
    pub query_times: Histogram,
}

/// What one worker did; aligned so that two workers never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// By node.
    pub nodes: Vec<NodeCounters>,
    /// Clients connected to this worker since start.
    pub clients_accepted: Counter,
    /// Clients that left again.
    pub clients_closed: Counter,
    /// Texts of which the analysis was asked for.
    pub analyses_asked: Counter,
    /// Those that had to be read anew.
    pub analyses_made: Counter,
    /// Bytes that the worker's remembered analyses occupy now.
    pub analyses_bytes: Counter,
}

/// Counters of the whole data plane.
#[derive(Debug)]
pub struct Counters {
    workers: Box<[WorkerCounters]>,
}

impl Counters {
    /// Counters for so many workers and nodes.
    #[must_use]
    pub fn new(workers: usize, nodes: usize) -> Self {
        let worker = || WorkerCounters {
            nodes: (0..nodes).map(|_| NodeCounters::default()).collect(),
            ..WorkerCounters::default()
        };
        Self {
            workers: (0..workers).map(|_| worker()).collect(),
        }
    }

    /// The cells of one worker, which alone may write them.
    #[must_use]
    pub fn worker(&self, index: usize) -> &WorkerCounters {
        &self.workers[index]
    }

    /// The cells of all workers, to read.
    #[must_use]
    pub fn workers(&self) -> &[WorkerCounters] {
        &self.workers
    }

    /// Sum over all workers.
    #[must_use]
    pub fn sum(&self, read: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(read).sum()
    }

    /// Clients connected now.
    #[must_use]
    pub fn clients(&self) -> u64 {
        let accepted = self.sum(|w| w.clients_accepted.get());
        accepted.saturating_sub(self.sum(|w| w.clients_closed.get()))
    }
}
