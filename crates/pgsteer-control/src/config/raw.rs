//! The configuration as it is written. No rule is applied here: values are read as whatever they
//! are, so that validation can report every mistake and not only the first.

use serde::Deserialize;
use toml::{Table, Value};

/// A value as written, or its absence.
pub(crate) type Given = Option<Value>;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    pub(crate) listen: Listen,
    pub(crate) tcp: Tcp,
    pub(crate) tls: Tls,
    pub(crate) server_tls: ServerTls,
    pub(crate) auth: Auth,
    pub(crate) hba: Vec<Hba>,
    pub(crate) users: Vec<User>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pool: Pool,
    pub(crate) pools: Vec<PoolRule>,
    pub(crate) limits: ClientLimits,
    pub(crate) timeouts: Timeouts,
    pub(crate) probe: Probe,
    pub(crate) failover: Failover,
    pub(crate) failover_rules: Table,
    pub(crate) catalog: Catalog,
    pub(crate) plugins: Plugins,
    pub(crate) console: Console,
    pub(crate) admin: Admin,
    pub(crate) pcp: Pcp,
    pub(crate) pcp_users: Vec<PcpUser>,
    pub(crate) metrics: Metrics,
    pub(crate) tracing: Tracing,
    pub(crate) router: Table,
}

/// `[listen]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    pub(crate) address: Given,
    pub(crate) unix_socket_dir: Given,
    pub(crate) unix_socket_mode: Given,
    pub(crate) workers: Given,
    pub(crate) clients_max: Given,
    pub(crate) login_timeout: Given,
    pub(crate) drain_timeout: Given,
    pub(crate) upgrade_timeout: Given,
}

/// `[tcp]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tcp {
    pub(crate) keepalive: Given,
    pub(crate) keepidle: Given,
    pub(crate) keepintvl: Given,
    pub(crate) keepcnt: Given,
    pub(crate) user_timeout: Given,
}

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) mode: Given,
    pub(crate) cert_file: Given,
    pub(crate) key_file: Given,
    pub(crate) ca_file: Given,
    pub(crate) min_protocol: Given,
}

/// `[server_tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTls {
    pub(crate) mode: Given,
    pub(crate) ca_file: Given,
    pub(crate) cert_file: Given,
    pub(crate) key_file: Given,
    pub(crate) min_protocol: Given,
    pub(crate) negotiation: Given,
}

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    pub(crate) method: Given,
    pub(crate) hba_file: Given,
    pub(crate) ident_file: Given,
    pub(crate) users_file: Given,
    pub(crate) query: Given,
    pub(crate) query_user: Given,
    pub(crate) query_password: Given,
    pub(crate) query_password_file: Given,
    pub(crate) query_database: Given,
    pub(crate) query_cache: Given,
    pub(crate) failures_max: Given,
    pub(crate) failures_window: Given,
}

/// `[[hba]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hba {
    #[serde(rename = "type")]
    pub(crate) kind: Given,
    pub(crate) database: Given,
    pub(crate) user: Given,
    pub(crate) address: Given,
    pub(crate) method: Given,
    pub(crate) options: Given,
}

/// `[[users]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct User {
    pub(crate) name: Given,
    pub(crate) password: Given,
    pub(crate) password_file: Given,
    pub(crate) verifier: Given,
}

/// `[[nodes]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Node {
    pub(crate) host: Given,
    pub(crate) port: Given,
    pub(crate) weight: Given,
    pub(crate) flag: Given,
    pub(crate) data_dir: Given,
    pub(crate) probe_user: Given,
    pub(crate) probe_password: Given,
    pub(crate) probe_database: Given,
    pub(crate) probe_interval: Given,
    pub(crate) probe_timeout: Given,
    pub(crate) probe_failures_max: Given,
    pub(crate) probe_retry_delay: Given,
}

/// `[pool]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pool {
    pub(crate) mode: Given,
    pub(crate) size: Given,
    pub(crate) min_size: Given,
    pub(crate) reserved_connections: Given,
    pub(crate) reserve_timeout: Given,
    pub(crate) connections_per_node_max: Given,
    pub(crate) connections_per_database_max: Given,
    pub(crate) connections_per_user_max: Given,
    pub(crate) lifetime: Given,
    pub(crate) lifetime_jitter: Given,
    pub(crate) wait_notice: Given,
    pub(crate) waiters_max: Given,
    pub(crate) checkout_timeout: Given,
    pub(crate) connect_timeout: Given,
    pub(crate) idle_timeout: Given,
    pub(crate) reset_query: Given,
}

