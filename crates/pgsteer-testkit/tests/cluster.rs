//! The cluster launcher against the PostgreSQL of this machine.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use pgsteer_testkit::{Builder, Cluster, Mode, conninfo, pgbench, psql, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);

fn builder() -> Builder {
    Cluster::builder().fast(true)
}

#[tokio::test]
async fn a_primary_and_two_streaming_replicas() -> Result<()> {
    let cluster = builder().start().await?;
    assert_eq!(cluster.nodes().len(), 3);
    assert_eq!(
        cluster
            .primary()
            .value("SELECT pg_is_in_recovery()")
            .await?,
        "f"
    );
    for replica in cluster.replicas() {
        assert_eq!(replica.value("SELECT pg_is_in_recovery()").await?, "t");
    }
    let query = "SELECT r.usename, r.application_name, s.slot_name \
                 FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
                 ORDER BY 1";
    let rows: Vec<String> = cluster.sql(0, query).await?.into_iter().map(join).collect();
    assert_eq!(
        rows,
        [
            "replicator node1 replication_slot",
            "replicator2 node2 replication_slot2"
        ]
    );

    cluster
        .primary()
        .sql("CREATE TABLE t AS SELECT 42 AS a")
        .await?;
    cluster.wait_until_caught_up(DEADLINE).await?;
    for replica in cluster.replicas() {
        assert_eq!(replica.value("SELECT a FROM t").await?, "42");
    }
    cluster.stop().await
}

#[tokio::test]
async fn tcp_wants_the_password_and_the_real_clients_know_it() -> Result<()> {
    let cluster = builder().replicas(0).password("it's").start().await?;
    let port = cluster.primary().port();
    let wrong = psql(&conninfo(port, "postgres"), "SELECT 1").await?;
    assert!(
        wrong.stderr.contains("password authentication failed"),
        "{wrong:?}"
    );
    let right = format!("{} password='it\\'s'", conninfo(port, "postgres"));
    assert_eq!(psql(&right, "SELECT 6 * 7").await?.success()?, "42");
    pgbench(&right, &["-i", "-q"]).await?.success()?;
    pgbench(&right, &["-S", "-t", "10"]).await?.success()?;
    let client = cluster.primary().connect("postgres").await?;
    let row = client.query_one("SHOW password_encryption", &[]).await?;
    assert_eq!(row.get::<_, String>(0), "scram-sha-256");
    Ok(())
}

#[tokio::test]
async fn a_replica_comes_back_after_kill_9() -> Result<()> {
    let cluster = builder().replicas(1).start().await?;
    let replica = cluster.replicas()[0];
    let pid = replica.pid();
    replica.stop(Mode::Kill9).await?;
    assert_eq!(replica.pid(), None);
    assert!(replica.connect("postgres").await.is_err());
    cluster.primary().sql("CREATE TABLE later ()").await?;
    replica.start().await?;
    assert_ne!(replica.pid(), pid);
    cluster.wait_until_streaming(DEADLINE).await?;
    cluster.wait_until_caught_up(DEADLINE).await?;
    replica.sql("SELECT FROM later").await?;
    Ok(())
}

