//! Tests of the configuration: every mistake has its message, the sample holds the defaults, the
//! table of settings is what the file format accepts, the variables mean what they should.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use pgsteer_core::auth::AuthMethod;
use pgsteer_core::settings::OnFailure;
use serde::de::DeserializeOwned;

use super::*;

/// Enough for a start.
const MINIMAL: &str = "[[nodes]]\nhost = \"a\"\n[[users]]\nname = \"postgres\"\npassword = \"p\"\n";

pub(super) fn files(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/etc/pgsteer/secret" | "/run/secret") => Ok("hidden\n".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    let read = |path: &Path| {
        if path.ends_with("pgsteer.toml") {
            Ok(text.to_owned())
        } else {
            files(path)
        }
    };
    load_with(
        &Source::File("/etc/pgsteer/pgsteer.toml".into()),
        &Changes::default(),
        [],
        &read,
        4,
    )
}

pub(super) fn messages(result: Result<Loaded, ConfigErrors>) -> Vec<String> {
    let errors = result.expect_err("mistakes").0;
    errors.iter().map(ToString::to_string).collect()
}

/// What is added to the minimal file, and how the one complaint about it begins.
const MISTAKES: &[(&str, &str)] = &[
    (
        "[listen]\naddress = \"x\"",
        "listen.address: is \"x\"; write an IP address and a port",
    ),
    (
        "[listen]\naddress = []",
        "listen.address: is an empty list; name at least one",
    ),
    (
        "[listen]\naddress = [1]",
        "listen.address[0]: is the bare number 1; write text in quotes",
    ),
    (
        "[listen]\naddress = [\"[::]:1\", \"[::]:1\"]",
        "listen.address: names [::]:1 twice; remove one",
    ),
    (
        "[listen]\nworkers = \"four\"",
        "listen.workers: is the text \"four\"; write a whole number",
    ),
    (
        "[listen]\nworkers = -1",
        "listen.workers: is -1; use 0 to 1024",
    ),
    (
        "[listen]\nclients_max = 0",
        "listen.clients_max: is 0; use 1 to 1000000",
    ),
    (
        "[listen]\nlogin_timeout = 30",
        "listen.login_timeout: is the bare number 30; write a whole number with a unit",
    ),
    (
        "[listen]\nlogin_timeout = \"30\"",
        "listen.login_timeout: is \"30\"; write a whole number with a unit",
    ),
    (
        "[listen]\nlogin_timeout = \"2h\"",
        "listen.login_timeout: is \"2h\"; use 1ms to 10m",
    ),
    (
        "[tls]\nmode = \"on\"",
        "tls.mode: is \"on\"; use one of: disable, allow, prefer",
    ),
    (
        "[tls]\nmode = \"prefer\"",
        "tls.cert_file: is missing; name the certificate that clients are shown",
    ),
    (
        "[tls]\nmode = \"prefer\"\ncert_file = \"x\"",
        "tls.cert_file: /etc/pgsteer/x cannot be read",
    ),
    (
        "[tls]\nmode = \"prefer\"\ncert_file = \"secret\"\nkey_file = \"secret\"",
        "tls.cert_file: /etc/pgsteer/secret: holds no PEM certificate",
    ),
    (
        "[server_tls]\nmode = \"verify-full\"",
        "server_tls.ca_file: is missing; name the certificates that those of servers",
    ),
    (
        "[server_tls]\nkey_file = \"secret\"",
        "server_tls.cert_file: is missing while `key_file` is given",
    ),
    (
        "[server_tls]\nnegotiation = \"direct\"",
        "server_tls.negotiation: is direct, which needs TLS in any case",
    ),
    (
        "[auth]\nmethod = \"ldap\"",
        "auth.method: is \"ldap\"; use one of: scram-sha-256, md5",
    ),
    (
        "[pool]\nreset_query = \"\"",
        "pool.reset_query: is empty; write a value",
    ),
    (
        "[pool]\nwaiters_max = 1.5",
        "pool.waiters_max: is the bare number 1.5; write a whole",
    ),
    ("[pool]\nsum = 3", "pool.sum: is not a setting; remove it"),
    (
        "[pool]\nsize = 3\nmin_size = 4",
        "pool.min_size: is 4, and pool.size is 3; use at most as much",
    ),
    (
        "[[pools]]\ndatabase = \"a\"\nuser = \"u\"\nconnections_max = 4",
        "pools[0].connections_max: is for a database or a user, and the rule is for both",
    ),
    (
        "[pool]\nidle_timeot = \"1s\"",
        "pool.idle_timeot: is not a setting; did you mean `pool.idle_timeout`?",
    ),
    (
        "[listen]\nmax_client_conn = 3",
        "listen.max_client_conn: is not a setting; did you mean `listen.clients_max`?",
    ),
    ("[extra]", "extra: is not a setting"),
    (
        "[probe]\nfailures_max = 0",
        "probe.failures_max: is 0; use 1 to 1000",
    ),
    (
        "[probe]\npassword = 5",
        "probe.password: is not text; write text in quotes",
    ),
    (
        "[probe]\nuser = \"other\"",
        "probe.password: is missing, and there is no user other whose password could be used",
    ),
    (
        "[probe]\npassword = \"x\"\npassword_file = \"y\"",
        "probe.password_file: is given together with `password`; keep one of them",
    ),
    (
        "[probe]\npassword_file = \"nowhere\"",
        "probe.password_file: /etc/pgsteer/nowhere cannot be read: no such file; name a file",
    ),
    (
        "[catalog]\nrefresh_interval = \"1ms\"",
        "catalog.refresh_interval: is \"1ms\"; use 100ms to 1d",
    ),
    (
        "[plugins]\nmemory_max = \"1MB\"",
        "plugins.memory_max: is \"1MB\"; write a whole number with a unit: B, KiB",
    ),
    (
        "[plugins]\nfile_max = \"1B\"",
        "plugins.file_max: is \"1B\"; use 1KiB to 256MiB",
    ),
    (
        "[plugins]\nshadow = 5",
        "plugins.shadow: is the bare number 5; write a number of per cent from 0% to 100%",
    ),
    (
        "[plugins]\nrefusals_max = \"101%\"",
        "plugins.refusals_max: is \"101%\"; write a number of per cent",
    ),
    (
        "[plugins]\ngrants = [\"everything\"]",
        "plugins.grants: holds \"everything\"; use some of: log, metrics",
    ),
    (
        "[plugins]\ngrants = \"log\"",
        "plugins.grants: is the text \"log\"; write a list of texts",
    ),
    (
        "[plugins]\nallow = [\"12ab\"]",
        "plugins.allow: holds \"12ab\"; write the 64 digits",
    ),
    (
        "[plugins]\nsettle = \"1m\"",
        "plugins.settle: is \"1m\"; use 1ms to 10s",
    ),
    (
        "[console]\noperators = [1]",
        "console.operators[0]: is the bare number 1; write text in quotes",
    ),
    (
        "[plugins]\non_failure = true",
        "plugins.on_failure: is true; write text in quotes",
    ),
    (
        "[router]\nx = inf",
        "router: holds the number inf; write a finite number",
    ),
    ("[[nodes]]", "nodes[1].host: is missing; add it"),
    (
        "[[nodes]]\nhost = \"a b\"",
        "nodes[1].host: is \"a b\"; write a host without spaces",
    ),
    (
        "[[nodes]]\nhost = \"a\"",
        "nodes[1].host: a:5432 is nodes[0] already; name each node once",
    ),
    (
        "[[nodes]]\nhost = \"b\"\nweight = -1",
        "nodes[1].weight: is -1; use a number that is not negative",
    ),
    (
        "[[nodes]]\nhost = \"b\"\nweight = nan",
        "nodes[1].weight: is NaN; use a number",
    ),
    (
        "[[nodes]]\nhost = \"b\"\nweight = \"1\"",
        "nodes[1].weight: is the text \"1\"; write a number",
    ),
    (
        "[[nodes]]\nhost = \"b\"\nport = 70000",
        "nodes[1].port: is 70000; use 1 to 65535",
    ),
    (
        "[[users]]\npassword = \"p\"",
        "users[1].name: is missing; add it",
    ),
    (
        "[[users]]\nname = \"u\"",
        "users[1].password: is missing; give it, the file it is in, or its `verifier`",
    ),
    (
        "[[users]]\nname = \"u\"\nverifier = \"secret\"",
        "users[1].verifier: is no verifier; copy pg_authid.rolpassword",
    ),
    (
        "[[users]]\nname = \"u\"\nverifier = \"x\"\npassword = \"p\"",
        "users[1].verifier: is given together with a password; keep one of them",
    ),
    (
        "[auth]\nusers_file = \"nowhere\"",
        "auth.users_file: /etc/pgsteer/nowhere cannot be read: no such file; name a file",
    ),
    (
        "[auth]\nquery_password = \"p\"",
        "auth.query_user: is missing; name the role that asks auth.query",
    ),
    (
        "[auth]\nquery_user = \"looker\"",
        "auth.query_password: is missing, and there is no user looker whose password could be",
    ),
    (
        "[[hba]]\nmethod = \"md5\"",
        "hba[0].type: is missing; add it",
    ),
    (
        "[[hba]]\ntype = \"host\"\nmethod = \"pam\"",
        "hba[0]: has the method pam, which the proxy does not have; use one of: scram-sha-256",
    ),
    (
        "[[users]]\nname = \"postgres\"\npassword = \"p\"",
        "users[1].name: repeats the user postgres; remove one",
    ),
];

