//! `pgsteer node` against whatever may be at the other end of the socket: the exit codes that
//! scripts rely on.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;

const PGSTEER: &str = env!("CARGO_BIN_EXE_pgsteer");

/// Answers one request with these bytes; returns the request.
fn answering(dir: &Path, answer: &'static str) -> (PathBuf, JoinHandle<String>) {
    let path = dir.join("admin.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
        reader.read_line(&mut request).expect("a line");
        stream.write_all(answer.as_bytes()).expect("answered");
        request
    });
    (path, thread)
}

fn node(socket: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(PGSTEER);
    command.arg("node").args(arguments);
    command.env_remove("PGSTEER_ADMIN_SOCKET");
    if let Some(socket) = socket {
        command.env("PGSTEER_ADMIN_SOCKET", socket);
    }
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn every_outcome_has_its_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases = [
        (
            "{\"outcome\":\"done\",\"answer\":[\"node 1 is detached\"]}\n",
            0,
        ),
        ("{\"outcome\":\"refused\",\"answer\":\"it is down\"}\n", 1),
        (
            "{\"outcome\":\"unknown\",\"answer\":\"no answer within 60 s\"}\n",
            4,
        ),
        // It went away, or it speaks another language, with the order in its hands.
        ("", 4),
        ("HTTP/1.1 400\n", 4),
    ];
    for (answer, code) in cases {
        let (socket, asked) = answering(dir.path(), answer);
        let output = node(Some(&socket), &["detach", "1"]);
        assert_eq!(output.status.code(), Some(code), "{answer}");
        let request = asked.join().expect("it answered");
        assert_eq!(request, "{\"command\":\"detach\",\"node\":1}\n");
        if code == 0 {
            assert_eq!(text(&output.stdout), "node 1 is detached\n");
        } else {
            assert!(text(&output.stderr).starts_with("pgsteer: "), "{answer}");
            assert!(output.stdout.is_empty(), "{answer}");
        }
        let (socket, _asked) = answering(dir.path(), answer);
        let output = node(Some(&socket), &["switchover", "1", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{answer}");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(said["outcome"].is_string(), "{said}");
    }
}

#[test]
fn who_only_looks_is_never_in_doubt() {
    let dir = tempfile::tempdir().expect("a directory");
    let (socket, _asked) = answering(dir.path(), "");
    assert_eq!(node(Some(&socket), &["list"]).status.code(), Some(3));
    let answer = "{\"outcome\":\"listed\",\"answer\":{\"primary\":null,\"activity\":\"none\",\"nodes\":[]}}\n";
    let (socket, _asked) = answering(dir.path(), answer);
    let output = node(Some(&socket), &["list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).ends_with("there is no primary\n"));
}

#[test]
fn a_proxy_that_is_not_there_and_bad_usage_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = dir.path().join("nothing.sock");
    let output = node(Some(&nowhere), &["list"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("is the proxy running"));
    // Left behind by one that was killed.
    drop(UnixListener::bind(&nowhere).expect("a socket"));
    assert_eq!(
        node(Some(&nowhere), &["attach", "0"]).status.code(),
        Some(3)
    );

    let config = dir.path().join("pgsteer.toml");
    let text = "[[nodes]]\nhost = \"h\"\n[probe]\npassword = \"x\"\n";
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("a name");
    for arguments in [
        &["list"] as &[&str],
        &["list", "--config", config],
        &["list", "--config", "/nowhere.toml"],
        &["switchover"],
        &["detach", "one"],
        &["list", "--timeout", "0"],
        &[],
    ] {
        assert_eq!(
            node(None, arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    let text = format!("{text}[admin]\nsocket = \"admin.sock\"\n");
    std::fs::write(config, text).expect("written");
    let answer = "{\"outcome\":\"done\",\"answer\":[]}\n";
    let (_, _asked) = answering(dir.path(), answer);
    let output = node(None, &["attach", "0", "--config", config]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_answer_that_does_not_come_is_an_unknown_outcome() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    // It accepts, since the system does that for it, and says nothing.
    let _listener = UnixListener::bind(&path).expect("a socket");
    let output = node(Some(&path), &["promote", "1", "--timeout", "1"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("look at the nodes before you repeat it"));
}
