//! Drivers against the proxy in session and in transaction mode with reads on replicas, and first
//! against the primary: the scripts themselves must be right.

mod environments;
mod rust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use crate::support::{Options, Running, cluster, database, runtime};
use environments::{JDBC, java, node, python};

/// How a script is run.
struct Runner {
    program: PathBuf,
    arguments: Vec<String>,
    /// Set for the script.
    environment: Vec<(&'static str, String)>,
}

const SESSION: &str = "mode = \"session\"\nconnections_per_node_max = 60";
/// Fewer than the scripts have connections.
const TRANSACTION: &str = "mode = \"transaction\"\nconnections_per_node_max = 4";

fn proxy(pool: &'static str) -> Running {
    let options = Options {
        method: "scram-sha-256",
        pool,
        ..Options::weights([0, 1, 1])
    };
    options.start()
}

/// Runs it with the primary, and with the proxy in each mode.
#[track_caller]
fn check(script: &str, runner: &Runner) -> Result<()> {
    let (session, transaction) = (proxy(SESSION), proxy(TRANSACTION));
    let knows_no_password = crate::access::passing_through();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers")
        .join(script);
    let stem = script.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.to_lowercase();
    for (name, port) in [
        ("direct", cluster().primary().port()),
        ("session", session.port()),
        ("transaction", transaction.port()),
        ("passed_through", knows_no_password.port()),
    ] {
        let database_name = format!("{stem}_{name}");
        // No read of the scripts may be stale.
        let setup =
            format!("ALTER DATABASE {database_name} SET synchronous_commit = 'remote_apply'");
        drop(runtime().block_on(database(&database_name, &setup))?);
        // A script that hangs shows where.
        let mut command = Command::new("timeout");
        command.args(["-s", "ABRT", "120"]).arg(&runner.program);
        command.args(&runner.arguments).arg(&script);
        command.envs(runner.environment.clone());
        let output = command.arg(port.to_string()).arg(&database_name).output()?;
        ensure!(output.status.success(), "{stem}, {name}: {}", said(&output));
    }
    Ok(())
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    format!("{} {out}{err}", output.status)
}

fn check_python(script: &str) -> Result<()> {
    let runner = Runner {
        program: python()?,
        arguments: vec!["-X".to_owned(), "faulthandler".to_owned()],
        environment: Vec::new(),
    };
    check(script, &runner)
}

#[test]
fn psycopg_3() -> Result<()> {
    check_python("psycopg3.py")
}

#[test]
fn psycopg_2() -> Result<()> {
    check_python("psycopg2.py")
}

#[test]
fn asyncpg() -> Result<()> {
    check_python("asyncpg.py")
}

#[test]
fn pg8000() -> Result<()> {
    check_python("pg8000.py")
}

#[test]
fn sqlalchemy() -> Result<()> {
    check_python("sqlalchemy_orm.py")
}

#[test]
fn django() -> Result<()> {
    check_python("django_orm.py")
}

#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
fn check_node(script: &str) -> Result<()> {
    match node() {
        Ok(modules) => {
            let runner = Runner {
                program: "node".into(),
                arguments: Vec::new(),
                environment: vec![("NODE_PATH", modules.display().to_string())],
            };
            check(script, &runner)
        }
        Err(reason) => {
            println!("SKIPPED, {script}: {reason:#}");
            Ok(())
        }
    }
}

#[test]
fn node_postgres() -> Result<()> {
    check_node("node_postgres.js")
}

#[test]
fn postgres_js() -> Result<()> {
    check_node("postgres_js.js")
}

#[test]
fn jdbc() -> Result<()> {
    if let Err(reason) = java() {
        println!("SKIPPED, JDBC: {reason:#}");
        return Ok(());
    }
    let runner = Runner {
        program: "java".into(),
        arguments: vec!["-cp".to_owned(), JDBC.to_owned()],
        environment: Vec::new(),
    };
    check("Jdbc.java", &runner)
}
