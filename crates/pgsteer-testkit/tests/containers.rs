//! The scripts and the composition of the containers, tested without containers: the scripts run on
//! the PostgreSQL of this machine, the compose file is read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{Cluster, Mode, ports, postgres_bin_dir, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use yaml_rust2::{Yaml, YamlLoader};

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_primary_script_can_run_any_number_of_times() -> Result<()> {
    let primary = Cluster::builder().fast(true).replicas(0).start().await?;
    for _ in 0..2 {
        run_primary_init(&primary)?;
    }
    let node = primary.primary();
    let roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles \
                 WHERE rolreplication AND rolcanlogin AND NOT rolsuper";
    assert_eq!(node.value(roles).await?, "replicator replicator2");
    let slots = "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots";
    assert_eq!(
        node.value(slots).await?,
        "replication_slot replication_slot2"
    );
    let hba = fs::read_to_string(node.data_dir().join("pg_hba.conf"))?;
    assert_eq!(
        hba.matches("host replication replicator,replicator2")
            .count(),
        1,
        "{hba}"
    );
    Ok(())
}

#[tokio::test]
async fn a_replica_waits_for_the_primary_and_takes_one_base_backup_only() -> Result<()> {
    let primary = Cluster::builder().fast(true).replicas(0).start().await?;
    run_primary_init(&primary)?;
    primary.primary().stop(Mode::Fast).await?;
    let mut replica = Replica::new(primary.primary().port())?;

    replica.start()?;
    replica
        .wait_for_output("waiting for the primary", 1)
        .await?;
    primary.primary().start().await?;
    replica.wait_for_output(STREAMS, 1).await?;
    assert!(
        replica.output().contains("taking a base backup"),
        "{}",
        replica.output()
    );
    // A base backup makes a new directory, in which this file would not be.
    let witness = replica.data_dir().join("witness");
    fs::write(&witness, "")?;
    replica.stop()?;

    primary.primary().sql("CREATE TABLE while_away ()").await?;
    replica.start()?;
    replica.wait_for_output(STREAMS, 2).await?;
    assert!(witness.exists());
    let output = replica.output();
    assert_eq!(
        output.matches("taking a base backup").count(),
        1,
        "{output}"
    );
    assert!(
        output.contains("starting from the data of the last time"),
        "{output}"
    );
    Ok(())
}

#[tokio::test]
async fn a_replica_gives_up_on_a_primary_that_never_comes() -> Result<()> {
    let mut replica = Replica::new(ports::free_port()?)?;
    replica.patience_seconds = 1;
    replica.start()?;
    replica
        .wait_for_output("no primary at 127.0.0.1", 1)
        .await?;
    let mut child = replica.child.take().context("it was started")?;
    ensure!(!child.wait()?.success());
    Ok(())
}

#[test]
fn the_compose_file_has_the_four_services_and_none_of_the_old_mistakes() -> Result<()> {
    let text = fs::read_to_string(repository().join("docker-compose.yml"))?;
    let compose = YamlLoader::load_from_str(&text)?.remove(0);
    let services = &compose["services"];
    let names: Vec<_> = services.as_hash().context("services")?.keys().collect();
    let wanted = [
        "postgres",
        "postgres-replica-1",
        "postgres-replica-2",
        "pgsteer",
    ];
    assert_eq!(
        names
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect::<Vec<_>>(),
        wanted
    );

    for (name, host_port) in wanted.into_iter().zip([5432, 5433, 5434, 9999]) {
        let service = &services[name];
        assert_eq!(
            service["ports"][0].as_str(),
            Some(format!("{host_port}:5432").as_str())
        );
        for source in strings(&service["volumes"])
            .iter()
            .filter_map(|v| v.strip_prefix("./"))
        {
            let path = repository().join(source.split(':').next().unwrap());
            assert!(
                path.is_file(),
                "{name} mounts {source}, which does not exist"
            );
        }
        if name != "postgres" {
            let condition = &service["depends_on"]["postgres"]["condition"];
            assert_eq!(condition.as_str(), Some("service_healthy"), "{name}");
        }
        if name != "pgsteer" {
            assert_eq!(
                service["healthcheck"]["test"][1].as_str(),
                Some("pg_isready"),
                "{name}"
            );
        }
    }
    let nodes = services["pgsteer"]["environment"]["PGPOOL_BACKEND_NODES"].as_str();
    let reachable = "0:postgres:5432,1:postgres-replica-1:5432,2:postgres-replica-2:5432";
    assert_eq!(nodes, Some(reachable));
    Ok(())
}

