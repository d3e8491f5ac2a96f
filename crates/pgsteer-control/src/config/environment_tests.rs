//! Tests of the variables: what each becomes, what is said about those that become nothing.

use std::time::Duration;

use pgsteer_core::auth::AuthMethod;
use pgsteer_core::settings::NodeFlag;

use super::tests::{files, messages};
use super::*;

fn environment(variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let pairs = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_with(&Source::Environment, &Changes::default(), pairs, &files, 4)
}

/// The variables of the compose file most users come with.
const COMPOSE: &[(&str, &str)] = &[
    ("PATH", "/bin"),
    ("PGPOOL_POSTGRES_USERNAME", "postgres"),
    ("PGPOOL_POSTGRES_PASSWORD", "password"),
    (
        "PGPOOL_BACKEND_NODES",
        "0:postgres:5432,1:postgres-replica-1:5433,2:postgres-replica-2:5434",
    ),
    ("PGPOOL_ENABLE_LOAD_BALANCING", "yes"),
    ("PGPOOL_SR_CHECK_USER", "postgres"),
    ("PGPOOL_SR_CHECK_PASSWORD", "password"),
    ("PGPOOL_ADMIN_USERNAME", "postgres"),
    ("PGPOOL_ADMIN_PASSWORD", "ppassword"),
];

fn compose_and(more: &[(&'static str, &'static str)]) -> Result<Loaded, ConfigErrors> {
    let mut all = COMPOSE.to_vec();
    all.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    all.extend(more);
    environment(&all)
}

#[test]
fn the_usual_compose_file_is_accepted() {
    let Loaded {
        settings,
        warnings,
        notes,
        ..
    } = compose_and(&[]).expect("valid");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(notes.len(), 1, "about promotion: {notes:?}");
    let nodes: Vec<_> = settings
        .nodes
        .iter()
        .map(|n| format!("{}:{}", n.host, n.port))
        .collect();
    assert_eq!(
        nodes,
        [
            "postgres:5432",
            "postgres-replica-1:5433",
            "postgres-replica-2:5434"
        ]
    );
    assert_eq!(
        settings.listen,
        ["0.0.0.0:9999".parse().expect("an address")]
    );
    assert_eq!(
        settings.users["postgres"].password().map(|p| &**p),
        Some("password")
    );
    assert_eq!(
        (settings.probe.user.as_str(), &*settings.probe.password),
        ("postgres", "password")
    );
    assert_eq!(settings.operators, ["postgres"]);
    assert_eq!(
        settings.pcp.listen,
        ["0.0.0.0:9898".parse().expect("an address")]
    );
    assert_eq!(
        settings.pcp.users["postgres"],
        crate::pcp::digest("ppassword")
    );
    assert!(!settings.failover.promote);
    assert_eq!(settings.router_config, "{\"load_balance_mode\":true}");
    assert_eq!(settings.auth.method, AuthMethod::ScramSha256);
}

#[test]
fn variables_become_settings() {
    let settings = compose_and(&[
        ("PGPOOL_PORT_NUMBER", "5432"),
        ("PGPOOL_POSTGRES_CUSTOM_USERS", "app; report"),
        ("PGPOOL_POSTGRES_CUSTOM_PASSWORDS", "a,b"),
        ("PGPOOL_SR_CHECK_PERIOD", "10"),
        ("PGPOOL_HEALTH_CHECK_PERIOD", "5"),
        ("PGPOOL_HEALTH_CHECK_TIMEOUT", "7"),
        ("PGPOOL_HEALTH_CHECK_MAX_RETRIES", "4"),
        ("PGPOOL_SR_CHECK_DATABASE", "app"),
        ("PGPOOL_NUM_INIT_CHILDREN", "32"),
        ("PGPOOL_RESERVED_CONNECTIONS", "2"),
        ("PGPOOL_MAX_POOL", "4"),
        ("PGPOOL_AUTHENTICATION_METHOD", "md5"),
        ("PGPOOL_AUTHENTICATION_TIMEOUT", "30"),
        ("PGPOOL_CONNECT_TIMEOUT", "1500"),
        ("PGPOOL_CONNECTION_LIFE_TIME", "0"),
        ("PGPOOL_CLIENT_IDLE_LIMIT", "0"),
        ("PGPOOL_ENABLE_LOAD_BALANCING", "no"),
        ("PGPOOL_ENABLE_STATEMENT_LOAD_BALANCING", "on"),
        ("PGPOOL_DISABLE_LOAD_BALANCE_ON_WRITE", "always"),
        ("PGSTEER_PLUGINS_DIR", "/plugins"),
    ]);
    let Loaded {
        settings, warnings, ..
    } = settings.expect("valid");
    assert_eq!(settings.listen[0].port(), 5432);
    assert_eq!(settings.users["report"].password().map(|p| &**p), Some("b"));
    let ProbeSummary {
        interval,
        timeout,
        failures_max,
        database,
    } = summary(&settings);
    assert_eq!(
        (interval, timeout, failures_max, database),
        (5, 7, 5, "app")
    );
    assert_eq!(
        (settings.clients_max, settings.pool.connections_per_node_max),
        (30, 128)
    );
    assert_eq!(settings.auth.method, AuthMethod::Md5);
    assert_eq!(settings.login_timeout, Duration::from_secs(30));
    assert_eq!(settings.pool.connect_timeout, Duration::from_millis(1500));
    assert_eq!(settings.pool.idle_timeout, Duration::from_secs(30 * 86_400));
    assert_eq!(
        warnings,
        ["PGPOOL_CONNECTION_LIFE_TIME: 0 (off) is not possible here; 30d is used"]
    );
    assert_eq!(settings.plugins.dir, Some("/plugins".into()));
    assert_eq!(
        settings.router_config,
        "{\"disable_load_balance_on_write\":\"always\",\"load_balance_mode\":false,\
         \"statement_level_load_balance\":true}"
    );
}

