//! Which functions make a SELECT a write: by volatility, and by the two lists.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::program::{Program, nodes};
use crate::settings::Value::Text;

const SETUP: &str = "
    CREATE TABLE t1 (i int); INSERT INTO t1 VALUES (1); CREATE SEQUENCE sq;
    CREATE SCHEMA s2;
    CREATE FUNCTION fv(i int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE FUNCTION fs(i int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION fi(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
    CREATE FUNCTION s2.fs(i int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION overloaded(i int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION overloaded(t text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE FUNCTION s2.elsewhere(i int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE FUNCTION elsewhere(i int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION \"Quoted\"(i int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE FUNCTION vplus(a int, b int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = vplus);
    CREATE VIEW random_v AS SELECT random() AS r;
    CREATE VIEW catalog_v AS SELECT relname FROM pg_class;";

/// Statements with the node of Pgpool-II as it was measured.
type Rows = &'static [(&'static str, &'static str)];

fn check(group: &Group, rows: Rows) -> Result<()> {
    let programs: Vec<Program> = rows
        .iter()
        .map(|(sql, _)| Program::simple(&[sql]))
        .collect();
    let seen = group.run(&programs)?;
    for ((sql, measured), seen) in rows.iter().zip(&seen) {
        let theirs: String = seen.iter().map(nodes).collect();
        assert_eq!(theirs, *measured, "Pgpool-II's node of {sql}");
    }
    Ok(())
}

const BY_VOLATILITY: Rows = &[
    ("SELECT nextval('sq')", "0"),
    ("SELECT setval('sq', 5)", "0"),
    ("SELECT currval('sq')", "0"),
    ("SELECT lastval()", "0"),
    ("SELECT random()", "0"),
    ("SELECT clock_timestamp()", "0"),
    ("SELECT timeofday()", "0"),
    ("SELECT gen_random_uuid()", "0"),
    ("SELECT pg_sleep(0)", "0"),
    ("SELECT set_config('work_mem', '5MB', true)", "0"),
    ("SELECT pg_notify('a', 'b')", "0"),
    ("SELECT pg_advisory_lock(1)", "0"),
    ("SELECT pg_try_advisory_lock(1)", "0"),
    ("SELECT pg_advisory_xact_lock(2)", "0"),
    ("SELECT lo_get(1)", "0"),
    ("SELECT pg_export_snapshot()", "0"),
    ("SELECT pg_cancel_backend(0)", "0"),
    ("SELECT pg_is_in_recovery()", "0"),
    ("SELECT pg_current_wal_lsn()", "0"),
    ("SELECT pg_last_wal_replay_lsn()", "0"),
    ("SELECT pg_database_size('functions')", "0"),
    ("SELECT fv(1)", "0"),
    ("SELECT public.fv(1)", "0"),
    ("SELECT FV(1)", "0"),
    ("SELECT \"Quoted\"(1)", "0"),
    ("SELECT overloaded(1)", "0"),
    ("SELECT elsewhere(1)", "0"),
    ("SELECT public.elsewhere(1)", "1"),
    ("SELECT s2.elsewhere(1)", "0"),
    ("SELECT i FROM t1 WHERE fv(i) = 1", "0"),
    ("SELECT i FROM t1 ORDER BY fv(i)", "0"),
    ("SELECT * FROM fv(1)", "0"),
    ("SELECT fs(1)", "1"),
    ("SELECT fi(1)", "1"),
    ("SELECT s2.fs(1)", "1"),
    ("SELECT 1 ### 2", "1"),
    ("SELECT * FROM random_v", "1"),
    ("SELECT * FROM catalog_v", "1"),
    ("SELECT now()", "1"),
    ("SELECT CURRENT_TIMESTAMP", "1"),
    ("SELECT CURRENT_USER", "1"),
    ("SELECT version()", "1"),
    ("SELECT current_setting('work_mem')", "1"),
    ("SELECT inet_server_port()", "1"),
    ("SELECT pg_backend_pid()", "1"),
    ("SELECT pg_postmaster_start_time()", "1"),
    ("SELECT txid_current()", "1"),
    ("SELECT txid_current_if_assigned()", "1"),
    ("SELECT * FROM generate_series(1, 2)", "1"),
    ("SELECT count(*), max(i), array_agg(i) FROM t1", "1"),
    ("SELECT format_type(23, 0)", "1"),
    ("SELECT substring('abc' FROM 2)", "1"),
    ("SELECT extract(year FROM now())", "1"),
    ("SELECT never_heard_of(1)", "1"),
];

const USER_FUNCTIONS: &[&str] = &["D5", "D8", "unknown function", "views"];

#[test]
fn by_volatility() -> Result<()> {
    create_database("functions", SETUP)?;
    let group = Group {
        database: "functions",
        settings: &[],
        safer: USER_FUNCTIONS,
        exact: &[],
    };
    check(&group, BY_VOLATILITY)
}

#[test]
fn write_function_list() -> Result<()> {
    create_database("write_list", SETUP)?;
    let group = Group {
        database: "write_list",
        settings: &[("write_function_list", Text("fs,r.*"))],
        safer: &["D7"],
        exact: &[],
    };
    check(
        &group,
        &[
            ("SELECT fs(1)", "0"),
            ("SELECT public.fs(1)", "1"),
            ("SELECT FS(1)", "0"),
            ("SELECT random()", "0"),
            ("SELECT fv(1)", "1"),
            ("SELECT nextval('sq')", "1"),
            ("SELECT now()", "1"),
        ],
    )
}

#[test]
fn read_only_function_list() -> Result<()> {
    create_database("read_only_list", SETUP)?;
    let group = Group {
        database: "read_only_list",
        settings: &[("read_only_function_list", Text("s2\\..*,now,nextval"))],
        safer: &[],
        exact: &[],
    };
    check(
        &group,
        &[
            ("SELECT s2.fs(1)", "1"),
            ("SELECT fs(1)", "0"),
            ("SELECT pg_catalog.now()", "0"),
            ("SELECT now()", "1"),
            ("SELECT count(*) FROM t1", "0"),
            ("SELECT substring('abc' FROM 2)", "0"),
            ("SELECT nextval('sq')", "1"),
            ("SELECT 1", "1"),
        ],
    )
}

#[test]
fn primary_routing_query_pattern_list() -> Result<()> {
    create_database("patterns", SETUP)?;
    let group = Group {
        database: "patterns",
        // The mark of a statement is a comment, so the first pattern allows one.
        settings: &[(
            "primary_routing_query_pattern_list",
            Text("SELECT 1.*\\/\\;;.*from t1.*"),
        )],
        safer: &[],
        exact: &[],
    };
    check(
        &group,
        &[
            ("SELECT 1 {m};", "0"),
            ("SELECT 1 {m} ;", "1"),
            ("select 1 {m};", "0"),
            ("SELECT \"i\" FROM \"t1\" {m};", "0"),
            ("SELECT i FROM t1", "0"),
            ("SELECT i FROM  t1", "1"),
            ("PREPARE z AS SELECT i FROM t1", "0"),
            ("COPY (SELECT i FROM t1) TO STDOUT", "0"),
        ],
    )
}
