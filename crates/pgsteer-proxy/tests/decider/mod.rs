//! A session that decides, with the embedded router, a small catalog and two replicas that have
//! replayed everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_control::config::{self, Source};
use pgsteer_core::catalog::{
    CatalogBuilder, Function, Persistence, Relation, RelationKind, Volatility,
};
use pgsteer_core::counters::Counters;
use pgsteer_core::policy::{
    Grants, LoadContext, Plugin, PluginLoader as _, PluginSource, PolicySet,
};
use pgsteer_core::topology::{Activity, Health};
use pgsteer_core::{
    Catalog, Facts, Generation, Moment, Node, NodeId, Publisher, Role, Settings, Snapshot, Topology,
};
use pgsteer_plugin_host::{Options, WasmLoader};
use pgsteer_proxy::embedded::DEFAULT_ROUTER;
use pgsteer_session::Shared;
use pgsteer_session::measure::Decider;

const NODES: usize = 3;

/// Must outlive the decider: its publisher is the writing end of what the decider reads.
pub(crate) struct World {
    pub(crate) decider: Decider,
    _publisher: Publisher,
    _loader: WasmLoader,
}

/// Everything a decision needs; `router` are lines of the section `[router]`, or there is none and
/// everything goes to the primary.
pub(crate) fn world(router: Option<&str>) -> World {
    let settings = settings(router.unwrap_or_default());
    let topology = topology();
    let loader = WasmLoader::new(Options::default()).expect("the engine can be set up");
    let plugin = router.map(|_| Arc::new(embedded(&loader, &settings, &topology)));
    let plugins = plugin.into_iter().collect();
    let facts = Arc::new(Facts::new(Instant::now(), NODES));
    for id in 1..3 {
        let node = facts.freshness.node(NodeId(id)).expect("a node");
        node.set(Moment(u64::MAX), Some(0), Some(Duration::ZERO));
    }
    let database = facts.catalogs.enter("shop");
    database.publish(catalog(database.schema_epoch()));
    let publisher = Publisher::new(Snapshot {
        generation: Generation(1),
        settings: Arc::new(settings),
        topology: Arc::new(topology),
        policies: Arc::new(PolicySet {
            generation: Generation(1),
            plugins,
        }),
        plugin_reports: Arc::default(),
        draining: false,
    });
    let counters = Arc::new(Counters::new(1, NODES));
    let shared = Arc::new(Shared::new(counters, facts));
    World {
        decider: Decider::new(&shared, publisher.subscribe(), "alice", "shop"),
        _publisher: publisher,
        _loader: loader,
    }
}

fn embedded(loader: &WasmLoader, settings: &Settings, topology: &Topology) -> Plugin {
    let source = PluginSource {
        name: "90-router".to_owned(),
        bytes: DEFAULT_ROUTER.into(),
        sha256: String::new(),
        config: settings.router_config.clone(),
        limits: settings.plugins.limits.clone(),
        grants: Grants::default(),
    };
    let context = LoadContext {
        workers: 1,
        topology,
        golden: &[],
        previous: None,
    };
    let loaded = loader.load(&source, &context).expect("the router loads");
    Plugin::new(&source, loaded, Generation(1), Arc::default())
}

fn settings(router: &str) -> Settings {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("pgsteer.toml");
    let text = format!(
        "[[nodes]]\nhost = \"192.0.2.1\"\n[[nodes]]\nhost = \"192.0.2.2\"\n\
         [[nodes]]\nhost = \"192.0.2.3\"\n[probe]\npassword = \"x\"\n[router]\n{router}\n"
    );
    std::fs::write(&file, text).expect("a file");
    config::load(&Source::File(file)).expect("valid").settings
}

fn topology() -> Topology {
    let node = |id, role, weight| Node {
        weight,
        role,
        health: Health::Up,
        last_probe_ok: true,
        lag_bytes: Some(0),
        ..Node::unknown(NodeId(id), "192.0.2.1", 5432)
    };
    let nodes = vec![
        node(0, Role::Primary, 0.0),
        node(1, Role::Replica, 1.0),
        node(2, Role::Replica, 1.0),
    ];
    Topology {
        epoch: 1,
        activity: Activity::None,
        nodes,
    }
}

fn catalog(epoch: u64) -> Catalog {
    let mut builder = CatalogBuilder::new(epoch);
    builder.search_path(None, "\"$user\", public");
    let schema = builder.schema("public");
    let relation = Relation {
        oid: 4711,
        schema,
        kind: RelationKind::Stored,
        persistence: Persistence::Permanent,
        runs_code: false,
    };
    builder.relation("accounts", relation);
    let schema = builder.schema("pg_catalog");
    let function = Function {
        schema,
        arguments_min: 1,
        arguments_max: 1,
        volatility: Volatility::Immutable,
        may_leave_something: false,
    };
    builder.function("lower", function);
    builder.build()
}
