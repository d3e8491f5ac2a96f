//! From a [`Builder`] to a running [`Cluster`], step by step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::account::{Account, DeathSignal};
use crate::binaries::postgres_bin_dir;
use crate::builder::Builder;
use crate::cluster::Cluster;
use crate::conf::{NodeConf, hba_conf, node_conf};
use crate::fault::Relay;
use crate::node::{Mode, Node};
use crate::ports;
use crate::replication::{
    base_backup, can_stream, ensure_roles_and_slots, follow, is_replica, remove_dir, set_password,
    timeline,
};
use crate::site::Site;

/// Starts everything the builder asks for. Dropping the future stops what was started by then.
pub(crate) async fn start(builder: Builder) -> Result<Cluster> {
    let bin_dir = postgres_bin_dir()?;
    let account = Account::current()?;
    let site = Site::prepare(builder.root.as_deref(), &account)?;
    let primary_index = find_primary(&site.root)?.unwrap_or(0);
    let node_count = (builder.replica_count + 1).max(primary_index + 1);
    crate::commands::write_scripts(&site.root)?;
    let nodes = (0..node_count).map(|index| {
        let machine = (&account, bin_dir.as_path());
        describe(&builder, &site, machine, (index, node_count))
    });
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    let Site {
        root,
        socket_dir,
        temporary,
        keeps_data,
        lock,
    } = site;
    let cluster = Cluster {
        nodes,
        primary_index,
        root,
        socket_dir,
        _temporary: temporary,
        keeps_data,
        _lock: lock,
    };
    start_primary(&builder, &cluster).await?;
    for (index, replica) in cluster.nodes.iter().enumerate() {
        if index != primary_index {
            start_replica(&builder, &cluster, replica).await?;
        }
    }
    cluster
        .wait_until_streaming(STREAMING_DEADLINE)
        .await
        .with_context(|| {
            cluster
                .replicas()
                .iter()
                .map(|node| node.log_tail())
                .collect::<Vec<_>>()
                .join("\n")
        })?;
    (builder.progress)(&format!(
        "{} replicas are streaming",
        cluster.nodes.len() - 1
    ));
    Ok(cluster)
}

/// A node that does not run yet.
fn describe(
    builder: &Builder,
    site: &Site,
    (account, bin_dir): (&Account, &Path),
    (index, count): (usize, usize),
) -> Result<Node> {
    let name = format!("node{index}");
    let port = choose_port(builder, &name, index)?;
    let others = (0..count).filter(|other| *other != index && builder.synchronous);
    let others: Vec<String> = others.map(|other| format!("node{other}")).collect();
    let conf = node_conf(&NodeConf {
        name: &name,
        port,
        socket_dir: &site.socket_dir.to_string_lossy(),
        fast: builder.fast,
        synchronous: &others,
        extra: &builder.conf_lines,
    });
    let relay = if builder.relays {
        Some(Relay::start(ports::free_port()?, port)?)
    } else {
        None
    };
    Ok(Node {
        port,
        data_dir: site.root.join(&name),
        log_path: site.root.join(format!("{name}.log")),
        socket_dir: site.socket_dir.clone(),
        password: builder.password.clone(),
        account: account.clone(),
        bin_dir: bin_dir.to_owned(),
        number: if index == 0 { count } else { index },
        conf,
        hba: hba_conf(&builder.hba_lines),
        relay,
        keeps_data: site.keeps_data,
        surgery: tokio::sync::Mutex::default(),
        left_alone: AtomicBool::new(false),
        process: Mutex::new(None),
        name,
    })
}

async fn start_primary(builder: &Builder, cluster: &Cluster) -> Result<()> {
    let primary = cluster.primary();
    if primary.data_dir.exists() {
        (builder.progress)(&format!(
            "{}: starting the primary as it was kept",
            primary.name
        ));
    } else {
        (builder.progress)(&format!("{}: creating the primary", primary.name));
        init_db(&cluster.root, primary).await?;
    }
    primary.write_configuration()?;
    primary.start().await?;
    (builder.progress)(&format!(
        "{}: primary accepts connections on port {}",
        primary.name, primary.port
    ));
    set_password(primary).await?;
    let numbers: Vec<usize> = cluster.replicas().iter().map(|node| node.number).collect();
    ensure_roles_and_slots(primary, &numbers).await
}

