//! What lives in a session: savepoints, cursors, prepared statements, settings, failed transactions.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::matrix::SETUP;
use crate::program::Program;
use crate::settings::Value::Switch;

const READ: &str = "SELECT i FROM t1";
const WRITE: &str = "INSERT INTO t2 VALUES (1)";

const SESSIONS: &[&[&str]] = &[
    // Savepoints.
    &[
        "BEGIN",
        READ,
        "SAVEPOINT a",
        READ,
        "RELEASE a",
        READ,
        "COMMIT",
        READ,
    ],
    &[
        "BEGIN",
        WRITE,
        "SAVEPOINT a",
        WRITE,
        "ROLLBACK TO a",
        READ,
        "RELEASE a",
        READ,
        "COMMIT",
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        "SELECT 1/0 FROM t2",
        "ROLLBACK TO a",
        READ,
        "COMMIT",
        READ,
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        "SAVEPOINT b",
        "ROLLBACK TO a",
        READ,
        WRITE,
        READ,
        "ROLLBACK",
    ],
    &["SAVEPOINT a", READ],
    // Cursors.
    &[
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "FETCH c",
        READ,
        "CLOSE c",
        READ,
    ],
    &[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT i FROM t1",
        "FETCH 2 FROM c",
        "MOVE 1 FROM c",
        "CLOSE c",
        READ,
        "COMMIT",
    ],
    // Prepared statements.
    &[
        "PREPARE p AS SELECT i FROM t1",
        "EXECUTE p",
        "EXECUTE p",
        READ,
        "DEALLOCATE p",
        "EXECUTE p",
    ],
    &[
        "PREPARE p (int) AS INSERT INTO t2 VALUES ($1)",
        "EXECUTE p (1)",
        READ,
        "EXECUTE p (2)",
        "DEALLOCATE PREPARE p",
    ],
    &[
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        READ,
        "COMMIT",
        "EXECUTE p",
        "DEALLOCATE ALL",
    ],
    &["PREPARE p AS SELECT 1; SELECT 2", "EXECUTE p", READ],
    &[
        "PREPARE p AS SELECT 1",
        "EXECUTE p; INSERT INTO t2 VALUES (1)",
        READ,
    ],
    &["PREPARE p AS VALUES (1)", "EXECUTE p"],
    &["PREPARE p AS SELECT nextval('sq')", "EXECUTE p"],
    // COPY.
    &["COPY t2 FROM STDIN", "COPY t2 TO STDOUT", READ],
    &[
        "BEGIN",
        "COPY t1 TO STDOUT",
        READ,
        "COPY t2 FROM STDIN",
        READ,
        "COPY t2 TO STDOUT",
        "COMMIT",
    ],
    &["BEGIN", "COPY (SELECT 1) TO STDOUT", READ, "COMMIT"],
    // LOCK.
    &[
        "BEGIN",
        "LOCK TABLE locked IN SHARE MODE",
        READ,
        "ROLLBACK",
        READ,
    ],
    &[
        "BEGIN",
        "LOCK locked IN ROW EXCLUSIVE MODE",
        READ,
        "ROLLBACK",
    ],
    &[
        "BEGIN READ ONLY",
        "LOCK locked IN ACCESS SHARE MODE",
        READ,
        "COMMIT",
    ],
    // Settings.
    &[
        "SET work_mem = '5MB'",
        "SHOW work_mem",
        READ,
        WRITE,
        "SHOW work_mem",
        "RESET work_mem",
        "SHOW work_mem",
        WRITE,
    ],
    &[
        "BEGIN",
        "SET work_mem = '6MB'",
        "ROLLBACK",
        "SHOW work_mem",
        WRITE,
    ],
    &[
        "BEGIN",
        "SET LOCAL work_mem = '6MB'",
        "SHOW work_mem",
        "COMMIT",
        "SHOW work_mem",
    ],
    &[
        "SET SESSION work_mem TO '7MB'",
        "RESET ALL",
        "SHOW work_mem",
        WRITE,
    ],
    &["SET ROLE postgres", READ, WRITE, "RESET ROLE", READ],
    &[
        "SET SESSION AUTHORIZATION postgres",
        READ,
        "RESET SESSION AUTHORIZATION",
    ],
    &["SET search_path = public", READ, WRITE],
    &["SET TIME ZONE 'UTC'", "SHOW timezone", WRITE],
    &["SET NAMES 'utf8'", READ],
    &["SET nonsense = 1", READ],
    &[
        "SELECT set_config('work_mem', '5MB', false)",
        READ,
        "SHOW work_mem",
    ],
    &[
        "BEGIN",
        "SELECT set_config('work_mem', '5MB', true)",
        READ,
        "COMMIT",
        READ,
    ],
    &["DISCARD PLANS", READ, "DISCARD ALL", READ],
    &["BEGIN", "SET TRANSACTION READ WRITE", READ, "COMMIT"],
    &[
        "BEGIN",
        "SET TRANSACTION READ ONLY",
        READ,
        WRITE,
        "ROLLBACK",
    ],
    &["BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", "COMMIT", READ],
    &[
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        READ,
        WRITE,
        READ,
    ],
    &[
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        READ,
    ],
    &[
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
        READ,
    ],
    &[
        "SET default_transaction_isolation = 'serializable'",
        READ,
        "BEGIN",
        READ,
        "COMMIT",
    ],
    &["SET default_transaction_read_only = on", READ, WRITE],
    // LISTEN and NOTIFY.
    &["LISTEN a", "NOTIFY a, 'b'", READ, "UNLISTEN a", READ],
    &["BEGIN", "LISTEN a", READ, "COMMIT", READ, "UNLISTEN *"],
    &["BEGIN", "NOTIFY a", READ, "ROLLBACK"],
    // Failed transactions, and ends of all kinds.
    &["BEGIN", WRITE, "SELECT 1/0", READ, WRITE, "COMMIT", READ],
    &["BEGIN", READ, "SELECT 1/0", READ, "ROLLBACK", READ],
    &[
        "BEGIN",
        READ,
        "SELEC 1",
        READ,
        "SHOW work_mem",
        "COMMIT",
        READ,
    ],
    &["BEGIN", READ, WRITE, "ROLLBACK", READ],
    &[
        "BEGIN",
        READ,
        "COMMIT AND CHAIN",
        READ,
        WRITE,
        READ,
        "COMMIT",
        READ,
    ],
    &[
        "BEGIN",
        WRITE,
        "COMMIT AND CHAIN",
        READ,
        "ROLLBACK AND CHAIN",
        READ,
        "ABORT",
    ],
    &["START TRANSACTION", READ, WRITE, READ, "END"],
    &["BEGIN WORK", READ, "END WORK"],
    &["BEGIN", "BEGIN", READ, "COMMIT", "COMMIT"],
    &[
        "START TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED",
        READ,
        "COMMIT",
    ],
    &["BEGIN ISOLATION LEVEL READ UNCOMMITTED", READ, "COMMIT"],
    &["BEGIN TRANSACTION READ ONLY DEFERRABLE", READ, "COMMIT"],
    &["BEGIN", ";", READ, "/* nothing */", READ, "COMMIT"],
    // Two-phase commit.
    &[
        "BEGIN",
        WRITE,
        "PREPARE TRANSACTION 'a{n}'",
        READ,
        "ROLLBACK PREPARED 'a{n}'",
        READ,
    ],
    &[
        "BEGIN",
        READ,
        WRITE,
        "PREPARE TRANSACTION 'b{n}'",
        "COMMIT PREPARED 'b{n}'",
    ],
    // Strings of several statements.
    &["SELECT 1; SELECT 2", READ],
    &["SET work_mem = '5MB'; SELECT 1", READ, "SHOW work_mem"],
    &["BEGIN; SELECT i FROM t1; COMMIT", READ],
    &["BEGIN", "SELECT 1; SELECT 2", READ, "COMMIT"],
    &["BEGIN", WRITE, "COMMIT; SELECT 1", READ],
    // Tables that are made and used.
    &[
        "CREATE TABLE made{n} (i int)",
        "SELECT * FROM made{n}",
        "DROP TABLE made{n}",
    ],
    &[
        "BEGIN",
        "CREATE TABLE made{n} (i int)",
        "SELECT * FROM made{n}",
        "ROLLBACK",
    ],
    &["BEGIN", "TRUNCATE related", READ, "COMMIT", READ],
];

