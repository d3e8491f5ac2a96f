//! Tests of probing without PostgreSQL: nobody there, somebody who says nothing, nonsense, and a
//! connection that ends. Probes of real servers are in the tests of the whole proxy.

use std::io::Write as _;
use std::net::TcpListener;

use super::*;
use crate::testing;

fn probe(port: u16) -> Probe {
    let node = testing::node("127.0.0.1", port);
    Probe {
        id: NodeId(0),
        node,
        connection: None,
        timeline: None,
        known: Known::default(),
    }
}

fn patience(milliseconds: u64) -> ProbeSettings {
    ProbeSettings {
        timeout: Duration::from_millis(milliseconds),
        ..testing::settings().probe
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let fault = probe(port)
        .once(&patience(10_000))
        .await
        .expect_err("refused");
    assert!(fault.to_string().contains("Connection refused"), "{fault}");
    assert!(fault.is_passing());
}

#[tokio::test]
async fn somebody_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let fault = probe(port).once(&patience(50)).await.expect_err("silence");
    assert_eq!(fault, Fault::Timeout(Duration::from_millis(50)));
}

#[tokio::test]
async fn somebody_speaks_another_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .expect("written");
    });
    let fault = probe(port)
        .once(&patience(10_000))
        .await
        .expect_err("not PostgreSQL");
    assert!(!fault.to_string().is_empty());
    server.join().expect("ended");
}

#[test]
fn a_node_that_fails_is_judged_within_one_interval() {
    let settings = ProbeSettings {
        interval: Duration::from_secs(3),
        failures_max: 3,
        ..testing::settings().probe
    };
    let pauses: Vec<_> = (0..5)
        .map(|failures| pause(&settings, failures).as_secs())
        .collect();
    assert_eq!(pauses, [3, 1, 1, 3, 3]);
}
