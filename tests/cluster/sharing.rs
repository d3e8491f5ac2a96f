//! Transaction mode: sessions that share one server connection while all of them are there never
//! see anything of each other, and find their own state again.

mod deeds;

use anyhow::Result;

use crate::support::{
    Frame, Login, Options, Running, Wire, cluster, database, msg, runtime, shown,
};
use deeds::{BINDING, Deed, FOLLOWING, PROBES, SETUP};

/// Each node has one connection for all. Whoever cannot have it is told so soon.
fn narrow(weights: [u32; 3]) -> Running {
    let options = Options {
        pool: "mode = \"transaction\"\nconnections_per_node_max = 1\ncheckout_timeout = \"1s\"",
        listen: "workers = 1",
        ..Options::weights(weights)
    };
    options.start()
}

/// Sees the same wherever it runs: no table oids, no places in PostgreSQL's source.
fn lines(frames: &[Frame]) -> String {
    shown(frames)
}

fn error(frames: &[Frame]) -> Option<String> {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    error.map(|frame| frame.error().0)
}

const NO_CONNECTION: &str = "53300";

/// What a session of its own says to each probe.
fn expected(name: &str) -> Vec<String> {
    let mut wire = Wire::connect(cluster().primary().port(), name);
    PROBES.iter().map(|sql| lines(&wire.query(sql))).collect()
}

fn value(frames: &[Frame]) -> Option<String> {
    let row = frames.iter().find(|frame| frame.tag == b'D')?;
    row.values().into_iter().next().flatten()
}

/// Whether the other one got the connection at all, having seen nothing in it.
fn probe(what: &str, wire: &mut Wire, expected: &[String]) -> bool {
    for (sql, expected) in PROBES.iter().zip(expected) {
        if sql.contains("transaction_read_only") && what.starts_with("on replicas") {
            continue;
        }
        let frames = wire.query(sql);
        if error(&frames).as_deref() == Some(NO_CONNECTION) {
            return false;
        }
        assert_eq!(
            lines(&frames),
            *expected,
            "{sql}, after another session: {what}"
        );
    }
    for kind in [b'S', b'P'] {
        wire.send(&[msg::describe(kind, "named"), msg::sync()].concat());
        assert!(error(&wire.until(b'Z')).is_some(), "named, after: {what}");
    }
    true
}

fn check(deed: &Deed, proxy: &Running, name: &str, expected: &[String], say_goodbye: bool) {
    let place = name.trim_start_matches("sharing_");
    let what = format!("on {place}: {}", deed.texts.join("; "));
    let mut first = Wire::connect(proxy.port(), name);
    for sql in deed.texts {
        first.query(sql);
    }
    first.send(&[msg::parse("named", "SELECT 'secret'"), msg::sync()].concat());
    first.until(b'Z');
    for _ in 0..if deed.may_pin { 1 } else { 2 } {
        // What is asked to find out may bind the one who asks, so that it leaves again.
        let mut second = Wire::connect(proxy.port(), name);
        let shared = probe(&what, &mut second, expected);
        drop(second);
        assert!(
            shared || deed.may_pin,
            "{what}: the session keeps its connection"
        );
        for (sql, value_expected) in deed.then {
            let frames = first.query(sql);
            let found = value(&frames);
            assert_eq!(
                found.as_deref(),
                Some(*value_expected),
                "{sql}, after {what}: {}",
                lines(&frames)
            );
            // What shows that a lock was there also frees it.
            if sql.contains("unlock") {
                break;
            }
        }
        if deed
            .then
            .iter()
            .any(|(sql, _)| sql.contains("unlock") || sql.contains("FETCH"))
        {
            break;
        }
    }
    if say_goodbye {
        first.send(&msg::terminate());
    }
    drop(first);
    // Its connection is made fit for others before they get it.
    let mut third = Wire::connect(proxy.port(), name);
    while !probe(&what, &mut third, expected) {}
}

