//! How many connections the whole proxy has to each node. The only thing workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pgsteer_core::NodeId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Node {
    connections: AtomicU32,
    // Sessions of any worker that wait for a connection to this node.
    waiting: AtomicU32,
    freed: Notify,
}

/// Counts of connections per node, shared by all workers.
#[derive(Debug, Clone)]
pub struct NodeLimits(Arc<[Node]>);

impl NodeLimits {
    /// Counts for so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Node::default()).collect())
    }

    /// Connections to a node now.
    #[must_use]
    pub fn connections(&self, node: NodeId) -> u32 {
        self.0
            .get(node.index())
            .map_or(0, |n| n.connections.load(Ordering::Relaxed))
    }

    /// Takes the place of one connection, unless there are `max` already.
    pub(crate) fn take(&self, node: NodeId, max: u32) -> Option<Slot> {
        let connections = &self.0.get(node.index())?.connections;
        let below = |n: u32| (n < max).then_some(n + 1);
        connections
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, below)
            .ok()?;
        Some(Slot {
            limits: self.clone(),
            node,
        })
    }

    /// Whether anybody waits for a connection to this node.
    pub(crate) fn is_wanted(&self, node: NodeId) -> bool {
        self.0
            .get(node.index())
            .is_some_and(|n| n.waiting.load(Ordering::Relaxed) > 0)
    }

    /// Counts a waiting session until the guard is dropped.
    pub(crate) fn wait(&self, node: NodeId) -> Waiting {
        if let Some(n) = self.0.get(node.index()) {
            n.waiting.fetch_add(1, Ordering::Relaxed);
        }
        Waiting {
            limits: self.clone(),
            node,
        }
    }

    /// Resolves when the place of a connection became free.
    pub(crate) async fn freed(&self, node: NodeId) {
        match self.0.get(node.index()) {
            Some(n) => n.freed.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    limits: NodeLimits,
    node: NodeId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(n) = self.limits.0.get(self.node.index()) {
            n.connections.fetch_sub(1, Ordering::AcqRel);
            n.freed.notify_one();
        }
    }
}

/// A waiting session.
#[derive(Debug)]
pub(crate) struct Waiting {
    limits: NodeLimits,
    node: NodeId,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(n) = self.limits.0.get(self.node.index()) {
            n.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
