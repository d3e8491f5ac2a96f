//! `pgsteer lab`: a real cluster and the proxy in front of it, on this machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pgsteer_control::config::{self, Loaded, Source};
use pgsteer_testkit::{Cluster, DEFAULT_PASSWORD};

use crate::cli::{LabArgs, say};
use crate::run::Proxy;
use crate::serve::{Calling, serve};
use crate::signals::{Request, Signals};

/// Name of the admin socket in the directory of the lab.
const SOCKET: &str = "admin.sock";

/// Port for the tools of Pgpool-II, the default of `pcp.listen`.
const PCP_PORT: u16 = 9898;

/// Ports of the primary and the two replicas, as in the docker-compose users come from.
const PORTS: [u16; 3] = [5432, 5433, 5434];

/// Starts everything, waits for Ctrl-C, stops everything.
pub(crate) fn run(args: &LabArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(lab(args));
    runtime.shutdown_background();
    ended
}

async fn lab(args: &LabArgs) -> Result<()> {
    // Before the servers, which take seconds to start.
    std::net::TcpListener::bind(("0.0.0.0", args.port))
        .with_context(|| format!("port {} is in use; choose another with --port", args.port))?;
    let mut signals = Signals::new()?;
    let mut builder = Cluster::builder()
        .preferred_ports(&PORTS)
        .conf_line("max_connections = 200")
        .progress(|text| say(&format!("  {text}")));
    if let Some(data) = &args.data {
        builder = builder.root(data);
    }
    say("starting a primary and two streaming replicas");
    let cluster = tokio::select! {
        started = builder.start() => started?,
        Request::Stop = signals.next() => bail!("stopped before the servers were ready"),
    };
    drop(signals);
    let served = match configure(args, &cluster) {
        Ok((file, loaded)) => {
            let ready = |proxy: &Proxy| welcome(args, &cluster, proxy);
            tokio::select! {
                served = serve(loaded, Source::File(file), ready, Calling::Lab) => served,
                failed = cluster.serve_commands() => failed,
            }
        }
        Err(error) => Err(error),
    };
    say("stopping the servers");
    let stopped = cluster.stop().await;
    served.and(stopped)
}

/// Writes the configuration of the lab, which is an example to start from.
fn configure(args: &LabArgs, cluster: &Cluster) -> Result<(std::path::PathBuf, Loaded)> {
    let dir = &args.dir;
    fs::create_dir_all(dir.join("plugins"))
        .with_context(|| format!("cannot create {}/plugins", dir.display()))?;
    let file = dir.join("pgsteer.toml");
    let text = configuration(args, cluster)?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let loaded = config::load(&Source::File(file.clone()))?;
    Ok((file, loaded))
}

fn configuration(args: &LabArgs, cluster: &Cluster) -> Result<String> {
    let weights: Vec<&str> = args.weights.split(',').map(str::trim).collect();
    if weights.len() != cluster.nodes().len() {
        bail!(
            "--weights takes {} numbers, such as 0,1,1",
            cluster.nodes().len()
        );
    }
    let mut text = format!(
        "# Written by `pgsteer lab` at every start; config/pgsteer.toml explains every setting.\n\
         [listen]\naddress = \"0.0.0.0:{}\"\n\n\
         [[users]]\nname = \"postgres\"\npassword = \"{DEFAULT_PASSWORD}\"\n\n\
         [pool]\nconnections_per_node_max = 180\n\n\
         [plugins]\ndir = \"plugins\"\n\n\
         [console]\noperators = [\"postgres\"]\n\n\
         [admin]\nsocket = \"{SOCKET}\"\n",
        args.port
    );
    // Pgpool-II, or another lab, may be running here.
    if std::net::TcpListener::bind(("127.0.0.1", PCP_PORT)).is_ok() {
        text +=
            &format!("\n[[pcp_users]]\nname = \"postgres\"\npassword = \"{DEFAULT_PASSWORD}\"\n");
    }
    text += &failover(cluster);
    for (node, weight) in cluster.nodes().iter().zip(weights) {
        let (host, port) = (node.host(), node.port());
        text += &format!("\n[[nodes]]\nhost = \"{host}\"\nport = {port}\nweight = {weight}\n");
    }
    Ok(text)
}

/// So that a dead primary comes back as a replica, and `pgsteer node switchover` works.
fn failover(cluster: &Cluster) -> String {
    let demote = toml::Value::from(cluster.demote_command());
    let follow = toml::Value::from(cluster.follow_primary_command());
    format!(
        "\n[failover]\nstate_dir = \"state\"\naudit_log = \"failover.log\"\n\
         demote_command = {demote}\nfollow_primary_command = {follow}\n"
    )
}

fn welcome(args: &LabArgs, cluster: &Cluster, proxy: &Proxy) -> Result<()> {
    let port = proxy
        .addresses()
        .first()
        .context("the proxy listens nowhere")?
        .port();
    let nodes: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|n| format!("{} on port {}", n.name(), n.port()))
        .collect();
    say(&format!("\nservers: {}", nodes.join(", ")));
    say(&format!(
        "plugins: drop NN-name.wasm into {}",
        shown(&args.dir.join("plugins"))
    ));
    say(&format!(
        "configuration: {}",
        shown(&args.dir.join("pgsteer.toml"))
    ));
    say(&format!(
        "what happens to the primary: {}",
        shown(&args.dir.join("failover.log"))
    ));
    say(&format!(
        "nodes: pgsteer node list --socket {}",
        shown(&args.dir.join(SOCKET))
    ));
    if let Some(address) = proxy.pcp_addresses().first() {
        let (ip, port) = (address.ip(), address.port());
        say(&format!(
            "       pcp_node_info -h {ip} -p {port} -U postgres   (password: {DEFAULT_PASSWORD})"
        ));
    }
    say("Ctrl-C stops everything. Connect with:\n");
    say(&format!(
        "  PGPASSWORD={DEFAULT_PASSWORD} psql -h localhost -p {port} -U postgres\n"
    ));
    Ok(())
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}
