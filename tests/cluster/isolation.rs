//! Sessions that use the same server connection one after the other know nothing of each other.

use anyhow::Result;

use crate::support::{DEADLINE, Frame, Login, Options, Running, Wire, msg, runtime};

/// One server connection, and a queue in front of it.
fn narrow(pool: &'static str) -> Running {
    let options = Options {
        pool,
        listen: "workers = 1",
        ..Options::weights([1, 0, 0])
    };
    options.start()
}

const ONE: &str = "mode = \"session\"\nconnections_per_node_max = 1";

fn is_error(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.tag == b'E')
}

#[test]
fn nothing_of_a_session_is_left_to_the_next() {
    let proxy = narrow(ONE);
    let mut first = Wire::connect(proxy.port(), "postgres");
    let pid = first.value("SELECT pg_backend_pid()");
    for sql in [
        "SET work_mem = '7MB'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET search_path = nowhere",
        "CREATE TEMP TABLE private (a int)",
        "PREPARE secret AS SELECT 'secret'",
        "SELECT pg_advisory_lock(99)",
        "LISTEN isolation",
        "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
        "SET ROLE alice",
    ] {
        assert!(!is_error(&first.query(sql)), "{sql}");
    }
    first.send(&[msg::parse("named", "SELECT 1"), msg::sync()].concat());
    first.until(b'Z');
    first.send(&msg::terminate());
    drop(first);

    let mut second = Wire::connect(proxy.port(), "postgres");
    assert_eq!(
        second.value("SELECT pg_backend_pid()"),
        pid,
        "the same server connection"
    );
    assert_eq!(second.value("SHOW work_mem"), "4MB");
    assert_eq!(second.value("SHOW search_path"), "\"$user\", public");
    assert_eq!(second.value("SELECT current_user"), "postgres");
    assert!(is_error(&second.query("SELECT * FROM pg_temp.private")));
    assert!(is_error(&second.query("EXECUTE secret")));
    assert!(is_error(&second.query("FETCH held")));
    second.send(&[msg::bind("", "named", &[]), msg::sync()].concat());
    assert!(is_error(&second.until(b'Z')));
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 99";
    assert_eq!(second.value(locks), "0");
    assert_eq!(
        second.value("SELECT count(*) FROM pg_listening_channels()"),
        "0"
    );
    let notified = second.query("NOTIFY isolation");
    assert!(notified.iter().all(|frame| frame.tag != b'A'));
}

#[test]
fn temporary_types_and_functions_stay_with_their_session() {
    let proxy = narrow("mode = \"transaction\"\nconnections_per_node_max = 6");
    let mut owners: Vec<_> = (1..=3)
        .map(|number| {
            let mut wire = Wire::connect(proxy.port(), "postgres");
            for sql in [
                format!("CREATE TYPE pg_temp.own AS (number_{number} int)"),
                format!(
                    "CREATE FUNCTION pg_temp.number() RETURNS int LANGUAGE sql AS 'SELECT {number}'"
                ),
            ] {
                assert!(!is_error(&wire.query(&sql)), "{sql}");
            }
            (number, wire)
        })
        .collect();
    let mut other = Wire::connect(proxy.port(), "postgres");
    for round in 0..5 {
        for (number, wire) in &mut owners {
            let number = number.to_string();
            assert_eq!(
                wire.value("SELECT pg_temp.number()"),
                number,
                "round {round}"
            );
            let own = format!("SELECT (ROW({number})::pg_temp.own).number_{number}");
            assert_eq!(wire.value(&own), number, "round {round}");
        }
        assert!(
            is_error(&other.query("SELECT pg_temp.number()")),
            "round {round}"
        );
        assert!(
            is_error(&other.query("SELECT NULL::pg_temp.own")),
            "round {round}"
        );
    }
    // What comes to their servers next finds nothing either.
    for (_, mut wire) in owners {
        wire.send(&msg::terminate());
    }
    let mut later: Vec<_> = (0..4)
        .map(|_| Wire::connect(proxy.port(), "postgres"))
        .collect();
    for wire in &mut later {
        wire.query("BEGIN");
        assert!(is_error(&wire.query("SELECT random(), pg_temp.number()")));
    }
}

#[test]
fn a_client_that_vanishes_in_a_transaction_leaves_nothing_behind() {
    let proxy = narrow(ONE);
    let mut first = Wire::connect(proxy.port(), "postgres");
    first.query("BEGIN");
    first.query("CREATE TABLE half_made (a int)");
    first.query("SELECT pg_advisory_xact_lock(98)");
    drop(first);

    let mut second = Wire::connect(proxy.port(), "postgres");
    assert!(is_error(&second.query("SELECT * FROM half_made")));
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 98";
    assert_eq!(second.value(locks), "0");
}

#[test]
fn a_session_waits_for_a_connection() -> Result<()> {
    let proxy = narrow(ONE);
    runtime().block_on(async {
        let first = proxy.connect("postgres").await;
        first.batch_execute("SELECT 1").await?;
        let second = proxy.connect("postgres").await;
        let waiting = tokio::spawn(async move { second.query_one("SELECT 2", &[]).await });
        first.batch_execute("SELECT 3").await?;
        assert!(!waiting.is_finished());
        drop(first);
        let row = tokio::time::timeout(DEADLINE, waiting).await???;
        assert_eq!(row.get::<_, i32>(0), 2);
        Ok(())
    })
}

fn error_of(frames: &[Frame]) -> Option<String> {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    error.map(|frame| frame.error().0)
}

#[test]
fn waiting_ends_with_an_error() {
    let proxy = narrow("connections_per_node_max = 1\ncheckout_timeout = \"300ms\"");
    let mut first = Wire::connect(proxy.port(), "postgres");
    first.query("BEGIN");
    first.query("SELECT 1");
    let mut second = Wire::open(proxy.port());
    let state = match second.log_in(&Login::default(), "postgres") {
        Some(refused) => Some(refused.error().0),
        None => error_of(&second.query("SELECT 2")),
    };
    assert_eq!(state.as_deref(), Some("53300"));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let proxy = narrow("connections_per_node_max = 1\nwaiters_max = 0");
    let mut first = Wire::connect(proxy.port(), "postgres");
    first.query("BEGIN");
    first.query("SELECT 1");
    let mut second = Wire::open(proxy.port());
    let state = match second.log_in(&Login::default(), "postgres") {
        Some(refused) => Some(refused.error().0),
        None => error_of(&second.query("SELECT 2")),
    };
    assert_eq!(state.as_deref(), Some("53300"));
    drop(first);
}
