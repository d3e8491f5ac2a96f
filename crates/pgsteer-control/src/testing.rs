//! What tests of this crate share.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgsteer_core::policy::{
    Decision, LoadError, LoadedPlugin, Opening, PluginLoader, PluginSource, PolicyError, PolicySet,
    Route, Router, RouterFactory, SessionFacts, StatementFacts,
};
use pgsteer_core::settings::NodeSettings;
use pgsteer_core::{Facts, Generation, Settings, Snapshot, Topology};
use pgsteer_testkit::{DEFAULT_PASSWORD, Node};

use crate::config::{Source, load_with};
use crate::freshness::Patience;
use crate::{Control, Embedded};

/// A node with weight 1.
pub(crate) fn node(host: &str, port: u16) -> NodeSettings {
    NodeSettings {
        host: host.into(),
        port,
        weight: 1.0,
    }
}

/// Defaults with two nodes nobody listens on.
pub(crate) fn settings() -> Settings {
    let file = "[[nodes]]\nhost = \"127.0.0.1\"\nport = 1\n[[nodes]]\nhost = \"127.0.0.1\"\n\
                port = 2\n[probe]\npassword = \"x\"\n";
    let source = Source::File("test.toml".into());
    load_with(&source, [], &|_| Ok(file.to_owned()), 2)
        .expect("valid")
        .settings
}

/// Settings for these servers, which are probed often.
pub(crate) fn settings_for(nodes: &[&Node]) -> Settings {
    let mut file = format!("[probe]\npassword = \"{DEFAULT_PASSWORD}\"\ninterval = \"100ms\"\n");
    for node in nodes {
        let (host, port) = (node.host(), node.port());
        file.push_str(&format!("[[nodes]]\nhost = \"{host}\"\nport = {port}\n"));
    }
    let source = Source::File("test.toml".into());
    load_with(&source, [], &|_| Ok(file.clone()), 2)
        .expect("valid")
        .settings
}

/// A control plane that knows these servers; all are up.
pub(crate) async fn start_on(
    nodes: &[&Node],
    settings: Settings,
    patience: Patience,
) -> (Control, Arc<Facts>) {
    let facts = Arc::new(Facts::new(Instant::now(), nodes.len()));
    let embedded = Embedded {
        name: "90-router".to_owned(),
        bytes: b"1".as_slice().into(),
    };
    let loader = Arc::new(FakeLoader::default());
    let own = Arc::clone(&facts);
    let control = Control::start_with(settings, embedded, loader, 1, own, patience)
        .await
        .expect("starts");
    until("all nodes are up", || {
        let topology = &control.current().topology;
        topology.nodes.iter().all(pgsteer_core::Node::is_usable)
    })
    .await;
    (control, facts)
}

/// Facts about two nodes, none known yet.
pub(crate) fn facts() -> Arc<Facts> {
    Arc::new(Facts::new(Instant::now(), 2))
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

/// A loader for which a component is text: `bad ...` is refused at stage `compile`, `panic` panics,
/// anything else is a plugin with that text as its version. A configuration with the word `wrong`
/// is refused at stage `configure`. Notes every load.
#[derive(Debug, Default)]
pub(crate) struct FakeLoader {
    /// Name, text and configuration of each load.
    pub(crate) loads: Mutex<Vec<(String, String, String)>>,
}

impl FakeLoader {
    /// Names and texts of all loads so far.
    pub(crate) fn loads(&self) -> Vec<String> {
        let loads = self.loads.lock().expect("not poisoned");
        loads
            .iter()
            .map(|(name, text, _)| format!("{name}={text}"))
            .collect()
    }
}

impl PluginLoader for FakeLoader {
    fn load(
        &self,
        source: &PluginSource,
        workers: usize,
        topology: &Topology,
    ) -> Result<LoadedPlugin, LoadError> {
        let text = String::from_utf8_lossy(&source.bytes).into_owned();
        let entry = (source.name.clone(), text.clone(), source.config.clone());
        self.loads.lock().expect("not poisoned").push(entry);
        assert!(!topology.nodes.is_empty());
        assert_ne!(text, "panic");
        let refuse = |stage| {
            Err(LoadError {
                stage,
                reason: text.clone(),
            })
        };
        if text.starts_with("bad") {
            return refuse("compile");
        }
        if source.config.contains("wrong") {
            return refuse("configure");
        }
        Ok(LoadedPlugin {
            name: source.name.clone(),
            version: text,
            hooks: vec!["router"],
            deterministic: true,
            needs: 0,
            factory: Arc::new(NoFactory),
            instances: (0..workers)
                .map(|_| Box::new(NoRouter) as Box<dyn Router>)
                .collect(),
        })
    }
}

#[derive(Debug)]
struct NoFactory;

impl RouterFactory for NoFactory {
    fn instantiate(&self) -> Result<Box<dyn Router>, PolicyError> {
        Ok(Box::new(NoRouter))
    }
}

struct NoRouter;

impl Router for NoRouter {
    fn topology_changed(&mut self, _topology: &Topology) -> Result<(), PolicyError> {
        Ok(())
    }

    fn open(&mut self, _session: &SessionFacts<'_>) -> Result<Opening, PolicyError> {
        Ok(Opening::default())
    }

    fn decide(&mut self, _statement: &StatementFacts<'_>) -> Result<Decision, PolicyError> {
        Ok(Decision::new(Route::Abstain))
    }

    fn explain(&mut self, _reason: u32) -> Result<String, PolicyError> {
        Ok(String::new())
    }
}
