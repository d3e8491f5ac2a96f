//! Temporary and unlogged tables, catalogs: what a name stands for.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::program::Program;
use crate::settings::Value::{Switch, Text};

const SETUP: &str = "
    CREATE TABLE t1 (i int); CREATE UNLOGGED TABLE unlogged_t (i int);
    CREATE SCHEMA s2; CREATE TABLE s2.pg_class (i int); CREATE TABLE s2.unlogged_t (i int);
    CREATE FUNCTION makes_temp(t text) RETURNS void LANGUAGE plpgsql
        AS 'BEGIN EXECUTE ''CREATE TEMP TABLE '' || t || '' (i int)''; END';";

const TEMPORARY: &[&[&str]] = &[
    &[
        "CREATE TEMP TABLE tt{n} (i int)",
        "SELECT * FROM tt{n}",
        "SELECT 1",
        "DROP TABLE tt{n}",
    ],
    &[
        "CREATE TEMP TABLE tt{n} (i int)",
        "SELECT 1 WHERE 1 IN (SELECT i FROM tt{n})",
        "SELECT * FROM t1, tt{n}",
        "SELECT * FROM pg_temp.tt{n}",
        "TABLE tt{n}",
        "DROP TABLE tt{n}",
    ],
    &[
        "CREATE TEMP TABLE tt{n} AS SELECT 1 AS i",
        "SELECT * FROM tt{n}",
        "DROP TABLE tt{n}",
    ],
    &[
        "SELECT 1 AS i INTO TEMP tt{n}",
        "SELECT * FROM tt{n}",
        "DROP TABLE tt{n}",
    ],
    &[
        "SELECT makes_temp('tt{n}')",
        "SELECT * FROM tt{n}",
        "DROP TABLE tt{n}",
    ],
    &[
        "BEGIN",
        "CREATE TEMP TABLE tt{n} (i int) ON COMMIT DROP",
        "SELECT * FROM tt{n}",
        "COMMIT",
    ],
    &[
        "CREATE TEMP TABLE tt{n} (i int)",
        "COPY tt{n} TO STDOUT",
        "COPY (SELECT * FROM tt{n}) TO STDOUT",
        "DROP TABLE tt{n}",
    ],
    &[
        "CREATE TEMP TABLE tt{n} (i int)",
        "SELECT * FROM tt{n}",
        "DROP TABLE tt{n}",
        "SELECT * FROM tt{n}",
    ],
];

const UNLOGGED: &[&[&str]] = &[
    &["SELECT * FROM unlogged_t"],
    &["SELECT * FROM public.unlogged_t"],
    &["SELECT * FROM s2.unlogged_t"],
    &["SELECT 1 WHERE 1 IN (SELECT i FROM unlogged_t)"],
    &["WITH w AS (SELECT * FROM unlogged_t) SELECT * FROM w"],
    &["COPY unlogged_t TO STDOUT"],
    &["INSERT INTO unlogged_t VALUES (1)"],
    &[
        "BEGIN",
        "SELECT * FROM unlogged_t",
        "SELECT * FROM t1",
        "COMMIT",
    ],
    &["SELECT * FROM pg_class LIMIT 1"],
    &["SELECT * FROM s2.pg_class"],
    &["SELECT * FROM pg_stat_activity"],
    &["SELECT * FROM information_schema.columns LIMIT 1"],
    &["SELECT * FROM t1"],
];

fn check(
    database: &'static str,
    settings: &'static [crate::settings::Setting],
    [safer, exact]: [&'static [&'static str]; 2],
    sessions: &[&[&str]],
) -> Result<()> {
    create_database(database, SETUP)?;
    let programs: Vec<Program> = sessions
        .iter()
        .map(|texts| Program::simple(texts))
        .collect();
    let group = Group {
        database,
        settings,
        safer,
        exact,
    };
    group.run(&programs)?;
    Ok(())
}

#[test]
fn temporary_tables_by_default() -> Result<()> {
    check(
        "temp_default",
        &[],
        [&["temporary"], &["temporary"]],
        TEMPORARY,
    )
}

#[test]
fn temporary_tables_by_catalog() -> Result<()> {
    check(
        "temp_catalog",
        &[("check_temp_table", Text("catalog"))],
        [&["temporary"], &["temporary"]],
        TEMPORARY,
    )
}

#[test]
fn temporary_tables_by_trace() -> Result<()> {
    check(
        "temp_trace",
        &[("check_temp_table", Text("trace"))],
        [&["temporary"], &["temporary"]],
        TEMPORARY,
    )
}

#[test]
fn temporary_tables_unchecked() -> Result<()> {
    check(
        "temp_none",
        &[("check_temp_table", Text("none"))],
        [&["temporary"], &["temporary"]],
        TEMPORARY,
    )
}

#[test]
fn unlogged_tables_by_default() -> Result<()> {
    check("unlogged_default", &[], [&["D5", "D6"], &[]], UNLOGGED)
}

#[test]
fn unlogged_tables() -> Result<()> {
    check(
        "unlogged",
        &[("check_unlogged_table", Switch(true))],
        [&["D5", "D6"], &[]],
        UNLOGGED,
    )
}

#[test]
fn unlogged_tables_unchecked() -> Result<()> {
    check(
        "unlogged_none",
        &[("check_unlogged_table", Switch(false))],
        [&["D5", "25P02"], &["25P02"]],
        UNLOGGED,
    )
}
