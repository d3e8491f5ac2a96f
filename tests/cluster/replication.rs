//! Replication connections through the proxy, with PostgreSQL's own programs.

use std::fs;

use anyhow::Result;
use pgsteer_testkit::{Cluster, client, conninfo, psql};

use crate::support::{Login, Options, Wire, cluster, msg, runtime, shown};

fn log_in(port: u16, parameters: &[(&str, &str)]) -> Wire {
    let mut wire = Wire::open(port);
    let login = Login {
        parameters,
        ..Login::default()
    };
    assert_eq!(wire.log_in(&login, "postgres"), None);
    wire
}

#[test]
fn a_replication_connection_goes_to_the_primary_or_to_the_node_it_names() {
    let proxy = Options::default().start();
    let database = ("replication", "database");
    let mut wire = log_in(proxy.port(), &[database]);
    let mut direct = log_in(cluster().primary().port(), &[database]);
    let (ours, theirs) = (
        wire.query("IDENTIFY_SYSTEM"),
        direct.query("IDENTIFY_SYSTEM"),
    );
    // The position may move; system, timeline and database may not.
    let essence = |row: Vec<Option<String>>| [row[0].clone(), row[1].clone(), row[3].clone()];
    assert_eq!(essence(ours[1].values()), essence(theirs[1].values()));
    assert_eq!(wire.parameters, direct.parameters);
    for (number, node) in cluster().nodes().iter().enumerate() {
        let number = number.to_string();
        let option = format!("-c pgsteer.node={number} -c work_mem=5MB");
        for named in [("options", &*option), ("pgsteer.node", &*number)] {
            let mut wire = log_in(proxy.port(), &[database, named]);
            assert_eq!(wire.value("SHOW port"), node.port().to_string());
        }
        let mut wire = log_in(
            proxy.port(),
            &[("replication", "yes"), ("options", &*option)],
        );
        assert_eq!(wire.value("SHOW work_mem"), "5MB");
        let refused = wire.query("SELECT 1");
        assert_eq!(refused[0].error().0, "0A000", "{}", shown(&refused));
    }
}

#[test]
fn what_is_no_replication_connection_is_said_as_postgresql_says_it() {
    let proxy = Options::default().start();
    let refusal = |port, parameters: &[(&str, &str)]| {
        let login = Login {
            parameters,
            ..Login::default()
        };
        let refused = Wire::open(port).log_in(&login, "postgres");
        refused.expect("refused").shown()
    };
    let nonsense = [("replication", "nonsense")];
    let direct = refusal(cluster().primary().port(), &nonsense);
    assert_eq!(refusal(proxy.port(), &nonsense), direct);
    let nowhere = [("replication", "on"), ("pgsteer.node", "7")];
    assert!(refusal(proxy.port(), &nowhere).contains("C22023"));
    let mut ordinary = log_in(proxy.port(), &[("replication", "off")]);
    assert_eq!(ordinary.value("SELECT 1"), "1");
}

#[test]
fn a_replication_connection_can_be_cancelled_and_counts() {
    let proxy = Options::default().start();
    let mut wire = log_in(proxy.port(), &[("replication", "database")]);
    let mut other = Wire::connect(proxy.port(), "postgres");
    let rows = other.query("SHOW pool_pools");
    let rows: Vec<_> = rows.iter().filter(|f| f.tag == b'D').collect();
    assert_eq!(rows.len(), 2, "a replication connection and a session");
    wire.send(&msg::query("SELECT pg_sleep(1000)"));
    let deadline = std::time::Instant::now() + crate::support::DEADLINE;
    // Repeated, for the statement may not have begun.
    let ended = loop {
        crate::cancel::cancel(proxy.port(), &wire.key);
        wire.set_patience(std::time::Duration::from_millis(200));
        let (frames, complete) = wire.read_until(b'Z');
        if complete {
            break frames;
        }
        assert!(std::time::Instant::now() < deadline, "never cancelled");
    };
    assert!(
        ended.iter().any(|f| f.error().0 == "57014"),
        "{}",
        shown(&ended)
    );
}

#[test]
fn a_replication_connection_ends_with_the_proxy() {
    let proxy = Options::default().start();
    let mut wire = log_in(proxy.port(), &[("replication", "true")]);
    drop(proxy);
    let frame = wire.read().expect("a last word");
    assert_eq!(frame.error().0, "57P01");
    assert!(wire.is_closed());
}

async fn logical() -> Result<Cluster> {
    let builder = Cluster::builder().fast(true);
    builder.conf_line("wal_level = logical").start().await
}

#[test]
fn backups_and_streams_go_through() -> Result<()> {
    runtime().block_on(async {
        let cluster = logical().await?;
        let proxy = Options::default().start_for(&cluster);
        let place = conninfo(proxy.port(), "postgres");
        let primary = cluster.primary();
        primary.sql("CREATE TABLE t (a int)").await?;

        let backup = cluster.root().join("backup");
        let dir = backup.display().to_string();
        let args = ["-d", &place, "-D", &dir, "-X", "stream", "-c", "fast"];
        client("pg_basebackup", &args).await?.success()?;
        client("pg_verifybackup", &[&dir]).await?.success()?;

        let wal = cluster.root().join("wal");
        fs::create_dir(&wal)?;
        let from = primary.value("SELECT pg_switch_wal()").await?;
        primary
            .sql("INSERT INTO t SELECT generate_series(1, 1000)")
            .await?;
        let to = primary.value("SELECT pg_current_wal_flush_lsn()").await?;
        let dir = wal.display().to_string();
        let args = ["-d", &place, "-D", &dir, "-n", "-E", &to];
        client("pg_receivewal", &args).await?.success()?;
        let files = fs::read_dir(&wal)?.count();
        assert!(files > 0, "WAL from {from} to {to} arrived");

        let slot = ["-d", &place, "-S", "changes"];
        let create = [&slot[..], &["--create-slot", "-P", "test_decoding"]].concat();
        client("pg_recvlogical", &create).await?.success()?;
        primary.sql("INSERT INTO t VALUES (4711)").await?;
        let to = primary.value("SELECT pg_current_wal_flush_lsn()").await?;
        let file = cluster.root().join("changes").display().to_string();
        let args = ["--start", "-n", "-E", &to, "-f", &file];
        client("pg_recvlogical", &[&slot[..], &args].concat())
            .await?
            .success()?;
        let changes = fs::read_to_string(&file)?;
        assert!(changes.contains("INSERT: a[integer]:4711"), "{changes}");
        let drop_slot = [&slot[..], &["--drop-slot"]].concat();
        client("pg_recvlogical", &drop_slot).await?.success()?;

        let identified = psql(&format!("{place} replication=database"), "IDENTIFY_SYSTEM").await?;
        assert!(identified.success()?.ends_with("|postgres"));
        Ok(())
    })
}
