//! Servers die and come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use pgsteer_core::topology::Health;
use pgsteer_core::{NodeId, Subscription};
use pgsteer_testkit::{Cluster, Link, Mode, Node, Passage, wait_until};

use crate::support::{DEADLINE, Frame, Options, Running, Wire, msg, runtime};

async fn own_cluster() -> Result<Cluster> {
    Cluster::builder().fast(true).start().await
}

async fn wait_for_health(mut proxy: Subscription, node: usize, wanted: Health) -> Result<()> {
    let id = NodeId(u16::try_from(node)?);
    wait_until(DEADLINE, &format!("node {node} to be {wanted:?}"), || {
        let health = proxy.get().topology.node(id).map(|node| node.health);
        async move { health == Some(wanted) }
    })
    .await
}

fn error_of(frames: &[Frame]) -> Option<(String, String)> {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    error.map(Frame::error)
}

/// Sessions by the node their reads go to.
fn sessions_at(proxy: &Running, node: &Node, count: usize) -> Vec<Wire> {
    let mut sessions = Vec::new();
    for _ in 0..2000 {
        if sessions.len() == count {
            return sessions;
        }
        let mut wire = Wire::connect(proxy.port(), "postgres");
        if wire.value("SELECT inet_server_port()") == node.port().to_string() {
            sessions.push(wire);
        }
    }
    panic!("no session reads at {}", node.name());
}

#[test]
fn a_replica_is_killed_under_load_and_comes_back() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = Options::weights([0, 1, 1]).start_for(&cluster);
    let (victim, survivor) = (&cluster.nodes()[1], &cluster.nodes()[2]);
    let others = sessions_at(&proxy, survivor, 8);
    let hit = sessions_at(&proxy, victim, 4);
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));

    std::thread::scope(|scope| {
        let load: Vec<_> = others
            .into_iter()
            .map(|mut wire| {
                let (stop, reads) = (&stop, &reads);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let frames = wire.query("SELECT 42");
                        assert_eq!(error_of(&frames), None, "a session at another node");
                        assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'));
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let outcome = runtime.block_on(async {
            let more_reads = |count: u64| {
                let (reads, before) = (&reads, reads.load(Ordering::Relaxed));
                wait_until(DEADLINE, "reads", move || async move {
                    reads.load(Ordering::Relaxed) > before + count
                })
            };
            more_reads(100).await?;
            victim.stop(Mode::Kill9).await?;
            wait_for_health(proxy.subscription(), 1, Health::Down).await?;
            more_reads(100).await
        });
        stop.store(true, Ordering::Relaxed);
        outcome.expect("the servers do as they are told");
        for thread in load {
            thread
                .join()
                .expect("no error in a session at another node");
        }
    });

    // Those that read at the dead node either go on elsewhere or are told, and nothing hangs.
    for mut wire in hit {
        wire.send(&msg::query("SELECT inet_server_port()"));
        let (frames, answered) = wire.read_until(b'Z');
        assert!(answered, "a session of the dead node hangs");
        if let Some(row) = frames.iter().find(|frame| frame.tag == b'D') {
            assert_eq!(row.values()[0], Some(survivor.port().to_string()));
        }
    }
    for _ in 0..20 {
        let mut wire = Wire::connect(proxy.port(), "postgres");
        let port = wire.value("SELECT inet_server_port()");
        assert_eq!(port, survivor.port().to_string());
    }
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let frames = wire.query("SHOW pool_nodes");
    let rows: Vec<_> = frames.iter().filter(|frame| frame.tag == b'D').collect();
    let status: Vec<String> = rows
        .iter()
        .map(|row| row.values()[3].clone().unwrap())
        .collect();
    assert_eq!(status, ["up", "down", "up"]);

    runtime.block_on(async {
        victim.start().await?;
        wait_for_health(proxy.subscription(), 1, Health::Up).await
    })?;
    sessions_at(&proxy, victim, 2);
    Ok(())
}

/// The next statement of a session whose node died between two statements is a read outside of a
/// transaction: nothing of it was sent, so it may run elsewhere.
#[test]
fn an_idle_session_of_a_dead_replica_reads_elsewhere() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = Options::weights([0, 1, 1]).start_for(&cluster);
    let (victim, survivor) = (&cluster.nodes()[1], &cluster.nodes()[2]);
    let mut sessions = sessions_at(&proxy, victim, 2);
    runtime.block_on(async {
        victim.stop(Mode::Kill9).await?;
        wait_for_health(proxy.subscription(), 1, Health::Down).await
    })?;
    for wire in &mut sessions {
        let port = wire.value("SELECT inet_server_port()");
        assert_eq!(port, survivor.port().to_string());
    }
    Ok(())
}

