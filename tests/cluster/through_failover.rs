//! What clients notice when the primary is lost, handed over or cut off: a wait, or a clear error,
//! and a session that lives on.

use anyhow::Result;
use pgsteer_core::topology::{Health, Role, Standing};
use pgsteer_core::{NodeId, Subscription};
use pgsteer_testkit::{Cluster, Mode, Node, wait_until};

use crate::support::{
    DEADLINE, Frame, Options, Plane, Running, Wire, cluster, msg, runtime, shown,
};

/// Nobody promotes but the test, and statements wait long enough for it.
const BY_HAND: &str = "connections_per_node_max = 60\n\
                       [failover]\npromote = false\nhold_timeout = \"60s\"";

async fn own_cluster() -> Result<Cluster> {
    Cluster::builder().fast(true).start().await
}

fn by_hand() -> Options {
    Options {
        pool: BY_HAND,
        ..Options::weights([1, 0, 0])
    }
}

async fn wait_for_health(mut proxy: Subscription, node: u16, wanted: Health) -> Result<()> {
    wait_until(DEADLINE, &format!("node {node} to be {wanted:?}"), || {
        let health = proxy.get().topology.node(NodeId(node)).map(|n| n.health);
        async move { health == Some(wanted) }
    })
    .await
}

fn state(frames: &[Frame]) -> Option<String> {
    let error = frames.iter().find(|frame| frame.tag == b'E')?;
    assert_eq!(
        error.field(b'V').as_deref(),
        Some("ERROR"),
        "{}",
        error.shown()
    );
    Some(error.error().0)
}

/// Status in the last ReadyForQuery.
fn status(frames: &[Frame]) -> char {
    let ready = frames.last().filter(|frame| frame.tag == b'Z');
    let ready = ready.unwrap_or_else(|| panic!("no ReadyForQuery:\n{}", shown(frames)));
    char::from(ready.body[0])
}

fn command_tags(frames: &[Frame]) -> Vec<String> {
    let completed = frames.iter().filter(|frame| frame.tag == b'C');
    let text = |frame: &Frame| String::from_utf8_lossy(&frame.body).into_owned();
    completed
        .map(|f| text(f).trim_end_matches('\0').to_owned())
        .collect()
}

fn check(wire: &mut Wire, sql: &str, expected: (Option<&str>, char)) {
    let frames = wire.query(sql);
    let got = (state(&frames), status(&frames));
    let got = (got.0.as_deref(), got.1);
    assert_eq!(got, expected, "{sql}:\n{}", shown(&frames));
}

/// Nothing was answered twice, and nothing not at all.
fn check_in_step(wire: &mut Wire) {
    let answer = wire.value("SELECT 7");
    assert_eq!(answer, "7", "the answer to this and no other");
}

/// Waits until a server runs a statement with this in its text.
fn wait_until_runs(node: &Node, mark: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
         AND query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    );
    let sql = &sql;
    let waited = wait_until(DEADLINE, mark, || async move {
        node.value(sql).await.is_ok_and(|count| count != "0")
    });
    runtime().block_on(waited).expect("it runs");
}

/// Waits until a statement with this in its text sleeps.
fn wait_until_sleeps(node: &Node, mark: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
         AND query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    );
    let sql = &sql;
    let waited = wait_until(DEADLINE, mark, || async move {
        node.value(sql).await.is_ok_and(|count| count != "0")
    });
    runtime().block_on(waited).expect("it sleeps");
}

/// Kills the primary and waits until the proxy knows.
fn kill_primary(cluster: &Cluster, proxy: &Running) -> Result<()> {
    runtime().block_on(async {
        cluster.primary().stop(Mode::Kill9).await?;
        wait_for_health(proxy.subscription(), 0, Health::Down).await
    })
}

