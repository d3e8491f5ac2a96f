//! Who is compared, and how each is configured: all in front of the primary alone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pgsteer_testkit::Cluster;
use pgsteer_testkit::daemon::{Daemon, RunAs};
use pgsteer_testkit::ports::free_port;

use crate::stage::{CLIENTS_MAX, Stage, USER};

/// What stands between pgbench and the primary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contender {
    Direct,
    Haproxy,
    PgBouncer(Pooling),
    Pgpool,
    Pgsteer(Settings),
}

/// How long a client keeps a server connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pooling {
    #[default]
    Session,
    Transaction,
}

/// What differs from the default settings of pgsteer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Said after the name where several are compared; empty for the usual one.
    pub(crate) label: String,
    pub(crate) pooling: Pooling,
    /// Lines for the sections `[router]` and `[plugins]`.
    pub(crate) router: &'static str,
    pub(crate) plugins: &'static str,
    /// Components in its directory of plugins.
    pub(crate) components: Vec<(String, Vec<u8>)>,
    /// How many nodes it knows; the primary and its two replicas come first, and again under other
    /// addresses of this machine.
    pub(crate) nodes: Option<usize>,
    /// Threads; one per core if not said.
    pub(crate) workers: usize,
}

impl Settings {
    pub(crate) fn transaction() -> Self {
        Self {
            pooling: Pooling::Transaction,
            ..Self::default()
        }
    }
}

/// A contender that serves.
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) daemon: Option<Daemon>,
    /// Its own directory.
    pub(crate) dir: PathBuf,
}

impl Contender {
    /// As in tables and in the JSON.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::Haproxy => "haproxy".to_owned(),
            Self::PgBouncer(_) => "pgbouncer".to_owned(),
            Self::Pgpool => "pgpool".to_owned(),
            Self::Pgsteer(settings) if settings.label.is_empty() => "pgsteer".to_owned(),
            Self::Pgsteer(settings) => format!("pgsteer {}", settings.label),
        }
    }

    /// Starts it, with room for so many clients at once.
    pub(crate) async fn start(&self, stage: &Stage, clients: usize) -> Result<Front> {
        let dir = stage.new_dir()?;
        let primary = stage.cluster.primary().port();
        if *self == Self::Direct {
            return Ok(front(self, primary, None, dir));
        }
        let port = free_port()?;
        let place = (dir.as_path(), port);
        let daemon = match self {
            Self::Direct => None,
            Self::Haproxy => {
                write(&dir, "haproxy.cfg", &haproxy(port, primary))?;
                let args = ["-db", "-f", "haproxy.cfg"];
                let program = program("haproxy")?;
                Some(Daemon::start("haproxy", &program, &args, RunAs::ServerUser, place).await?)
            }
            Self::PgBouncer(pooling) => {
                write(&dir, "userlist.txt", USERLIST)?;
                write(&dir, "hba", HBA)?;
                write(&dir, "pgbouncer.ini", &pgbouncer(port, primary, *pooling))?;
                let program = program("pgbouncer")?;
                let args = ["-q", "pgbouncer.ini"];
                Some(Daemon::start("pgbouncer", &program, &args, RunAs::ServerUser, place).await?)
            }
            Self::Pgpool => {
                write(&dir, "pool_passwd", "postgres:TEXTpassword\n")?;
                write(&dir, "pool_hba.conf", HBA)?;
                write(&dir, "pcp.conf", "")?;
                write(&dir, "pgpool.conf", &pgpool(&dir, port, primary, clients)?)?;
                Some(start_pgpool(place).await?)
            }
            Self::Pgsteer(settings) => {
                let text = pgsteer(port, &stage.cluster, settings);
                write(&dir, "pgsteer.toml", &text)?;
                fs::create_dir_all(dir.join("plugins"))?;
                for (name, bytes) in &settings.components {
                    fs::write(dir.join("plugins").join(name), bytes)?;
                }
                let file = dir.join("pgsteer.toml").to_string_lossy().into_owned();
                let args = ["serve", "--config", &file];
                let run_as = RunAs::Ourselves;
                Some(Daemon::start("pgsteer", &stage.pgsteer, &args, run_as, place).await?)
            }
        };
        Ok(front(self, port, daemon, dir))
    }
}

impl Front {
    /// The process, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }
}

async fn start_pgpool(place: (&Path, u16)) -> Result<Daemon> {
    let program = program("pgpool")?;
    let args = [
        "-n",
        "-D",
        "-f",
        "pgpool.conf",
        "-a",
        "pool_hba.conf",
        "-F",
        "pcp.conf",
        "-k",
        "/dev/null",
    ];
    Daemon::start("pgpool", &program, &args, RunAs::ServerUser, place).await
}

