//! From what is written to settings that cannot be wrong. One function per section; every rule that
//! is broken is reported.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use pgsteer_core::auth::User;
use pgsteer_core::settings::{CatalogSettings, NodeSettings, ProbeSettings, Settings};
use pgsteer_tls::ServerTls;
use toml::{Table, Value};

use super::check::Checker;
use super::{auth, failover, limits, listen, operation, plugins, pool, raw, tls};

/// Checks everything. The settings mean something only if the checker has no errors.
pub(crate) fn settings(mut raw: raw::Raw, cores: usize, checker: &mut Checker<'_>) -> Settings {
    let users_file = raw.auth.users_file.take();
    let users = auth::users(raw.users, users_file, checker);
    let listen_key = "listen.address";
    let addresses = addresses(listen_key, raw.listen.address, checker);
    let unix_socket = listen::unix_socket(
        raw.listen.unix_socket_dir,
        raw.listen.unix_socket_mode,
        checker,
    );
    let tcp = listen::tcp(raw.tcp, checker);
    let workers = match number(checker.count("listen.workers", raw.listen.workers)) {
        0 => cores.max(1),
        workers => workers,
    };
    let clients_max = number(checker.count("listen.clients_max", raw.listen.clients_max));
    let login_timeout = checker.duration("listen.login_timeout", raw.listen.login_timeout);
    let drain_timeout = checker.duration("listen.drain_timeout", raw.listen.drain_timeout);
    let upgrade_timeout = checker.duration("listen.upgrade_timeout", raw.listen.upgrade_timeout);
    let auth = auth::settings(raw.auth, raw.hba, &users, checker);
    let client_tls = tls::clients(raw.tls, checker);
    let server_tls = tls::servers(raw.server_tls, checker);
    let pool = pool::settings(raw.pool, raw.pools, (tcp, &server_tls), checker);
    let probe = probe(raw.probe, &users, &server_tls, checker);
    let rules = free("failover_rules", raw.failover_rules, checker);
    Settings {
        listen: addresses,
        unix_socket,
        workers,
        clients_max,
        login_timeout,
        drain_timeout,
        upgrade_timeout,
        tls: client_tls,
        auth,
        pool,
        nodes: nodes(raw.nodes, &probe, &users, checker),
        probe,
        failover: failover::settings(raw.failover, rules, checker),
        catalog: catalog(raw.catalog, checker),
        plugins: plugins::settings(raw.plugins, checker),
        operators: checker.list("console.operators", raw.console.operators),
        console: operation::console(raw.console.watchers, raw.console.databases, checker),
        client_limits: limits::clients(raw.limits, checker),
        timeouts: limits::timeouts(raw.timeouts, checker),
        admin: operation::admin(raw.admin, checker),
        pcp: operation::pcp(raw.pcp, raw.pcp_users, checker),
        metrics: operation::metrics(raw.metrics, checker),
        tracing: operation::tracing(raw.tracing, checker),
        router_config: free("router", raw.router, checker),
        users,
    }
}

fn addresses(key: &str, given: raw::Given, checker: &mut Checker<'_>) -> Vec<SocketAddr> {
    let texts = checker.texts(key, given);
    addresses_of(key, texts, checker)
}

/// Addresses with ports, each once.
pub(super) fn addresses_of(
    key: &str,
    texts: Vec<String>,
    checker: &mut Checker<'_>,
) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let mut addresses = Vec::new();
    for text in texts {
        match text.parse::<SocketAddr>() {
            Ok(address) if seen.insert(address) => addresses.push(address),
            Ok(address) => checker.error(key, format!("names {address} twice"), "remove one"),
            Err(_) => checker.error(
                key,
                format!("is \"{text}\""),
                "write an IP address and a port, such as \"0.0.0.0:9999\" or \"[::]:9999\"",
            ),
        }
    }
    addresses
}

