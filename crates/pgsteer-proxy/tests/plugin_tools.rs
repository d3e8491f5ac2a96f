//! The way of an author: a plugin is begun, built, checked, asked, tested, measured and compared
//! with its next version, all with the program itself.

use std::path::Path;
use std::process::{Command, Output};

use pgsteer_testkit::guest::Guest;
use serde_json::Value;

const PGSTEER: &str = env!("CARGO_BIN_EXE_pgsteer");

/// Where plugins are compiled, so that what they have in common is compiled once. In there they
/// must not have the same name.
const TARGET: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-tools");

/// Runs `pgsteer plugin ...` in a directory.
fn pgsteer(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PGSTEER);
    command.current_dir(directory).arg("plugin").args(arguments);
    let output = command.env("CARGO_TARGET_DIR", TARGET).output();
    output.expect("the program starts")
}

/// The same with `--json`, and with this exit code.
fn json(directory: &Path, arguments: &[&str], code: i32) -> Value {
    let output = pgsteer(directory, &[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n{text}\n{complaint}"
    );
    serde_json::from_str(&text).expect("one JSON value")
}

/// Native tests, as an author runs them.
fn cargo_test(directory: &Path) {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(directory).args(["test", "--release"]);
    command
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", TARGET);
    let output = command.output();
    let output = output.expect("cargo starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn from_nothing_to_a_second_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let new = json(dir, &["new", "mine"], 0);
    assert!(
        new["files"]
            .as_array()
            .is_some_and(|f| f.contains(&"src/lib.rs".into()))
    );
    let again = json(dir, &["new", "mine"], 2);
    assert!(
        again["error"]
            .as_str()
            .is_some_and(|e| e.contains("there already"))
    );

    let built = json(dir, &["build", "mine"], 0);
    assert_eq!(
        built["hooks"],
        serde_json::json!(["router", "topology-listener"])
    );
    assert!(dir.join("mine/mine.wasm").is_file());

    let checked = json(dir, &["check", "mine/mine.wasm"], 0);
    assert_eq!(checked["accepted"], true);
    assert_eq!(checked["manifest"]["name"], "mine");
    let inspected = json(dir, &["inspect", "mine/mine.wasm"], 0);
    assert_eq!(
        inspected["manifest"]["needs"],
        serde_json::json!(["relations"])
    );

    tested_and_asked(dir);
    next_version(dir);
}

fn tested_and_asked(dir: &Path) {
    let lock = dir.join("mine/cases.lock.json");
    let begun = std::fs::read_to_string(&lock).expect("new wrote it");
    let tested = json(dir, &["test", "mine"], 0);
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&2.into(), &0.into())
    );
    let locked = std::fs::read_to_string(&lock).expect("test wrote it");
    assert_eq!(
        begun, locked,
        "native tests need not wait for the first `test`"
    );
    cargo_test(&dir.join("mine"));

    let sql = "SELECT balance FROM accounts";
    let ran = json(dir, &["run", "mine/mine.wasm", sql], 0);
    assert_eq!(ran["router"]["answer"], "primary");
    assert!(
        ran["router"]["cost"]["fuel"]
            .as_u64()
            .is_some_and(|fuel| fuel > 0)
    );
    let other = json(dir, &["run", "mine/mine.wasm", "SELECT 1"], 0);
    assert_eq!(other["router"]["answer"], "abstain");

    let measured = json(dir, &["bench", "mine/mine.wasm", "--time", "20"], 0);
    assert!(
        measured["hooks"]["decide"]["calls"]
            .as_u64()
            .is_some_and(|calls| calls > 0)
    );

    let cases = dir.join("wrong.toml");
    let text = format!("[[case]]\nname = \"wrong\"\nsql = \"{sql}\"\nroute = \"abstain\"\n");
    std::fs::write(&cases, text).expect("written");
    let wrong = json(dir, &["test", "mine/mine.wasm", "--cases", "wrong.toml"], 1);
    let difference = &wrong["cases"][0]["differences"][0];
    assert_eq!(difference, "route: expected abstain, got primary");

    let state = json(
        dir,
        &["compile", "mine/mine.wasm", "--state-dir", "state"],
        0,
    );
    assert_eq!(state["was_there"], false);
    let state = json(
        dir,
        &["compile", "mine/mine.wasm", "--state-dir", "state"],
        0,
    );
    assert_eq!(state["was_there"], true);
}

/// A version that says the contrary, and a recording of two decisions.
fn next_version(dir: &Path) {
    let old = dir.join("old.wasm");
    std::fs::copy(dir.join("mine/mine.wasm"), &old).expect("copied");
    let source = dir.join("mine/src/lib.rs");
    let policy = std::fs::read_to_string(&source).expect("the policy");
    let next = policy.replace("\"accounts\"", "\"orders\"");
    assert_ne!(policy, next);
    std::fs::write(&source, next).expect("written");
    json(dir, &["build", "mine", "-o", "new.wasm"], 0);
    let line = |fingerprint: u32, table: &str| {
        serde_json::json!({
            "user": "app",
            "database": "app",
            "fingerprint": fingerprint.to_string(),
            "class": 1,
            "traits": 1,
            "sql": format!("SELECT * FROM {table}"),
            "relations": [{ "name": table }],
        })
        .to_string()
    };
    let lines = [line(1, "accounts"), line(2, "orders"), line(3, "other")];
    std::fs::write(dir.join("recording"), lines.join("\n")).expect("written");
    let same = json(dir, &["replay", "recording", "old.wasm", "old.wasm"], 0);
    assert_eq!(
        (&same["decisions"], &same["different"]),
        (&3.into(), &0.into())
    );
    let differ = json(dir, &["replay", "recording", "old.wasm", "new.wasm"], 1);
    assert_eq!(differ["different"], 2);
    let first = &differ["differences"][0];
    assert_eq!(
        (&first["old"], &first["new"]),
        (&"primary".into(), &"abstain".into())
    );
}