#[test]
fn writes_wait_from_the_death_of_the_primary_to_the_promotion() -> Result<()> {
    let runtime = runtime();
    let cluster = runtime.block_on(own_cluster())?;
    let proxy = by_hand().start_for(&cluster);
    let mut idle = Wire::connect(proxy.port(), "postgres");
    idle.query("CREATE TABLE t (a int)");
    idle.query("SET work_mem = '1234kB'");
    idle.query("PREPARE q (int) AS INSERT INTO t VALUES ($1)");
    idle.send(&[msg::parse("p", "INSERT INTO t VALUES ($1)"), msg::sync()].concat());
    idle.until(b'Z');
    let mut unseen = Wire::connect(proxy.port(), "postgres");
    unseen.query("BEGIN");
    runtime.block_on(cluster.wait_until_caught_up(DEADLINE))?;
    runtime.block_on(cluster.primary().stop(Mode::Kill9))?;

    // At once: the probes do not know yet.
    let values = |value| msg::bind("", "p", &[Some(value)]);
    let extended = [values("1"), msg::execute("", 0), msg::sync()].concat();
    // A pipeline of two batches.
    idle.send(&[&extended[..], &extended].concat());
    unseen.send(&msg::query("INSERT INTO t VALUES (2)"));
    let port = proxy.port();
    let fresh = std::thread::spawn(move || {
        let mut fresh = Wire::connect(port, "postgres");
        fresh.query("INSERT INTO t VALUES (3)")
    });
    runtime.block_on(wait_for_health(proxy.subscription(), 0, Health::Down))?;
    runtime.block_on(cluster.nodes()[1].promote())?;

    for _ in 0..2 {
        let frames = idle.until(b'Z');
        assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    }
    let frames = unseen.until(b'Z');
    assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    let frames = unseen.query("COMMIT");
    assert_eq!(command_tags(&frames), ["COMMIT"], "{}", shown(&frames));
    let frames = fresh.join().expect("no panic");
    assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    let frames = idle.query("EXECUTE q (4)");
    assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    // The same session on another server, which knows what the first was told.
    assert_eq!(idle.value("SHOW work_mem"), "1234kB");
    assert_eq!(idle.value("SELECT count(*) FROM t"), "5");
    assert_eq!(
        idle.value("SELECT inet_server_port()"),
        cluster.nodes()[1].port().to_string()
    );
    Ok(())
}

#[test]
fn commit_of_a_lost_transaction_is_an_error_and_the_session_lives_on() -> Result<()> {
    let cluster = runtime().block_on(own_cluster())?;
    let proxy = by_hand().start_for(&cluster);
    let mut wires: Vec<Wire> = (0..5)
        .map(|_| Wire::connect(proxy.port(), "postgres"))
        .collect();
    wires[0].query("CREATE TABLE t (a int)");
    for wire in &mut wires {
        wire.query("BEGIN");
        check(wire, "INSERT INTO t VALUES (1)", (None, 'T'));
    }
    runtime().block_on(cluster.wait_until_caught_up(DEADLINE))?;
    kill_primary(&cluster, &proxy)?;

    let [commit, statement, extended, rollback, savepoint] = &mut wires[..] else {
        panic!("five sessions");
    };
    check(commit, "COMMIT", (Some("40001"), 'I'));
    check(statement, "SELECT 1", (Some("40001"), 'E'));
    check(statement, "SELECT 1", (Some("25P02"), 'E'));
    check(statement, "SHOW pool_nodes", (Some("25P02"), 'E'));
    assert_eq!(command_tags(&statement.query("COMMIT")), ["ROLLBACK"]);
    let frames = extended.extended("COMMIT");
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("40001"), 'I')
    );
    assert_eq!(command_tags(&rollback.query("ROLLBACK")), ["ROLLBACK"]);
    let frames = savepoint.extended("INSERT INTO t VALUES (2)");
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("40001"), 'E')
    );
    check(savepoint, "ROLLBACK TO s", (Some("25P02"), 'E'));
    check(savepoint, "ROLLBACK", (None, 'I'));

    runtime().block_on(cluster.nodes()[1].promote())?;
    for wire in &mut wires {
        check(wire, "INSERT INTO t VALUES (3)", (None, 'I'));
        check(wire, "BEGIN", (None, 'T'));
        check(wire, "INSERT INTO t VALUES (3)", (None, 'T'));
        check(wire, "COMMIT", (None, 'I'));
    }
    assert_eq!(wires[0].value("SELECT count(*) FROM t"), "10");
    Ok(())
}