fn nodes(
    raw: Vec<raw::Node>,
    probe: &ProbeSettings,
    users: &HashMap<String, User>,
    checker: &mut Checker<'_>,
) -> Vec<NodeSettings> {
    if raw.is_empty() {
        let advice =
            "name at least one: [[nodes]] with a `host`, or PGPOOL_BACKEND_NODES=0:host:5432";
        checker.error("nodes", "there is no node", advice);
    }
    if raw.len() > NODES_MAX {
        let problem = format!("there are {} nodes", raw.len());
        checker.error("nodes", problem, format!("use at most {NODES_MAX}"));
    }
    let mut nodes: Vec<NodeSettings> = Vec::with_capacity(raw.len());
    for (index, mut raw) in raw.into_iter().enumerate() {
        let key = |name: &str| format!("nodes[{index}].{name}");
        let probe = failover::node_probe(index, &mut raw, probe, users, checker);
        let flag = failover::flag(&key("flag"), raw.flag, checker);
        let data_dir = raw
            .data_dir
            .and_then(|given| checker.text(&key("data_dir"), Some(given)));
        let host = checker.required(&key("host"), raw.host).unwrap_or_default();
        let port = checker.count(&key("port"), raw.port);
        let weight = checker.share(&key("weight"), raw.weight);
        if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            checker.error(
                &key("host"),
                format!("is {host:?}"),
                "write a host without spaces",
            );
        }
        // The table keeps ports below 65536.
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        let same = |node: &NodeSettings| *node.host == *host && node.port == port;
        if let Some(first) = nodes.iter().position(same).filter(|_| !host.is_empty()) {
            let problem = format!("{host}:{port} is nodes[{first}] already");
            checker.error(&key("host"), problem, "name each node once");
        }
        nodes.push(NodeSettings {
            host: Arc::from(host),
            port,
            weight,
            flag,
            data_dir: data_dir.unwrap_or_default().into(),
            probe,
        });
    }
    failover::check_flags(&nodes, checker);
    if !nodes.is_empty() && nodes.iter().all(|node| node.weight == 0.0) {
        checker.warning(
            "nodes",
            "every weight is 0, so no node takes balanced reads",
        );
    }
    nodes
}

fn probe(
    raw: raw::Probe,
    users: &HashMap<String, User>,
    tls: &ServerTls,
    checker: &mut Checker<'_>,
) -> ProbeSettings {
    let user = checker.text("probe.user", raw.user).unwrap_or_default();
    let given = raw.password.is_some() || raw.password_file.is_some();
    let own: Option<Arc<str>> = checker
        .secret("probe.", raw.password, raw.password_file)
        .map(Arc::from);
    let password = own.or_else(|| users.get(&user).and_then(|user| user.password().cloned()));
    if password.is_none() && !given {
        checker.error(
            "probe.password",
            format!("is missing, and there is no user {user} whose password could be used"),
            "add `password` or `password_file`",
        );
    }
    let failures_max = checker.count("probe.failures_max", raw.failures_max);
    ProbeSettings {
        user,
        password: password.unwrap_or_else(|| Arc::from("")),
        database: checker
            .text("probe.database", raw.database)
            .unwrap_or_default(),
        interval: checker.duration("probe.interval", raw.interval),
        timeout: checker.duration("probe.timeout", raw.timeout),
        failures_max: u32::try_from(failures_max).unwrap_or(u32::MAX),
        retry_delay: checker.duration("probe.retry_delay", raw.retry_delay),
        tls: tls.clone(),
    }
}

fn catalog(raw: raw::Catalog, checker: &mut Checker<'_>) -> CatalogSettings {
    let refresh_interval = checker.duration("catalog.refresh_interval", raw.refresh_interval);
    let relations_max = checker.count("catalog.relations_max", raw.relations_max);
    CatalogSettings {
        refresh_interval,
        relations_max: number(relations_max),
    }
}

/// A section that a plugin reads.
fn free(key: &str, table: Table, checker: &mut Checker<'_>) -> String {
    json(Value::Table(table)).map_or_else(
        |problem| {
            checker.error(key, problem, "write a finite number");
            "{}".to_owned()
        },
        |json| json.to_string(),
    )
}

/// The value as JSON; dates become text.
///
/// # Errors
/// A number is not finite: JSON has no word for it.
pub(crate) fn json(value: Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => serde_json::Number::from_f64(number)
            .ok_or_else(|| format!("holds the number {number}"))?
            .into(),
        Value::Boolean(value) => value.into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(list) => list.into_iter().map(json).collect::<Result<_, _>>()?,
        Value::Table(table) => {
            let pairs = table
                .into_iter()
                .map(|(key, value)| Ok((key, json(value)?)));
            serde_json::Value::Object(pairs.collect::<Result<_, String>>()?)
        }
    })
}

/// The limits in the table of settings fit any `usize` this runs on.
pub(super) fn number(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// As many as Pgpool-II takes (`MAX_NUM_BACKENDS`).
const NODES_MAX: usize = 128;
