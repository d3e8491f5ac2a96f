//! `[limits]`, `[timeouts]` and what `[pool]` and `[[pools]]` say about numbers and times.

use std::time::Duration;

use pgsteer_core::quotas::{ClientLimits, PoolLimits, RuleLimits, Timeouts};

use super::check::Checker;
use super::raw::{self, Given};

fn count(key: &str, given: Given, checker: &mut Checker<'_>) -> u32 {
    u32::try_from(checker.count(key, given)).unwrap_or(u32::MAX)
}

/// `[pool]`
pub(super) fn of_pool(raw: &mut raw::Pool, checker: &mut Checker<'_>) -> PoolLimits {
    let mut number = |key, given: &mut Given| count(key, given.take(), checker);
    let size = number("pool.size", &mut raw.size);
    let size_min = number("pool.min_size", &mut raw.min_size);
    let reserved = number("pool.reserved_connections", &mut raw.reserved_connections);
    let per_database_max = number(
        "pool.connections_per_database_max",
        &mut raw.connections_per_database_max,
    );
    let per_user_max = number(
        "pool.connections_per_user_max",
        &mut raw.connections_per_user_max,
    );
    if size > 0 && size_min > size {
        let problem = format!("is {size_min}, and pool.size is {size}");
        checker.error("pool.min_size", problem, "use at most as much");
    }
    PoolLimits {
        size,
        size_min,
        reserved,
        reserve_timeout: checker.duration("pool.reserve_timeout", raw.reserve_timeout.take()),
        lifetime: checker.duration("pool.lifetime", raw.lifetime.take()),
        lifetime_jitter: checker.percent("pool.lifetime_jitter", raw.lifetime_jitter.take()),
        per_database_max,
        per_user_max,
        wait_notice: checker.duration("pool.wait_notice", raw.wait_notice.take()),
    }
}

/// `[[pools]]`
pub(super) fn of_rule(
    index: usize,
    raw: &mut raw::PoolRule,
    checker: &mut Checker<'_>,
) -> RuleLimits {
    let key = |name: &str| format!("pools[{index}].{name}");
    if raw.database.is_some() && raw.user.is_some() {
        for (name, given, advice) in [
            (
                "connections_max",
                &raw.connections_max,
                "give `size` instead",
            ),
            ("clients_max", &raw.clients_max, "give it to one of them"),
        ] {
            if given.is_some() {
                let problem = "is for a database or a user, and the rule is for both";
                checker.error(&key(name), problem, advice);
            }
        }
    }
    let number = |name: &str, given: &mut Given, checker: &mut Checker<'_>| {
        let given = given.take()?;
        Some(count(&key(name), Some(given), checker))
    };
    let time = |name: &str, given: &mut Given, checker: &mut Checker<'_>| -> Option<Duration> {
        let given = given.take()?;
        Some(checker.duration(&key(name), Some(given)))
    };
    RuleLimits {
        size: number("size", &mut raw.size, checker),
        size_min: number("min_size", &mut raw.min_size, checker),
        reserved: number(
            "reserved_connections",
            &mut raw.reserved_connections,
            checker,
        ),
        connections_max: number("connections_max", &mut raw.connections_max, checker),
        clients_max: number("clients_max", &mut raw.clients_max, checker),
        lifetime: time("lifetime", &mut raw.lifetime, checker),
        client_idle: time("client_idle_timeout", &mut raw.client_idle_timeout, checker),
        idle_in_transaction: time(
            "idle_in_transaction_timeout",
            &mut raw.idle_in_transaction_timeout,
            checker,
        ),
        transaction: time("transaction_timeout", &mut raw.transaction_timeout, checker),
        query: time("query_timeout", &mut raw.query_timeout, checker),
    }
}

/// `[limits]`
pub(super) fn clients(raw: raw::ClientLimits, checker: &mut Checker<'_>) -> ClientLimits {
    ClientLimits {
        per_database_max: count(
            "limits.clients_per_database_max",
            raw.clients_per_database_max,
            checker,
        ),
        per_user_max: count(
            "limits.clients_per_user_max",
            raw.clients_per_user_max,
            checker,
        ),
        per_address_max: count(
            "limits.clients_per_address_max",
            raw.clients_per_address_max,
            checker,
        ),
    }
}

/// `[timeouts]`
pub(super) fn timeouts(raw: raw::Timeouts, checker: &mut Checker<'_>) -> Timeouts {
    Timeouts {
        client_idle: checker.duration("timeouts.client_idle", raw.client_idle),
        idle_in_transaction: checker
            .duration("timeouts.idle_in_transaction", raw.idle_in_transaction),
        transaction: checker.duration("timeouts.transaction", raw.transaction),
        query: checker.duration("timeouts.query", raw.query),
    }
}
