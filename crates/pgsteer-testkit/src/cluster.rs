//! A running primary with its replicas.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::builder::Builder;
use crate::node::{Mode, Node};
use crate::replication::is_replica;
use crate::wait::wait_until;

/// A primary and its replicas. Dropping it stops every server, which may block for some seconds,
/// and removes temporary data.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: servers before their directories, the lock last.
    pub(crate) nodes: Vec<Node>,
    pub(crate) primary_index: usize,
    pub(crate) root: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) _temporary: Vec<TempDir>,
    /// False when the data root goes away with the cluster, so that a clean shutdown is wasted time.
    pub(crate) keeps_data: bool,
    pub(crate) _lock: File,
}

impl Cluster {
    /// Begins to describe a cluster.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The node that was the primary when the cluster started; a promotion does not change it.
    pub fn primary(&self) -> &Node {
        &self.nodes[self.primary_index]
    }

    /// The nodes that were replicas when the cluster started, in the order of their names.
    pub fn replicas(&self) -> Vec<&Node> {
        let primary = self.primary_index;
        let others = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != primary);
        others.map(|(_, node)| node).collect()
    }

    /// All nodes in the order of their names: `node0`, `node1`, ...
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The directory with the data directories and logs of all nodes.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the unix-domain sockets of all nodes, where `trust` lets everybody in.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The node that takes writes now: of those that answer and say they do, the one with the
    /// latest timeline.
    pub async fn acting_primary(&self) -> Option<&Node> {
        let question = "SELECT CASE WHEN pg_is_in_recovery() THEN '' \
                        ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END";
        let mut latest = None;
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            let asked = tokio::time::timeout(ANSWER_PATIENCE, node.value(question)).await;
            let Ok(Ok(timeline)) = asked else { continue };
            if !timeline.is_empty() && latest.as_ref().is_none_or(|(best, _)| timeline > *best) {
                latest = Some((timeline, node));
            }
        }
        latest.map(|(_, node)| node)
    }

    /// Runs statements on the node at `index` of [`nodes`](Self::nodes); see [`Node::sql`].
    ///
    /// # Errors
    /// When there is no such node, it cannot be reached, or a statement fails.
    pub async fn sql(&self, index: usize, text: &str) -> Result<Vec<Vec<Option<String>>>> {
        ensure!(index < self.nodes.len(), "there is no node {index}");
        self.nodes[index].sql(text).await
    }

    /// Waits until every running replica streams from the primary.
    ///
    /// # Errors
    /// When that is not so within `deadline`.
    pub async fn wait_until_streaming(&self, deadline: Duration) -> Result<()> {
        let expected = self
            .replicas()
            .iter()
            .filter(|node| node.pid().is_some())
            .count();
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        wait_until(deadline, "all replicas to stream", || async {
            let count = self.primary().value(streaming).await.ok();
            count.and_then(|count| count.parse().ok()) >= Some(expected)
        })
        .await
    }

    /// Waits until every running replica has replayed what the primary has written so far.
    ///
    /// # Errors
    /// When the primary does not answer, or that is not so within `deadline`.
    pub async fn wait_until_caught_up(&self, deadline: Duration) -> Result<()> {
        let position = self.primary().value("SELECT pg_current_wal_lsn()").await?;
        let question = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
        for node in self
            .replicas()
            .into_iter()
            .filter(|node| node.pid().is_some())
        {
            wait_until(
                deadline,
                &format!("{} to replay {position}", node.name()),
                || async {
                    node.value(&question)
                        .await
                        .is_ok_and(|answer| answer == "t")
                },
            )
            .await?;
        }
        Ok(())
    }

    /// Shuts every server down in order: the primary first, so that the replicas receive all it
    /// wrote, then the replicas. Temporary data is removed.
    ///
    /// # Errors
    /// When a server does not end even after SIGKILL.
    pub async fn stop(self) -> Result<()> {
        // A replica that is paused would make the primary wait for it.
        for server in self.nodes.iter().filter_map(Node::running) {
            server.resume();
        }
        let is_primary = |node: &&Node| !is_replica(node.data_dir());
        let (primaries, replicas): (Vec<_>, Vec<_>) = self.nodes.iter().partition(is_primary);
        for node in primaries.into_iter().chain(replicas) {
            node.stop(Mode::Fast).await?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once, then the nodes are dropped and waited for one by one.
        let signal = if self.keeps_data {
            Signal::INT
        } else {
            Signal::QUIT
        };
        let servers: Vec<_> = self.nodes.iter().filter_map(Node::running).collect();
        for server in &servers {
            server.begin_shut_down(signal);
        }
        for server in servers {
            server.wait_blocking();
        }
        for node in &self.nodes {
            crate::ports::release(node.port());
            crate::ports::release(node.public_port());
        }
    }
}

/// A paused server does not answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