#[test]
fn a_frozen_primary_keeps_nobody_once_it_is_cut_off() -> Result<()> {
    let cluster = runtime().block_on(own_cluster())?;
    let plane = Plane::start(&cluster, "hold_timeout = \"60s\"");
    let mut wires: Vec<Wire> = (0..4)
        .map(|_| Wire::connect(plane.port(), "postgres"))
        .collect();
    wires[0].query("CREATE TABLE t (a int)");
    for wire in &mut wires[1..3] {
        wire.query("BEGIN");
        check(wire, "INSERT INTO t VALUES (1)", (None, 'T'));
    }
    wires[3].query("SET work_mem = '1234kB'");
    runtime().block_on(cluster.wait_until_caught_up(DEADLINE))?;
    cluster.primary().pause()?;

    wires[0].send(&msg::query("INSERT INTO t VALUES (2)"));
    wires[1].send(&msg::query("INSERT INTO t VALUES (2)"));
    wires[2].send(&msg::query("COMMIT"));
    // Nobody answers a login either.
    let port = plane.port();
    let fresh = std::thread::spawn(move || {
        let mut fresh = Wire::connect(port, "postgres");
        fresh.query("INSERT INTO t VALUES (3)")
    });
    plane.wait_for_connections(0, 5);
    // Who wants to connect does so elsewhere as soon as the node is known to be down.
    plane.change(0, |node| node.health = Health::Down);
    plane.wait_for_held(1);
    plane.sever(0);

    let expected = [("08006", 'I'), ("40001", 'E'), ("08006", 'I')];
    for (wire, (code, ready)) in wires.iter_mut().zip(expected) {
        let frames = wire.until(b'Z');
        let got = (state(&frames), status(&frames));
        assert_eq!(got, (Some(code.to_owned()), ready), "{}", shown(&frames));
    }
    plane.wait_for_connections(0, 0);
    wires[1].query("ROLLBACK");
    for wire in &mut wires {
        wire.send(&msg::query("INSERT INTO t VALUES (4)"));
    }
    plane.wait_for_held(5);
    runtime().block_on(cluster.nodes()[1].promote())?;
    plane.change(1, |node| node.role = Role::Primary);
    for wire in &mut wires {
        let frames = wire.until(b'Z');
        assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    }
    let frames = fresh.join().expect("no panic");
    assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    assert_eq!(wires[3].value("SHOW work_mem"), "1234kB");
    cluster.primary().resume()
}

#[test]
fn a_pipeline_keeps_the_answers_it_has_and_the_request_in_flight_gets_the_error() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let mut wire = Wire::connect(plane.port(), "postgres");
    let first = [msg::statement("SELECT 1", &[]), msg::sync()].concat();
    let sleeps = msg::statement("SELECT pg_sleep(600), 'pipeline'", &[]);
    let rest = [msg::statement("SELECT 3", &[]), msg::sync()].concat();
    let later = [msg::statement("SELECT 4", &[]), msg::sync()].concat();
    wire.send(&[first, sleeps, rest, later].concat());
    assert_eq!(command_tags(&wire.until(b'Z')), ["SELECT 1"]);
    wait_until_runs(cluster().primary(), "pipeline");
    plane.sever(0);
    let frames = wire.until(b'Z');
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("08006"), 'I')
    );
    assert_eq!(command_tags(&frames), Vec::<String>::new());
    assert_eq!(command_tags(&wire.until(b'Z')), ["SELECT 1"]);

    // The same inside a transaction.
    wire.query("BEGIN");
    check(&mut wire, "SELECT 1", (None, 'T'));
    let sleeps = msg::statement("SELECT pg_sleep(600), 'within'", &[]);
    wire.send(&[msg::statement("SELECT 5", &[]), msg::flush()].concat());
    assert_eq!(command_tags(&wire.until(b'C')), ["SELECT 1"]);
    wire.send(&[sleeps, msg::sync()].concat());
    wait_until_runs(cluster().primary(), "within");
    plane.sever(0);
    let frames = wire.until(b'Z');
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("40001"), 'E')
    );
    check(&mut wire, "ROLLBACK", (None, 'I'));
    check(&mut wire, "SELECT 1", (None, 'I'));
    Ok(())
}

