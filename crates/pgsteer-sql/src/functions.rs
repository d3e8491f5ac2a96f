//! Which built-in functions a replica may run.
//!
//! `stable_functions.txt` lists the functions of `pg_catalog` in PostgreSQL 15 none of whose
//! overloads is volatile, without those that assign a transaction id although they are declared
//! stable (`txid_current`, `pg_current_xact_id`), and `pg_listening_channels`. Everything that is not in the list may write.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::FunctionRef;
use crate::analysis::bits;

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
    "pg_listening_channels",
];

/// Functions that PostgreSQL declares stable although they assign a transaction id, which a replica
/// cannot, and one whose answer only the server knows on which the session listens.
const DISGUISED: &[&str] = &[
    "txid_current",
    "pg_current_xact_id",
    "pg_listening_channels",
];

/// Volatile functions of PostgreSQL after which no row is different.
const HARMLESS: &[&str] = &[
    "random",
    "random_normal",
    "setseed",
    "clock_timestamp",
    "timeofday",
    "statement_timestamp",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "currval",
    "lastval",
    "set_config",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_export_snapshot",
    "pg_listening_channels",
    "pg_notify",
    "pg_terminate_backend",
    "pg_cancel_backend",
];

/// Beginnings of the names of more of them.
const HARMLESS_PREFIXES: &[&str] = &[
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_current_wal_",
    "pg_last_wal_",
    "pg_stat_get_",
    "pg_database_size",
    "pg_table_size",
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_indexes_size",
    "pg_tablespace_size",
];

/// Whether a function of PostgreSQL leaves all rows as they are, though it is volatile.
#[must_use]
pub fn leaves_rows_alone(schema: Option<&str>, name: &str) -> bool {
    matches!(schema, None | Some("pg_catalog"))
        && (HARMLESS.contains(&name) || HARMLESS_PREFIXES.iter().any(|p| name.starts_with(p)))
}

/// What is known about a function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// The same answer on a replica, and nothing changes.
    Stable,
    /// It may change something.
    Volatile,
    /// Not a built-in function.
    Unknown,
}

/// What is known of a function without a catalog; `schema` as written, if it was.
#[must_use]
pub fn known_volatility(schema: Option<&str>, name: &str) -> Volatility {
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

/// Whether a function writes although its catalog entry says that it does not.
#[must_use]
pub fn is_write_in_disguise(schema: Option<&str>, name: &str) -> bool {
    matches!(schema, None | Some("pg_catalog")) && DISGUISED.contains(&name)
}

/// The bit of [`crate::Analysis::traits`] for a call, without a catalog.
pub(crate) fn bit(function: &FunctionRef) -> u64 {
    match known_volatility(function.schema.as_deref(), &function.name) {
        Volatility::Stable => 0,
        Volatility::Volatile => bits::VOLATILE_FUNCTION,
        Volatility::Unknown => bits::UNKNOWN_FUNCTION,
    }
}

/// Whether calling it leaves a lock that belongs to the session.
pub(crate) fn takes_session_lock(function: &FunctionRef) -> bool {
    let name = &*function.name;
    let base = name.strip_suffix("_shared").unwrap_or(name);
    matches!(base, "pg_advisory_lock" | "pg_try_advisory_lock")
}
