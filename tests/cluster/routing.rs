//! Which node a statement runs on.

use anyhow::Result;

use crate::support::{
    Frame, Options, Running, Wire, database, marked_nodes, runtime, wait_for_catalog,
};

/// Reads are for replicas only, and where they go depends on nothing that was written before.
fn balancing() -> Running {
    let options = Options {
        router: "read_your_writes = \"off\"",
        // LISTEN goes to a server here.
        pool: "mode = \"session\"\nconnections_per_node_max = 60",
        ..Options::weights([0, 1, 1])
    };
    options.start()
}

/// Nodes of new sessions that ask where they are.
fn nodes_of_sessions(proxy: &Running, count: usize, extended: bool) -> [f64; 3] {
    let ports: Vec<u16> = crate::support::cluster()
        .nodes()
        .iter()
        .map(|node| node.port())
        .collect();
    let mut counts = [0.0; 3];
    for _ in 0..count {
        let mut wire = Wire::connect(proxy.port(), "postgres");
        let sql = "SELECT inet_server_port()";
        let frames = run(&mut wire, sql, extended);
        let row = frames.iter().find(|frame| frame.tag == b'D').unwrap();
        let port: u16 = row.values()[0].as_deref().unwrap().parse().unwrap();
        counts[ports.iter().position(|p| *p == port).unwrap()] += 1.0;
    }
    counts
}

/// Runs a statement in one protocol or the other.
fn run(wire: &mut Wire, sql: &str, extended: bool) -> Vec<Frame> {
    if extended {
        wire.extended(sql)
    } else {
        wire.query(sql)
    }
}

/// The same, and it must not fail.
fn succeed(wire: &mut Wire, sql: &str, extended: bool) -> Vec<Frame> {
    let frames = run(wire, sql, extended);
    let error = frames.iter().find(|frame| frame.tag == b'E');
    assert_eq!(error.map(Frame::error), None, "{sql}, extended: {extended}");
    frames
}

#[test]
fn no_read_goes_to_a_primary_of_weight_0() {
    let proxy = balancing();
    for extended in [false, true] {
        let [primary, first, second] = nodes_of_sessions(&proxy, 60, extended);
        assert_eq!(primary, 0.0, "extended: {extended}");
        assert!(first > 0.0 && second > 0.0, "{first} {second}");
    }
}

#[test]
fn sessions_spread_by_weight() {
    let sessions = 600;
    for weights in [[1, 1, 1], [1, 2, 3]] {
        let proxy = Options::weights(weights).start();
        let counts = nodes_of_sessions(&proxy, sessions, false);
        let total = f64::from(weights.iter().sum::<u32>());
        let chi_square: f64 = counts
            .iter()
            .zip(weights)
            .map(|(count, weight)| {
                let expected = 600.0 * f64::from(weight) / total;
                (count - expected).powi(2) / expected
            })
            .sum();
        // With two degrees of freedom exceeded with probability exp(-16), one in nine million.
        assert!(chi_square < 32.0, "{counts:?} for {weights:?}");
    }
}

/// What ran where: the primary, a replica, or both.
fn placed(mark: &str) -> &'static str {
    match marked_nodes(mark)[..] {
        [0] => "primary",
        [0, _] => "both",
        [_] => "replica",
        [] => "nowhere",
        _ => "several replicas",
    }
}

const SETUP: &str = "
    CREATE TABLE t1 (a int, b text); INSERT INTO t1 SELECT g, 'x' FROM generate_series(1, 5) g;
    CREATE UNLOGGED TABLE unlogged (a int); CREATE SEQUENCE sq; CREATE VIEW v AS SELECT * FROM t1;
    CREATE FUNCTION fv() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE FUNCTION fs() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE VIEW vu AS SELECT * FROM unlogged; CREATE VIEW vr AS SELECT nextval('sq');
    CREATE TABLE parted (a int) PARTITION BY LIST (a);
    CREATE UNLOGGED TABLE part PARTITION OF parted DEFAULT;
    CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1';
    CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a;";