/// `[[pools]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PoolRule {
    pub(crate) database: Given,
    pub(crate) user: Given,
    pub(crate) mode: Given,
    pub(crate) size: Given,
    pub(crate) min_size: Given,
    pub(crate) reserved_connections: Given,
    pub(crate) connections_max: Given,
    pub(crate) clients_max: Given,
    pub(crate) lifetime: Given,
    pub(crate) client_idle_timeout: Given,
    pub(crate) idle_in_transaction_timeout: Given,
    pub(crate) transaction_timeout: Given,
    pub(crate) query_timeout: Given,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientLimits {
    pub(crate) clients_per_database_max: Given,
    pub(crate) clients_per_user_max: Given,
    pub(crate) clients_per_address_max: Given,
}

/// `[timeouts]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    pub(crate) client_idle: Given,
    pub(crate) idle_in_transaction: Given,
    pub(crate) transaction: Given,
    pub(crate) query: Given,
}

/// `[probe]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Probe {
    pub(crate) user: Given,
    pub(crate) password: Given,
    pub(crate) password_file: Given,
    pub(crate) database: Given,
    pub(crate) interval: Given,
    pub(crate) timeout: Given,
    pub(crate) failures_max: Given,
    pub(crate) retry_delay: Given,
}

/// `[failover]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Failover {
    pub(crate) promote: Given,
    pub(crate) lag_max: Given,
    pub(crate) witnesses_min: Given,
    pub(crate) promote_timeout: Given,
    pub(crate) repoint: Given,
    pub(crate) on_backend_error: Given,
    pub(crate) on_backend_shutdown: Given,
    pub(crate) hold_timeout: Given,
    pub(crate) hold_max: Given,
    pub(crate) drain_timeout: Given,
    pub(crate) failover_command: Given,
    pub(crate) failback_command: Given,
    pub(crate) follow_primary_command: Given,
    pub(crate) demote_command: Given,
    pub(crate) command_timeout: Given,
    pub(crate) state_dir: Given,
    pub(crate) audit_log: Given,
}

/// `[catalog]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Catalog {
    pub(crate) refresh_interval: Given,
    pub(crate) relations_max: Given,
}

/// `[plugins]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plugins {
    pub(crate) dir: Given,
    pub(crate) state_dir: Given,
    pub(crate) settle: Given,
    pub(crate) allow: Given,
    pub(crate) grants: Given,
    pub(crate) stack_max: Given,
    pub(crate) decision_timeout: Given,
    pub(crate) configure_timeout: Given,
    pub(crate) memory_max: Given,
    pub(crate) file_max: Given,
    pub(crate) functions_max: Given,
    pub(crate) results_max: Given,
    pub(crate) log_lines_max: Given,
    pub(crate) on_failure: Given,
    pub(crate) shadow: Given,
    pub(crate) shadow_decisions: Given,
    pub(crate) shadow_time: Given,
    pub(crate) differences_max: Given,
    pub(crate) probation: Given,
    pub(crate) probation_decisions: Given,
    pub(crate) refusals_max: Given,
    pub(crate) slow_max: Given,
}

/// `[console]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Console {
    pub(crate) operators: Given,
    pub(crate) watchers: Given,
    pub(crate) databases: Given,
}

/// `[admin]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(crate) socket: Given,
}

/// `[pcp]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pcp {
    pub(crate) listen: Given,
    pub(crate) users_file: Given,
}

/// `[[pcp_users]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PcpUser {
    pub(crate) name: Given,
    pub(crate) password: Given,
    pub(crate) password_file: Given,
    pub(crate) md5: Given,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    pub(crate) listen: Given,
    pub(crate) pools_max: Given,
}

/// `[tracing]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tracing {
    pub(crate) otlp_endpoint: Given,
    pub(crate) service_name: Given,
}

/// `[limits]` in the file beside a plugin; part of `[plugins]` in the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) decision_timeout: Given,
    pub(crate) configure_timeout: Given,
    pub(crate) memory_max: Given,
    pub(crate) functions_max: Given,
    pub(crate) results_max: Given,
    pub(crate) log_lines_max: Given,
    pub(crate) on_failure: Given,
}

/// `[rollout]` in the file beside a plugin; part of `[plugins]` in the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rollout {
    pub(crate) shadow: Given,
    pub(crate) shadow_decisions: Given,
    pub(crate) shadow_time: Given,
    pub(crate) differences_max: Given,
    pub(crate) probation: Given,
    pub(crate) probation_decisions: Given,
    pub(crate) refusals_max: Given,
    pub(crate) slow_max: Given,
}
