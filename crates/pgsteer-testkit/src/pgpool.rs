//! The real Pgpool-II in front of a cluster, for tests that compare with it.
//!
//! It is a child like the servers: on a port of its own, with all its files in the cluster's
//! directory, and gone with this process, however that ends.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio_postgres::NoTls;

use crate::account::{Account, DeathSignal};
use crate::cluster::Cluster;
use crate::conf::quote;
use crate::ports;
use crate::process::Server;
use crate::wait::wait_until;

/// A running Pgpool-II; dropping it ends it.
#[derive(Debug)]
pub struct Pgpool {
    server: Server,
    port: u16,
    pcp_port: u16,
    log: PathBuf,
}

impl Pgpool {
    /// Starts it in front of all nodes of `cluster`, with one weight per node and further settings
    /// as names and values, and waits until it serves clients. The nodes must trust `postgres`.
    ///
    /// # Errors
    /// When it is not installed, or ends instead of serving (with its log).
    pub async fn start(
        cluster: &Cluster,
        weights: &[u32],
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let program = program()?;
        let account = Account::current()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = cluster.root().join(format!("pgpool{number}"));
        fs::create_dir_all(&dir)?;
        account.own(&dir)?;
        // Where the servers have theirs: a socket's path has to be short.
        let sockets = cluster.socket_dir();

        let (port, pcp_port) = (ports::free_port()?, ports::free_port()?);
        let mut conf = fixed(&dir, sockets, port, pcp_port);
        for (index, (node, weight)) in cluster.nodes().iter().zip(weights).enumerate() {
            let (host, node_port) = (node.host(), node.port());
            let _ = writeln!(
                conf,
                "backend_hostname{index} = '{host}'\nbackend_port{index} = {node_port}\n\
                 backend_weight{index} = {weight}\nbackend_application_name{index} = '{}'",
                node.name()
            );
        }
        for (name, value) in settings {
            let _ = writeln!(conf, "{name} = {}", quote(value));
        }
        for (name, text) in [("pgpool.conf", conf.as_str()), ("pcp.conf", PCP_CONF)] {
            fs::write(dir.join(name), text)?;
            account.own(&dir.join(name))?;
        }

        let log = dir.join("pgpool.log");
        let mut command = account.command(&program, DeathSignal::Quit);
        command.arg("-n").arg("-D").arg("-f");
        command.arg(dir.join("pgpool.conf")).arg("-F");
        command.arg(dir.join("pcp.conf")).args(["-k", "/dev/null"]);
        let server = Server::spawn("pgpool", command, fs::File::create(&log)?)?;
        let started = Self {
            server,
            port,
            pcp_port,
            log,
        };
        started.wait_until_it_serves().await?;
        Ok(started)
    }

    /// The TCP port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The TCP port for its tools; user `admin`, password `secret`.
    pub fn pcp_port(&self) -> u16 {
        self.pcp_port
    }

    /// All it has logged, for messages of failing tests.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    async fn wait_until_it_serves(&self) -> Result<()> {
        let conninfo = crate::clients::conninfo(self.port, "postgres");
        let serves =
            || async { self.server.exit_status().is_some() || answers(&conninfo).await.is_ok() };
        wait_until(START_DEADLINE, "Pgpool-II to serve clients", serves)
            .await
            .with_context(|| self.log())?;
        match self.server.exit_status() {
            None => Ok(()),
            Some(status) => bail!("Pgpool-II did not start ({status}):\n{}", self.log()),
        }
    }
}

impl Drop for Pgpool {
    fn drop(&mut self) {
        ports::release(self.port);
        ports::release(self.pcp_port);
    }
}

async fn answers(conninfo: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.simple_query("SELECT 1").await?;
    drop(client);
    Ok(connection.await??)
}

/// What every test wants: trust on both sides, no watchdog, no health checks, nodes looked at once.
fn fixed(dir: &Path, sockets: &Path, port: u16, pcp_port: u16) -> String {
    let dir = quote(&dir.to_string_lossy());
    let sockets = quote(&sockets.to_string_lossy());
    format!(
        "backend_clustering_mode = 'streaming_replication'\n\
         listen_addresses = '127.0.0.1'\nport = {port}\npcp_port = {pcp_port}\n\
         socket_dir = {sockets}\npcp_socket_dir = {sockets}\nwd_ipc_socket_dir = {sockets}\n\
         pid_file_name = 'pgpool.pid'\nlogdir = {dir}\n\
         num_init_children = 8\nmax_pool = 2\nenable_pool_hba = off\npool_passwd = ''\n\
         sr_check_user = 'postgres'\nsr_check_period = 0\nhealth_check_period = 0\n\
         load_balance_mode = on\n"
    )
}

/// Packages put it where an ordinary user's `PATH` does not lead.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = dirs.map(|dir| dir.join("pgpool"));
    programs.find(|program| program.is_file()).context(
        "Pgpool-II was not found: install it (Debian and Ubuntu: `apt-get install pgpool2`)",
    )
}

/// User and MD5 of the password of its tools.
const PCP_CONF: &str = "admin:5ebe2294ecd0e0f08eab7690d2a6ee69\n";

const START_DEADLINE: Duration = Duration::from_secs(60);
