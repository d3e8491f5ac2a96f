//! The freshness clock on real servers.

use std::time::Instant;

use pgsteer_core::freshness::NodeFreshness;
use pgsteer_testkit::{Cluster, Mode, Node, wait_until};

use super::*;
use crate::Control;
use crate::testing::{settings_for, start_on, until};

const DEADLINE: Duration = Duration::from_secs(60);

async fn cluster(replicas: usize) -> Cluster {
    let cluster = Cluster::builder().replicas(replicas).fast(true);
    let cluster = cluster.start().await.expect("a cluster");
    let table = "CREATE TABLE written (at timestamptz)";
    cluster.primary().sql(table).await.expect("created");
    cluster
}

async fn start(nodes: &[&Node], patience: Patience) -> (Control, Arc<Facts>) {
    start_on(nodes, settings_for(nodes), patience).await
}

/// The replica is the second node in all tests.
fn replica(facts: &Facts) -> &NodeFreshness {
    facts.freshness.node(NodeId(1)).expect("the second node")
}

/// Writes through no proxy, and tells the clock as a session would.
async fn write(cluster: &Cluster, facts: &Facts) -> Moment {
    let text = "INSERT INTO written VALUES (now())";
    cluster.primary().sql(text).await.expect("written");
    let acknowledged = facts.freshness.moment(Instant::now());
    facts.freshness.note_write(acknowledged);
    acknowledged
}

/// Runs statements one by one: some must not be in a transaction.
async fn run_each(node: &Node, statements: &[&str]) {
    for statement in statements {
        node.sql(statement).await.expect("runs");
    }
}

async fn pause_replay(node: &Node) {
    run_each(node, &["SELECT pg_wal_replay_pause()"]).await;
    let state = "SELECT pg_get_wal_replay_pause_state()";
    wait_until(DEADLINE, "the pause", || async {
        node.value(state).await.is_ok_and(|state| state == "paused")
    })
    .await
    .expect("paused");
}

async fn resume_replay(node: &Node) {
    run_each(node, &["SELECT pg_wal_replay_resume()"]).await;
}

#[tokio::test]
async fn a_replica_is_fresh_as_of_what_it_replayed() {
    let cluster = cluster(1).await;
    let node = cluster.replicas()[0];
    let (control, facts) = start(&[cluster.primary(), node], Patience::default()).await;
    let fresh = |as_of| move |facts: &Facts| replica(facts).as_of() >= as_of;

    let first = write(&cluster, &facts).await;
    until("fresh", || fresh(first)(&facts)).await;
    let primary = facts.freshness.node(NodeId(0)).expect("a node");
    assert_eq!(primary.lag(), Some(Duration::ZERO));
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgsteer clock'";
    assert_eq!(cluster.primary().value(count).await.expect("counted"), "1");

    pause_replay(node).await;
    let second = write(&cluster, &facts).await;
    until("lag grows", || {
        let lags = replica(&facts).lag() > Some(Duration::from_millis(300));
        lags && replica(&facts).lag_bytes() > Some(0)
    })
    .await;
    assert!(replica(&facts).as_of() < second, "it has not replayed that");
    let topology = Arc::clone(&control.current().topology);
    assert!(topology.nodes[1].is_usable(), "stale, not lost");
    resume_replay(node).await;
    until("fresh again", || fresh(second)(&facts)).await;

    node.stop(Mode::Kill9).await.expect("stopped");
    until("reset", || replica(&facts).as_of() == Moment::NEVER).await;
    until("unknown", || replica(&facts).lag().is_none()).await;
    node.start().await.expect("starts");
    let third = write(&cluster, &facts).await;
    until("back", || fresh(third)(&facts)).await;
    control.shutdown().await;
}

#[tokio::test]
async fn orphans_serve_nothing() {
    let cluster = cluster(2).await;
    let [other, node] = cluster.replicas()[..] else {
        panic!("two replicas");
    };
    let patience = Patience {
        other_timeline: Duration::from_millis(200),
        detached: Duration::from_millis(500),
        stalled: Duration::from_secs(2),
    };
    let (control, facts) = start(&[cluster.primary(), node], patience).await;
    let follows = || control.current().topology.nodes[1].follows;
    let is_back = || follows() && replica(&facts).as_of() > Moment::NEVER;
    until("fresh", is_back).await;

    pause_replay(node).await;
    write(&cluster, &facts).await;
    until("it stalls", || !follows()).await;
    assert!(!control.current().topology.nodes[1].is_usable());
    until("reset", || replica(&facts).as_of() == Moment::NEVER).await;
    resume_replay(node).await;
    until("it moves", is_back).await;

    let conninfo = node.value("SHOW primary_conninfo").await.expect("shown");
    let follow = |conninfo: &str| {
        let conninfo = conninfo.replace('\'', "''");
        format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'")
    };
    let reload = "SELECT pg_reload_conf()";
    run_each(node, &[&follow(""), reload]).await;
    // One that is still on its way out would bring what is written next.
    wait_until(DEADLINE, "its WAL receiver to end", || async {
        let count = node
            .value("SELECT count(*) FROM pg_stat_wal_receiver")
            .await;
        count.is_ok_and(|count| count == "0")
    })
    .await
    .expect("it ends");
    write(&cluster, &facts).await;
    until("it is detached", || !follows()).await;

    // From the other replica at first, which is as good as the primary; then that is promoted.
    let ports = [cluster.primary(), other].map(|node| format!("port={}", node.port()));
    let cascade = follow(&conninfo.replace(&ports[0], &ports[1]));
    let no_slot = "ALTER SYSTEM SET primary_slot_name = ''";
    run_each(node, &[&cascade, no_slot, reload]).await;
    until("it follows again", is_back).await;
    write(&cluster, &facts).await;
    other.promote().await.expect("promoted");
    until("it is on another timeline", || !follows()).await;
    until("reset", || replica(&facts).as_of() == Moment::NEVER).await;
    control.shutdown().await;
}