#[test]
fn every_mistake_has_its_message() {
    for (addition, expected) in MISTAKES {
        let found = messages(parse(&format!("{MINIMAL}{addition}\n")));
        let expected = format!("/etc/pgsteer/pgsteer.toml: {expected}");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{addition}\n{found:#?}"
        );
    }
}

#[test]
fn sections_of_the_wrong_shape_are_named() {
    let cases = [
        (
            "nodes = 3",
            "nodes: is not a list of sections; write [[nodes]]",
        ),
        (
            "nodes = [1]",
            "nodes[0]: is not a section; write [[nodes]] before it",
        ),
        ("pool = 3", "pool: is not a section; write [pool]"),
        ("router = 3", "router: is not a section; write [router]"),
        ("", "nodes: there is no node; name at least one"),
    ];
    for (text, expected) in cases {
        let found = messages(parse(text)).join("\n");
        assert!(found.contains(expected), "{text}\n{found}");
    }
    let many = "[[nodes]]\nhost = \"a\"\n".repeat(129);
    assert!(
        messages(parse(&many))
            .join("\n")
            .contains("nodes: there are 129 nodes; use at most 128")
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "[pool]\nidle_timeout = 1\nwaiters_max = \"x\"\nsum = 1\n[listen]\nworkers = -1\n";
    let found = messages(parse(text));
    let places: Vec<_> = found.iter().filter_map(|m| m.split(": ").nth(1)).collect();
    let expected = [
        "pool.sum",
        "listen.workers",
        "pool.waiters_max",
        "pool.idle_timeout",
        "probe.password",
        "nodes",
    ];
    assert_eq!(places, expected);
}

#[test]
fn syntax_errors_have_line_and_column() {
    let found = messages(parse("[listen]\nworkers = = 3\n"));
    assert!(
        found[0].contains("pgsteer.toml: line 2, column 11: "),
        "{found:?}"
    );
    let found = messages(load_with(
        &Source::File("gone".into()),
        &Changes::default(),
        [],
        &files,
        1,
    ));
    assert_eq!(
        found,
        ["gone: file: cannot be read: no such file; name an existing file with --config"]
    );
}

#[test]
fn secrets_are_in_no_message() {
    let text =
        "[[users]]\nname = \"u\"\npassword = [\"secret\"]\n[probe]\npassword = { x = \"secret\" }";
    let found = messages(parse(text)).join("\n");
    assert!(!found.contains("secret"), "{found}");
    let loaded = parse(&MINIMAL.replace("\"p\"", "\"very-secret\"")).expect("valid");
    assert!(!format!("{:?}", loaded.settings.users).contains("very-secret"));
}

#[test]
fn users_of_a_file_stand_behind_those_of_the_configuration() {
    let text = "[[nodes]]\nhost = \"a\"\n[[users]]\nname = \"postgres\"\npassword = \"p\"\n\
        [auth]\nusers_file = \"list\"\nquery_user = \"postgres\"\n";
    let load = |list: &'static str| {
        let read = |path: &Path| match path.ends_with("list") {
            true => Ok(list.to_owned()),
            false => Ok(text.to_owned()),
        };
        load_with(
            &Source::File("/etc/x.toml".into()),
            &Changes::default(),
            [],
            &read,
            1,
        )
    };
    let list = "\"postgres\" \"other\"\n\"ann\" \"first\"\nann:TEXTsecond\n\"nobody\" \"\"\n";
    let settings = load(list).expect("valid").settings;
    let password = |name: &str| settings.users[name].password().map(|p| p.to_string());
    assert_eq!(password("postgres").as_deref(), Some("p"));
    assert_eq!(password("ann").as_deref(), Some("first"));
    assert!(!settings.users.contains_key("nobody"));
    let query = settings.auth.query.expect("one");
    assert_eq!((&*query.user, &*query.password), ("postgres", "p"));
    assert!(!format!("{query:?}").contains("\"p\""));
    let found = messages(load(
        "# list\nann:AESwhatever\nsecret\nbob:SCRAM-SHA-256$broken\n",
    ));
    assert_eq!(found.len(), 3, "{found:?}");
    for (message, expected) in found.iter().zip([
        "/etc/list: line 3: has no name with a password; write",
        "/etc/list: line 2: has a password for ann that is encrypted with AES; write",
        "/etc/list: line 4: has a SCRAM verifier for bob that is broken; copy",
    ]) {
        assert!(message.starts_with(expected), "{message}");
        assert!(
            !message.contains("secret") && !message.contains("whatever"),
            "{message}"
        );
    }
}

