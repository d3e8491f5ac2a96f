//! Single statements and transactions of every kind, under default settings.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::program::Program;

pub(crate) const SETUP: &str = "
    CREATE TABLE t1 (i int); INSERT INTO t1 SELECT generate_series(1, 5);
    CREATE TABLE t2 (i int); CREATE TABLE locked (i int);
    CREATE TABLE related (i int);
    CREATE UNLOGGED TABLE unlogged_t (i int); CREATE SEQUENCE sq;
    CREATE VIEW catalog_v AS SELECT relname FROM pg_class;
    CREATE VIEW random_v AS SELECT random() AS r;
    CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1';";

/// Each in a session of its own.
const AUTOCOMMIT: &[&str] = &[
    "SELECT 1",
    "   SELECT 1",
    "\n\tSELECT 1",
    "/* c */ SELECT 3",
    "-- c\nSELECT 3",
    "/*NO LOAD BALANCE*/ SELECT 3",
    "VALUES (1)",
    "(SELECT 4)",
    "WITH a AS (SELECT 5) SELECT * FROM a",
    "TABLE t1",
    "SELECT 6 FOR UPDATE",
    "SELECT i FROM t1 FOR SHARE",
    "SELECT 7 AS a INTO TEMP zz{n}",
    "EXPLAIN SELECT 8",
    "EXPLAIN ANALYZE SELECT 9",
    "EXPLAIN ANALYZE INSERT INTO t1 VALUES (1)",
    "SHOW work_mem",
    "/* x */ SHOW work_mem",
    "SET work_mem = '5MB'",
    "RESET work_mem",
    ";",
    "COPY (SELECT 1) TO STDOUT",
    "COPY t1 TO STDOUT",
    "/* x */ COPY t1 TO STDOUT",
    "COPY t1 FROM STDIN",
    "COPY t1 TO '/nowhere/at/all'",
    "COPY (INSERT INTO t1 VALUES (1) RETURNING i) TO STDOUT",
    "COPY (SELECT nextval('sq')) TO STDOUT",
    "COPY (SELECT i FROM t1 FOR UPDATE) TO STDOUT",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH c",
    "CLOSE c",
    "LISTEN a",
    "NOTIFY a",
    "UNLISTEN a",
    "DISCARD PLANS",
    "DO 'BEGIN END'",
    "CALL pr()",
    "ANALYZE t1",
    "CHECKPOINT",
    "LOCK locked",
    "SELECT * FROM (SELECT 1 FOR UPDATE) a",
    "WITH w AS (INSERT INTO t1 VALUES (1) RETURNING i) SELECT * FROM w",
    "WITH w AS (SELECT nextval('sq')) SELECT * FROM w",
    "SELECT * FROM catalog_v",
    "SELECT * FROM random_v",
    "SELECT * FROM t1 TABLESAMPLE system (1)",
    "PREPARE p AS SELECT 10",
    "PREPARE q AS INSERT INTO t1 VALUES (1)",
    "EXECUTE nosuch",
    "DEALLOCATE nosuch",
    "DEALLOCATE ALL",
    "SELECT now()",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT version()",
    "SELECT random()",
    "SELECT nextval('sq')",
    "SELECT pg_is_in_recovery()",
    "SELECT txid_current()",
    "SELECT * FROM pg_class",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM information_schema.tables",
    "SELECT 'pg_class'::regclass",
    "SELECT * FROM unlogged_t",
    "SELECT 1 WHERE 1 IN (SELECT i FROM unlogged_t)",
    "SELECT 1; SELECT 2",
    "SELECT 1; INSERT INTO t1 VALUES (1)",
    "SELEC 1",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_isolation = 'serializable'",
    "SET default_transaction_isolation = 'read committed'",
    "SET transaction_read_only = off",
    "SET transaction_read_only = 0",
    "SET transaction_read_only = 1",
    "SELECT (SELECT nextval('sq'))",
    "SELECT 1 UNION SELECT nextval('sq')",
    "SELECT * FROM t1, LATERAL (SELECT random()) x",
    "SELECT 1 WHERE 1 IN (SELECT oid FROM pg_class)",
    "INSERT INTO t1 VALUES (9)",
    "UPDATE t1 SET i = 9 WHERE i = 9",
    "DELETE FROM t1 WHERE i = 9",
    "MERGE INTO t1 USING (SELECT 1 AS i) s ON t1.i = s.i WHEN MATCHED THEN DO NOTHING",
    "CREATE TABLE made{n} (i int)",
    "TRUNCATE t2",
    "VACUUM t2",
    "CREATE TEMP TABLE temp{n} (i int)",
    "SET ROLE postgres",
    "SET CONSTRAINTS ALL DEFERRED",
    "SET LOCAL work_mem = '5MB'",
    "SELECT set_config('work_mem', '5MB', false)",
    "SELECT * FROM nowhere",
    "SELECT nothing_like_it(1)",
    "SELECT 1/0",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
];

