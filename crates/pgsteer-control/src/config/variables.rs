//! The `PGPOOL_*` variables of the `bitnami/pgpool` image, and what each is here; and a few of our
//! own for what that image has not.

/// What a variable is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Text of this setting.
    Text(&'static str),
    /// Seconds of this setting; 0 (off in Pgpool-II) becomes the second text.
    Seconds(&'static str, &'static str),
    /// Milliseconds of this setting; 0 (off in Pgpool-II) becomes the second text.
    Milliseconds(&'static str, &'static str),
    /// A switch, the setting.
    Switch(&'static str),
    /// Yes or no, and the word that each is for this setting.
    Either(&'static str, &'static str, &'static str),
    /// A word of the router, one of these.
    Word(&'static str, &'static [&'static str]),
    /// Needs a rule of its own, in `environment.rs`.
    Special,
    /// Has no effect: why, and the values that ask for nothing and need no warning.
    Ignored(&'static str, &'static [&'static str]),
}

/// What this variable is used for; `None` if it is unknown.
pub(crate) fn known(name: &str) -> Option<Use> {
    VARIABLES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, use_of)| *use_of)
}

const NO: &[&str] = &["no", "false", "off", "0"];
const YES: &[&str] = &["yes", "true", "on", "1"];

const NO_CHILDREN: &str = "there are no child processes that would have to be replaced";
const NO_HBA: &str =
    "PGPOOL_USER_HBA_FILE decides if it is set, else PGPOOL_AUTHENTICATION_METHOD and the users";
const NO_LOG: &str = "logging is configured by PGSTEER_LOG";
const NO_LDAP: &str = "LDAP is not supported";
const NO_SHELL: &str = "this is about the container's own scripts";

use Use::{Either, Ignored, Milliseconds, Seconds, Special, Switch, Text, Word};

#[rustfmt::skip]
pub(crate) const VARIABLES: &[(&str, Use)] = &[
    ("PGPOOL_BACKEND_NODES", Special),
    ("PGPOOL_BACKEND_APPLICATION_NAMES", Ignored("replicas are found in pg_stat_replication by their slot, name or address", &[])),
    ("PGPOOL_PORT_NUMBER", Special),
    ("PGPOOL_POSTGRES_USERNAME", Special),
    ("PGPOOL_POSTGRES_PASSWORD", Special),
    ("PGPOOL_POSTGRES_CUSTOM_USERS", Special),
    ("PGPOOL_POSTGRES_CUSTOM_PASSWORDS", Special),
    ("PGPOOL_SR_CHECK_USER", Special),
    ("PGPOOL_SR_CHECK_PASSWORD", Special),
    ("PGPOOL_SR_CHECK_DATABASE", Text("probe.database")),
    ("PGPOOL_SR_CHECK_PERIOD", Special),
    ("PGPOOL_HEALTH_CHECK_USER", Special),
    ("PGPOOL_HEALTH_CHECK_PASSWORD", Special),
    ("PGPOOL_HEALTH_CHECK_PERIOD", Special),
    ("PGPOOL_HEALTH_CHECK_TIMEOUT", Seconds("probe.timeout", "20s")),
    ("PGPOOL_HEALTH_CHECK_MAX_RETRIES", Special),
    ("PGPOOL_HEALTH_CHECK_RETRY_DELAY", Seconds("probe.retry_delay", "10ms")),
    ("PGPOOL_HEALTH_CHECK_PSQL_TIMEOUT", Ignored(NO_SHELL, &[])),
    ("PGPOOL_ADMIN_USERNAME", Special),
    ("PGPOOL_ADMIN_PASSWORD", Special),
    ("PGPOOL_AUTHENTICATION_METHOD", Text("auth.method")),
    ("PGPOOL_AUTHENTICATION_TIMEOUT", Seconds("listen.login_timeout", "10m")),
    ("PGPOOL_AES_KEY", Ignored("passwords are not stored encrypted", &[])),
    ("PGPOOL_ENABLE_POOL_HBA", Ignored(NO_HBA, YES)),
    ("PGPOOL_ENABLE_POOL_PASSWD", Ignored(NO_HBA, YES)),
    ("PGPOOL_PASSWD_FILE", Ignored("passwords come from variables or their _FILE forms", &[])),
    ("PGPOOL_USER_HBA_FILE", Text("auth.hba_file")),
    ("PGPOOL_USER_CONF_FILE", Ignored("pgpool.conf is not read", &[])),
    ("PGPOOL_ENABLE_LOAD_BALANCING", Switch("router.load_balance_mode")),
    ("PGPOOL_ENABLE_STATEMENT_LOAD_BALANCING", Switch("router.statement_level_load_balance")),
    ("PGPOOL_DISABLE_LOAD_BALANCE_ON_WRITE", Word("disable_load_balance_on_write", &["off", "transaction", "trans_transaction", "always", "dml_adaptive"])),
    ("PGPOOL_NUM_INIT_CHILDREN", Special),
    ("PGPOOL_MAX_POOL", Special),
    ("PGPOOL_RESERVED_CONNECTIONS", Special),
    ("PGPOOL_CHILD_MAX_CONNECTIONS", Ignored(NO_CHILDREN, &["0"])),
    ("PGPOOL_CHILD_LIFE_TIME", Ignored(NO_CHILDREN, &["0"])),
    ("PGPOOL_CONNECTION_LIFE_TIME", Seconds("pool.idle_timeout", "30d")),
    ("PGPOOL_CLIENT_IDLE_LIMIT", Seconds("timeouts.client_idle", "0s")),
    ("PGPOOL_CONNECT_TIMEOUT", Milliseconds("pool.connect_timeout", "10m")),
    ("PGPOOL_ENABLE_CONNECTION_CACHE", Ignored("server connections are always kept for reuse", YES)),
    ("PGPOOL_FAILOVER_ON_BACKEND_ERROR", Switch("failover.on_backend_error")),
    ("PGPOOL_FAILOVER_ON_BACKEND_SHUTDOWN", Switch("failover.on_backend_shutdown")),
    ("PGPOOL_AUTO_FAILBACK", Switch("failover_rules.auto_failback")),
    ("PGPOOL_ENABLE_LOG_CONNECTIONS", Ignored(NO_LOG, NO)),
    ("PGPOOL_ENABLE_LOG_HOSTNAME", Ignored(NO_LOG, NO)),
    ("PGPOOL_ENABLE_LOG_PER_NODE_STATEMENT", Ignored(NO_LOG, NO)),
    ("PGPOOL_ENABLE_LOG_PCP_PROCESSES", Ignored(NO_LOG, &["no", "yes"])),
    ("PGPOOL_LOG_LINE_PREFIX", Ignored(NO_LOG, &[])),
    ("PGPOOL_CLIENT_MIN_MESSAGES", Ignored("clients see the messages of their server as they are", &["notice"])),
    ("PGPOOL_ENABLE_TLS", Either("tls.mode", "prefer", "disable")),
    ("PGPOOL_TLS_CERT_FILE", Text("tls.cert_file")),
    ("PGPOOL_TLS_KEY_FILE", Text("tls.key_file")),
    ("PGPOOL_TLS_CA_FILE", Text("tls.ca_file")),
    ("PGPOOL_TLS_PREFER_SERVER_CIPHERS", Ignored("the proxy chooses among the ciphers that a client offers", &["yes", "true", "on", "1", "no", "false", "off", "0"])),
    ("PGPOOL_ENABLE_LDAP", Ignored(NO_LDAP, NO)),
    ("PGPOOL_DISCARD_STATUS", Ignored("the state of the nodes is never stored: it is found out at every start", YES)),
    ("PGPOOL_EXTRA_FLAGS", Ignored("these are command-line options of another program", &[])),
    ("PGPOOL_TIMEOUT", Ignored(NO_SHELL, &[])),
    ("PGPOOL_DAEMON_USER", Ignored(NO_SHELL, &[])),
    ("PGPOOL_DAEMON_GROUP", Ignored(NO_SHELL, &[])),
    ("PGSTEER_FAILOVER_PROMOTE", Switch("failover.promote")),
    ("PGSTEER_ADMIN_SOCKET", Text("admin.socket")),
    ("PGSTEER_STATE_DIR", Text("failover.state_dir")),
];