#[test]
fn other_hooks_build_and_pass() {
    for (hook, grants) in [("rewriter", ""), ("session", ""), ("observer", "metrics")] {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        let (name, file) = (format!("my-{hook}"), format!("my-{hook}/my-{hook}.wasm"));
        json(dir, &["new", &name, "--hook", hook], 0);
        let built = json(dir, &["build", &name], 0);
        assert!(built["hooks"].to_string().contains(hook), "{built}");
        assert!(built["grants"].to_string().contains(grants), "{built}");
        assert_eq!(json(dir, &["check", &file], 0)["accepted"], true);
        if hook == "observer" {
            cargo_test(&dir.join(name));
            continue;
        }
        assert_eq!(json(dir, &["test", &name], 0)["failed"], 0);
        if hook == "rewriter" {
            let ran = json(dir, &["run", &file, "SELECT 1"], 0);
            assert_eq!(ran["rewriter"]["sql"], "/* pgsteer */ SELECT 1");
            let refused = json(dir, &["run", &file, "DELETE FROM t"], 0);
            assert_eq!(refused["rewriter"]["sqlstate"], "42501");
        }
    }
}

#[test]
fn a_failover_policy_goes_through_its_scenarios() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    json(dir, &["new", "my-failover", "--hook", "failover"], 0);
    let built = json(dir, &["build", "my-failover"], 0);
    assert_eq!(built["hooks"], serde_json::json!(["failover"]));
    let tested = json(dir, &["test", "my-failover"], 0);
    assert_eq!(
        (&tested["passed"], &tested["lock"]),
        (&3.into(), &Value::Null)
    );
    cargo_test(&dir.join("my-failover"));
    let file = "my-failover/my-failover.wasm";
    assert_eq!(json(dir, &["check", file], 0)["accepted"], true);
    let ran = json(dir, &["run", file, "SELECT 1"], 1);
    let reason = ran["error"].as_str().unwrap_or_default();
    assert!(
        reason.contains("pgsteer plugin test asks it about failovers"),
        "{reason}"
    );

    let wrong = "[[failover]]\nname = \"x\"\n[[failover.step]]\nat = \"1s\"\n\
        node.0 = { up = false }\nexpect = \"promote 1\"\n";
    std::fs::write(dir.join("wrong.toml"), wrong).expect("written");
    let tested = pgsteer(dir, &["test", file, "--cases", "wrong.toml"]);
    assert_eq!(tested.status.code(), Some(1));
    let text = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(
        text.contains("at 1s: expected promote 1, got promote 2"),
        "{text}"
    );

    // Another plugin has no answer to it.
    std::fs::write(dir.join("10-router.wasm"), Guest::default().build()).expect("written");
    let tested = json(dir, &["test", "10-router.wasm", "--cases", "wrong.toml"], 1);
    let reason = tested["error"].as_str().unwrap_or_default();
    assert!(reason.contains("has no hook `failover`"), "{reason}");
}

#[test]
fn the_scenarios_of_the_built_in_policy_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let component = pgsteer_proxy::embedded::DEFAULT_FAILOVER;
    std::fs::write(dir.join("90-pgpool-failover.wasm"), component).expect("written");
    let cases = include_str!("../../../plugins/pgpool-failover/cases.toml");
    std::fs::write(dir.join("cases.toml"), cases).expect("written");
    let tested = pgsteer(dir, &["test", "90-pgpool-failover.wasm"]);
    let text = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert_eq!(tested.status.code(), Some(0), "{text}");
    assert!(text.contains("all as expected"), "{text}");
}

#[test]
fn what_is_no_plugin_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    std::fs::write(dir.join("10-x.wasm"), "nonsense").expect("written");
    let refused = json(dir, &["check", "10-x.wasm"], 1);
    assert_eq!(refused["stage"], "inspect");
    json(dir, &["check", "nowhere.wasm"], 2);
    json(dir, &["build", "."], 2);
    json(dir, &["new", "10-x"], 2);
    json(dir, &["shadow", "x", "500%"], 2);
    let shown = pgsteer(dir, &["check", "10-x.wasm"]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(
        text.contains("refused at stage inspect: not a WebAssembly component"),
        "{text}"
    );
}

#[test]
fn a_plugin_that_loops_is_stopped_and_marked() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let guest = Guest::bad_in_service("(loop br 0)").build();
    std::fs::write(dir.join("10-loop.wasm"), guest).expect("written");
    assert_eq!(json(dir, &["check", "10-loop.wasm"], 0)["accepted"], true);
    let ran = json(dir, &["run", "10-loop.wasm", "SELECT 1"], 1);
    assert_eq!(ran["router"]["failure"], "deadline");
    let shown = pgsteer(dir, &["run", "10-loop.wasm", "SELECT 1"]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(
        text.contains("FAILED: ") && text.contains("(OVER)"),
        "{text}"
    );
    let measured = json(dir, &["bench", "10-loop.wasm"], 1);
    let reason = measured["error"].as_str().unwrap_or_default();
    assert!(
        reason.contains("it failed while decide was measured"),
        "{reason}"
    );
    let cases = "[[case]]\nsql = \"SELECT 1\"\nroute = \"primary\"\n";
    std::fs::write(dir.join("cases.toml"), cases).expect("written");
    let tested = json(dir, &["test", "10-loop.wasm"], 1);
    let difference = tested["cases"][0]["differences"][0].to_string();
    assert!(
        difference.contains("got a failure: Deadline"),
        "{difference}"
    );
}
