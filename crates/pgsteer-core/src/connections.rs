//! How many server connections the data plane has to each node: whoever takes a node out of service
//! can see when nothing of the proxy's runs there any more.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::NodeId;

/// Server connections by node, those that are being opened among them. The data plane writes,
/// anybody reads.
#[derive(Debug, Default)]
pub struct Connections {
    open: Box<[AtomicU32]>,
    waiting: Box<[AtomicU32]>,
}

impl Connections {
    /// None, of so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let none = || (0..nodes).map(|_| AtomicU32::new(0)).collect();
        Self {
            open: none(),
            waiting: none(),
        }
    }

    /// Nodes they are counted for.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.open.len()
    }

    /// Connections to a node now.
    #[must_use]
    pub fn get(&self, node: NodeId) -> u32 {
        self.open
            .get(node.index())
            .map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Counts one more, unless there are `max` already; `false` if so.
    #[must_use]
    pub fn take(&self, node: NodeId, max: u32) -> bool {
        let below = |n: u32| (n < max).then_some(n + 1);
        self.open.get(node.index()).is_some_and(|count| {
            count
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, below)
                .is_ok()
        })
    }

    /// One that was counted is closed.
    pub fn give_back(&self, node: NodeId) {
        if let Some(count) = self.open.get(node.index()) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Sessions that wait for a connection to a node now, because there are as many as there may be.
    #[must_use]
    pub fn waiting(&self, node: NodeId) -> u32 {
        self.waiting
            .get(node.index())
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// A session begins to wait.
    pub fn begin_wait(&self, node: NodeId) {
        if let Some(count) = self.waiting.get(node.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It does not wait any more.
    pub fn end_wait(&self, node: NodeId) {
        if let Some(count) = self.waiting.get(node.index()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
