//! `SHOW DATABASES`, `USERS`, `LISTS`, `MEM`, `STATE`.

use std::collections::BTreeSet;

use pgsteer_core::settings::PoolMode;
use pgsteer_core::traffic::Everybody;

use super::is_console;
use super::table::{Row, Value};
use crate::session::Session;

fn mode_word(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    }
}

impl Session {
    /// Databases that are known: those of sessions, servers and rules, and those that orders are
    /// about. Every other one can be connected to as well.
    fn databases(&self) -> BTreeSet<String> {
        let worker = &self.steering.worker;
        let (facts, snapshot) = (&worker.shared.facts, worker.snapshot());
        let mut names = BTreeSet::new();
        names.extend(
            facts
                .pools
                .sums()
                .iter()
                .map(|sum| sum.database.to_string()),
        );
        names.extend(
            self.sessions()
                .iter()
                .map(|slot| slot.about.database.to_string()),
        );
        names.extend(
            facts
                .servers
                .list()
                .iter()
                .map(|card| card.about.database.to_string()),
        );
        let rules = snapshot.settings.pool.rules.iter();
        names.extend(
            rules
                .filter_map(|rule| rule.database.as_deref())
                .map(str::to_owned),
        );
        names.extend(
            facts
                .traffic
                .now()
                .databases()
                .map(|(name, _)| name.to_owned()),
        );
        names.extend(snapshot.settings.console.databases.iter().cloned());
        names
    }

    /// Rows of `SHOW DATABASES`.
    pub(super) fn database_rows(&self) -> Vec<Row> {
        let names = self.databases();
        names.iter().map(|name| self.database_row(name)).collect()
    }

    fn database_row(&self, name: &str) -> Row {
        let worker = &self.steering.worker;
        let (facts, snapshot) = (&worker.shared.facts, worker.snapshot());
        let settings = &snapshot.settings;
        let traffic = facts.traffic.now().of(name);
        let console = is_console(settings, name);
        let nodes = &snapshot.topology.nodes;
        let node = snapshot.topology.primary();
        let node = node.or(nodes.first()).filter(|_| !console);
        let ours = settings.listen.first();
        let limits = settings.pool.quota_of(name, "");
        let servers = facts.servers.count(|card| *card.about.database == *name);
        let sessions = self.sessions();
        let clients = sessions.iter().filter(|slot| *slot.about.database == *name);
        let mode = match console {
            true => Some("statement"),
            false => settings.pool.mode_of_database(name).map(mode_word),
        };
        vec![
            name.into(),
            node.map(|node| node.host.to_string()).into(),
            node.map(|n| n.port).or(ours.map(|a| a.port())).into(),
            name.into(),
            if console {
                "pgbouncer".into()
            } else {
                Value::Null
            },
            limits.size.into(),
            limits.size_min.into(),
            limits.reserved.into(),
            limits.lifetime.as_secs().into(),
            mode.into(),
            Value::Null,
            settings.pool.connections_of_database_max(name).into(),
            servers.into(),
            settings
                .pool
                .clients_of_database_max(name, &settings.client_limits)
                .into(),
            clients.count().into(),
            traffic.paused.into(),
            traffic.disabled.into(),
        ]
    }

    fn user_names(&self) -> BTreeSet<String> {
        let snapshot = self.steering.worker.snapshot();
        let mut names: BTreeSet<String> = snapshot.settings.users.keys().cloned().collect();
        names.extend(
            self.sessions()
                .iter()
                .map(|slot| slot.about.user.to_string()),
        );
        let rules = snapshot.settings.pool.rules.iter();
        names.extend(
            rules
                .filter_map(|rule| rule.user.as_deref())
                .map(str::to_owned),
        );
        names
    }

    /// Rows of `SHOW USERS`.
    pub(super) fn user_rows(&self) -> Vec<Row> {
        let worker = &self.steering.worker;
        let (facts, snapshot) = (&worker.shared.facts, worker.snapshot());
        let pool = &snapshot.settings.pool;
        let sessions = self.sessions();
        let row = |name: &String| -> Row {
            let number = |n: Option<u32>| n.map_or_else(String::new, |n| format!("{n:9}"));
            let servers = facts.servers.count(|card| *card.about.user == **name);
            let clients = sessions.iter().filter(|slot| *slot.about.user == **name);
            vec![
                name.as_str().into(),
                number(pool.of_user(name, |rule| rule.limits.size)).into(),
                number(pool.of_user(name, |rule| rule.limits.reserved)).into(),
                pool.of_user(name, |rule| rule.mode).map(mode_word).into(),
                pool.connections_of_user_max(name).into(),
                servers.into(),
                pool.clients_of_user_max(name, &snapshot.settings.client_limits)
                    .into(),
                clients.count().into(),
            ]
        };
        self.user_names().iter().map(row).collect()
    }

    /// Rows of `SHOW LISTS`.
    pub(super) fn list_rows(&self) -> Vec<Row> {
        let shared = &self.steering.worker.shared;
        let clients = self.clients();
        let logged_in = self.sessions().len();
        let clients_max = self.steering.worker.snapshot().settings.clients_max;
        let pools = self.pool_rows().len();
        let servers = shared.facts.servers.list().len();
        let list = |name: &str, items: usize| vec![name.into(), items.into()];
        vec![
            list("databases", self.databases().len()),
            list("users", self.user_names().len()),
            list("peers", 0),
            list("pools", pools),
            list("peer_pools", 0),
            list("free_clients", clients_max.saturating_sub(clients)),
            list("used_clients", clients),
            list("login_clients", clients.saturating_sub(logged_in)),
            list("free_servers", self.room_for_servers()),
            list("used_servers", servers),
            list("dns_names", 0),
            list("dns_zones", 0),
            list("dns_queries", 0),
            list("dns_pending", 0),
        ]
    }

    fn clients(&self) -> usize {
        let clients = self.steering.worker.shared.counters.clients();
        usize::try_from(clients).unwrap_or(usize::MAX)
    }

    /// Server connections that could be opened still.
    fn room_for_servers(&self) -> usize {
        let worker = &self.steering.worker;
        let (snapshot, connections) = (worker.snapshot(), &worker.shared.facts.connections);
        let max = snapshot.settings.pool.connections_per_node_max;
        let nodes = snapshot.topology.nodes.iter();
        let room = nodes.map(|node| max.saturating_sub(connections.get(node.id)));
        room.map(|n| usize::try_from(n).unwrap_or(0)).sum()
    }

    /// Rows of `SHOW MEM`: what sessions and server connections occupy besides buffers.
    pub(super) fn memory_rows(&self) -> Vec<Row> {
        let servers = self.steering.worker.shared.facts.servers.list().len();
        let row = |name: &str, size: usize, used: usize| -> Row {
            vec![
                name.into(),
                size.into(),
                used.into(),
                Value::Number(0),
                (size * used).into(),
            ]
        };
        vec![
            row("client_cache", size_of::<Self>(), self.clients()),
            row(
                "server_cache",
                size_of::<pgsteer_pool::Connection>(),
                servers,
            ),
        ]
    }

    /// Rows of `SHOW STATE`.
    pub(super) fn state_rows(&self) -> Vec<Row> {
        let now = self.steering.worker.shared.facts.traffic.now().everybody;
        let row = |name: &str, state: Everybody| -> Row {
            let word = if now == state { "yes" } else { "no" };
            vec![name.into(), word.into()]
        };
        vec![
            row("active", Everybody::Active),
            row("paused", Everybody::Paused),
            row("suspended", Everybody::Suspended),
        ]
    }
}
