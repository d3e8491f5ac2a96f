//! The settings in force, under Pgpool-II's names where it has one, for `pool_status` and
//! `PGPOOL SHOW`. What Pgpool-II does not know has the name of `docs/settings.md`.

use std::path::Path;

use pgsteer_core::settings::{OnFailure, Settings};
use pgsteer_core::topology::Topology;

use super::nodes::{share, status};
use super::options::Options;
use super::router::router_items;
use super::time::seconds;

/// Groups of `PGPOOL SHOW`.
const GROUPS: [&str; 5] = ["all", "backend", "watchdog", "heartbeat", "health_check"];

/// Whether it is a group and no parameter.
pub(crate) fn is_group(name: &str) -> bool {
    GROUPS.contains(&name)
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// As `pool_status` shows it, where switches are numbers.
    pub(crate) status: String,
    /// As `PGPOOL SHOW` shows it.
    pub(crate) shown: String,
    pub(crate) description: String,
}

/// A text or a number.
pub(crate) fn text(name: &str, value: impl Into<String>, description: &str) -> Item {
    let value = value.into();
    Item {
        name: name.to_owned(),
        status: value.clone(),
        shown: value,
        description: description.to_owned(),
    }
}

/// Something that is on or off.
pub(crate) fn switch(name: &str, on: bool, description: &str) -> Item {
    Item {
        status: u8::from(on).to_string(),
        ..text(name, if on { "on" } else { "off" }, description)
    }
}

impl Item {
    /// Whether it is in a group of `PGPOOL SHOW`. There is no watchdog.
    fn is_in(&self, group: &str) -> bool {
        match group {
            "all" => true,
            "backend" => self.name.starts_with("backend_") && !self.is_fact(),
            "health_check" => self.name.starts_with("health_check_"),
            _ => false,
        }
    }

    /// What Pgpool-II shows among its settings and is none.
    fn is_fact(&self) -> bool {
        self.name.starts_with("backend_status") || self.name == "backend_clustering_mode"
    }
}

/// Rows of `pool_status`.
pub(crate) fn status_rows(items: Vec<Item>) -> Vec<Vec<String>> {
    let row = |item: Item| vec![item.name, item.status, item.description];
    items.into_iter().map(row).collect()
}

/// Rows of a group.
pub(crate) fn group_rows(items: Vec<Item>, group: &str) -> Vec<Vec<String>> {
    let items = items.into_iter().filter(|item| item.is_in(group));
    let row = |item: Item| vec![item.name, item.shown, item.description];
    items.map(row).collect()
}

/// All settings, and what this session has set of them.
pub(crate) fn items(
    settings: &Settings,
    topology: &Topology,
    options: &Options,
    overridden: &[(&str, &str)],
) -> Vec<Item> {
    let mut items = Vec::new();
    listening(&mut items, settings);
    backends(&mut items, settings, topology);
    items.extend(router_items(&settings.router_config, overridden));
    pooling(&mut items, settings);
    probing(&mut items, settings);
    observing(&mut items, options);
    plugins(&mut items, settings);
    items
}

fn listening(items: &mut Vec<Item>, settings: &Settings) {
    let addresses: Vec<String> = settings.listen.iter().map(|a| a.ip().to_string()).collect();
    let port = settings
        .listen
        .first()
        .map_or(0, std::net::SocketAddr::port);
    let auth = settings.auth.method.as_str();
    items.extend([
        text(
            "backend_clustering_mode",
            "streaming_replication",
            "clustering mode",
        ),
        text(
            "listen_addresses",
            addresses.join(","),
            "addresses clients connect to",
        ),
        text("port", port.to_string(), "port clients connect to"),
        text(
            "num_init_children",
            settings.clients_max.to_string(),
            "clients at one time",
        ),
        text(
            "authentication_timeout",
            seconds(settings.login_timeout),
            "seconds a client may take to log in",
        ),
        text("auth.method", auth, "how clients prove who they are"),
        text(
            "listen.workers",
            settings.workers.to_string(),
            "threads that serve clients",
        ),
        text(
            "listen.drain_timeout",
            seconds(settings.drain_timeout),
            "seconds transactions may go on after a shutdown",
        ),
    ]);
}

