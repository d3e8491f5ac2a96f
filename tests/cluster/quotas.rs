//! Limits of pools and clients, and what takes too long.

use std::time::Instant;

use anyhow::Result;
use pgsteer_testkit::wait_until;

use crate::support::{
    DEADLINE, Login, Options, Running, Wire, cluster, database, msg, runtime, shown,
};

fn start(pool: &'static str) -> Running {
    let options = Options {
        pool,
        weights: [1, 0, 0],
        // A session that comes later needs no server to be welcomed.
        listen: "workers = 1",
        ..Options::default()
    };
    options.start()
}

fn refusal(port: u16, database: &str) -> Option<String> {
    let mut wire = Wire::open(port);
    let refused = wire.log_in(&Login::default(), database)?;
    Some(refused.error().0)
}

#[test]
fn a_pool_is_no_larger_than_its_size_and_sessions_wait_in_their_order() -> Result<()> {
    let name = "quota_size";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = start(
        "connections_per_node_max = 60\nsize = 1\nmode = \"transaction\"\nwait_notice = \"50ms\"",
    );
    let mut holder = Wire::connect(proxy.port(), name);
    holder.query("BEGIN");
    holder.query("SELECT 1");
    let mut waiting: Vec<Wire> = (0..3).map(|_| Wire::connect(proxy.port(), name)).collect();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    for (number, wire) in waiting.iter_mut().enumerate() {
        wire.send(&msg::query("SELECT clock_timestamp()"));
        let deadline = Instant::now() + DEADLINE;
        let wanted = (number + 1).to_string();
        loop {
            let frames = console.query("SHOW POOLS");
            let rows = frames
                .iter()
                .filter(|frame| frame.tag == b'D')
                .map(|row| row.values());
            let mut of_it = rows.filter(|row| row[0].as_deref() == Some(name));
            let row = of_it.next().expect("a row");
            if row[3].as_deref() == Some(&wanted) {
                assert_eq!(row[6].as_deref(), Some("1"), "one server");
                break;
            }
            assert!(Instant::now() < deadline, "{}", shown(&frames));
        }
    }
    // Those that wait for long are told so.
    let notice = waiting[0].read()?;
    assert_eq!(notice.tag, b'N', "{}", notice.shown());
    holder.query("COMMIT");
    let mut times = Vec::new();
    for wire in &mut waiting {
        let frames = wire.until(b'Z');
        let row = frames
            .iter()
            .find(|frame| frame.tag == b'D')
            .expect("a row");
        times.push(row.values());
    }
    assert!(times.is_sorted(), "{times:?}");
    Ok(())
}

#[test]
fn who_waits_in_vain_is_told_so_and_reserved_connections_help_before() -> Result<()> {
    let name = "quota_reserve";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = start(
        "connections_per_node_max = 60\nsize = 1\nreserved_connections = 1\n\
         reserve_timeout = \"50ms\"\ncheckout_timeout = \"300ms\"",
    );
    let mut first = Wire::connect(proxy.port(), name);
    first.query("BEGIN");
    first.query("SELECT 1");
    let mut second = Wire::connect(proxy.port(), name);
    second.query("BEGIN");
    assert_eq!(second.value("SELECT 2"), "2", "it gets the reserved one");
    let mut third = Wire::connect(proxy.port(), name);
    let frames = third.query("SELECT 3");
    assert_eq!(frames[0].error().0, "53300", "{}", shown(&frames));
    first.query("COMMIT");
    drop(first);
    assert_eq!(third.value("SELECT 4"), "4");
    Ok(())
}

#[test]
fn a_database_and_a_user_have_no_more_servers_than_they_may() -> Result<()> {
    for (name, limit) in [
        ("quota_database", "connections_per_database_max = 1"),
        ("quota_user", "connections_per_user_max = 1"),
    ] {
        let _database = runtime().block_on(database(name, ""))?;
        let pool = format!("connections_per_node_max = 60\ncheckout_timeout = \"200ms\"\n{limit}");
        let proxy = start(pool.leak());
        let mut first = Wire::connect(proxy.port(), name);
        first.query("BEGIN");
        first.query("SELECT 1");
        let mut second = Wire::connect(proxy.port(), name);
        let frames = second.query("SELECT 2");
        assert_eq!(frames[0].error().0, "53300", "{name}\n{}", shown(&frames));
        first.query("COMMIT");
        drop(first);
        assert_eq!(second.value("SELECT 3"), "3", "{name}");
    }
    Ok(())
}

#[test]
fn there_are_no_more_clients_of_a_kind_than_there_may_be() -> Result<()> {
    let name = "quota_clients";
    let _database = runtime().block_on(database(name, ""))?;
    for (limit, other_gets_in) in [
        ("[limits]\nclients_per_database_max = 1", true),
        ("[limits]\nclients_per_user_max = 1", false),
        ("[limits]\nclients_per_address_max = 1", false),
        (
            "[[pools]]\ndatabase = \"quota_clients\"\nclients_max = 1",
            true,
        ),
    ] {
        let pool = format!("connections_per_node_max = 60\n{limit}");
        let proxy = start(pool.leak());
        let one = Wire::connect(proxy.port(), name);
        assert_eq!(
            refusal(proxy.port(), name).as_deref(),
            Some("53300"),
            "{limit}"
        );
        let other = refusal(proxy.port(), "postgres");
        assert_eq!(other.is_none(), other_gets_in, "{limit}: {other:?}");
        // The console is open all the same.
        let mut console = Wire::connect(proxy.port(), "pgbouncer");
        console.query("SHOW STATE");
        drop(one);
        let deadline = Instant::now() + DEADLINE;
        while refusal(proxy.port(), name).is_some() {
            assert!(
                Instant::now() < deadline,
                "{limit}: the place is not free again"
            );
        }
    }
    Ok(())
}

