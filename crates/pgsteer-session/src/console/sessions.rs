//! What is shown about sessions: `pool_processes`, `pool_pools`. There are no processes here: a row
//! stands for a session, and its number is the process id its client was given for cancel requests.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use pgsteer_core::facts::{Ending, SessionCount, SessionList};

use super::time::{utc, utc_or_empty};
use crate::cancel::{CancelRegistry, CancelSlot, ServerTarget};
use crate::session::Session;
use crate::whereabouts::{Doing, Pin, Rest};

impl Session {
    /// Rows of `pool_processes`.
    pub(crate) fn processes(&self) -> Vec<Vec<String>> {
        let sessions = self.steering.worker.shared.cancels.list();
        let rows = sessions.iter();
        rows.map(|(pid, slot)| process_row(*pid, slot, self.status_word(*pid, slot)))
            .collect()
    }

    /// Rows of `pool_pools`.
    pub(crate) fn pools(&self) -> Vec<Vec<String>> {
        pool_rows(&self.steering.worker.shared.cancels, Some(self.cancel.pid))
    }

    /// Rows of `pool_pins`. What others run is for operators to see.
    pub(crate) fn pins(&self) -> Vec<Vec<String>> {
        let identity = &self.steering.identity;
        let operators = &self.steering.snapshot.settings.operators;
        let is_operator = operators.iter().any(|user| **user == *identity.user);
        let sessions = self.steering.worker.shared.cancels.list();
        let rows = sessions.iter().flat_map(|(pid, slot)| {
            let seen = is_operator || *slot.about.user == *identity.user;
            let pins = slot.pins().into_iter();
            pins.map(move |pin| pin_row(*pid, slot, pin, seen))
        });
        rows.collect()
    }

    /// What a session does; the one that asks executes a command.
    fn status_word(&self, pid: u32, slot: &CancelSlot) -> &'static str {
        let asks = pid == self.cancel.pid;
        status(asks || slot.is_active(), slot.last_rest.get())
    }
}

impl SessionList for CancelRegistry {
    fn rows(&self) -> Vec<Vec<String>> {
        pool_rows(self, None)
    }

    fn counts(&self) -> Vec<SessionCount> {
        let sessions = self.list();
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        let mut counts: Vec<SessionCount> = Vec::new();
        for (_, slot) in &sessions {
            let about = (&*slot.about.database, &*slot.about.user);
            let place = *places.entry(about).or_insert(counts.len());
            if place == counts.len() {
                counts.push(SessionCount {
                    database: about.0.into(),
                    user: about.1.into(),
                    ..SessionCount::default()
                });
            }
            if let Some(count) = counts.get_mut(place) {
                match slot.now.get().0 {
                    Doing::Idle => count.idle += 1,
                    Doing::Active => count.active += 1,
                    Doing::Waiting => count.waiting += 1,
                }
            }
        }
        counts
    }

    fn end(&self, which: &Ending) -> usize {
        Self::end(self, which)
    }
}

/// A row for each server connection that a session holds, or for the session; one may be asking.
fn pool_rows(registry: &CancelRegistry, asks: Option<u32>) -> Vec<Vec<String>> {
    let sessions = registry.list();
    let now = SystemTime::now();
    let rows = sessions.iter().flat_map(|(pid, slot)| {
        let executes = asks == Some(*pid) || slot.is_active();
        let status = status(executes, slot.last_rest.get());
        let servers = slot.servers();
        let row = |server| pool_row(*pid, slot, server, status, now);
        if servers.is_empty() {
            vec![row(None)]
        } else {
            servers.iter().map(|server| row(Some(server))).collect()
        }
    });
    rows.collect()
}

fn pin_row(pid: u32, slot: &CancelSlot, pin: Pin, seen: bool) -> Vec<String> {
    let hidden = "<insufficient privilege>".to_owned();
    vec![
        pid.to_string(),
        slot.about.database.to_string(),
        slot.about.user.to_string(),
        pin.node.to_string(),
        pin.reason.words().to_owned(),
        utc(pin.since),
        if seen { pin.text } else { hidden },
    ]
}

fn status(executes: bool, rest: Option<Rest>) -> &'static str {
    match rest {
        _ if executes => "Execute command",
        None => "Connecting",
        Some(rest) if rest.in_transaction => "Idle in transaction",
        Some(_) => "Idle",
    }
}

