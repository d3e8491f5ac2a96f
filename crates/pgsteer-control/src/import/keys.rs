//! The one table of Pgpool-II's parameters, 4.3 to 4.8 and older names, and what each is here.
//! The import works by it and the table in `docs/from-pgpool.md` is rendered from it.

use super::report::Verdict;
use super::values::Unit;

/// Whether a name ends in the number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    Never,
    Always,
    /// Without a number it is the default of all nodes.
    Perhaps,
}

/// What is done with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A switch of the router with the same name.
    Switch,
    /// Text for the router.
    Text,
    /// One of these words for the router.
    Word(&'static [&'static str]),
    /// A whole number for the router, in this unit.
    Number(Unit),
    /// A duration here: key, unit if none is written, and what 0 becomes.
    Duration(&'static str, Unit, &'static str),
    /// Worked out together with others, in `backends.rs`, `probe.rs` or `listen.rs`: the settings it goes to.
    Special(Verdict, &'static str),
    /// Nothing is lost without it.
    NotNeeded,
    /// Not possible here; these values ask for nothing.
    Missing(&'static [&'static str]),
    /// As [`Rule::Missing`], and a warning.
    Danger(&'static [&'static str]),
    /// Belongs to this switch, and means nothing while that is off.
    Part(&'static str),
}

/// One parameter of Pgpool-II.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) numbered: Numbered,
    /// Names in older versions.
    pub(crate) old: &'static [&'static str],
    pub(crate) rule: Rule,
    /// The difference, the reason, or what to do instead.
    pub(crate) note: &'static str,
}

impl Key {
    /// The verdict if the parameter asks for something.
    pub(crate) const fn verdict(&self) -> Verdict {
        match self.rule {
            Switch | Text | Word(_) | Number(_) | Duration(..) => CarriedOver,
            Special(verdict, _) => verdict,
            NotNeeded => Verdict::NotNeeded,
            Missing(_) | Danger(_) | Part(_) => Verdict::NotThere,
        }
    }
}

/// The parameter of this name, and the number of the node it is for.
pub(crate) fn known(name: &str) -> Option<(&'static Key, Option<u32>)> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (stem, number) = name.split_at_checked(name.len() - digits)?;
    let number: Option<u32> = number.parse().ok().filter(|number| *number <= NODE_MAX);
    let is_it = |key: &&Key| {
        let names = |text: &str| {
            std::iter::once(&key.name)
                .chain(key.old)
                .any(|known| known.eq_ignore_ascii_case(text))
        };
        match key.numbered {
            Never => names(name),
            Always => number.is_some() && names(stem),
            Perhaps => (digits == 0 || number.is_some()) && names(stem),
        }
    };
    let key = KEYS.iter().find(is_it)?;
    Some((key, number.filter(|_| key.numbered != Never)))
}

/// Pgpool-II's `MAX_NUM_BACKENDS` less one.
const NODE_MAX: u32 = 127;

const fn key(name: &'static str, rule: Rule, note: &'static str) -> Key {
    Key {
        name,
        numbered: Never,
        old: &[],
        rule,
        note,
    }
}

const fn each(name: &'static str, numbered: Numbered, rule: Rule, note: &'static str) -> Key {
    Key {
        name,
        numbered,
        old: &[],
        rule,
        note,
    }
}

const fn was(old: &'static [&'static str], key: Key) -> Key {
    Key { old, ..key }
}

const OFF: &[&str] = &["off"];
const EMPTY: &[&str] = &[""];
const WRITES: &[&str] = &[
    "off",
    "transaction",
    "trans_transaction",
    "always",
    "dml_adaptive",
    "dml_adaptive_global",
];
const TEMP_TABLES: &[&str] = &["catalog", "trace", "none"];

const NO_PROCESSES: &str = "threads serve clients, one per core; there are no child processes";
const NO_PCP_SOCKET: &str =
    "the pcp_* tools have no Unix socket here: give them `-h 127.0.0.1`, or use `pgsteer node`";
