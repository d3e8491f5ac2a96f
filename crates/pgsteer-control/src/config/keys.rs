//! The one table of all settings: names, units, defaults, limits, meaning.
//!
//! Validation takes defaults and limits from it, `docs/settings.md` is rendered from it, and a test
//! holds it against what the file format accepts.

use std::time::Duration;

/// What a setting's value looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text that never appears in a message.
    Secret,
    /// A path; a relative one starts at the directory of the configuration file.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// Text or a list of texts.
    Texts,
    /// A list of texts, which may be empty.
    List,
    /// A list of some of these words.
    Words(&'static [&'static str]),
    /// A whole number within these limits.
    Count(u64, u64),
    /// A number that is not negative.
    Share,
    /// Text with a number of per cent, 0 to 100.
    Percent,
    /// Text with a unit of time, within these limits.
    Duration(Duration, Duration),
    /// Text with a unit of bytes, within these limits.
    Size(usize, usize),
    /// Whatever the router understands.
    Free,
}

/// Whether a reload applies a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A reload applies it.
    Applies,
    /// It takes a restart.
    Restart,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key path in the file; `[]` stands for the position in a list.
    pub key: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The default as one would write it; `None` if there is none.
    pub default: Option<&'static str>,
    /// Whether a reload applies it.
    pub reload: Reload,
    /// Names of the same thing in PgBouncer and Pgpool-II, or empty.
    pub known_as: &'static [&'static str],
    /// What it does.
    pub meaning: &'static str,
}

/// The setting with this key path; positions in lists do not matter.
pub(crate) fn setting(key: &str) -> Option<&'static Setting> {
    let pattern = pattern(key);
    SETTINGS.iter().find(|setting| setting.key == pattern)
}

/// `nodes[1].weight` becomes `nodes[].weight`.
pub(crate) fn pattern(key: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(key.len());
    for c in key.chars() {
        inside = (inside || c == '[') && c != ']';
        if !inside || c == '[' {
            out.push(c);
        }
    }
    out
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn row(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    reload: Reload,
    known_as: &'static [&'static str],
    meaning: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        reload,
        known_as,
        meaning,
    }
}

