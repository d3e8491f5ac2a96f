//! Whole imports: what comes out for what goes in.

use std::path::Path;

use pgsteer_core::auth::AuthMethod;
use pgsteer_core::settings::NodeFlag;
use proptest::prelude::*;

use super::keys::KEYS;
use super::*;
use crate::config::Loaded;

fn file(name: &str, text: &str) -> InputFile {
    InputFile {
        name: name.to_owned(),
        kind: FileKind::of_name(name).expect("a known name"),
        text: text.to_owned(),
    }
}

fn imported(files: &[(&str, &str)]) -> Import {
    let files: Vec<_> = files.iter().map(|(name, text)| file(name, text)).collect();
    import(&files).unwrap_or_else(|errors| panic!("{errors}"))
}

fn loaded(toml: &str) -> Loaded {
    let source = Source::File("pgsteer.toml".into());
    let read = |_: &Path| Ok(toml.to_owned());
    config::load_with(&source, &config::Changes::default(), [], &read, 1)
        .unwrap_or_else(|errors| panic!("{errors}\n{toml}"))
}

fn line<'a>(import: &'a Import, subject: &str) -> &'a Line {
    let mut lines = import.report.lines.iter();
    lines.find(|line| line.subject == subject).expect(subject)
}

const NODES: &str = "backend_hostname0 = 'pg-0'\nbackend_weight0 = 1\n";

const WHOLE: &str = "\
listen_addresses = '*'
port = 5433
num_init_children = 100
reserved_connections = 4
max_pool = 2
backend_hostname0 = 'pg-0'
backend_port0 = 5434
backend_weight0 = 0
backend_hostname1 = '/var/run/postgresql'
backend_weight1 = 2.5
enable_pool_hba = on
pool_passwd = 'pool_passwd'
connect_timeout = 10000
connection_life_time = 5min
authentication_timeout = 30
reset_query_list = 'ABORT; DISCARD ALL'
sr_check_user = 'check'
sr_check_period = 10s
health_check_period = 30
health_check_timeout = 20
health_check_max_retries = 2
load_balance_mode = on
statement_level_load_balance = off
disable_load_balance_on_write = 'DML_adaptive'
check_temp_table = on
delay_threshold = 10MB
delay_threshold_by_time = 2s
black_function_list = 'nextval,setval'
";

#[test]
fn a_whole_configuration_loads() {
    let hba = "local all all trust\nhost all all 0.0.0.0/0 md5 # all\n";
    let passwd = "check:TEXTsecret\nalice:wonder:land\n\
        bob:md5d41d8cd98f00b204e9800998ecf8427e\ncarl:AESabc=\n";
    let import = imported(&[
        ("pgpool.conf", WHOLE),
        ("pool_hba.conf", hba),
        ("pool_passwd", passwd),
    ]);
    let settings = loaded(&import.toml).settings;
    assert_eq!(
        settings.listen,
        ["0.0.0.0:5433".parse().expect("an address")]
    );
    assert_eq!(settings.clients_max, 96);
    assert_eq!(settings.pool.connections_per_node_max, 200);
    let rules = settings.auth.rules.as_ref().expect("rules");
    let methods: Vec<_> = rules.0.iter().map(|rule| rule.method).collect();
    assert_eq!(methods, [AuthMethod::Trust, AuthMethod::Md5]);
    assert_eq!(settings.nodes.len(), 2);
    assert_eq!(
        (settings.nodes[0].port, settings.nodes[0].weight),
        (5434, 0.0)
    );
    assert_eq!(
        (settings.nodes[1].port, settings.nodes[1].weight),
        (5432, 2.5)
    );
    assert_eq!(settings.pool.idle_timeout.as_secs(), 300);
    assert_eq!(settings.login_timeout.as_secs(), 30);
    assert_eq!(&*settings.pool.reset_query, "DISCARD ALL");
    assert_eq!(
        (settings.probe.user.as_str(), &*settings.probe.password),
        ("check", "secret")
    );
    assert_eq!(settings.probe.interval.as_secs(), 10);
    assert_eq!(settings.probe.timeout.as_secs(), 20);
    assert_eq!(settings.probe.failures_max, 3);
    assert_eq!(
        settings.users["alice"].password().map(|p| &**p),
        Some("wonder:land")
    );
    assert!(settings.users["bob"].password().is_none(), "a hash is none");
    assert!(!settings.users.contains_key("carl"));
    let router: serde_json::Value = serde_json::from_str(&settings.router_config).expect("JSON");
    let expected = serde_json::json!({
        "load_balance_mode": true,
        "statement_level_load_balance": false,
        "disable_load_balance_on_write": "dml_adaptive",
        "check_temp_table": "catalog",
        "delay_threshold": 10 << 20,
        "delay_threshold_by_time": 2000,
        "write_function_list": "nextval,setval",
    });
    assert_eq!(router, expected);
    assert_eq!(import.report.count(Verdict::Unknown), 0);
    assert!(!line(&import, "user bob").is_warning);
    assert!(line(&import, "user carl").is_warning);
    assert!(import.report.to_do.iter().any(|text| text.contains("carl")));
}

