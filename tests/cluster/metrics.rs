//! What Prometheus is shown of a proxy that works.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result};
use pgsteer_testkit::ports::free_port;
use pgsteer_testkit::wait_until;

use crate::support::{DEADLINE, Options, Wire, database, runtime};

/// A page as it is now.
fn scrape(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, page) = answer.split_once("\r\n\r\n").context("a head")?;
    Ok(page.to_owned())
}

/// Sum of the values whose names and labels begin and go on like this.
fn value(page: &str, name: &str, label: &str) -> f64 {
    let lines = page.lines().filter(|line| {
        let named = line
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']));
        named && line.contains(label)
    });
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

#[test]
#[expect(clippy::too_many_lines, reason = "the steps of one story")]
fn queries_transactions_waits_and_nodes_are_counted() -> Result<()> {
    drop(runtime().block_on(database("counted", "CREATE TABLE counted (a int)"))?);
    let port = free_port()?;
    let section = format!("[metrics]\nlisten = [\"127.0.0.1:{port}\"]");
    let options = Options {
        pool: "mode = \"session\"\nconnections_per_node_max = 1",
        router: section.leak(),
        ..Options::weights([1, 0, 0])
    };
    let proxy = options.start();
    let mut wire = Wire::connect(proxy.port(), "counted");
    for sql in [
        "BEGIN",
        "INSERT INTO counted VALUES (1)",
        "SELECT pg_sleep(0.1)",
        "COMMIT",
        "SELECT oops",
    ] {
        wire.query(sql);
    }
    let count = |what: &str, name: &'static str, label: &'static str, expected: f64| {
        let shown =
            || async { scrape(port).is_ok_and(|page| value(&page, name, label) >= expected) };
        runtime().block_on(wait_until(DEADLINE, what, shown))
    };
    let own = "database=\"counted\",user=\"postgres\"";
    count("five queries", "pgsteer_query_seconds_count", own, 5.0)?;
    let page = scrape(port)?;
    for (name, label, expected) in [
        ("pgsteer_query_seconds_count", own, 5.0),
        ("pgsteer_transaction_seconds_count", own, 2.0),
        ("pgsteer_login_seconds_count", own, 1.0),
        ("pgsteer_pool_logins_total", own, 1.0),
        ("pgsteer_clients", "", 1.0),
        ("pgsteer_node_connections", "node=\"0\"", 1.0),
        ("pgsteer_node_up", "", 3.0),
        ("pgsteer_node_role", "role=\"primary\"", 1.0),
        ("pgsteer_node_statements_total", "kind=\"insert\"", 1.0),
        ("pgsteer_node_errors_total", "severity=\"error\"", 1.0),
    ] {
        assert_eq!(
            value(&page, name, label),
            expected,
            "{name} {label}: {page}"
        );
    }
    // The one that slept took that long, in all three views.
    for name in [
        "pgsteer_query_seconds_sum",
        "pgsteer_transaction_seconds_sum",
    ] {
        assert!(value(&page, name, own) >= 0.1, "{name}: {page}");
    }
    assert!(
        value(&page, "pgsteer_node_query_seconds_sum", "node=\"0\"") >= 0.1,
        "{page}"
    );
    let long = format!("{own},le=\"0.098304\"");
    let short = value(&page, "pgsteer_query_seconds_bucket", &long);
    assert_eq!(short, 4.0, "{page}");
    assert!(
        value(&page, "pgsteer_plugin_calls_total", "plugin=\"90-") >= 1.0,
        "{page}"
    );

    // The only connection is taken: the next client waits, is seen to, and then served.
    let own_port = proxy.port();
    let waits =
        std::thread::spawn(move || Wire::connect(own_port, "counted").query("SELECT 1").len());
    count(
        "a waiting session",
        "pgsteer_node_waiting",
        "node=\"0\"",
        1.0,
    )?;
    drop(wire);
    assert!(waits.join().is_ok_and(|frames| frames > 0));
    count("a counted wait", "pgsteer_wait_seconds_count", own, 1.0)?;
    Ok(())
}
