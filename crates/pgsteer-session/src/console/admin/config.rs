//! `SHOW CONFIG`: what is in force, under PgBouncer's names first, then under the names of
//! `SHOW pool_status`.

use std::time::Duration;

use pgsteer_core::Settings;
use pgsteer_core::auth::AuthMethod;
use pgsteer_core::settings::PoolMode;

use super::table::Row;
use crate::session::Session;

impl Session {
    /// Rows of `SHOW CONFIG`. A reload changes what is changeable.
    pub(super) fn config_rows(&self) -> Vec<Row> {
        let settings = &self.steering.worker.snapshot().settings;
        let mut rows: Vec<Row> = Vec::new();
        for (name, value, default, changeable) in of_pgbouncer(settings) {
            let word = if changeable { "yes" } else { "no" };
            rows.push(vec![name.into(), value.into(), default.into(), word.into()]);
        }
        let known = rows.len();
        for item in self.items() {
            let name = item.name.as_str();
            if rows
                .iter()
                .take(known)
                .any(|row| row.first() == Some(&name.into()))
            {
                continue;
            }
            rows.push(vec![
                name.into(),
                item.shown.into(),
                super::Value::Null,
                "no".into(),
            ]);
        }
        rows
    }
}

type Item = (&'static str, String, &'static str, bool);

/// Whole seconds, as PgBouncer takes and shows them.
fn seconds(time: Duration) -> String {
    let micros = time.subsec_micros();
    match micros {
        0 => time.as_secs().to_string(),
        _ => format!("{}.{micros:06}", time.as_secs())
            .trim_end_matches('0')
            .to_owned(),
    }
}

fn of_pgbouncer(settings: &Settings) -> Vec<Item> {
    let mut items = listening(settings);
    items.extend(pooling(settings));
    items.extend(times(settings));
    items.sort_by_key(|item| item.0);
    items
}

fn listening(settings: &Settings) -> Vec<Item> {
    let addresses: Vec<String> = settings.listen.iter().map(|a| a.ip().to_string()).collect();
    let port = settings
        .listen
        .first()
        .map_or(0, std::net::SocketAddr::port);
    let auth = match settings.auth.method {
        _ if settings.auth.rules.is_some() => "hba",
        AuthMethod::Password => "plain",
        method => method.as_str(),
    };
    let clients = &settings.client_limits;
    vec![
        ("admin_users", settings.operators.join(","), "", true),
        ("stats_users", settings.console.watchers.join(","), "", true),
        ("auth_type", auth.to_owned(), "md5", true),
        ("listen_addr", addresses.join(","), "", false),
        ("listen_port", port.to_string(), "6432", false),
        (
            "max_client_conn",
            settings.clients_max.to_string(),
            "100",
            false,
        ),
        (
            "max_db_client_connections",
            clients.per_database_max.to_string(),
            "0",
            true,
        ),
        (
            "max_user_client_connections",
            clients.per_user_max.to_string(),
            "0",
            true,
        ),
        ("peer_id", "0".to_owned(), "0", false),
        ("stats_period", "60".to_owned(), "60", false),
    ]
}

fn pooling(settings: &Settings) -> Vec<Item> {
    let (pool, limits) = (&settings.pool, &settings.pool.limits);
    let mode = match pool.mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    };
    vec![
        ("pool_mode", mode.to_owned(), "session", true),
        ("default_pool_size", limits.size.to_string(), "20", true),
        ("min_pool_size", limits.size_min.to_string(), "0", true),
        ("reserve_pool_size", limits.reserved.to_string(), "0", true),
        (
            "max_db_connections",
            limits.per_database_max.to_string(),
            "0",
            true,
        ),
        (
            "max_user_connections",
            limits.per_user_max.to_string(),
            "0",
            true,
        ),
        (
            "server_reset_query",
            pool.reset_query.to_string(),
            "DISCARD ALL",
            true,
        ),
    ]
}

fn times(settings: &Settings) -> Vec<Item> {
    let (pool, limits, timeouts) = (&settings.pool, &settings.pool.limits, &settings.timeouts);
    let time = |name, time, default| (name, seconds(time), default, true);
    vec![
        time("client_idle_timeout", timeouts.client_idle, "0"),
        time("client_login_timeout", settings.login_timeout, "60"),
        time(
            "idle_transaction_timeout",
            timeouts.idle_in_transaction,
            "0",
        ),
        time("query_timeout", timeouts.query, "0"),
        time("query_wait_notify", limits.wait_notice, "5"),
        time("query_wait_timeout", pool.checkout_timeout, "120"),
        time("reserve_pool_timeout", limits.reserve_timeout, "5"),
        time("server_connect_timeout", pool.connect_timeout, "15"),
        time("server_idle_timeout", pool.idle_timeout, "600"),
        time("server_lifetime", limits.lifetime, "3600"),
        time("transaction_timeout", timeouts.transaction, "0"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds(Duration::from_secs(90)), "90");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5");
        assert_eq!(seconds(Duration::ZERO), "0");
    }
}