const LOG: &str = "what is logged is chosen by PGSTEER_LOG, how it looks by --log-format";
const LOG_FILE: &str = "log lines go to standard error; let the service manager keep them";
const CACHE: &str = "there is no query cache";
const CATALOG: &str = "facts from catalogs are kept up to date by themselves";
const FRESHNESS: &str = "how fresh a node is, is known per table; there is nothing to size";
const CIPHERS: &str = "rustls has no weak ciphers or curves to choose among; `tls.min_protocol` says from which version on";
const WATCHDOG: &str = "there is no watchdog; run two proxies behind a virtual IP or a load balancer, they share nothing";
const NODES_JUDGED: &str = "has the node probed at once; probes alone take nodes out";
const COMMAND: &str = "placeholders as in Pgpool-II; nothing waits for it, and `failover.promote` becomes false, since something else promotes";
const RECOVERY: &str = "there is no online recovery; rebuild a node with pg_basebackup, it is used as soon as it answers";
const REPLICATION: &str = "statements are never replicated; streaming replication does that";
const PROBE_EACH: &str =
    "with a number for that node alone; for all, sr_check_ comes before health_check_";

use Numbered::{Always, Never, Perhaps};
use Rule::{Danger, Duration, Missing, NotNeeded, Number, Part, Special, Switch, Text, Word};
use Verdict::{CarriedOver, OtherMeaning};