async fn start_replica(builder: &Builder, cluster: &Cluster, replica: &Node) -> Result<()> {
    let Node { name, data_dir, .. } = replica;
    if data_dir.exists() && !is_replica(data_dir) {
        let aside = set_aside(data_dir)?.display().to_string();
        (builder.progress)(&format!(
            "{name}: was replaced as primary; its data is now in {aside}"
        ));
    }
    if data_dir.exists() {
        (builder.progress)(&format!("{name}: starting the replica as it was kept"));
        bring_up(builder, cluster, replica).await?;
        if can_stream(cluster.primary(), replica).await {
            return Ok(());
        }
        replica.stop(Mode::Fast).await?;
        let aside = set_aside(data_dir)?.display().to_string();
        (builder.progress)(&format!(
            "{name}: cannot follow the primary; its data is now in {aside}"
        ));
    }
    (builder.progress)(&format!("{name}: taking a base backup of the primary"));
    base_backup(cluster.primary(), replica).await?;
    bring_up(builder, cluster, replica).await
}

async fn bring_up(builder: &Builder, cluster: &Cluster, replica: &Node) -> Result<()> {
    replica.write_configuration()?;
    follow(cluster.primary(), replica)?;
    replica.start().await?;
    let Node { name, port, .. } = replica;
    (builder.progress)(&format!(
        "{name}: replica accepts connections on port {port}"
    ));
    Ok(())
}

/// Finds the primary among the data directories of a kept root: the one that is no replica. After a
/// failover there may be two; the one with the later timeline is right. `None` for a new root.
fn find_primary(root: &Path) -> Result<Option<usize>> {
    let dirs = || (0..).map(|index| (index, root.join(format!("node{index}"))));
    let existing: Vec<(usize, PathBuf)> = dirs()
        .take(NODES_MAX)
        .filter(|(_, dir)| dir.join("PG_VERSION").exists())
        .collect();
    let primary = existing
        .iter()
        .filter(|(_, dir)| !is_replica(dir))
        .max_by_key(|(index, dir)| (timeline(dir), std::cmp::Reverse(*index)));
    if primary.is_none() && !existing.is_empty() {
        bail!(
            "{} holds replicas but no primary: remove it and start again",
            root.display()
        );
    }
    Ok(primary.map(|(index, _)| *index))
}

fn choose_port(builder: &Builder, name: &str, index: usize) -> Result<u16> {
    let Some(&preferred) = builder.preferred_ports.get(index) else {
        return ports::free_port();
    };
    if ports::reserve(preferred) {
        return Ok(preferred);
    }
    let port = ports::free_port()?;
    (builder.progress)(&format!(
        "{name}: port {preferred} is taken, using {port} instead"
    ));
    Ok(port)
}

async fn init_db(root: &Path, node: &Node) -> Result<()> {
    let incomplete = node.data_dir.with_extension("incomplete");
    remove_dir(&incomplete)?;
    let password_file = root.join("initdb-password");
    write_file(&node.account, &password_file, &node.password)?;
    let mut command = node
        .account
        .command(&node.bin_dir.join("initdb"), DeathSignal::Kill);
    command
        .args([
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--username=postgres",
        ])
        .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
        .arg(&incomplete)
        .arg("--pwfile")
        .arg(&password_file);
    let outcome = run(command).await;
    fs::remove_file(&password_file)?;
    outcome?;
    let conf = incomplete.join("postgresql.conf");
    let text = fs::read_to_string(&conf)? + "\ninclude = 'pgsteer.conf'\n";
    write_file(&node.account, &conf, &text)?;
    fs::rename(&incomplete, &node.data_dir)?;
    Ok(())
}

/// Renames a data directory that must not start again; it is not ours to delete.
pub(crate) fn set_aside(data_dir: &Path) -> Result<PathBuf> {
    for number in 1..NODES_MAX {
        let aside = data_dir.with_extension(format!("superseded-{number}"));
        if !aside.exists() {
            fs::rename(data_dir, &aside)?;
            return Ok(aside);
        }
    }
    bail!(
        "too many superseded copies beside {}: remove some",
        data_dir.display()
    );
}

/// Writes a file that only the servers' user can read: some of them hold passwords.
pub(crate) fn write_file(account: &Account, path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    account.own(path)
}

/// Runs a program to its end; its standard error is the message when it fails. It is started by the
/// thread that polls us, and dies with that: a worker or main thread, which outlives the wait.
pub(crate) async fn run(command: Command) -> Result<()> {
    let program = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let output = tokio::process::Command::from(command)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run setpriv (package util-linux)")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}):\n{text}", output.status);
    }
    Ok(())
}

/// After a base backup a replica streams within a second; a loaded machine takes longer.
const STREAMING_DEADLINE: Duration = Duration::from_secs(60);
/// Ours, to end searches by number.
const NODES_MAX: usize = 64;