#[test]
fn values_arrive() {
    let text = "[listen]\naddress = [\"127.0.0.1:1\", \"[::1]:2\"]\nworkers = 3\n\
        [auth]\nmethod = \"md5\"\n[pool]\nidle_timeout = \"1h\"\n\
        [probe]\nuser = \"watcher\"\npassword_file = \"secret\"\n\
        [plugins]\ndir = \"plugins\"\nmemory_max = \"1MiB\"\non_failure = \"reject\"\n\
        grants = [\"kv\", \"log\"]\nshadow = \"2.5%\"\nprobation = \"0s\"\nlog_lines_max = 0\n\
        [console]\noperators = [\"alice\"]\n\
        [router]\nlist = [1, \"x\", 1.5, true, 2020-01-01]\n[router.deep]\nx = 1\n\
        [[nodes]]\nhost = \"/tmp\"\nport = 1\nweight = 0.5\n";
    let Settings {
        listen,
        workers,
        auth,
        pool,
        probe,
        plugins,
        operators,
        ..
    } = parse(&format!("{MINIMAL}{text}")).expect("valid").settings;
    assert_eq!(listen.len(), 2);
    assert_eq!((workers, auth.method), (3, AuthMethod::Md5));
    assert_eq!(pool.idle_timeout, Duration::from_secs(3600));
    assert_eq!(
        (probe.user.as_str(), &*probe.password),
        ("watcher", "hidden")
    );
    assert_eq!(plugins.dir, Some("/etc/pgsteer/plugins".into()));
    assert_eq!(
        (plugins.limits.memory_bytes_max, plugins.limits.on_failure),
        (1 << 20, OnFailure::Reject)
    );
    assert_eq!(plugins.grants.to_string(), "log,kv");
    let rollout = (plugins.rollout.shadow_share, plugins.rollout.probation_time);
    assert_eq!(rollout, (0.025, Duration::ZERO));
    assert_eq!(
        (plugins.limits.log_lines_max, operators),
        (0, vec!["alice".to_owned()])
    );
    let settings = parse(&format!("{MINIMAL}{text}")).expect("valid").settings;
    assert_eq!(
        settings.router_config,
        "{\"deep\":{\"x\":1},\"list\":[1,\"x\",1.5,true,\"2020-01-01\"]}"
    );
    assert_eq!(
        (&*settings.nodes[1].host, settings.nodes[1].weight),
        ("/tmp", 0.5)
    );
}

