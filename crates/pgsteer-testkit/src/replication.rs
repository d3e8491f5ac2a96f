//! What makes a copy of the primary a replica: roles, slots, base backups, whom to follow.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::conf::{
    REPLICATION_PASSWORD, auto_conf, quote, quote_conninfo, replication_role, replication_slot,
};
use crate::node::Node;
use crate::setup::{run, write_file};
use crate::wait::wait_until;

/// Sets the password of `postgres`, which a kept data root may have had otherwise.
pub(crate) async fn set_password(primary: &Node) -> Result<()> {
    let password = quote(&primary.password);
    let text = format!("{LOCALLY}ALTER ROLE postgres PASSWORD {password}");
    primary.sql(&text).await.context("cannot set a password")?;
    Ok(())
}

/// Creates the role and the slot of replicas with these numbers where they are missing.
pub(crate) async fn ensure_roles_and_slots(primary: &Node, numbers: &[usize]) -> Result<()> {
    let mut text = LOCALLY.to_owned();
    for number in numbers {
        let (role, slot) = (replication_role(*number), replication_slot(*number));
        text.push_str(&format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN \
             CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{REPLICATION_PASSWORD}'; \
             END IF; END $$;\n\
             SELECT pg_create_physical_replication_slot('{slot}') \
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}');\n"
        ));
    }
    primary
        .sql(&text)
        .await
        .context("cannot create replication roles and slots")?;
    Ok(())
}

/// Copies the primary into the data directory of `replica`. The copy appears under its name only
/// when it is complete, so that an interrupted one is not taken for a replica.
pub(crate) async fn base_backup(primary: &Node, replica: &Node) -> Result<()> {
    let incomplete = replica.data_dir.with_extension("incomplete");
    remove_dir(&incomplete)?;
    let program = replica.bin_dir.join("pg_basebackup");
    let mut command = replica
        .account
        .command(&program, crate::account::DeathSignal::Kill);
    command
        .env("PGPASSWORD", REPLICATION_PASSWORD)
        .arg(format!("--dbname={}", conninfo(primary, replica)))
        .arg(format!("--slot={}", replication_slot(replica.number)))
        .arg("--pgdata")
        .arg(&incomplete)
        .args(["-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]);
    run(command).await?;
    fs::rename(&incomplete, &replica.data_dir)?;
    Ok(())
}

/// Makes `replica` follow `primary` from its next start on.
pub(crate) fn follow(primary: &Node, replica: &Node) -> Result<()> {
    let path = replica.data_dir.join("postgresql.auto.conf");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let password = quote_conninfo(REPLICATION_PASSWORD);
    let conninfo = format!("{} password={password}", conninfo(primary, replica));
    let text = auto_conf(&old, &conninfo, &replication_slot(replica.number));
    write_file(&replica.account, &path, &text)
}

/// True when a replica that was kept still fits the primary: after a failover it may lack WAL that
/// is gone, or have some that the new primary never had.
pub(crate) async fn can_stream(primary: &Node, replica: &Node) -> bool {
    let question = |states: &str| {
        let name = quote(&replica.name);
        format!(
            "SELECT EXISTS (SELECT FROM pg_stat_replication \
             WHERE application_name = {name} AND state IN ({states}))"
        )
    };
    let streams = question("'streaming'");
    let what = format!("{} to stream", replica.name);
    let arrival = wait_until(STREAM_PATIENCE, &what, || async {
        primary
            .value(&streams)
            .await
            .is_ok_and(|answer| answer == "t")
    });
    // One that has much to fetch gets the time for it; one that does not fit fails again and again.
    arrival.await.is_ok()
        || primary
            .value(&question("'catchup'"))
            .await
            .is_ok_and(|answer| answer == "t")
}

/// True when the data directory is that of a replica.
pub(crate) fn is_replica(data_dir: &Path) -> bool {
    data_dir.join("standby.signal").exists()
}

/// The highest timeline a data directory knows. Each promotion begins a new one and writes its
/// history file before the first change on it.
pub(crate) fn timeline(data_dir: &Path) -> u32 {
    let Ok(entries) = fs::read_dir(data_dir.join("pg_wal")) else {
        return 0;
    };
    let histories = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        u32::from_str_radix(name.to_str()?.strip_suffix(".history")?, 16).ok()
    });
    histories.max().unwrap_or(1)
}

pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

fn conninfo(primary: &Node, replica: &Node) -> String {
    format!(
        "host={} port={} user={} application_name={}",
        primary.host(),
        primary.public_port(),
        replication_role(replica.number),
        replica.name
    )
}

/// There may be no replica yet that a commit could wait for.
const LOCALLY: &str = "SET synchronous_commit = local;\n";
/// A replica that fits streams within a second or two; retries of one that does not come every 5 s.
const STREAM_PATIENCE: Duration = Duration::from_secs(20);