#[test]
fn what_takes_too_long_ends_with_a_state_that_says_what() -> Result<()> {
    let name = "quota_times";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = start(
        "connections_per_node_max = 60\n[timeouts]\nquery = \"1s\"\nidle_in_transaction = \"1s\"\n\
         transaction = \"3s\"\nclient_idle = \"2s\"\n\
         [[pools]]\ndatabase = \"postgres\"\nclient_idle_timeout = \"0s\"",
    );
    let patient = Wire::connect(proxy.port(), "postgres");
    let ends_with = |before: &[&str], last: Option<&str>| -> String {
        let mut wire = Wire::connect(proxy.port(), name);
        wire.set_patience(DEADLINE);
        for sql in before {
            wire.query(sql);
        }
        if let Some(sql) = last {
            wire.send(&msg::query(sql));
        }
        let frame = wire.read().expect("last words");
        assert_eq!(frame.tag, b'E', "{}", frame.shown());
        assert!(wire.is_closed());
        frame.error().0
    };
    assert_eq!(ends_with(&[], Some("SELECT pg_sleep(600)")), "57014");
    assert_eq!(ends_with(&["BEGIN", "SELECT 1"], None), "25P03");
    assert_eq!(ends_with(&["SELECT 1"], None), "57P05");
    // Many short statements of one transaction.
    let mut wire = Wire::connect(proxy.port(), name);
    wire.query("BEGIN");
    let end = loop {
        wire.send(&msg::query("SELECT pg_sleep(0.2)"));
        let (frames, _) = wire.read_until(b'Z');
        if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
            break error.error().0;
        }
    };
    assert_eq!(end, "25P04");
    // What was cancelled does not run on, and the rule lets others be.
    runtime().block_on(async {
        let client = cluster().primary().connect(name).await?;
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' \
                   AND state = 'active' AND pid <> pg_backend_pid() \
                   AND datname = current_database()";
        let nothing_runs = || async {
            let row = client.query_one(sql, &[]).await;
            row.is_ok_and(|row| row.get::<_, i64>(0) == 0)
        };
        wait_until(DEADLINE, "nothing runs", nothing_runs).await
    })?;
    let mut patient = patient;
    assert_eq!(patient.value("SELECT 7"), "7");
    Ok(())
}

#[test]
fn a_server_that_is_too_old_is_opened_anew() -> Result<()> {
    let name = "quota_lifetime";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = start(
        "connections_per_node_max = 60\nmode = \"transaction\"\nlifetime = \"500ms\"\nlifetime_jitter = \"50%\"",
    );
    let mut client = Wire::connect(proxy.port(), name);
    let first = client.value("SELECT pg_backend_pid()");
    let deadline = Instant::now() + DEADLINE;
    while client.value("SELECT pg_backend_pid()") == first {
        assert!(Instant::now() < deadline, "it lives for ever");
        client.query("SELECT pg_sleep(0.01)");
    }
    Ok(())
}

/// Process ids of the servers of a database that the console shows.
fn servers(console: &mut Wire, database: &str) -> Vec<String> {
    let frames = console.query("SHOW SERVERS");
    let names = frames[0].column_names();
    let at = |wanted: &str| names.iter().position(|name| name == wanted);
    let (of, pid) = (at("database").expect("it"), at("remote_pid").expect("it"));
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let of_it = rows.filter(|row| row.values()[of].as_deref() == Some(database));
    of_it
        .map(|row| row.values()[pid].clone().expect("a pid"))
        .collect()
}

#[test]
fn a_pool_that_has_served_somebody_is_kept_filled() -> Result<()> {
    let name = "quota_min";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = start("connections_per_node_max = 60\nmin_size = 3\nmode = \"transaction\"");
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    assert!(
        servers(&mut console, name).is_empty(),
        "nobody has asked for it"
    );
    drop(Wire::connect(proxy.port(), name));
    // Three on each of the three nodes, none of which has been seen before.
    let mut wait_for_nine = |seen: &[String]| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let now = servers(&mut console, name);
            let fresh = now.iter().filter(|pid| !seen.contains(pid)).count();
            if now.len() == 9 && fresh == 9 - seen.len().min(6) {
                return now;
            }
            assert!(Instant::now() < deadline, "{now:?}");
        }
    };
    let first = wait_for_nine(&[]);
    // What the primary closes is opened again, although no session asks for it.
    let close = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = '{name}' AND pid IN ({})",
        first.join(",")
    );
    Wire::connect(cluster().primary().port(), "postgres").query(&close);
    wait_for_nine(&first);
    Ok(())
}
