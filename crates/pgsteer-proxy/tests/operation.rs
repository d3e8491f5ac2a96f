//! Operators at a proxy in a process of its own: the admin socket, and the tools of Pgpool-II beside
//! the real Pgpool-II in front of the same servers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pgsteer_testkit::pgpool::Pgpool;
use pgsteer_testkit::ports::free_port;
use pgsteer_testkit::{Cluster, DEFAULT_PASSWORD, Mode, conninfo, psql, wait_until};
use serde_json::Value;

const PGSTEER: &str = env!("CARGO_BIN_EXE_pgsteer");
const DEADLINE: Duration = Duration::from_secs(60);

/// A proxy in a process of its own.
struct Served {
    child: Child,
    port: u16,
    pcp_port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// In front of these nodes, which need not be there.
    async fn start(nodes: &[(&str, u16)]) -> Result<Self> {
        let (dir, port, pcp_port) = (tempfile::tempdir()?, free_port()?, free_port()?);
        let config = dir.path().join("pgsteer.toml");
        let mut text = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\n[probe]\ninterval = \"200ms\"\n\
             [admin]\nsocket = \"admin.sock\"\n[pcp]\nlisten = [\"127.0.0.1:{pcp_port}\"]\n\
             [console]\noperators = [\"postgres\"]\n\
             [[pcp_users]]\nname = \"admin\"\npassword = \"secret\"\n\
             [[users]]\nname = \"postgres\"\npassword = \"{DEFAULT_PASSWORD}\"\n"
        );
        for (host, port) in nodes {
            text += &format!("[[nodes]]\nhost = \"{host}\"\nport = {port}\n");
        }
        std::fs::write(&config, text)?;
        let mut serve = Command::new(PGSTEER);
        serve.args(["serve", "--config"]).arg(&config);
        let child = serve.stderr(Stdio::null()).spawn()?;
        let served = Self {
            child,
            port,
            pcp_port,
            dir,
        };
        wait_until(DEADLINE, "the proxy to answer operators", || async {
            served.node(&["list"]).0 == Some(0)
        })
        .await?;
        Ok(served)
    }

    /// Exit code of `pgsteer node`, and its JSON.
    fn node(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut command = Command::new(PGSTEER);
        command.arg("node").args(arguments).arg("--json");
        command
            .arg("--socket")
            .arg(self.dir.path().join("admin.sock"));
        let output = command.output().expect("the program starts");
        let answer = serde_json::from_slice(&output.stdout);
        (output.status.code(), answer.unwrap_or_default())
    }

    async fn wait_for_nodes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        wait_until(DEADLINE, what, || async { wanted(&self.node(&["list"]).1) }).await
    }

    /// Waits for the end of the process.
    async fn ended(&mut self) -> Result<Option<i32>> {
        let child = std::cell::RefCell::new(&mut self.child);
        let ended = || async { child.borrow_mut().try_wait().is_ok_and(|s| s.is_some()) };
        wait_until(DEADLINE, "the proxy to end", ended).await?;
        Ok(self.child.wait()?.code())
    }
}