#[test]
fn no_more_statements_wait_than_may_and_one_whose_client_has_left_does_not() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"\nhold_max = 1");
    let mut waits = Wire::connect(plane.port(), "postgres");
    let mut other = Wire::connect(plane.port(), "postgres");
    plane.change(0, |node| node.health = Health::Down);
    waits.send(&msg::query("SELECT 1"));
    plane.wait_for_held(1);
    check(&mut other, "SELECT 2", (Some("57P03"), 'I'));
    let frames = other.extended("SELECT 2");
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("57P03"), 'I')
    );
    drop(waits);
    plane.wait_for_held(0);
    other.send(&msg::query("SELECT 3"));
    plane.wait_for_held(1);
    plane.change(0, |node| node.health = Health::Up);
    assert_eq!(command_tags(&other.until(b'Z')), ["SELECT 1"]);
    plane.wait_for_held(0);
    Ok(())
}

#[test]
fn a_statement_that_waited_in_vain_says_what_it_waited_for() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"200ms\"");
    let mut wire = Wire::connect(plane.port(), "postgres");
    plane.change(0, |node| node.health = Health::Down);
    let frames = wire.query("SELECT 1");
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("57P03"), 'I')
    );
    let hint = frames[0].field(b'H').expect("a hint");
    assert!(hint.contains("failover.hold_timeout"), "{hint}");
    assert!(hint.contains("SHOW pool_nodes"), "{hint}");
    Ok(())
}

#[test]
fn sessions_at_rest_leave_a_node_that_leaves_service() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"");
    let connect = || Wire::connect(plane.port(), "postgres");
    let (mut idle, mut inside, mut listens, mut writes, mut slow) =
        (connect(), connect(), connect(), connect(), connect());
    check(&mut idle, "SET work_mem = '1234kB'", (None, 'I'));
    check(&mut inside, "BEGIN", (None, 'T'));
    check(&mut inside, "SELECT 1", (None, 'T'));
    check(&mut listens, "LISTEN x", (None, 'I'));
    check(&mut writes, "SELECT 1", (None, 'I'));
    check(&mut slow, "SELECT 1", (None, 'I'));
    let statement = msg::query("SELECT 2");
    slow.send(&statement[..8]);
    // Of a session that has ended, in the pool.
    connect().query("SELECT 1");
    plane.wait_for_connections(0, 6);
    plane.set_standing(0, Standing::Closing);

    // The transaction goes on, and what is pinned stays; new work waits.
    plane.wait_for_connections(0, 2);
    writes.send(&msg::query("SELECT pg_is_in_recovery()"));
    plane.wait_for_held(1);
    check(&mut inside, "SELECT 2", (None, 'T'));
    check(&mut inside, "COMMIT", (None, 'I'));
    plane.wait_for_connections(0, 1);
    plane.sever(0);
    plane.wait_for_connections(0, 0);
    let end = listens.read()?;
    assert_eq!(end.field(b'V').as_deref(), Some("FATAL"), "{}", end.shown());
    assert!(listens.is_closed());

    plane.set_standing(0, Standing::InService);
    let frames = writes.until(b'Z');
    assert_eq!(command_tags(&frames), ["SELECT 1"], "{}", shown(&frames));
    slow.send(&statement[8..]);
    assert_eq!(command_tags(&slow.until(b'Z')), ["SELECT 1"]);
    check(&mut inside, "SELECT 1", (None, 'I'));
    assert_eq!(idle.value("SHOW work_mem"), "1234kB");
    Ok(())
}

