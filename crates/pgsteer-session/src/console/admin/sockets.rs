//! `SHOW POOLS`, `CLIENTS`, `SERVERS`, `SOCKETS`: sessions and server connections as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::servers::{ServerCard, ServerState};
use pgsteer_core::settings::PoolMode;

use super::columns::BUFFER_COLUMNS;
use super::is_console;
use super::table::{Row, Value};
use crate::cancel::CancelSlot;
use crate::session::Session;
use crate::whereabouts::Doing;

/// What one pool of `SHOW POOLS` has.
#[derive(Default)]
struct Pool {
    active: u64,
    waiting: u64,
    in_state: [u64; 4],
    waits_longest: Duration,
}

impl Session {
    /// All sessions.
    pub(super) fn sessions(&self) -> Vec<Arc<CancelSlot>> {
        let all = self.steering.worker.shared.cancels.list();
        all.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Rows of `SHOW POOLS`: one for each database and user with a session, a server or a past.
    pub(super) fn pool_rows(&self) -> Vec<Row> {
        let facts = &self.steering.worker.shared.facts;
        let mut pools: BTreeMap<(Box<str>, Box<str>), Pool> = BTreeMap::new();
        for sum in facts.pools.sums() {
            pools.entry((sum.database, sum.user)).or_default();
        }
        for slot in self.sessions() {
            let key = ((*slot.about.database).into(), (*slot.about.user).into());
            let pool = pools.entry(key).or_default();
            match slot.now.get() {
                (Doing::Waiting, time) => {
                    pool.waiting += 1;
                    pool.waits_longest = pool.waits_longest.max(time);
                }
                _ => pool.active += 1,
            }
        }
        for card in facts.servers.list() {
            let key = (card.about.database.clone(), card.about.user.clone());
            let pool = pools.entry(key).or_default();
            if let Some(count) = pool.in_state.get_mut(card.state() as usize) {
                *count += 1;
            }
        }
        let row = |((database, user), pool): (&(Box<str>, Box<str>), &Pool)| {
            let mode = self.mode_word(database, user);
            pool_row(database, user, pool, mode)
        };
        pools.iter().map(row).collect()
    }

    fn mode_word(&self, database: &str, user: &str) -> &'static str {
        let settings = &self.steering.worker.snapshot().settings;
        match settings.pool.mode_of(database, user) {
            _ if is_console(settings, database) => "statement",
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        }
    }

    /// Rows of `SHOW CLIENTS`.
    pub(super) fn client_rows(&self) -> Vec<Row> {
        let servers = self.steering.worker.shared.facts.servers.list();
        let sessions = self.sessions();
        let rows = sessions.iter();
        rows.map(|slot| client_row(slot, &servers, "")).collect()
    }

    /// Rows of `SHOW SERVERS`.
    pub(super) fn server_rows(&self) -> Vec<Row> {
        let servers = self.steering.worker.shared.facts.servers.list();
        servers.iter().map(|card| server_row(card, "")).collect()
    }

    /// Rows of `SHOW SOCKETS`, or of `SHOW ACTIVE_SOCKETS`. What buffers hold is their workers'
    /// business alone, so it is 0 here.
    pub(super) fn socket_rows(&self, only_active: bool) -> Vec<Row> {
        let servers = self.steering.worker.shared.facts.servers.list();
        let sessions = self.sessions();
        let busy_client = |slot: &&Arc<CancelSlot>| !only_active || slot.now.get().0 != Doing::Idle;
        let busy_server =
            |card: &&Arc<ServerCard>| !only_active || card.state() != ServerState::Idle;
        let clients = sessions.iter().filter(busy_client);
        let clients = clients.map(|slot| client_row(slot, &servers, "cl_"));
        let of_servers = servers.iter().filter(busy_server);
        let of_servers = of_servers.map(|card| server_row(card, "sv_"));
        let with_buffers = |mut row: Row| {
            row.extend(std::iter::repeat_n(Value::Number(0), BUFFER_COLUMNS));
            row
        };
        clients.chain(of_servers).map(with_buffers).collect()
    }
}

