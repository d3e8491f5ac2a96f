//! How many connections the whole proxy has to each node. The only thing workers share.

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::servers::Servers;
use pgsteer_core::traffic::Traffic;
use pgsteer_core::{Connections, Facts, NodeId};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::quotas::Quotas;

#[derive(Debug, Default)]
struct Node {
    freed: Notify,
}

/// Counts of connections per node, shared by all workers.
#[derive(Debug, Clone)]
pub struct NodeLimits {
    nodes: Arc<[Node]>,
    connections: Arc<Connections>,
    /// The server connections there are.
    pub(crate) servers: Arc<Servers>,
    /// What operators said about them.
    pub(crate) traffic: Arc<Traffic>,
    /// What there may be of databases, users and pools.
    pub(crate) quotas: Arc<Quotas>,
    // Wakes the workers, which may have idle connections that others wait for.
    wanted: Arc<Notify>,
}

/// How long a session waits before it asks other workers for the room of what they do not use, and
/// before it asks again. Under load somebody nearer has usually finished by then.
const ASK_AFTER: Duration = Duration::from_millis(2);
const ASK_AGAIN: Duration = Duration::from_millis(20);

impl NodeLimits {
    /// Limits that count among these facts, where others see what is counted.
    #[must_use]
    pub fn new(facts: &Facts) -> Self {
        let connections = Arc::clone(&facts.connections);
        let nodes = (0..connections.nodes()).map(|_| Node::default()).collect();
        Self {
            nodes,
            connections,
            servers: Arc::clone(&facts.servers),
            traffic: Arc::clone(&facts.traffic),
            quotas: Arc::default(),
            wanted: Arc::default(),
        }
    }

    /// Asks all workers to give up what they do not use, for as long as it is polled. Never resolves.
    pub(crate) async fn ask(&self) {
        sleep(ASK_AFTER).await;
        loop {
            self.wanted.notify_waiters();
            sleep(ASK_AGAIN).await;
        }
    }

    /// Resolves when a session of any worker has been waiting for a connection.
    ///
    /// # Cancel safety
    /// Cancel safe: whoever waits asks again.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Takes the place of one connection, unless there are `max` already.
    pub(crate) fn take(&self, node: NodeId, max: u32) -> Option<Slot> {
        self.connections.take(node, max).then(|| Slot {
            limits: self.clone(),
            node,
        })
    }

    /// Whether anybody waits for a connection to this node.
    pub(crate) fn is_wanted(&self, node: NodeId) -> bool {
        self.connections.waiting(node) > 0
    }

    /// Counts a waiting session until the guard is dropped.
    pub(crate) fn wait(&self, node: NodeId) -> Waiting {
        self.connections.begin_wait(node);
        Waiting {
            limits: self.clone(),
            node,
        }
    }

    /// Resolves when the place of a connection became free.
    pub(crate) async fn freed(&self, node: NodeId) {
        match self.nodes.get(node.index()) {
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
        self.limits.connections.give_back(self.node);
        if let Some(n) = self.limits.nodes.get(self.node.index()) {
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
        self.limits.connections.end_wait(self.node);
    }
}
