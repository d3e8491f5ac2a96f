//! Nobody misses what was written: reads are balanced, replicas lag, and still every session sees
//! its own writes and those it can have heard of.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{Cluster, Node, wait_until};
use tokio_postgres::Client;

use crate::support::{DEADLINE, Frame, Options, Running, Wire, msg, runtime};

/// Replicas replay every change this much later.
async fn delay_replay(cluster: &Cluster, milliseconds: u64) -> Result<()> {
    for replica in cluster.replicas() {
        let set = format!("ALTER SYSTEM SET recovery_min_apply_delay = '{milliseconds}ms'");
        replica.sql(&set).await?;
        replica.sql("SELECT pg_reload_conf()").await?;
    }
    Ok(())
}

async fn prepared(setup: &str) -> Result<Cluster> {
    let cluster = Cluster::builder().fast(true).start().await?;
    cluster.primary().sql(setup).await?;
    cluster.wait_until_caught_up(DEADLINE).await?;
    Ok(cluster)
}

/// Reads are for replicas, as long as they are fresh enough.
fn proxy(cluster: &Cluster, router: &'static str) -> Running {
    let options = Options {
        router,
        ..Options::weights([0, 1, 1])
    };
    options.start_for(cluster)
}

/// Waits until reads of a relation are balanced, which takes the catalog.
async fn until_balanced(client: &Client, cluster: &Cluster) -> Result<()> {
    let primary = i32::from(cluster.primary().port());
    wait_until(DEADLINE, "reads of a table on a replica", || async {
        let row = client
            .query_one("SELECT inet_server_port() FROM ledger LIMIT 1", &[])
            .await;
        row.is_ok_and(|row| row.get::<_, i32>(0) != primary)
    })
    .await
}

const SETUP: &str = "CREATE TABLE ledger (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO ledger VALUES (0, 0)";

/// Writes and reads back at once, `rounds` times, in turns with each protocol and with the write
/// inside a transaction; returns how many reads a replica served.
async fn write_and_read(client: &Client, cluster: &Cluster, rounds: i32) -> Result<u32> {
    let primary = i32::from(cluster.primary().port());
    let read = "SELECT n, inet_server_port() FROM ledger WHERE id = 0";
    let mut on_replicas = 0;
    for round in 1..=rounds {
        let update = format!("UPDATE ledger SET n = {round} WHERE id = 0");
        match round % 3 {
            0 => client.batch_execute(&update).await?,
            1 => drop(client.execute(&update, &[]).await?),
            _ => {
                let transaction = format!("BEGIN; {update}; COMMIT");
                client.batch_execute(&transaction).await?;
            }
        }
        let row = client.query_one(read, &[]).await?;
        let (n, port): (i32, i32) = (row.get(0), row.get(1));
        ensure!(n == round, "wrote {round}, read {n} at port {port}");
        on_replicas += u32::from(port != primary);
    }
    Ok(on_replicas)
}

#[test]
fn a_session_sees_its_own_writes_however_late_the_replicas_are() -> Result<()> {
    runtime().block_on(async {
        let cluster = prepared(SETUP).await?;
        let proxy = proxy(&cluster, "");
        let client = proxy.connect("postgres").await;
        until_balanced(&client, &cluster).await?;
        for milliseconds in [0, 20, 200] {
            delay_replay(&cluster, milliseconds).await?;
            write_and_read(&client, &cluster, 60).await?;
            // Once they have caught up, replicas serve this session again.
            until_balanced(&client, &cluster).await?;
        }
        cluster.stop().await
    })
}

#[test]
fn a_new_session_sees_what_was_committed_before_it_connected() -> Result<()> {
    runtime().block_on(async {
        let cluster = prepared(SETUP).await?;
        let proxy = proxy(&cluster, "");
        let writer = proxy.connect("postgres").await;
        until_balanced(&writer, &cluster).await?;
        delay_replay(&cluster, 150).await?;
        for round in 1..=20 {
            let update = format!("UPDATE ledger SET n = {round} WHERE id = 0");
            writer.batch_execute(&update).await?;
            let reader = proxy.connect("postgres").await;
            let row = reader
                .query_one("SELECT n FROM ledger WHERE id = 0", &[])
                .await?;
            assert_eq!(row.get::<_, i32>(0), round);
        }
        cluster.stop().await
    })
}

/// Rounds in which another session that is connected already reads what a writer has just written;
/// returns how many of them were stale.
async fn stale_for_others(router: &'static str, delay: u64) -> Result<u32> {
    let cluster = prepared(SETUP).await?;
    let proxy = proxy(&cluster, router);
    let (writer, reader) = (
        proxy.connect("postgres").await,
        proxy.connect("postgres").await,
    );
    until_balanced(&reader, &cluster).await?;
    delay_replay(&cluster, delay).await?;
    let mut stale = 0;
    for round in 1..=30 {
        let update = format!("UPDATE ledger SET n = {round} WHERE id = 0");
        writer.batch_execute(&update).await?;
        let row = reader
            .query_one("SELECT n FROM ledger WHERE id = 0", &[])
            .await?;
        stale += u32::from(row.get::<_, i32>(0) != round);
    }
    cluster.stop().await?;
    Ok(stale)
}

