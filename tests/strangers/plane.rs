//! A data plane in front of one server, without a control plane: probes would not get on with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_control::config::{self, Source};
use pgsteer_core::counters::Counters;
use pgsteer_core::policy::PolicySet;
use pgsteer_core::topology::{Activity, Health, Node, Role};
use pgsteer_core::{Facts, Generation, NodeId, Publisher, Snapshot, Topology};
use pgsteer_session::{DataPlane, Listener, Shared, bind};

pub(crate) struct Plane {
    port: u16,
    publisher: Publisher,
    facts: Arc<Facts>,
    data_plane: Option<DataPlane>,
}

impl Plane {
    pub(crate) fn start(server: u16) -> Self {
        let text = format!(
            "[listen]\nworkers = 1\n[auth]\nmethod = \"trust\"\n\
             [pool]\nconnect_timeout = \"2s\"\n[failover]\nhold_timeout = \"1s\"\n\
             [[users]]\nname = \"postgres\"\npassword = \"secret\"\n\
             [[nodes]]\nhost = \"127.0.0.1\"\nport = {server}\n"
        );
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = file.join(format!("strangers{server}.toml"));
        std::fs::write(&file, text).expect("a file");
        let settings = config::load(&Source::File(file)).expect("valid").settings;
        let node = Node {
            role: Role::Primary,
            health: Health::Up,
            last_probe_ok: true,
            lag_bytes: Some(0),
            ..Node::unknown(NodeId(0), "127.0.0.1", server)
        };
        let facts = Arc::new(Facts::new(Instant::now(), 1));
        let publisher = Publisher::new(Snapshot {
            generation: Generation(1),
            settings: Arc::new(settings),
            topology: Arc::new(Topology {
                epoch: 1,
                activity: Activity::None,
                nodes: vec![node],
            }),
            policies: Arc::new(PolicySet {
                generation: Generation(1),
                plugins: Vec::new(),
            }),
            plugin_reports: Arc::default(),
            draining: false,
        });
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::new(
            Arc::new(Counters::new(1, 1)),
            Arc::clone(&facts),
        ));
        let started = DataPlane::start(
            vec![Listener::Tcp(listener)],
            1,
            &shared,
            &publisher.subscribe(),
        );
        Self {
            port,
            publisher,
            facts,
            data_plane: Some(started.expect("the data plane starts")),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has all server connections closed, and waits until they are.
    pub(crate) fn sever(&self) {
        self.publisher.publish(|snapshot| {
            let mut topology = Topology::clone(&snapshot.topology);
            topology.epoch += 1;
            topology.nodes[0].severances += 1;
            snapshot.topology = Arc::new(topology);
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.facts.connections.get(NodeId(0)) > 0 {
            assert!(Instant::now() < deadline, "server connections stay");
            std::thread::yield_now();
        }
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
