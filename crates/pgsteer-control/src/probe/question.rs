//! What a node is asked, all in one round trip, and how its answer is read.

use std::time::Duration;

use pgsteer_core::Role;
use pgsteer_core::policy::Receiver;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::Fault;

/// What a node said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) role: Role,
    /// Primary: end of the WAL that was inserted; replica: end of the WAL that was replayed.
    pub(crate) lsn: Option<u64>,
    /// Equal on all nodes of a cluster.
    pub(crate) system_identifier: Option<u64>,
    /// A primary: the timeline it writes; a replica: the latest one it knows of.
    pub(crate) timeline: Option<u32>,
    /// Replica: end of the WAL that was received and kept; primary: end of what was flushed, which
    /// is all that replicas can have.
    pub(crate) received: Option<u64>,
    /// Replica: its connection to the node it follows.
    pub(crate) upstream: Upstream,
    /// How a primary may know this node, if it is a replica.
    pub(crate) names: Names,
    /// The replicas this node feeds.
    pub(crate) standbys: Vec<Standby>,
}

/// What a replica is connected to, as `pg_stat_wal_receiver` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) receiver: Receiver,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// How long ago it last said something.
    pub(crate) silent: Option<Duration>,
    /// After half of this without a word it is asked for one (`wal_receiver_timeout`); zero: never.
    pub(crate) timeout: Option<Duration>,
}

/// How a replica appears in its primary's `pg_stat_replication`; empty where not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) slot: String,
    pub(crate) cluster_name: String,
    pub(crate) address: String,
}

/// A row of `pg_stat_replication` with the slot it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standby {
    pub(crate) slot: String,
    pub(crate) application_name: String,
    pub(crate) address: String,
    pub(crate) state: String,
    pub(crate) sync_state: String,
}

/// Three statements in one message: the node itself, its WAL receiver, its standbys. The simple
/// protocol answers them in one round trip. `CASE` keeps the functions apart that fail on the wrong
/// kind of node. A new timeline is in the names of WAL files at once, and in the control file only
/// after the next checkpoint.
pub(crate) const SQL: &str = "\
SELECT 'node', pg_is_in_recovery()::text, \
  (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
        ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::text, \
  (SELECT system_identifier::text FROM pg_control_system()), \
  current_setting('cluster_name'), host(inet_server_addr()), \
  (CASE WHEN pg_is_in_recovery() THEN NULL \
        ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END), \
  (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)::text \
     FROM pg_control_checkpoint() c, pg_control_recovery() r), \
  (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() \
        ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::text;\
SELECT 'receiver', slot_name, status, received_tli::text, sender_host, sender_port::text, \
  (extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000)::bigint::text, \
  (SELECT setting FROM pg_settings WHERE name = 'wal_receiver_timeout') \
  FROM pg_stat_wal_receiver;\
SELECT 'standby', s.slot_name, r.application_name, host(r.client_addr), r.state, r.sync_state \
  FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid";

/// The timeline of the WAL a replica has, from the names of its files: those of PostgreSQL's own are
/// 24 hexadecimal digits, the first eight of them the timeline.
pub(crate) const TIMELINE_SQL: &str = "\
SELECT max(substr(name, 1, 8)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'";

impl Answer {
    /// A replica without a WAL receiver knows the timeline of its last checkpoint, which may be
    /// long ago.
    pub(crate) fn is_in_doubt_of_its_timeline(&self) -> bool {
        self.role == Role::Replica && self.upstream.receiver == Receiver::None
    }
}

/// Reads the answer to [`TIMELINE_SQL`].
pub(crate) fn timeline(messages: &[SimpleQueryMessage]) -> Option<u32> {
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    u32::from_str_radix(&column(rows.next()?, 0), 16).ok()
}

/// Reads the answer to [`SQL`].
///
/// # Errors
/// [`Fault::Nonsense`] if the rows are not those that were asked for.
pub(crate) fn read(messages: &[SimpleQueryMessage]) -> Result<Answer, Fault> {
    let mut answer: Option<Answer> = None;
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        match (column(row, 0).as_str(), &mut answer) {
            ("node", _) => answer = Some(node(row)?),
            ("receiver", Some(answer)) => note_receiver(answer, row),
            ("standby", Some(answer)) => answer.standbys.push(Standby {
                slot: column(row, 1),
                application_name: column(row, 2),
                address: column(row, 3),
                state: column(row, 4),
                sync_state: column(row, 5),
            }),
            _ => return Err(Fault::Nonsense),
        }
    }
    answer.ok_or(Fault::Nonsense)
}

fn node(row: &SimpleQueryRow) -> Result<Answer, Fault> {
    let role = match column(row, 1).as_str() {
        "true" => Role::Replica,
        "false" => Role::Primary,
        _ => return Err(Fault::Nonsense),
    };
    let file = column(row, 6);
    let timeline = match role {
        // Its first eight hexadecimal digits.
        Role::Primary => u32::from_str_radix(file.get(..8).unwrap_or_default(), 16).ok(),
        _ => column(row, 7).parse().ok(),
    };
    Ok(Answer {
        role,
        lsn: column(row, 2).parse().ok(),
        system_identifier: column(row, 3).parse().ok(),
        timeline,
        received: column(row, 8).parse().ok(),
        upstream: Upstream {
            // Unless there is a row about it.
            receiver: Receiver::None,
            ..Upstream::default()
        },
        names: Names {
            slot: String::new(),
            cluster_name: column(row, 4),
            address: column(row, 5),
        },
        standbys: Vec::new(),
    })
}

fn note_receiver(answer: &mut Answer, row: &SimpleQueryRow) {
    let milliseconds = |text: String| text.parse().ok().map(Duration::from_millis);
    answer.names.slot = column(row, 1);
    answer.timeline = answer.timeline.max(column(row, 3).parse().ok());
    answer.upstream = Upstream {
        receiver: match column(row, 2).as_str() {
            // Hidden from roles without `pg_monitor`.
            "" => Receiver::Unknown,
            "streaming" => Receiver::Streaming,
            _ => Receiver::None,
        },
        host: column(row, 4),
        port: column(row, 5).parse().ok(),
        // A clock that was set back is no reason to think that somebody is silent.
        silent: milliseconds(column(row, 6)),
        timeout: milliseconds(column(row, 7)),
    };
}

/// Text of a column; a null is empty.
fn column(row: &SimpleQueryRow, index: usize) -> String {
    row.try_get(index)
        .ok()
        .flatten()
        .unwrap_or_default()
        .to_owned()
}
