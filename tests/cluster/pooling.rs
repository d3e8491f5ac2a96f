//! Transaction and statement pooling: what follows a session, what pins it, and what is refused.

use std::time::Instant;

use anyhow::Result;

use crate::support::{
    DEADLINE, Frame, Login, Options, Running, Wire, cluster, database, msg, runtime,
};

/// One server connection for everybody.
fn narrow(mode: &str) -> Running {
    let pool = match mode {
        "statement" => "mode = \"statement\"\nconnections_per_node_max = 1",
        _ => "mode = \"transaction\"\nconnections_per_node_max = 1",
    };
    let options = Options {
        pool,
        listen: "workers = 1",
        ..Options::weights([1, 0, 0])
    };
    options.start()
}

fn error(frames: &[Frame]) -> Option<String> {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    error.map(|frame| frame.error().0)
}

/// Rows of a simple query.
fn count(wire: &mut Wire, sql: &str) -> usize {
    let frames = wire.query(sql);
    frames.iter().filter(|frame| frame.tag == b'D').count()
}

/// Waits until a query has this answer.
fn wait_for(wire: &mut Wire, sql: &str, expected: &str) {
    let deadline = Instant::now() + DEADLINE;
    while wire.value(sql) != expected {
        assert!(Instant::now() < deadline, "{sql} is not {expected}");
        wire.query("SELECT pg_sleep(0.01)");
    }
}

fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

#[test]
fn parameters_are_there_where_the_session_is() {
    let proxy = narrow("transaction");
    let mut one = Wire::connect(proxy.port(), "postgres");
    let mut other = Wire::connect(proxy.port(), "postgres");
    let both = |one: &mut Wire, other: &mut Wire, sql: &str| (one.value(sql), other.value(sql));
    one.query("SET work_mem = '7MB'");
    other.query("SET work_mem = '8MB'; SET search_path = pg_catalog, public");
    let pids = both(&mut one, &mut other, "SELECT pg_backend_pid()");
    assert_eq!(pids.0, pids.1, "they share a server connection");
    let shown = both(&mut one, &mut other, "SHOW work_mem");
    assert_eq!(shown, ("7MB".to_owned(), "8MB".to_owned()));
    assert_eq!(one.value("SHOW search_path"), "\"$user\", public");

    one.query("BEGIN; SET work_mem = '9MB'");
    one.query("SAVEPOINT s");
    one.query("SET work_mem = '10MB'");
    one.query("ROLLBACK TO s");
    assert_eq!(one.value("SHOW work_mem"), "9MB");
    one.query("COMMIT");
    let shown = both(&mut one, &mut other, "SHOW work_mem");
    assert_eq!(shown, ("9MB".to_owned(), "8MB".to_owned()));
    one.query("BEGIN");
    one.query("SET work_mem = '11MB'");
    one.query("ROLLBACK");
    assert_eq!(both(&mut other, &mut one, "SHOW work_mem").1, "9MB");
    one.query("RESET ALL");
    let shown = both(&mut one, &mut other, "SHOW work_mem");
    assert_eq!(shown, ("4MB".to_owned(), "8MB".to_owned()));

    one.query("SET ROLE alice");
    let users = both(&mut one, &mut other, "SELECT current_user");
    assert_eq!(users, ("alice".to_owned(), "postgres".to_owned()));
}

#[test]
fn what_a_function_set_follows_too() {
    let proxy = narrow("transaction");
    let mut one = Wire::connect(proxy.port(), "postgres");
    let mut other = Wire::connect(proxy.port(), "postgres");
    let tenant = "SELECT current_setting('app.tenant', true)";
    let set = [
        msg::parse("", "SELECT set_config('app.tenant', $1, false)"),
        msg::bind("", "", &[Some("acme")]),
        msg::execute("", 0),
        msg::sync(),
    ];
    one.send(&set.concat());
    assert_eq!(error(&one.until(b'Z')), None);
    other.query("SELECT set_config('app.tenant', 'o' || 'ther', false)");
    assert_eq!(one.value(tenant), "acme");
    assert_eq!(count(&mut other, "SHOW pool_pins"), 0, "none is pinned");
}

