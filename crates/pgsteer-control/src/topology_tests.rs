//! Tests of the topology: what is published, and when.

use std::time::Duration;

use pgsteer_core::Generation;

use super::*;
use crate::probe::{Fault, Names};
use crate::testing;

fn answer(role: Role, lsn: u64) -> Answer {
    Answer {
        role,
        lsn: Some(lsn),
        system_identifier: Some(7),
        ..Answer::default()
    }
}

fn nodes(count: u16) -> Nodes {
    let settings: Vec<_> = (0..count)
        .map(|index| {
            let mut node = testing::node("pg", 5432 + index);
            node.probe.failures_max = 2;
            node
        })
        .collect();
    Nodes::new(&settings, SystemTime::UNIX_EPOCH)
}

fn observe(nodes: &mut Nodes, node: u16, result: Result<Answer, Fault>) {
    let observation = Observation {
        node: NodeId(node),
        result,
    };
    nodes.observe(observation, SystemTime::UNIX_EPOCH);
    nodes.find_foreigners(&View::default());
}

#[test]
fn lag_is_the_distance_to_the_primary() {
    let mut nodes = nodes(3);
    observe(&mut nodes, 0, Ok(answer(Role::Primary, 1000)));
    observe(&mut nodes, 1, Ok(answer(Role::Replica, 400)));
    observe(&mut nodes, 2, Ok(answer(Role::Replica, 1200)));
    let lags: Vec<_> = nodes
        .topology(0, &View::default())
        .nodes
        .iter()
        .map(|node| node.lag_bytes)
        .collect();
    assert_eq!(lags, [None, Some(600), Some(0)]);
    observe(&mut nodes, 0, Err(Fault::Nonsense));
    observe(&mut nodes, 0, Err(Fault::Nonsense));
    assert_eq!(
        nodes.topology(0, &View::default()).nodes[1].lag_bytes,
        None,
        "no primary, no lag"
    );
}

#[test]
fn replicas_are_found_in_the_primarys_list() {
    let standby = |slot: &str, name: &str, address: &str, state: &str| Standby {
        slot: slot.to_owned(),
        application_name: name.to_owned(),
        address: address.to_owned(),
        state: state.to_owned(),
        sync_state: "async".to_owned(),
    };
    let mut nodes = nodes(5);
    let mut primary = answer(Role::Primary, 1);
    primary.standbys = vec![
        standby("slot1", "walreceiver", "10.0.0.9", "by slot"),
        standby("", "pg:5434", "10.0.0.9", "by name"),
        standby("", "walreceiver", "10.0.0.3", "by address"),
        standby("", "walreceiver", "10.0.0.4", "ambiguous"),
        standby("", "walreceiver", "10.0.0.4", "ambiguous"),
    ];
    observe(&mut nodes, 0, Ok(primary));
    let replica = |slot: &str, address: &str| Answer {
        names: Names {
            slot: slot.to_owned(),
            cluster_name: String::new(),
            address: address.to_owned(),
        },
        ..answer(Role::Replica, 1)
    };
    observe(&mut nodes, 1, Ok(replica("slot1", "10.0.0.9")));
    observe(&mut nodes, 2, Ok(replica("", "10.0.0.9")));
    observe(&mut nodes, 3, Ok(replica("", "10.0.0.3")));
    observe(&mut nodes, 4, Ok(replica("", "10.0.0.4")));
    let topology = nodes.topology(0, &View::default());
    let states: Vec<_> = topology
        .nodes
        .iter()
        .map(|n| n.replication_state.as_str())
        .collect();
    assert_eq!(states, ["", "by slot", "by name", "by address", ""]);
    assert_eq!(topology.nodes[1].replication_sync_state, "async");
}

#[test]
fn a_replica_of_another_cluster_serves_nothing() {
    let mut nodes = nodes(2);
    observe(&mut nodes, 0, Ok(answer(Role::Primary, 1)));
    let foreign = Answer {
        system_identifier: Some(8),
        ..answer(Role::Replica, 1)
    };
    observe(&mut nodes, 1, Ok(foreign));
    assert!(!nodes.topology(0, &View::default()).nodes[1].is_usable());
    observe(&mut nodes, 1, Ok(answer(Role::Replica, 1)));
    assert!(nodes.topology(0, &View::default()).nodes[1].is_usable());
}

#[test]
fn a_replica_that_lost_its_primary_keeps_the_timeline_it_had_reached() {
    let mut nodes = nodes(1);
    let at = |timeline, lsn| Answer {
        timeline: Some(timeline),
        ..answer(Role::Replica, lsn)
    };
    let timeline = |nodes: &Nodes| nodes.topology(0, &View::default()).nodes[0].timeline;
    observe(&mut nodes, 0, Ok(at(2, 100)));
    // Its WAL receiver is gone, and there was no restart point since the promotion.
    observe(&mut nodes, 0, Ok(at(1, 110)));
    assert_eq!(timeline(&nodes), Some(2));
    // It was set up anew.
    observe(&mut nodes, 0, Ok(at(1, 50)));
    assert_eq!(timeline(&nodes), Some(1));
}

