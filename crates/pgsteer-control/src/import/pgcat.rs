//! Turns the configuration of PgCat into one of pgsteer: one pool with one shard, which is one
//! cluster. What belongs to other pools and shards is said, and left out.

use toml::{Table, Value};

use super::foreign::Form::{Count, Milliseconds, Seconds, Text, Word};
use super::foreign::Rule::{Danger, Missing, NotNeeded, Special, To};
use super::foreign::{Found, Key, add_node, answer, key, set_rule, value};
use super::report::Verdict::{self, CarriedOver, NotThere, OtherMeaning, Unknown};
use super::{FileKind, Import, InputFile, Work, complaints, mistake};
use crate::config::ConfigErrors;

const MODES: &[(&str, &str)] = &[("session", "session"), ("transaction", "transaction")];
const SHARDS: &str = "there is no sharding";
const ROUTES: &str =
    "a plugin decides; the built-in one sends writes to the primary and spreads reads";
const HEALTH: &str = "nodes are probed ([probe])";

/// All keys; `*` stands for the name or number of a pool, a user, a shard.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("general.host", Special(CarriedOver, "`listen.address`"), ""),
    key("general.port", Special(CarriedOver, "`listen.address`"), ""),
    key("general.enable_prometheus_exporter", Special(OtherMeaning, "`metrics.address`"), ""),
    key("general.prometheus_exporter_port", Special(OtherMeaning, "`metrics.address`"), ""),
    key("general.connect_timeout", To("pool.connect_timeout", Milliseconds("10m")), ""),
    key("general.idle_timeout", To("pool.idle_timeout", Milliseconds("30d")), ""),
    key("general.server_lifetime", To("pool.lifetime", Milliseconds("0s")), ""),
    key("general.server_round_robin", Missing(&["false"]), "connections are reused last in, first out"),
    key("general.idle_client_in_transaction_timeout", To("timeouts.idle_in_transaction", Milliseconds("")), ""),
    key("general.healthcheck_timeout", To("probe.timeout", Milliseconds("2s")), HEALTH),
    key("general.healthcheck_delay", NotNeeded, HEALTH),
    key("general.shutdown_timeout", To("listen.drain_timeout", Milliseconds("0s")), ""),
    key("general.ban_time", NotNeeded, "a node that fails is used again when its probes succeed"),
    key("general.log_client_connections", NotNeeded, "SHOW CLIENTS and the metrics tell"),
    key("general.log_client_disconnections", NotNeeded, "SHOW CLIENTS and the metrics tell"),
    key("general.autoreload", Missing(&["0", "false"]), "RELOAD in the console, or SIGHUP"),
    key("general.worker_threads", To("listen.workers", Count), ""),
    key("general.tcp_keepalives_idle", To("tcp.keepidle", Seconds("")), ""),
    key("general.tcp_keepalives_count", To("tcp.keepcnt", Count), ""),
    key("general.tcp_keepalives_interval", To("tcp.keepintvl", Seconds("")), ""),
    key("general.tcp_user_timeout", To("tcp.user_timeout", Milliseconds("")), ""),
    key("general.tls_certificate", Special(CarriedOver, "`tls.cert_file`, `tls.mode`"), "with `tls.mode = \"prefer\"`"),
    key("general.tls_private_key", To("tls.key_file", Text), ""),
    key("general.server_tls", Special(CarriedOver, "`server_tls.mode`"), ""),
    key("general.verify_server_certificate", Special(CarriedOver, "`server_tls.mode`"), "true becomes verify-full"),
    key("general.admin_username", Special(CarriedOver, "`console.operators`, `[[users]]`"), ""),
    key("general.admin_password", Special(CarriedOver, "`[[users]]`"), ""),
    key("general.auth_query", To("auth.query", Text), ""),
    key("general.auth_query_user", To("auth.query_user", Text), ""),
    key("general.auth_query_password", To("auth.query_password", Text), ""),
    key("general.dns_cache_enabled", NotNeeded, "names are looked up by the operating system for each new connection"),
    key("general.dns_max_ttl", NotNeeded, "names are looked up by the operating system for each new connection"),
    key("general.prepared_statements", NotNeeded, "they follow sessions in every mode"),
    key("general.prepared_statements_cache_size", NotNeeded, "they follow sessions in every mode"),
    key("general.validate_config", NotNeeded, "`pgsteer check` does it"),
    key("plugins.*", Danger(&[]), "PgCat's plugins are not there; see docs/plugins.md for what takes their place"),
    key("pools.*.pool_mode", Special(CarriedOver, "`[[pools]]` mode"), ""),
    key("pools.*.load_balancing_mode", Missing(&["random"]), "each session draws one node for its reads, by weight"),
    key("pools.*.checkout_failure_limit", Missing(&[]), "a session that gets no server is told so, and goes on"),
    key("pools.*.default_role", Special(OtherMeaning, "`nodes[].weight`"), "`primary` gives replicas weight 0, `replica` the primary; `any` is what there is"),
    key("pools.*.query_parser_enabled", NotNeeded, ROUTES),
    key("pools.*.query_parser_max_length", NotNeeded, ROUTES),
    key("pools.*.query_parser_read_write_splitting", NotNeeded, ROUTES),
    key("pools.*.primary_reads_enabled", Special(OtherMeaning, "`nodes[].weight`"), "false gives the primary weight 0"),
    key("pools.*.db_activity_based_routing", NotNeeded, "sessions read what they wrote (`router.read_your_writes`)"),
    key("pools.*.db_activity_init_delay", NotNeeded, "sessions read what they wrote (`router.read_your_writes`)"),
    key("pools.*.db_activity_ttl", NotNeeded, "sessions read what they wrote (`router.read_your_writes`)"),
    key("pools.*.table_mutation_cache_ms_ttl", NotNeeded, "sessions read what they wrote (`router.read_your_writes`)"),
    key("pools.*.prepared_statements_cache_size", NotNeeded, "they follow sessions in every mode"),
    key("pools.*.log_client_parameter_status_changes", NotNeeded, "the log does not have them"),
    key("pools.*.cleanup_server_connections", NotNeeded, "servers show nothing of one session to another"),
    key("pools.*.connect_timeout", Missing(&[]), "there is one `pool.connect_timeout` for all"),
    key("pools.*.idle_timeout", Missing(&[]), "there is one `pool.idle_timeout` for all"),
    key("pools.*.server_lifetime", Special(CarriedOver, "`[[pools]]` lifetime"), ""),
    key("pools.*.auth_query", Danger(&[]), "there is one `auth.query` for all"),
    key("pools.*.auth_query_user", Danger(&[]), "there is one `auth.query_user` for all"),
    key("pools.*.auth_query_password", Danger(&[]), "there is one `auth.query_password` for all"),
    key("pools.*.sharding_key_regex", Danger(&[]), SHARDS),
    key("pools.*.shard_id_regex", Danger(&[]), SHARDS),
    key("pools.*.regex_search_limit", NotNeeded, SHARDS),
    key("pools.*.sharding_function", NotNeeded, SHARDS),
    key("pools.*.automatic_sharding_key", Danger(&[]), SHARDS),
    key("pools.*.default_shard", Missing(&["0", "shard_0"]), SHARDS),
    key("pools.*.plugins", Danger(&[]), "PgCat's plugins are not there; see docs/plugins.md"),
    key("pools.*.users.*.username", Special(CarriedOver, "`[[users]]`"), ""),
    key("pools.*.users.*.password", Special(CarriedOver, "`[[users]]`"), ""),
    key("pools.*.users.*.auth_type", Special(CarriedOver, "`auth.method`"), "one for all"),
    key("pools.*.users.*.server_username", Danger(&[]), "sessions log in to the nodes as the user of the client"),
    key("pools.*.users.*.server_password", Danger(&[]), "sessions log in to the nodes as the user of the client"),
    key("pools.*.users.*.pool_size", Special(CarriedOver, "`[[pools]]` size"), "for each node"),
    key("pools.*.users.*.min_pool_size", Special(CarriedOver, "`[[pools]]` min_size"), ""),
    key("pools.*.users.*.pool_mode", Special(CarriedOver, "`[[pools]]` mode"), ""),
    key("pools.*.users.*.server_lifetime", Special(CarriedOver, "`[[pools]]` lifetime"), ""),
    key("pools.*.users.*.statement_timeout", Special(CarriedOver, "`[[pools]]` query_timeout"), "the statement is cancelled on its server as well"),
    key("pools.*.users.*.connect_timeout", Missing(&[]), "there is one `pool.connect_timeout` for all"),
    key("pools.*.users.*.idle_timeout", Missing(&[]), "there is one `pool.idle_timeout` for all"),
    key("pools.*.shards.*.servers", Special(CarriedOver, "`[[nodes]]`"), "which is the primary is found out"),
    key("pools.*.shards.*.database", Special(CarriedOver, ""), "clients name the database as it is called on the nodes"),
    key("pools.*.shards.*.mirrors", Danger(&[]), "there is no mirroring; a plugin can be asked beside the one in force (docs/plugins.md)"),
];