#[test]
fn nothing_runs_where_the_session_cannot_be_what_it_is() -> Result<()> {
    let client = runtime().block_on(database(
        "pooling_refused",
        "DROP ROLE IF EXISTS pooled; CREATE ROLE pooled; GRANT pooled TO alice;
         CREATE TABLE t (a text); GRANT ALL ON t TO PUBLIC",
    ))?;
    drop(client);
    let proxy = narrow("transaction");
    let mut alice = Wire::open(proxy.port());
    let login = Login {
        user: "alice",
        ..Login::default()
    };
    assert!(alice.log_in(&login, "pooling_refused").is_none());
    assert_eq!(error(&alice.query("SET ROLE pooled")), None);
    // Another one with other parameters gets the connection meanwhile.
    let mut other = Wire::open(proxy.port());
    assert!(other.log_in(&login, "pooling_refused").is_none());
    assert_eq!(other.value("SELECT current_user"), "alice");
    let mut admin = Wire::connect(cluster().primary().port(), "pooling_refused");
    admin.query("REVOKE pooled FROM alice");
    for _ in 0..2 {
        let refused = alice.query("INSERT INTO t VALUES (current_user)");
        assert_eq!(error(&refused).as_deref(), Some("42501"), "{refused:?}");
    }
    let refused = alice.extended("INSERT INTO t VALUES (current_user)");
    assert_eq!(error(&refused).as_deref(), Some("42501"), "{refused:?}");
    assert_eq!(admin.value("SELECT count(*) FROM t"), "0", "nothing ran");
    assert_eq!(error(&alice.query("RESET ROLE")), None);
    assert_eq!(error(&alice.query("INSERT INTO t VALUES ('me')")), None);
    Ok(())
}

#[test]
fn statements_are_known_by_the_names_clients_gave_them() -> Result<()> {
    let setup = "CREATE TABLE t (a int); INSERT INTO t VALUES (1)";
    drop(runtime().block_on(database("pooling_names", setup))?);
    let proxy = narrow("transaction");
    let mut one = Wire::connect(proxy.port(), "pooling_names");
    let mut other = Wire::connect(proxy.port(), "pooling_names");
    let prepare = |wire: &mut Wire, name: &str, sql: &str| {
        let all = [
            msg::parse(name, sql),
            msg::describe(b'S', name),
            msg::sync(),
        ];
        wire.send(&all.concat());
        tags(&wire.until(b'Z'))
    };
    let run = |wire: &mut Wire, name: &str, values: &[Option<&str>]| {
        let all = [
            msg::bind("", name, values),
            msg::execute("", 0),
            msg::sync(),
        ];
        wire.send(&all.concat());
        wire.until(b'Z')
    };
    let text = "SELECT a + $1 FROM t";
    assert_eq!(prepare(&mut one, "mine", text), "1tTZ");
    assert_eq!(prepare(&mut other, "yours", text), "1tTZ");
    assert_eq!(prepare(&mut other, "mine", "SELECT 5"), "1tTZ");
    assert_eq!(tags(&run(&mut one, "mine", &[Some("2")])), "2DCZ");
    let five = run(&mut other, "mine", &[]);
    assert_eq!(five[1].values(), [Some("5".to_owned())]);
    assert_eq!(tags(&run(&mut other, "yours", &[Some("2")])), "2DCZ");

    let wrong = run(&mut one, "mine", &[]);
    let message = wrong[0].error().1;
    assert!(
        message.contains("\"mine\"") && !message.contains("pgsteer"),
        "{message}"
    );
    let unknown = run(&mut one, "pgsteer_1", &[Some("2")]);
    assert_eq!(error(&unknown).as_deref(), Some("26000"), "another's name");

    // The unnamed one of a session lives on although others use the server.
    one.send(&[msg::parse("", "SELECT 'unnamed'"), msg::sync()].concat());
    one.until(b'Z');
    other.query("SELECT 1");
    assert_eq!(tags(&run(&mut one, "", &[])), "2DCZ");

    // Names of one session are one space, whichever way they came about.
    assert_eq!(
        error(&one.query("PREPARE mine AS SELECT 1")).as_deref(),
        Some("42P05")
    );
    assert_eq!(one.value("EXECUTE mine(3)"), "4");
    assert_eq!(error(&other.query("EXECUTE yours(1)")), None);
    one.query("DEALLOCATE mine");
    assert_eq!(
        error(&run(&mut one, "mine", &[Some("2")])).as_deref(),
        Some("26000")
    );
    assert_eq!(tags(&run(&mut other, "yours", &[Some("2")])), "2DCZ");
    Ok(())
}