/// Statements in autocommit, each in a session of its own, by both protocols.
#[test]
fn single_statements() -> Result<()> {
    let setup = format!("ALTER DATABASE routing_single SET log_statement = 'all'; {SETUP}");
    runtime().block_on(database("routing_single", &setup))?;
    let proxy = balancing();
    let mut wrong = Vec::new();
    for (number, (sql, expected)) in SINGLE.iter().enumerate() {
        for protocol in ["simple", "extended"] {
            let mark = format!("/* single {number} {protocol} */");
            let marked = format!("{sql} {mark}");
            let mut wire = Wire::connect(proxy.port(), "routing_single");
            wait_for_catalog(proxy.port(), "routing_single");
            if protocol == "simple" {
                wire.query(&marked);
            } else {
                wire.extended(&marked);
            }
            let place = placed(&mark);
            if place != *expected {
                wrong.push(format!("{protocol}: {sql}: {place}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

const SINGLE: &[(&str, &str)] = &[
    ("SELECT 1", "replica"),
    ("   SELECT 1", "replica"),
    ("SELECT * FROM t1", "replica"),
    ("(SELECT 4)", "replica"),
    ("WITH a AS (SELECT 5) SELECT * FROM a", "replica"),
    ("TABLE t1", "replica"),
    ("SELECT 1 UNION SELECT a FROM t1", "replica"),
    ("SHOW work_mem", "replica"),
    ("SELECT now()", "replica"),
    ("SELECT CURRENT_TIMESTAMP", "replica"),
    ("SELECT version()", "replica"),
    ("SELECT count(*), max(b) FROM t1 WHERE a > 2", "replica"),
    ("/* c */ SELECT 3", "primary"),
    ("VALUES (1)", "primary"),
    ("SELECT a FROM t1 FOR UPDATE", "primary"),
    ("SELECT a FROM t1 FOR SHARE", "primary"),
    ("SELECT * FROM (SELECT a FROM t1 FOR UPDATE) x", "primary"),
    ("SELECT 7 AS a INTO TEMP zz", "primary"),
    ("EXPLAIN SELECT 8", "primary"),
    ("EXPLAIN ANALYZE SELECT 9", "primary"),
    ("EXPLAIN ANALYZE INSERT INTO t1 VALUES (1)", "primary"),
    ("PREPARE p AS SELECT 10", "primary"),
    ("PREPARE q AS INSERT INTO t1 VALUES (1)", "primary"),
    ("EXECUTE nosuch", "primary"),
    ("SELECT random()", "primary"),
    ("SELECT nextval('sq')", "primary"),
    ("SELECT (SELECT nextval('sq'))", "primary"),
    ("SELECT 1 UNION SELECT nextval('sq')", "primary"),
    (
        "WITH w AS (SELECT nextval('sq')) SELECT * FROM w",
        "primary",
    ),
    (
        "WITH w AS (INSERT INTO t1 VALUES (1) RETURNING a) SELECT * FROM w",
        "primary",
    ),
    ("SELECT * FROM t1, LATERAL (SELECT random()) x", "primary"),
    ("SELECT fv()", "primary"),
    ("SELECT fs()", "replica"),
    ("SELECT txid_current()", "primary"),
    ("SELECT * FROM v", "replica"),
    ("SELECT * FROM mv", "replica"),
    ("SELECT * FROM unlogged", "primary"),
    (
        "SELECT * FROM t1 WHERE a IN (SELECT a FROM unlogged)",
        "primary",
    ),
    ("COPY unlogged TO STDOUT", "primary"),
    ("SELECT * FROM vu", "primary"),
    ("SELECT * FROM vr", "primary"),
    ("SELECT * FROM parted", "primary"),
    ("SELECT * FROM nowhere", "primary"),
    ("SELECT * FROM information_schema.tables LIMIT 1", "replica"),
    ("SELECT pg_is_in_recovery()", "primary"),
    ("SELECT * FROM pg_class LIMIT 1", "primary"),
    ("SELECT 1 WHERE 1 IN (SELECT oid FROM pg_class)", "primary"),
    ("SELEC 1", "primary"),
    ("INSERT INTO t1 VALUES (9)", "primary"),
    ("INSERT INTO t1 VALUES (9) RETURNING a", "primary"),
    ("UPDATE t1 SET b = 'y' WHERE a = 9", "primary"),
    ("DELETE FROM t1 WHERE a = 9", "primary"),
    (
        "MERGE INTO t1 USING (SELECT 1 AS a) s ON t1.a = s.a WHEN MATCHED THEN DO NOTHING",
        "primary",
    ),
    ("TRUNCATE unlogged", "primary"),
    ("CREATE TABLE IF NOT EXISTS made (a int)", "primary"),
    ("ALTER TABLE t1 ALTER b SET DEFAULT 'z'", "primary"),
    ("CREATE INDEX IF NOT EXISTS ix ON t1 (a)", "primary"),
    ("DROP TABLE IF EXISTS nothing_there", "primary"),
    ("CREATE TEMP TABLE own (a int)", "primary"),
    ("DO $$ BEGIN PERFORM 1; END $$", "primary"),
    ("CALL pr()", "primary"),
    ("ANALYZE t1", "primary"),
    ("VACUUM t1", "primary"),
    ("CHECKPOINT", "primary"),
    ("REFRESH MATERIALIZED VIEW mv", "primary"),
    ("GRANT SELECT ON t1 TO PUBLIC", "primary"),
    ("COMMENT ON TABLE t1 IS 'x'", "primary"),
    ("LISTEN a_channel", "primary"),
    ("NOTIFY a_channel", "primary"),
    ("UNLISTEN a_channel", "primary"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "primary"),
    ("LOCK t1", "primary"),
    ("COPY t1 TO '/nowhere/at/all'", "primary"),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "primary",
    ),
];

#[test]
fn several_statements_in_one_string_go_to_the_primary() -> Result<()> {
    let setup = format!("ALTER DATABASE routing_several SET log_statement = 'all'; {SETUP}");
    runtime().block_on(database("routing_several", &setup))?;
    let proxy = balancing();
    for (number, sql) in [
        "SELECT 1; SELECT 2",
        "SELECT 1; INSERT INTO t1 VALUES (1)",
        "BEGIN; SELECT 1; COMMIT",
        "SET work_mem = '1MB'; SELECT 1",
    ]
    .into_iter()
    .enumerate()
    {
        let mark = format!("/* several {number} */");
        let mut wire = Wire::connect(proxy.port(), "routing_several");
        let frames = wire.query(&format!("{sql} {mark}"));
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}");
        assert_eq!(placed(&mark), "primary", "{sql}");
    }
    Ok(())
}

#[test]
fn copy_reads_are_balanced_and_copy_writes_are_not() -> Result<()> {
    use crate::support::msg;
    let setup = format!("ALTER DATABASE routing_copy SET log_statement = 'all'; {SETUP}");
    runtime().block_on(database("routing_copy", &setup))?;
    let proxy = balancing();
    let mut wire = Wire::connect(proxy.port(), "routing_copy");
    wait_for_catalog(proxy.port(), "routing_copy");
    for extended in [false, true] {
        let cases = [
            ("COPY t1 FROM STDIN", "primary"),
            ("COPY t1 TO STDOUT", "replica"),
            ("COPY (SELECT 1) TO STDOUT", "replica"),
            (
                "COPY (INSERT INTO t1 VALUES (3) RETURNING a) TO STDOUT",
                "primary",
            ),
            ("COPY (SELECT nextval('sq')) TO STDOUT", "primary"),
        ];
        for (number, (sql, expected)) in cases.into_iter().enumerate() {
            let mark = format!("/* copy {number} {extended} */");
            let text = format!("{sql} {mark}");
            let start = if extended {
                msg::statement(&text, &[])
            } else {
                msg::query(&text)
            };
            wire.send(&start);
            if sql.ends_with("STDIN") {
                if extended {
                    wire.send(&msg::flush());
                }
                wire.until(b'G');
                wire.send(&msg::copy_data(b"1\ta\n"));
                wire.send(&msg::copy_done());
            }
            if extended {
                wire.send(&msg::sync());
            }
            let frames = wire.until(b'Z');
            assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}");
            assert_eq!(placed(&mark), expected, "{sql}, extended: {extended}");
        }
    }
    Ok(())
}

#[test]
fn temporary_tables_are_read_where_they_are() {
    let proxy = balancing();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for extended in [false, true] {
        let mut run = |sql: &str| succeed(&mut wire, sql, extended);
        run("CREATE TEMP TABLE mine AS SELECT 42 AS a");
        let frames = run("SELECT a FROM mine");
        let row = frames.iter().find(|frame| frame.tag == b'D').unwrap();
        assert_eq!(row.values(), [Some("42".to_owned())]);
        run("SELECT (SELECT max(a) FROM mine)");
        run("SELECT a FROM pg_temp.mine");
        run("DROP TABLE mine");
    }
}

#[test]
fn sql_prepare_and_execute_work_for_reads_and_writes() -> Result<()> {
    runtime().block_on(database("routing_prepare", SETUP))?;
    let proxy = balancing();
    for extended in [false, true] {
        let mut wire = Wire::connect(proxy.port(), "routing_prepare");
        for sql in [
            "SELECT 1",
            "PREPARE r AS SELECT count(*) FROM t1",
            "EXECUTE r",
            "PREPARE w (int) AS INSERT INTO t1 VALUES ($1)",
            "EXECUTE w (1)",
            "BEGIN",
            "EXECUTE r",
            "EXECUTE w (2)",
            "COMMIT",
            "EXECUTE r",
            "DEALLOCATE r",
            "DEALLOCATE ALL",
        ] {
            succeed(&mut wire, sql, extended);
        }
    }
    Ok(())
}

/// Sequences in one session. `R` is a replica, `P` the primary, `.` is not looked at.
#[test]
fn statements_of_transactions() -> Result<()> {
    let setup = format!("ALTER DATABASE routing_transactions SET log_statement = 'all'; {SETUP}");
    runtime().block_on(database("routing_transactions", &setup))?;
    let proxy = balancing();
    let mut wrong = Vec::new();
    for (number, (statements, expected)) in TRANSACTIONS.iter().enumerate() {
        for extended in [false, true] {
            let mut wire = Wire::connect(proxy.port(), "routing_transactions");
            wait_for_catalog(proxy.port(), "routing_transactions");
            let mut places = String::new();
            for (step, (sql, place)) in statements.iter().zip(expected.chars()).enumerate() {
                let mark = format!("/* transaction {number} {step} {extended} */");
                let text = format!("{sql} {mark}");
                run(&mut wire, &text, extended);
                places.push(match (place, placed(&mark)) {
                    ('.', _) => '.',
                    (_, "primary") => 'P',
                    (_, "replica") => 'R',
                    _ => '?',
                });
            }
            if places != *expected {
                let sequence = statements.join("; ");
                wrong.push(format!(
                    "{sequence}: {places}, not {expected}, extended: {extended}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

const INSERT: &str = "INSERT INTO t1 VALUES (1)";
const READ: &str = "SELECT a FROM t1";

#[rustfmt::skip]
const TRANSACTIONS: &[(&[&str], &str)] = &[
    (&["BEGIN", READ, INSERT, READ, "COMMIT", READ], ".RPP.R"),
    // Pgpool-II sends plain BEGIN to the replica; here it stays where it is possible.
    (&["BEGIN READ WRITE", READ, INSERT, "COMMIT"], ".RP."),
    (&["BEGIN ISOLATION LEVEL SERIALIZABLE", READ, "COMMIT"], ".P."),
    // Pgpool-II reads on a replica: two nodes have no common snapshot.
    (&["BEGIN ISOLATION LEVEL REPEATABLE READ", READ, INSERT, READ, "COMMIT"], ".PPP."),
    (&["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", READ, READ, "COMMIT"], ".RR."),
    (&["BEGIN READ ONLY", READ, READ, "COMMIT"], ".RR."),
    (&["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", READ, "COMMIT"], "..P."),
    (&["BEGIN", "SET TRANSACTION READ ONLY", READ, "COMMIT"], "..R."),
    (&["BEGIN", "SET LOCAL work_mem = '1MB'", READ, "COMMIT"], "..P."),
    // Pgpool-II goes back to the replica after ROLLBACK TO.
    (&["BEGIN", "SAVEPOINT s", READ, "ROLLBACK TO s", READ, "COMMIT"], "..P.P."),
    (&["BEGIN", "SELECT nextval('sq')", READ, "COMMIT", READ], ".PP.R"),
    (&["BEGIN", "EXPLAIN SELECT 1", READ, "SHOW work_mem", READ, "COMMIT"], ".PRRR."),
    (&["BEGIN", "DECLARE c CURSOR FOR SELECT 1", "FETCH c", READ, "COMMIT"], ".PPP."),
    (&["BEGIN", "LOCK t1 IN ACCESS SHARE MODE", READ, "COMMIT"], ".PP."),
    (&["BEGIN", "SET CONSTRAINTS ALL DEFERRED", READ, "COMMIT"], "..P."),
    (&["BEGIN", "SELECT a FROM t1 FOR UPDATE", READ, "COMMIT"], ".PP."),
    (&["BEGIN", READ, "SELEC 1", READ, "ROLLBACK", READ], ".RP..R"),
    (&["BEGIN", INSERT, "ROLLBACK", READ], ".P.R"),
    (&["BEGIN", READ, "COMMIT AND CHAIN", READ, INSERT, READ, "COMMIT"], ".R.RPP."),
];

#[test]
fn statement_level_balancing_draws_for_each_statement() {
    let options = Options {
        router: "statement_level_load_balance = true",
        ..Options::weights([0, 1, 1])
    };
    let proxy = options.start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let ports: std::collections::BTreeSet<String> = (0..60)
        .map(|_| wire.value("SELECT inet_server_port()"))
        .collect();
    // One of two nodes is never drawn with a probability of 2^-59.
    assert_eq!(ports.len(), 2, "{ports:?}");
}

#[test]
fn a_session_keeps_its_node_without_statement_level_balancing() {
    let proxy = balancing();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let first = wire.value("SELECT inet_server_port()");
    for _ in 0..20 {
        assert_eq!(wire.value("SELECT inet_server_port()"), first);
    }
}

/// The replica that served a read of the transaction holds a lock for it, which keeps TRUNCATE from
/// being replayed; the primary waits for the replay before it answers COMMIT. PostgreSQL would
/// break this up after half a minute.
#[test]
fn a_commit_does_not_wait_for_the_transactions_own_read() -> Result<()> {
    let setup = "ALTER DATABASE routing_commit SET synchronous_commit = 'remote_apply';
        CREATE TABLE t1 (a int)";
    runtime().block_on(database("routing_commit", setup))?;
    let proxy = balancing();
    wait_for_catalog(proxy.port(), "routing_commit");
    for extended in [false, true] {
        let mut wire = Wire::connect(proxy.port(), "routing_commit");
        let start = std::time::Instant::now();
        for sql in ["BEGIN", READ, "TRUNCATE t1", "COMMIT"] {
            succeed(&mut wire, sql, extended);
        }
        let took = start.elapsed();
        assert!(took.as_secs() < 20, "extended: {extended}: {took:?}");
        wait_for_catalog(proxy.port(), "routing_commit");
    }
    Ok(())
}