#[test]
fn data_of_a_copy_whose_server_is_lost_is_thrown_away() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let mut wire = Wire::connect(plane.port(), "postgres");
    check(&mut wire, "BEGIN", (None, 'T'));
    check(
        &mut wire,
        "CREATE TABLE copied_in_vain (a int)",
        (None, 'T'),
    );
    wire.send(&msg::query("COPY copied_in_vain FROM STDIN"));
    wire.until(b'G');
    wire.send(&msg::copy_data(b"1\n"));
    plane.sever(0);
    let frames = wire.until(b'Z');
    let got = (state(&frames), status(&frames));
    assert_eq!(got, (Some("40001".to_owned()), 'E'), "{}", shown(&frames));
    wire.send(&[msg::copy_data(b"2\n"), msg::copy_done()].concat());
    check(&mut wire, "ROLLBACK", (None, 'I'));

    // By the extended protocol the client has said Sync already.
    let copy = [
        msg::parse("", "COPY copied_in_vain FROM STDIN"),
        msg::bind("", "", &[]),
        msg::execute("", 0),
        msg::sync(),
    ];
    check(&mut wire, "BEGIN", (None, 'T'));
    check(
        &mut wire,
        "CREATE TABLE copied_in_vain (a int)",
        (None, 'T'),
    );
    wire.send(&copy.concat());
    wire.until(b'G');
    plane.sever(0);
    let frames = wire.until(b'Z');
    let got = (state(&frames), status(&frames));
    assert_eq!(got, (Some("40001".to_owned()), 'E'), "{}", shown(&frames));
    check(&mut wire, "ROLLBACK", (None, 'I'));
    check(&mut wire, "SELECT 1", (None, 'I'));
    Ok(())
}

#[test]
fn a_row_that_is_cut_off_ends_the_session_without_a_word() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let mut wire = Wire::connect(plane.port(), "postgres");
    wire.send(&msg::query("SELECT repeat('x', 200000000)"));
    // The description first, then a row that fits into no buffer.
    wire.until(b'T');
    wire.wait_for_answer();
    plane.sever(0);
    let (frames, closed) = wire.read_until(b'Z');
    assert!(closed && frames.is_empty(), "{}", shown(&frames));
    Ok(())
}

/// A function that keeps a trigger busy.
const SLOW: &str = "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
                    'BEGIN PERFORM pg_sleep(600); RETURN NULL; END'";

/// A table whose rows take their time: at the end of a statement, or of the transaction.
fn slow_table(plane: &Plane, name: &str, trigger: &str) {
    let mut wire = Wire::connect(plane.port(), "postgres");
    for sql in [
        format!("DROP TABLE IF EXISTS {name}"),
        SLOW.to_owned(),
        format!("CREATE TABLE {name} (a int)"),
        format!("CREATE {trigger} EXECUTE FUNCTION slow()"),
    ] {
        check(&mut wire, &sql, (None, 'I'));
    }
}

#[test]
fn a_commit_that_could_not_be_sent_is_not_sent_again_behind_its_error() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let connect = |_| Wire::connect(plane.port(), "postgres");
    let mut wires: Vec<Wire> = (0..8).map(connect).collect();
    let commit = msg::query("COMMIT");
    for wire in &mut wires {
        check(wire, "BEGIN", (None, 'T'));
        check(wire, "SELECT 1", (None, 'T'));
        // The proxy waits for the rest, and looks at the client only.
        wire.send(&commit[..6]);
    }
    plane.sever(0);
    plane.wait_for_connections(0, 0);
    for wire in &mut wires {
        wire.send(&commit[6..]);
        let frames = wire.until(b'Z');
        // 40001 if the loss was noticed before the first half came.
        let code = state(&frames);
        assert!(
            matches!(code.as_deref(), Some("08006" | "40001")),
            "{}",
            shown(&frames)
        );
        assert_eq!(status(&frames), 'I');
        check_in_step(wire);
    }
    Ok(())
}