fn pool_row(database: &str, user: &str, pool: &Pool, mode: &str) -> Row {
    let servers = |state: ServerState| pool.in_state.get(state as usize).copied();
    vec![
        database.into(),
        user.into(),
        pool.active.into(),
        pool.waiting.into(),
        // A cancel request is on its way for an instant and belongs to no pool.
        Value::Number(0),
        Value::Number(0),
        servers(ServerState::Active).into(),
        Value::Number(0),
        Value::Number(0),
        servers(ServerState::Idle).into(),
        // Nothing is asked of a server before it is used again.
        Value::Number(0),
        servers(ServerState::Tested).into(),
        servers(ServerState::Login).into(),
        pool.waits_longest.as_secs().into(),
        pool.waits_longest.subsec_micros().into(),
        mode.into(),
        Value::Null,
    ]
}

/// Something by which to tell connections apart, where PgBouncer has addresses in memory.
fn pointer(kind: u64, id: u64) -> String {
    format!("0x{:x}", kind << 40 | id)
}

const CLIENT: u64 = 1;
const SERVER: u64 = 2;

fn client_row(slot: &CancelSlot, servers: &[Arc<ServerCard>], prefix: &str) -> Row {
    let about = &slot.about;
    let (doing, time) = slot.now.get();
    let server = servers.iter().find(|card| card.session() == about.session);
    let state = match (doing, prefix) {
        (Doing::Waiting, _) => "waiting",
        (Doing::Idle, "") if server.is_none() => "idle",
        _ => "active",
    };
    let waits = match doing {
        Doing::Idle => Duration::ZERO,
        _ => time,
    };
    let requested = SystemTime::now().checked_sub(slot.now.query());
    vec![
        "C".into(),
        (&*about.user).into(),
        (&*about.database).into(),
        "none".into(),
        format!("{prefix}{state}").into(),
        address(&about.client_host),
        about.client_port.into(),
        about
            .local
            .map_or_else(|| "unix".to_owned(), |a| a.ip().to_string())
            .into(),
        about.local.map_or(0, |a| a.port()).into(),
        moment(about.started).into(),
        moment(requested.unwrap_or(about.started)).into(),
        waits.as_secs().into(),
        waits.subsec_micros().into(),
        Value::Number(0),
        pointer(CLIENT, about.session).into(),
        server
            .map_or_else(String::new, |card| pointer(SERVER, card.id))
            .into(),
        Value::Number(0),
        if about.is_encrypted { "TLS" } else { "" }.into(),
        (&*about.application_name).into(),
        slot.now.prepared().into(),
        about.session.into(),
    ]
}

fn server_row(card: &ServerCard, prefix: &str) -> Row {
    let state = match (card.state(), prefix) {
        (ServerState::Login, "sv_") => "login",
        (state, _) => state.word(),
    };
    let local = card.local.get().copied().flatten();
    let session = card.session();
    let used_at = SystemTime::UNIX_EPOCH + Duration::from_secs(card.used_at());
    let encrypted = card.encrypted.load(std::sync::atomic::Ordering::Relaxed);
    vec![
        "S".into(),
        (&*card.about.user).into(),
        (&*card.about.database).into(),
        "none".into(),
        format!("{prefix}{state}").into(),
        address(&card.about.host),
        card.about.port.into(),
        local
            .map_or_else(|| "unix".to_owned(), |a| a.ip().to_string())
            .into(),
        local.map_or(0, |a| a.port()).into(),
        moment(card.opened_at).into(),
        moment(used_at.max(card.opened_at)).into(),
        Value::Number(0),
        Value::Number(0),
        Value::Number(0),
        pointer(SERVER, card.id).into(),
        if session == 0 {
            String::new()
        } else {
            pointer(CLIENT, session)
        }
        .into(),
        card.pid().into(),
        if encrypted { "TLS" } else { "" }.into(),
        "".into(),
        card.prepared().into(),
        card.id.into(),
    ]
}

/// A host; that of a Unix socket has PgBouncer's name.
fn address(host: &str) -> Value {
    if host.is_empty() || host.starts_with('/') {
        return "unix".into();
    }
    host.into()
}

/// A moment as PgBouncer writes it.
fn moment(time: SystemTime) -> String {
    format!("{} UTC", pgsteer_core::shown::utc(time))
}

#[cfg(test)]
mod tests {
    use super::super::columns::columns;
    use super::super::command::Show;
    use super::*;

    #[test]
    fn rows_have_a_value_for_each_column() {
        let pool = pool_row("a", "u", &Pool::default(), "session");
        assert_eq!(pool.len(), columns(Show::Pools).len());
        let sockets = columns(Show::Sockets).len();
        assert_eq!(sockets, columns(Show::Clients).len() + BUFFER_COLUMNS);
    }
}