const MICROSECOND: Duration = Duration::from_micros(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = seconds(86_400);

/// Names of [`pgsteer_core::settings::PoolMode`].
const POOL_MODES: &[&str] = &["session", "transaction", "statement"];

/// PgBouncer's since 1.24.1, which honours `VALID UNTIL` (CVE-2025-2291).
const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL ELSE rolpassword END FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin";

/// Names of [`pgsteer_tls::Mode`].
const TLS_MODES: &[&str] = pgsteer_tls::Mode::WORDS;

/// Names of [`pgsteer_tls::Protocol`].
const TLS_PROTOCOLS: &[&str] = pgsteer_tls::Protocol::WORDS;

/// Names of [`pgsteer_tls::Negotiation`].
const TLS_NEGOTIATIONS: &[&str] = pgsteer_tls::Negotiation::WORDS;

/// Names of [`pgsteer_core::policy::Grants`].
const GRANTS: &[&str] = &[
    "log",
    "metrics",
    "clock",
    "catalog",
    "kv",
    "values",
    "rewrite-any",
    "wasi-stubs",
];

use Kind::{
    Choice, Count, Free, List, Path, Percent, Secret, Share, Size, Switch, Text, Texts, Words,
};
use Reload::{Applies, Restart};

/// Every setting, in the order of `config/pgsteer.toml`.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    row("listen.address", Texts, Some("0.0.0.0:9999"), Restart, &["listen_addr", "listen_addresses", "port"],
        "Addresses clients connect to, each an IP address with a port."),
    row("listen.unix_socket_dir", Path, None, Restart, &["unix_socket_dir", "unix_socket_directories"],
        "Directory in which a Unix socket `.s.PGSQL.<port>` is made for each port of `listen.address`, with a lock file beside it as PostgreSQL's. Without it there is none."),
    row("listen.unix_socket_mode", Text, Some("0777"), Restart, &["unix_socket_mode", "unix_socket_permissions"],
        "Permissions of the Unix sockets, in octal."),
    row("listen.workers", Count(0, 1024), Some("0"), Restart, &[],
        "Threads that serve clients. 0 stands for one per processor core."),
    row("listen.clients_max", Count(1, 1_000_000), Some("10000"), Restart, &["max_client_conn", "num_init_children"],
        "Client connections at one time; one more is refused with SQLSTATE 53300."),
    row("listen.login_timeout", Kind::Duration(MILLISECOND, seconds(600)), Some("1m"), Applies, &["client_login_timeout", "authentication_timeout"],
        "How long a client may take from connecting to being logged in."),
    row("listen.drain_timeout", Kind::Duration(Duration::ZERO, DAY), Some("30s"), Applies, &[],
        "On a shutdown, how long transactions may go on before their sessions are closed."),
    row("listen.upgrade_timeout", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), Some("0s"), Applies, &[],
        "After an upgrade (SIGUSR2, `pgsteer upgrade`), how long sessions of the old process may go on before they are ended like on a shutdown. 0s for as long as they like; the old process ends with the last of them."),
    row("tcp.keepalive", Switch, Some("true"), Applies, &["tcp_keepalive"],
        "Whether clients and nodes that are silent are asked for a sign of life by the operating system. This section is about new connections to both."),
    row("tcp.keepidle", Kind::Duration(Duration::ZERO, DAY), Some("1m"), Applies, &["tcp_keepidle", "tcp_keepalives_idle"],
        "After how long a silence they are asked; 0 for what the system has, as in the next three."),
    row("tcp.keepintvl", Kind::Duration(Duration::ZERO, DAY), Some("10s"), Applies, &["tcp_keepintvl", "tcp_keepalives_interval"],
        "Time between two questions."),
    row("tcp.keepcnt", Count(0, 127), Some("0"), Applies, &["tcp_keepcnt", "tcp_keepalives_count"],
        "Questions without an answer after which the connection counts as lost."),
    row("tcp.user_timeout", Kind::Duration(Duration::ZERO, DAY), Some("0s"), Applies, &["tcp_user_timeout"],
        "How long what was sent may stay unacknowledged before the connection counts as lost."),
    row("tls.mode", Choice(TLS_MODES), Some("disable"), Applies, &["client_tls_sslmode", "ssl"],
        "Whether clients may or must use TLS. `disable`: they cannot. `allow`, `prefer`: as they like. `require`: those that do not are refused, except over a Unix socket. `verify-ca`, `verify-full`: they must show a certificate signed by one of `ca_file`, too."),
    row("tls.cert_file", Path, None, Applies, &["client_tls_cert_file", "ssl_cert_file", "ssl_cert"],
        "PEM file with the certificate that clients are shown, those between it and its root behind it. The files of this section are read again when they change, and on a reload."),
    row("tls.key_file", Path, None, Applies, &["client_tls_key_file", "ssl_key_file", "ssl_key"],
        "PEM file with its private key, without a passphrase."),
    row("tls.ca_file", Path, None, Applies, &["client_tls_ca_file", "ssl_ca_file", "ssl_ca_cert"],
        "PEM file with the certificates that those of clients must be signed by. Clients are asked for a certificate if this is given; without `verify-ca` they may do without, but one that they show must be good."),
    row("tls.min_protocol", Choice(TLS_PROTOCOLS), Some("TLSv1.2"), Applies, &["client_tls_protocols", "ssl_min_protocol_version"],
        "The oldest version of TLS that clients may use."),
    row("server_tls.mode", Choice(TLS_MODES), Some("prefer"), Applies, &["server_tls_sslmode", "sslmode"],
        "Whether the proxy uses TLS to the nodes, as libpq's `sslmode`. `disable`: never. `allow`: if a node insists on it. `prefer`: if a node can. `require`: always. `verify-ca`: always, and the node's certificate must be signed by one of `ca_file`. `verify-full`: and be for the node's `host`. Never over a Unix socket. A new value is for new connections; unused ones are closed."),
    row("server_tls.ca_file", Path, None, Applies, &["server_tls_ca_file", "sslrootcert"],
        "PEM file with the certificates that those of the nodes must be signed by. If it is given they are checked in every mode, as libpq does. The files of this section are read again when they change, and on a reload."),
    row("server_tls.cert_file", Path, None, Applies, &["server_tls_cert_file", "sslcert"],
        "PEM file with the certificate that is shown to nodes that ask for one."),
    row("server_tls.key_file", Path, None, Applies, &["server_tls_key_file", "sslkey"],
        "PEM file with its private key, without a passphrase."),
    row("server_tls.min_protocol", Choice(TLS_PROTOCOLS), Some("TLSv1.2"), Applies, &["server_tls_protocols"],
        "The oldest version of TLS that nodes may use."),
    row("server_tls.negotiation", Choice(TLS_NEGOTIATIONS), Some("postgres"), Applies, &["sslnegotiation"],
        "How TLS begins: `postgres` asks the node first, `direct` begins at once, which spares a round trip and needs PostgreSQL 17 on all nodes."),
    row("auth.method", Choice(&["scram-sha-256", "md5", "password", "trust"]), Some("scram-sha-256"), Applies, &["auth_type"],
        "How clients prove who they are, where there are no rules (`[[hba]]`, `auth.hba_file`). `trust` asks nobody; `password` sends it in clear text; `md5` is for clients that know nothing better."),
    row("auth.hba_file", Path, None, Applies, &["auth_hba_file", "pool_hba.conf"],
        "File with rules in the format of `pg_hba.conf` and `pool_hba.conf`: who may log in from where, with which method. The first rule that fits counts; who fits none is refused. Either this or `[[hba]]`."),
    row("auth.ident_file", Path, None, Applies, &["auth_ident_file"],
        "File with maps from names in certificates to users, in the format of `pg_ident.conf`, for the option `map` of rules."),
    row("auth.users_file", Path, None, Applies, &["auth_file", "pool_passwd"],
        "File with users and passwords, in the format of PgBouncer's `userlist.txt` or of Pgpool-II's `pool_passwd`. A user of `[[users]]` counts before one of the same name here."),
    row("auth.query", Text, Some(AUTH_QUERY), Applies, &["auth_query"],
        "What `auth.query_user` asks the primary about a user that is neither in `[[users]]` nor in `auth.users_file`. `$1` is the name; the second column is the password as PostgreSQL stores it, or NULL if it may not log in."),
    row("auth.query_user", Text, None, Applies, &["auth_user"],
        "Role that asks `auth.query`. Without it nobody asks. It must be allowed to read `pg_authid`, or to call a function that does."),
    row("auth.query_password", Secret, None, Applies, &[],
        "Its password. Without this and `query_password_file`: that of the user of the same name."),
    row("auth.query_password_file", Path, None, Applies, &[],
        "File with the password in its first line."),
    row("auth.query_database", Text, Some("postgres"), Applies, &["auth_dbname"],
        "Database that is asked."),
    row("auth.query_cache", Kind::Duration(Duration::ZERO, DAY), Some("5s"), Applies, &[],
        "How long an answer is remembered. One that let nobody in is asked for again; that there is no such user is remembered for a second at most."),
    row("auth.failures_max", Count(0, 1_000_000), Some("100"), Applies, &[],
        "Failed logins with a password from one address after which all with a password from there are refused until `failures_window` has passed. 0 for any number. Unix sockets have no address."),
    row("auth.failures_window", Kind::Duration(MILLISECOND, DAY), Some("1m"), Applies, &[],
        "For how long failed logins of an address count, from the first of them."),
    row("hba[].type", Text, None, Applies, &[],
        "How the client is connected: `local` (Unix socket), `host` (TCP), `hostssl` (TCP with TLS), `hostnossl` (TCP without)."),
    row("hba[].database", Texts, None, Applies, &[],
        "Databases, as in `pg_hba.conf`: names, `all`, `sameuser`, `replication`, `/` with a regular expression. Without it `all`."),
    row("hba[].user", Texts, None, Applies, &[],
        "Users: names, `all`, `/` with a regular expression. Without it `all`."),
    row("hba[].address", Text, None, Applies, &[],
        "Where the client is: a network such as `10.0.0.0/8`, `all`, `samehost`, `samenet`, `localhost`. Without it `all`."),
    row("hba[].method", Text, None, Applies, &["auth_type"],
        "How it proves who it is: `scram-sha-256`, `md5`, `password`, `cert`, `trust`, or `reject`."),
    row("hba[].options", List, None, Applies, &[],
        "Options of the method, each as `name=value`: `clientcert=verify-ca`, `clientcert=verify-full`, `map=name`."),
    row("users[].name", Text, None, Applies, &[],
        "A role that may log in through the proxy, and as which the proxy logs in to the nodes."),
    row("users[].password", Secret, None, Applies, &[],
        "Its password. Give this, `password_file` or `verifier`."),
    row("users[].password_file", Path, None, Applies, &[],
        "File with the password in its first line."),
    row("users[].verifier", Secret, None, Applies, &[],
        "The password as PostgreSQL stores it in `pg_authid.rolpassword`: `SCRAM-SHA-256$...` or `md5...`. Then the proxy knows no password: it logs in to the nodes with what the client proves."),
    row("nodes[].host", Text, None, Restart, &["backend_hostname"],
        "Host name or address of a node, or the directory of its Unix socket (starts with `/`). Which node is the primary is found out by asking."),
    row("nodes[].port", Count(1, 65_535), Some("5432"), Restart, &["backend_port"],
        "Port of the node. Between containers of one network that is 5432, whatever port the host maps to it."),
    row("nodes[].weight", Share, Some("1"), Applies, &["backend_weight"],
        "Share of balanced reads, relative to the other nodes. 0 sends no balanced read there."),
    row("nodes[].flag", Choice(&["ALLOW_TO_FAILOVER", "DISALLOW_TO_FAILOVER", "ALWAYS_PRIMARY"]), Some("ALLOW_TO_FAILOVER"), Applies, &["backend_flag"],
        "What a failover may do to the node. `DISALLOW_TO_FAILOVER`: it is not replaced as primary, not promoted and not taken out but by an operator. `ALWAYS_PRIMARY`: it is the primary whatever it says, and nothing is ever promoted."),
    row("nodes[].data_dir", Text, None, Applies, &["backend_data_directory"],
        "Its data directory, which commands are told as `%D`. The proxy itself never looks there."),
    row("nodes[].probe_user", Text, None, Applies, &["health_check_userN"],
        "`probe.user` for this node alone."),
    row("nodes[].probe_password", Secret, None, Applies, &["health_check_passwordN"],
        "Its password. Without it that of the user of the same name, then `probe.password`."),
    row("nodes[].probe_database", Text, None, Applies, &["health_check_databaseN"],
        "`probe.database` for this node alone."),
    row("nodes[].probe_interval", Kind::Duration(Duration::from_millis(10), seconds(3600)), None, Applies, &["health_check_periodN"],
        "`probe.interval` for this node alone."),
    row("nodes[].probe_timeout", Kind::Duration(MILLISECOND, seconds(600)), None, Applies, &["health_check_timeoutN"],
        "`probe.timeout` for this node alone."),
    row("nodes[].probe_failures_max", Count(1, 1000), None, Applies, &["health_check_max_retriesN"],
        "`probe.failures_max` for this node alone."),
    row("nodes[].probe_retry_delay", Kind::Duration(Duration::ZERO, seconds(3600)), None, Applies, &["health_check_retry_delayN"],
        "`probe.retry_delay` for this node alone."),
    row("pool.mode", Choice(POOL_MODES), Some("transaction"), Applies, &["pool_mode"],
        "How long a session keeps a server connection: until it ends (`session`), for a transaction (`transaction`; what it set and prepared follows it), or for a statement (`statement`; transactions of several statements are refused). Sessions that are there already keep the mode they began with."),
    row("pool.size", Count(0, 100_000), Some("0"), Applies, &["default_pool_size"],
        "Server connections of the whole proxy for one pool: a database, a user and a node. 0 stands for no limit but the others."),
    row("pool.min_size", Count(0, 100_000), Some("0"), Applies, &["min_pool_size"],
        "Server connections that a pool has at least, on each node in service, once it has served somebody: they are opened ahead, and not closed for being unused. One that gets too old is closed all the same."),
    row("pool.reserved_connections", Count(0, 100_000), Some("0"), Applies, &["reserve_pool_size"],
        "Server connections that a pool may have beyond `pool.size`, for sessions that have waited for `pool.reserve_timeout`."),
    row("pool.reserve_timeout", Kind::Duration(Duration::ZERO, DAY), Some("5s"), Applies, &["reserve_pool_timeout"],
        "How long a session waits before it may have a reserved connection."),
    row("pool.connections_per_node_max", Count(1, 100_000), Some("90"), Applies, &[],
        "Server connections of the whole proxy to one node; keep it below the node's `max_connections`, less what others use."),
    row("pool.connections_per_database_max", Count(0, 100_000), Some("0"), Applies, &["max_db_connections"],
        "Server connections of the whole proxy for one database, on all nodes together. 0 stands for no limit."),
    row("pool.connections_per_user_max", Count(0, 100_000), Some("0"), Applies, &["max_user_connections"],
        "The same for one user."),
    row("pool.waiters_max", Count(0, 1_000_000), Some("10000"), Applies, &[],
        "Sessions that may wait for a server connection, per worker; one more is refused with SQLSTATE 53300."),
    row("pool.checkout_timeout", Kind::Duration(MILLISECOND, DAY), Some("30s"), Applies, &["query_wait_timeout"],
        "How long a session waits for a server connection before its statement is refused."),
    row("pool.wait_notice", Kind::Duration(Duration::ZERO, DAY), Some("5s"), Applies, &["query_wait_notify"],
        "A session that has waited for a server connection for this long is told so by a notice. `0s` says nothing."),
    row("pool.connect_timeout", Kind::Duration(MILLISECOND, seconds(600)), Some("10s"), Applies, &["server_connect_timeout", "connect_timeout"],
        "How long opening a server connection may take, authentication included."),
    row("pool.idle_timeout", Kind::Duration(MILLISECOND, seconds(30 * 86_400)), Some("10m"), Applies, &["server_idle_timeout", "connection_life_time"],
        "A server connection that was not used for this long is closed."),
    row("pool.lifetime", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), Some("1h"), Applies, &["server_lifetime"],
        "A server connection that is older is closed when nobody uses it. `0s` keeps it."),
    row("pool.lifetime_jitter", Percent, Some("10%"), Applies, &[],
        "Up to this share of `pool.lifetime` a server connection is closed earlier, so that those opened together do not go together."),
    row("pool.reset_query", Text, Some("DISCARD ALL"), Applies, &["server_reset_query", "reset_query_list"],
        "Statement that makes a used server connection fit for the next session."),
    row("pools[].database", Text, None, Applies, &["databases"],
        "The rule is for sessions of this database; without it for those of any. The first rule that fits and says something counts."),
    row("pools[].user", Text, None, Applies, &["users"],
        "The rule is for sessions of this user; without it for those of any."),
    row("pools[].mode", Choice(POOL_MODES), None, Applies, &["pool_mode"],
        "`pool.mode` for these sessions."),
    row("pools[].size", Count(0, 100_000), None, Applies, &["pool_size"],
        "`pool.size` for these sessions."),
    row("pools[].min_size", Count(0, 100_000), None, Applies, &["min_pool_size"],
        "`pool.min_size` for these sessions."),
    row("pools[].reserved_connections", Count(0, 100_000), None, Applies, &["reserve_pool_size"],
        "`pool.reserved_connections` for these sessions."),
    row("pools[].connections_max", Count(0, 100_000), None, Applies, &["max_db_connections", "max_user_connections"],
        "Server connections of the database, or of the user; a rule for both has `size` instead."),
    row("pools[].clients_max", Count(0, 1_000_000), None, Applies, &["max_db_client_connections", "max_user_client_connections"],
        "Clients of the database, or of the user; not in a rule for both."),
    row("pools[].lifetime", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), None, Applies, &["server_lifetime"],
        "`pool.lifetime` for these sessions."),
    row("pools[].client_idle_timeout", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), None, Applies, &["client_idle_timeout"],
        "`timeouts.client_idle` for these sessions."),
    row("pools[].idle_in_transaction_timeout", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), None, Applies, &["idle_transaction_timeout"],
        "`timeouts.idle_in_transaction` for these sessions."),
    row("pools[].transaction_timeout", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), None, Applies, &["transaction_timeout"],
        "`timeouts.transaction` for these sessions."),
    row("pools[].query_timeout", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), None, Applies, &["query_timeout"],
        "`timeouts.query` for these sessions."),
    row("limits.clients_per_database_max", Count(0, 1_000_000), Some("0"), Applies, &["max_db_client_connections"],
        "Clients of one database; one more is refused with SQLSTATE 53300. 0 stands for no limit."),
    row("limits.clients_per_user_max", Count(0, 1_000_000), Some("0"), Applies, &["max_user_client_connections"],
        "The same for one user."),
    row("limits.clients_per_address_max", Count(0, 1_000_000), Some("0"), Applies, &[],
        "The same for one client address."),
    row("timeouts.client_idle", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), Some("0s"), Applies, &["client_idle_timeout", "client_idle_limit"],
        "A client that sends nothing for this long outside a transaction is disconnected with SQLSTATE 57P05. `0s` lets it be. Looked at twice a second, as are those below."),
    row("timeouts.idle_in_transaction", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), Some("0s"), Applies, &["idle_transaction_timeout"],
        "A client that sends nothing for this long inside a transaction is disconnected with SQLSTATE 25P03."),
    row("timeouts.transaction", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), Some("0s"), Applies, &["transaction_timeout"],
        "A transaction that takes longer ends with its session, with SQLSTATE 25P04."),
    row("timeouts.query", Kind::Duration(Duration::ZERO, seconds(30 * 86_400)), Some("0s"), Applies, &["query_timeout"],
        "A query that takes longer, waits included, is cancelled on its server and ends its session with SQLSTATE 57014."),
    row("probe.user", Text, Some("postgres"), Applies, &["sr_check_user", "health_check_user"],
        "Role that asks the nodes how they are. It needs `pg_monitor` to see the state and the timelines of replication."),
    row("probe.password", Secret, None, Applies, &["sr_check_password", "health_check_password"],
        "Its password. Without this and `password_file`: the password of the user of the same name."),
    row("probe.password_file", Path, None, Applies, &[],
        "File with the password in its first line."),
    row("probe.database", Text, Some("postgres"), Applies, &["sr_check_database", "health_check_database"],
        "Database it connects to."),
    row("probe.interval", Kind::Duration(Duration::from_millis(10), seconds(3600)), Some("1s"), Applies, &["sr_check_period", "health_check_period"],
        "Time between two probes of a node. After a failed one the next come faster, so that a node that refuses connections is judged within one interval."),
    row("probe.timeout", Kind::Duration(MILLISECOND, seconds(600)), Some("2s"), Applies, &["health_check_timeout"],
        "How long one probe may take. A node that hangs is down after `failures_max` probes that took this long."),
    row("probe.failures_max", Count(1, 1000), Some("3"), Applies, &["health_check_max_retries"],
        "Failed probes in a row after which a node is down. (Pgpool-II counts retries: one less.) A failover takes two in a row at least, whatever this says."),
    row("probe.retry_delay", Kind::Duration(Duration::ZERO, seconds(3600)), Some("0s"), Applies, &["health_check_retry_delay"],
        "Time between a failed probe and the next one while a node is being judged. 0s for `interval` divided by `failures_max`."),
    row("failover.promote", Switch, Some("true"), Applies, &[],
        "Whether a replica is promoted when the primary fails. Switch it off where something else promotes replicas (Patroni, repmgr, an operator of Kubernetes): a node that it promoted is followed all the same."),
    row("failover.lag_max", Size(0, 1 << 50), Some("1MiB"), Applies, &["maximum_lag_on_failover"],
        "A replica that lacks more than this of what the primary is known to have written is not promoted. What the primary wrote after its last answered probe is not known."),
    row("failover.witnesses_min", Count(1, 127), Some("1"), Applies, &[],
        "As many nodes besides the primary must answer, and have lost it too, before a replica is promoted. With half of all nodes or more a proxy that is cut off with a minority of them promotes nothing."),
    row("failover.promote_timeout", Kind::Duration(seconds(1), DAY), Some("1m"), Applies, &["search_primary_node_timeout"],
        "How long a promotion may take before it counts as failed and the policy is asked again."),
    row("failover.repoint", Switch, Some("true"), Applies, &[],
        "Whether the other replicas are made to follow a new primary by `ALTER SYSTEM` and a reload. The user of the probes must be a superuser for it."),
    row("failover.on_backend_error", Switch, Some("true"), Applies, &["failover_on_backend_error", "fail_over_on_backend_error"],
        "Whether a session that cannot reach a node has it probed at once. The error of a session alone never takes a node out."),
    row("failover.on_backend_shutdown", Switch, Some("true"), Applies, &["failover_on_backend_shutdown"],
        "Whether a server that says it is shutting down is probed at once."),
    row("failover.hold_timeout", Kind::Duration(MILLISECOND, DAY), Some("1m"), Applies, &[],
        "How long a statement waits for a primary while there is none, before it is refused with SQLSTATE 57P03."),
    row("failover.hold_max", Count(0, 1_000_000), Some("10000"), Applies, &[],
        "Statements of the whole proxy that may wait for a primary at one time; one more is refused at once."),
    row("failover.drain_timeout", Kind::Duration(Duration::ZERO, DAY), Some("10s"), Applies, &[],
        "In a switchover, how long transactions on the old primary may go on before they are ended with SQLSTATE 40001."),
    row("failover.failover_command", Text, None, Applies, &["failover_command"],
        "Shell command that is run when a node was taken out or lost. Placeholders as in Pgpool-II, see docs/failover.md. Nothing waits for it."),
    row("failover.failback_command", Text, None, Applies, &["failback_command"],
        "Shell command that is run when a node came back."),
    row("failover.follow_primary_command", Text, None, Applies, &["follow_primary_command", "follow_master_command"],
        "Shell command that is run for every other node when there is a new primary, one after the other. A node that SQL made follow the new primary already needs none and gets none."),
    row("failover.demote_command", Text, None, Applies, &[],
        "Shell command that stops the old primary in a switchover; it must not end before the server has. Without it there is no switchover, because PostgreSQL cannot be demoted by SQL."),
    row("failover.command_timeout", Kind::Duration(seconds(1), DAY), Some("5m"), Applies, &[],
        "How long a command may run before it is killed."),
    row("failover.state_dir", Path, None, Restart, &["work_dir", "logdir"],
        "Directory for which node was the primary last and which were taken out, so that a restart does not forget it. Without it `plugins.state_dir` is used; without both nothing is kept."),
    row("failover.audit_log", Path, None, Restart, &[],
        "File to which a line of JSON is added for each decision, with what it was based on. Without it the lines go to the log alone."),
    row("failover_rules", Free, Some("{}"), Applies, &[],
        "Settings of the built-in failover policy, such as `auto_failback` and `detach_false_primary`; docs/failover.md has all of them. Handed to it as they are; it says what it does not know."),
    row("catalog.refresh_interval", Kind::Duration(Duration::from_millis(100), DAY), Some("1m"), Applies, &[],
        "Relations and functions of a database are read again after this time, so that changes made past the proxy are noticed. Changes that pass through it are noticed at once."),
    row("catalog.relations_max", Count(1, 10_000_000), Some("200000"), Applies, &[],
        "Relations of a database, and likewise functions, that are remembered. In a database with more, statements that name relations go to the primary."),
    row("plugins.dir", Path, None, Restart, &[],
        "Directory that is watched for `NN-name.wasm` components. The variable `PGSTEER_PLUGINS_DIR` overrides it. Without it only the built-in plugins decide."),
    row("plugins.state_dir", Path, None, Restart, &[],
        "Directory for compiled components, which makes a start and a swap fast, and for what operators said about plugins, which then outlives a restart. Only the proxy's user may write there."),
    row("plugins.settle", Kind::Duration(MILLISECOND, seconds(10)), Some("200ms"), Applies, &[],
        "How long a file must stay the same before it is read. A file that is moved into the directory under its final name needs next to none."),
    row("plugins.allow", List, Some("[]"), Applies, &[],
        "SHA-256 of the components that may be loaded, in hexadecimal; an empty list allows all. What is in force stays."),
    row("plugins.grants", Words(GRANTS), Some("[]"), Applies, &[],
        "What plugins may do besides answering, for those whose own file does not say. `log` writes to the log, `metrics` keeps series, `clock` looks at a coarse clock, `catalog` looks names up, `kv` keeps values that all workers see, `values` sees parameters, `rewrite-any` makes reads into writes, `wasi-stubs` imports WASI, of which nothing works."),
    row("plugins.stack_max", Size(16 << 10, 8 << 20), Some("256KiB"), Restart, &[],
        "Stack of a plugin while it is asked."),
    row("plugins.decision_timeout", Kind::Duration(MILLISECOND, seconds(10)), Some("3ms"), Applies, &[],
        "How long a plugin may work on one question, in time of a processor: waiting for one does not count. It ends within two milliseconds of that. Answers usually take less than a microsecond."),
    row("plugins.configure_timeout", Kind::Duration(MILLISECOND, seconds(600)), Some("1s"), Applies, &[],
        "Wall-clock limit of a plugin's `configure` and `self-test`."),
    row("plugins.memory_max", Size(64 << 10, 1 << 30), Some("16MiB"), Applies, &[],
        "Memory one instance of a plugin may have; every worker has an instance."),
    row("plugins.file_max", Size(1 << 10, 256 << 20), Some("4MiB"), Applies, &[],
        "Size of a component file; a larger one is refused unread."),
    row("plugins.functions_max", Count(1, 1_000_000), Some("20000"), Applies, &[],
        "Functions in a component; the time it takes to compile grows with them."),
    row("plugins.results_max", Size(1 << 10, 256 << 20), Some("1MiB"), Applies, &[],
        "What a plugin may hand to the proxy in one call, its answer included."),
    row("plugins.log_lines_max", Count(0, 100_000), Some("10"), Applies, &[],
        "Lines an instance of a plugin may write to the log in a second; more are left out and counted."),
    row("plugins.on_failure", Choice(&["skip", "reject", "last-good"]), Some("skip"), Applies, &[],
        "What happens to a statement when a plugin fails: `skip` goes on as if it had abstained, `reject` refuses the statement with SQLSTATE 58000, `last-good` takes its last answer to such a statement, if there is one. Use `reject` for plugins that forbid things."),
    row("plugins.shadow", Percent, Some("0%"), Applies, &[],
        "Share of the statements about which a new version of a plugin is asked beside the one in force before it decides anything; 0% goes live without."),
    row("plugins.shadow_decisions", Count(1, 1_000_000_000), Some("1000"), Applies, &[],
        "A shadow ends after as many statements."),
    row("plugins.shadow_time", Kind::Duration(MILLISECOND, seconds(7 * 86_400)), Some("10m"), Applies, &[],
        "A shadow ends after this time at the latest."),
    row("plugins.differences_max", Percent, Some("1%"), Applies, &[],
        "Share of the statements about which a shadow may answer in another way than the version in force; with more it is refused."),
    row("plugins.probation", Kind::Duration(Duration::ZERO, DAY), Some("1m"), Applies, &[],
        "How long a new version of a plugin is watched after it has begun to decide. While it is, failures, refusals or slowness bring back the version before it. 0s for not at all."),
    row("plugins.probation_decisions", Count(0, 1_000_000_000), Some("10000"), Applies, &[],
        "It is watched for as many decisions at least, but not longer than ten times `probation`."),
    row("plugins.refusals_max", Percent, Some("5%"), Applies, &[],
        "How much greater its share of refused statements may be than that of the version before it while it is watched. A first version may refuse what it likes."),
    row("plugins.slow_max", Kind::Duration(MICROSECOND, seconds(10)), Some("10ms"), Applies, &[],
        "The slowest that one answer in a hundred may be while it is watched."),
    row("console.operators", List, Some("[]"), Applies, &["admin_users"],
        "Users who may give orders in the console, such as `PGSTEER PLUGIN name ROLLBACK`. All others may only look."),
    row("console.watchers", List, Some("[]"), Applies, &["stats_users"],
        "Users who may connect to the console's database and look, besides operators."),
    row("console.databases", List, Some("[\"pgbouncer\", \"pgsteer\"]"), Applies, &[],
        "Names of databases that are the console and none on the nodes. An empty list: there is no such database."),
    row("admin.socket", Path, None, Restart, &["unix_socket_dir"],
        "Unix socket through which `pgsteer node` asks and gives orders, also while every node is down. The proxy's own user and root may use it. Where environment variables configure the proxy it is `PGSTEER_ADMIN_SOCKET`. Without it there is none."),
    row("pcp.listen", List, Some("[\"127.0.0.1:9898\"]"), Restart, &["pcp_listen_addresses", "pcp_port"],
        "Addresses for the `pcp_*` tools of Pgpool-II, each an IP address with a port. They are opened only if there is a user in `pcp.users_file` or `[[pcp_users]]` at the start; an empty list opens none. Passwords are salted, nothing else is protected: keep it to this machine or a trusted network."),
    row("pcp.users_file", Path, None, Applies, &["pcp.conf"],
        "File with lines `user:md5`, as `pcp.conf` of Pgpool-II."),
    row("pcp_users[].name", Text, None, Applies, &[],
        "A user of the `pcp_*` tools, besides those of `pcp.users_file`. It has nothing to do with roles of the database."),
    row("pcp_users[].password", Secret, None, Applies, &[],
        "Its password. Give this, `password_file` or `md5`."),
    row("pcp_users[].password_file", Path, None, Applies, &[],
        "File with the password in its first line."),
    row("pcp_users[].md5", Secret, None, Applies, &[],
        "The MD5 of its password in hexadecimal, as it stands in `pcp.conf`."),
    row("metrics.listen", List, Some("[]"), Restart, &[],
        "Addresses that answer Prometheus over HTTP (`/metrics`, and `/healthz` and `/readyz`), each an IP address with a port, such as `127.0.0.1:9930`. Whoever can connect sees names of databases, users and hosts, so none is opened unless it is asked for."),
    row("metrics.pools_max", Count(0, 100_000), Some("200"), Applies, &[],
        "Databases with users that have series of their own; all others are counted together, as database and user `other`."),
    row("tracing.otlp_endpoint", Text, None, Applies, &[],
        "Collector of traces that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added. Statements with a `traceparent` in a comment, whose sampled flag is set, are reported to it. Without it nobody looks for one."),
    row("tracing.service_name", Text, Some("pgsteer"), Applies, &[],
        "What the proxy is called in traces."),
    row("router", Free, Some("{}"), Applies, &[],
        "Settings of the built-in router under Pgpool-II's names, such as `load_balance_mode` and `disable_load_balance_on_write`, and `read_your_writes`, which Pgpool-II has not. The page of the built-in router has all of them, docs/from-pgpool.md those of Pgpool-II. Handed to it as they are; it says what it does not know."),
];
