//! Crises for native tests of a failover policy.

use crate::{Crisis, NodeFlag, NodeId, NodeRole, Occasion, Past, PastEvent, Standing, Witness};

/// Nobody is asked about this: a primary, node 0, and so many replicas, which are connected to it
/// and have all it wrote. The other methods of [`Crisis`] in this module make trouble.
///
/// ```
/// use pgsteer_plugin_sdk::{NodeId, Occasion, testing};
///
/// // Replica 2 has received more than replica 1 when the primary dies.
/// let crisis = testing::cluster(2)
///     .with_positions(NodeId(1), 0x0300_0000, 0x0300_0000)
///     .with_positions(NodeId(2), 0x0300_0060, 0x0300_0000)
///     .without_primary();
/// assert_eq!(crisis.occasion, Occasion::PrimaryLost);
/// ```
#[must_use]
pub fn cluster(replicas: u32) -> Crisis {
    let node = |id| {
        let is_replica = id > 0;
        Witness {
            id: NodeId(id),
            host: format!("node{id}"),
            port: 5432,
            role: match is_replica {
                true => NodeRole::Replica,
                false => NodeRole::Primary,
            },
            up: true,
            since_ms: 60_000,
            system_identifier: Some(7_000_000_000_000_000_000),
            timeline: Some(1),
            lsn: Some(POSITION),
            received_lsn: is_replica.then_some(POSITION),
            connected: is_replica.then_some(true),
            silent_ms: is_replica.then_some(0),
            follows: is_replica.then_some(NodeId(0)),
            behind_bytes: is_replica.then_some(0),
            sync_state: if is_replica { "async" } else { "" }.to_owned(),
            ..Witness::default()
        }
    };
    Crisis {
        primary: Some(NodeId(0)),
        nodes: (0..=replicas).map(node).collect(),
        ..Crisis::default()
    }
}

impl Crisis {
    /// Changes what is known about a node.
    #[must_use]
    pub fn with_node(mut self, id: NodeId, change: impl FnOnce(&mut Witness)) -> Self {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
            change(node);
        }
        self
    }

    /// Sets up to where a replica has received and replayed WAL.
    #[must_use]
    pub fn with_positions(self, id: NodeId, received: u64, replayed: u64) -> Self {
        self.with_node(id, |node| {
            (node.received_lsn, node.lsn) = (Some(received), Some(replayed));
        })
    }

    /// Sets what a failover may do to a node.
    #[must_use]
    pub fn with_flag(self, id: NodeId, flag: NodeFlag) -> Self {
        self.with_node(id, |node| node.flag = flag)
    }

    /// Sets whether a node may serve.
    #[must_use]
    pub fn with_standing(self, id: NodeId, standing: Standing) -> Self {
        self.with_node(id, |node| node.standing = standing)
    }

    /// A node does not answer; those that follow it have lost it.
    #[must_use]
    pub fn with_down(mut self, id: NodeId) -> Self {
        for node in &mut self.nodes {
            if node.id == id {
                (node.up, node.failures, node.since_ms) = (false, 3, 0);
                (node.connected, node.silent_ms) = (None, None);
            } else if node.follows == Some(id) {
                (node.connected, node.silent_ms) = (Some(false), Some(3_000));
            }
        }
        self
    }

    /// A node says that it is a primary, on this timeline.
    #[must_use]
    pub fn with_primary(self, id: NodeId, timeline: u32) -> Self {
        self.with_node(id, |node| {
            (node.role, node.timeline, node.up) = (NodeRole::Primary, Some(timeline), true);
            (node.follows, node.received_lsn, node.behind_bytes) = (None, None, None);
            (node.connected, node.silent_ms) = (None, None);
        })
    }

    /// The primary does not answer: [`Occasion::PrimaryLost`].
    #[must_use]
    pub fn without_primary(mut self) -> Self {
        let Some(lost) = self.primary.take() else {
            return self;
        };
        self.with_down(lost).about(Occasion::PrimaryLost, lost)
    }

    /// Sets why the policy is asked, and about which node.
    #[must_use]
    pub fn about(mut self, occasion: Occasion, subject: NodeId) -> Self {
        (self.occasion, self.subject) = (occasion, Some(subject));
        self
    }

    /// Sets how long it has been so, in milliseconds.
    #[must_use]
    pub fn lasting_ms(mut self, for_ms: u64) -> Self {
        self.for_ms = for_ms;
        self
    }

    /// Adds something that happened before, later than what was added already.
    #[must_use]
    pub fn after(mut self, what: Past, node: NodeId, ago_ms: u64) -> Self {
        self.history.push(PastEvent { ago_ms, node, what });
        self
    }

    /// The last answer was not followed.
    #[must_use]
    pub fn refusing(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.refused);
        self
    }
}

/// Where the WAL of a made-up cluster is.
const POSITION: u64 = 0x0300_0060;
