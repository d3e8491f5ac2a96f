//! Does what was decided on the servers, by SQL.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::settings::{NodeSettings, Settings};
use tokio_postgres::SimpleQueryMessage;

use super::conninfo::{self, literal, redirected};
use super::state::{Outcome, Work};
use super::{commands, state::Command};
use crate::connection::Connection;

/// Does it. Ends within the limits of the settings.
pub(super) async fn run(work: Work, settings: std::sync::Arc<Settings>) -> Outcome {
    match work {
        Work::Promote(node) => promote(node, &settings).await,
        Work::Repoint(node, primary) => repoint(node, primary, &settings).await,
        Work::Checkpoint(node) => checkpoint(node, &settings).await,
        Work::Position(node) => position(node, &settings).await,
        Work::Command(command) => run_command(&command, &settings).await,
    }
}

async fn run_command(command: &Command, settings: &Settings) -> Outcome {
    let rules = &settings.failover;
    let line = commands::expand(
        commands::text(command.kind, rules),
        command,
        &settings.nodes,
    );
    commands::run(command.kind.setting(), line, rules.command_timeout).await
}

/// Asks for a promotion and does not wait for it: probes see when it is done.
async fn promote(node: NodeId, settings: &Settings) -> Outcome {
    one(node, settings, "SELECT pg_promote(false)", "t").await
}

/// A checkpoint now makes the one at the shutdown short.
async fn checkpoint(node: NodeId, settings: &Settings) -> Outcome {
    let limit = settings.failover.command_timeout;
    let sql = "SET statement_timeout = 0; SET lock_timeout = 0; CHECKPOINT";
    match query(node, settings, sql, limit).await {
        Ok(_) => Outcome::Done,
        Err(outcome) => outcome,
    }
}

/// How far a primary has written. What it flushed is what its replicas can have.
async fn position(node: NodeId, settings: &Settings) -> Outcome {
    let sql = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text";
    match query(node, settings, sql, timeout(node, settings)).await {
        Ok(rows) => rows
            .first()
            .and_then(|value| value.parse().ok())
            .map_or_else(
                || Outcome::Failed(format!("node {node} did not say how far it is")),
                Outcome::Position,
            ),
        Err(outcome) => outcome,
    }
}

async fn one(node: NodeId, settings: &Settings, sql: &str, expected: &str) -> Outcome {
    match query(node, settings, sql, timeout(node, settings)).await {
        Ok(rows) if rows.first().is_some_and(|value| value == expected) => Outcome::Done,
        Ok(_) => Outcome::Failed(format!("node {node} did not do it")),
        Err(outcome) => outcome,
    }
}

/// Makes a replica follow another primary, over a slot of the same name as before.
async fn repoint(node: NodeId, primary: NodeId, settings: &Settings) -> Outcome {
    let Some(target) = settings.nodes.get(primary.index()) else {
        return Outcome::Failed(format!("there is no node {primary}"));
    };
    let limit = timeout(node, settings);
    let sql = "SELECT current_setting('server_version_num'), \
               current_setting('primary_conninfo'), current_setting('primary_slot_name')";
    let rows = match query(node, settings, sql, limit).await {
        Ok(rows) => rows,
        Err(outcome) => return outcome,
    };
    let [version, conninfo, slot] = rows.as_slice() else {
        return Outcome::Failed(format!("node {node} did not say whom it follows"));
    };
    if version
        .parse::<u32>()
        .is_ok_and(|version| version < RELOADS_CONNINFO)
    {
        let why = "PostgreSQL before 13 must be restarted to follow another primary";
        return Outcome::Failed(why.to_owned());
    }
    if is_private(&target.host) && !conninfo::host(conninfo).is_none_or(|old| is_private(&old)) {
        return Outcome::Failed(format!(
            "node {node} reaches its primary by another name than {}, which is one for this machine \
             alone",
            target.host
        ));
    }
    let Some(conninfo) = redirected(conninfo, &target.host, target.port) else {
        let why = "primary_conninfo is not in the form of keywords and values";
        return Outcome::Failed(format!("{why} on node {node}"));
    };
    if !slot.is_empty() {
        let slot = literal(slot);
        let sql = format!(
            "SELECT pg_create_physical_replication_slot({slot}, true) \
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {slot})"
        );
        if let Err(outcome) = query(primary, settings, &sql, limit).await {
            return outcome;
        }
    }
    let set = format!("ALTER SYSTEM SET primary_conninfo = {}", literal(&conninfo));
    if let Err(outcome) = query(node, settings, &set, limit).await {
        return outcome;
    }
    one(node, settings, "SELECT pg_reload_conf()", "t").await
}

fn timeout(node: NodeId, settings: &Settings) -> Duration {
    settings.probe_of(node).timeout
}

/// Runs SQL on a node; the values of the rows, one after the other. The error says whether it may
/// have happened.
async fn query(
    node: NodeId,
    settings: &Settings,
    sql: &str,
    limit: Duration,
) -> Result<Vec<String>, Outcome> {
    let Some(known): Option<&NodeSettings> = settings.nodes.get(node.index()) else {
        return Err(Outcome::Failed(format!("there is no node {node}")));
    };
    let probe = settings.probe_of(node);
    let opened = Connection::open(known, probe, &probe.database, NAME);
    let connection = match tokio::time::timeout(probe.timeout, opened).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(fault)) => return Err(Outcome::Failed(format!("node {node}: {fault}"))),
        Err(_) => return Err(Outcome::Failed(format!("node {node} does not answer"))),
    };
    let asked = connection.client.simple_query(sql);
    let messages = match tokio::time::timeout(limit, asked).await {
        Ok(Ok(messages)) => messages,
        Ok(Err(error)) => {
            let why = crate::probe::Fault::from_postgres(&error);
            let text = format!("node {node}: {why}");
            // An error of the server means that it did not happen; a lost connection means nothing.
            return Err(if error.as_db_error().is_some() {
                Outcome::Failed(text)
            } else {
                Outcome::Unknown(text)
            });
        }
        Err(_) => {
            let text = format!("node {node} did not answer within {limit:?}");
            return Err(Outcome::Unknown(text));
        }
    };
    let mut values = Vec::new();
    for message in &messages {
        if let SimpleQueryMessage::Row(row) = message {
            values.extend((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()));
        }
    }
    Ok(values)
}

/// An address that means something else on every machine.
fn is_private(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.starts_with("127.") || host == "::1"
}

/// `application_name` of its connections.
const NAME: &str = "pgsteer failover";
/// The first version that takes a new `primary_conninfo` without a restart.
const RELOADS_CONNINFO: u32 = 130_000;
