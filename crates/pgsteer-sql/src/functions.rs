//! Which built-in functions a replica may run.
//!
//! `stable_functions.txt` lists the functions of `pg_catalog` in PostgreSQL 15 none of whose
//! overloads is volatile, without those that assign a transaction id although they are declared
//! stable (`txid_current`, `pg_current_xact_id`). Everything that is not in the list may write.

use std::collections::HashSet;
use std::sync::LazyLock;

static STABLE: LazyLock<HashSet<&'static str, foldhash::fast::RandomState>> =
    LazyLock::new(|| include_str!("stable_functions.txt").lines().collect());

/// Volatile functions of PostgreSQL that users call most; only to tell "volatile" from "unknown".
const VOLATILE: &[&str] = &[
    "nextval",
    "setval",
    "currval",
    "lastval",
    "random",
    "clock_timestamp",
    "timeofday",
    "gen_random_uuid",
    "pg_sleep",
    "set_config",
    "pg_notify",
    "pg_is_in_recovery",
    "txid_current",
    "pg_current_xact_id",
];

/// What is known about a function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Volatility {
    /// The same answer on a replica, and nothing changes.
    Stable,
    /// It may change something.
    Volatile,
    /// Not a built-in function.
    Unknown,
}

/// Looks a function up; `schema` as written, if it was.
pub(crate) fn volatility(schema: Option<&str>, name: &str) -> Volatility {
    if !matches!(schema, None | Some("pg_catalog")) {
        return Volatility::Unknown;
    }
    if STABLE.contains(name) {
        Volatility::Stable
    } else if VOLATILE.contains(&name) || name.starts_with("pg_") || name.starts_with("lo_") {
        Volatility::Volatile
    } else {
        Volatility::Unknown
    }
}

/// Whether calling it leaves a lock that belongs to the session.
pub(crate) fn takes_session_lock(name: &str) -> bool {
    let base = name.strip_suffix("_shared").unwrap_or(name);
    matches!(base, "pg_advisory_lock" | "pg_try_advisory_lock")
}