/// Every parameter, in the order of Pgpool-II's sample.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("backend_clustering_mode", Special(OtherMeaning, "–"), "only streaming replication is served, and needs no word"),
    key("master_slave_mode", NotNeeded, "a primary with replicas is what is served"),
    key("master_slave_sub_mode", Special(OtherMeaning, "–"), "only streaming replication (`stream`) is served, and needs no word"),
    key("replication_mode", Danger(OFF), "statements are not replicated to all nodes; do not switch before streaming replication is set up"),
    key("parallel_mode", Danger(OFF), "there are no parallel queries"),
    key("listen_addresses", Special(CarriedOver, "`listen.address`"), "`localhost` becomes 127.0.0.1, `*` all IPv4 addresses; other names have to be replaced by addresses"),
    key("allow_inet_domain_socket", NotNeeded, "give listen_addresses instead: `*` for on"),
    key("port", Special(CarriedOver, "`listen.address`"), "the port of every address"),
    was(&["socket_dir"], key("unix_socket_directories", Special(CarriedOver, "`listen.unix_socket_dir`"), "the first of several; without the parameter there is no Unix socket")),
    key("backend_socket_dir", NotNeeded, "a node whose host is a directory is connected to through the Unix socket in it"),
    key("unix_socket_group", Missing(EMPTY), "give the directory to the group"),
    key("unix_socket_permissions", Special(CarriedOver, "`listen.unix_socket_mode`"), ""),
    key("pcp_listen_addresses", Special(CarriedOver, "`pcp.listen`"), "as listen_addresses; the port is opened if there is a user, give pcp.conf to the import as well"),
    key("pcp_port", Special(CarriedOver, "`pcp.listen`"), "the port of every address"),
    key("pcp_socket_dir", Missing(EMPTY), NO_PCP_SOCKET),
    key("pcp_timeout", NotNeeded, "a connection that asks for nothing is closed after a minute"),
    key("listen_backlog_multiplier", NotNeeded, "clients are accepted at once; the queue in the kernel holds 1024"),
    key("serialize_accept", NotNeeded, "one thread accepts clients"),
    key("reserved_connections", Special(OtherMeaning, "`listen.clients_max`"), "is subtracted from num_init_children; a client too many is always refused with 53300"),

    each("backend_hostname", Always, Special(CarriedOver, "`nodes[].host`"), "which node is the primary is found out by asking"),
    each("backend_port", Always, Special(CarriedOver, "`nodes[].port`"), ""),
    each("backend_weight", Always, Special(CarriedOver, "`nodes[].weight`"), "0 if it is not given, as in Pgpool-II"),
    each("backend_data_directory", Always, Special(CarriedOver, "`nodes[].data_dir`"), "for commands, which are told it as %D"),
    each("backend_flag", Always, Special(CarriedOver, "`nodes[].flag`"), "of several the strictest; DISALLOW_TO_FAILOVER is part of ALWAYS_PRIMARY"),
    each("backend_application_name", Always, NotNeeded, "replicas are found in pg_stat_replication by their slot, name or address"),

    key("enable_pool_hba", Special(CarriedOver, "`[[hba]]`"), "give `pool_hba.conf` to the import as well: its rules become `[[hba]]`"),
    key("pool_passwd", Special(OtherMeaning, "`[[users]]`"), "give the file to the import as well: its passwords and hashes become users, but for those encrypted with AES"),
    key("authentication_timeout", Duration("listen.login_timeout", Unit::Seconds, "10m"), ""),
    key("allow_clear_text_frontend_auth", Missing(OFF), "passwords are in `[[users]]`; `auth.method = \"password\"` asks clients for clear text"),

    key("ssl", Special(OtherMeaning, "`tls.mode`"), "`prefer` for on, if ssl_cert and ssl_key are given; nodes that can are talked to with TLS in any case (`server_tls.mode`)"),
    key("ssl_key", Special(CarriedOver, "`tls.key_file`"), ""),
    key("ssl_cert", Special(CarriedOver, "`tls.cert_file`"), ""),
    key("ssl_ca_cert", Special(CarriedOver, "`tls.ca_file`, `server_tls.ca_file`"), "certificates of clients and of nodes are checked"),
    key("ssl_ca_cert_dir", Part("ssl"), "put the certificates into one file, for `tls.ca_file` and `server_tls.ca_file`"),
    key("ssl_crl_file", Part("ssl"), "there are no lists of revoked certificates"),
    key("ssl_ciphers", Part("ssl"), CIPHERS),
    key("ssl_prefer_server_ciphers", Part("ssl"), CIPHERS),
    key("ssl_ecdh_curve", Part("ssl"), CIPHERS),
    key("ssl_dh_params_file", Part("ssl"), CIPHERS),
    key("ssl_passphrase_command", Part("ssl"), "the key must be stored without a passphrase"),

    key("process_management_mode", NotNeeded, NO_PROCESSES),
    key("process_management_strategy", NotNeeded, NO_PROCESSES),
    key("min_spare_children", NotNeeded, NO_PROCESSES),
    key("max_spare_children", NotNeeded, NO_PROCESSES),
    key("num_init_children", Special(OtherMeaning, "`listen.clients_max`"), "a limit on clients, no processes; a client costs little, so more are fine"),
    key("max_pool", Special(OtherMeaning, "`pool.connections_per_node_max`"), "times num_init_children: server connections of the whole proxy to a node; not used if num_init_children is not given"),
    key("child_life_time", NotNeeded, NO_PROCESSES),
    key("child_max_connections", NotNeeded, NO_PROCESSES),
    key("connection_life_time", Duration("pool.idle_timeout", Unit::Seconds, "30d"), "0 (never) becomes the longest time there is"),
    key("client_idle_limit", Duration("timeouts.client_idle", Unit::Seconds, "0s"), "of clients outside a transaction; for those inside there is `timeouts.idle_in_transaction`"),
    key("connection_cache", Missing(&["on"]), "server connections are always kept for reuse; `pool.idle_timeout` says for how long"),
    key("reset_query_list", Special(OtherMeaning, "`pool.reset_query`"), "one query; ABORT is not needed, a connection inside a transaction is not kept"),

    key("log_destination", NotNeeded, LOG_FILE),
    key("log_line_prefix", NotNeeded, LOG),
    key("log_connections", NotNeeded, LOG),
    key("log_disconnections", NotNeeded, LOG),
    key("log_pcp_processes", NotNeeded, LOG),
    key("log_hostname", NotNeeded, LOG),
    key("log_statement", NotNeeded, LOG),
    key("log_per_node_statement", NotNeeded, LOG),
    key("notice_per_node_statement", Missing(OFF), "not for all clients; a session asks for it with PGPOOL SET notice_per_node_statement = on"),
    key("log_client_messages", NotNeeded, LOG),
    key("log_backend_messages", NotNeeded, LOG),
    key("log_standby_delay", NotNeeded, "SHOW pool_nodes shows the delay"),
    key("syslog_facility", NotNeeded, LOG_FILE),
    key("syslog_ident", NotNeeded, LOG_FILE),
    key("log_error_verbosity", NotNeeded, LOG),
    key("client_min_messages", NotNeeded, "clients see the messages of their server as they are"),
    key("log_min_messages", NotNeeded, LOG),
    key("debug_level", NotNeeded, LOG),
    key("print_timestamp", NotNeeded, LOG),
    key("print_user", NotNeeded, LOG),
    key("logging_collector", NotNeeded, LOG_FILE),
    key("log_directory", NotNeeded, LOG_FILE),
    key("log_filename", NotNeeded, LOG_FILE),
    key("log_file_mode", NotNeeded, LOG_FILE),
    key("log_truncate_on_rotation", NotNeeded, LOG_FILE),
    key("log_rotation_age", NotNeeded, LOG_FILE),
    key("log_rotation_size", NotNeeded, LOG_FILE),
    key("pid_file_name", NotNeeded, "the process stays in the foreground; let the service manager keep its number"),
    was(&["logdir"], key("work_dir", NotNeeded, "the state of the nodes is not stored, it is found out at every start")),

    key("replicate_select", Missing(OFF), REPLICATION),
    key("insert_lock", NotNeeded, REPLICATION),
    key("lobj_lock_table", NotNeeded, REPLICATION),
    was(&["replication_strict"], key("replication_stop_on_mismatch", NotNeeded, REPLICATION)),
    key("failover_if_affected_tuples_mismatch", NotNeeded, REPLICATION),
    key("replication_timeout", NotNeeded, REPLICATION),

    key("load_balance_mode", Switch, ""),
    key("ignore_leading_white_space", Switch, ""),
    was(&["white_function_list"], key("read_only_function_list", Text, "")),
    was(&["black_function_list"], key("write_function_list", Text, "the check for volatile functions stays on beside it (D7)")),
    was(&["black_query_pattern_list"], key("primary_routing_query_pattern_list", Text, "")),
    key("user_redirect_preference_list", Text, "numbers in it are positions of `[[nodes]]`, from 0"),
    key("database_redirect_preference_list", Text, "numbers in it are positions of `[[nodes]]`, from 0"),
    key("app_name_redirect_preference_list", Text, "numbers in it are positions of `[[nodes]]`, from 0"),
    key("allow_sql_comments", Switch, ""),
    key("disable_load_balance_on_write", Word(WRITES), ""),
    key("dml_adaptive_object_relationship_list", Text, ""),
    key("statement_level_load_balance", Switch, ""),
    key("track_table_mutation_ttl_factor", NotNeeded, FRESHNESS),
    key("track_table_mutation_max_staleness", NotNeeded, FRESHNESS),
    key("track_table_mutation_cold_start_duration", NotNeeded, FRESHNESS),
    key("track_table_mutation_table_buckets", NotNeeded, FRESHNESS),
    key("track_table_mutation_table_size", NotNeeded, FRESHNESS),

    key("sr_check_period", Special(CarriedOver, "`probe.interval`"), "the shorter of it and health_check_period; 0 cannot switch probes off"),
    key("sr_check_user", Special(CarriedOver, "`probe.user`"), ""),
    key("sr_check_password", Special(CarriedOver, "`probe.password`"), "if it is empty: that of the user of the same name"),
    key("sr_check_database", Special(CarriedOver, "`probe.database`"), ""),
    key("delay_threshold", Number(Unit::Bytes), "bytes"),
    key("delay_threshold_by_time", Number(Unit::Milliseconds), "milliseconds; in Pgpool-II 4.4 a number without a unit counted seconds, so multiply it by 1000 if it is from there"),
    key("prefer_lower_delay_standby", Switch, ""),
    key("replication_delay_source_cmd", Missing(EMPTY), "no commands are run; the delay comes from the nodes themselves"),
    key("replication_delay_source_timeout", Part("replication_delay_source_cmd"), "no commands are run; the delay comes from the nodes themselves"),

    each("health_check_period", Perhaps, Special(OtherMeaning, "`probe.interval`"), "the shorter of it and sr_check_period, with a number for that node alone; 0 cannot switch probes off"),
    each("health_check_timeout", Perhaps, Special(CarriedOver, "`probe.timeout`"), "with a number for that node alone"),
    each("health_check_user", Perhaps, Special(OtherMeaning, "`probe.user`"), PROBE_EACH),
    each("health_check_password", Perhaps, Special(OtherMeaning, "`probe.password`"), PROBE_EACH),
    each("health_check_database", Perhaps, Special(OtherMeaning, "`probe.database`"), PROBE_EACH),
    each("health_check_max_retries", Perhaps, Special(OtherMeaning, "`probe.failures_max`"), "failures in a row, the first included: one more than retries"),
    each("health_check_retry_delay", Perhaps, Special(CarriedOver, "`probe.retry_delay`"), "with a number for that node alone"),
    each("connect_timeout", Perhaps, Special(CarriedOver, "`pool.connect_timeout`"), "one for all nodes"),
    key("health_check_test", NotNeeded, "it is for tests of Pgpool-II itself"),

    key("failover_command", Special(CarriedOver, "`failover.failover_command`"), COMMAND),
    key("failback_command", Special(CarriedOver, "`failover.failback_command`"), COMMAND),
    was(&["follow_master_command"], key("follow_primary_command", Special(CarriedOver, "`failover.follow_primary_command`"), "a node that SQL made follow the new primary (`failover.repoint`) needs none and gets none")),
    was(&["fail_over_on_backend_error"], key("failover_on_backend_error", Special(OtherMeaning, "`failover.on_backend_error`"), NODES_JUDGED)),
    key("failover_on_backend_shutdown", Special(OtherMeaning, "`failover.on_backend_shutdown`"), NODES_JUDGED),
    key("detach_false_primary", Special(CarriedOver, "`failover_rules.detach_false_primary`"), "with two primaries no write goes anywhere in any case until one is left"),
    key("search_primary_node_timeout", Special(OtherMeaning, "`failover.promote_timeout`"), "a primary is looked for all the time; this limits a promotion. 0 becomes a day; writes wait up to `failover.hold_timeout`"),
    key("auto_failback", Special(CarriedOver, "`failover_rules.auto_failback`"), ""),
    key("auto_failback_interval", Special(CarriedOver, "`failover_rules.auto_failback_interval`"), "in seconds"),

    key("recovery_user", Missing(EMPTY), RECOVERY),
    key("recovery_password", Missing(EMPTY), RECOVERY),
    key("recovery_database", Missing(EMPTY), RECOVERY),
    key("recovery_1st_stage_command", Missing(EMPTY), RECOVERY),
    key("recovery_2nd_stage_command", Missing(EMPTY), RECOVERY),
    key("recovery_timeout", NotNeeded, RECOVERY),
    key("client_idle_limit_in_recovery", NotNeeded, RECOVERY),

    key("use_watchdog", Danger(OFF), WATCHDOG),
    key("trusted_servers", Part("use_watchdog"), WATCHDOG),
    key("trusted_server_command", Part("use_watchdog"), WATCHDOG),
    key("ping_path", Part("use_watchdog"), WATCHDOG),
    was(&["wd_hostname", "pgpool2_hostname", "other_pgpool_hostname"], each("hostname", Perhaps, Part("use_watchdog"), WATCHDOG)),
    was(&["other_wd_port"], each("wd_port", Perhaps, Part("use_watchdog"), WATCHDOG)),
    was(&["other_pgpool_port"], each("pgpool_port", Always, Part("use_watchdog"), WATCHDOG)),
    key("wd_priority", Part("use_watchdog"), WATCHDOG),
    key("wd_authkey", Part("use_watchdog"), WATCHDOG),
    key("wd_ipc_socket_dir", Part("use_watchdog"), WATCHDOG),
    key("delegate_ip", Part("use_watchdog"), "there is no virtual IP here; let keepalived or the like hold it"),
    was(&["ifconfig_path"], key("if_cmd_path", Part("use_watchdog"), WATCHDOG)),
    key("if_up_cmd", Part("use_watchdog"), WATCHDOG),
    key("if_down_cmd", Part("use_watchdog"), WATCHDOG),
    key("arping_path", Part("use_watchdog"), WATCHDOG),
    key("arping_cmd", Part("use_watchdog"), WATCHDOG),
    key("clear_memqcache_on_escalation", Part("use_watchdog"), WATCHDOG),
    key("wd_escalation_command", Part("use_watchdog"), WATCHDOG),
    key("wd_de_escalation_command", Part("use_watchdog"), WATCHDOG),
    key("failover_when_quorum_exists", Part("use_watchdog"), WATCHDOG),
    key("failover_require_consensus", Part("use_watchdog"), WATCHDOG),
    key("allow_multiple_failover_requests_from_node", Part("use_watchdog"), WATCHDOG),
    key("enable_consensus_with_half_votes", Part("use_watchdog"), WATCHDOG),
    key("wd_remove_shutdown_nodes", Part("use_watchdog"), WATCHDOG),
    key("wd_lost_node_removal_timeout", Part("use_watchdog"), WATCHDOG),
    key("wd_no_show_node_removal_timeout", Part("use_watchdog"), WATCHDOG),
    key("wd_monitoring_interfaces_list", Part("use_watchdog"), WATCHDOG),
    key("wd_lifecheck_method", Part("use_watchdog"), WATCHDOG),
    key("wd_interval", Part("use_watchdog"), WATCHDOG),
    was(&["heartbeat_destination"], each("heartbeat_hostname", Always, Part("use_watchdog"), WATCHDOG)),
    was(&["wd_heartbeat_port", "heartbeat_destination_port"], each("heartbeat_port", Perhaps, Part("use_watchdog"), WATCHDOG)),
    each("heartbeat_device", Always, Part("use_watchdog"), WATCHDOG),
    key("wd_heartbeat_keepalive", Part("use_watchdog"), WATCHDOG),
    key("wd_heartbeat_deadtime", Part("use_watchdog"), WATCHDOG),
    key("wd_life_point", Part("use_watchdog"), WATCHDOG),
    key("wd_lifecheck_query", Part("use_watchdog"), WATCHDOG),
    key("wd_lifecheck_dbname", Part("use_watchdog"), WATCHDOG),
    key("wd_lifecheck_user", Part("use_watchdog"), WATCHDOG),
    key("wd_lifecheck_password", Part("use_watchdog"), WATCHDOG),

    key("relcache_expire", NotNeeded, CATALOG),
    key("relcache_size", NotNeeded, CATALOG),
    key("check_temp_table", Word(TEMP_TABLES), "`on` becomes catalog, `off` becomes none"),
    key("check_unlogged_table", Switch, ""),
    key("enable_shared_relcache", NotNeeded, CATALOG),
    key("relcache_query_target", NotNeeded, CATALOG),

    was(&["enable_query_cache"], key("memory_cache_enabled", Missing(OFF), "there is no query cache; statements that lived on it run on the nodes, so measure first")),
    key("memqcache_method", Part("memory_cache_enabled"), CACHE),
    key("memqcache_memcached_host", Part("memory_cache_enabled"), CACHE),
    key("memqcache_memcached_port", Part("memory_cache_enabled"), CACHE),
    key("memqcache_total_size", Part("memory_cache_enabled"), CACHE),
    key("memqcache_max_num_cache", Part("memory_cache_enabled"), CACHE),
    key("memqcache_expire", Part("memory_cache_enabled"), CACHE),
    key("memqcache_auto_cache_invalidation", Part("memory_cache_enabled"), CACHE),
    key("memqcache_maxcache", Part("memory_cache_enabled"), CACHE),
    key("memqcache_cache_block_size", Part("memory_cache_enabled"), CACHE),
    key("memqcache_oiddir", Part("memory_cache_enabled"), CACHE),
    was(&["white_memqcache_table_list"], key("cache_safe_memqcache_table_list", Part("memory_cache_enabled"), CACHE)),
    was(&["black_memqcache_table_list"], key("cache_unsafe_memqcache_table_list", Part("memory_cache_enabled"), CACHE)),

    key("system_db_hostname", Part("parallel_mode"), "there are no parallel queries"),
    key("system_db_port", Part("parallel_mode"), "there are no parallel queries"),
    key("system_db_dbname", Part("parallel_mode"), "there are no parallel queries"),
    key("system_db_schema", Part("parallel_mode"), "there are no parallel queries"),
    key("system_db_user", Part("parallel_mode"), "there are no parallel queries"),
    key("system_db_password", Part("parallel_mode"), "there are no parallel queries"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_age_case_and_number() {
        let cases = [
            ("port", Some(("port", None))),
            ("delegate_IP", Some(("delegate_ip", None))),
            ("socket_dir", Some(("unix_socket_directories", None))),
            ("black_function_list", Some(("write_function_list", None))),
            ("backend_hostname12", Some(("backend_hostname", Some(12)))),
            ("backend_hostname", None),
            ("backend_hostname128", None),
            ("health_check_period", Some(("health_check_period", None))),
            (
                "health_check_period1",
                Some(("health_check_period", Some(1))),
            ),
            ("other_pgpool_port0", Some(("pgpool_port", Some(0)))),
            ("port1", None),
            ("", None),
        ];
        for (name, expected) in cases {
            let found = known(name).map(|(key, number)| (key.name, number));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice_and_parts_belong_to_something() {
        let mut seen = std::collections::HashSet::new();
        for key in KEYS {
            for name in std::iter::once(&key.name).chain(key.old) {
                assert!(seen.insert(name.to_ascii_lowercase()), "{name}");
            }
            if let Part(whole) = key.rule {
                assert!(known(whole).is_some(), "{whole}");
            }
        }
    }
}
