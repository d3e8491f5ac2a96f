//! Another process takes over from a proxy in front of real servers, and no client notices.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pgsteer_testkit::ports::free_port;
use pgsteer_testkit::{Cluster, DEFAULT_PASSWORD, conninfo, wait_until};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

const PGSTEER: &str = env!("CARGO_BIN_EXE_pgsteer");
const DEADLINE: Duration = Duration::from_secs(60);

/// A proxy that was started under a name that tests put other programs under.
struct Served {
    first: Child,
    port: u16,
    config: String,
    dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        // The process that serves now is nobody's child; it tells those before it.
        let _ = self.order("{\"command\":\"stop\",\"now\":true}");
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

impl Served {
    async fn start(cluster: &Cluster, more: &str) -> Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let pcp = free_port()?;
        let mut config = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\nworkers = 2\n{more}\n\
             [admin]\nsocket = \"admin.sock\"\n[pcp]\nlisten = [\"127.0.0.1:{pcp}\"]\n\
             [[pcp_users]]\nname = \"admin\"\npassword = \"secret\"\n\
             [[users]]\nname = \"postgres\"\npassword = \"{DEFAULT_PASSWORD}\"\n"
        );
        for node in cluster.nodes() {
            let (host, port) = (node.host(), node.port());
            config += &format!("[[nodes]]\nhost = \"{host}\"\nport = {port}\n");
        }
        std::fs::write(dir.path().join("pgsteer.toml"), &config)?;
        symlink(PGSTEER, dir.path().join("pgsteer"))?;
        let mut serve = Command::new(dir.path().join("pgsteer"));
        serve
            .args(["serve", "--config"])
            .arg(dir.path().join("pgsteer.toml"));
        let log = std::fs::File::create(dir.path().join("log"))?;
        let first = serve.stdin(Stdio::null()).stderr(log).spawn()?;
        let served = Self {
            first,
            port,
            config,
            dir,
        };
        let ready = || async { served.connect().await.is_ok() };
        wait_until(DEADLINE, "the proxy to serve", ready).await?;
        Ok(served)
    }

    async fn connect(&self) -> Result<Client> {
        let target = conninfo(self.port, "postgres");
        let target = format!("{target} password={DEFAULT_PASSWORD}");
        let (client, connection) = tokio_postgres::connect(&target, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Exit code of `pgsteer upgrade`, and its JSON.
    async fn upgrade(&self) -> (Option<i32>, Value) {
        let mut command = Command::new(PGSTEER);
        command.args(["upgrade", "--json", "--socket"]);
        command.arg(self.dir.path().join("admin.sock"));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("no panic").expect("the program starts");
        let answer = serde_json::from_slice(&output.stdout);
        (output.status.code(), answer.unwrap_or_default())
    }

    /// Upgrades, and returns the process that took over.
    async fn upgraded(&self) -> Result<u32> {
        let (code, answer) = self.upgrade().await;
        let line = answer["lines"][0]
            .as_str()
            .with_context(|| self.told(&answer))?;
        assert_eq!(code, Some(0), "{answer}");
        let pid = line.split(' ').nth(1).context("a process id")?;
        Ok(pid.parse()?)
    }

    fn told(&self, answer: &Value) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log"));
        format!("{answer}\n{}", log.unwrap_or_default())
    }

    /// One line over the admin socket.
    fn order(&self, line: &str) -> Result<String> {
        use std::io::{Read, Write};
        let path = self.dir.path().join("admin.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Puts another program in the place of the one that was started.
    fn replace_program(
        &self,
        make: impl FnOnce(&std::path::Path) -> std::io::Result<()>,
    ) -> Result<()> {
        let path = self.dir.path().join("pgsteer");
        std::fs::remove_file(&path)?;
        Ok(make(&path)?)
    }

    /// Waits for the end of the process that was started first.
    async fn first_ended(&mut self) -> Result<Option<i32>> {
        let child = std::cell::RefCell::new(&mut self.first);
        let ended = || async { child.borrow_mut().try_wait().is_ok_and(|s| s.is_some()) };
        wait_until(DEADLINE, "the old process to end", ended).await?;
        Ok(self.first.wait()?.code())
    }
}

fn is_alive(pid: u32) -> bool {
    // A zombie nobody waits for is no process any more.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    state.flatten().is_some_and(|state| state != 'Z')
}

/// Runs transactions on one connection until it is told to stop; returns how many were committed.
async fn work(client: Client, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = "BEGIN; INSERT INTO upgraded SELECT 1 FROM pg_sleep(0.01); COMMIT";
        client.batch_execute(text).await?;
        committed += 1;
    }
    Ok(committed)
}

/// Connects, works and leaves, again and again.
async fn come_and_go(served: &Served, stop: &AtomicBool, visits: &AtomicU64) -> Result<u64> {
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        let client = served.connect().await?;
        client
            .batch_execute("BEGIN; INSERT INTO upgraded VALUES (2)")
            .await?;
        client.batch_execute("COMMIT").await?;
        committed += 1;
        visits.fetch_add(1, Ordering::Relaxed);
    }
    Ok(committed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_notice_nothing_of_two_upgrades_under_load() -> Result<()> {
    let cluster = Cluster::builder().fast(true).replicas(1).start().await?;
    cluster
        .primary()
        .sql("CREATE TABLE upgraded (a int)")
        .await?;
    let mut served = Served::start(&cluster, "").await?;
    let (stop, visits) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        workers.spawn(work(served.connect().await?, Arc::clone(&stop)));
    }
    let oldest = served.connect().await?;
    oldest
        .batch_execute("SET application_name = 'oldest'; BEGIN; INSERT INTO upgraded VALUES (3)")
        .await?;

    let upgrades = async {
        let first = served.first.id();
        let second = served.upgraded().await?;
        let more = visits.load(Ordering::Relaxed) + 5;
        let visited = || async { visits.load(Ordering::Relaxed) > more };
        wait_until(DEADLINE, "visits to the second process", visited).await?;
        let third = served.upgraded().await?;
        let more = visits.load(Ordering::Relaxed) + 5;
        let visited = || async { visits.load(Ordering::Relaxed) > more };
        wait_until(DEADLINE, "visits to the third process", visited).await?;
        assert!(
            first != second && second != third,
            "{first} {second} {third}"
        );
        assert!(is_alive(first), "it has sessions");
        anyhow::Ok((second, third))
    };
    let until_done = async {
        let done = upgrades.await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (done, visitors) = tokio::join!(until_done, come_and_go(&served, &stop, &visits));
    let (second, third) = done?;
    let mut committed = visitors?;
    while let Some(worked) = workers.join_next().await {
        committed += worked??;
    }
    // A transaction that began before both goes on.
    oldest.batch_execute("COMMIT").await?;
    committed += 1;
    let row = oldest.query_one("SHOW application_name", &[]).await?;
    assert_eq!(row.get::<_, &str>(0), "oldest");
    let count = served
        .connect()
        .await?
        .query_one("SELECT count(*) FROM upgraded", &[])
        .await?;
    assert_eq!(count.get::<_, i64>(0), i64::try_from(committed)?);

    drop(oldest);
    assert_eq!(served.first_ended().await?, Some(0));
    wait_until(DEADLINE, "the second process to end", || async {
        !is_alive(second)
    })
    .await?;
    assert!(is_alive(third));
    served.connect().await?;
    let answer = served.order("{\"command\":\"stop\"}")?;
    assert!(answer.contains("done"), "{answer}");
    wait_until(DEADLINE, "the third process to end", || async {
        !is_alive(third)
    })
    .await?;
    assert!(!served.dir.path().join("admin.sock").exists());
    Ok(())
}

#[tokio::test]
async fn what_cannot_serve_does_not_take_over() -> Result<()> {
    let cluster = Cluster::builder().fast(true).replicas(0).start().await?;
    let served = Served::start(&cluster, "").await?;
    let old = served.connect().await?;
    let first = served.first.id();
    let refused = |(code, answer): (Option<i32>, Value), expected: &str| {
        assert_eq!(code, Some(1), "{answer}");
        let why = answer["error"].as_str().unwrap_or_default().to_owned();
        assert!(
            why.contains("this process goes on") && why.contains(expected),
            "{why}"
        );
    };

    served.replace_program(|_| Ok(()))?;
    refused(served.upgrade().await, "cannot be started");
    let script = |text: &'static str| {
        move |path: &std::path::Path| {
            std::fs::write(path, text)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        }
    };
    std::fs::write(served.dir.path().join("pgsteer"), "no program")?;
    refused(served.upgrade().await, "cannot be started");
    served.replace_program(script("#!/bin/sh\nexit 7\n"))?;
    refused(served.upgrade().await, "exit status: 7");
    // One that says something else than it should.
    served.replace_program(script("#!/bin/sh\necho hello >&0\nexec sleep 1000\n"))?;
    refused(served.upgrade().await, "ended before it was ready");
    served.replace_program(|path| symlink(PGSTEER, path))?;
    let config = served.dir.path().join("pgsteer.toml");
    std::fs::write(
        &config,
        format!("{}[pool]\nwaiters_max = -1\n", served.config),
    )?;
    refused(served.upgrade().await, "pool.waiters_max: is -1");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let elsewhere = format!("127.0.0.1:{}", taken.local_addr()?.port());
    let own = format!("127.0.0.1:{}", served.port);
    std::fs::write(&config, served.config.replace(&own, &elsewhere))?;
    refused(served.upgrade().await, "cannot listen on");

    // Whoever is here has noticed nothing, and who comes is served by the same process.
    old.batch_execute("SELECT 1").await?;
    served.connect().await?.batch_execute("SELECT 1").await?;
    assert!(is_alive(first));

    // An upgrade takes over what a reload cannot.
    let other = format!("127.0.0.1:{}", free_port()?);
    std::fs::write(
        &config,
        served
            .config
            .replace(&own, &format!("{own}\", \"{other}"))
            .replace(
                &format!("address = \"{own}\", \"{other}\""),
                &format!("address = [\"{own}\", \"{other}\"]"),
            ),
    )?;
    served.upgraded().await?;
    served.connect().await?.batch_execute("SELECT 1").await?;
    std::net::TcpStream::connect(&other)?;
    old.batch_execute("SELECT 1").await?;
    Ok(())
}

/// Waits until a server runs a statement with this text in it.
async fn wait_for(cluster: &Cluster, mark: &str) -> Result<()> {
    let question = format!(
        "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{mark}%' \
         AND pid <> pg_backend_pid()"
    );
    let runs = || async { cluster.primary().value(&question).await.is_ok() };
    wait_until(DEADLINE, mark, runs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_requests_reach_sessions_of_every_process() -> Result<()> {
    let cluster = Cluster::builder().fast(true).replicas(0).start().await?;
    let mut served = Served::start(&cluster, "unix_socket_dir = \".\"").await?;
    let socket = served.dir.path().join(format!(".s.PGSQL.{}", served.port));
    let oldest = served.connect().await?;
    served.upgraded().await?;
    let old = served.connect().await?;
    let newest = served.upgraded().await?;
    let new = served.connect().await?;
    for (name, client) in [("oldest", &oldest), ("old", &old), ("new", &new)] {
        let mark = format!("cancel the {name}");
        let sql = format!("SELECT pg_sleep(1000), '{mark}'");
        let token = client.cancel_token();
        let cancelled = async {
            wait_for(&cluster, &mark).await?;
            anyhow::Ok(token.cancel_query(NoTls).await?)
        };
        let (ended, cancelled) = tokio::join!(client.batch_execute(&sql), cancelled);
        cancelled?;
        let error = ended.expect_err("it was cancelled");
        let code = error.code().map(tokio_postgres::error::SqlState::code);
        assert_eq!(code, Some("57014"), "{name}");
    }
    // The Unix socket was handed on as well, with its files.
    std::os::unix::net::UnixStream::connect(&socket)?;
    let lock = std::fs::read_to_string(socket.with_extension(format!("{}.lock", served.port)))?;
    assert_eq!(lock.lines().next(), Some(&*newest.to_string()));
    // The oldest is not kept by its elders, and a stop of the newest stops it.
    let answer = served.order("{\"command\":\"stop\"}")?;
    assert!(answer.contains("done"), "{answer}");
    assert_eq!(served.first_ended().await?, Some(0));
    wait_until(DEADLINE, "the Unix socket to go", || async {
        !socket.exists()
    })
    .await?;
    let error = oldest
        .batch_execute("SELECT 1")
        .await
        .expect_err("it was ended");
    assert!(error.is_closed() || error.code().is_some(), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_signal_upgrades_and_sessions_end_after_the_time_that_is_set() -> Result<()> {
    let cluster = Cluster::builder().fast(true).replicas(0).start().await?;
    let mut served = Served::start(&cluster, "upgrade_timeout = \"300ms\"").await?;
    let idle = served.connect().await?;
    let busy = served.connect().await?;
    busy.batch_execute("BEGIN; SELECT 1").await?;
    let pid = rustix::process::Pid::from_child(&served.first);
    rustix::process::kill_process(pid, rustix::process::Signal::USR2)?;
    // At rest: told that it is over. In a transaction: after that.
    wait_until(DEADLINE, "the idle session to end", || async {
        idle.is_closed()
    })
    .await?;
    busy.batch_execute("SELECT 2; COMMIT").await?;
    if served.first_ended().await? != Some(0) {
        bail!("the old process failed");
    }
    served.connect().await?.batch_execute("SELECT 1").await?;
    Ok(())
}