#[test]
fn every_variable_of_the_compose_file_is_in_the_example_and_no_password_in_the_file() -> Result<()>
{
    let compose = fs::read_to_string(repository().join("docker-compose.yml"))?;
    let example = fs::read_to_string(repository().join(".env.example"))?;
    let used = compose
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split([':', '}']).next());
    for name in used {
        assert!(
            example.contains(&format!("\n{name}=")),
            "{name} is not in .env.example"
        );
    }
    for line in compose.lines().filter(|line| line.contains("PASSWORD:")) {
        assert!(line.contains("${"), "a password in the file: {line}");
    }
    let ignored = fs::read_to_string(repository().join(".gitignore"))?;
    assert!(ignored.lines().any(|line| line == "/.env"));
    Ok(())
}

/// Where docker has no compose plugin, the tests above, which read the file as YAML, have to do.
#[test]
fn docker_compose_accepts_the_file() -> Result<()> {
    let has_compose = Command::new("docker").args(["compose", "version"]).output();
    if !has_compose.is_ok_and(|output| output.status.success()) {
        eprintln!("no `docker compose` here: docker-compose.yml was only read as YAML");
        return Ok(());
    }
    let output = Command::new("docker")
        .args(["compose", "--env-file", ".env.example", "config", "--quiet"])
        .current_dir(repository())
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A replica run by `docker/replica-entrypoint.sh`, in a directory of its own.
struct Replica {
    dir: tempfile::TempDir,
    port: u16,
    primary_port: u16,
    patience_seconds: u32,
    child: Option<Child>,
}

impl Replica {
    fn new(primary_port: u16) -> Result<Self> {
        let dir = tempfile::tempdir_in("/tmp")?;
        let replica = Self {
            dir,
            port: ports::free_port()?,
            primary_port,
            patience_seconds: 60,
            child: None,
        };
        fs::create_dir(replica.volume())?;
        give_to_server_user(replica.dir.path())?;
        give_to_server_user(&replica.volume())?;
        Ok(replica)
    }

    fn start(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let child = as_server_user("replica-entrypoint.sh")?
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-k",
            ])
            .arg(self.dir.path())
            .env("PGDATA", self.data_dir())
            .env("PRIMARY_HOST", "127.0.0.1")
            .env("PRIMARY_PORT", self.primary_port.to_string())
            .env("PRIMARY_WAIT_SECONDS", self.patience_seconds.to_string())
            .env("REPLICATION_USER", "replicator")
            .env("REPLICATION_PASSWORD", REPLICATION_PASSWORD)
            .env("REPLICATION_SLOT", "replication_slot")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// What `docker compose stop` does with the postgres image.
    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&child), Signal::INT)?;
        }
        child.wait()?;
        Ok(())
    }

    /// Waits until `text` is there `count` times.
    async fn wait_for_output(&self, text: &str, count: usize) -> Result<()> {
        let seen = wait_until(DEADLINE, text, || async {
            self.output().matches(text).count() >= count
        });
        seen.await.with_context(|| self.output())
    }

    fn output(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn volume(&self) -> PathBuf {
        self.dir.path().join("volume")
    }

    fn data_dir(&self) -> PathBuf {
        self.volume().join("replica")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // The test has its verdict already.
        let _ = self.stop();
    }
}

fn run_primary_init(primary: &Cluster) -> Result<()> {
    let output = as_server_user("primary-init.sh")?
        .env("PGDATA", primary.primary().data_dir())
        .env("PGHOST", primary.socket_dir())
        .env("PGPORT", primary.primary().port().to_string())
        .env("POSTGRES_USER", "postgres")
        .env("REPLICATION_PASSWORD", REPLICATION_PASSWORD)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Prepares a script of `docker/` to run as the user that servers run as. The shell gets its text,
/// not its path: that user may not be able to enter the checkout.
fn as_server_user(script: &str) -> Result<Command> {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(postgres_bin_dir()?).chain(std::env::split_paths(&path));
    let text = fs::read_to_string(repository().join("docker").join(script))?;
    command
        .args(["--pdeathsig=INT", "--", "sh", "-c", &text, script])
        .env("PATH", std::env::join_paths(dirs)?)
        .stdin(Stdio::null())
        .current_dir("/")
        .process_group(0);
    Ok(command)
}

fn give_to_server_user(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    if is_root() {
        let output = Command::new("id").args(["-u", "postgres"]).output()?;
        let uid = String::from_utf8(output.stdout)?.trim().parse()?;
        chown(dir, Some(uid), None)?;
    }
    Ok(())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn strings(list: &Yaml) -> Vec<&str> {
    list.as_vec()
        .into_iter()
        .flatten()
        .filter_map(Yaml::as_str)
        .collect()
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this package is two levels below the repository")
        .to_owned()
}

/// A replica's log line; `pg_stat_replication` would show a base backup as streaming, too.
const STREAMS: &str = "started streaming WAL from primary";
/// With the characters that are special in a password file and in a connection string.
const REPLICATION_PASSWORD: &str = "a:b\\c'd e";
