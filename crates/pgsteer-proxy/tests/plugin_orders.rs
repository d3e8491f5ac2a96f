//! Orders to a running proxy from the command line, and a recording of what it decides: the program
//! as server and as client, with a real PostgreSQL server behind it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pgsteer_testkit::ports::free_port;
use pgsteer_testkit::{Cluster, DEFAULT_PASSWORD, conninfo, psql, wait_until};
use serde_json::Value;

const PGSTEER: &str = env!("CARGO_BIN_EXE_pgsteer");
const DEADLINE: Duration = Duration::from_secs(30);

/// A proxy in a process of its own.
struct Served {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        std::fs::create_dir(dir.path().join("plugins"))?;
        let node = cluster.primary();
        let (host, node_port) = (node.host(), node.port());
        let config = dir.path().join("pgsteer.toml");
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\n[probe]\ninterval = \"200ms\"\n\
             [plugins]\ndir = \"plugins\"\nsettle = \"20ms\"\n\
             [console]\noperators = [\"postgres\"]\n\
             [[users]]\nname = \"postgres\"\npassword = \"{DEFAULT_PASSWORD}\"\n\
             [[users]]\nname = \"guest\"\npassword = \"{DEFAULT_PASSWORD}\"\n\
             [[nodes]]\nhost = \"{host}\"\nport = {node_port}\n"
        );
        std::fs::write(&config, text)?;
        let mut serve = Command::new(PGSTEER);
        serve.args(["serve", "--config"]).arg(&config);
        let child = serve.stderr(Stdio::null()).spawn()?;
        let served = Self { child, port, dir };
        wait_until(DEADLINE, "the proxy to answer", || async {
            served.ask("postgres", &["list"]).0 == Some(0)
        })
        .await?;
        Ok(served)
    }

    fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(PGSTEER);
        command.arg("plugin").args(arguments).arg("--json");
        command.current_dir(self.dir.path());
        command.env("PGPASSWORD", DEFAULT_PASSWORD);
        command.env("PGHOST", "127.0.0.1");
        command.env("PGPORT", self.port.to_string());
        command.env("PGUSER", user).env("PGDATABASE", "postgres");
        command
    }

    /// Exit code and answer.
    fn ask(&self, user: &str, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.command(user, arguments).output();
        let output = output.expect("the program starts");
        let answer = serde_json::from_slice(&output.stdout);
        (output.status.code(), answer.unwrap_or_default())
    }

    /// An order that is carried out; its answer.
    fn order(&self, arguments: &[&str]) -> String {
        let (code, answer) = self.ask("postgres", arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {answer}");
        answer["result"].to_string()
    }

    /// An order that is not; why.
    fn refusal(&self, user: &str, arguments: &[&str]) -> String {
        let (code, answer) = self.ask(user, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {answer}");
        answer["error"].as_str().unwrap_or_default().to_owned()
    }

    /// A column of the row of a plugin; `None`: no such row.
    fn listed(&self, file: &str, column: &str) -> Option<String> {
        let (_, rows) = self.ask("postgres", &["list"]);
        let mut rows = rows.as_array()?.iter();
        let row = rows.find(|row| row["file"] == file)?;
        row[column].as_str().map(str::to_owned)
    }

    /// Records so many decisions while statements come.
    async fn record(&self, number: &str) -> Result<()> {
        let arguments = ["record", "-n", number, "-o", "recording"];
        let mut command = self.command("postgres", &arguments);
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let target = conninfo(self.port, "postgres");
        wait_until(DEADLINE, "the recording to be complete", || {
            let ended = child.try_wait();
            let target = &target;
            async move {
                if ended.is_ok_and(|ended| ended.is_some()) {
                    return true;
                }
                psql(target, "SELECT 'secret'").await.is_err()
            }
        })
        .await?;
        match child.wait()?.success() {
            true => Ok(()),
            false => bail!("the recording failed"),
        }
    }
}

/// A plugin as the build made it.
fn component(name: &str) -> Result<PathBuf> {
    // <target>/<profile>/deps/<this binary>
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(3).context("a target directory")?;
    Ok(target.join("plugins").join(format!("{name}.wasm")))
}

#[test]
fn orders_are_carried_out_and_decisions_recorded() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cluster = Cluster::builder().replicas(0).fast(true).start().await?;
        let guest = format!("CREATE ROLE guest LOGIN PASSWORD '{DEFAULT_PASSWORD}'");
        cluster.primary().sql(&guest).await?;
        let served = Served::start(&cluster).await?;
        let plugins = served.dir.path().join("plugins");
        let part = plugins.join(".part");
        std::fs::copy(component("primary-only")?, &part)?;
        std::fs::rename(&part, plugins.join("10-mine.wasm"))?;
        wait_until(DEADLINE, "the plugin to decide", || async {
            let state = served.listed("10-mine", "state");
            state.is_some_and(|state| ["live", "probation"].contains(&state.as_str()))
        })
        .await?;
        orders(&served);
        served.record("20").await?;
        replayed(&served, &component("primary-only")?)?;
        drop(served);
        cluster.stop().await
    })
}

fn orders(served: &Served) {
    assert!(served.order(&["pin", "mine"]).contains("10-mine"));
    assert_eq!(served.listed("10-mine", "pinned").as_deref(), Some("yes"));
    served.order(&["unpin", "10-mine.wasm"]);
    assert_eq!(served.listed("10-mine", "pinned").as_deref(), Some("no"));
    served.order(&["disable", "mine"]);
    let state = served.listed("10-mine", "state");
    assert_eq!(state.as_deref(), Some("disabled"));
    served.order(&["enable", "mine"]);
    assert_ne!(served.listed("10-mine", "state"), state);
    served.order(&["shadow", "mine", "5%"]);
    let none = served.refusal("postgres", &["rollback", "mine"]);
    assert!(none.contains("10-mine"), "{none}");
    let mute = served.refusal("postgres", &["tell", "mine", "it's 'you'"]);
    assert!(mute.contains("takes no commands"), "{mute}");
    let guest = served.refusal("guest", &["disable", "mine"]);
    assert!(
        guest.contains("42501") && guest.contains("hint: "),
        "{guest}"
    );
}

fn replayed(served: &Served, component: &Path) -> Result<()> {
    let recording = std::fs::read_to_string(served.dir.path().join("recording"))?;
    assert!(!recording.contains("secret"), "{recording}");
    let path = component.display().to_string();
    let (code, answer) = served.ask("postgres", &["replay", "recording", &path, &path]);
    assert_eq!(code, Some(0), "{answer}");
    assert_eq!(
        (&answer["decisions"], &answer["different"]),
        (&20.into(), &0.into())
    );
    Ok(())
}