/// Imports the files.
///
/// # Errors
/// One of them is no TOML.
pub(super) fn import(files: &[InputFile]) -> Result<Import, ConfigErrors> {
    let mut work = Work::default();
    work.draft.origin = "PgCat";
    for file in files.iter().filter(|file| file.kind == FileKind::Pgcat) {
        match toml::from_str::<Table>(&file.text) {
            Ok(table) => one(&file.name, &table, &mut work),
            Err(error) => {
                let start = error
                    .span()
                    .map_or(0, |span| span.start)
                    .min(file.text.len());
                let before = file.text.as_bytes().get(..start).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                let advice = "mend the syntax (TOML 1.0)";
                work.mistakes
                    .push(mistake(&file.name, line, error.message(), advice));
            }
        }
    }
    if !work.mistakes.is_empty() {
        return Err(ConfigErrors(work.mistakes));
    }
    work.draft.set("failover.promote", false);
    let toml = work.draft.toml();
    work.report.to_do.extend(complaints(&toml));
    for text in [
        "`failover.promote` is false: PgCat promoted nobody, so something else may",
        "the console is the database `pgbouncer` or `pgsteer`; `pgcat` is one if you add it to \
         `console.databases`",
        "SET SHARD, SET SERVER ROLE and the other commands of PgCat are not there; see \
         docs/from-pgcat.md",
        "the nodes are probed as `probe.user`, which needs the role pg_monitor and a password",
    ] {
        work.report.notes.push(text.to_owned());
    }
    Ok(Import {
        toml,
        report: work.report,
    })
}