#[test]
fn a_severed_connection_does_not_count_whatever_its_session_is_doing() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"");
    let connect = || Wire::connect(plane.port(), "postgres");
    let (mut between, mut half, mut unread) = (connect(), connect(), connect());
    between.send(&[msg::statement("SELECT 1", &[]), msg::flush()].concat());
    between.until(b'C');
    check(&mut half, "SELECT 1", (None, 'I'));
    let query = msg::query("SELECT 2");
    half.send(&query[..6]);
    unread.send(&msg::query("SELECT repeat('x', 200000000)"));
    unread.until(b'T');
    plane.wait_for_connections(0, 3);
    plane.change(0, |node| {
        node.standing = Standing::Closing;
        node.severances += 1;
    });
    plane.wait_for_connections(0, 0);

    half.send(&query[6..]);
    plane.wait_for_held(1);
    plane.set_standing(0, Standing::InService);
    assert_eq!(command_tags(&half.until(b'Z')), ["SELECT 1"]);
    between.send(&msg::sync());
    let frames = between.until(b'Z');
    assert_eq!(
        state(&frames).as_deref(),
        Some("08006"),
        "{}",
        shown(&frames)
    );
    Ok(())
}

#[test]
fn legs_at_rest_leave_while_another_is_busy_and_while_half_a_message_is_there() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"");
    let connect = || Wire::connect(plane.port(), "postgres");
    let (mut busy, mut half) = (connect(), connect());
    check(&mut busy, "SELECT 1", (None, 'I'));
    check(&mut half, "SELECT 1", (None, 'I'));
    plane.wait_for_connections(0, 2);
    // The other node is the primary now, as far as sessions are told: both have a leg here still.
    plane.change(0, |node| node.role = Role::Replica);
    plane.change(1, |node| node.role = Role::Primary);
    busy.send(&msg::query("SELECT pg_sleep(600), 'elsewhere'"));
    wait_until_runs(&cluster().nodes()[1], "elsewhere");
    let query = msg::query("SELECT 2");
    half.send(&query[..6]);
    plane.set_standing(0, Standing::Closing);
    plane.wait_for_connections(0, 0);
    half.send(&query[6..]);
    assert_eq!(command_tags(&half.until(b'Z')), ["SELECT 1"]);
    plane.sever(1);
    let frames = busy.until(b'Z');
    assert_eq!(state(&frames).as_deref(), Some("08006"));
    Ok(())
}

#[test]
fn a_session_that_waits_notices_that_a_server_it_cannot_do_without_is_gone() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"");
    let mut listens = Wire::connect(plane.port(), "postgres");
    check(&mut listens, "LISTEN x", (None, 'I'));
    plane.change(0, |node| node.health = Health::Down);
    listens.send(&msg::query("SELECT 1"));
    plane.wait_for_held(1);
    plane.sever(0);
    let end = listens.read()?;
    assert_eq!(end.field(b'V').as_deref(), Some("FATAL"), "{}", end.shown());
    assert!(listens.is_closed());
    plane.wait_for_held(0);
    Ok(())
}

