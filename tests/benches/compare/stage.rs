//! The cluster everything is measured on, and what is known of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{Cluster, conninfo, pgbench, postgres_bin_dir};

use crate::contenders::program;
use crate::options::Options;
use crate::results::Site;

/// A primary with two replicas and the data of pgbench.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) pgsteer: PathBuf,
    number: AtomicUsize,
}

impl Stage {
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let pgsteer = options.pgsteer.clone();
        let is_there = pgsteer.is_file();
        ensure!(is_there, "{} is missing: run make bench", pgsteer.display());
        let cluster = Cluster::builder()
            .conf_line("max_connections = 2500")
            .conf_line("shared_buffers = 256MB")
            .conf_line("fsync = off")
            .hba_line("host all bench 127.0.0.0/8 trust")
            .hba_line("host all all 127.0.0.0/8 scram-sha-256")
            .start()
            .await?;
        let stage = Self {
            cluster,
            pgsteer: pgsteer.canonicalize()?,
            number: AtomicUsize::new(0),
        };
        stage.fill().await?;
        Ok(stage)
    }

    async fn fill(&self) -> Result<()> {
        let primary = self.cluster.primary();
        primary
            .sql("CREATE ROLE bench SUPERUSER LOGIN; CREATE TABLE big (id int, body text); \
                  ALTER TABLE big ALTER body SET STORAGE EXTERNAL; \
                  INSERT INTO big SELECT n, repeat('x', 1000000) FROM generate_series(1, 4) n; \
                  CREATE TABLE copied AS SELECT repeat('y', 1000) AS body FROM generate_series(1, 100000)")
            .await?;
        let init = ["-i", "-q", "-s", "10"];
        let conninfo = conninfo(primary.port(), "postgres");
        pgbench(&conninfo, &init).await?.success()?;
        primary.sql("VACUUM ANALYZE").await?;
        primary.sql("CHECKPOINT").await?;
        Ok(())
    }

    /// A directory for one program, which the servers' user may write to.
    pub(crate) fn new_dir(&self) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let dir = self.cluster.root().join(format!("contender{number}"));
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        Ok(dir)
    }

    /// Machine and versions.
    pub(crate) async fn site(&self) -> Result<Site> {
        let primary = self.cluster.primary();
        let postgres = primary.value("SHOW server_version").await?;
        let haproxy = first_line(&program("haproxy")?, "-v")?;
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split(": ").nth(1));
        let cores = cpus.lines().filter(|l| l.starts_with("processor")).count();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Site {
            cores,
            model: model.unwrap_or("unknown").to_owned(),
            kernel: kernel.trim().to_owned(),
            pgsteer: first_line(&self.pgsteer, "--version")?,
            postgres: format!("PostgreSQL {postgres}"),
            pgbouncer: first_line(&program("pgbouncer")?, "--version")?,
            haproxy: haproxy.split(' ').take(3).collect::<Vec<_>>().join(" "),
            pgpool: first_line(&program("pgpool")?, "--version")?,
            pgbench: first_line(&postgres_bin_dir()?.join("pgbench"), "--version")?,
        })
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.cluster.stop().await
    }
}

fn first_line(program: &Path, arg: &str) -> Result<String> {
    let output = Command::new(program).arg(arg).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    // Pgpool-II says its version on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Who asks: trusted by everybody, so that logins do not count where they are not measured.
pub(crate) const USER: &str = "bench";

/// Clients that every contender admits.
pub(crate) const CLIENTS_MAX: usize = 15_000;