fn one(file: &str, table: &Table, work: &mut Work) {
    let mut leaves = Vec::new();
    walk(table, &mut Vec::new(), &mut leaves);
    let chosen = chosen(table);
    listening(table, work);
    for (path, value) in &leaves {
        if path.get(2).is_some_and(|word| word == "users") && path.len() == 5 {
            let entry = path.get(..4).unwrap_or_default().join(".");
            if path.last().is_some_and(|word| word == "username") {
                work.names.insert(entry, text(value));
            }
        }
    }
    for (path, value) in &leaves {
        let found = Found {
            place: file.to_owned(),
            subject: path.join("."),
            value: text(value),
        };
        let line = match elsewhere(path, chosen.as_ref()) {
            Some(why) => found.warning(NotThere, why),
            None => leaf(path, value, &found, work),
        };
        work.report.lines.push(line);
    }
    let (names, secrets) = (
        std::mem::take(&mut work.names),
        std::mem::take(&mut work.secrets),
    );
    for (entry, name) in names {
        let is_known = work.draft.users.iter().any(|(known, _)| *known == name);
        match secrets.get(&entry) {
            _ if is_known => {}
            Some(password) => work.draft.users.push((name, password.clone())),
            None => work.draft.users_without.push((name, "not given")),
        }
    }
    if work.draft.nodes.len() > 1 {
        let text = "the nodes are taken for one primary and its replicas; which is the primary is \
                    found out by asking";
        work.report.notes.push(text.to_owned());
    }
}

