//! What drivers of other languages need: the machine's, or what can be put below the target
//! directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use super::said;

/// Where the drivers are not installed already, these versions are.
const PYTHON_PINNED: [&str; 6] = [
    "psycopg[binary]==3.3.9",
    "psycopg2-binary==2.9.13",
    "asyncpg==0.32.0",
    "pg8000==1.31.6",
    "sqlalchemy[asyncio]==2.1.9",
    "django==5.2.19",
];

const NODE_PINNED: [&str; 3] = ["pg@8.23.1", "pg-cursor@2", "postgres@3.4.9"];

/// Debian's package `libpostgresql-jdbc-java` puts it there.
pub(super) const JDBC: &str = "/usr/share/java/postgresql.jar";

fn below_target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Installing is done by one test, the others wait for it.
fn once<T: Clone>(known: &Mutex<Option<T>>, find: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut known = known.lock().expect("nobody panicked");
    if let Some(found) = &*known {
        return Ok(found.clone());
    }
    let found = find()?;
    *known = Some(found.clone());
    Ok(found)
}

fn ran(command: &mut Command, what: &str) -> Result<Output> {
    let output = command.output().context(what.to_owned())?;
    ensure!(output.status.success(), "{what}: {}", said(&output));
    Ok(output)
}

/// A Python that has the drivers: the machine's, or one in a virtual environment of ours.
pub(super) fn python() -> Result<PathBuf> {
    static PYTHON: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&PYTHON, || {
        let system = PathBuf::from("python3");
        if has_drivers(&system) {
            return Ok(system);
        }
        virtual_environment()
    })
}

fn has_drivers(python: &Path) -> bool {
    let imports = "import psycopg, psycopg2, asyncpg, pg8000, sqlalchemy, django, greenlet";
    let output = Command::new(python).args(["-c", imports]).output();
    output.is_ok_and(|output| output.status.success())
}

fn virtual_environment() -> Result<PathBuf> {
    let dir = below_target("drivers");
    let python = dir.join("bin/python");
    if has_drivers(&python) {
        return Ok(python);
    }
    let advice = "the tests of drivers need python3 with venv and pip (Debian: python3-venv), or \
                  the Python packages psycopg, psycopg2, asyncpg, pg8000, sqlalchemy and django";
    ran(
        Command::new("python3").args(["-m", "venv"]).arg(&dir),
        advice,
    )?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet"]);
    ran(pip.args(PYTHON_PINNED), advice)?;
    Ok(python)
}

/// The directory with the modules, if there is Node.js and its registry can be reached.
pub(super) fn node() -> Result<PathBuf> {
    static MODULES: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&MODULES, || {
        ran(Command::new("node").arg("--version"), "there is no Node.js")?;
        let dir = below_target("node");
        let modules = dir.join("node_modules");
        if ["pg", "pg-cursor", "postgres"]
            .iter()
            .all(|name| modules.join(name).is_dir())
        {
            return Ok(modules);
        }
        let mut npm = Command::new("timeout");
        npm.args([
            "120",
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--prefix",
        ]);
        ran(
            npm.arg(&dir).args(NODE_PINNED),
            "npm cannot install the drivers",
        )?;
        Ok(modules)
    })
}

/// Whether a JDK and the driver are there.
pub(super) fn java() -> Result<()> {
    let advice = "it needs a JDK and Debian's libpostgresql-jdbc-java";
    ensure!(Path::new(JDBC).is_file(), "{advice}");
    // A JRE cannot run a source file.
    ran(Command::new("javac").arg("-version"), advice)?;
    Ok(())
}

/// The program that uses sqlx, built.
pub(super) fn sqlx() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/sqlx/Cargo.toml");
    let target = below_target("sqlx");
    // The one that runs the tests, if one does: it knows its compiler.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(manifest).arg("--target-dir").arg(&target);
    ran(&mut cargo, "the program that uses sqlx cannot be built")?;
    Ok(target.join("debug/drivers-sqlx"))
}
