//! A data plane without a control plane: a test says what is true of the nodes, and sees what the
//! sessions make of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pgsteer_control::config::{self, Source};
use pgsteer_core::counters::Counters;
use pgsteer_core::policy::PolicySet;
use pgsteer_core::topology::{Activity, Health, Node, Role, Standing};
use pgsteer_core::{Facts, Generation, NodeId, Publisher, Settings, Snapshot, Topology};
use pgsteer_session::{DataPlane, Listener, Shared, bind};
use pgsteer_testkit::{Cluster, wait_until};

use super::{DEADLINE, runtime};

/// A running data plane; without plugins, so that everything goes to the primary, and in session mode,
/// so that sessions have something to lose.
pub(crate) struct Plane {
    port: u16,
    publisher: Publisher,
    facts: Arc<Facts>,
    shared: Arc<Shared>,
    data_plane: Option<DataPlane>,
}

impl Plane {
    /// Starts it in front of a cluster, with these lines of the section `[failover]`. Node 0 is the
    /// primary, all nodes are well.
    pub(crate) fn start(cluster: &Cluster, failover: &str) -> Self {
        let settings = settings(cluster, failover);
        let (workers, nodes) = (settings.workers, settings.nodes.len());
        let facts = Arc::new(Facts::new(Instant::now(), nodes));
        let publisher = Publisher::new(Snapshot {
            generation: Generation(1),
            settings: Arc::new(settings),
            topology: Arc::new(topology(cluster)),
            policies: Arc::new(PolicySet {
                generation: Generation(1),
                plugins: Vec::new(),
            }),
            plugin_reports: Arc::default(),
            draining: false,
        });
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let counters = Arc::new(Counters::new(workers, nodes));
        let shared = Arc::new(Shared::new(counters, Arc::clone(&facts)));
        let started = DataPlane::start(
            vec![Listener::Tcp(listener)],
            workers,
            &shared,
            &publisher.subscribe(),
        );
        Self {
            port,
            publisher,
            facts,
            shared,
            data_plane: Some(started.expect("the data plane starts")),
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Says something else about a node.
    pub(crate) fn change(&self, node: usize, change: impl FnOnce(&mut Node)) {
        self.publisher.publish(|snapshot| {
            let mut topology = Topology::clone(&snapshot.topology);
            topology.epoch += 1;
            change(&mut topology.nodes[node]);
            snapshot.topology = Arc::new(topology);
        });
    }

    /// Says how a node stands.
    pub(crate) fn set_standing(&self, node: usize, standing: Standing) {
        self.change(node, |node| node.standing = standing);
    }

    /// Has all connections to a node closed.
    pub(crate) fn sever(&self, node: usize) {
        self.change(node, |node| node.severances += 1);
    }

    /// Server connections to a node.
    pub(crate) fn connections(&self, node: u16) -> u32 {
        self.facts.connections.get(NodeId(node))
    }

    /// Waits until there are so many.
    pub(crate) fn wait_for_connections(&self, node: u16, count: u32) {
        let what = format!("{count} connections to node {node}");
        let waited = wait_until(DEADLINE, &what, || async {
            self.connections(node) == count
        });
        runtime().block_on(waited).expect("they come or go");
    }

    /// Waits until so many statements wait for a node.
    pub(crate) fn wait_for_held(&self, count: usize) {
        let what = format!("{count} waiting statements");
        let waited = wait_until(DEADLINE, &what, || async { self.shared.held() == count });
        runtime().block_on(waited).expect("they come or go");
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.publisher.publish(|snapshot| snapshot.draining = true);
        if std::thread::panicking() {
            return;
        }
        if let Some(data_plane) = self.data_plane.take() {
            data_plane.join();
        }
    }
}

fn settings(cluster: &Cluster, failover: &str) -> Settings {
    let nodes = cluster.nodes().iter().map(|node| {
        let (host, port) = (node.host(), node.port());
        format!("[[nodes]]\nhost = \"{host}\"\nport = {port}\n")
    });
    let text = format!(
        "[listen]\nworkers = 2\n[auth]\nmethod = \"trust\"\n[failover]\n{failover}\n\
         [pool]\nmode = \"session\"\nconnect_timeout = \"10m\"\n\
         [[users]]\nname = \"postgres\"\npassword = \"{}\"\n{}",
        pgsteer_testkit::DEFAULT_PASSWORD,
        nodes.collect::<String>()
    );
    let number = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let number = number.map_or(0, |d: Duration| d.as_nanos());
    let file = cluster.root().join(format!("plane{number}.toml"));
    std::fs::write(&file, text).expect("a file");
    config::load(&Source::File(file)).expect("valid").settings
}

fn topology(cluster: &Cluster) -> Topology {
    let nodes = cluster.nodes().iter().zip(0..);
    let node = |(node, id): (&pgsteer_testkit::Node, u16)| Node {
        role: if id == 0 {
            Role::Primary
        } else {
            Role::Replica
        },
        health: Health::Up,
        last_probe_ok: true,
        lag_bytes: Some(0),
        ..Node::unknown(NodeId(id), node.host(), node.port())
    };
    Topology {
        epoch: 1,
        activity: Activity::None,
        nodes: nodes.map(node).collect(),
    }
}
