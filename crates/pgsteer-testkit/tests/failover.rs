//! Nodes that change places, and the network between them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use pgsteer_testkit::{Builder, Cluster, Link, Mode, Node, Passage, Rejoined, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);

fn builder() -> Builder {
    Cluster::builder().fast(true)
}

async fn acting(cluster: &Cluster) -> Result<&str> {
    let node = cluster.acting_primary().await.context("no primary")?;
    Ok(node.name())
}

/// The former primary wrote something that nobody else has, and lost it.
#[tokio::test]
async fn a_former_primary_is_rewound_and_follows_the_new_one() -> Result<()> {
    let cluster = builder().synchronous(true).start().await?;
    let [old, new, other] = cluster.nodes() else {
        unreachable!("three nodes")
    };
    old.sql("CREATE TABLE kept ()").await?;
    cluster.wait_until_caught_up(DEADLINE).await?;

    new.promote().await?;
    old.sql("SET synchronous_commit = local; CREATE TABLE lost ()")
        .await?;
    assert_eq!(acting(&cluster).await?, "node1");
    assert_eq!(other.rejoin(new).await?, Rejoined::Rewound);
    // The commit waits for a replica, whatever the name of its primary.
    new.sql("CREATE TABLE after_failover ()").await?;
    assert_eq!(old.rejoin(new).await?, Rejoined::Rewound);
    assert_eq!(old.rejoin(new).await?, Rejoined::Already);
    assert!(old.sql("SELECT FROM lost").await.is_err());
    old.sql("SELECT FROM after_failover").await?;

    // And back again, after a clean stop.
    new.demote().await?;
    old.promote().await?;
    other.rejoin(old).await?;
    new.rejoin(old).await?;
    old.sql("SELECT FROM after_failover; CREATE TABLE back ()")
        .await?;
    cluster.stop().await
}

#[tokio::test]
async fn a_former_primary_without_its_wal_is_copied_anew() -> Result<()> {
    let cluster = builder().replicas(1).start().await?;
    let (old, new) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    old.stop(Mode::Kill9).await?;
    new.promote().await?;
    std::fs::remove_dir_all(old.data_dir().join("pg_wal"))?;
    let how = old.rejoin(new).await?;
    assert!(matches!(how, Rejoined::Copied(_)), "{how:?}");
    Ok(())
}

#[tokio::test]
async fn shell_commands_demote_and_bring_back() -> Result<()> {
    let cluster = builder().replicas(1).start().await?;
    let (old, new) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    let shell = async |command: String, node: &str, primary: &str| {
        let command = command.replace("%d", node).replace("%m", primary);
        let output = tokio::process::Command::new("sh")
            .args(["-c", &command])
            .stdin(Stdio::null())
            .output()
            .await?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::Ok((output.status.code(), words))
    };
    let steps = async {
        let (status, words) = shell(cluster.demote_command(), "0", "1").await?;
        assert_eq!(status, Some(0), "{words}");
        assert_eq!(old.pid(), None);
        new.promote().await?;
        old.leave_alone(true);
        let (status, words) = shell(cluster.follow_primary_command(), "0", "1").await?;
        assert_eq!(status, Some(1), "{words}");
        assert!(words.contains("left alone"), "{words}");
        old.leave_alone(false);
        let (status, words) = shell(cluster.follow_primary_command(), "0", "1").await?;
        assert_eq!(status, Some(0), "{words}");
        assert!(old.streams_from(new).await);
        let (status, words) = shell(cluster.follow_primary_command(), "7", "1").await?;
        assert_eq!(status, Some(1), "{words}");
        anyhow::Ok(())
    };
    tokio::select! {
        ended = steps => ended,
        failed = cluster.serve_commands() => failed,
    }
}

/// Whether a client that comes by the relay gets an answer.
async fn answers(node: &Node) -> bool {
    let text = format!(
        "host={} port={} user=postgres password=password dbname=postgres",
        node.host(),
        node.public_port()
    );
    let ask = async {
        let (client, connection) = tokio_postgres::connect(&text, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.simple_query("SELECT 1").await
    };
    let asked = tokio::time::timeout(Duration::from_millis(500), ask).await;
    asked.is_ok_and(|answer| answer.is_ok())
}

#[tokio::test]
async fn clients_and_replicas_are_cut_off_separately() -> Result<()> {
    let cluster = builder().replicas(1).relays(true).start().await?;
    let primary = cluster.primary();
    let replica = cluster.replicas()[0];
    assert_ne!(primary.port(), primary.public_port());
    assert!(answers(primary).await);

    let (open, cut, silent) = (Passage::Open, Passage::Cut, Passage::Silent);
    for passage in [cut, silent] {
        primary.set_link(Link {
            clients: passage,
            replicas: open,
        });
        assert!(!answers(primary).await, "{passage:?}");
        primary.sql("SELECT pg_switch_wal()").await?;
        cluster.wait_until_caught_up(DEADLINE).await?;
    }

    for passage in [cut, silent] {
        primary.set_link(Link {
            clients: open,
            replicas: passage,
        });
        assert!(answers(primary).await, "{passage:?}");
        let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
        wait_until(DEADLINE, "the replica to lose it", || async {
            replica.value(receivers).await.is_ok_and(|n| n == "0")
        })
        .await?;
        primary.set_link(Link::default());
        cluster.wait_until_streaming(DEADLINE).await?;
    }
    Ok(())
}

/// What a client sent into the hole arrives when it is gone, as it does with TCP.
#[tokio::test]
async fn a_silent_link_loses_nothing() -> Result<()> {
    let cluster = builder().replicas(0).relays(true).start().await?;
    let primary = cluster.primary();
    let text = format!(
        "host=127.0.0.1 port={} user=postgres password=password dbname=postgres",
        primary.public_port()
    );
    let (client, connection) = tokio_postgres::connect(&text, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    primary.set_link(Link::all(Passage::Silent));
    let mut answer = tokio::spawn(async move { client.simple_query("SELECT 1").await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
    assert!(early.is_err(), "it passed");
    primary.set_link(Link::default());
    answer.await??;
    Ok(())
}

/// A file that a script leaves must not be taken for one of another start.
#[tokio::test]
async fn commands_are_below_the_root() -> Result<()> {
    let cluster = builder().replicas(0).start().await?;
    let command = cluster.demote_command();
    let path = command.trim_start_matches('\'').split('\'').next();
    let path = PathBuf::from(path.unwrap_or_default());
    assert!(path.starts_with(cluster.root()), "{command}");
    assert!(path.is_file(), "{command}");
    Ok(())
}
