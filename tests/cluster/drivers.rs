//! Drivers against the proxy in session and in transaction mode with reads on replicas, and first
//! against the primary: the scripts themselves must be right.

mod environments;
mod rust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use crate::support::{Options, Running, cluster, database, runtime};
use environments::{JDBC, java, node, python};

/// How a program that uses a driver is run; it gets a port and the name of a database.
struct Runner {
    program: PathBuf,
    arguments: Vec<String>,
    /// Set for the program.
    environment: Vec<(&'static str, String)>,
}

const SESSION: &str = "mode = \"session\"\nconnections_per_node_max = 60";
/// Fewer than the programs have connections.
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
fn check(driver: &str, runner: &Runner) -> Result<()> {
    let (session, transaction) = (proxy(SESSION), proxy(TRANSACTION));
    let knows_no_password = crate::access::passing_through();
    for (name, port) in [
        ("direct", cluster().primary().port()),
        ("session", session.port()),
        ("transaction", transaction.port()),
        ("passed_through", knows_no_password.port()),
    ] {
        let database_name = format!("{driver}_{name}");
        // No read may be stale.
        let setup =
            format!("ALTER DATABASE {database_name} SET synchronous_commit = 'remote_apply'");
        drop(runtime().block_on(database(&database_name, &setup))?);
        // One that hangs shows where.
        let mut command = Command::new("timeout");
        command.args(["-s", "ABRT", "120"]).arg(&runner.program);
        command.args(&runner.arguments);
        command.envs(runner.environment.clone());
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

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers");
    path.join(name).display().to_string()
}

fn check_python(driver: &str) -> Result<()> {
    let file = script(&format!("{driver}.py"));
    let runner = Runner {
        program: python()?,
        arguments: vec!["-X".to_owned(), "faulthandler".to_owned(), file],
        environment: Vec::new(),
    };
    check(driver, &runner)
}

#[test]
fn psycopg_3() -> Result<()> {
    check_python("psycopg3")
}

#[test]
fn psycopg_2() -> Result<()> {
    check_python("psycopg2")
}

#[test]
fn asyncpg() -> Result<()> {
    check_python("asyncpg")
}

#[test]
fn pg8000() -> Result<()> {
    check_python("pg8000")
}

#[test]
fn sqlalchemy() -> Result<()> {
    check_python("sqlalchemy_orm")
}

#[test]
fn django() -> Result<()> {
    check_python("django_orm")
}

#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
fn check_node(driver: &str) -> Result<()> {
    match node() {
        Ok(modules) => {
            let runner = Runner {
                program: "node".into(),
                arguments: vec![script(&format!("{driver}.js"))],
                environment: vec![("NODE_PATH", modules.display().to_string())],
            };
            check(driver, &runner)
        }
        Err(reason) => {
            println!("SKIPPED, {driver}: {reason:#}");
            Ok(())
        }
    }
}

#[test]
fn node_postgres() -> Result<()> {
    check_node("node_postgres")
}

#[test]
fn postgres_js() -> Result<()> {
    check_node("postgres_js")
}

#[test]
fn jdbc() -> Result<()> {
    if let Err(reason) = java() {
        println!("SKIPPED, JDBC: {reason:#}");
        return Ok(());
    }
    let runner = Runner {
        program: "java".into(),
        arguments: vec!["-cp".to_owned(), JDBC.to_owned(), script("Jdbc.java")],
        environment: Vec::new(),
    };
    check("jdbc", &runner)
}

#[test]
fn sqlx() -> Result<()> {
    let runner = Runner {
        program: environments::sqlx()?,
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    check("sqlx", &runner)
}
