//! Another program that serves while a benchmark or a test runs, and is gone with this process.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::account::{Account, DeathSignal};
use crate::ports;
use crate::process::Server;
use crate::wait::wait_until;

/// Who a program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// As we do.
    Ourselves,
    /// As the servers do, for programs that refuse to run as root.
    ServerUser,
}

/// A running program with a TCP port; dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    server: Server,
    name: String,
    port: u16,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program` with `args` and waits until something listens on `port`, which is given back
    /// in the end. What it prints goes to `NAME.log` in `dir`.
    ///
    /// # Errors
    /// When it cannot be run, or does not listen within three minutes (with the end of its log).
    pub async fn start(
        name: &str,
        program: &Path,
        args: &[&str],
        run_as: RunAs,
        (dir, port): (&Path, u16),
    ) -> Result<Self> {
        let account = match run_as {
            RunAs::Ourselves => Account::ourselves(),
            RunAs::ServerUser => Account::current()?,
        };
        let log = dir.join(format!("{name}.log"));
        let mut command = account.command(program, DeathSignal::Kill);
        command.args(args).current_dir(dir);
        let server = Server::spawn(name, command, fs::File::create(&log)?)?;
        let name = name.to_owned();
        let started = Self {
            server,
            name,
            port,
            log,
        };
        started.wait_until_it_listens().await?;
        Ok(started)
    }

    /// The TCP port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The end of what it has printed.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_LEN_SHOWN);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    async fn wait_until_it_listens(&self) -> Result<()> {
        let listens = || async {
            self.server.exit_status().is_some()
                || TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        };
        wait_until(START_DEADLINE, &format!("{} to listen", self.name), listens)
            .await
            .with_context(|| self.log())?;
        match self.server.exit_status() {
            None => Ok(()),
            Some(status) => bail!("{} did not start ({status}):\n{}", self.name, self.log()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Pgpool-II waits for its clients on TERM, and they are gone by now.
        if self.server.exit_status().is_none() {
            self.server.begin_shut_down(Signal::TERM);
            self.server.wait_blocking();
        }
        if self.server.is_running() {
            self.server.kill_all();
        }
        ports::release(self.port);
    }
}

/// For messages, in bytes.
const LOG_LEN_SHOWN: usize = 2000;

/// Under an instrumenting tool a start takes long.
const START_DEADLINE: Duration = Duration::from_secs(180);