/// A tool of Pgpool-II; `None` if it is not installed.
fn tool(dir: &Path, port: u16, name: &str, arguments: &str) -> Option<Output> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut programs = dirs.map(|dir| dir.join(name));
    let program = programs.find(|program| program.is_file())?;
    let file = dir.join("pcppass");
    std::fs::write(&file, "*:*:admin:secret\n").expect("written");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("its owner's alone");
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-w", "-U", "admin", "-p"]);
    command
        .arg(port.to_string())
        .args(arguments.split_whitespace());
    command.env("PCPPASSFILE", &file);
    Some(command.output().expect("it starts"))
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn operators_are_answered_although_no_node_is() -> Result<()> {
    // Nobody listens on port 1.
    let mut served = Served::start(&[("127.0.0.1", 1), ("127.0.0.2", 1)]).await?;
    let (code, listed) = served.node(&["list"]);
    assert_eq!(code, Some(0));
    assert_eq!(listed["primary"], Value::Null);
    served
        .wait_for_nodes("both nodes to be down", |listed| {
            let health = |node: &Value| node["health"] == "down";
            listed["nodes"]
                .as_array()
                .is_some_and(|all| all.len() == 2 && all.iter().all(health))
        })
        .await?;
    let (code, refused) = served.node(&["attach", "7"]);
    assert_eq!(code, Some(1), "{refused}");
    let why = refused["error"].as_str().context("a reason")?;
    assert!(why.contains("there is no node 7"), "{why}");

    // A second one must not take the socket away.
    let config = served.dir.path().join("pgsteer.toml");
    let again = std::fs::read_to_string(&config)?.replace("127.0.0.1:", "127.0.0.3:");
    let other = served.dir.path().join("other.toml");
    std::fs::write(&other, again)?;
    let second = Command::new(PGSTEER)
        .args(["serve", "--config"])
        .arg(&other)
        .output()?;
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("admin.sock"), "{}", said(&second));

    if let Some(output) = tool(
        served.dir.path(),
        served.pcp_port,
        "pcp_stop_pgpool",
        "-m fast",
    ) {
        assert_eq!(said(&output), "pcp_stop_pgpool -- Command Successful\n");
    } else {
        eprintln!("skipped in part: the pcp_* tools are missing");
        stop_over_the_socket(&served)?;
    }
    assert_eq!(served.ended().await?, Some(0));
    assert!(!served.dir.path().join("admin.sock").exists());
    Ok(())
}

/// The same as the tool does, over the socket.
fn stop_over_the_socket(served: &Served) -> Result<()> {
    let answer = raw(served, "{\"command\":\"stop\"}\n")?;
    if !answer.contains("\"outcome\":\"done\"") {
        bail!("the proxy does not stop: {answer}");
    }
    Ok(())
}