struct Running {
    observations: mpsc::Sender<Observation>,
    settings: watch::Sender<Arc<Settings>>,
    follows: watch::Sender<Vec<bool>>,
    publisher: Arc<Publisher>,
    ready: watch::Receiver<bool>,
}

fn start() -> Running {
    let settings = testing::settings();
    let nodes = Nodes::new(&settings.nodes, SystemTime::UNIX_EPOCH);
    let publisher = Arc::new(Publisher::new(testing::snapshot(
        &settings,
        nodes.topology(0, &View::default()),
    )));
    let (observations, receiver) = mpsc::channel(8);
    let settings = watch::Sender::new(Arc::new(settings));
    let follows = watch::Sender::new(vec![true, true]);
    let (ready_sender, ready) = watch::channel(false);
    let facts = testing::facts();
    let conductor = Conductor::new(
        Arc::clone(&settings.borrow()),
        Arc::clone(&publisher),
        &facts,
        Arc::new(crate::probe::Hurry::new(2)),
    );
    let ends = Ends {
        observations: receiver,
        settings: settings.subscribe(),
        follows: follows.subscribe(),
        publisher: Arc::clone(&publisher),
        facts,
        ready: ready_sender,
    };
    tokio::spawn(run(nodes, conductor.expect("nothing is kept"), ends));
    Running {
        observations,
        settings,
        follows,
        publisher,
        ready,
    }
}

impl Running {
    async fn tell(&self, node: u16, result: Result<Answer, Fault>) {
        let observation = Observation {
            node: NodeId(node),
            result,
        };
        self.observations
            .send(observation)
            .await
            .expect("the task runs");
        // Let the task take it in; time is paused, so nothing else happens.
        while self.observations.capacity() < self.observations.max_capacity() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }

    fn epoch_and_generation(&self) -> (u64, Generation) {
        let snapshot = self.publisher.current();
        (snapshot.topology.epoch, snapshot.generation)
    }
}

#[tokio::test(start_paused = true)]
async fn routing_changes_bump_the_epoch_and_lag_waits_for_the_interval() {
    let running = start();
    running.tell(0, Ok(answer(Role::Primary, 100))).await;
    assert!(!*running.ready.borrow(), "node 1 was not asked yet");
    running.tell(1, Ok(answer(Role::Replica, 100))).await;
    assert!(*running.ready.borrow());
    assert_eq!(running.epoch_and_generation(), (2, Generation(2)));

    running.tell(1, Ok(answer(Role::Replica, 50))).await;
    assert_eq!(
        running.epoch_and_generation(),
        (2, Generation(2)),
        "lag can wait"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        running.epoch_and_generation(),
        (2, Generation(3)),
        "and then comes out"
    );
    assert_eq!(
        running.publisher.current().topology.nodes[1].lag_bytes,
        Some(50)
    );

    running.tell(1, Err(Fault::Nonsense)).await;
    assert_eq!(
        running.epoch_and_generation(),
        (2, Generation(4)),
        "a failed probe shows"
    );
    running.tell(1, Err(Fault::Nonsense)).await;
    running.tell(1, Err(Fault::Nonsense)).await;
    assert_eq!(
        running.epoch_and_generation(),
        (3, Generation(5)),
        "down is for routing"
    );
    assert_eq!(
        running.publisher.current().topology.nodes[1].health,
        Health::Down
    );
}

#[tokio::test(start_paused = true)]
async fn new_weights_are_published() {
    let running = start();
    let mut settings = testing::settings();
    settings.nodes[1].weight = 5.0;
    running.settings.send_replace(Arc::new(settings));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let topology = Arc::clone(&running.publisher.current().topology);
    assert_eq!((topology.epoch, topology.nodes[1].weight), (1, 5.0));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_follow_is_published_at_once() {
    let running = start();
    running.tell(0, Ok(answer(Role::Primary, 1))).await;
    running.tell(1, Ok(answer(Role::Replica, 1))).await;
    let (before, _) = running.epoch_and_generation();
    for (follows, epoch) in [(false, before + 1), (true, before + 2)] {
        running.follows.send_replace(vec![true, follows]);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let topology = Arc::clone(&running.publisher.current().topology);
        assert_eq!(
            (topology.epoch, topology.nodes[1].follows),
            (epoch, follows)
        );
        assert_eq!(topology.nodes[1].is_usable(), follows);
        assert!(topology.nodes[0].is_usable());
    }
}