/// The pool and the shard whose servers are the nodes: the first of each.
fn chosen(table: &Table) -> Option<(String, String, Vec<String>)> {
    let pools = table.get("pools")?.as_table()?;
    let servers = |pool: &Value| -> Option<(String, String)> {
        let shards = pool.get("shards")?.as_table()?;
        let (name, shard) = shards
            .iter()
            .min_by_key(|(name, _)| name.parse::<u64>().ok())?;
        Some((name.clone(), shard.get("servers")?.to_string()))
    };
    let (first, pool) = pools.iter().next()?;
    let (shard, own) = servers(pool)?;
    // Other pools on the same servers are other databases or users of the same cluster.
    let alike = pools
        .iter()
        .filter(|(_, pool)| servers(pool).is_some_and(|(_, s)| s == own));
    let alike = alike.map(|(name, _)| name.clone()).collect();
    Some((first.clone(), shard, alike))
}

fn elsewhere(path: &[String], chosen: Option<&(String, String, Vec<String>)>) -> Option<String> {
    let (_, shard, alike) = chosen?;
    let (first, name) = (path.first()?, path.get(1)?);
    if first != "pools" {
        return None;
    }
    if !alike.contains(name) {
        return Some(format!(
            "the pool {name} has other servers, which are another cluster: pgsteer fronts one, so \
             run a second one for it"
        ));
    }
    let is_shard = path.get(2).is_some_and(|word| word == "shards");
    let other = path.get(3).filter(|other| is_shard && *other != shard)?;
    Some(format!("{SHARDS}: the shard {other} is left out"))
}

/// All values that are no tables, with their paths.
fn walk<'a>(table: &'a Table, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, &'a Value)>) {
    for (name, value) in table {
        path.push(name.clone());
        match value {
            Value::Table(inside) => walk(inside, path, leaves),
            other => leaves.push((path.clone(), other)),
        }
        path.pop();
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn listening(table: &Table, work: &mut Work) {
    let general = |key: &str| table.get("general").and_then(|g| g.get(key)).map(text);
    let host = general("host").unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = general("port").unwrap_or_else(|| "5432".to_owned());
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    work.draft.set("listen.address", format!("{host}:{port}"));
    if let (Some(name), Some(password)) = (general("admin_username"), general("admin_password")) {
        work.draft.set("console.operators", vec![name.clone()]);
        work.draft.users.push((name, password));
    }
    let on = |key: &str| general(key).is_some_and(|value| value == "true");
    if on("server_tls") {
        let verify = on("verify_server_certificate");
        work.draft.set(
            "server_tls.mode",
            if verify { "verify-full" } else { "require" },
        );
    }
    if let Some(certificate) = general("tls_certificate") {
        work.draft.set("tls.cert_file", certificate);
        work.draft.set("tls.mode", "prefer");
    }
}

/// The key of the table that a path is one of.
pub(crate) fn known(path: &[String]) -> Option<&'static Key> {
    let fits = |key: &&Key| {
        let pattern: Vec<&str> = key.name.split('.').collect();
        let open = pattern.first() == Some(&"plugins") || pattern.last() == Some(&"plugins");
        let long_enough = path.len() == pattern.len() || open && path.len() > pattern.len();
        let mut words = pattern.iter().zip(path);
        long_enough && words.all(|(pattern, word)| *pattern == "*" || pattern == word)
    };
    KEYS.iter().find(fits)
}

fn leaf(path: &[String], value: &Value, found: &Found, work: &mut Work) -> super::Line {
    let Some(key) = known(path) else {
        return found.line(Unknown, "no PgCat has this key; look for a typing error");
    };
    if let Some(line) = answer(key, found, work) {
        return line;
    }
    let last = path.last().map(String::as_str).unwrap_or_default();
    match (
        path.first().map(String::as_str),
        path.get(2).map(String::as_str),
    ) {
        (Some("general"), _) => general(last, key, found),
        (_, Some("users")) => user(path, last, key, found, work),
        (_, Some("shards")) => shard(path, last, value, found, work),
        _ => pool(path, last, key, found, work),
    }
}

fn general(last: &str, key: &Key, found: &Found) -> super::Line {
    let metrics = matches!(
        last,
        "enable_prometheus_exporter" | "prometheus_exporter_port"
    );
    if metrics {
        return found.line(
            OtherMeaning,
            "metrics have an address of their own: [metrics]",
        );
    }
    found.line(key.verdict(), said(key))
}