fn backends(items: &mut Vec<Item>, settings: &Settings, topology: &Topology) {
    for (number, node) in settings.nodes.iter().enumerate() {
        let name = |word: &str| format!("backend_{word}{number}");
        let weight = node.weight.to_string();
        let shares = share(node.weight, settings.nodes.iter().map(|n| n.weight));
        let known = topology.nodes.get(number).map_or("down", status);
        items.extend([
            text(
                &name("hostname"),
                &*node.host,
                "host name or address of the node",
            ),
            text(&name("port"), node.port.to_string(), "port of the node"),
            Item {
                status: shares,
                ..text(&name("weight"), weight, "share of balanced reads")
            },
            text(&name("status"), known, "whether statements are sent there"),
        ]);
    }
}

fn pooling(items: &mut Vec<Item>, settings: &Settings) {
    let pool = &settings.pool;
    let millis = pool.connect_timeout.as_millis().to_string();
    items.extend([
        switch(
            "connection_cache",
            true,
            "server connections are kept for reuse",
        ),
        text(
            "connection_life_time",
            seconds(pool.idle_timeout),
            "seconds after which an unused server connection is closed",
        ),
        text(
            "reset_query_list",
            &*pool.reset_query,
            "what makes a used connection fit again",
        ),
        text(
            "connect_timeout",
            millis,
            "milliseconds opening a server connection may take",
        ),
        text(
            "pool.connections_per_node_max",
            pool.connections_per_node_max.to_string(),
            "server connections to one node",
        ),
        text(
            "pool.waiters_max",
            pool.waiters_max.to_string(),
            "sessions of a worker that may wait for a server connection",
        ),
        text(
            "pool.checkout_timeout",
            seconds(pool.checkout_timeout),
            "seconds a session waits for a server connection",
        ),
        switch("memory_cache_enabled", false, "there is no query cache"),
        switch("use_watchdog", false, "there is no watchdog"),
    ]);
}

fn probing(items: &mut Vec<Item>, settings: &Settings) {
    let probe = &settings.probe;
    let retries = probe.failures_max.saturating_sub(1).to_string();
    for prefix in ["sr_check", "health_check"] {
        let name = |word: &str| format!("{prefix}_{word}");
        items.extend([
            text(
                &name("period"),
                seconds(probe.interval),
                "seconds between two probes of a node",
            ),
            text(&name("user"), &*probe.user, "role that asks the nodes"),
            text(&name("password"), HIDDEN, "its password"),
            text(
                &name("database"),
                &*probe.database,
                "database it connects to",
            ),
        ]);
    }
    items.extend([
        text(
            "health_check_timeout",
            seconds(probe.timeout),
            "seconds one probe may take",
        ),
        text(
            "health_check_max_retries",
            retries,
            "failed probes after which another is made",
        ),
    ]);
}

fn observing(items: &mut Vec<Item>, options: &Options) {
    items.extend([
        text(
            "client_idle_limit",
            options.client_idle_limit.to_string(),
            "seconds after which an idle client is disconnected, 0 for never",
        ),
        switch(
            "log_per_node_statement",
            options.logs_statements(),
            "the log has every statement sent to a node",
        ),
        switch(
            "notice_per_node_statement",
            options.notice_per_node_statement,
            "the client is told of every statement sent to a node",
        ),
    ]);
}

fn plugins(items: &mut Vec<Item>, settings: &Settings) {
    let limits = &settings.plugins.limits;
    let dir = settings.plugins.dir.as_deref().map(Path::display);
    let on_failure = match limits.on_failure {
        OnFailure::Skip => "skip",
        OnFailure::Reject => "reject",
        OnFailure::LastGood => "last-good",
    };
    items.extend([
        text(
            "plugins.dir",
            dir.map(|d| d.to_string()).unwrap_or_default(),
            "directory of plugin files",
        ),
        text(
            "plugins.decision_timeout",
            seconds(limits.decision_timeout),
            "seconds one question to a plugin may take",
        ),
        text(
            "plugins.configure_timeout",
            seconds(limits.configure_timeout),
            "seconds configuring a plugin may take",
        ),
        text(
            "plugins.memory_max",
            limits.memory_bytes_max.to_string(),
            "bytes of memory of a plugin's instance",
        ),
        text(
            "plugins.file_max",
            limits.file_bytes_max.to_string(),
            "bytes of a plugin's file",
        ),
        text(
            "plugins.on_failure",
            on_failure,
            "what happens when a plugin fails",
        ),
        text(
            "plugins.grants",
            settings.plugins.grants.to_string(),
            "what plugins may do whose own file does not say",
        ),
        text(
            "plugins.probation",
            seconds(settings.plugins.rollout.probation_time),
            "seconds a new version of a plugin is watched",
        ),
        text(
            "console.operators",
            settings.operators.join(","),
            "users who may give orders in the console",
        ),
    ]);
}

/// In the place of a password.
const HIDDEN: &str = "*****";
