//! What can be asked of a cluster before it starts.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::cluster::Cluster;

/// Options of a [`Cluster`]; see each method for its default.
pub struct Builder {
    pub(crate) root: Option<PathBuf>,
    pub(crate) replica_count: usize,
    pub(crate) preferred_ports: Vec<u16>,
    pub(crate) password: String,
    pub(crate) conf_lines: Vec<String>,
    pub(crate) hba_lines: Vec<String>,
    pub(crate) fast: bool,
    pub(crate) relays: bool,
    pub(crate) synchronous: bool,
    pub(crate) progress: Box<dyn Fn(&str) + Send + Sync>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            root: None,
            replica_count: 2,
            preferred_ports: Vec::new(),
            password: DEFAULT_PASSWORD.to_owned(),
            conf_lines: Vec::new(),
            hba_lines: Vec::new(),
            fast: false,
            relays: false,
            synchronous: false,
            progress: Box::new(|_| {}),
        }
    }
}

impl Builder {
    /// Keeps all data below `root` and starts from it again when it is there already. By default
    /// data is in a temporary directory that is removed with the cluster.
    ///
    /// As root, the OS user `postgres` must be able to reach it: a directory below a home directory
    /// usually will not do.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Number of replicas, 2 by default.
    #[must_use]
    pub fn replicas(mut self, count: usize) -> Self {
        self.replica_count = count;
        self
    }

    /// TCP ports by node, primary first. One that is taken is replaced by a free one, which the
    /// progress callback is told. By default all ports are free ones.
    #[must_use]
    pub fn preferred_ports(mut self, ports: &[u16]) -> Self {
        self.preferred_ports = ports.to_vec();
        self
    }

    /// Password of the user `postgres`, [`DEFAULT_PASSWORD`] by default.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// Adds a line to the configuration of every node, for instance `work_mem = 64MB`.
    #[must_use]
    pub fn conf_line(mut self, line: &str) -> Self {
        self.conf_lines.push(line.to_owned());
        self
    }

    /// Adds a line in front of `pg_hba.conf` of every node, for instance `host all old all md5`.
    #[must_use]
    pub fn hba_line(mut self, line: &str) -> Self {
        self.hba_lines.push(line.to_owned());
        self
    }

    /// With true, gives up durability for speed (`fsync = off` and the like): right for tests, whose
    /// data is thrown away. False by default.
    #[must_use]
    pub fn fast(mut self, fast: bool) -> Self {
        self.fast = fast;
        self
    }

    /// With true, each node has a relay in front of it: proxies and replicas reach it at
    /// [`Node::public_port`](crate::Node::public_port), and
    /// [`Node::set_link`](crate::Node::set_link) makes a network that fails. False by default.
    #[must_use]
    pub fn relays(mut self, relays: bool) -> Self {
        self.relays = relays;
        self
    }

    /// With true, a commit is acknowledged when one replica has kept it, whichever node is the
    /// primary. False by default.
    #[must_use]
    pub fn synchronous(mut self, synchronous: bool) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Is called with one short line for each step of the start.
    #[must_use]
    pub fn progress(mut self, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Box::new(report);
        self
    }

    /// Creates what is missing, starts all nodes and waits until every replica streams.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, the data root cannot be used, or a server does not come up;
    /// what was started by then is stopped again.
    pub async fn start(self) -> Result<Cluster> {
        crate::setup::start(self).await
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("root", &self.root)
            .field("replica_count", &self.replica_count)
            .field("preferred_ports", &self.preferred_ports)
            .field("fast", &self.fast)
            .finish_non_exhaustive()
    }
}

/// Password of `postgres` unless the builder is told another.
pub const DEFAULT_PASSWORD: &str = "password";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_can_be_a_task_of_its_own() {
        fn needs_send(_: impl Send) {}
        needs_send(Builder::default().start());
    }
}
