//! The embedded default router, loaded as the proxy loads it.

mod embedded;

use pgsteer_core::policy::{
    LoadError, LoadedPlugin, Reuse, Route, SessionFacts, Spread, StatementFacts, traits,
};
use pgsteer_core::topology::{Activity, Health};
use pgsteer_core::{Node, NodeId, Role, Topology};
use pgsteer_proxy::embedded::DEFAULT_ROUTER;

fn load(config: &str) -> Result<LoadedPlugin, LoadError> {
    embedded::load(DEFAULT_ROUTER, config, &topology())
}

fn topology() -> Topology {
    let node = |id, role| Node {
        weight: f64::from(id),
        role,
        health: Health::Up,
        last_probe_ok: true,
        ..Node::unknown(NodeId(id), "127.0.0.1", 5432)
    };
    Topology {
        epoch: 1,
        activity: Activity::None,
        nodes: vec![node(0, Role::Primary), node(1, Role::Replica)],
    }
}

fn statement(class: u16, traits: u64) -> StatementFacts<'static> {
    StatementFacts {
        fingerprint: 1,
        class,
        traits,
        session_class: 0,
        balance_node: None,
        transaction_marks: 0,
        session_marks: 0,
        sql: "",
        relations: &[],
        functions: &[],
        values: &[],
    }
}

#[test]
fn balances_reads_and_sends_writes_to_the_primary() {
    let mut loaded = load("{}").expect("the default router loads");
    assert_eq!(
        (&*loaded.name, loaded.deterministic),
        ("pgpool-router", true)
    );
    assert_eq!(loaded.needs, 0);
    assert_eq!(loaded.instances.len(), 2);
    let router = &mut loaded.instances[1];

    let session = SessionFacts {
        id: 0,
        user: "alice",
        database: "shop",
        application_name: "",
        client_address: "",
        settings: &[],
    };
    let opening = router.open(&session).expect("an opening");
    let weights: Vec<_> = opening
        .candidates
        .iter()
        .map(|c| (c.node.0, c.weight))
        .collect();
    assert_eq!(weights, [(0, 0.0), (1, 1.0)]);

    let read = router
        .decide(&statement(1, traits::READS))
        .expect("an answer");
    assert_eq!(
        (read.route, read.reuse),
        (Route::Balanced(Spread::Session), Reuse::Statement)
    );
    let write = statement(2, traits::WRITES | traits::IN_TRANSACTION);
    let write = router.decide(&write).expect("an answer");
    assert_eq!((write.route, write.marks.transaction), (Route::Primary, 1));
    let marked = StatementFacts {
        transaction_marks: 1,
        ..statement(1, traits::READS | traits::IN_TRANSACTION)
    };
    assert_eq!(
        router.decide(&marked).map(|d| d.route).ok(),
        Some(Route::Primary)
    );
}

#[test]
fn bad_configuration_is_refused_with_its_key() {
    let error = load(r#"{"load_balance_mod": true}"#)
        .err()
        .expect("an unknown key");
    assert_eq!(error.stage, "configure");
    assert!(error.reason.contains("load_balance_mod"), "{error}");
}
