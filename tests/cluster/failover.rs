//! The proxy itself decides and acts: who takes over, who is followed, who is fenced, on real servers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use pgsteer_core::topology::{Role, Standing};
use pgsteer_core::{NodeId, Subscription};
use pgsteer_testkit::{Cluster, Link, Mode, Node, Passage, wait_until};

use crate::support::{DEADLINE, Options, Running, Wire, runtime};

/// With an audit log beside the data, and whatever else.
fn options(extra: &str) -> Options {
    let state = match extra.contains("state_dir") {
        true => "",
        false => "state_dir = \"state\"\n",
    };
    let pool = format!(
        "connections_per_node_max = 60\n[failover]\nhold_timeout = \"60s\"\n\
         audit_log = \"audit.log\"\n{state}{extra}"
    );
    Options {
        pool: String::leak(pool),
        ..Options::weights([1, 1, 1])
    }
}

async fn own_cluster() -> Result<Cluster> {
    Cluster::builder().fast(true).start().await
}

/// Primary and standing of each node, as `0 in service`, as far as the proxy believes.
fn beliefs(proxy: &mut Subscription) -> (Option<u16>, Vec<Standing>) {
    let topology = &proxy.get().topology;
    let standings = topology.nodes.iter().map(|node| node.standing);
    (
        topology.primary().map(|node| node.id.0),
        standings.collect(),
    )
}

async fn wait_for(
    proxy: &Running,
    what: &str,
    is_so: impl Fn(&mut Subscription) -> bool,
) -> Result<()> {
    let mut subscription = proxy.subscription();
    let waited = wait_until(DEADLINE, what, || {
        let so = is_so(&mut subscription);
        async move { so }
    })
    .await;
    waited.with_context(|| format!("the proxy believes: {:?}", subscription.get().topology))
}

fn audit(proxy: &Running) -> String {
    let path: PathBuf = proxy.plugins().with_file_name("audit.log");
    std::fs::read_to_string(path).unwrap_or_default()
}

fn noted(proxy: &Running, what: &str) -> bool {
    audit(proxy).contains(&format!("\"what\":\"{what}\""))
}

async fn wait_for_note(proxy: &Running, what: &str) -> Result<()> {
    let expected = format!("a note: {what}");
    let waited = wait_until(DEADLINE, &expected, || async { noted(proxy, what) });
    waited.await.with_context(|| audit(proxy))
}

/// The port of the node a write ran on.
fn write(wire: &mut Wire) -> String {
    wire.value("INSERT INTO t VALUES (1) RETURNING inet_server_port()")
}

fn port(node: &Node) -> String {
    node.port().to_string()
}

use Standing::{Fenced, InService};

#[test]
fn a_killed_primary_is_replaced_and_the_others_follow() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = options("").start_for(&cluster);
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("CREATE TABLE t (a int)");
    write(&mut wire);
    runtime.block_on(cluster.wait_until_caught_up(DEADLINE))?;
    runtime.block_on(cluster.primary().stop(Mode::Kill9))?;
    // Outside a transaction: it waits for the next primary.
    let at = write(&mut wire);
    let (primary, standings) = beliefs(&mut proxy.subscription());
    let primary = primary.expect("a primary");
    assert_ne!(primary, 0);
    assert_eq!(standings[0], Fenced);
    let new = &cluster.nodes()[usize::from(primary)];
    assert_eq!(at, port(new));
    let other = &cluster.nodes()[usize::from(3 - primary)];
    runtime.block_on(async {
        wait_until(DEADLINE, "the other replica to follow", || {
            other.streams_from(new)
        })
        .await
    })?;
    let audit = audit(&proxy);
    for what in ["recognised", "primary lost", "promoting", "promoted"] {
        assert!(
            audit.contains(&format!("\"what\":\"{what}\"")),
            "{what}:\n{audit}"
        );
    }
    Ok(())
}

