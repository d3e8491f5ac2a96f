//! What tests of this crate share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::policy::PolicySet;
use pgsteer_core::settings::NodeSettings;
use pgsteer_core::{Generation, Settings, Snapshot, Topology};

use crate::config::{Source, load_with};

/// A node with weight 1.
pub(crate) fn node(host: &str, port: u16) -> NodeSettings {
    NodeSettings { host: host.into(), port, weight: 1.0 }
}

/// Defaults with two nodes nobody listens on.
pub(crate) fn settings() -> Settings {
    let file = "[[nodes]]\nhost = \"127.0.0.1\"\nport = 1\n[[nodes]]\nhost = \"127.0.0.1\"\n\
                port = 2\n[probe]\npassword = \"x\"\n";
    let source = Source::File("test.toml".into());
    load_with(&source, [], &|_| Ok(file.to_owned()), 2).expect("valid").settings
}

/// A first snapshot.
pub(crate) fn snapshot(settings: &Settings, topology: Topology) -> Snapshot {
    Snapshot {
        generation: Generation(0),
        settings: Arc::new(settings.clone()),
        topology: Arc::new(topology),
        policies: Arc::new(PolicySet::default()),
        plugin_reports: Arc::default(),
        draining: false,
    }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
