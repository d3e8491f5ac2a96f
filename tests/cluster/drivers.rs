//! Drivers of Python against the proxy, and first against the primary: the scripts themselves must
//! be right.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::support::{Options, cluster, database, runtime};

/// Where the drivers are not installed already, these versions are.
const PINNED: [&str; 4] = [
    "psycopg[binary]==3.3.9",
    "psycopg2-binary==2.9.13",
    "asyncpg==0.32.0",
    "pg8000==1.31.6",
];

#[track_caller]
fn check(driver: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("drivers/{driver}.py"));
    let python = python()?;
    let proxy = Options {
        method: "scram-sha-256",
        ..Options::weights([0, 1, 1])
    };
    let proxy = proxy.start();
    let knows_no_password = crate::access::passing_through();
    for (name, port) in [
        ("direct", cluster().primary().port()),
        ("proxy", proxy.port()),
        ("passed_through", knows_no_password.port()),
    ] {
        let database_name = format!("{driver}_{name}");
        // No read of the scripts may be stale.
        let setup =
            format!("ALTER DATABASE {database_name} SET synchronous_commit = 'remote_apply'");
        drop(runtime().block_on(database(&database_name, &setup))?);
        let mut command = Command::new("timeout");
        // A script that hangs shows where.
        command
            .args(["-s", "ABRT", "60"])
            .arg(&python)
            .args(["-X", "faulthandler"])
            .arg(&script);
        let output = command.arg(port.to_string()).arg(&database_name).output()?;
        ensure!(
            output.status.success(),
            "{driver}, {name}: {}",
            said(&output)
        );
    }
    Ok(())
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    format!("{} {out}{err}", output.status)
}

/// A Python that has the drivers: the machine's, or one in a virtual environment of ours.
fn python() -> Result<PathBuf> {
    static PYTHON: std::sync::Mutex<Option<PathBuf>> = std::sync::Mutex::new(None);
    let mut known = PYTHON.lock().expect("nobody panicked");
    if let Some(python) = &*known {
        return Ok(python.clone());
    }
    let system = PathBuf::from("python3");
    let python = if has_drivers(&system) {
        system
    } else {
        virtual_environment()?
    };
    *known = Some(python.clone());
    Ok(python)
}

fn has_drivers(python: &Path) -> bool {
    let imports = "import psycopg, psycopg2, asyncpg, pg8000";
    let output = Command::new(python).args(["-c", imports]).output();
    output.is_ok_and(|output| output.status.success())
}

fn virtual_environment() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drivers");
    let python = dir.join("bin/python");
    if has_drivers(&python) {
        return Ok(python);
    }
    let advice = "the tests of drivers need python3 with venv and pip (Debian: python3-venv), or \
                  the Python packages psycopg, psycopg2, asyncpg and pg8000";
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&dir)
        .output()
        .context(advice)?;
    ensure!(made.status.success(), "{advice}: {}", said(&made));
    let mut pip = Command::new(&python);
    let installed = pip
        .args(["-m", "pip", "install", "--quiet"])
        .args(PINNED)
        .output()?;
    ensure!(installed.status.success(), "{advice}: {}", said(&installed));
    Ok(python)
}

#[test]
fn psycopg_3() -> Result<()> {
    check("psycopg3")
}

#[test]
fn psycopg_2() -> Result<()> {
    check("psycopg2")
}

#[test]
fn asyncpg() -> Result<()> {
    check("asyncpg")
}

#[test]
fn pg8000() -> Result<()> {
    check("pg8000")
}