#[test]
fn a_pipeline_that_has_written_ends_where_it_began_and_one_that_read_waits() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"");
    let connect = || Wire::connect(plane.port(), "postgres");
    let (mut writes, mut reads) = (connect(), connect());
    check(&mut writes, "DROP TABLE IF EXISTS pipelined", (None, 'I'));
    check(&mut writes, "CREATE TABLE pipelined (a int)", (None, 'I'));
    let insert = msg::statement("INSERT INTO pipelined VALUES (1)", &[]);
    writes.send(&[insert.clone(), msg::flush()].concat());
    assert_eq!(command_tags(&writes.until(b'C')), ["INSERT 0 1"]);
    reads.send(&[msg::statement("SELECT 1", &[]), msg::flush()].concat());
    assert_eq!(command_tags(&reads.until(b'C')), ["SELECT 1"]);
    plane.wait_for_connections(0, 2);
    plane.set_standing(0, Standing::Closing);

    let rest = [insert, msg::sync()].concat();
    reads.send(&rest);
    plane.wait_for_held(1);
    plane.wait_for_connections(0, 1);
    writes.send(&rest);
    let frames = writes.until(b'Z');
    assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    plane.wait_for_connections(0, 0);
    plane.set_standing(0, Standing::InService);
    let frames = reads.until(b'Z');
    assert_eq!(command_tags(&frames), ["INSERT 0 1"], "{}", shown(&frames));
    assert_eq!(reads.value("SELECT count(*) FROM pipelined"), "3");
    Ok(())
}

#[test]
fn what_a_function_set_is_not_lost_in_silence() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let connect = || Wire::connect(plane.port(), "postgres");
    let (mut set, mut discarded) = (connect(), connect());
    for wire in [&mut set, &mut discarded] {
        let sql = "SELECT set_config('work_mem', '1234kB', false)";
        check(wire, sql, (None, 'I'));
    }
    check(&mut discarded, "DISCARD ALL", (None, 'I'));
    plane.sever(0);
    let end = set.read()?;
    assert_eq!(end.field(b'V').as_deref(), Some("FATAL"), "{}", end.shown());
    assert!(set.is_closed());
    check(&mut discarded, "SELECT 1", (None, 'I'));
    Ok(())
}

#[test]
fn a_copy_lost_behind_its_end_has_one_ready_for_query() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    slow_table(
        &plane,
        "copied_slowly",
        "TRIGGER slow AFTER INSERT ON copied_slowly",
    );
    let mut wire = Wire::connect(plane.port(), "postgres");
    let copy = [
        msg::parse("", "COPY copied_slowly FROM STDIN"),
        msg::bind("", "", &[]),
        msg::execute("", 0),
        msg::sync(),
    ];
    wire.send(&copy.concat());
    wire.until(b'G');
    wire.send(&[msg::copy_data(b"1\n"), msg::copy_done()].concat());
    wait_until_sleeps(cluster().primary(), "COPY copied_slowly");
    plane.sever(0);
    let error = wire.read()?;
    assert_eq!(error.error().0, "08006", "{}", error.shown());
    wire.send(&msg::sync());
    assert_eq!(status(&wire.until(b'Z')), 'I');
    check_in_step(&mut wire);
    Ok(())
}

#[test]
fn a_server_lost_behind_its_answer_is_not_answered_for_again() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let mut wire = Wire::connect(plane.port(), "postgres");
    check(&mut wire, "DROP TABLE IF EXISTS refused_early", (None, 'I'));
    check(&mut wire, "CREATE TABLE refused_early (a int)", (None, 'I'));
    wire.send(&msg::query("COPY refused_early FROM STDIN"));
    wire.until(b'G');
    // The server refuses the first line while the client is in the middle of a message.
    let data = msg::copy_data(&[b'2'; 10_000]);
    wire.send(&[&msg::copy_data(b"no number\n")[..], &data[..5000]].concat());
    let frames = wire.until(b'Z');
    assert_eq!(
        (state(&frames).as_deref(), status(&frames)),
        (Some("22P02"), 'I')
    );
    plane.sever(0);
    plane.wait_for_connections(0, 0);
    wire.send(&data[5000..]);
    wire.send(&msg::copy_done());
    check_in_step(&mut wire);
    Ok(())
}