#[test]
fn with_global_nobody_misses_anything() -> Result<()> {
    runtime().block_on(async {
        assert_eq!(
            stale_for_others("read_your_writes = \"global\"", 100).await?,
            0
        );
        Ok(())
    })
}

#[test]
fn dml_adaptive_global_keeps_reads_of_what_was_written_from_late_replicas() -> Result<()> {
    let router = "disable_load_balance_on_write = \"dml_adaptive_global\"";
    runtime().block_on(async {
        assert_eq!(stale_for_others(router, 100).await?, 0);
        Ok(())
    })
}

/// So that the tests above can fail: this is what they protect from.
#[test]
fn without_it_others_read_stale_rows() -> Result<()> {
    runtime().block_on(async {
        let stale = stale_for_others("read_your_writes = \"off\"", 100).await?;
        assert!(stale > 20, "{stale} of 30 reads were stale");
        Ok(())
    })
}

async fn replay(node: &Node, what: &str) -> Result<()> {
    node.sql(&format!("SELECT pg_wal_replay_{what}()")).await?;
    Ok(())
}

#[test]
fn paused_replicas_serve_nobody_who_wrote() -> Result<()> {
    runtime().block_on(async {
        let cluster = prepared(SETUP).await?;
        let proxy = proxy(&cluster, "");
        let client = proxy.connect("postgres").await;
        until_balanced(&client, &cluster).await?;
        for replica in cluster.replicas() {
            replay(replica, "pause").await?;
        }
        let served = write_and_read(&client, &cluster, 30).await?;
        assert_eq!(served, 0, "nothing is replayed any more");
        // One of them goes on: reads move there, the other one stays out.
        let (first, second) = (cluster.replicas()[0], cluster.replicas()[1]);
        replay(first, "resume").await?;
        until_balanced(&client, &cluster).await?;
        let mut ports = HashMap::new();
        for _ in 0..40 {
            let session = proxy.connect("postgres").await;
            let row = session
                .query_one("SELECT inet_server_port() FROM ledger", &[])
                .await?;
            *ports.entry(row.get::<_, i32>(0)).or_insert(0) += 1;
        }
        assert!(!ports.contains_key(&i32::from(second.port())), "{ports:?}");
        assert!(ports.contains_key(&i32::from(first.port())), "{ports:?}");
        replay(second, "resume").await?;
        cluster.stop().await
    })
}