#[test]
fn rows_that_changed_since_they_were_described_are_refused() -> Result<()> {
    let setup = "CREATE TABLE t (a int); INSERT INTO t VALUES (1)";
    drop(runtime().block_on(database("pooling_changed", setup))?);
    let options = Options {
        pool: "mode = \"transaction\"\nconnections_per_node_max = 2",
        listen: "workers = 1",
        ..Options::weights([1, 0, 0])
    };
    let proxy = options.start();
    let mut one = Wire::connect(proxy.port(), "pooling_changed");
    let mut other = Wire::connect(proxy.port(), "pooling_changed");
    let all = [
        msg::parse("s", "SELECT * FROM t"),
        msg::describe(b'S', "s"),
        msg::sync(),
    ];
    one.send(&all.concat());
    one.until(b'Z');
    one.query("ALTER TABLE t ADD b int");
    // On the connection where it is, and on another one.
    for other_has_it in [false, true] {
        if other_has_it {
            other.query("BEGIN");
            other.query("SELECT 1");
        }
        one.send(&[msg::bind("", "s", &[]), msg::execute("", 0), msg::sync()].concat());
        let refused = one.until(b'Z');
        assert_eq!(
            error(&refused).as_deref(),
            Some("0A000"),
            "{other_has_it}: {refused:?}"
        );
    }
    other.query("COMMIT");
    one.send(&[msg::parse("", "SELECT * FROM t"), msg::sync()].concat());
    assert_eq!(error(&one.until(b'Z')), None);
    Ok(())
}

#[test]
fn what_cannot_follow_is_shown_with_what_did_it() {
    let proxy = Options {
        pool: "mode = \"transaction\"\nconnections_per_node_max = 4",
        ..Options::weights([1, 0, 0])
    }
    .start();
    let mut pinned = Wire::connect(proxy.port(), "postgres");
    let mut looks = Wire::connect(proxy.port(), "postgres");
    assert_eq!(count(&mut looks, "SHOW pool_pins"), 0);
    pinned.query("CREATE TEMP TABLE mine AS SELECT 'secret'");
    // What a statement did is noted when it has been answered, and before the next one.
    pinned.query("SELECT 1");
    let rows = looks.query("SHOW pool_pins");
    let row = rows.iter().find(|frame| frame.tag == b'D').expect("a pin");
    let row: Vec<String> = row.values().into_iter().flatten().collect();
    assert_eq!(row[4], "temporary relation");
    assert!(
        row[6].starts_with("CREATE TEMP TABLE mine AS SELECT"),
        "{row:?}"
    );
    assert!(!row[6].contains("secret"), "{row:?}");
    let pid = pinned.value("SELECT pg_backend_pid()");
    looks.query("SELECT 1");
    assert_eq!(pinned.value("SELECT pg_backend_pid()"), pid);
    pinned.query("DISCARD ALL");
    pinned.query("SELECT 1");
    assert_eq!(count(&mut looks, "SHOW pool_pins"), 0);
}

#[test]
fn values_of_sequences_are_the_sessions_own() -> Result<()> {
    let setup = "CREATE TABLE t (id serial, a int)";
    drop(runtime().block_on(database("pooling_sequences", setup))?);
    let proxy = narrow("transaction");
    let mut one = Wire::connect(proxy.port(), "pooling_sequences");
    let mut other = Wire::connect(proxy.port(), "pooling_sequences");
    one.query("INSERT INTO t (a) VALUES (1)");
    assert_eq!(
        error(&other.query("SELECT lastval()")).as_deref(),
        Some("55000")
    );
    other.query("DISCARD ALL");
    // From now on it is known that they ask.
    let mut third = Wire::connect(proxy.port(), "pooling_sequences");
    third.query("INSERT INTO t (a) VALUES (3)");
    assert_eq!(third.value("SELECT lastval()"), "2");
    Ok(())
}