/// One line over the socket.
fn raw(served: &Served, line: &str) -> Result<String> {
    use std::io::{Read, Write};
    let path = served.dir.path().join("admin.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn a_reload_answers_with_its_mistakes_and_a_stop_stops() -> Result<()> {
    let mut served = Served::start(&[("127.0.0.1", 1)]).await?;
    let config = served.dir.path().join("pgsteer.toml");
    let good = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{good}[pool]\nwaiters_max = -1\n"))?;
    let answer = raw(&served, "{\"command\":\"reload\"}\n")?;
    assert!(answer.starts_with("{\"outcome\":\"refused\""), "{answer}");
    assert!(answer.contains("pool.waiters_max"), "{answer}");
    if let Some(output) = tool(served.dir.path(), served.pcp_port, "pcp_reload_config", "") {
        assert!(
            said(&output).contains("pool.waiters_max"),
            "{}",
            said(&output)
        );
    }
    std::fs::write(&config, good.replace("admin.sock", "other.sock"))?;
    let answer = raw(&served, "{\"command\":\"reload\"}\n")?;
    let waits = "admin.socket: takes a restart, the old value stays";
    assert_eq!(
        answer,
        format!("{{\"outcome\":\"done\",\"answer\":[\"{waits}\"]}}\n")
    );
    let answer = raw(&served, "{\"command\":\"stop\",\"now\":true}\n")?;
    assert!(answer.contains("stopping: at once"), "{answer}");
    assert_eq!(served.ended().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn what_set_changes_counts_until_the_configuration_is_read_again() -> Result<()> {
    let served = Served::start(&[("127.0.0.1", 1), ("127.0.0.2", 1)]).await?;
    let console = |sql: &'static str| {
        let target = conninfo(served.port, "pgsteer");
        let target = format!("{target} password={DEFAULT_PASSWORD}");
        async move { psql(&target, sql).await }
    };
    let shown = |name: &'static str| {
        let rows = console("SHOW CONFIG");
        async move {
            let rows = rows.await?.success()?;
            let row = rows.lines().find_map(|row| {
                let (key, rest) = row.split_once('|')?;
                (key == name).then(|| rest.split('|').next().unwrap_or_default().to_owned())
            });
            row.context(name)
        }
    };
    for (order, name, value) in [
        ("SET pool.size = 7", "default_pool_size", "7"),
        ("SET default_pool_size = 8", "default_pool_size", "8"),
        ("SET timeouts.query = '90s'", "query_timeout", "90"),
        ("SET query_timeout = 30", "query_timeout", "30"),
        ("set pool_mode to statement", "pool_mode", "statement"),
    ] {
        console(order).await?.success()?;
        assert_eq!(shown(name).await?, value, "{order}");
    }
    console("SET nodes[1].weight = 0").await?.success()?;
    let is_zero = |listed: &Value| listed["nodes"][1]["weight"].as_f64() == Some(0.0);
    served.wait_for_nodes("the weight to be 0", is_zero).await?;

    for (order, why) in [
        ("SET pool.size = -5", "SET pool.size: "),
        (
            "SET nodes[7].weight = 1",
            "SET nodes[7].weight: is not there",
        ),
        ("SET listen.workers = 3", "takes a restart"),
        ("SET probe.password = hush", "in the configuration alone"),
        (
            "SET failover.failover_command = 'x'",
            "in the configuration alone",
        ),
        ("SET a = 1", "is not a setting"),
    ] {
        let refused = console(order)
            .await?
            .success()
            .expect_err(order)
            .to_string();
        assert!(refused.contains(why), "{order}: {refused}");
    }
    assert_eq!(shown("default_pool_size").await?, "8");

    // SET is no RELOAD: what the file says since is not looked at.
    let config = served.dir.path().join("pgsteer.toml");
    let edited = std::fs::read_to_string(&config)? + "[timeouts]\nclient_idle = \"7h\"\n";
    std::fs::write(&config, edited)?;
    console("SET pool.min_size = 1").await?.success()?;
    assert_eq!(shown("client_idle_timeout").await?, "0");

    let reloaded = console("RELOAD").await?;
    let said = format!("{reloaded:?}");
    assert!(
        said.contains("pool.size: again as the configuration"),
        "{said}"
    );
    assert_eq!(shown("default_pool_size").await?, "0");
    assert_eq!(shown("pool_mode").await?, "transaction");
    assert_eq!(shown("client_idle_timeout").await?, "25200");
    Ok(())
}

/// Columns of a line that are the same in both: not the share of time of a probe, nor times.
fn comparable(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn debians_tools_show_what_they_show_of_pgpool() -> Result<()> {
    let cluster = Cluster::builder()
        .fast(true)
        .replicas(1)
        .hba_line("host all all 127.0.0.1/32 trust")
        .start()
        .await?;
    let nodes: Vec<(&str, u16)> = cluster
        .nodes()
        .iter()
        .map(|n| (n.host(), n.port()))
        .collect();
    let served = Served::start(&nodes).await?;
    if tool(served.dir.path(), 1, "pcp_node_count", "").is_none() {
        eprintln!("skipped: the pcp_* tools are missing; run scripts/prerequisites.sh --test");
        return Ok(());
    }
    let checked = [
        ("sr_check_period", "1"),
        ("health_check_period", "1"),
        ("health_check_user", "postgres"),
    ];
    let pgpool = Pgpool::start(&cluster, &[1, 1], &checked).await?;
    let both = |name: &str, arguments: &str| {
        let ask = |port| tool(served.dir.path(), port, name, arguments).map(|o| said(&o));
        let ours = ask(served.pcp_port).unwrap_or_default();
        (ours, ask(pgpool.pcp_port()).unwrap_or_default())
    };
    // Pgpool-II calls a node `waiting` until a session has used it, so both get one session. What
    // both know of replication comes with their next look at the nodes.
    let same = |name: &'static str, arguments: &'static str, columns: usize| {
        let both = &both;
        async move {
            let of = |text: &str| -> Vec<Vec<String>> {
                let lines = text.lines().map(comparable);
                lines
                    .map(|line| line.into_iter().take(columns).collect())
                    .collect()
            };
            let equal = || async {
                let (ours, theirs) = both(name, arguments);
                of(&ours) == of(&theirs) && !of(&ours).is_empty()
            };
            let waited = wait_until(DEADLINE, "both to show the same", equal).await;
            waited.with_context(|| format!("{name} {arguments}: {:#?}", both(name, arguments)))
        }
    };
    same("pcp_node_count", "", usize::MAX).await?;
    same("pcp_node_info", "-a", 11).await?;
    same("pcp_node_info", "-n 1", 11).await?;
    same("pcp_node_info", "-n 7", usize::MAX).await?;
    same("pcp_health_check_stats", "-n 1", 5).await?;
    same("pcp_health_check_stats", "-n 9", usize::MAX).await?;
    same("pcp_promote_node", "-n 0", usize::MAX).await?;
    same("pcp_promote_node", "-n 9", usize::MAX).await?;
    same("pcp_proc_info", "", usize::MAX).await?;
    same("pcp_proc_info", "-P 99999", usize::MAX).await?;
    same("pcp_watchdog_info", "", usize::MAX).await?;
    same("pcp_reload_config", "", usize::MAX).await?;
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(name, _)| name.to_owned()).collect()
    };
    for (name, arguments) in [
        ("pcp_node_info", "-a -v"),
        ("pcp_health_check_stats", "-n 0 -v"),
    ] {
        let (ours, theirs) = both(name, arguments);
        assert_eq!(names(&ours), names(&theirs), "{name}");
    }
    Ok(())
}