/// Everything about failover and the tools.
const FAILOVER: &str = "\
backend_hostname0 = 'a'
backend_weight0 = 1
backend_flag0 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'
backend_data_directory0 = '/data'
backend_hostname2 = 'b'
backend_weight2 = 1
backend_flag2 = 'DISALLOW_TO_FAILOVER'
backend_flag5 = 'DISALLOW_TO_FAILOVER'
health_check_period = 10
health_check_timeout = 20
health_check_max_retries = 3
health_check_retry_delay = 2
health_check_user2 = 'other'
health_check_password2 = 'hidden'
health_check_period2 = 5
health_check_timeout2 = 0
health_check_max_retries2 = 0
health_check_retry_delay2 = 1
failover_command = '/etc/failover.sh %d'
failback_command = ''
follow_master_command = '/etc/follow.sh'
failover_on_backend_error = off
failover_on_backend_shutdown = on
search_primary_node_timeout = 5min
auto_failback = on
auto_failback_interval = 2min
detach_false_primary = on
pcp_listen_addresses = '*'
pcp_port = 9899
";

#[test]
fn failover_and_the_tools_are_carried_over() {
    let conf = FAILOVER;
    let pcp = "admin:5EBE2294ecd0e0f08eab7690d2a6ee69\nplain:secret\n";
    let import = imported(&[("pgpool.conf", conf), ("pcp.conf", pcp)]);
    let settings = loaded(&import.toml).settings;
    let flags: Vec<_> = settings.nodes.iter().map(|node| node.flag).collect();
    assert_eq!(
        flags,
        [NodeFlag::AlwaysPrimary, NodeFlag::DisallowToFailover]
    );
    assert_eq!(&*settings.nodes[0].data_dir, "/data");
    let probe = |node: usize| {
        let probe = &settings.nodes[node].probe;
        let times = [probe.interval, probe.timeout, probe.retry_delay];
        (times.map(|time| time.as_secs()), probe.failures_max)
    };
    assert_eq!(probe(0), ([10, 20, 2], 4));
    assert_eq!(probe(1), ([5, 20, 1], 1));
    let second = &settings.nodes[1].probe;
    assert_eq!(
        (second.user.as_str(), &*second.password),
        ("other", "hidden")
    );
    let failover = &settings.failover;
    assert!(!failover.promote && !failover.on_backend_error && failover.on_backend_shutdown);
    assert_eq!(failover.failover_command, "/etc/failover.sh %d");
    assert_eq!(failover.follow_primary_command, "/etc/follow.sh");
    assert_eq!(failover.promote_timeout.as_secs(), 300);
    let rules: serde_json::Value = serde_json::from_str(&failover.rules).expect("JSON");
    let expected = serde_json::json!({
        "auto_failback": true, "auto_failback_interval": 120, "detach_false_primary": true,
    });
    assert_eq!(rules, expected);
    assert_eq!(
        settings.pcp.listen,
        ["0.0.0.0:9899".parse().expect("an address")]
    );
    assert_eq!(
        settings.pcp.users["admin"],
        "5ebe2294ecd0e0f08eab7690d2a6ee69"
    );
    assert_eq!(settings.pcp.users.len(), 1);
    assert!(line(&import, "PCP user plain").is_warning);
    assert_eq!(line(&import, "backend_flag5").verdict, Verdict::NotNeeded);
    assert!(
        import
            .report
            .notes
            .iter()
            .any(|note| note.contains("failover.promote"))
    );
    assert!(!import.report.to_string().contains("secret"));
}