fn check_all(name: &str, weights: [u32; 3], deeds: &[Deed]) -> Result<()> {
    let setup = format!("ALTER DATABASE {name} SET synchronous_commit = 'remote_apply'; {SETUP}");
    drop(runtime().block_on(database(name, &setup))?);
    let proxy = narrow(weights);
    let expected = expected(name);
    for (number, deed) in deeds.iter().enumerate() {
        check(deed, &proxy, name, &expected, number % 2 == 0);
    }
    Ok(())
}

#[test]
fn what_follows_a_session_is_seen_by_nobody_else() -> Result<()> {
    check_all("sharing_following", [1, 0, 0], FOLLOWING)
}

#[test]
fn what_binds_a_session_is_seen_by_nobody_else() -> Result<()> {
    check_all("sharing_binding", [1, 0, 0], BINDING)
}

#[test]
fn what_follows_a_session_is_seen_by_nobody_else_on_replicas() -> Result<()> {
    // A replica calls its transactions read-only: `docs/differences.md`.
    check_all("sharing_replicas", [0, 1, 1], FOLLOWING)
}

/// Both have state of the same names, and work in turns.
#[test]
fn two_sessions_with_state_of_the_same_names_keep_their_own() -> Result<()> {
    let name = "sharing_names";
    drop(runtime().block_on(database(name, SETUP))?);
    let proxy = narrow([1, 0, 0]);
    let mut clients: Vec<Wire> = (0..4).map(|_| Wire::connect(proxy.port(), name)).collect();
    for (number, wire) in clients.iter_mut().enumerate() {
        for sql in [
            format!("SET work_mem = '{}MB'", number + 10),
            format!("SET my.own = 'of {number}'"),
            format!("PREPARE mine AS SELECT 'sql {number}'"),
        ] {
            assert_eq!(error(&wire.query(&sql)), None, "{sql}");
        }
        let text = format!("SELECT 'protocol {number}', $1::text");
        wire.send(&[msg::parse("mine2", &text), msg::sync()].concat());
        assert_eq!(error(&wire.until(b'Z')), None);
    }
    let pid = clients[0].value("SELECT pg_backend_pid()");
    for round in 0..20 {
        for (number, wire) in clients.iter_mut().enumerate() {
            assert_eq!(wire.value("SELECT pg_backend_pid()"), pid, "one connection");
            assert_eq!(wire.value("SHOW work_mem"), format!("{}MB", number + 10));
            assert_eq!(wire.value("SHOW my.own"), format!("of {number}"));
            assert_eq!(wire.value("EXECUTE mine"), format!("sql {number}"));
            let round = round.to_string();
            let bind = msg::bind("", "mine2", &[Some(&round)]);
            wire.send(&[bind, msg::execute("", 0), msg::sync()].concat());
            let frames = wire.until(b'Z');
            assert_eq!(
                value(&frames),
                Some(format!("protocol {number}")),
                "{}",
                shown(&frames)
            );
        }
    }
    Ok(())
}