/// Not a test of speed: the share of reads that replicas serve while every session writes now and
/// then. Printed for the documentation; what must hold is that replicas that are fresh serve.
#[test]
fn replicas_serve_most_reads_when_they_are_fresh() -> Result<()> {
    runtime().block_on(async {
        let cluster = prepared(SETUP).await?;
        let proxy = proxy(&cluster, "");
        let primary = i32::from(cluster.primary().port());
        let client = proxy.connect("postgres").await;
        until_balanced(&client, &cluster).await?;
        for milliseconds in [0, 10, 100] {
            delay_replay(&cluster, milliseconds).await?;
            let (mut served, mut asked) = (0, 0);
            for round in 1..=15 {
                let update = format!("UPDATE ledger SET n = {round} WHERE id = 0");
                client.batch_execute(&update).await?;
                for _ in 0..20 {
                    let read = "SELECT n, inet_server_port() FROM ledger";
                    let row = client.query_one(read, &[]).await?;
                    assert_eq!(row.get::<_, i32>(0), round);
                    served += u32::from(row.get::<_, i32>(1) != primary);
                    asked += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            println!("replay {milliseconds} ms late: replicas served {served} of {asked} reads");
            assert!(
                milliseconds > 0 || served * 2 > asked,
                "{served} of {asked}"
            );
        }
        cluster.stop().await
    })
}

/// The port that serves a session's reads once a condition holds.
async fn until_port(client: &Client, what: &str, fits: impl Fn(i32) -> bool) -> Result<i32> {
    let read = "SELECT inet_server_port() FROM ledger LIMIT 1";
    wait_until(DEADLINE, what, || async {
        let row = client.query_one(read, &[]).await;
        row.is_ok_and(|row| fits(row.get(0)))
    })
    .await?;
    Ok(client.query_one(read, &[]).await?.get(0))
}

/// A session whose replica stops replaying reads elsewhere, and comes back; returns where it read
/// meanwhile, and the ports of the primary and of its replica.
/// `to_primary`: that is where reads should go meanwhile.
async fn replica_falls_behind(router: &'static str, to_primary: bool) -> Result<(i32, i32, i32)> {
    let cluster = prepared(SETUP).await?;
    let proxy = proxy(&cluster, router);
    let client = proxy.connect("postgres").await;
    let primary = i32::from(cluster.primary().port());
    let own = until_port(&client, "a replica", |port| port != primary).await?;
    let replicas = cluster.replicas();
    let mut replicas = replicas.iter();
    let replica = replicas.find(|node| i32::from(node.port()) == own);
    let replica = replica.expect("it is one of the replicas");
    replay(replica, "pause").await?;
    // Past the proxy, so that nothing but the lag can tell.
    let much = "INSERT INTO ledger SELECT g, g FROM generate_series(1, 20000) g";
    cluster.primary().sql(much).await?;
    // The other replica has to replay all that, too, before it can take over.
    let fits = |port| port != own && (port == primary) == to_primary;
    let meanwhile = until_port(&client, "another node", fits).await?;
    replay(replica, "resume").await?;
    if meanwhile == primary {
        until_port(&client, "its replica again", |port| port == own).await?;
    }
    cluster.stop().await?;
    Ok((meanwhile, primary, own))
}

#[test]
fn a_replica_too_many_bytes_behind_is_replaced_by_the_primary() -> Result<()> {
    let router = "read_your_writes = \"off\"\ndelay_threshold = 1000";
    let (meanwhile, primary, _) = runtime().block_on(replica_falls_behind(router, true))?;
    assert_eq!(meanwhile, primary);
    Ok(())
}

#[test]
fn a_replica_too_long_behind_is_replaced_by_the_primary() -> Result<()> {
    let router = "read_your_writes = \"off\"\ndelay_threshold_by_time = 300";
    let (meanwhile, primary, _) = runtime().block_on(replica_falls_behind(router, true))?;
    assert_eq!(meanwhile, primary);
    Ok(())
}

#[test]
fn with_prefer_lower_delay_standby_another_replica_takes_over() -> Result<()> {
    let router = "read_your_writes = \"off\"\ndelay_threshold = 1000\n\
                  prefer_lower_delay_standby = true";
    let (meanwhile, primary, own) = runtime().block_on(replica_falls_behind(router, false))?;
    assert!(meanwhile != primary && meanwhile != own, "{meanwhile}");
    Ok(())
}

/// Texts in one pipeline, up to Sync; returns the first column of the last row.
fn pipeline(wire: &mut Wire, texts: &[&str]) -> Option<String> {
    let mut bytes: Vec<u8> = texts.iter().flat_map(|t| msg::statement(t, &[])).collect();
    bytes.extend(msg::sync());
    wire.send(&bytes);
    let frames = wire.until(b'Z');
    let error = frames.iter().find(|frame| frame.tag == b'E');
    assert_eq!(error.map(Frame::error), None, "{texts:?}");
    let row = frames.iter().rfind(|frame| frame.tag == b'D');
    row.and_then(|row| row.values().first().cloned().flatten())
}

#[test]
fn what_a_pipeline_wrote_is_seen_by_its_own_reads_and_by_later_ones() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(prepared(SETUP))?;
    let proxy = proxy(&cluster, "");
    let client = runtime.block_on(proxy.connect("postgres"));
    runtime.block_on(until_balanced(&client, &cluster))?;
    runtime.block_on(delay_replay(&cluster, 150))?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let read = "SELECT n FROM ledger WHERE id = 0";
    for round in 1..=10 {
        let update = format!("UPDATE ledger SET n = {round} WHERE id = 0");
        let expected = Some(round.to_string());
        match round % 3 {
            // The read before it is on a replica, whose end says nothing about the write.
            0 => drop(pipeline(&mut wire, &["SELECT 1", &update])),
            // COMMIT and a read behind it in one pipeline.
            1 => {
                pipeline(&mut wire, &["BEGIN", &update]);
                assert_eq!(pipeline(&mut wire, &["COMMIT", read]), expected, "{round}");
            }
            _ => assert_eq!(pipeline(&mut wire, &[&update, read]), expected, "{round}"),
        }
        assert_eq!(pipeline(&mut wire, &[read]), expected, "{round}");
        let mut other = Wire::connect(proxy.port(), "postgres");
        assert_eq!(
            pipeline(&mut other, &[read]),
            expected,
            "{round}, a new session"
        );
    }
    runtime.block_on(cluster.stop())
}

/// A replica that has not replayed CREATE DATABASE knows nothing of it, and says so to whoever is sent there.
#[test]
fn a_database_can_be_used_before_the_replicas_have_it() -> Result<()> {
    runtime().block_on(async {
        let cluster = prepared(SETUP).await?;
        delay_replay(&cluster, 600_000).await?;
        let proxy = proxy(&cluster, "");
        let client = proxy.connect("postgres").await;
        client.batch_execute("CREATE DATABASE brand_new").await?;
        // Drawn evenly: in six logins each replica is asked.
        for _ in 0..6 {
            let mut client = proxy.connect("brand_new").await;
            let row = client.query_one("SELECT current_database()", &[]).await?;
            ensure!(row.get::<_, String>(0) == "brand_new");
            let transaction = client.transaction().await?;
            for n in [1, 2] {
                let row = transaction.query_one("SELECT $1::int", &[&n]).await?;
                ensure!(row.get::<_, i32>(0) == n);
            }
            transaction.commit().await?;
        }
        let missing = Wire::try_connect(proxy.port(), "never_made", DEADLINE);
        let error = missing.err().map(|error| error.to_string());
        let error = error.context("a database nobody made was entered")?;
        ensure!(error.contains("3D000"), "{error}");
        cluster.stop().await
    })
}