const READ: &str = "SELECT i FROM t1";
const WRITE: &str = "INSERT INTO t2 VALUES (1)";

/// Each in a session of its own.
const TRANSACTIONS: &[&[&str]] = &[
    &["BEGIN", READ, WRITE, READ, "COMMIT", READ],
    &["BEGIN READ WRITE", READ, "COMMIT"],
    &["BEGIN ISOLATION LEVEL SERIALIZABLE", READ, "COMMIT"],
    &["BEGIN ISOLATION LEVEL REPEATABLE READ", READ, "COMMIT"],
    &["BEGIN READ ONLY", READ, WRITE, "ROLLBACK"],
    &[
        "BEGIN",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        READ,
        "COMMIT",
    ],
    &["BEGIN", "SET TRANSACTION READ ONLY", READ, "COMMIT"],
    &["BEGIN", "SET LOCAL work_mem = '5MB'", READ, "COMMIT", READ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        READ,
        "ROLLBACK TO a",
        READ,
        "COMMIT",
    ],
    &["BEGIN", "SELECT nextval('sq')", READ, "COMMIT"],
    &[
        "BEGIN",
        "EXPLAIN SELECT 1",
        READ,
        "SHOW work_mem",
        "COPY t1 TO STDOUT",
        "PREPARE sel AS SELECT 1",
        READ,
        "EXECUTE sel",
        READ,
        "COMMIT",
    ],
    &[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT 1",
        "FETCH c",
        READ,
        "COMMIT",
    ],
    &["BEGIN", "LOCK locked IN ACCESS SHARE MODE", READ, "COMMIT"],
    &["BEGIN", "LOCK locked IN ROW SHARE MODE", READ, "COMMIT"],
    &["BEGIN", "LOCK locked", READ, "COMMIT"],
    &["BEGIN", "SET CONSTRAINTS ALL DEFERRED", READ, "COMMIT"],
    &[
        "BEGIN",
        WRITE,
        "PREPARE TRANSACTION 'x{n}'",
        READ,
        "COMMIT PREPARED 'x{n}'",
    ],
    &[
        "BEGIN; SELECT 1",
        READ,
        "SET work_mem = '5MB'",
        "COMMIT",
        READ,
    ],
];

/// All of them in the simple protocol, each as a program of its own.
pub(crate) fn programs() -> Vec<Program> {
    let single = AUTOCOMMIT.iter().map(|sql| Program::simple(&[sql]));
    let transactions = TRANSACTIONS
        .iter()
        .map(|statements| Program::simple(statements));
    single.chain(transactions).collect()
}

/// What differs in the simple protocol, from the default rules.
pub(crate) const SAFER: &[&str] = &[
    "READ WRITE",
    "missing",
    "unknown function",
    "views",
    "D2",
    "D6",
    "D8",
    "D14",
    "4.3: read only = 0",
    "4.3: PREPARE",
    "BEGIN in a string",
];

/// The same with `compatibility = "exact"`.
pub(crate) const EXACT: &[&str] = &[
    "READ WRITE",
    "locking copy",
    "missing",
    "D14",
    "4.3: read only = 0",
    "4.3: PREPARE",
    "BEGIN in a string",
];

#[test]
fn single_statements_and_transactions() -> Result<()> {
    create_database("matrix", SETUP)?;
    let group = Group {
        database: "matrix",
        settings: &[],
        safer: SAFER,
        exact: EXACT,
    };
    group.run(&programs())?;
    Ok(())
}

#[test]
fn the_same_by_the_extended_protocol() -> Result<()> {
    create_database("matrix_extended", SETUP)?;
    // Pgpool-II 4.3 never answers a COPY FROM STDIN of the extended protocol.
    let single = AUTOCOMMIT.iter().filter(|sql| !sql.contains("FROM STDIN"));
    let single = single.map(|sql| Program::extended(&[sql]));
    let transactions = TRANSACTIONS
        .iter()
        .map(|statements| Program::extended(statements));
    let programs: Vec<Program> = single.chain(transactions).collect();
    let group = Group {
        database: "matrix_extended",
        settings: &[],
        safer: &[
            "READ WRITE",
            "missing",
            "unknown function",
            "views",
            "D2",
            "D6",
            "D8",
            "D14",
            "4.3: read only = 0",
            "4.3: COPY",
            "several in a Parse",
        ],
        exact: &[
            "READ WRITE",
            "locking copy",
            "missing",
            "D14",
            "4.3: read only = 0",
            "4.3: COPY",
            "several in a Parse",
        ],
    };
    group.run(&programs)?;
    Ok(())
}