#[test]
fn a_transaction_on_a_dead_replica_fails_and_the_session_goes_on() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = Options::weights([0, 1, 1]).start_for(&cluster);
    let victim = &cluster.nodes()[1];
    let mut wire = sessions_at(&proxy, victim, 1).swap_remove(0);
    wire.query("BEGIN");
    wire.query("SELECT 1");
    runtime.block_on(victim.stop(Mode::Kill9))?;
    let (frames, answered) = {
        wire.send(&msg::query("SELECT 2"));
        wire.read_until(b'Z')
    };
    assert!(answered);
    let (state, _) = error_of(&frames).expect("the transaction is lost");
    assert_eq!(state, "40001");
    assert_eq!(error_of(&wire.query("ROLLBACK")), None);
    assert_eq!(wire.value("SELECT 3"), "3");
    Ok(())
}

#[test]
fn without_a_primary_reads_go_on_and_writes_are_refused() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let options = Options {
        pool: "connections_per_node_max = 60\n[failover]\npromote = false\nhold_timeout = \"500ms\"",
        ..Options::default()
    };
    let proxy = options.start_for(&cluster);
    let mut before = sessions_at(&proxy, &cluster.nodes()[1], 1).swap_remove(0);
    runtime.block_on(async {
        cluster.primary().stop(Mode::Kill9).await?;
        wait_for_health(proxy.subscription(), 0, Health::Down).await
    })?;

    assert_eq!(before.value("SELECT 1"), "1", "a session from before");
    let mut after = Wire::connect(proxy.port(), "postgres");
    assert_eq!(after.value("SELECT 2"), "2");
    for wire in [&mut before, &mut after] {
        wire.send(&msg::query("CREATE TABLE x (a int)"));
        let (frames, answered) = wire.read_until(b'Z');
        assert!(answered, "a write without a primary hangs");
        let (state, _) = error_of(&frames).expect("no primary");
        assert_eq!(state, "57P03");
        // The session is still there.
        assert_eq!(wire.value("SELECT 3"), "3");
    }

    runtime.block_on(async {
        cluster.primary().start().await?;
        wait_for_health(proxy.subscription(), 0, Health::Up).await
    })?;
    assert_eq!(error_of(&after.query("CREATE TABLE x (a int)")), None);
    Ok(())
}

#[test]
fn a_write_that_found_no_primary_does_not_hold_up_the_reads_after_it() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let options = Options {
        pool: "[failover]\npromote = false\nhold_timeout = \"500ms\"",
        ..Options::weights([0, 1, 1])
    };
    let proxy = options.start_for(&cluster);
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let port = wire.value("SELECT inet_server_port()");
    runtime.block_on(cluster.primary().stop(Mode::Kill9))?;
    // Before the probes know, and after.
    let refused = wire.query("CREATE TABLE t (a int)");
    assert!(error_of(&refused).is_some());
    runtime.block_on(wait_for_health(proxy.subscription(), 0, Health::Down))?;
    let refused = wire.query("CREATE TABLE t (a int)");
    assert_eq!(error_of(&refused).map(|e| e.0).as_deref(), Some("57P03"));
    assert_eq!(wire.value("SELECT inet_server_port()"), port);
    runtime.block_on(cluster.stop())
}

/// It was read again from the client's input and sent to the next server, so that the client got two
/// answers, and every later one belonged to the statement before.
#[test]
fn a_statement_that_could_not_be_written_to_its_server_is_answered_once() -> Result<()> {
    let runtime = runtime();
    let cluster = Cluster::builder().fast(true).replicas(1).relays(true);
    let cluster = runtime.block_on(cluster.start())?;
    let proxy = Options::weights([0, 1, 0]).start_for(&cluster);
    let (primary, replica) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("CREATE TABLE t (a int)");
    runtime.block_on(cluster.wait_until_caught_up(DEADLINE))?;
    // Not before the proxy knows that the replica has the table.
    runtime.block_on(wait_until(DEADLINE, "a read at the replica", || {
        let port = wire.value("SELECT inet_server_port()");
        async move { port == replica.port().to_string() }
    }))?;

    // The connection to the primary is reset while the session looks at the one to the replica.
    let slow = msg::query("SELECT count(*) FROM generate_series(1, 5000000) AS slow");
    wire.send(&[slow, msg::query("INSERT INTO t VALUES (1)")].concat());
    let running = "SELECT count(*) FROM pg_stat_activity \
                   WHERE query LIKE '%AS slow' AND state = 'active'";
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE t%'";
    runtime.block_on(async {
        wait_until(DEADLINE, "the slow statement", || async {
            replica.value(running).await.is_ok_and(|n| n == "1")
        })
        .await?;
        primary.set_link(Link {
            clients: Passage::Cut,
            replicas: Passage::Open,
        });
        wait_until(DEADLINE, "the end of the connection", || async {
            primary.value(sessions).await.is_ok_and(|n| n == "0")
        })
        .await
    })?;
    primary.set_link(Link::default());

    let slow = wire.until(b'Z');
    assert!(error_of(&slow).is_none(), "{slow:?}");
    let insert = wire.until(b'Z');
    let inserted = error_of(&insert).map_or(1, |(state, _)| {
        assert_eq!(state, "08006");
        0
    });
    assert_eq!(wire.value("SELECT 42"), "42");
    let rows = runtime.block_on(primary.value("SELECT count(*) FROM t"))?;
    assert_eq!(rows, inserted.to_string());
    Ok(())
}