#[test]
fn statement_pooling_refuses_transactions() {
    let proxy = narrow("statement");
    let mut wire = Wire::connect(proxy.port(), "postgres");
    assert_eq!(error(&wire.query("BEGIN")).as_deref(), Some("0A000"));
    let mixed = wire.query("SELECT 1; BEGIN; SELECT 2");
    assert_eq!(error(&mixed).as_deref(), Some("0A000"));
    assert_eq!(error(&wire.extended("BEGIN")).as_deref(), Some("0A000"));
    assert_eq!(wire.value("SELECT 1; SELECT 1"), "1");
    wire.query("SET work_mem = '5MB'");
    let mut other = Wire::connect(proxy.port(), "postgres");
    assert_eq!(other.value("SHOW work_mem"), "4MB");
    assert_eq!(wire.value("SHOW work_mem"), "5MB");
}

#[test]
fn a_client_that_leaves_frees_the_server_that_works_for_it() -> Result<()> {
    drop(runtime().block_on(database("pooling_left", ""))?);
    let proxy = narrow("transaction");
    let mut other = Wire::connect(proxy.port(), "pooling_left");
    let mut gone = Wire::connect(proxy.port(), "pooling_left");
    gone.send(&msg::query("SELECT pg_sleep(600)"));
    let mut admin = Wire::connect(cluster().primary().port(), "postgres");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' \
                    AND datname = 'pooling_left' AND state = 'active'";
    wait_for(&mut admin, sleeping, "1");
    drop(gone);
    assert_eq!(other.value("SELECT 1"), "1");
    wait_for(&mut admin, sleeping, "0");
    Ok(())
}

#[test]
fn many_clients_share_few_connections() -> Result<()> {
    let setup = "CREATE TABLE t (a int); INSERT INTO t SELECT 0 FROM generate_series(1, 50)";
    drop(runtime().block_on(database("pooling_many", setup))?);
    let proxy = Options {
        pool: "mode = \"transaction\"\nconnections_per_node_max = 3",
        ..Options::weights([1, 0, 0])
    }
    .start();
    let port = proxy.port();
    let clients: Vec<_> = (0..50)
        .map(|number| {
            std::thread::spawn(move || {
                let mut wire = Wire::connect(port, "pooling_many");
                wire.query(&format!("SET my.number = '{number}'"));
                for _ in 0..20 {
                    wire.query("BEGIN");
                    wire.query("UPDATE t SET a = a + 1 WHERE ctid = '(0,1)'");
                    let seen = wire.value("SELECT current_setting('my.number')");
                    assert_eq!(seen, number.to_string());
                    wire.query("ROLLBACK");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no assertion failed");
    }
    let mut admin = Wire::connect(cluster().primary().port(), "pooling_many");
    assert_eq!(admin.value("SELECT sum(a) FROM t"), "0");
    Ok(())
}

/// PostgreSQL refuses it while anybody is connected, and gives them some seconds to go.
#[test]
fn a_database_is_copied_renamed_and_dropped_although_connections_to_it_wait_in_the_pool() {
    let options = Options {
        pool: "mode = \"transaction\"",
        ..Options::weights([1, 0, 0])
    };
    let proxy = options.start();
    let mut owner = Wire::connect(proxy.port(), "postgres");
    let run = |owner: &mut Wire, sql: &str| {
        let frames = owner.query(sql);
        let refused = frames.iter().find(|frame| frame.tag == b'E');
        assert_eq!(refused.map(Frame::error), None, "{sql}");
    };
    run(&mut owner, "CREATE DATABASE emptied");
    for (statement, name) in [
        ("CREATE DATABASE copied TEMPLATE emptied", "emptied"),
        ("ALTER DATABASE emptied RENAME TO renamed", "emptied"),
        ("DROP DATABASE renamed", "renamed"),
        ("DROP DATABASE copied", "copied"),
    ] {
        // On both workers, and one of them stays.
        let mut stays = Wire::connect(proxy.port(), name);
        let mut leaves = Wire::connect(proxy.port(), name);
        run(&mut stays, "SELECT 1");
        run(&mut leaves, "SELECT 1");
        drop(leaves);
        run(&mut owner, statement);
    }
}