struct ProbeSummary<'a> {
    interval: u64,
    timeout: u64,
    failures_max: u32,
    database: &'a str,
}

fn summary(settings: &Settings) -> ProbeSummary<'_> {
    ProbeSummary {
        interval: settings.probe.interval.as_secs(),
        timeout: settings.probe.timeout.as_secs(),
        failures_max: settings.probe.failures_max,
        database: &settings.probe.database,
    }
}

#[test]
fn variables_without_effect_are_warnings() {
    let cases = [
        (
            "PGPOOL_BACKEND_NODE",
            "0:a",
            "PGPOOL_BACKEND_NODE: is unknown and has no effect; did you mean PGPOOL_BACKEND_NODES?",
        ),
        (
            "PGPOOL_NONSENSE",
            "1",
            "PGPOOL_NONSENSE: is unknown and has no effect",
        ),
        (
            "PGPOOL_CHILD_LIFE_TIME",
            "300",
            "PGPOOL_CHILD_LIFE_TIME: has no effect: there are no child processes",
        ),
        (
            "PGPOOL_MAX_POOL",
            "4",
            "PGPOOL_MAX_POOL: has no effect: it counts per child",
        ),
        (
            "PGPOOL_RESERVED_CONNECTIONS",
            "4",
            "PGPOOL_RESERVED_CONNECTIONS: has no effect: it is subtracted",
        ),
        (
            "PGPOOL_HEALTH_CHECK_PERIOD",
            "0",
            "PGPOOL_HEALTH_CHECK_PERIOD: has no effect: 0 would",
        ),
        (
            "PGPOOL_BACKEND_NODES",
            "1:a,5:b",
            "PGPOOL_BACKEND_NODES: number 1 becomes node 0",
        ),
        (
            "PGPOOL_ADMIN_USERNAME",
            "",
            "PGPOOL_ADMIN_PASSWORD: has no effect: PGPOOL_ADMIN_USERNAME is not set",
        ),
    ];
    for (name, value, expected) in cases {
        let warnings = compose_and(&[(name, value)]).expect("valid").warnings;
        assert!(
            warnings.first().is_some_and(|w| w.starts_with(expected)),
            "{name}: {warnings:?}"
        );
    }
    for (name, value) in [
        ("PGPOOL_CHILD_LIFE_TIME", "0"),
        ("PGPOOL_ENABLE_TLS", "no"),
        ("PGPOOL_ENABLE_POOL_HBA", "yes"),
        ("PGPOOL_NONSENSE", ""),
    ] {
        assert!(
            compose_and(&[(name, value)])
                .expect("valid")
                .warnings
                .is_empty(),
            "{name}"
        );
    }
}

#[test]
fn failover_is_as_the_variables_say() {
    let settings = compose_and(&[
        (
            "PGPOOL_BACKEND_NODES",
            "0:a:1:1:/data:ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER,1:b:1:1::DISALLOW_TO_FAILOVER,2:c",
        ),
        ("PGPOOL_FAILOVER_ON_BACKEND_ERROR", "off"),
        ("PGPOOL_FAILOVER_ON_BACKEND_SHUTDOWN", "on"),
        ("PGPOOL_AUTO_FAILBACK", "no"),
        ("PGPOOL_HEALTH_CHECK_RETRY_DELAY", "5"),
        ("PGSTEER_FAILOVER_PROMOTE", "yes"),
        ("PGSTEER_ADMIN_SOCKET", "/run/pgsteer/admin.sock"),
    ]);
    let Loaded {
        settings,
        warnings,
        notes,
        ..
    } = settings.expect("valid");
    assert!(
        warnings.is_empty() && notes.is_empty(),
        "{warnings:?} {notes:?}"
    );
    let flags: Vec<_> = settings.nodes.iter().map(|node| node.flag).collect();
    let expected = [
        NodeFlag::AlwaysPrimary,
        NodeFlag::DisallowToFailover,
        NodeFlag::AllowToFailover,
    ];
    assert_eq!(flags, expected);
    assert_eq!(&*settings.nodes[0].data_dir, "/data");
    let failover = &settings.failover;
    assert!(failover.promote && failover.on_backend_shutdown && !failover.on_backend_error);
    assert_eq!(failover.rules, "{\"auto_failback\":false}");
    assert_eq!(settings.nodes[2].probe.retry_delay, Duration::from_secs(5));
    let socket = settings.admin.socket.expect("one");
    assert_eq!(socket, Path::new("/run/pgsteer/admin.sock"));
    let settings = compose_and(&[("PGPOOL_ADMIN_PASSWORD", "")]).expect("valid");
    assert!(settings.settings.pcp.users.is_empty());
    assert_eq!(settings.settings.operators, ["postgres"]);
}

