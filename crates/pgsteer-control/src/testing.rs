//! What tests of this crate share.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgsteer_core::policy::{
    Admitted, Decision, Event, FailureClass, Hooks, LoadContext, LoadError, LoadReport,
    LoadedPlugin, Opening, PluginLoader, PluginSource, Policy, PolicyError, PolicyFactory,
    PolicySet, Rewriting, Route, SessionFacts, StatementFacts,
};
use pgsteer_core::settings::NodeSettings;
use pgsteer_core::{Facts, Generation, Settings, Snapshot, Topology};
use pgsteer_testkit::{DEFAULT_PASSWORD, Node};

use crate::config::{Changes, Source, load_with};
use crate::freshness::Patience;
use crate::{Control, Embedded};

/// A node with weight 1.
pub(crate) fn node(host: &str, port: u16) -> NodeSettings {
    NodeSettings::new(host, port)
}

/// Defaults with two nodes nobody listens on.
pub(crate) fn settings() -> Settings {
    let file = "[[nodes]]\nhost = \"127.0.0.1\"\nport = 1\n[[nodes]]\nhost = \"127.0.0.1\"\n\
                port = 2\n[probe]\npassword = \"x\"\n";
    let source = Source::File("test.toml".into());
    load_with(
        &source,
        &Changes::default(),
        [],
        &|_| Ok(file.to_owned()),
        2,
    )
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
    load_with(&source, &Changes::default(), [], &|_| Ok(file.clone()), 2)
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
    let embedded = vec![embedded(b"1")];
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

/// An embedded plugin called `90-router`.
pub(crate) fn embedded(bytes: &[u8]) -> Embedded {
    Embedded {
        name: "90-router".to_owned(),
        bytes: bytes.into(),
        config: |settings| &settings.router_config,
    }
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

/// One worker, these nodes, no past.
pub(crate) fn context(topology: &Topology) -> LoadContext<'_> {
    LoadContext {
        workers: 1,
        topology,
        golden: &[],
        previous: None,
    }
}

impl PluginLoader for FakeLoader {
    fn load(
        &self,
        source: &PluginSource,
        context: &LoadContext<'_>,
    ) -> Result<LoadedPlugin, LoadError> {
        let text = String::from_utf8_lossy(&source.bytes).into_owned();
        let entry = (source.name.clone(), text.clone(), source.config.clone());
        self.loads.lock().expect("not poisoned").push(entry);
        assert!(!context.topology.nodes.is_empty());
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
        let factory = FakeFactory(text.clone());
        let instance = || factory.instantiate().expect("made");
        Ok(LoadedPlugin {
            name: source.name.clone(),
            version: text,
            description: String::new(),
            hooks: Hooks::ROUTER,
            deterministic: true,
            needs: 0,
            instances: (0..context.workers).map(|_| instance()).collect(),
            factory: Arc::new(factory),
            kv_version: Arc::default(),
            series: Arc::default(),
            report: LoadReport {
                golden_asked: context.golden.len(),
                ..LoadReport::default()
            },
        })
    }
}

#[derive(Debug)]
struct FakeFactory(String);

impl PolicyFactory for FakeFactory {
    fn instantiate(&self) -> Result<Box<dyn Policy>, PolicyError> {
        Ok(Box::new(FakePolicy(self.0.clone())))
    }
}

/// A router that abstains, or what the text of its component says: `trap` fails, `primary` routes
/// there, `other N` routes one statement in N there.
struct FakePolicy(String);

impl FakePolicy {
    fn unasked<T>(&self) -> Result<T, PolicyError> {
        Err(PolicyError {
            class: FailureClass::Invalid,
            reason: format!("{} is a router", self.0),
        })
    }
}

impl Policy for FakePolicy {
    fn topology_changed(&mut self, _topology: &Topology) -> Result<(), PolicyError> {
        Ok(())
    }

    fn admit(&mut self, _session: &SessionFacts<'_>) -> Result<Admitted, PolicyError> {
        self.unasked()
    }

    fn open_rewriter(&mut self, _session: &SessionFacts<'_>) -> Result<u32, PolicyError> {
        self.unasked()
    }

    fn rewrite(&mut self, _statement: &StatementFacts<'_>) -> Result<Rewriting, PolicyError> {
        self.unasked()
    }

    fn open(&mut self, _session: &SessionFacts<'_>) -> Result<Opening, PolicyError> {
        Ok(Opening::default())
    }

    fn decide(&mut self, statement: &StatementFacts<'_>) -> Result<Decision, PolicyError> {
        let one_in = self
            .0
            .strip_prefix("other ")
            .and_then(|n| n.parse::<u64>().ok());
        if self.0 == "trap" {
            return Err(PolicyError {
                class: FailureClass::Trap,
                reason: "unreachable".to_owned(),
            });
        }
        let is_other = one_in.is_some_and(|n| statement.fingerprint.is_multiple_of(n));
        let route = if is_other || self.0 == "primary" {
            Route::Primary
        } else {
            Route::Abstain
        };
        Ok(Decision::new(route))
    }

    fn explain(&mut self, _reason: u32) -> Result<String, PolicyError> {
        Ok(String::new())
    }

    fn observe(&mut self, _events: &[Event<'_>], _dropped: u64) -> Result<(), PolicyError> {
        self.unasked()
    }

    fn command(&mut self, _text: &str) -> Result<Result<String, String>, PolicyError> {
        self.unasked()
    }

    fn memory_bytes(&self) -> usize {
        1 << 16
    }
}
