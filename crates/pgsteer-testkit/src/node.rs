//! One PostgreSQL server of a cluster and what can be done to it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::account::{Account, DeathSignal};
use crate::fault::{Link, Relay};
use crate::process::Server;
use crate::wait::wait_until;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PostgreSQL's fast shutdown: sessions are ended, a checkpoint is written.
    Fast,
    /// PostgreSQL's immediate shutdown: no checkpoint, the next start recovers.
    Immediate,
    /// SIGKILL to the postmaster and all its children at once, as when a machine fails.
    Kill9,
}

/// A node of a cluster; it keeps its port and data directory while it is stopped and started again.
#[derive(Debug)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) data_dir: PathBuf,
    pub(crate) log_path: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) password: String,
    pub(crate) account: Account,
    pub(crate) bin_dir: PathBuf,
    /// Of its replication role and slot; its own, whatever it follows.
    pub(crate) number: usize,
    /// `pgsteer.conf` and `pg_hba.conf`.
    pub(crate) conf: String,
    pub(crate) hba: String,
    pub(crate) relay: Option<Relay>,
    pub(crate) keeps_data: bool,
    /// Held while it is made something else.
    pub(crate) surgery: tokio::sync::Mutex<()>,
    pub(crate) left_alone: AtomicBool,
    pub(crate) process: Mutex<Option<Arc<Server>>>,
}

