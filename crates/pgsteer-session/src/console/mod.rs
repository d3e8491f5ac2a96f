//! The tables behind `SHOW pool_nodes` and its relatives, and how they are put on the wire.

use std::time::SystemTime;

use bytes::BytesMut;
use pgsteer_core::policy::{PluginReport, PluginState};
use pgsteer_core::topology::Health;
use pgsteer_core::{Node, Role};
use pgsteer_sql::Console;
use pgsteer_wire::{ErrorReply, SqlState, encode};

use crate::session::Session;
use crate::steering::Steering;

/// What the client gets for a command.
pub(crate) enum Answer {
    /// Rows of text.
    Rows(Vec<Vec<String>>),
    /// A command tag.
    Done(&'static str),
}

const NODES: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "pg_status",
    "lb_weight",
    "role",
    "pg_role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
    "replication_state",
    "replication_sync_state",
    "last_status_change",
];

const PLUGINS: &[&str] = &[
    "file",
    "name",
    "version",
    "sha256",
    "generation",
    "hooks",
    "calls",
    "cached",
    "failures",
    "state",
    "reason",
];

/// Columns of the answer; none if it has no rows.
pub(crate) fn columns(command: &Console) -> Option<Vec<&str>> {
    Some(match command {
        Console::PoolNodes => NODES.to_vec(),
        Console::PoolPlugins => PLUGINS.to_vec(),
        Console::PoolVersion => vec!["pool_version"],
        Console::ExplainRoute(_) => vec!["item", "value"],
        Console::Set { .. } | Console::Reset(_) => return None,
        _ => vec!["item", "value", "description"],
    })
}

impl Session {
    /// The answer to a command.
    pub(crate) fn command(&mut self, command: &Console) -> Result<Answer, ErrorReply> {
        let steering = &self.steering;
        let rows = match command {
            Console::PoolNodes => {
                let snapshot = steering.worker.snapshot();
                let nodes = &snapshot.topology.nodes;
                let row = |node| node_row(node, nodes, steering);
                nodes.iter().map(row).collect()
            }
            Console::PoolPlugins => {
                let snapshot = steering.worker.snapshot();
                snapshot.plugin_reports.iter().map(plugin_row).collect()
            }
            Console::PoolVersion => {
                vec![vec![concat!("pgsteer ", env!("CARGO_PKG_VERSION")).into()]]
            }
            Console::ExplainRoute(text) => self.explain_route(text),
            _ => {
                let text = "the proxy does not answer this command yet";
                return Err(ErrorReply::error(SqlState::FEATURE_NOT_SUPPORTED, text));
            }
        };
        Ok(Answer::Rows(rows))
    }
}

fn node_row(node: &Node, nodes: &[Node], steering: &Steering) -> Vec<String> {
    let total: f64 = nodes.iter().map(|n| n.weight).sum();
    let weight = if total > 0.0 {
        node.weight / total
    } else {
        0.0
    };
    let selects = steering
        .worker
        .shared
        .counters
        .sum(|w| w.nodes.get(node.id.index()).map_or(0, |n| n.selects.get()));
    vec![
        node.id.to_string(),
        node.host.to_string(),
        node.port.to_string(),
        if node.is_usable() { "up" } else { "down" }.to_owned(),
        match (node.last_probe_ok, node.health) {
            (true, _) => "up",
            (false, Health::Unknown) => "unknown",
            (false, _) => "down",
        }
        .to_owned(),
        format!("{weight:.6}"),
        role(node.role, "standby").to_owned(),
        role(
            if node.last_probe_ok {
                node.role
            } else {
                Role::Unknown
            },
            "unknown",
        )
        .to_owned(),
        selects.to_string(),
        (steering.balance_node == Some(node.id)).to_string(),
        node.lag_bytes.unwrap_or(0).to_string(),
        node.replication_state.clone(),
        node.replication_sync_state.clone(),
        local_time(node.changed_at),
    ]
}

fn role(role: Role, otherwise: &'static str) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Replica => "standby",
        Role::Unknown => otherwise,
    }
}

fn plugin_row(report: &PluginReport) -> Vec<String> {
    let state = match report.state {
        PluginState::Live => "live",
        PluginState::Refused => "refused",
    };
    let plugin = report.plugin.as_ref();
    let text = |read: &dyn Fn(&pgsteer_core::policy::Plugin) -> String| {
        plugin.map_or_else(String::new, |p| read(p))
    };
    vec![
        report.file_name.clone(),
        text(&|p| p.name.clone()),
        text(&|p| p.version.clone()),
        report.sha256.clone(),
        text(&|p| p.generation.to_string()),
        text(&|p| p.hooks.join(",")),
        text(&|p| p.sum(|c| c.calls.get()).to_string()),
        text(&|p| p.sum(|c| c.cached.get()).to_string()),
        text(&|p| p.sum(|c| c.failures.get()).to_string()),
        state.to_owned(),
        report.reason.clone(),
    ]
}

/// `YYYY-MM-DD HH:MM:SS` in UTC. Pgpool-II prints local time; a log in UTC beside it is easier to
/// compare, and the standard library knows no time zones.
fn local_time(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// RowDescription, or NoData.
pub(crate) fn put_description(out: &mut BytesMut, command: &Console) {
    match columns(command) {
        Some(columns) => encode::row_description(out, &columns),
        None => encode::frame(out, b'n', b""),
    }
}

/// The rows, and CommandComplete.
pub(crate) fn put_answer(out: &mut BytesMut, answer: &Answer) {
    match answer {
        Answer::Rows(rows) => {
            for row in rows {
                encode::data_row(out, row);
            }
            encode::command_complete(out, &format!("SELECT {}", rows.len()));
        }
        Answer::Done(tag) => encode::command_complete(out, tag),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    #[test]
    fn times_are_calendar_times() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_403_139, "2026-11-23 03:05:39"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(super::local_time(time), text);
        }
    }
}
