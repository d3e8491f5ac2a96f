//! The columns of the answers, in the order and under the names that Pgpool-II 4.8 gives them.

use pgsteer_sql::Console;

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

const PROCESSES: &[&str] = &[
    "pool_pid",
    "start_time",
    "client_connection_count",
    "database",
    "username",
    "backend_connection_time",
    "pool_counter",
    "status",
];

const POOLS: &[&str] = &[
    "pool_pid",
    "start_time",
    "client_connection_count",
    "pool_id",
    "backend_id",
    "database",
    "username",
    "backend_connection_time",
    "client_connection_time",
    "client_disconnection_time",
    "client_idle_duration",
    "majorversion",
    "minorversion",
    "pool_counter",
    "pool_backendpid",
    "pool_connected",
    "status",
    "load_balance_node",
    "client_host",
    "client_port",
    "statement",
];

const CACHE: &[&str] = &[
    "num_cache_hits",
    "num_selects",
    "cache_hit_ratio",
    "num_hash_entries",
    "used_hash_entries",
    "num_cache_entries",
    "used_cache_entries_size",
    "free_cache_entries_size",
    "fragment_cache_entries_size",
];

const BACKEND_STATS: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "select_cnt",
    "insert_cnt",
    "update_cnt",
    "delete_cnt",
    "ddl_cnt",
    "other_cnt",
    "panic_cnt",
    "fatal_cnt",
    "error_cnt",
];

const HEALTH_CHECK_STATS: &[&str] = &[
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "last_status_change",
    "total_count",
    "success_count",
    "fail_count",
    "skip_count",
    "retry_count",
    "average_retry_count",
    "max_retry_count",
    "max_duration",
    "min_duration",
    "average_duration",
    "last_health_check",
    "last_successful_health_check",
    "last_skip_health_check",
    "last_failed_health_check",
];

const ITEMS: &[&str] = &["item", "value", "description"];

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
    "pinned",
    "reason",
];

const PLUGIN_STATS: &[&str] = &[
    "file",
    "calls",
    "cached",
    "refusals",
    "rewrites",
    "events",
    "events_dropped",
    "p50_us",
    "p99_us",
    "traps",
    "deadlines",
    "out_of_memory",
    "abi_errors",
    "invalid_answers",
    "bad_rewrites",
    "rested",
    "rechecks",
    "divergences",
    "remembers",
    "instances",
    "memory_max_bytes",
];

const PLUGIN_METRICS: &[&str] = &[
    "file", "metric", "kind", "unit", "count", "value", "greatest",
];

const PINS: &[&str] = &[
    "pid",
    "database",
    "username",
    "node_id",
    "reason",
    "since",
    "statement",
];

const RESULT: &[&str] = &["result"];

const VERSION: &[&str] = &["pool_version"];

const ROUTE: &[&str] = &["item", "value"];

/// Columns of the answer; none if it has no rows.
pub(crate) fn columns(command: &Console) -> Option<Vec<&str>> {
    let columns = match command {
        Console::PoolNodes => NODES,
        Console::PoolPlugins => PLUGINS,
        Console::PoolPluginStats => PLUGIN_STATS,
        Console::PoolPluginMetrics => PLUGIN_METRICS,
        Console::Tell { .. } | Console::Order(_) => RESULT,
        Console::PoolVersion => VERSION,
        Console::PoolProcesses => PROCESSES,
        Console::PoolPools => POOLS,
        Console::PoolPins => PINS,
        Console::PoolCache => CACHE,
        Console::PoolBackendStats => BACKEND_STATS,
        Console::PoolHealthCheckStats => HEALTH_CHECK_STATS,
        Console::PoolStatus => ITEMS,
        Console::Show(name) if super::status::is_group(name) => ITEMS,
        Console::Show(name) => return Some(vec![name]),
        Console::ExplainRoute(_) => ROUTE,
        Console::Set { .. } | Console::Reset(_) => return None,
    };
    Some(columns.to_vec())
}
