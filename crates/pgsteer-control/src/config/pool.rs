//! `[pool]` and `[[pools]]`: server connections and who gets them.

use pgsteer_core::settings::{PoolMode, PoolRule, PoolSettings, TcpSettings};
use pgsteer_tls::ServerTls;

use super::check::Checker;
use super::validate::number;
use super::{limits, raw};

pub(super) fn settings(
    mut raw: raw::Pool,
    rules: Vec<raw::PoolRule>,
    (tcp, tls): (TcpSettings, &ServerTls),
    checker: &mut Checker<'_>,
) -> PoolSettings {
    let limits = limits::of_pool(&mut raw, checker);
    let per_node = checker.count(
        "pool.connections_per_node_max",
        raw.connections_per_node_max,
    );
    let mode = mode(checker.choice("pool.mode", raw.mode.take()));
    let all = rules.into_iter().enumerate();
    PoolSettings {
        mode: mode.unwrap_or(PoolMode::Transaction),
        rules: all.map(|(index, raw)| rule(index, raw, checker)).collect(),
        limits,
        connections_per_node_max: u32::try_from(per_node).unwrap_or(u32::MAX),
        waiters_max: number(checker.count("pool.waiters_max", raw.waiters_max)),
        checkout_timeout: checker.duration("pool.checkout_timeout", raw.checkout_timeout),
        connect_timeout: checker.duration("pool.connect_timeout", raw.connect_timeout),
        idle_timeout: checker.duration("pool.idle_timeout", raw.idle_timeout),
        reset_query: checker
            .text("pool.reset_query", raw.reset_query)
            .unwrap_or_default()
            .into(),
        tcp,
        tls: tls.clone(),
    }
}

fn mode(word: Option<&str>) -> Option<PoolMode> {
    match word? {
        "session" => Some(PoolMode::Session),
        "statement" => Some(PoolMode::Statement),
        _ => Some(PoolMode::Transaction),
    }
}

fn rule(index: usize, mut raw: raw::PoolRule, checker: &mut Checker<'_>) -> PoolRule {
    let key = |name: &str| format!("pools[{index}].{name}");
    if raw.database.is_none() && raw.user.is_none() {
        let advice = "name a `database`, a `user` or both; what is for all belongs into [pool]";
        checker.error(&format!("pools[{index}]"), "is about nobody", advice);
    }
    let limits = limits::of_rule(index, &mut raw, checker);
    let mut name = |part: &str, given: raw::Given| {
        let text = given.and_then(|given| checker.text(&key(part), Some(given)));
        text.map(Into::into)
    };
    PoolRule {
        database: name("database", raw.database),
        user: name("user", raw.user),
        mode: mode(checker.choice(&key("mode"), raw.mode)),
        limits,
    }
}
