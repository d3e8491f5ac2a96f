//! `disable_load_balance_on_write`: what a write does to the reads after it, by mode.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::matrix::SETUP;
use crate::program::{Program, nodes};
use crate::settings::Value::Text;

const WRITE: &str = "INSERT INTO t1 VALUES (1)";

/// The sequence by which Pgpool-II's modes were measured.
const SEQUENCE: &[&str] = &[
    "SELECT 1",
    "SET work_mem = '5MB'",
    "SELECT 2",
    "INSERT INTO t2 VALUES (1)",
    "SELECT 3",
    "BEGIN",
    "SELECT 4",
    WRITE,
    "SELECT 5",
    "SELECT i FROM t2",
    "SELECT i FROM t1",
    "COMMIT",
    "SELECT 6",
    "BEGIN",
    "SELECT 7",
    "SELECT i FROM t1",
    "COMMIT",
    "SELECT 8",
];

const MORE: &[&[&str]] = &[
    &[
        "BEGIN", WRITE, "ROLLBACK", "SELECT 1", "BEGIN", "SELECT 2", "COMMIT", "SELECT 3",
    ],
    &[
        "BEGIN",
        "SELECT nextval('sq')",
        "SELECT i FROM t1",
        "COMMIT",
        "BEGIN",
        "SELECT 1",
        "COMMIT",
    ],
    &[
        "BEGIN",
        "UPDATE t1 SET i = 2 WHERE i IN (SELECT i FROM t2)",
        "SELECT i FROM t2",
        "SELECT i FROM t1",
        "SELECT 1",
        "COMMIT",
    ],
    &[
        "BEGIN",
        "DELETE FROM t2 WHERE i = 7",
        "SHOW work_mem",
        "COPY t2 TO STDOUT",
        "SELECT 1 WHERE 1 IN (SELECT i FROM t2)",
        "COMMIT",
    ],
    &[
        "BEGIN",
        "WITH w AS (INSERT INTO t1 VALUES (1) RETURNING i) SELECT i FROM w",
        "SELECT i FROM t1",
        "SELECT 1",
        "COMMIT",
    ],
    &["BEGIN READ ONLY", "SELECT 1", "COMMIT", "SELECT 2"],
    &[
        "BEGIN",
        "EXPLAIN SELECT 1",
        "SELECT 2",
        "EXPLAIN ANALYZE SELECT 1",
        "SELECT 3",
        "EXPLAIN ANALYZE INSERT INTO t1 VALUES (1)",
        "SELECT 4",
        "COMMIT",
        "SELECT 5",
    ],
    &[
        "LISTEN a",
        "SELECT 1",
        "BEGIN",
        "SELECT 2",
        "COMMIT",
        "UNLISTEN a",
    ],
    &[
        "SELECT 1",
        "VALUES (1)",
        "SELECT 2",
        "BEGIN",
        "VALUES (1)",
        "SELECT 3",
        "COMMIT",
        "SELECT 4",
    ],
];

/// Extended COPY is the only thing that differs, whatever the mode.
const COPIES: &[&str] = &["4.3: COPY"];

fn group(mode: &'static str, group: &Group, measured: &str) -> Result<()> {
    create_database(group.database, SETUP)?;
    let all = std::iter::once(SEQUENCE).chain(MORE.iter().copied());
    let simple = all.clone().map(Program::simple);
    let programs: Vec<Program> = simple.chain(all.map(Program::extended)).collect();
    let seen = group.run(&programs)?;
    let reads = SEQUENCE
        .iter()
        .zip(&seen[0])
        .filter(|(sql, _)| sql.starts_with("SELECT"));
    let reads: String = reads.map(|(_, seen)| nodes(seen)).collect();
    assert_eq!(reads, measured, "Pgpool-II's reads in mode {mode}");
    Ok(())
}

#[test]
fn off() -> Result<()> {
    let settings = &[("disable_load_balance_on_write", Text("off"))];
    group(
        "off",
        &Group {
            database: "mode_off",
            settings,
            safer: COPIES,
            exact: COPIES,
        },
        "11111111111",
    )
}

#[test]
fn transaction() -> Result<()> {
    let settings = &[("disable_load_balance_on_write", Text("transaction"))];
    group(
        "transaction",
        &Group {
            database: "mode_transaction",
            settings,
            safer: COPIES,
            exact: COPIES,
        },
        "11110001111",
    )
}

#[test]
fn trans_transaction() -> Result<()> {
    let settings = &[("disable_load_balance_on_write", Text("trans_transaction"))];
    group(
        "trans_transaction",
        &Group {
            database: "mode_trans",
            settings,
            safer: COPIES,
            exact: COPIES,
        },
        "11110001001",
    )
}

#[test]
fn always() -> Result<()> {
    let settings = &[("disable_load_balance_on_write", Text("always"))];
    group(
        "always",
        &Group {
            database: "mode_always",
            settings,
            safer: COPIES,
            exact: COPIES,
        },
        "10000000000",
    )
}

#[test]
fn dml_adaptive() -> Result<()> {
    let settings = &[
        ("disable_load_balance_on_write", Text("dml_adaptive")),
        (
            "dml_adaptive_object_relationship_list",
            Text("t2:related,writes():related"),
        ),
    ];
    group(
        "dml_adaptive",
        &Group {
            database: "mode_adaptive",
            settings,
            safer: &["4.3: COPY", "read along", "D6"],
            exact: &["4.3: COPY", "read along"],
        },
        "11111101111",
    )
}
