//! The tools of Pgpool-II as Debian packages them against the port, with somebody who takes orders
//! in the place of the control plane.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pgsteer_core::admin::{NodeOrder, ProcessOrder, Request as Order};
use pgsteer_core::facts::SessionList;
use pgsteer_core::probes::ProbeEnd;
use pgsteer_core::topology::{Health, Standing};
use pgsteer_core::{Facts, Node, NodeId, Publisher, Role, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

use super::{Common, digest, run};
use crate::doors::House;
use crate::testing::{facts, settings, snapshot};

/// The port with nodes, orders that were taken, and a password for the tools.
struct Port {
    port: u16,
    dir: tempfile::TempDir,
    taken: Arc<Mutex<Vec<String>>>,
    closing: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct OneSession;

impl SessionList for OneSession {
    fn counts(&self) -> Vec<pgsteer_core::facts::SessionCount> {
        Vec::new()
    }

    fn end(&self, _: &pgsteer_core::facts::Ending) -> usize {
        0
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let row = "77|2026-11-28 16:00:00|1|0|1|shop|alice|2026-11-28 16:00:01|2026-11-28 16:00:02||0|\
                   3|0|5|4242|1|Execute command|1|127.0.0.1|5555|";
        vec![row.split('|').map(str::to_owned).collect()]
    }
}

fn topology() -> Topology {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_403_139);
    let node = |id, role, standing| Node {
        role,
        standing,
        health: Health::Up,
        last_probe_ok: true,
        changed_at: at,
        ..Node::unknown(NodeId(id), "127.0.0.1", 5432 + id)
    };
    let replica = Node {
        weight: 3.0,
        lag_bytes: Some(64),
        replication_state: "streaming".to_owned(),
        replication_sync_state: "async".to_owned(),
        ..node(1, Role::Replica, Standing::InService)
    };
    Topology {
        epoch: 1,
        activity: pgsteer_core::topology::Activity::None,
        nodes: vec![
            node(0, Role::Primary, Standing::InService),
            replica,
            Node {
                weight: 0.0,
                ..node(2, Role::Primary, Standing::Fenced)
            },
            Node {
                weight: 0.0,
                ..node(3, Role::Replica, Standing::Detached)
            },
        ],
    }
}

impl Port {
    fn open() -> Self {
        let mut settings = settings();
        settings.pcp.users = [("admin".to_owned(), digest("secret"))].into();
        let publisher = Arc::new(Publisher::new(snapshot(&settings, topology())));
        let (facts, closing) = (facts(), watch::Sender::new(false));
        let _ = facts.session_list.set(Arc::new(OneSession));
        facts.probes.node(NodeId(0)).unwrap().note(ProbeEnd {
            answered: true,
            took: Duration::from_millis(4),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_403_200),
            retries: 0,
        });
        let taken = Arc::new(Mutex::new(Vec::new()));
        take_orders(&facts, &taken);
        let house = House {
            facts,
            publisher,
            closing: closing.subscribe(),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        Self {
            port,
            dir,
            taken,
            closing,
            task: tokio::spawn(run(listener, house, Common::new())),
        }
    }

    async fn tool_as(&self, user: &str, password: &str, tool: &str, arguments: &str) -> Output {
        use std::os::unix::fs::PermissionsExt;
        let file = self.dir.path().join("pcppass");
        std::fs::write(&file, format!("*:*:{user}:{password}\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, mode).unwrap();
        let mut command = Command::new(program(tool).expect("checked before"));
        command.args(["-h", "127.0.0.1", "-w", "-U", user, "-p"]);
        command.arg(self.port.to_string());
        command.args(arguments.split_whitespace());
        command.env("PCPPASSFILE", &file).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        output.expect("the tool ends").expect("it starts")
    }

    /// What it prints, on both ways.
    async fn tool(&self, tool: &str, arguments: &str) -> String {
        let output = self.tool_as("admin", "secret", tool, arguments).await;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    }
}

/// Says yes to everything but a switchover and a reload.
fn take_orders(facts: &Arc<Facts>, taken: &Arc<Mutex<Vec<String>>>) {
    let nodes = facts.node_desk.take().unwrap();
    let process = facts.process_desk.take().unwrap();
    let refusal = |order: &NodeOrder| match order {
        NodeOrder::Switchover(_) => Err("there is no demote_command".to_owned()),
        _ => Ok(vec!["done".to_owned()]),
    };
    tokio::spawn(take(nodes, Arc::clone(taken), refusal));
    let refusal = |order: &ProcessOrder| match order {
        ProcessOrder::Reload => Err("the file has a mistake".to_owned()),
        _ => Ok(Vec::new()),
    };
    tokio::spawn(take(process, Arc::clone(taken), refusal));
}

async fn take<O: std::fmt::Debug>(
    mut orders: mpsc::Receiver<Order<O>>,
    taken: Arc<Mutex<Vec<String>>>,
    answer: impl Fn(&O) -> Result<Vec<String>, String>,
) {
    while let Some(Order { order, user, reply }) = orders.recv().await {
        taken.lock().unwrap().push(format!("{user}: {order:?}"));
        let _ = reply.send(answer(&order));
    }
}

/// Packages put them where an ordinary user's `PATH` does not lead.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut programs = dirs.map(|dir| dir.join(name));
    programs.find(|program: &PathBuf| Path::is_file(program))
}

/// Whether the tools are there; `scripts/prerequisites.sh --test` installs them.
fn tools_are_here() -> bool {
    let here = program("pcp_node_info").is_some();
    if !here {
        eprintln!("skipped: the pcp_* tools are missing; run scripts/prerequisites.sh --test");
    }
    here
}

#[tokio::test]
async fn debians_tools_show_nodes_probes_and_sessions() {
    if !tools_are_here() {
        return;
    }
    let port = Port::open();
    assert_eq!(port.tool("pcp_node_count", "").await, "4\n");
    let time = "2026-11-23 03:05:39";
    let nodes = port.tool("pcp_node_info", "-a").await;
    // The tools print local time.
    let nodes: Vec<String> = nodes.lines().map(|line| shorter(line, 2)).collect();
    assert_eq!(
        nodes,
        [
            "127.0.0.1 5432 2 0.250000 up up primary primary 0 none none",
            "127.0.0.1 5433 2 0.750000 up up standby standby 64 streaming async",
            "127.0.0.1 5434 3 0.000000 quarantine up primary primary 0 none none",
            "127.0.0.1 5435 3 0.000000 down up standby standby 0 none none",
        ]
    );
    let one = port.tool("pcp_node_info", "-n 1 -v").await;
    assert!(one.contains("Replication Delay      : 64\n"), "{one}");
    let health = port.tool("pcp_health_check_stats", "-n 0").await;
    assert_eq!(
        health.trim_end(),
        format!(
            "0 127.0.0.1 5432 up primary {time} 1 1 0 0 0 0.000000 0 4 4 4.000000 \
             2026-11-23 03:06:40 2026-11-23 03:06:40"
        )
    );
    let pid = std::process::id();
    assert_eq!(port.tool("pcp_proc_count", "").await, format!("{pid} \n"));
    let session = "shop alice 2026-11-28 16:00:00 1 3 0 2026-11-28 16:00:01 2026-11-28 16:00:02 0  5 \
                   4242 1 77 1 Execute command\n";
    for arguments in ["", "-a", "-P 77", &format!("-P {pid}")] {
        let shown = port.tool("pcp_proc_info", arguments).await;
        assert_eq!(shown, session, "{arguments}");
    }
}

/// A line without its last words.
fn shorter(line: &str, words: usize) -> String {
    let all: Vec<_> = line.split(' ').collect();
    all[..all.len() - words].join(" ")
}

#[tokio::test]
async fn debians_tools_give_orders() {
    if !tools_are_here() {
        return;
    }
    let port = Port::open();
    for (tool, arguments) in [
        ("pcp_attach_node", "-n 1"),
        ("pcp_detach_node", "-n 1"),
        ("pcp_detach_node", "-g -n 2"),
        ("pcp_promote_node", "-n 1"),
        ("pcp_promote_node", "-g -n 1"),
    ] {
        let said = port.tool(tool, arguments).await;
        assert_eq!(said, format!("{tool} -- Command Successful\n"));
    }
    let said = port.tool("pcp_promote_node", "-s -n 1").await;
    let expected =
        "ERROR:  could not process promote request\nDETAIL:  there is no demote_command\n\n";
    assert_eq!(said, expected);
    let said = port.tool("pcp_reload_config", "").await;
    let expected = "ERROR:  could not process reload request\nDETAIL:  the file has a mistake\n\n";
    assert_eq!(said, expected);
    for mode in ["smart", "fast", "immediate"] {
        let said = port.tool("pcp_stop_pgpool", &format!("-m {mode}")).await;
        assert_eq!(said, "pcp_stop_pgpool -- Command Successful\n");
    }
    let taken = port.taken.lock().unwrap().clone();
    let orders = taken
        .iter()
        .map(|line| line.strip_prefix("PCP user admin: "));
    let orders: Vec<_> = orders.map(Option::unwrap).collect();
    assert_eq!(
        orders,
        [
            "Attach(NodeId(1))",
            "Detach(NodeId(1))",
            "Detach(NodeId(2))",
            "Promote(NodeId(1))",
            "Promote(NodeId(1))",
            "Switchover(NodeId(1))",
            "Reload",
            "Stop",
            "Stop",
            "StopNow",
        ]
    );
}

#[tokio::test]
async fn debians_tools_are_refused_in_pgpools_words() {
    if !tools_are_here() {
        return;
    }
    let port = Port::open();
    for (tool, arguments, expected) in [
        (
            "pcp_node_info",
            "-n 7",
            "ERROR:  informing node info failed\nDETAIL:  invalid node ID : 7\n\n",
        ),
        (
            "pcp_health_check_stats",
            "-n 9",
            "ERROR:  informing health check stats info failed\nDETAIL:  invalid node ID 9\n\n",
        ),
        (
            "pcp_proc_info",
            "-P 9",
            "ERROR:  informing process info failed\nDETAIL:  invalid process ID : 9\n\n",
        ),
        (
            "pcp_promote_node",
            "-n 0",
            "FATAL:  invalid promote request\n\
             DETAIL:  specified node is already primary node, can't promote node id 0\n\n",
        ),
        (
            "pcp_promote_node",
            "-n 9",
            "ERROR:  could not process promote request\nDETAIL:  node id 9 is not valid\n\n",
        ),
        (
            "pcp_watchdog_info",
            "",
            "ERROR:  PCP: informing watchdog info failed\nDETAIL:  watchdog is not enabled\n\n",
        ),
        (
            "pcp_recovery_node",
            "-n 1",
            "ERROR:  could not process the request\n\
             DETAIL:  there is no online recovery; rebuild a node with pg_basebackup\n\n",
        ),
    ] {
        assert_eq!(port.tool(tool, arguments).await, expected, "{tool}");
    }
    assert!(port.taken.lock().unwrap().is_empty());
    for user in ["admin", "nobody"] {
        let output = port.tool_as(user, "wrong", "pcp_node_count", "").await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "FATAL:  authentication failed for user \"{user}\"\n\
             DETAIL:  username and/or password does not match\n\n"
        );
        assert_eq!(said, expected);
    }
}

/// Whatever comes before a password ends the connection and reaches no order.
#[tokio::test]
async fn garbage_ends_its_connection_and_nothing_else() {
    let port = Port::open();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[3]
    };
    for round in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", port.port)).await.unwrap();
        let mut bytes: Vec<u8> = (0..usize::from(byte())).map(|_| byte()).collect();
        if round % 3 == 0 {
            // A frame that is one, with anything in it.
            let mut framed = Vec::new();
            super::frame::put(&mut framed, byte(), &bytes);
            bytes = framed;
        }
        if round % 2 == 0 {
            bytes.splice(0..0, *b"M\0\0\0\x04");
        }
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        // The other side may have gone while we were writing.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(
            !answer.contains(&b'r') || !answer.starts_with(b"r"),
            "no login"
        );
    }
    assert!(port.taken.lock().unwrap().is_empty());
    port.closing.send_replace(true);
    port.task.await.expect("the task has not failed");
}
