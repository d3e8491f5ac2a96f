//! The page itself, and who may ask for it how.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use pgsteer_core::counters::Counters;
use pgsteer_core::facts::{Ending, SessionCount, SessionList};
use pgsteer_core::pool_counters::PoolCounters;
use pgsteer_core::servers::{ServerState, ServerUse};
use pgsteer_core::{Facts, NodeId, Publisher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::families::{FAMILIES, Kind};
use super::*;
use crate::testing::{facts, settings, snapshot};

struct Served {
    address: SocketAddr,
    facts: Arc<Facts>,
    publisher: Arc<Publisher>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Two nodes that nobody has asked yet, and two workers.
fn serve() -> Served {
    let settings = settings();
    let topology = crate::topology::Nodes::new(&settings.nodes, SystemTime::UNIX_EPOCH);
    let topology = topology.topology(0, &crate::topology::View::default());
    let publisher = Arc::new(Publisher::new(snapshot(&settings, topology)));
    let (facts, closing) = (facts(), watch::Sender::new(false));
    facts
        .counters
        .set(Arc::new(Counters::new(2, 2)))
        .expect("the first");
    let house = House {
        facts: Arc::clone(&facts),
        publisher: Arc::clone(&publisher),
        closing: closing.subscribe(),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.set_nonblocking(true).expect("it can");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(run(listener, house, Page::default()));
    Served {
        address,
        facts,
        publisher,
        closing,
        task,
    }
}

async fn say(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // One who is refused before is not listened to.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n");
    let answer = say(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// What every scraper needs: families in one piece, each announced once, every value a number.
fn check_format(page: &str) -> BTreeSet<String> {
    let (mut families, mut current) = (BTreeSet::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(current.clone()), "{current} comes twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(
                !families.contains(rest.split(' ').next().unwrap()),
                "{line}"
            );
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(&current), "{line} is not of {current}");
            let (_, value) = line.rsplit_once(' ').expect("a value");
            value.parse::<f64>().expect("a number");
        }
    }
    families
}

#[tokio::test]
async fn the_page_shows_every_family_of_the_table_and_no_other() {
    let served = serve();
    let counters = served.facts.counters.get().expect("set");
    for worker in 0..2 {
        counters.worker(worker).nodes[1].selects.add(20);
        counters.worker(worker).clients_accepted.add(2);
    }
    counters.worker(0).clients_closed.add(1);
    assert!(served.facts.connections.take(NodeId(1), 9));
    let (head, page) = get(served.address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let shown = check_format(&page);
    let known: BTreeSet<_> = FAMILIES
        .iter()
        .map(|family| family.name.to_owned())
        .collect();
    assert_eq!(shown, known);
    for line in [
        "pgsteer_clients 3\n",
        "pgsteer_clients_accepted_total 4\n",
        "kind=\"select\"} 40\n",
        "pgsteer_failover_activity{activity=\"none\"} 1\n",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let of_node = page
        .lines()
        .find(|l| l.starts_with("pgsteer_node_connections{node=\"1\""));
    assert!(
        of_node.is_some_and(|line| line.ends_with(" 1")),
        "{of_node:?}"
    );
    let types = FAMILIES.iter().filter(|f| f.kind == Kind::Histogram);
    for family in types {
        let line = format!("# TYPE {} histogram\n", family.name);
        assert!(page.contains(&line), "{line}");
    }
}

#[derive(Debug)]
struct Busy;

impl SessionList for Busy {
    fn rows(&self) -> Vec<Vec<String>> {
        Vec::new()
    }

    fn counts(&self) -> Vec<SessionCount> {
        let count = |user: &str, idle, waiting| SessionCount {
            database: "shop".into(),
            user: user.into(),
            idle,
            active: 1,
            waiting,
        };
        vec![count("ann", 7, 2), count("bob", 3, 0)]
    }

    fn end(&self, _: &Ending) -> usize {
        0
    }
}

#[tokio::test]
async fn what_clients_and_servers_do_is_counted_by_pool() {
    let served = serve();
    let facts = &served.facts;
    facts.session_list.set(Arc::new(Busy)).expect("the first");
    // Only who has a cell is told apart: a server may be there before anybody has logged in.
    let cell = PoolCounters::new("shop", "ann");
    facts.pools.enter(Arc::new(cell));
    let server = |user: &str| {
        let about = ServerUse {
            database: "shop".into(),
            user: user.into(),
            node: NodeId(1),
            host: "b".into(),
            port: 5432,
        };
        facts.servers.enter(about, SystemTime::UNIX_EPOCH)
    };
    let (ann, other, _opening) = (server("ann"), server("ann"), server("bob"));
    ann.card.set(ServerState::Active);
    ann.card.note_prepared(5);
    other.card.set(ServerState::Idle);
    other.card.note_prepared(2);
    let counters = facts.counters.get().expect("set");
    counters.worker(0).analyses_asked.add(9);
    counters.worker(1).analyses_asked.add(1);
    counters.worker(1).analyses_made.add(1);
    counters.worker(1).analyses_bytes.set(512);
    let (_, page) = get(served.address, "/metrics").await;
    for line in [
        "pgsteer_pool_clients{database=\"shop\",user=\"ann\",state=\"idle\"} 7\n",
        "pgsteer_pool_clients{database=\"shop\",user=\"ann\",state=\"waiting\"} 2\n",
        "pgsteer_pool_clients{database=\"other\",user=\"other\",state=\"active\"} 1\n",
        "pgsteer_pool_servers{database=\"shop\",user=\"ann\",state=\"active\"} 1\n",
        "pgsteer_pool_servers{database=\"shop\",user=\"ann\",state=\"idle\"} 1\n",
        "pgsteer_pool_servers{database=\"other\",user=\"other\",state=\"login\"} 1\n",
        "pgsteer_analyses_total{from=\"memory\"} 9\n",
        "pgsteer_analyses_total{from=\"parser\"} 1\n",
        "pgsteer_analyses_bytes 512\n",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let prepared = page
        .lines()
        .find(|l| l.starts_with("pgsteer_node_prepared_statements{node=\"1\""));
    assert!(
        prepared.is_some_and(|line| line.ends_with(" 7")),
        "{prepared:?}"
    );
}

#[tokio::test]
async fn readiness_is_about_the_next_client() {
    let served = serve();
    assert!(
        get(served.address, "/healthz")
            .await
            .0
            .starts_with("HTTP/1.1 200")
    );
    let (head, body) = get(served.address, "/readyz").await;
    assert!(
        head.starts_with("HTTP/1.1 503") && body == "no node can serve\n",
        "{head} {body}"
    );
    let set = |draining: bool| {
        served.publisher.publish(|snapshot| {
            let mut topology = pgsteer_core::Topology::clone(&snapshot.topology);
            topology.nodes[0].role = pgsteer_core::Role::Primary;
            topology.nodes[0].health = pgsteer_core::topology::Health::Up;
            snapshot.topology = Arc::new(topology);
            snapshot.draining = draining;
        })
    };
    set(false);
    assert_eq!(get(served.address, "/readyz").await.1, "ready\n");
    set(true);
    assert!(
        get(served.address, "/readyz")
            .await
            .0
            .starts_with("HTTP/1.1 503")
    );
}

#[tokio::test]
async fn what_is_no_request_harms_nobody() {
    let served = serve();
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 100_000]].concat();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for (request, expected) in [
        (b"GET /else HTTP/1.1\r\n\r\n".as_slice(), "HTTP/1.1 404"),
        (
            b"POST /metrics HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n",
            "HTTP/1.1 405",
        ),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "HTTP/1.1 400"),
        (b"nonsense\r\n\r\n", "HTTP/1.1 400"),
        (many.as_bytes(), "HTTP/1.1 431"),
        (&endless, ""),
    ] {
        let answer = say(served.address, request).await;
        assert!(answer.starts_with(expected), "{expected}: {answer}");
        assert!(
            answer.is_empty() || answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
    }
    // As many as may be here, and not one more, who all say nothing.
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 8 {
        silent.push(TcpStream::connect(served.address).await.expect("connects"));
    }
    // One more is closed at once instead of waiting for the others.
    let mut last = silent.pop().expect("many");
    assert_eq!(last.read(&mut [0]).await.ok(), Some(0));
    drop(silent);
    served.closing.send_replace(true);
    served.task.await.expect("it ends");
}
