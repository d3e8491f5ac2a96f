//! The columns of the console's tables: names, order and types of PgBouncer 1.25, which exporters
//! look for by name.

use super::command::Show;
use super::table::{Column, i, n, q, s};

/// The columns of a table; none for what only says something.
pub(crate) const fn columns(show: Show) -> &'static [Column] {
    match show {
        Show::Help => &[],
        Show::Fds => FDS,
        Show::Pools => POOLS,
        Show::Clients | Show::Servers => SOCKETS,
        Show::Sockets | Show::ActiveSockets => ALL_OF_SOCKETS,
        Show::Stats => STATS,
        Show::StatsTotals => STATS_TOTALS,
        Show::StatsAverages => STATS_AVERAGES,
        Show::Totals => TOTALS,
        Show::Databases => DATABASES,
        Show::Users => USERS,
        Show::Peers => PEERS,
        Show::PeerPools => PEER_POOLS,
        Show::Config => CONFIG,
        Show::Lists => LISTS,
        Show::Version => VERSION,
        Show::Mem => MEM,
        Show::DnsHosts => DNS_HOSTS,
        Show::DnsZones => DNS_ZONES,
        Show::State => STATE,
    }
}

const POOLS: &[Column] = &[
    s("database"),
    s("user"),
    i("cl_active"),
    i("cl_waiting"),
    i("cl_active_cancel_req"),
    i("cl_waiting_cancel_req"),
    i("sv_active"),
    i("sv_active_cancel"),
    i("sv_being_canceled"),
    i("sv_idle"),
    i("sv_used"),
    i("sv_tested"),
    i("sv_login"),
    i("maxwait"),
    i("maxwait_us"),
    s("pool_mode"),
    s("load_balance_hosts"),
];

/// Those of a socket, and behind them where its buffers are.
const ALL_OF_SOCKETS: &[Column] = &[
    s("type"),
    s("user"),
    s("database"),
    s("replication"),
    s("state"),
    s("addr"),
    i("port"),
    s("local_addr"),
    i("local_port"),
    s("connect_time"),
    s("request_time"),
    i("wait"),
    i("wait_us"),
    i("close_needed"),
    s("ptr"),
    s("link"),
    i("remote_pid"),
    s("tls"),
    s("application_name"),
    i("prepared_statements"),
    i("id"),
    i("recv_pos"),
    i("pkt_pos"),
    i("pkt_remain"),
    i("send_pos"),
    i("send_remain"),
    i("pkt_avail"),
    i("send_avail"),
];

/// Number of columns about buffers.
pub(crate) const BUFFER_COLUMNS: usize = 7;

const SOCKETS: &[Column] = ALL_OF_SOCKETS
    .split_at(ALL_OF_SOCKETS.len() - BUFFER_COLUMNS)
    .0;

const FDS: &[Column] = &[
    i("fd"),
    s("task"),
    s("user"),
    s("database"),
    s("addr"),
    i("port"),
    q("cancel"),
    i("link"),
    s("client_encoding"),
    s("std_strings"),
    s("datestyle"),
    s("timezone"),
    s("password"),
    s("scram_client_key"),
    s("scram_server_key"),
];

const STATS: &[Column] = &[
    s("database"),
    n("total_server_assignment_count"),
    n("total_xact_count"),
    n("total_query_count"),
    n("total_received"),
    n("total_sent"),
    n("total_xact_time"),
    n("total_query_time"),
    n("total_wait_time"),
    n("total_client_parse_count"),
    n("total_server_parse_count"),
    n("total_bind_count"),
    n("total_client_login_count"),
    n("avg_server_assignment_count"),
    n("avg_xact_count"),
    n("avg_query_count"),
    n("avg_recv"),
    n("avg_sent"),
    n("avg_xact_time"),
    n("avg_query_time"),
    n("avg_wait_time"),
    n("avg_client_parse_count"),
    n("avg_server_parse_count"),
    n("avg_bind_count"),
    n("avg_client_login_count"),
];

const STATS_TOTALS: &[Column] = &[
    s("database"),
    n("server_assignment_count"),
    n("xact_count"),
    n("query_count"),
    n("bytes_received"),
    n("bytes_sent"),
    n("xact_time"),
    n("query_time"),
    n("wait_time"),
    n("client_parse_count"),
    n("server_parse_count"),
    n("bind_count"),
    n("client_login_count"),
];

const STATS_AVERAGES: &[Column] = &[
    s("database"),
    n("server_assignment_count"),
    n("xact_count"),
    n("query_count"),
    n("bytes_received"),
    n("bytes_sent"),
    n("xact_time"),
    n("query_time"),
    n("wait_time"),
    n("avg_client_parse_count"),
    n("avg_server_parse_count"),
    n("avg_bind_count"),
    n("avg_client_login_count"),
];

const TOTALS: &[Column] = &[s("name"), n("value")];

/// Names of the counts in `SHOW TOTALS`, behind `total_` and `avg_`.
pub(crate) const COUNTS: [&str; pgsteer_core::pool_counters::COUNTS] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

const DATABASES: &[Column] = &[
    s("name"),
    s("host"),
    i("port"),
    s("database"),
    s("force_user"),
    i("pool_size"),
    i("min_pool_size"),
    i("reserve_pool_size"),
    i("server_lifetime"),
    s("pool_mode"),
    s("load_balance_hosts"),
    i("max_connections"),
    i("current_connections"),
    i("max_client_connections"),
    i("current_client_connections"),
    i("paused"),
    i("disabled"),
];

const USERS: &[Column] = &[
    s("name"),
    s("pool_size"),
    s("reserve_pool_size"),
    s("pool_mode"),
    i("max_user_connections"),
    i("current_connections"),
    i("max_user_client_connections"),
    i("current_client_connections"),
];

const PEERS: &[Column] = &[i("peer_id"), s("host"), i("port"), i("pool_size")];

const PEER_POOLS: &[Column] = &[
    i("peer_id"),
    i("cl_active_cancel_req"),
    i("cl_waiting_cancel_req"),
    i("sv_active_cancel"),
    i("sv_login"),
];

const CONFIG: &[Column] = &[s("key"), s("value"), s("default"), s("changeable")];
const LISTS: &[Column] = &[s("list"), i("items")];
const VERSION: &[Column] = &[s("version")];
const MEM: &[Column] = &[s("name"), i("size"), i("used"), i("free"), i("memtotal")];
const DNS_HOSTS: &[Column] = &[s("hostname"), q("ttl"), s("addrs")];
const DNS_ZONES: &[Column] = &[s("zonename"), q("serial"), i("count")];
const STATE: &[Column] = &[s("key"), s("value")];