#[test]
fn odd_values_are_warnings() {
    let text =
        format!("{MINIMAL}[auth]\nmethod = \"trust\"\n").replace("\"a\"", "\"a\"\nweight = 0");
    let warnings = parse(&text).expect("valid").warnings;
    assert_eq!(
        warnings,
        [
            "auth.method: trust lets everybody in as anybody",
            "nodes: every weight is 0, so no node takes balanced reads",
        ]
    );
}

#[test]
fn the_variable_for_plugins_overrides_the_file() {
    let text = format!("{MINIMAL}[plugins]\ndir = \"here\"\n");
    let read = |_: &Path| Ok(text.clone());
    let variable = [(PLUGINS_DIR.to_owned(), "there".to_owned())];
    let loaded = load_with(
        &Source::File("/etc/x.toml".into()),
        &Changes::default(),
        variable,
        &read,
        1,
    )
    .expect("valid");
    assert_eq!(loaded.settings.plugins.dir, Some("there".into()));
}

#[test]
fn the_sample_holds_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/pgsteer.toml");
    let read = |path: &Path| std::fs::read_to_string(path);
    let sample = load_with(&Source::File(path), &Changes::default(), [], &read, 4).expect("valid");
    assert_eq!(sample.warnings, Vec::<String>::new());
    let mut sample = sample.settings;
    let defaults = parse(MINIMAL).expect("valid").settings;
    assert_eq!(sample.nodes.len(), 3);
    sample.nodes.clone_from(&defaults.nodes);
    sample.users.clone_from(&defaults.users);
    sample.probe.password = "p".into();
    assert_eq!(format!("{sample:?}"), format!("{defaults:?}"));
}