/// Somebody else promotes a replica while the primary is up and in use: the later timeline is
/// followed, and nothing goes to the old primary any more, though it would take it.
#[test]
fn a_promotion_by_hand_is_followed_and_the_old_primary_gets_nothing() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = options("promote = false").start_for(&cluster);
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("CREATE TABLE t (a int)");
    assert_eq!(write(&mut wire), port(cluster.primary()));
    runtime.block_on(async {
        cluster.wait_until_caught_up(DEADLINE).await?;
        cluster.nodes()[2].promote().await?;
        wait_for(&proxy, "node 2 to be followed", |proxy| {
            beliefs(proxy).0 == Some(2)
        })
        .await
    })?;
    assert_eq!(
        beliefs(&mut proxy.subscription()).1,
        [Fenced, InService, InService]
    );
    for _ in 0..3 {
        assert_eq!(
            write(&mut wire),
            port(&cluster.nodes()[2]),
            "a session of before"
        );
        let mut fresh = Wire::connect(proxy.port(), "postgres");
        assert_eq!(write(&mut fresh), port(&cluster.nodes()[2]), "a new one");
    }
    let old = runtime.block_on(cluster.primary().value("SELECT count(*) FROM t"))?;
    assert_eq!(old, "1", "the old primary took nothing");
    let rows = wire.query("SHOW pool_nodes");
    let status = rows
        .iter()
        .find(|frame| frame.tag == b'D')
        .expect("a row")
        .values();
    assert_eq!(status[3].as_deref(), Some("quarantine"));

    // As a replica of the new one it comes back by itself.
    runtime.block_on(async {
        cluster.primary().stop(Mode::Fast).await?;
        cluster.primary().rejoin(&cluster.nodes()[2]).await?;
        wait_for(&proxy, "node 0 to be back", |proxy| {
            beliefs(proxy).1[0] == InService
        })
        .await
    })
}

/// The proxy cannot reach the primary, its replicas can: it must not promote.
#[test]
fn a_primary_that_only_the_proxy_has_lost_is_not_replaced() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(async {
        let builder = Cluster::builder().fast(true).relays(true);
        builder.start().await
    })?;
    let proxy = options("").start_for(&cluster);
    let primary = cluster.primary();
    primary.set_link(Link {
        clients: Passage::Cut,
        replicas: Passage::Open,
    });
    runtime.block_on(async {
        wait_for_note(&proxy, "primary lost").await?;
        wait_for_note(&proxy, "refused").await
    })?;
    let audit = audit(&proxy);
    assert!(audit.contains("may be alive"), "{audit}");
    primary.set_link(Link::default());
    runtime.block_on(wait_for_note(&proxy, "primary back"))?;
    assert!(!noted(&proxy, "promoting"));
    let (primary, standings) = beliefs(&mut proxy.subscription());
    assert_eq!((primary, standings), (Some(0), vec![InService; 3]));
    Ok(())
}

/// What was known before a restart is known after it: a primary that was replaced does not become
/// the primary again because it is the only one up.
#[test]
fn a_restart_does_not_bring_back_a_primary_that_was_replaced() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let state = cluster.root().join("kept");
    let own = format!(
        "connections_per_node_max = 60\n[failover]\npromote = false\nhold_timeout = \"100ms\"\n\
         state_dir = \"{}\"",
        state.display()
    );
    let options = Options {
        pool: String::leak(own),
        ..Options::weights([1, 1, 1])
    };
    let proxy = options.start_for(&cluster);
    runtime.block_on(async {
        cluster.wait_until_caught_up(DEADLINE).await?;
        cluster.nodes()[1].promote().await?;
        wait_for(&proxy, "node 1 to be followed", |proxy| {
            beliefs(proxy).0 == Some(1)
        })
        .await
    })?;
    drop(proxy);
    runtime.block_on(async { cluster.nodes()[1].stop(Mode::Kill9).await })?;
    let proxy = options.start_for(&cluster);
    runtime.block_on(wait_for(&proxy, "node 0 to be fenced", |proxy| {
        beliefs(proxy).1[0] == Fenced
    }))?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let frames = wire.query("CREATE TABLE t (a int)");
    let error = frames
        .iter()
        .find(|frame| frame.tag == b'E')
        .expect("refused");
    assert_eq!(error.error().0, "57P03");
    Ok(())
}

/// A replica that has lost its primary says which timeline its last checkpoint was on, and that was
/// before the last failover.
#[test]
fn a_start_without_a_primary_knows_the_timeline_of_what_the_replicas_have() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy_of = |state: &str| options(state).start_for(&cluster);
    let state = cluster.root().join("kept").display().to_string();
    let state = format!("state_dir = \"{state}\"");
    let proxy = proxy_of(&state);
    let mut subscription = proxy.subscription();
    let second = runtime.block_on(async {
        cluster.wait_until_caught_up(DEADLINE).await?;
        cluster.primary().stop(Mode::Kill9).await?;
        let is_replaced = |proxy: &mut Subscription| matches!(beliefs(proxy).0, Some(1 | 2));
        wait_for(&proxy, "a replica to be promoted", is_replaced).await?;
        let second = beliefs(&mut subscription).0.context("a primary")?;
        let (new, other) = (&cluster.nodes()[usize::from(second)], 3 - second);
        let other = &cluster.nodes()[usize::from(other)];
        let streams = || other.streams_from(new);
        wait_until(DEADLINE, "the other one to follow", streams).await?;
        new.sql("CREATE TABLE t (a int)").await?;
        let has_it = || async { other.value("SELECT count(*) FROM t").await.is_ok() };
        wait_until(DEADLINE, "the other one to have all", has_it).await?;
        anyhow::Ok(second)
    })?;
    drop(proxy);
    runtime.block_on(cluster.nodes()[usize::from(second)].stop(Mode::Kill9))?;
    let proxy = proxy_of(&state);
    let third = Some(3 - second);
    runtime.block_on(wait_for(&proxy, "the last one to be promoted", |proxy| {
        beliefs(proxy).0 == third
    }))
}