fn said(key: &Key) -> String {
    let Special(_, here) = key.rule else {
        return key.note.to_owned();
    };
    [here, key.note].join(" ").trim().to_owned()
}

/// The name of the database that clients of a pool connect to.
fn name_of(path: &[String]) -> &str {
    path.get(1).map(String::as_str).unwrap_or_default()
}

fn pool(path: &[String], last: &str, key: &Key, found: &Found, work: &mut Work) -> super::Line {
    let who = (Some(name_of(path)), None);
    match last {
        "pool_mode" => rule("mode", Word(MODES), who, found, work),
        "server_lifetime" => rule("lifetime", Milliseconds("0s"), who, found, work),
        "default_role" => match found.value.as_str() {
            "any" => found.line(Verdict::NotNeeded, "it is what there is"),
            _ => found.warning(OtherMeaning, key.note),
        },
        "primary_reads_enabled" if found.value == "true" => {
            found.line(Verdict::NotNeeded, "it is what there is")
        }
        _ => found.warning(OtherMeaning, key.note),
    }
}

fn user(path: &[String], last: &str, key: &Key, found: &Found, work: &mut Work) -> super::Line {
    let entry = path.get(..4).unwrap_or_default().join(".");
    match last {
        "username" | "password" => {
            if last == "password" {
                work.secrets.insert(entry, found.value.clone());
            }
            found.line(CarriedOver, "[[users]]")
        }
        "auth_type" => {
            let method = match found.value.as_str() {
                "trust" => "trust",
                _ => "md5",
            };
            work.draft.set("auth.method", method);
            found.line(CarriedOver, format!("auth.method = \"{method}\", for all"))
        }
        _ => {
            let name = work.names.get(&entry).cloned().unwrap_or_default();
            let who = (Some(name_of(path)), Some(name.as_str()));
            let (setting, form) = match last {
                "pool_size" => ("size", Count),
                "min_pool_size" => ("min_size", Count),
                "pool_mode" => ("mode", Word(MODES)),
                "server_lifetime" => ("lifetime", Milliseconds("0s")),
                _ => ("query_timeout", Milliseconds("")),
            };
            let line = rule(setting, form, who, found, work);
            match key.note {
                "" => line,
                note => super::Line {
                    text: format!("{}; {note}", line.text),
                    ..line
                },
            }
        }
    }
}

fn rule(
    name: &'static str,
    form: super::foreign::Form,
    who: (Option<&str>, Option<&str>),
    found: &Found,
    work: &mut Work,
) -> super::Line {
    match value(&format!("pools[].{name}"), form, &found.value) {
        Ok(Some(value)) => {
            let text = format!("[[pools]] {name} = {value}");
            set_rule(&mut work.draft, who, name, value);
            found.line(CarriedOver, text)
        }
        Ok(None) => found.line(Verdict::NotNeeded, "0 asks for nothing"),
        Err(wanted) => found.warning(NotThere, format!("the value is not {wanted}")),
    }
}

fn shard(
    path: &[String],
    last: &str,
    value: &Value,
    found: &Found,
    work: &mut Work,
) -> super::Line {
    if last == "database" {
        return match found.value == name_of(path) {
            true => found.line(CarriedOver, "it is the name of the pool, too"),
            false => {
                let text = format!("clients connect to \"{}\": {}", found.value, NO_NAMES);
                found.warning(NotThere, text)
            }
        };
    }
    let mut nodes = Vec::new();
    for server in value.as_array().into_iter().flatten() {
        let field = |index: usize, name: &str| server.get(index).or_else(|| server.get(name));
        let host = field(0, "host").and_then(Value::as_str);
        let port = field(1, "port").and_then(Value::as_integer);
        if let (Some(host), Some(port)) = (host, port) {
            add_node(&mut work.draft, host, port);
            nodes.push(format!("{host}:{port}"));
        }
    }
    match nodes.is_empty() {
        true => found.warning(NotThere, "no server could be read off it"),
        false => found.line(CarriedOver, format!("[[nodes]] {}", nodes.join(", "))),
    }
}

const NO_NAMES: &str = "there are no other names for databases";
