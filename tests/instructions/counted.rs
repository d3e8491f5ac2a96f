//! A proxy that runs under callgrind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::Cluster;
use pgsteer_testkit::daemon::{Daemon, RunAs};
use pgsteer_testkit::ports::free_port;

use crate::scenarios::Pooling;
use crate::wire::{Wire, msg};

/// What is run.
pub(crate) struct Programs {
    valgrind: PathBuf,
    vgdb: PathBuf,
    pgsteer: PathBuf,
}

impl Programs {
    /// Builds the proxy; `None` without valgrind. `PGSTEER_COUNTED` names a program that is built already.
    ///
    /// # Errors
    /// It does not compile.
    pub(crate) fn find() -> Result<Option<Self>> {
        let (Some(valgrind), Some(vgdb)) = (program("valgrind"), program("vgdb")) else {
            return Ok(None);
        };
        let pgsteer = match std::env::var_os("PGSTEER_COUNTED") {
            Some(program) => program.into(),
            None => build()?,
        };
        Ok(Some(Self {
            valgrind,
            vgdb,
            pgsteer,
        }))
    }
}

/// With optimisation, and otherwise as tests are built: what does not belong to this workspace is
/// compiled for them anyway, optimised, and is used as it is.
fn build() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(3).context("a target directory")?;
    let program = "pgsteer-counted";
    let mut command = Command::new(env!("CARGO"));
    // What cargo tells a test would have build scripts run anew, each time.
    for (name, _) in std::env::vars_os() {
        let is_told = name.to_string_lossy().starts_with("CARGO_");
        if is_told && name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    let status = command
        .args(["build", "-p", "pgsteer-tests", "--bin", program])
        .args(["--features", "counted"])
        .args(["--config", "profile.dev.opt-level=2"])
        // With it functions are compiled in other groups after each change.
        .args(["--config", "profile.dev.incremental=false"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "{program} does not compile");
    Ok(target.join("debug").join(program))
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|dir| dir.join(name));
    programs.find(|program| program.is_file())
}

/// A proxy of which every instruction is counted; dropping it ends it.
pub(crate) struct Counted<'a> {
    daemon: Daemon,
    programs: &'a Programs,
    dir: PathBuf,
}

impl<'a> Counted<'a> {
    pub(crate) async fn start(
        programs: &'a Programs,
        cluster: &Cluster,
        pooling: Pooling,
    ) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = cluster.root().join(format!("counted{number}"));
        std::fs::create_dir_all(&dir)?;
        let port = free_port()?;
        let file = dir.join("pgsteer.toml");
        let state = cluster.root().join("counted-state");
        if !state.exists() {
            // Compiles the built-in plugins for the processor that valgrind shows, which takes long when
            // every instruction is counted.
            std::fs::write(&file, configuration(cluster, port, pooling, &state))?;
            let mut compiling = Self::spawn(programs, &dir, port, &["--tool=none"]).await?;
            compiling.wait_until_it_serves()?;
            compiling.stop();
        }
        let port = free_port()?;
        std::fs::write(&file, configuration(cluster, port, pooling, &state))?;
        let output = format!("--callgrind-out-file={}", dir.join("out").display());
        let tool = [
            "--tool=callgrind",
            "--separate-threads=yes",
            "--fair-sched=yes",
            &output,
        ];
        let mut counted = Self::spawn(programs, &dir, port, &tool).await?;
        counted.wait_until_it_serves()?;
        Ok(counted)
    }

    async fn spawn(programs: &'a Programs, dir: &Path, port: u16, tool: &[&str]) -> Result<Self> {
        let program = programs.pgsteer.to_string_lossy();
        let file = dir.join("pgsteer.toml");
        let file = file.to_string_lossy();
        let args = [tool, &[&program, "serve", "--config", &file]].concat();
        let place = (dir, port);
        let daemon = Daemon::start(
            "counted",
            &programs.valgrind,
            &args,
            RunAs::Ourselves,
            place,
        );
        Ok(Self {
            daemon: daemon.await?,
            programs,
            dir: dir.to_owned(),
        })
    }

    /// It listens before its plugins are there.
    fn wait_until_it_serves(&mut self) -> Result<()> {
        let connected = Wire::try_connect(self.port(), "postgres", START_DEADLINE);
        connected
            .with_context(|| self.daemon.log())?
            .send(&msg::terminate());
        Ok(())
    }

    /// Ends it; its log and configuration stay.
    fn stop(self) {
        drop(self.daemon);
    }

    pub(crate) fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// Instructions of the busiest thread since this was asked last.
    ///
    /// # Errors
    /// callgrind does not answer.
    pub(crate) fn instructions(&self) -> Result<f64> {
        for old in self.dumps()? {
            std::fs::remove_file(old)?;
        }
        let output = Command::new(&self.programs.vgdb)
            .arg(format!("--pid={}", self.daemon.pid()))
            .arg("dump")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "vgdb: {said}\n{}",
            self.daemon.log()
        );
        let mut most = 0.0_f64;
        for dump in self.dumps()? {
            most = most.max(total(&dump)?);
        }
        ensure!(
            most > 0.0,
            "nothing was counted: {said}\n{}",
            self.daemon.log()
        );
        Ok(most)
    }

    fn dumps(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("out.") {
                found.push(path);
            }
        }
        Ok(found)
    }
}

/// `totals: 123456` of a file of callgrind.
fn total(dump: &Path) -> Result<f64> {
    let text = std::fs::read(dump)?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(line.map_or(0.0, |number| number.trim().parse().unwrap_or(0.0)))
}

/// One worker, and nothing that happens by itself.
fn configuration(cluster: &Cluster, port: u16, pooling: Pooling, state: &Path) -> String {
    let mode = match pooling {
        Pooling::Session => "session",
        Pooling::Transaction => "transaction",
    };
    let node = cluster.primary();
    format!(
        "[listen]\naddress = \"127.0.0.1:{port}\"\nworkers = 1\ndrain_timeout = \"1s\"\n\
         [auth]\nmethod = \"trust\"\n[[users]]\nname = \"postgres\"\npassword = \"password\"\n\
         [pool]\nmode = \"{mode}\"\n[probe]\ninterval = \"1h\"\n[pcp]\nlisten = []\n\
         [plugins]\nstate_dir = \"{}\"\n[[nodes]]\nhost = \"{}\"\nport = {}\n",
        state.display(),
        node.host(),
        node.port()
    )
}

/// Plugins are compiled in that time, some ten times as slowly as usual.
const START_DEADLINE: Duration = Duration::from_secs(300);
