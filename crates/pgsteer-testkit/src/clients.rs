//! PostgreSQL's own clients: `psql` and `pgbench`.

use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::account::remove_pg_variables;
use crate::binaries::client_program;
use crate::builder::DEFAULT_PASSWORD;
use crate::conf::quote_conninfo;

/// What a client program printed and how it ended.
#[derive(Debug)]
pub struct ClientOutput {
    /// Its exit status; 0 when all went well, 2 when psql could not connect, 3 when SQL failed.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ClientOutput {
    /// Returns standard output without white space at its end.
    ///
    /// # Errors
    /// When the program did not end with status 0, with what it wrote to standard error.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("{}: {}{}", self.status, self.stderr, self.stdout);
        }
        Ok(self.stdout.trim_end().to_owned())
    }
}

/// Returns a libpq connection string for the user `postgres` on this machine.
pub fn conninfo(port: u16, dbname: &str) -> String {
    format!(
        "host=127.0.0.1 port={port} user=postgres dbname={}",
        quote_conninfo(dbname)
    )
}

/// Runs `sql` with the real psql: no start-up file, unaligned rows without headers, columns
/// separated by `|`, ends at the first error.
///
/// The password is [`DEFAULT_PASSWORD`] unless `conninfo` says another.
///
/// # Errors
/// When psql cannot be run. A failing statement is an [`ClientOutput::status`], not an error here.
pub async fn psql(conninfo: &str, sql: &str) -> Result<ClientOutput> {
    let args = [
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        conninfo,
        "-c",
        sql,
    ];
    run("psql", &args).await
}

/// Runs the real pgbench against `conninfo` with `args` before it, for instance
/// `["-i", "-s", "10"]` or `["-M", "prepared", "-c", "32", "-T", "30"]`.
///
/// The password is [`DEFAULT_PASSWORD`] unless `conninfo` says another.
///
/// # Errors
/// When pgbench cannot be run. Failing transactions show in [`ClientOutput`], not here.
pub async fn pgbench(conninfo: &str, args: &[&str]) -> Result<ClientOutput> {
    run("pgbench", &[args, &[conninfo]].concat()).await
}

/// Runs another client program of PostgreSQL's, for instance `pg_basebackup`.
///
/// The password is [`DEFAULT_PASSWORD`] unless an argument says another.
///
/// # Errors
/// When it cannot be run. How it ended is in [`ClientOutput`].
pub async fn client(name: &str, args: &[&str]) -> Result<ClientOutput> {
    run(name, args).await
}

async fn run(name: &str, args: &[&str]) -> Result<ClientOutput> {
    let program = client_program(name)?;
    let mut command = Command::new(&program);
    remove_pg_variables(|variable| {
        command.env_remove(variable);
    });
    let output = command
        .args(args)
        .env("PGPASSWORD", DEFAULT_PASSWORD)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| {
            format!(
                "cannot run {} (package postgresql-client)",
                program.display()
            )
        })?;
    Ok(ClientOutput {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