/// Sessions that write without a break notice a wait, and no error.
#[test]
fn a_switchover_costs_autocommit_clients_no_error() -> Result<()> {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let commands = format!(
        "demote_command = \"{}\"\nfollow_primary_command = \"{}\"",
        cluster.demote_command(),
        cluster.follow_primary_command()
    );
    let proxy = options(&commands).start_for(&cluster);
    let mut operator = Wire::connect(proxy.port(), "postgres");
    operator.query("CREATE TABLE t (a int)");
    runtime.block_on(cluster.wait_until_caught_up(DEADLINE))?;
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| -> Result<()> {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let mut wire = Wire::connect(proxy.port(), "postgres");
                let (stop, written) = (&stop, &written);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        write(&mut wire);
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let outcome = runtime.block_on(async {
            tokio::select! {
                served = cluster.serve_commands() => served,
                switched = switch_both_ways(&proxy, &cluster, &written) => switched,
            }
        });
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no writer met an error");
        }
        outcome
    })?;
    let rows = operator.value("SELECT count(*) FROM t");
    assert_eq!(rows, written.load(Ordering::Relaxed).to_string());
    Ok(())
}

/// To node 1, and back to node 0 once that is a replica again.
async fn switch_both_ways(
    proxy: &Running,
    cluster: &Cluster,
    written: &std::sync::atomic::AtomicU64,
) -> Result<()> {
    use std::sync::atomic::Ordering;
    let client = proxy.connect("postgres").await;
    // It holds a connection to the primary that it is to demote.
    client.simple_query("CREATE TABLE u ()").await?;
    client.simple_query("BEGIN; DROP TABLE u").await?;
    let inside = client.simple_query("PGSTEER NODE 1 SWITCHOVER").await;
    assert!(inside.is_err(), "not inside a transaction");
    client.simple_query("ROLLBACK").await?;
    for to in [1, 0] {
        let order = format!("PGSTEER NODE {to} SWITCHOVER");
        client.simple_query(&order).await?;
        let before = written.load(Ordering::Relaxed);
        wait_until(DEADLINE, "writes to go on", || async move {
            written.load(Ordering::Relaxed) > before + 20
        })
        .await?;
        wait_for(proxy, "the old primary to be back", |proxy| {
            beliefs(proxy) == (Some(to), vec![InService; 3])
        })
        .await?;
        let node = &cluster.nodes()[usize::from(to)];
        assert_eq!(node.value("SELECT pg_is_in_recovery()").await?, "f");
    }
    Ok(())
}

#[test]
fn orders_that_would_make_two_primaries_are_refused() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = options("").start_for(&cluster);
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for (order, why) in [
        ("1 PROMOTE", "switchover"),
        ("1 SWITCHOVER", "demote_command"),
        ("0 SWITCHOVER", "already"),
        ("7 DETACH", "no node 7"),
    ] {
        let frames = wire.query(&format!("PGSTEER NODE {order}"));
        let error = frames
            .iter()
            .find(|frame| frame.tag == b'E')
            .expect("refused");
        assert!(error.error().1.contains(why), "{order}: {}", error.shown());
    }
    wire.query("PGSTEER NODE 2 DETACH");
    let is_detached = |proxy: &mut Subscription| {
        let node = proxy.get().topology.node(NodeId(2)).cloned();
        node.is_some_and(|n| n.standing == Standing::Detached && n.role == Role::Replica)
    };
    runtime.block_on(wait_for(&proxy, "node 2 to be detached", is_detached))?;
    wire.query("PGSTEER NODE 2 ATTACH");
    runtime.block_on(wait_for(&proxy, "node 2 to be back", |proxy| {
        beliefs(proxy).1 == [InService; 3]
    }))
}
