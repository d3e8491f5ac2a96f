//! Orders in the console: traffic is paused, servers are opened anew, clients go.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::support::{DEADLINE, Options, Wire, database, msg, runtime, shown};

/// With one worker a session that comes later needs no server to be welcomed.
fn one_worker() -> Options {
    Options {
        listen: "workers = 1",
        ..Options::default()
    }
}

/// Gives an order that is carried out.
fn order(console: &mut Wire, text: &str) {
    let frames = console.query(text);
    let word = text.split(' ').next().expect("a word");
    let tag = format!("{word}\0");
    let done = frames
        .iter()
        .any(|f| f.tag == b'C' && f.body == tag.as_bytes());
    assert!(done, "{text}:\n{}", shown(&frames));
}

/// SQLSTATE of an order that is refused.
fn refused(console: &mut Wire, text: &str) -> String {
    let frames = console.query(text);
    frames[0].error().0
}

/// Waits until a column of `SHOW POOLS` has a value in the row of a database.
fn wait_for(console: &mut Wire, name: &str, column: &str, wanted: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let frames = console.query("SHOW POOLS");
        let columns = frames[0].column_names();
        let at = columns.iter().position(|c| c == column).expect("a column");
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        let mut of_it = rows
            .map(|row| row.values())
            .filter(|v| v[0].as_deref() == Some(name));
        if of_it.any(|row| row[at].as_deref() == Some(wanted)) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{column} is not {wanted}:\n{}",
            shown(&frames)
        );
        std::thread::yield_now();
    }
}

fn pid(wire: &mut Wire) -> String {
    wire.value("SELECT pg_backend_pid() /*NO LOAD BALANCE*/")
}

#[test]
fn pause_waits_for_transactions_and_sessions_wait_for_resume() -> Result<()> {
    let name = "orders_pause";
    let _database = runtime().block_on(database(name, "CREATE TABLE t (id int)"))?;
    let proxy = one_worker().start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let (mut open, mut idle) = (
        Wire::connect(proxy.port(), name),
        Wire::connect(proxy.port(), name),
    );
    open.query("BEGIN");
    open.query("INSERT INTO t VALUES (1)");
    idle.query("SELECT 1");
    assert_eq!(refused(&mut console, "RESUME"), "55000");
    console.send(&msg::query(&format!("PAUSE {name}")));
    // It is paused, and the transaction goes on.
    let mut watcher = Wire::connect(proxy.port(), "pgbouncer");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let frames = watcher.query("SHOW DATABASES");
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        let mut rows = rows.map(|row| row.values());
        let row = rows
            .find(|row| row[0].as_deref() == Some(name))
            .expect("a row");
        if row[15].as_deref() == Some("1") {
            break;
        }
        assert!(Instant::now() < deadline, "it is not paused");
    }
    idle.send(&msg::query("SELECT 2"));
    wait_for(&mut watcher, name, "cl_waiting", "1");
    open.query("INSERT INTO t VALUES (2)");
    console.set_patience(Duration::from_millis(200));
    assert!(
        !console.read_until(b'Z').1,
        "PAUSE is over before the transaction"
    );
    console.set_patience(DEADLINE);
    open.query("COMMIT");
    let frames = console.until(b'Z');
    assert!(
        frames.iter().any(|f| f.body == b"PAUSE\0"),
        "{}",
        shown(&frames)
    );
    wait_for(&mut watcher, name, "sv_active", "0");
    wait_for(&mut watcher, name, "sv_idle", "0");
    // A client can come, and waits like everybody.
    let mut third = Wire::connect(proxy.port(), name);
    third.send(&msg::query("SELECT count(*) FROM t"));
    wait_for(&mut watcher, name, "cl_waiting", "2");
    order(&mut console, &format!("RESUME {name}"));
    assert!(shown(&idle.until(b'Z')).contains("SELECT 1"));
    let counted = shown(&third.until(b'Z'));
    assert!(counted.contains('2'), "{counted}");
    assert_eq!(refused(&mut console, &format!("RESUME {name}")), "55000");
    assert_eq!(refused(&mut console, "PAUSE pgbouncer"), "55000");
    Ok(())
}

#[test]
fn a_paused_statement_is_refused_after_its_time_and_can_be_cancelled() -> Result<()> {
    let name = "orders_paused_long";
    let _database = runtime().block_on(database(name, ""))?;
    let options = Options {
        pool: "connections_per_node_max = 60\ncheckout_timeout = \"300ms\"",
        ..one_worker()
    };
    let proxy = options.start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let mut client = Wire::connect(proxy.port(), name);
    order(&mut console, "PAUSE");
    let frames = client.query("SELECT 1");
    assert_eq!(frames[0].error().0, "57P03", "{}", shown(&frames));
    assert_eq!(refused(&mut console, "PAUSE"), "55000");
    assert_eq!(refused(&mut console, "SUSPEND"), "55000");
    order(&mut console, "RESUME");
    assert_eq!(client.value("SELECT 5"), "5");
    Ok(())
}