/// A statement that was cancelled, and clients that vanish in the middle of everything.
#[test]
fn a_session_that_ends_in_the_middle_leaves_nothing_to_those_that_are_there() -> Result<()> {
    let name = "sharing_vanished";
    drop(runtime().block_on(database(name, SETUP))?);
    let proxy = narrow([1, 0, 0]);
    let expected = expected(name);
    let mut second = Wire::connect(proxy.port(), name);
    let in_the_middle: &[&[&[u8]]] = &[
        &[&msg::query("BEGIN; SET work_mem = '7MB'; SET ROLE alice")],
        &[&msg::query(
            "BEGIN; SELECT pg_advisory_lock(4711, 1); SELECT 1/0",
        )],
        &[&msg::query("SET work_mem = '7MB'; SELECT pg_sleep(3)")],
        &[&msg::query(
            "CREATE TEMP TABLE private (a int); COPY private FROM STDIN",
        )],
        &[
            &msg::query("SET work_mem = '7MB'"),
            &msg::query("SELECT repeat('x', 50000000)"),
        ],
        &[
            &msg::parse("named", "SET work_mem = '7MB'"),
            &msg::bind("", "named", &[]),
            &msg::execute("", 0),
        ],
        &[
            &msg::statement("BEGIN", &[]),
            &msg::statement("SET ROLE alice", &[]),
            &msg::flush(),
        ],
        &[&msg::query("PREPARE secret AS SELECT 1"), b"Q\0\0"],
        &[
            &msg::query("DECLARE held CURSOR WITH HOLD FOR SELECT 1"),
            b"nonsense",
        ],
        &[&msg::query("LISTEN isolated"), &msg::frame(b'?', b"")],
    ];
    for messages in in_the_middle {
        let mut first = Wire::connect(proxy.port(), name);
        first.send(&messages.concat());
        // Some of it is answered, or the other side has seen that we are gone; either way:
        drop(first);
        let what = messages.concat().escape_ascii().to_string();
        while !probe(&what, &mut second, &expected) {}
    }
    Ok(())
}

#[test]
fn a_cancelled_statement_leaves_nothing_and_stops_nobody_else() -> Result<()> {
    let name = "sharing_cancelled";
    drop(runtime().block_on(database(name, SETUP))?);
    let proxy = narrow([1, 0, 0]);
    let expected = expected(name);
    for _ in 0..5 {
        let mut first = Wire::connect(proxy.port(), name);
        first.send(&msg::query(
            "SELECT set_config('work_mem', '7MB', false), pg_sleep(60)",
        ));
        wait_until_it_sleeps(name)?;
        cancel(&proxy, &first.key);
        let frames = first.until(b'Z');
        assert_eq!(
            error(&frames).as_deref(),
            Some("57014"),
            "{}",
            shown(&frames)
        );
        // The same key again, while another session has the connection.
        let mut second = Wire::connect(proxy.port(), name);
        second.send(&msg::query("SELECT pg_sleep(0.05)"));
        cancel(&proxy, &first.key);
        assert_eq!(
            error(&second.until(b'Z')),
            None,
            "somebody else was cancelled"
        );
        while !probe("cancelled", &mut second, &expected) {}
        drop(second);
        assert_eq!(first.value("SHOW work_mem"), "4MB");
    }
    Ok(())
}

fn wait_until_it_sleeps(name: &str) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'PgSleep'"
    );
    runtime().block_on(async {
        let primary = cluster().primary();
        let asleep = || async { primary.value(&sql).await.is_ok_and(|count| count == "1") };
        pgsteer_testkit::wait_until(crate::support::DEADLINE, "it sleeps", asleep).await
    })
}

fn cancel(proxy: &Running, key: &[u8]) {
    let mut wire = Wire::open(proxy.port());
    wire.send(&msg::first(&[&80_877_102_u32.to_be_bytes(), key].concat()));
    assert_eq!(wire.read_byte(), None, "a cancel request is not answered");
}

#[test]
fn notifications_reach_those_who_listen_and_nobody_else() -> Result<()> {
    let name = "sharing_notified";
    drop(runtime().block_on(database(name, SETUP))?);
    let proxy = narrow([1, 0, 0]);
    let mut first = Wire::connect(proxy.port(), name);
    let mut second = Wire::open(proxy.port());
    let refused = second.log_in(&Login::default(), name);
    assert!(refused.is_none());
    first.query("LISTEN isolated");
    let mut direct = Wire::connect(cluster().primary().port(), name);
    direct.query("NOTIFY isolated, 'news'");
    let heard = first.until(b'A');
    assert!(shown(&heard).contains("news"), "{}", shown(&heard));
    for _ in 0..3 {
        direct.query("NOTIFY isolated, 'more'");
        let frames = second.query("SELECT 1");
        assert!(
            frames.iter().all(|frame| frame.tag != b'A'),
            "{}",
            shown(&frames)
        );
        first.until(b'A');
    }
    Ok(())
}
