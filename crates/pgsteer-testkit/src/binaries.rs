//! Where the PostgreSQL programs of this machine are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// Finds the directory with `initdb`, `postgres` and `pg_basebackup`.
///
/// Looks at the variable `PGSTEER_PG_BIN`, then `pg_config --bindir`, then the highest version below
/// `/usr/lib/postgresql`, then `PATH`.
///
/// # Errors
/// When `PGSTEER_PG_BIN` is set to something else than such a directory, or nothing is found; the
/// message names what to install.
pub fn postgres_bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("PGSTEER_PG_BIN").filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        if let Some(missing) = first_missing(&dir) {
            bail!(
                "PGSTEER_PG_BIN is {}, which has no program {missing}",
                dir.display()
            );
        }
        return Ok(dir);
    }
    let candidates = from_pg_config()
        .into_iter()
        .chain(from_debian())
        .chain(from_path());
    for dir in candidates {
        if first_missing(&dir).is_none() {
            return Ok(dir);
        }
    }
    bail!(
        "PostgreSQL server programs ({}) were not found: install them (Debian and Ubuntu: \
         `apt-get install postgresql`; Fedora: `dnf install postgresql-server postgresql-contrib`) \
         or set PGSTEER_PG_BIN to their directory",
        NEEDED.join(", ")
    );
}

/// Returns the path of a client program: from the server's directory if it is there (Debian keeps
/// `psql` and `pgbench` beside `initdb`), otherwise its bare name, left to `PATH`.
pub(crate) fn client_program(name: &str) -> Result<PathBuf> {
    let beside = postgres_bin_dir()?.join(name);
    Ok(if beside.is_file() {
        beside
    } else {
        PathBuf::from(name)
    })
}

fn first_missing(dir: &Path) -> Option<&'static str> {
    NEEDED
        .into_iter()
        .find(|program| !dir.join(program).is_file())
}

/// Debian's wrapper package installs `pg_config` without a server, so its answer is a candidate only.
fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim()))
}

/// Debian's layout, highest major version first.
fn from_debian() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

fn from_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

const NEEDED: [&str; 3] = ["initdb", "postgres", "pg_basebackup"];
