//! Servers, the network between them, and a proxy that can be started anew.

use std::time::Duration;

use anyhow::{Context, Result};
use pgsteer_core::Subscription;
use pgsteer_testkit::{Cluster, Node, ports, wait_until};

use crate::books::Books;
use crate::proxy::Running;
use crate::teller::ACCOUNTS;

/// Who promotes a replica when the primary is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promoter {
    /// The proxy, by itself.
    Proxy,
    /// Somebody else, at once; the proxy is told not to.
    Other,
}

/// What the faults happen to.
pub(crate) struct Site<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) promoter: Promoter,
    port: u16,
    configuration: String,
    proxy: Option<Running>,
}

/// Three nodes, each commit on two of them before it is acknowledged.
pub(crate) async fn start_cluster() -> Result<Cluster> {
    let cluster = Cluster::builder()
        .fast(true)
        .relays(true)
        .synchronous(true)
        .hba_line("host all all 127.0.0.1/32 trust")
        .start()
        .await?;
    let last = ACCOUNTS - 1;
    let tables = format!(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
         INSERT INTO accounts SELECT id, {BALANCE} FROM generate_series(0, {last}) id;
         CREATE TABLE ledger (attempt bigint NOT NULL, source int NOT NULL, target int NOT NULL,
             amount int NOT NULL, client int NOT NULL, port int NOT NULL, timeline int NOT NULL);
         CREATE INDEX ON ledger (attempt);
         CREATE TABLE idle (client text NOT NULL)"
    );
    cluster.primary().sql(&tables).await?;
    cluster.wait_until_caught_up(DEADLINE).await?;
    Ok(cluster)
}

impl<'c> Site<'c> {
    /// Starts a proxy in front of a cluster.
    pub(crate) async fn open(cluster: &'c Cluster, promoter: Promoter) -> Result<Self> {
        let port = ports::free_port()?;
        let mut site = Self {
            cluster,
            promoter,
            port,
            configuration: configuration(cluster, promoter, port),
            proxy: None,
        };
        site.restart().await?;
        Ok(site)
    }

    /// Ends the proxy, if it runs, and starts it on the same port.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        drop(self.proxy.take());
        // In this process the port is free again when a thread of the old one has noticed.
        let mut last = None;
        let waited = wait_until(DEADLINE, "the proxy to start", || {
            let started = Running::with_configuration(&self.configuration, self.cluster);
            let done = match started {
                Ok(proxy) => {
                    self.proxy = Some(proxy);
                    true
                }
                Err(error) => {
                    last = Some(error);
                    false
                }
            };
            async move { done }
        });
        waited
            .await
            .with_context(|| last.map_or_else(String::new, |error| format!("{error:#}")))
    }

    /// Where clients connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the proxy believes.
    pub(crate) fn subscription(&self) -> Result<Subscription> {
        let proxy = self.proxy.as_ref().context("the proxy is not running")?;
        Ok(proxy.subscription())
    }

    /// The node that takes writes now.
    pub(crate) async fn primary(&self) -> Result<&'c Node> {
        let primary = self.cluster.acting_primary().await;
        primary.context("no node says that it is a primary")
    }

    /// Number of a node in configurations.
    pub(crate) fn index(&self, node: &Node) -> usize {
        let mut nodes = self.cluster.nodes().iter();
        nodes
            .position(|other| other.name() == node.name())
            .unwrap_or_default()
    }

    /// All nodes but one.
    pub(crate) fn others(&self, node: &Node) -> Vec<&'c Node> {
        let nodes = self.cluster.nodes().iter();
        nodes.filter(|other| other.name() != node.name()).collect()
    }

    /// Waits until transfers that begin now are acknowledged.
    pub(crate) async fn writes_go_on(&self, books: &Books, count: usize) -> Result<()> {
        let now = std::time::Instant::now();
        wait_until(DEADLINE, "commits to be acknowledged", || async {
            books.acknowledged_since(now) >= count
        })
        .await
        .with_context(|| self.beliefs())
    }

    /// What the proxy believes about the nodes, for messages.
    pub(crate) fn beliefs(&self) -> String {
        let Ok(mut subscription) = self.subscription() else {
            return "there is no proxy".to_owned();
        };
        let topology = &subscription.get().topology;
        let nodes = topology.nodes.iter().map(|node| {
            format!(
                "node {}: {:?}, {:?}, {}, follows {}, timeline {:?}",
                node.id.0,
                node.role,
                node.health,
                node.standing.name(),
                node.follows,
                node.timeline
            )
        });
        let nodes: Vec<String> = nodes.collect();
        format!("{:?}\n{}", topology.activity, nodes.join("\n"))
    }

    /// What the nodes said last.
    pub(crate) fn node_logs(&self) -> String {
        let nodes = self.cluster.nodes().iter();
        nodes.map(Node::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// What the proxy decided, and why; what it was based on is long, and there for promotions only.
    pub(crate) fn audit_log(&self) -> String {
        let path = self.cluster.root().join(AUDIT_LOG);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let value = |line: &str, name: &str| {
            let begin = line.find(&format!("\"{name}\":"))? + name.len() + 3;
            let rest = &line[begin..];
            let rest = rest.trim_start_matches('"');
            let end = rest.find(['"', ',']).unwrap_or(rest.len());
            Some(rest[..end].to_owned())
        };
        let lines = text.lines().map(|line| {
            let values = ["unix_ms", "what", "text"].map(|name| value(line, name));
            let values = values.map(Option::unwrap_or_default);
            let nodes = line.find("\"nodes\"").filter(|_| values[1] == "promoting");
            values.join(" ") + nodes.map_or("", |at| &line[at..])
        });
        let lines: Vec<String> = lines.collect();
        format!("the proxy's decisions:\n{}", lines.join("\n"))
    }
}

fn configuration(cluster: &Cluster, promoter: Promoter, port: u16) -> String {
    let root = cluster.root().display();
    let promote = promoter == Promoter::Proxy;
    let mut text = format!(
        "[listen]\naddress = \"127.0.0.1:{port}\"\ndrain_timeout = \"10s\"\n\
         [auth]\nmethod = \"trust\"\n\
         [[users]]\nname = \"postgres\"\npassword = \"password\"\n\
         [probe]\ninterval = \"300ms\"\ntimeout = \"1s\"\n\
         [pool]\nconnections_per_node_max = 60\n\
         [plugins]\ndir = \"plugins\"\n\
         [console]\noperators = [\"postgres\"]\n\
         [failover_rules]\nauto_failback_interval = 1\n\
         [failover]\npromote = {promote}\nrepoint = {promote}\nhold_timeout = \"25s\"\n\
         state_dir = '''{root}/state'''\naudit_log = '''{root}/{AUDIT_LOG}'''\n\
         demote_command = '''{}'''\n",
        cluster.demote_command().replace('\'', "\"")
    );
    if promote {
        let follow = cluster.follow_primary_command().replace('\'', "\"");
        text += &format!("follow_primary_command = '''{follow}'''\n");
    }
    for node in cluster.nodes() {
        let (host, port) = (node.host(), node.public_port());
        text += &format!("[[nodes]]\nhost = \"{host}\"\nport = {port}\n");
    }
    text
}

/// What each account has in the beginning.
pub(crate) const BALANCE: i64 = 1000;
/// How long the harness waits for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
const AUDIT_LOG: &str = "failover.log";