#[test]
fn the_report_has_a_line_for_everything_and_no_secret() {
    let conf = "\
sr_check_password = 'hush1'
health_check_password0 = 'hush2'
recovery_password = 'hush3'
wd_authkey = 'hush4'
use_watchdog = on
failover_command = 'PGPASSWORD=hush5 x'
no_such_key = 'hush6'
port = 1
port = 2
include 'hush.conf'
";
    let passwd = "a:hush7\n";
    let pcp = "pcp:hush8\n";
    let hba = "host all all all ldap ldapbindpasswd=hush9\n";
    let import = imported(&[
        ("pgpool.conf", conf),
        ("pool_passwd", passwd),
        ("pcp.conf", pcp),
        ("pool_hba.conf", hba),
    ]);
    let text = format!("{}\n{:?}", import.report, import.report);
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(import.report.lines.len(), 13);
    assert_eq!(line(&import, "no_such_key").verdict, Verdict::Unknown);
    assert!(line(&import, "port").text.contains("pgpool.conf:9"));
    assert!(line(&import, "include").is_warning && line(&import, "use_watchdog").is_warning);
    assert!(import.toml.contains("hush1") && import.toml.contains("hush7"));
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let files = [
        file(
            "pgpool.conf",
            "port = banana\n???\nssl = on\nbackend_hostname0 = a\nbackend_weight0 = -1\n",
        ),
        file("pool_hba.conf", "host all\n"),
        file("pool_passwd", "nothing\n"),
    ];
    let errors = import(&files).expect_err("refused").0;
    let places: Vec<_> = errors
        .iter()
        .map(|error| {
            (
                error.file.as_deref().unwrap_or_default(),
                error.place.as_str(),
            )
        })
        .collect();
    for expected in [
        ("pgpool.conf", "line 1"),
        ("pgpool.conf", "line 2"),
        ("pgpool.conf", "line 5"),
        ("pool_hba.conf", "line 1"),
        ("pool_passwd", "line 1"),
    ] {
        assert!(places.contains(&expected), "{expected:?} in {places:?}");
    }
    assert!(!format!("{errors:?}").contains("banana"));
}

#[test]
fn what_protects_data_is_a_warning_when_it_is_lost() {
    let cases = [
        ("ssl = on", "ssl", true),
        ("ssl = off", "ssl", false),
        ("enable_pool_hba = on", "enable_pool_hba", true),
        ("enable_pool_hba = off", "enable_pool_hba", false),
        (
            "backend_clustering_mode = 'snapshot_isolation'",
            "backend_clustering_mode",
            true,
        ),
        (
            "reset_query_list = 'ABORT; RESET ALL'",
            "reset_query_list",
            true,
        ),
        (
            "listen_addresses = 'db.example.com'",
            "listen_addresses",
            true,
        ),
    ];
    for (text, subject, is_warning) in cases {
        let conf = format!("{NODES}{text}\n");
        let import = imported(&[("pgpool.conf", &conf)]);
        assert_eq!(line(&import, subject).is_warning, is_warning, "{text}");
        loaded(&import.toml);
    }
}