#[test]
fn a_statement_that_found_its_node_gives_its_place_to_another() -> Result<()> {
    let plane = Plane::start(cluster(), "hold_timeout = \"60s\"\nhold_max = 1");
    let mut wire = Wire::connect(plane.port(), "postgres");
    plane.change(0, |node| node.health = Health::Down);
    wire.send(&msg::query("SELECT pg_sleep(600), 'found'"));
    plane.wait_for_held(1);
    plane.change(0, |node| node.health = Health::Up);
    wait_until_runs(cluster().primary(), "found");
    plane.wait_for_held(0);
    plane.sever(0);
    assert_eq!(state(&wire.until(b'Z')).as_deref(), Some("08006"));
    Ok(())
}

#[test]
fn a_statement_whose_preparation_was_lost_can_be_prepared_again() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    let mut wire = Wire::connect(plane.port(), "postgres");
    let sleeps = msg::statement("SELECT pg_sleep(600), 'prepares'", &[]);
    let parse = [msg::parse("again", "SELECT 7"), msg::sync()].concat();
    wire.send(&[&sleeps[..], &parse].concat());
    wait_until_runs(cluster().primary(), "prepares");
    plane.sever(0);
    assert_eq!(state(&wire.until(b'Z')).as_deref(), Some("08006"));
    wire.send(&parse);
    let frames = wire.until(b'Z');
    assert_eq!(state(&frames), None, "{}", shown(&frames));
    Ok(())
}

#[test]
fn a_commit_that_nobody_understands_may_have_happened() -> Result<()> {
    let plane = Plane::start(cluster(), "");
    slow_table(
        &plane,
        "committed_slowly",
        "CONSTRAINT TRIGGER slow AFTER INSERT ON committed_slowly \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
    );
    let mut wire = Wire::connect(plane.port(), "postgres");
    check(&mut wire, "SET client_encoding = 'LATIN1'", (None, 'I'));
    check(&mut wire, "BEGIN", (None, 'T'));
    let insert = "INSERT INTO committed_slowly VALUES (1)";
    check(&mut wire, insert, (None, 'T'));
    let parse = msg::frame(b'P', b"\0COMMIT /* slowly: \xe9 */\0\0\0");
    let bound = [msg::bind("", "", &[]), msg::execute("", 0), msg::sync()];
    wire.send(&[parse, bound.concat()].concat());
    wait_until_sleeps(cluster().primary(), "COMMIT /* slowly");
    plane.sever(0);
    let frames = wire.until(b'Z');
    let got = (state(&frames), status(&frames));
    assert_eq!(got, (Some("08006".to_owned()), 'I'), "{}", shown(&frames));
    Ok(())
}

/// A long statement elsewhere must not hold up a switchover.
#[test]
fn a_session_leaves_a_node_while_it_runs_something_on_another() -> Result<()> {
    let proxy = Options::weights([0, 1, 0]).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("SET application_name = 'leaves while it runs'");
    let replica = &cluster().nodes()[1];
    let port = wire.value("SELECT inet_server_port()");
    assert_eq!(port, replica.port().to_string());
    wire.send(&msg::query("DO $$BEGIN PERFORM pg_sleep(600); END$$"));
    wait_until_runs(cluster().primary(), "PERFORM pg_sleep");
    let mut operator = Wire::connect(proxy.port(), "postgres");
    let frames = operator.query("PGSTEER NODE 1 DETACH");
    assert_eq!(state(&frames), None);

    let held = "SELECT count(*) FROM pg_stat_activity \
                WHERE application_name = 'leaves while it runs'";
    let waited = wait_until(DEADLINE, "the replica to be left", || async {
        replica.value(held).await.is_ok_and(|count| count == "0")
    });
    runtime().block_on(waited)?;
    let here = runtime().block_on(cluster().primary().value(held))?;
    assert_eq!(here, "1", "the statement goes on");
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                  WHERE application_name = 'leaves while it runs'";
    runtime().block_on(cluster().primary().sql(cancel))?;
    assert_eq!(state(&wire.until(b'Z')).as_deref(), Some("57014"));
    Ok(())
}