fn process_row(pid: u32, slot: &CancelSlot, status: &str) -> Vec<String> {
    let about = &slot.about;
    let servers = slot.servers();
    let first = servers.first();
    vec![
        pid.to_string(),
        utc(about.started),
        "1".to_owned(),
        about.database.to_string(),
        about.user.to_string(),
        utc_or_empty(first.map(|s| s.opened_at)),
        first.map_or(0, |s| s.uses).to_string(),
        status.to_owned(),
    ]
}

fn pool_row(
    pid: u32,
    slot: &CancelSlot,
    server: Option<&ServerTarget>,
    status: &str,
    now: SystemTime,
) -> Vec<String> {
    let about = &slot.about;
    let rest = slot.last_rest.get();
    let balanced = rest.and_then(|r| r.balance_node);
    let text = |read: &dyn Fn(&ServerTarget) -> String| server.map(read).unwrap_or_default();
    let number = |read: &dyn Fn(&ServerTarget) -> u64| server.map_or(0, read).to_string();
    vec![
        pid.to_string(),
        utc(about.started),
        "1".to_owned(),
        "0".to_owned(),
        text(&|s| s.node.to_string()),
        about.database.to_string(),
        about.user.to_string(),
        text(&|s| utc(s.opened_at)),
        text(&|s| utc(s.leased_at)),
        // The client is there: a connection that nobody has is not shown.
        String::new(),
        idle_seconds(status, rest, now).to_string(),
        // Of the protocol.
        "3".to_owned(),
        "0".to_owned(),
        number(&|s| s.uses),
        number(&|s| u64::from(s.pid)),
        number(&|_| 1),
        status.to_owned(),
        number(&|s| u64::from(balanced == Some(s.node))),
        about.client_host.to_string(),
        about.client_port.to_string(),
        // What others run is nobody's business.
        String::new(),
    ]
}

fn idle_seconds(status: &str, rest: Option<Rest>, now: SystemTime) -> u64 {
    let Some(rest) = rest.filter(|_| status.starts_with("Idle")) else {
        return 0;
    };
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(rest.since);
    now.duration_since(since).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;

    use super::*;
    use crate::console::columns::columns;
    use crate::whereabouts::About;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_403_000 + seconds)
    }

    #[test]
    fn a_session_with_and_without_a_server() {
        let registry = std::sync::Arc::new(CancelRegistry::default());
        let about = About {
            user: "postgres".into(),
            database: "test".into(),
            client_host: "127.0.0.1".into(),
            client_port: 50582,
            local: None,
            application_name: "".into(),
            session: 1,
            is_encrypted: false,
            is_console: false,
            started: at(0),
        };
        let session = registry.register(about, 4).unwrap();
        let (pid, slot) = registry.list().pop().unwrap();
        assert_eq!(pid, session.pid);
        let row = pool_row(pid, &slot, None, status(false, None), at(9));
        assert_eq!(
            row[1..].join("|"),
            "2026-11-23 03:03:20|1|0||test|postgres||||0|3|0|0|0|0|Connecting|0|127.0.0.1|50582|"
        );
        slot.add(ServerTarget {
            node: NodeId(1),
            host: "localhost".into(),
            port: 5432,
            pid: 3288,
            key: [].as_slice().into(),
            opened_at: at(1),
            leased_at: at(2),
            uses: 24,
        });
        slot.last_rest.set(Rest {
            in_transaction: true,
            balance_node: Some(NodeId(1)),
            since: 1_795_403_004,
        });
        let word = status(slot.is_active(), slot.last_rest.get());
        let row = pool_row(pid, &slot, slot.servers().first(), word, at(9));
        assert_eq!(
            row[1..].join("|"),
            "2026-11-23 03:03:20|1|0|1|test|postgres|2026-11-23 03:03:21|2026-11-23 03:03:22||5|3|\
             0|24|3288|1|Idle in transaction|1|127.0.0.1|50582|"
        );
        assert_eq!(
            Some(row.len()),
            columns(&pgsteer_sql::Console::PoolPools).map(|c| c.len())
        );
        slot.start(NodeId(1));
        assert_eq!(status(slot.is_active(), None), "Execute command");
        let row = process_row(pid, &slot, "Idle");
        assert_eq!(
            row[1..].join("|"),
            "2026-11-23 03:03:20|1|test|postgres|2026-11-23 03:03:21|24|Idle"
        );
    }
}