#[test]
fn sockets_certificates_and_limits_of_idle_clients_are_carried_over() {
    let conf = format!(
        "{NODES}client_idle_limit = 90\n\
         unix_socket_directories = '/run/pgpool, /tmp'\nunix_socket_permissions = 0770\n\
         ssl = on\nssl_cert = '/etc/pgpool/server.crt'\nssl_key = '/etc/pgpool/server.key'\n\
         ssl_ca_cert = '/etc/pgpool/ca.crt'\nssl_ciphers = 'HIGH'\n"
    );
    let import = imported(&[("pgpool.conf", &conf)]);
    for wanted in [
        "client_idle = \"90s\"",
        "unix_socket_dir = \"/run/pgpool\"",
        "unix_socket_mode = \"0770\"",
        "mode = \"prefer\"",
        "cert_file = \"/etc/pgpool/server.crt\"",
        "key_file = \"/etc/pgpool/server.key\"",
        "[server_tls]\nca_file = \"/etc/pgpool/ca.crt\"",
    ] {
        assert!(import.toml.contains(wanted), "{wanted} in\n{}", import.toml);
    }
    assert!(
        line(&import, "unix_socket_directories").is_warning,
        "one was left out"
    );
    for (name, verdict) in [
        ("client_idle_limit", Verdict::CarriedOver),
        ("ssl", Verdict::OtherMeaning),
        ("ssl_key", Verdict::CarriedOver),
        ("ssl_ciphers", Verdict::NotThere),
    ] {
        assert_eq!(line(&import, name).verdict, verdict, "{name}");
    }
    let conf = format!("{NODES}ssl = off\nssl_key = 'server.key'\nclient_idle_limit = 0\n");
    let import = imported(&[("pgpool.conf", &conf)]);
    assert!(!import.toml.contains("key_file"), "{}", import.toml);
    assert_eq!(line(&import, "ssl_key").verdict, Verdict::NotNeeded);
    let settings = loaded(&import.toml).settings;
    assert!(settings.timeouts.client_idle.is_zero());
}

#[test]
fn rules_are_carried_over_in_their_order_and_none_lets_more_in() {
    let hba = "host all \"my user\",\"all\" 10.0.0.0 255.0.0.0 md5\n\
        hostssl shop all samehost cert clientcert=1\n\
        host all all 10.0.0.0/8 pam pamservice=hush\n\
        host all +staff all trust\n\
        local all @names trust\n\
        host sameuser all ::1/128 reject\n";
    let conf = format!("{NODES}enable_pool_hba = on\n");
    let import = imported(&[("pgpool.conf", &conf), ("pool_hba.conf", hba)]);
    let rules = loaded(&import.toml).settings.auth.rules.expect("rules");
    let methods: Vec<_> = rules.0.iter().map(|rule| rule.method.as_str()).collect();
    let expected = [
        "md5",
        "scram-sha-256",
        "scram-sha-256",
        "reject",
        "reject",
        "reject",
        "reject",
        "reject",
    ];
    assert_eq!(methods, expected, "{}", import.toml);
    for (subject, verdict) in [
        (
            "host all my user,all 10.0.0.0 255.0.0.0 md5",
            Verdict::CarriedOver,
        ),
        ("hostssl shop all samehost cert", Verdict::OtherMeaning),
        ("host all all 10.0.0.0/8 pam", Verdict::OtherMeaning),
        ("host all +staff all trust", Verdict::NotThere),
        ("local all @names trust", Verdict::NotThere),
        ("host sameuser all ::1/128 reject", Verdict::CarriedOver),
    ] {
        let line = line(&import, subject);
        assert_eq!(line.verdict, verdict, "{subject}");
        assert_eq!(
            line.is_warning,
            verdict != Verdict::CarriedOver,
            "{subject}"
        );
    }
    assert!(!import.toml.contains("hush"), "{}", import.toml);
    // Names stay names, whatever they say.
    let users = format!("{:?}", rules.0[0].users);
    assert_eq!(users, "[Exact(\"my user\"), Exact(\"all\")]");

    let off = imported(&[("pgpool.conf", NODES), ("pool_hba.conf", hba)]);
    let auth = loaded(&off.toml).settings.auth;
    assert!(auth.rules.is_none());
    assert_eq!(auth.method, AuthMethod::ScramSha256);
}

#[test]
fn health_checks_that_are_off_make_no_probe_stricter() {
    let conf = format!(
        "{NODES}health_check_period = 0\nhealth_check_timeout = 20\nhealth_check_max_retries = 0\n"
    );
    let import = imported(&[("pgpool.conf", &conf)]);
    let probe = loaded(&import.toml).settings.probe;
    assert_eq!((probe.failures_max, probe.timeout.as_secs()), (3, 2));
    assert_eq!(
        line(&import, "health_check_max_retries").verdict,
        Verdict::NotNeeded
    );
    let conf = format!("{conf}health_check_period1 = 5\n");
    let import = imported(&[("pgpool.conf", &conf)]);
    assert_eq!(loaded(&import.toml).settings.probe.failures_max, 1);
}

