//! Statements that belong to a trace are reported to a collector, and wait for nobody.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result};
use pgsteer_testkit::wait_until;

use crate::support::{DEADLINE, Options, Wire, database, msg, runtime};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// One request: what is in its head, and its body.
fn receive(stream: &mut TcpStream) -> Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| {
                l.to_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            });
            let length: usize = length.context("a length")?.parse()?;
            if body.len() >= length {
                return Ok((head.to_owned(), body.to_owned()));
            }
        }
        let read = stream.read(&mut chunk)?;
        anyhow::ensure!(read > 0, "cut off");
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// A collector that answers 200 to all, and hands the bodies on.
fn collector() -> Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok((head, body)) = receive(&mut stream) else {
                continue;
            };
            let expected =
                head.starts_with("POST /v1/traces HTTP/1.1") && head.contains("application/json");
            let status = if expected {
                "200 OK"
            } else {
                "400 Bad Request"
            };
            let _ = stream.write_all(
                format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes(),
            );
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    Ok((port, receiver))
}

fn options(port: u16) -> Options {
    let section =
        format!("[tracing]\notlp_endpoint = \"http://127.0.0.1:{port}\"\nservice_name = \"shop\"");
    Options {
        router: section.leak(),
        ..Options::weights([1, 0, 0])
    }
}

fn traced(sql: &str, flags: &str) -> String {
    format!("{sql} /*traceparent='00-{TRACE}-{PARENT}-{flags}'*/")
}

/// The value of a field of the span with this name, in one flat piece of JSON.
fn spans<'a>(body: &'a str, name: &str) -> Vec<&'a str> {
    let name = format!("\"name\":\"{name}\"");
    body.split("\"endTimeUnixNano\"")
        .skip(1)
        .filter(|span| span.contains(&name))
        .collect()
}

#[test]
fn sampled_statements_are_reported_and_no_others() -> Result<()> {
    drop(runtime().block_on(database("traced", ""))?);
    let (port, bodies) = collector()?;
    let proxy = options(port).start();
    let mut wire = Wire::connect(proxy.port(), "traced");
    wire.query("SELECT 'not traced'");
    wire.query(&traced("SELECT 'not sampled'", "00"));
    wire.query(&traced("SELECT pg_sleep(0.05), 'secret'", "01"));
    let body = bodies.recv_timeout(DEADLINE)?;
    for part in [
        format!("\"traceId\":\"{TRACE}\""),
        format!("\"parentSpanId\":\"{PARENT}\""),
        "\"stringValue\":\"shop\"".to_owned(),
        "\"stringValue\":\"traced\"".to_owned(),
    ] {
        assert!(body.contains(&part), "{part}: {body}");
    }
    for (name, count) in [("query", 1), ("node", 1), ("plugins", 1)] {
        assert_eq!(spans(&body, name).len(), count, "{name}: {body}");
    }
    // The children are part of the query's own span, and that of the client's.
    assert_eq!(body.matches(PARENT).count(), 1, "{body}");
    assert!(
        !body.contains("secret") && !body.contains("SELECT"),
        "{body}"
    );

    // The extended protocol, with the comment in Parse.
    let text = traced("SELECT $1::int", "01");
    let batch = [
        msg::parse("", &text),
        msg::bind("", "", &[Some("1")]),
        msg::execute("", 0),
        msg::sync(),
    ];
    wire.send(&batch.concat());
    wire.until(b'Z');
    let body = bodies.recv_timeout(DEADLINE)?;
    assert_eq!(spans(&body, "query").len(), 1, "{body}");
    assert!(!spans(&body, "node").is_empty(), "{body}");
    Ok(())
}

#[test]
fn a_collector_that_is_away_or_silent_keeps_nobody_waiting() -> Result<()> {
    // Takes connections and never answers.
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let proxy = options(listener.local_addr()?.port()).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for _ in 0..5000 {
        wire.query(&traced("SELECT 1", "01"));
    }
    let spans = proxy.spans();
    let dropped = || async { spans.dropped.load(std::sync::atomic::Ordering::Relaxed) > 0 };
    runtime().block_on(wait_until(DEADLINE, "spans without room", dropped))?;
    drop(listener);
    let failed = || async { spans.failed.load(std::sync::atomic::Ordering::Relaxed) > 0 };
    runtime().block_on(wait_until(DEADLINE, "spans that could not be sent", failed))
}