#[test]
fn reconnect_opens_servers_anew_and_wait_close_waits_for_the_old_ones() -> Result<()> {
    let name = "orders_reconnect";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = one_worker().start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let mut client = Wire::connect(proxy.port(), name);
    let before = pid(&mut client);
    assert_eq!(pid(&mut client), before);
    client.query("BEGIN");
    client.query("SELECT 1 /*NO LOAD BALANCE*/");
    order(&mut console, &format!("RECONNECT {name}"));
    console.send(&msg::query(&format!("WAIT_CLOSE {name}")));
    assert_eq!(pid(&mut client), before, "a transaction keeps its server");
    client.query("COMMIT");
    let frames = console.until(b'Z');
    assert!(
        frames.iter().any(|f| f.body == b"WAIT_CLOSE\0"),
        "{}",
        shown(&frames)
    );
    assert_ne!(pid(&mut client), before);
    order(&mut console, "RECONNECT");
    Ok(())
}

#[test]
fn disable_keeps_clients_out_and_drain_makes_them_go() -> Result<()> {
    let name = "orders_disable";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = one_worker().start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let mut client = Wire::connect(proxy.port(), name);
    order(&mut console, &format!("DISABLE {name}"));
    assert_eq!(client.value("SELECT 1"), "1", "those that are there stay");
    let out = Wire::open(proxy.port()).log_in(&crate::support::Login::default(), name);
    assert_eq!(out.expect("a refusal").error().0, "57P03");
    order(&mut console, &format!("ENABLE {name}"));
    drop(Wire::connect(proxy.port(), name));
    client.query("BEGIN");
    client.query("SELECT 1");
    order(&mut console, &format!("DRAIN {name}"));
    assert_eq!(
        client.value("SELECT 2"),
        "2",
        "a transaction comes to its end"
    );
    client.send(&msg::query("COMMIT"));
    let (frames, ended) = client.read_until(b'E');
    assert!(
        ended && frames.iter().any(|f| f.body == b"COMMIT\0"),
        "{}",
        shown(&frames)
    );
    assert_eq!(frames.last().expect("one").error().0, "57P01");
    Ok(())
}

#[test]
fn kill_ends_clients_at_once_and_pauses_their_database() -> Result<()> {
    let name = "orders_kill";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = one_worker().start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let mut client = Wire::connect(proxy.port(), name);
    client.send(&msg::query("SELECT pg_sleep(600)"));
    wait_for(&mut console, name, "sv_active", "1");
    order(&mut console, &format!("KILL {name}"));
    let last = client.read()?;
    assert_eq!(last.error().0, "57P01");
    assert!(client.is_closed());
    order(&mut console, &format!("RESUME {name}"));

    let mut victim = Wire::connect(proxy.port(), name);
    let mut bystander = Wire::connect(proxy.port(), name);
    victim.query("SELECT 1");
    let frames = console.query("SHOW CLIENTS");
    let rows = frames
        .iter()
        .filter(|frame| frame.tag == b'D')
        .map(|row| row.values());
    let mut ids = rows
        .filter(|row| row[2].as_deref() == Some(name))
        .map(|row| row[20].clone());
    let id = ids.next().flatten().expect("an id");
    order(&mut console, &format!("KILL_CLIENT {id}"));
    assert_eq!(victim.read()?.error().0, "57P01");
    assert_eq!(bystander.value("SELECT 3"), "3");
    assert_eq!(refused(&mut console, "KILL_CLIENT 999999"), "55000");
    Ok(())
}

#[test]
fn suspend_lets_nothing_begin_until_resume() -> Result<()> {
    let name = "orders_suspend";
    let _database = runtime().block_on(database(name, ""))?;
    let proxy = one_worker().start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let mut client = Wire::connect(proxy.port(), name);
    client.query("BEGIN");
    client.query("SELECT 1");
    order(&mut console, "SUSPEND");
    client.send(&msg::query("SELECT 2"));
    client.set_patience(Duration::from_millis(200));
    assert!(
        !client.read_until(b'Z').1,
        "it begins although everything is suspended"
    );
    assert_eq!(console.value("SHOW STATE"), "active");
    order(&mut console, "RESUME");
    client.set_patience(DEADLINE);
    let frames = client.until(b'Z');
    assert!(frames.iter().any(|f| f.tag == b'D'), "{}", shown(&frames));
    Ok(())
}