#[test]
fn nothing_but_nodes_still_loads() {
    let import = imported(&[("pgpool.conf", NODES)]);
    let settings = loaded(&import.toml).settings;
    assert_eq!(
        settings.listen,
        ["127.0.0.1:9999".parse().expect("an address")]
    );
    assert!(
        import
            .report
            .to_do
            .iter()
            .any(|text| text.contains("probe.password"))
    );
    let import = imported(&[("pgpool.conf", "")]);
    assert!(
        import
            .report
            .to_do
            .iter()
            .any(|text| text.contains("there is no node"))
    );
}

/// A value each parameter takes.
fn sample(name: &str) -> &str {
    use super::keys::{Rule, known};
    let key = known(name).map(|(key, _)| key);
    match key.map(|key| key.rule) {
        Some(Rule::Word(words)) => words[0],
        Some(Rule::Text) => "x",
        // With it there would have to be certificates.
        _ if name == "ssl" => "off",
        _ if name.contains("hostname") => name,
        _ if name.contains("backend_flag") => "ALLOW_TO_FAILOVER",
        _ => "1",
    }
}

#[test]
fn every_parameter_is_answered_in_its_own_words() {
    let mut conf = String::new();
    for key in KEYS {
        let number = match key.numbered {
            keys::Numbered::Never => "",
            _ => "0",
        };
        let name = format!("{}{number}", key.name);
        conf.push_str(&format!("{name} = '{}'\n", sample(&name)));
    }
    let import = imported(&[("pgpool.conf", &conf)]);
    loaded(&import.toml);
    assert_eq!(import.report.lines.len(), KEYS.len());
    for line in &import.report.lines {
        assert_ne!(line.verdict, Verdict::Unknown, "{line}");
        assert!(!line.text.contains("no effect in this file"), "{line}");
    }
}

#[test]
fn the_sample_of_a_distribution_has_no_unknown_line() {
    let mut conf = String::new();
    for name in DEBIAN.split_whitespace() {
        conf.push_str(&format!("{name} = '{}'\n", sample(name)));
    }
    let import = imported(&[("pgpool.conf", &conf)]);
    let unknown: Vec<_> = import
        .report
        .lines
        .iter()
        .filter(|line| line.verdict == Verdict::Unknown)
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(import.report.lines.len(), DEBIAN.split_whitespace().count());
    loaded(&import.toml);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        conf in "(?s).{0,200}",
        lines in prop::collection::vec("[a-z_]{1,12}[0-9]{0,4} ?=? ?'?[ -~]{0,12}'?", 0..8),
        hba in "(local|host|hostssl)? ?[ -~]{0,40}",
        passwd in "(?s).{0,40}",
    ) {
        let files = [
            file("pgpool.conf", &conf),
            file("pgpool.conf", &lines.join("\n")),
            file("pool_hba.conf", &hba),
            file("pool_passwd", &passwd),
            file("pcp.conf", &passwd),
        ];
        let _ = import(&files);
    }

    #[test]
    fn any_value_gives_a_file_that_loads_or_a_mistake(
        values in prop::collection::vec((0..KEYS.len(), "(on|off|-?[0-9]{1,12}(ms|s|min|d|kB|GB)?|[ -&(-~]{0,9})"), 0..12),
    ) {
        let mut conf = NODES.to_owned();
        for (index, value) in values {
            // Which nodes and which certificates there are is not for chance to say.
            let name = KEYS[index].name;
            let is_there = name.starts_with("backend_")
                || matches!(name, "ssl_cert" | "ssl_key" | "ssl_ca_cert");
            if !is_there {
                conf.push_str(&format!("{name} = '{}'\n", value.replace('\\', "")));
            }
        }
        if let Ok(import) = import(&[file("pgpool.conf", &conf)]) {
            loaded(&import.toml);
        }
    }
}