impl Node {
    /// Its name: `node0`, `node1`, ...; also its `cluster_name` and, on a replica, the
    /// `application_name` the primary sees.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        HOST
    }

    /// The TCP port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The TCP port under which proxies and replicas reach it: that of its relay, if the cluster
    /// [has them](crate::Builder::relays).
    pub fn public_port(&self) -> u16 {
        self.relay.as_ref().map_or(self.port, Relay::port)
    }

    /// Changes the network in front of it. Nothing happens in a cluster without relays.
    pub fn set_link(&self, link: Link) {
        if let Some(relay) = &self.relay {
            relay.set(link);
        }
    }

    /// While true, the follow command of the cluster refuses to touch it.
    pub fn leave_alone(&self, alone: bool) {
        self.left_alone.store(alone, Ordering::Relaxed);
    }

    pub(crate) fn is_left_alone(&self) -> bool {
        self.left_alone.load(Ordering::Relaxed)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A libpq connection string for the user `postgres`, without the password.
    pub fn conninfo(&self, dbname: &str) -> String {
        crate::clients::conninfo(self.port, dbname)
    }

    /// Process id of the postmaster, `None` while the server is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.running().map(|server| server.pid())
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// When it runs already, ends while starting (with the end of its log) or does not answer
    /// within 90 s.
    pub async fn start(&self) -> Result<()> {
        ensure!(self.running().is_none(), "{} runs already", self.name);
        self.wait_for_predecessor().await?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log_path)
            .with_context(|| format!("cannot write {}", self.log_path.display()))?;
        let mut command = self
            .account
            .command(&self.bin_dir.join("postgres"), DeathSignal::Quit);
        command.arg("-D").arg(&self.data_dir);
        let server = Arc::new(Server::spawn(&self.name, command, log)?);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&server));
        wait_until(
            START_DEADLINE,
            &format!("{} to accept connections", self.name),
            || async {
                server.exit_status().is_some() || self.connect_by_socket("postgres").await.is_ok()
            },
        )
        .await
        .with_context(|| self.log_tail())?;
        match server.exit_status() {
            None => Ok(()),
            Some(status) => bail!(
                "{} did not start ({status}):\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// Stops the server and waits until it is gone. A paused server is resumed for it. Nothing
    /// happens when it does not run.
    ///
    /// # Errors
    /// When the server does not end even after SIGKILL.
    pub async fn stop(&self, mode: Mode) -> Result<()> {
        let Some(server) = self.running() else {
            return Ok(());
        };
        match mode {
            Mode::Fast => server.shut_down(Signal::INT).await,
            Mode::Immediate => server.shut_down(Signal::QUIT).await,
            Mode::Kill9 => server.kill_all(),
        }
        wait_until(
            Duration::from_secs(10),
            &format!("the end of {}", self.name),
            || async { server.exit_status().is_some() },
        )
        .await
    }

    /// Makes a replica a primary and waits until it takes writes.
    ///
    /// # Errors
    /// When it is no replica, or still recovers after 60 s.
    pub async fn promote(&self) -> Result<()> {
        self.sql("SELECT pg_promote(false)").await?;
        wait_until(
            Duration::from_secs(60),
            &format!("the promotion of {}", self.name),
            || async {
                self.value("SELECT pg_is_in_recovery()")
                    .await
                    .is_ok_and(|answer| answer == "f")
            },
        )
        .await
    }

    /// Stops the server's processes (SIGSTOP): it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn pause(&self) -> Result<()> {
        let server = self
            .running()
            .with_context(|| format!("{} does not run", self.name))?;
        server.pause();
        Ok(())
    }

    /// Ends a [`pause`](Self::pause) (SIGCONT).
    ///
    /// # Errors
    /// When the server does not run.
    pub fn resume(&self) -> Result<()> {
        let server = self
            .running()
            .with_context(|| format!("{} does not run", self.name))?;
        server.resume();
        Ok(())
    }

    /// Connects over TCP as `postgres` with its password. The connection is driven by a task of its
    /// own and ends with the client.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn connect(&self, dbname: &str) -> Result<Client> {
        self.connect_to(HOST, dbname).await
    }

    /// Runs one or more statements in the database `postgres` and returns the rows of all of them,
    /// values as text.
    ///
    /// # Errors
    /// When the server cannot be reached or a statement fails.
    pub async fn sql(&self, text: &str) -> Result<Vec<Vec<Option<String>>>> {
        let client = self.connect_by_socket("postgres").await?;
        let messages = client
            .simple_query(text)
            .await
            .with_context(|| format!("{} refused: {text}", self.name))?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|i| row.get(i).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect())
    }

    /// Runs a statement and returns the first value of its first row as text.
    ///
    /// # Errors
    /// As [`sql`](Self::sql), and when there is no row or the value is null.
    pub async fn value(&self, text: &str) -> Result<String> {
        let rows = self.sql(text).await?;
        let value = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .flatten();
        value.with_context(|| format!("no value from {}: {text}", self.name))
    }

    /// The last 40 lines of the server's log, for messages of failing tests.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log_path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!("end of {}:\n{}", self.log_path.display(), tail.join("\n"))
    }

    pub(crate) fn write_configuration(&self) -> Result<()> {
        let write = |name: &str, text: &str| {
            crate::setup::write_file(&self.account, &self.data_dir.join(name), text)
        };
        write("pgsteer.conf", &self.conf)?;
        write("pg_hba.conf", &self.hba)
    }

    pub(crate) fn running(&self) -> Option<Arc<Server>> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process
            .clone()
            .filter(|server| server.exit_status().is_none())
    }

    /// Our own access: works whatever the password and `pg_hba.conf` for TCP say.
    async fn connect_by_socket(&self, dbname: &str) -> Result<Client> {
        self.connect_to(&self.socket_dir.to_string_lossy(), dbname)
            .await
    }

    async fn connect_to(&self, host: &str, dbname: &str) -> Result<Client> {
        let (client, connection) = Config::new()
            .host(host)
            .port(self.port)
            .user("postgres")
            .password(&self.password)
            .dbname(dbname)
            .application_name("testkit")
            .connect_timeout(Duration::from_secs(10))
            .connect(NoTls)
            .await
            .with_context(|| format!("cannot connect to {} on port {}", self.name, self.port))?;
        let name = self.name.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(node = name, %error, "connection ended");
            }
        });
        Ok(client)
    }

    /// After a kill of our predecessor its servers need a moment to end; until then they hold the
    /// data directory.
    async fn wait_for_predecessor(&self) -> Result<()> {
        let lock = self.data_dir.join("postmaster.pid");
        let what = format!("the server that still holds {}", self.data_dir.display());
        wait_until(Duration::from_secs(15), &what, || async { !is_held(&lock) }).await
    }
}

/// True when the process named in a `postmaster.pid` is a living PostgreSQL server.
fn is_held(lock: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(lock) else {
        return false;
    };
    let Some(pid) = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<u32>().ok())
    else {
        return false;
    };
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres")
}

const HOST: &str = "127.0.0.1";
/// Crash recovery on a loaded two-core machine is the slow case.
const START_DEADLINE: Duration = Duration::from_secs(90);
