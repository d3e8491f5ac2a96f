//! The embedded failover policy, loaded as the proxy loads it.

mod embedded;

use pgsteer_core::policy::{
    Crisis, Hooks, LoadError, LoadedPlugin, Occasion, Receiver, Remedy, Witness,
};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::{Activity, Health, Standing};
use pgsteer_core::{NodeId, Role, Topology};
use pgsteer_proxy::embedded::DEFAULT_FAILOVER;

fn load(config: &str) -> Result<LoadedPlugin, LoadError> {
    let topology = Topology {
        epoch: 1,
        activity: Activity::None,
        nodes: Vec::new(),
    };
    embedded::load(DEFAULT_FAILOVER, config, &topology)
}

fn witness(id: u16, received: u64) -> Witness {
    Witness {
        id: NodeId(id),
        host: "db".into(),
        port: 5432,
        flag: NodeFlag::AllowToFailover,
        role: Role::Replica,
        health: Health::Up,
        failures: 0,
        standing: Standing::InService,
        since_ms: 60_000,
        system_identifier: Some(7),
        timeline: Some(1),
        lsn: Some(100),
        received_lsn: Some(received),
        receiver: Receiver::None,
        silent_ms: Some(3_000),
        follows: None,
        behind_bytes: Some(0),
        sync_state: "async".to_owned(),
    }
}

fn crisis() -> Crisis {
    let lost = Witness {
        role: Role::Primary,
        health: Health::Down,
        received_lsn: None,
        ..witness(0, 0)
    };
    Crisis {
        occasion: Occasion::PrimaryLost,
        subject: Some(NodeId(0)),
        primary: None,
        for_ms: 3_000,
        nodes: vec![lost, witness(1, 200), witness(2, 300)],
        history: Vec::new(),
        refused: String::new(),
    }
}

fn ask(config: &str, crisis: &Crisis) -> Remedy {
    let mut loaded = load(config).expect("the default policy loads");
    loaded.instances[0].remedy(crisis).expect("an answer")
}

#[test]
fn it_promotes_the_replica_that_has_the_most() {
    let loaded = load("{}").expect("the default policy loads");
    assert_eq!(
        (&*loaded.name, loaded.hooks),
        ("pgpool-failover", Hooks::FAILOVER)
    );
    assert_eq!(ask("{}", &crisis()), Remedy::Promote(NodeId(2)));
    let lowest = r#"{"promotion": "lowest-id"}"#;
    assert_eq!(ask(lowest, &crisis()), Remedy::Promote(NodeId(1)));
    let mut alone = crisis();
    alone.nodes.truncate(1);
    match ask("{}", &alone) {
        Remedy::GiveUp(reason) => assert_eq!(reason, "there is no node besides node 0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mistakes_in_its_configuration_are_named() {
    let error = load(r#"{"autofailback": true}"#).err().expect("refused");
    assert_eq!(error.stage, "configure");
    assert!(
        error.reason.contains("unknown key \"autofailback\""),
        "{error}"
    );
}