/// Parameters in the sample that Debian ships with 4.3.5.
const DEBIAN: &str = "
backend_clustering_mode listen_addresses port socket_dir reserved_connections
pcp_listen_addresses pcp_port pcp_socket_dir listen_backlog_multiplier serialize_accept
backend_hostname0 backend_port0 backend_weight0 backend_data_directory0 backend_flag0
backend_application_name0 backend_hostname1 backend_port1 backend_weight1
backend_data_directory1 backend_flag1 backend_application_name1 enable_pool_hba
pool_passwd authentication_timeout allow_clear_text_frontend_auth ssl ssl_key ssl_cert
ssl_ca_cert ssl_ca_cert_dir ssl_crl_file ssl_ciphers ssl_prefer_server_ciphers
ssl_ecdh_curve ssl_dh_params_file ssl_passphrase_command num_init_children max_pool
child_life_time child_max_connections connection_life_time client_idle_limit
log_destination log_line_prefix log_connections log_disconnections log_hostname
log_statement log_per_node_statement log_client_messages log_standby_delay syslog_facility
syslog_ident log_error_verbosity client_min_messages log_min_messages logging_collector
log_directory log_filename log_file_mode log_truncate_on_rotation log_rotation_age
log_rotation_size pid_file_name logdir connection_cache reset_query_list
replicate_select insert_lock lobj_lock_table replication_stop_on_mismatch
failover_if_affected_tuples_mismatch load_balance_mode ignore_leading_white_space
read_only_function_list write_function_list primary_routing_query_pattern_list
database_redirect_preference_list app_name_redirect_preference_list
allow_sql_comments disable_load_balance_on_write dml_adaptive_object_relationship_list
statement_level_load_balance sr_check_period sr_check_user sr_check_password sr_check_database
delay_threshold prefer_lower_delay_standby follow_primary_command health_check_period
health_check_timeout health_check_user health_check_password health_check_database
health_check_max_retries health_check_retry_delay connect_timeout health_check_period0
health_check_timeout0 health_check_user0 health_check_password0 health_check_database0
health_check_max_retries0 health_check_retry_delay0 connect_timeout0 failover_command
failback_command failover_on_backend_error failover_on_backend_shutdown detach_false_primary
search_primary_node_timeout recovery_user recovery_password recovery_1st_stage_command
recovery_2nd_stage_command recovery_timeout client_idle_limit_in_recovery
auto_failback auto_failback_interval use_watchdog trusted_servers ping_path
hostname0 wd_port0 pgpool_port0 hostname1 wd_port1 pgpool_port1 hostname2 wd_port2
pgpool_port2 wd_priority wd_authkey wd_ipc_socket_dir delegate_IP if_cmd_path if_up_cmd
if_down_cmd arping_path arping_cmd clear_memqcache_on_escalation wd_escalation_command
wd_de_escalation_command failover_when_quorum_exists failover_require_consensus
allow_multiple_failover_requests_from_node enable_consensus_with_half_votes
wd_remove_shutdown_nodes wd_lost_node_removal_timeout wd_no_show_node_removal_timeout
wd_monitoring_interfaces_list wd_lifecheck_method wd_interval heartbeat_hostname0
heartbeat_port0 heartbeat_device0 heartbeat_hostname1 heartbeat_port1 heartbeat_device1
heartbeat_hostname2 heartbeat_port2 heartbeat_device2 wd_heartbeat_keepalive
wd_heartbeat_deadtime wd_life_point wd_lifecheck_query wd_lifecheck_dbname
wd_lifecheck_user wd_lifecheck_password relcache_expire relcache_size check_temp_table
check_unlogged_table enable_shared_relcache relcache_query_target memory_cache_enabled
memqcache_method memqcache_memcached_host memqcache_memcached_port memqcache_total_size
memqcache_max_num_cache memqcache_expire memqcache_auto_cache_invalidation memqcache_maxcache
memqcache_cache_block_size memqcache_oiddir cache_safe_memqcache_table_list
cache_unsafe_memqcache_table_list
";