fn front(contender: &Contender, port: u16, daemon: Option<Daemon>, dir: PathBuf) -> Front {
    Front {
        name: contender.name(),
        port,
        daemon,
        dir,
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(dir.join(name), text).with_context(|| format!("cannot write {name}"))
}

/// Packages put proxies where an ordinary user's `PATH` does not lead.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = dirs.map(|dir| dir.join(name));
    let found = programs.find(|program| program.is_file());
    found.with_context(|| format!("{name} was not found: run `make bench`, which installs it"))
}

fn haproxy(port: u16, primary: u16) -> String {
    format!(
        "global\n  maxconn 2000\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 5m\n  timeout server 5m\nfrontend in\n  bind 127.0.0.1:{port}\n  \
         default_backend primary\nbackend primary\n  server primary 127.0.0.1:{primary}\n"
    )
}

fn pgbouncer(port: u16, primary: u16, pooling: Pooling) -> String {
    let (mode, size) = match pooling {
        Pooling::Session => ("session", 600),
        Pooling::Transaction => ("transaction", TRANSACTION_SERVERS),
    };
    format!(
        "[databases]\npostgres = host=127.0.0.1 port={primary}\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nlisten_backlog = 4096\nunix_socket_dir =\n\
         auth_type = hba\nauth_hba_file = hba\nauth_file = userlist.txt\npool_mode = {mode}\n\
         max_client_conn = {CLIENTS_MAX}\ndefault_pool_size = {size}\n\
         ignore_startup_parameters = extra_float_digits\n"
    )
}

fn pgpool(dir: &Path, port: u16, primary: u16, clients: usize) -> Result<String> {
    let (dir, pcp_port) = (dir.display(), free_port()?);
    let children = clients + 8;
    Ok(format!(
        "backend_clustering_mode = 'streaming_replication'\nlisten_addresses = '127.0.0.1'\n\
         port = {port}\npcp_port = {pcp_port}\nsocket_dir = '{dir}'\npcp_socket_dir = '{dir}'\n\
         wd_ipc_socket_dir = '{dir}'\npid_file_name = '{dir}/pgpool.pid'\nlogdir = '{dir}'\n\
         num_init_children = {children}\nmax_pool = 1\nenable_pool_hba = on\n\
         pool_passwd = '{dir}/pool_passwd'\nsr_check_user = 'postgres'\n\
         sr_check_password = 'password'\nsr_check_period = 10\nhealth_check_period = 0\n\
         load_balance_mode = on\nbackend_hostname0 = '127.0.0.1'\nbackend_port0 = {primary}\n\
         backend_weight0 = 1\n"
    ))
}

fn pgsteer(port: u16, cluster: &Cluster, settings: &Settings) -> String {
    let Settings {
        router, plugins, ..
    } = settings;
    let (mode, limit) = match settings.pooling {
        Pooling::Session => ("session", 600),
        Pooling::Transaction => ("transaction", TRANSACTION_SERVERS),
    };
    let workers = settings.workers;
    let mut text = format!(
        "[listen]\naddress = \"127.0.0.1:{port}\"\nclients_max = {CLIENTS_MAX}\n\
         drain_timeout = \"1s\"\nworkers = {workers}\n\
         [[hba]]\ntype = \"host\"\nuser = \"{USER}\"\nmethod = \"trust\"\n\
         [[hba]]\ntype = \"host\"\nmethod = \"scram-sha-256\"\n\
         [[users]]\nname = \"postgres\"\npassword = \"password\"\n\
         [[users]]\nname = \"{USER}\"\npassword = \"unused\"\n\
         [pool]\nmode = \"{mode}\"\nconnections_per_node_max = {limit}\n\
         [pcp]\nlisten = []\n[console]\noperators = [\"postgres\"]\n\
         [plugins]\ndir = \"plugins\"\n{plugins}\n[router]\n{router}\n"
    );
    let count = settings.nodes.unwrap_or(cluster.nodes().len());
    let replicas = cluster.replicas();
    let others = replicas.iter().cycle().enumerate().map(|(number, node)| {
        // Every address of 127.0.0.0/8 is this machine.
        (number / replicas.len() + 1, node.port(), 0)
    });
    // All reads go to the primary.
    let nodes = std::iter::once((1, cluster.primary().port(), 1)).chain(others);
    for (host, port, weight) in nodes.take(count) {
        let _ = writeln!(
            text,
            "[[nodes]]\nhost = \"127.0.0.{host}\"\nport = {port}\nweight = {weight}"
        );
    }
    text
}

/// Server connections of a pool in transaction mode.
const TRANSACTION_SERVERS: usize = 64;

/// Who may come without a password, and who with one.
const HBA: &str = "host all bench 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
const USERLIST: &str = "\"postgres\" \"password\"\n\"bench\" \"\"\n";
