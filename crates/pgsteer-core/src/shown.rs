//! Nodes and probes in the words of Pgpool-II, for the console and for its own tools.

use std::time::SystemTime;

use crate::probes::NodeProbes;
use crate::topology::{Health, Standing};
use crate::{Node, Role};

/// `YYYY-MM-DD HH:MM:SS` in UTC. Pgpool-II prints local time; a log in UTC beside it is easier to
/// compare, and the standard library knows no time zones.
#[must_use]
pub fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The same, empty if there is none.
#[must_use]
pub fn utc_or_empty(time: Option<SystemTime>) -> String {
    time.map(utc).unwrap_or_default()
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

/// A row of `pool_health_check_stats`.
#[must_use]
pub fn health_check_row(node: &Node, probes: Option<&NodeProbes>) -> Vec<String> {
    let mut row = beginning(node);
    row.push(utc(node.changed_at));
    let none = NodeProbes::default();
    let probes = probes.unwrap_or(&none);
    let total = probes.total();
    let (least, most) = probes.durations();
    let (success, failure) = (probes.last_success(), probes.last_failure());
    row.extend([
        total.to_string(),
        probes.successes.get().to_string(),
        probes.failures.get().to_string(),
        // A node is probed however it is.
        "0".to_owned(),
        probes.retries.get().to_string(),
        mean(probes.retries.get(), total, 1.0),
        probes.retries_max().to_string(),
        most.as_millis().to_string(),
        least.as_millis().to_string(),
        mean(micros(probes), total, 1000.0),
        utc_or_empty(success.max(failure)),
        utc_or_empty(success),
        String::new(),
        utc_or_empty(failure),
    ]);
    row
}

fn micros(probes: &NodeProbes) -> u64 {
    u64::try_from(probes.duration_total().as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "for people, six decimals")]
fn mean(sum: u64, count: u64, unit: f64) -> String {
    let mean = if count == 0 {
        0.0
    } else {
        sum as f64 / count as f64 / unit
    };
    format!("{mean:.6}")
}

/// Which node it is and how it is.
#[must_use]
pub fn beginning(node: &Node) -> Vec<String> {
    vec![
        node.id.to_string(),
        node.host.to_string(),
        node.port.to_string(),
        status(node).to_owned(),
        role(node.role, "standby").to_owned(),
    ]
}

/// Whether statements are sent there; `quarantine` for one that is not the primary whatever it
/// says.
#[must_use]
pub fn status(node: &Node) -> &'static str {
    match node.standing {
        _ if node.is_usable() => "up",
        Standing::Fenced if node.health == Health::Up => "quarantine",
        _ => "down",
    }
}

/// The last single probe.
#[must_use]
pub fn pg_status(node: &Node) -> &'static str {
    match (node.last_probe_ok, node.health) {
        (true, _) => "up",
        (false, Health::Unknown) => "unknown",
        (false, _) => "down",
    }
}

/// What the node said in the last single probe.
#[must_use]
pub fn pg_role(node: &Node) -> &'static str {
    let answered = node.last_probe_ok;
    role(if answered { node.role } else { Role::Unknown }, "unknown")
}

/// A weight as its share of all.
#[must_use]
pub fn share(weight: f64, all: impl Iterator<Item = f64>) -> String {
    let total: f64 = all.sum();
    let share = if total > 0.0 { weight / total } else { 0.0 };
    format!("{share:.6}")
}

/// A role; the word for one that is not known differs.
#[must_use]
pub fn role(role: Role, otherwise: &'static str) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Replica => "standby",
        Role::Unknown => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use crate::NodeId;
    use crate::probes::ProbeEnd;

    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn probes_as_pgpool_shows_them() {
        let node = Node {
            role: Role::Replica,
            health: Health::Up,
            last_probe_ok: true,
            changed_at: at(1_795_403_139),
            ..Node::unknown(NodeId(1), "127.0.0.1", 25433)
        };
        let probes = NodeProbes::default();
        for (answered, millis, retries) in [(true, 16, 0), (false, 2, 0), (true, 3, 1)] {
            probes.note(ProbeEnd {
                answered,
                took: Duration::from_millis(millis),
                at: at(1_795_403_200 + millis),
                retries,
            });
        }
        let row = health_check_row(&node, Some(&probes)).join("|");
        assert_eq!(
            row,
            "1|127.0.0.1|25433|up|standby|2026-11-23 03:05:39|3|2|1|0|1|0.333333|1|16|2|7.000000|\
             2026-11-23 03:06:43|2026-11-23 03:06:43||2026-11-23 03:06:42"
        );
        let unknown = health_check_row(&node, None);
        assert_eq!(
            unknown[6..].join("|"),
            "0|0|0|0|0|0.000000|0|0|0|0.000000||||"
        );
    }

    #[test]
    fn times_are_calendar_times() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_403_139, "2026-11-23 03:05:39"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(utc(time), text);
        }
    }

    #[test]
    fn a_fenced_node_is_in_quarantine_and_a_detached_one_down() {
        let up = |role, standing| Node {
            role,
            standing,
            health: Health::Up,
            last_probe_ok: true,
            ..Node::unknown(NodeId(0), "h", 1)
        };
        for (standing, expected) in [
            (Standing::InService, "up"),
            (Standing::Detached, "down"),
            (Standing::Closing, "down"),
            (Standing::Fenced, "quarantine"),
        ] {
            assert_eq!(status(&up(Role::Primary, standing)), expected);
        }
        let gone = Node {
            health: Health::Down,
            ..up(Role::Primary, Standing::Fenced)
        };
        assert_eq!(status(&gone), "down");
    }
}