/// A variable beside the usual ones, and how the one complaint about it begins.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "PGPOOL_BACKEND_NODES",
        "",
        "PGPOOL_BACKEND_NODES: there is no node",
    ),
    (
        "PGPOOL_BACKEND_NODES",
        "0:a,x",
        "PGPOOL_BACKEND_NODES: \"x\" does not start with a number",
    ),
    (
        "PGPOOL_BACKEND_NODES",
        "0:a:x",
        "PGPOOL_BACKEND_NODES (node 0, port): is the text \"x\"",
    ),
    (
        "PGPOOL_BACKEND_NODES",
        "0:a:1:-2",
        "PGPOOL_BACKEND_NODES (node 0, weight): is -2",
    ),
    (
        "PGPOOL_BACKEND_NODES",
        "0:a:1:1:/d:SOMETIMES",
        "PGPOOL_BACKEND_NODES (node 0, flag): is \"SOMETIMES\"; use one of",
    ),
    (
        "PGPOOL_PORT_NUMBER",
        "0",
        "PGPOOL_PORT_NUMBER: is \"0\"; use a port",
    ),
    (
        "PGPOOL_POSTGRES_PASSWORD",
        "",
        "PGPOOL_POSTGRES_PASSWORD: is missing",
    ),
    (
        "PGPOOL_POSTGRES_CUSTOM_USERS",
        "a",
        "PGPOOL_POSTGRES_CUSTOM_PASSWORDS: holds 0 passwords for 1 users",
    ),
    (
        "PGPOOL_NUM_INIT_CHILDREN",
        "many",
        "PGPOOL_NUM_INIT_CHILDREN: is \"many\"; use a whole number",
    ),
    (
        "PGPOOL_NUM_INIT_CHILDREN",
        "0",
        "PGPOOL_NUM_INIT_CHILDREN: is 0; use 1 to",
    ),
    (
        "PGPOOL_HEALTH_CHECK_TIMEOUT",
        "soon",
        "PGPOOL_HEALTH_CHECK_TIMEOUT: is \"soon\"",
    ),
    (
        "PGPOOL_SR_CHECK_PERIOD",
        "soon",
        "PGPOOL_SR_CHECK_PERIOD: is \"soon\"; use a number of seconds",
    ),
    (
        "PGPOOL_AUTHENTICATION_METHOD",
        "pam",
        "PGPOOL_AUTHENTICATION_METHOD: is \"pam\"; use one of",
    ),
    (
        "PGPOOL_ENABLE_LOAD_BALANCING",
        "maybe",
        "PGPOOL_ENABLE_LOAD_BALANCING: is \"maybe\"; use yes or no",
    ),
    (
        "PGPOOL_DISABLE_LOAD_BALANCE_ON_WRITE",
        "never",
        "PGPOOL_DISABLE_LOAD_BALANCE_ON_WRITE: is \"never\"; use one of",
    ),
    (
        "PGPOOL_ENABLE_TLS",
        "maybe",
        "PGPOOL_ENABLE_TLS: is \"maybe\"; use yes or no",
    ),
    (
        "PGPOOL_ENABLE_TLS",
        "yes",
        "tls.cert_file: is missing; name the certificate that clients are shown",
    ),
    (
        "PGPOOL_USER_HBA_FILE",
        "/x",
        "PGPOOL_USER_HBA_FILE: /x cannot be read",
    ),
    (
        "PGPOOL_POSTGRES_PASSWORD_FILE",
        "/run/secret",
        "PGPOOL_POSTGRES_PASSWORD_FILE: is set together with PGPOOL_POSTGRES_PASSWORD",
    ),
];

#[test]
fn mistakes_in_variables_name_the_variable() {
    for &(name, value, expected) in MISTAKES {
        let found = messages(compose_and(&[(name, value)]));
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{name}={value}: {found:#?}"
        );
    }
    let nothing = messages(environment(&[]));
    assert_eq!(
        nothing.len(),
        2,
        "password and nodes, each once: {nothing:#?}"
    );
}

#[test]
fn secrets_come_from_files() {
    let file = ("PGPOOL_POSTGRES_PASSWORD_FILE", "/run/secret");
    let nodes = ("PGPOOL_BACKEND_NODES", "0:a");
    let settings = environment(&[file, nodes]).expect("valid").settings;
    assert_eq!(
        settings.users["postgres"].password().map(|p| &**p),
        Some("hidden")
    );
    assert_eq!(
        &*settings.probe.password, "hidden",
        "the probe uses the same role"
    );
    let found = messages(environment(&[
        ("PGPOOL_POSTGRES_PASSWORD_FILE", "/gone"),
        nodes,
    ]));
    assert!(found[0].starts_with("PGPOOL_POSTGRES_PASSWORD_FILE: /gone cannot be read"));
}