/// Names of the fields serde accepts, taken from its complaint about one it does not.
fn accepted<T: DeserializeOwned>(prefix: &str) -> Vec<String> {
    let error = toml::from_str::<T>("no_such_field = 1")
        .err()
        .expect("unknown field");
    let (_, list) = error.message().split_once("expected ").expect("a list");
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(|field| format!("{prefix}{field}"))
        .collect()
}

#[test]
fn the_table_is_what_the_file_accepts() {
    let sections = [
        accepted::<raw::Listen>("listen."),
        accepted::<raw::Tcp>("tcp."),
        accepted::<raw::Tls>("tls."),
        accepted::<raw::ServerTls>("server_tls."),
        accepted::<raw::Auth>("auth."),
        accepted::<raw::Hba>("hba[]."),
        accepted::<raw::User>("users[]."),
        accepted::<raw::Node>("nodes[]."),
        accepted::<raw::Pool>("pool."),
        accepted::<raw::PoolRule>("pools[]."),
        accepted::<raw::ClientLimits>("limits."),
        accepted::<raw::Timeouts>("timeouts."),
        accepted::<raw::Probe>("probe."),
        accepted::<raw::Failover>("failover."),
        accepted::<raw::Catalog>("catalog."),
        accepted::<raw::Plugins>("plugins."),
        accepted::<raw::Console>("console."),
        accepted::<raw::Admin>("admin."),
        accepted::<raw::Pcp>("pcp."),
        accepted::<raw::Metrics>("metrics."),
        accepted::<raw::Tracing>("tracing."),
        accepted::<raw::PcpUser>("pcp_users[]."),
        vec!["router".to_owned(), "failover_rules".to_owned()],
    ];
    let accepted_keys: BTreeSet<String> = sections.into_iter().flatten().collect();
    let table: BTreeSet<String> = SETTINGS
        .iter()
        .map(|setting| setting.key.to_owned())
        .collect();
    assert_eq!(table, accepted_keys);
    assert_eq!(table.len(), SETTINGS.len(), "no key twice");
    let in_table: BTreeSet<_> = table
        .iter()
        .filter_map(|key| key.split(['.', '[']).next())
        .collect();
    let in_raw = accepted::<raw::Raw>("");
    assert_eq!(in_table, in_raw.iter().map(String::as_str).collect());
}