/// Whatever an order comes through, the nodes are what was ordered afterwards.
#[tokio::test]
async fn orders_are_carried_out_whichever_way_they_come() -> Result<()> {
    let cluster = Cluster::builder().fast(true).replicas(1).start().await?;
    let nodes: Vec<(&str, u16)> = cluster
        .nodes()
        .iter()
        .map(|n| (n.host(), n.port()))
        .collect();
    let served = Served::start(&nodes).await?;
    let is = |listed: &Value, standing: &str| {
        let node = &listed["nodes"][1];
        node["standing"] == standing && node["role"] == "replica" && node["health"] == "up"
    };
    let standing = |standing: &'static str| {
        let served = &served;
        async move {
            served
                .wait_for_nodes(standing, |listed| is(listed, standing))
                .await
        }
    };
    standing("in service").await?;
    let (code, done) = served.node(&["detach", "1"]);
    assert_eq!(
        (code, &done["outcome"]),
        (Some(0), &Value::from("done")),
        "{done}"
    );
    standing("detached").await?;
    let console = |sql: &'static str| {
        let target = conninfo(served.port, "postgres");
        let target = format!("{target} password={DEFAULT_PASSWORD}");
        async move { psql(&target, sql).await?.success() }
    };
    let shown = console("SHOW pool_nodes").await?;
    let second = shown.lines().nth(1).context("a second node")?;
    assert_eq!(second.split('|').nth(3), Some("down"), "{second}");
    console("PGSTEER NODE 1 ATTACH").await?;
    standing("in service").await?;
    for wrong in [
        "PGSTEER NODE 1",
        "PGSTEER NODE x ATTACH",
        "PGSTEER NODE 7 ATTACH",
    ] {
        assert!(console(wrong).await.is_err(), "{wrong}");
    }
    let pcp = |name: &str, arguments: &str| {
        tool(served.dir.path(), served.pcp_port, name, arguments).map(|output| said(&output))
    };
    if let Some(said) = pcp("pcp_detach_node", "-g -n 1") {
        assert_eq!(said, "pcp_detach_node -- Command Successful\n");
        standing("detached").await?;
        let node = pcp("pcp_node_info", "-n 1").context("it was there")?;
        assert!(
            node.contains(" 3 0.500000 down up standby standby "),
            "{node}"
        );
        let said = pcp("pcp_attach_node", "-n 1").context("it was there")?;
        assert_eq!(said, "pcp_attach_node -- Command Successful\n");
        standing("in service").await?;
    } else {
        eprintln!("skipped in part: the pcp_* tools are missing");
    }
    // Without a demote_command there is no switchover.
    let (code, refused) = served.node(&["switchover", "1"]);
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused["error"].is_string(), "{refused}");

    becomes_primary(&cluster, &served).await
}

/// With its primary gone, an order makes the replica one, if the proxy has not done so itself.
async fn becomes_primary(cluster: &Cluster, served: &Served) -> Result<()> {
    cluster.primary().stop(Mode::Kill9).await?;
    let promoted = || async {
        let (_, listed) = served.node(&["list"]);
        let node = &listed["nodes"][1];
        node["standing"] == "in service" && node["role"] == "primary"
    };
    let ordered = || async { promoted().await || served.node(&["promote", "1"]).0 == Some(0) };
    wait_until(DEADLINE, "the order to promote to be taken", ordered).await?;
    wait_until(DEADLINE, "node 1 to be the primary", promoted).await
}