#[tokio::test]
async fn a_paused_server_answers_nothing_until_it_is_resumed() -> Result<()> {
    let cluster = builder().replicas(0).start().await?;
    let client = cluster.primary().connect("postgres").await?;
    cluster.primary().pause()?;
    let mut answer = tokio::spawn(async move { client.simple_query("SELECT 1").await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
    assert!(early.is_err(), "a paused server answered");
    cluster.primary().resume()?;
    answer.await??;
    Ok(())
}

#[tokio::test]
async fn a_kept_root_is_started_again_without_a_base_backup() -> Result<()> {
    let parent = tempfile::tempdir()?;
    open_to_all(parent.path())?;
    // Long enough that the sockets have to be elsewhere.
    let root = parent.path().join("long".repeat(25));
    let steps = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let start = || {
        let steps = std::sync::Arc::clone(&steps);
        let report = move |step: &str| steps.lock().unwrap().push(step.to_owned());
        builder().root(&root).progress(report).start()
    };

    let cluster = start().await?;
    cluster.primary().sql("CREATE TABLE kept ()").await?;
    let system = "SELECT system_identifier FROM pg_control_system()";
    let identifier = cluster.primary().value(system).await?;
    assert!(
        start()
            .await
            .unwrap_err()
            .to_string()
            .contains("another process")
    );
    cluster.stop().await?;

    steps.lock().unwrap().clear();
    let cluster = start().await?;
    assert_eq!(cluster.primary().value(system).await?, identifier);
    for node in cluster.nodes() {
        node.sql("SELECT FROM kept").await?;
    }
    let steps = steps.lock().unwrap().join("\n");
    assert!(!steps.contains("base backup"), "{steps}");
    cluster.stop().await
}

#[tokio::test]
async fn after_a_failover_the_promoted_node_is_the_primary_of_the_next_start() -> Result<()> {
    let parent = tempfile::tempdir()?;
    open_to_all(parent.path())?;
    let root = parent.path().join("root");
    let cluster = builder().root(&root).start().await?;
    cluster.primary().stop(Mode::Kill9).await?;
    cluster.replicas()[0].promote().await?;
    cluster.replicas()[0]
        .sql("CREATE TABLE after_failover ()")
        .await?;
    drop(cluster);

    let cluster = builder().root(&root).start().await?;
    assert_eq!(cluster.primary().name(), "node1");
    cluster.wait_until_caught_up(DEADLINE).await?;
    for node in cluster.nodes() {
        node.sql("SELECT FROM after_failover").await?;
    }
    assert!(root.join("node0.superseded-1").exists());
    cluster.stop().await
}

#[tokio::test]
async fn a_taken_port_is_moved_aside_with_a_message() -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = listener.local_addr()?.port();
    let (report, steps) = std::sync::mpsc::sync_channel(100);
    let cluster = builder()
        .replicas(0)
        .preferred_ports(&[taken])
        .progress(move |step| report.send(step.to_owned()).unwrap())
        .start()
        .await?;
    assert_ne!(cluster.primary().port(), taken);
    let first = steps.recv()?;
    assert!(first.contains(&format!("port {taken} is taken")), "{first}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let error = builder()
        .replicas(0)
        .conf_line("work_mem = nonsense")
        .start()
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("work_mem"), "{text}");
}

/// The parent here is this test binary, run once more with only [`hold_a_cluster`].
#[tokio::test]
async fn nothing_survives_kill_9_of_the_parent() -> Result<()> {
    let data = tempfile::tempdir()?;
    open_to_all(data.path())?;
    let mut parent = Command::new(std::env::current_exe()?)
        .args(["--exact", "hold_a_cluster", "--nocapture"])
        .env(HOLD, data.path().join("root"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let output = BufReader::new(parent.stdout.take().unwrap());
    let line = output
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains(HOLD))
        .unwrap();
    let pids: Vec<u32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // A postmaster and at least checkpointer, writer and walwriter or receiver of each node.
    assert!(pids.len() >= 9, "{line}");

    parent.kill()?;
    parent.wait()?;

    wait_until(DEADLINE, "the end of every server", || async {
        pids.iter().all(|pid| !is_alive(*pid))
    })
    .await
}

/// Starts a cluster, pauses a node (a stopped process must not survive either), prints every
/// process id and waits for its end. Does nothing unless it is asked to by the test above.
#[tokio::test]
async fn hold_a_cluster() -> Result<()> {
    let Some(root) = std::env::var_os(HOLD) else {
        return Ok(());
    };
    let cluster = builder().root(root).start().await?;
    let servers: Vec<u32> = cluster
        .nodes()
        .iter()
        .filter_map(|node| node.pid())
        .collect();
    let mut pids = servers.clone();
    for server in servers {
        let text = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        pids.extend(
            text.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    cluster.replicas()[1].pause()?;
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("{HOLD} {}", pids.join(" "));
    std::future::pending().await
}

const HOLD: &str = "PGSTEER_TEST_HOLD_A_CLUSTER";

/// A zombie waits for its new parent to collect it and is not alive.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

fn join(row: Vec<Option<String>>) -> String {
    row.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// `tempfile` makes directories that only we can enter, but the servers may run as another user.
fn open_to_all(dir: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(
        dir,
        std::fs::Permissions::from_mode(0o755),
    )?)
}