#[test]
fn sessions() -> Result<()> {
    create_database("sessions", SETUP)?;
    let group = Group {
        database: "sessions",
        settings: &[],
        safer: &[
            "D2",
            "D10",
            "defaults",
            "characteristics",
            "25P02",
            "comment",
            "several",
        ],
        exact: &[
            "D10",
            "defaults",
            "characteristics",
            "25P02",
            "comment",
            "several",
        ],
    };
    let programs: Vec<Program> = SESSIONS
        .iter()
        .map(|texts| Program::simple(texts))
        .collect();
    group.run(&programs)?;
    Ok(())
}

#[test]
fn sessions_by_the_extended_protocol() -> Result<()> {
    create_database("sessions_extended", SETUP)?;
    let group = Group {
        database: "sessions_extended",
        settings: &[],
        safer: &[
            "D1",
            "D2",
            "D10",
            "defaults",
            "characteristics",
            "comment",
            "several in a Parse",
            "4.3: DEALLOCATE",
        ],
        exact: &[
            "D1",
            "D10",
            "defaults",
            "characteristics",
            "comment",
            "several in a Parse",
            "4.3: DEALLOCATE",
        ],
    };
    // They end the session in Pgpool-II 4.3.
    let without_copy = SESSIONS
        .iter()
        .filter(|texts| !texts.concat().contains("COPY"));
    let programs: Vec<Program> = without_copy.map(|texts| Program::extended(texts)).collect();
    group.run(&programs)?;
    Ok(())
}

const TEXTS: &[&str] = &[
    "/* c */ SELECT 1",
    "-- c\nSELECT 1",
    "/*NO LOAD BALANCE*/ SELECT 1",
    "/*+ SeqScan(t1) */ SELECT i FROM t1",
    "VALUES (1)",
    "  SELECT 1",
    "\n\t SELECT 1",
    " (SELECT 1)",
    " WITH a AS (SELECT 1) SELECT * FROM a",
    " TABLE t1",
    " SHOW work_mem",
    " COPY t1 TO STDOUT",
    " ;",
    "SELECT/* c */1",
    "select 1",
    "table t1",
];

#[test]
fn comments_are_allowed() -> Result<()> {
    create_database("comments", SETUP)?;
    let group = Group {
        database: "comments",
        settings: &[("allow_sql_comments", Switch(true))],
        safer: &[],
        exact: &[],
    };
    let programs: Vec<Program> = TEXTS.iter().map(|sql| Program::simple(&[sql])).collect();
    group.run(&programs)?;
    Ok(())
}

#[test]
fn leading_white_space_counts() -> Result<()> {
    create_database("white_space", SETUP)?;
    let group = Group {
        database: "white_space",
        settings: &[("ignore_leading_white_space", Switch(false))],
        safer: &["comment"],
        exact: &["comment"],
    };
    let programs: Vec<Program> = TEXTS.iter().map(|sql| Program::simple(&[sql])).collect();
    group.run(&programs)?;
    Ok(())
}
