//! Statements that programs are made of, by what they are about.
//!
//! `{n}` is a small number, `{c}` the number of the client, `{q}` a statement prepared in SQL, `{s}`
//! a savepoint, `{k}` a cursor, `{t}` a text. Whatever is read is ordered, and no statement shows
//! what differs between two servers or two runs.

/// A group of statements that belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    /// It has transactions, so that it is not for statement mode.
    pub(crate) transactions: bool,
    pub(crate) texts: &'static [&'static str],
}

const fn theme(name: &'static str, texts: &'static [&'static str]) -> Theme {
    Theme {
        name,
        transactions: false,
        texts,
    }
}

/// Every program has these.
pub(crate) const DATA: Theme = theme(
    "data",
    &[
        "SELECT id, v FROM p ORDER BY id",
        "SELECT count(*), sum(v) FROM p WHERE id < {n}",
        "SELECT v FROM p WHERE id = {n}",
        "select 'a;b' as \"x\"",
        "INSERT INTO p VALUES ({n}, 1)",
        "INSERT INTO p VALUES ({n} + 100, 2) RETURNING id",
        "UPDATE p SET v = v + 1 WHERE id = {n}",
        "DELETE FROM p WHERE id = {n}",
        "WITH d AS (DELETE FROM p WHERE id = {n} RETURNING v) SELECT * FROM d",
        "TABLE p ORDER BY 1",
        "VALUES (1, 'a'), (2, NULL)",
        "SELECT repeat('x', {n} * 1000)",
        "SELECT 1 WHERE false",
        "EXPLAIN (COSTS OFF) SELECT v FROM p",
        "MERGE INTO p USING (SELECT {n} AS id) n ON p.id = n.id WHEN MATCHED THEN UPDATE SET v = 0",
        "/* one */ SELECT {n} -- two",
        "",
        ";",
        "-- nothing",
    ],
);

pub(crate) const ERRORS: Theme = theme(
    "errors",
    &[
        "SELECT 1/0",
        "SELECT * FROM nowhere",
        "SELEC",
        "SELECT 'x'::int",
        "SELECT 1 FROM p WHERE",
        "SELECT id, 1/(id-{n}) FROM p ORDER BY id",
        "INSERT INTO p VALUES ({n}, 1)",
        "SELECT 'unfinished",
        "EXECUTE nothing",
        "SELECT $1",
        "DO $$ BEGIN RAISE EXCEPTION 'mine %', {n} USING ERRCODE = 'XX{n}00', HINT = 'none'; END $$",
    ],
);

pub(crate) const TRANSACTIONS: Theme = Theme {
    name: "transactions",
    transactions: true,
    texts: &[
        "BEGIN",
        "BEGIN",
        "BEGIN",
        "BEGIN",
        "begin work",
        "START TRANSACTION",
        "COMMIT",
        "COMMIT",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ROLLBACK",
        "ABORT",
        "COMMIT AND CHAIN",
        "ROLLBACK AND CHAIN",
        "SAVEPOINT {s}",
        "SAVEPOINT {s}",
        "SAVEPOINT {s}",
        "ROLLBACK TO {s}",
        "ROLLBACK TO {s}",
        "ROLLBACK TO SAVEPOINT {s}",
        "RELEASE {s}",
        "SELECT v FROM p WHERE id = {n} FOR UPDATE",
    ],
};

pub(crate) const ISOLATION: Theme = Theme {
    name: "isolation",
    transactions: true,
    texts: &[
        "BEGIN READ ONLY",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN READ WRITE",
        "SHOW transaction_isolation",
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET default_transaction_isolation = 'repeatable read'",
        "SET default_transaction_deferrable = on",
        "RESET default_transaction_isolation",
        "SHOW default_transaction_isolation",
        "SHOW default_transaction_read_only",
    ],
};

pub(crate) const SETTINGS: Theme = theme(
    "settings",
    &[
        "SET work_mem = '{n}MB'",
        "SET SESSION work_mem TO '{n}MB'",
        "set WORK_MEM = {n}000",
        "SET LOCAL work_mem = '{n}MB'",
        "RESET work_mem",
        "SET work_mem TO DEFAULT",
        "SHOW work_mem",
        "SELECT current_setting('work_mem')",
        "SELECT set_config('work_mem', '{n}MB', false)",
        "SELECT set_config('work_mem', '{n}MB', true)",
        "SET work_mem = 'nonsense'",
        "SET no_such_setting = 1",
        "SHOW no_such_setting",
        "SET my.own = 'mine {n}'",
        "SELECT current_setting('my.own', true)",
        "SHOW my.own",
        "RESET my.own",
        "SET DateStyle = 'German'",
        "SET datestyle TO ISO, MDY",
        "SELECT '2024-02-03'::date",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SET TimeZone = 'UTC'",
        "SET LOCAL TIME ZONE {n}",
        "SELECT '2024-02-03 04:05:06+00'::timestamptz",
        "SET application_name = 'program {n}'",
        "SHOW application_name",
        "SET IntervalStyle = 'iso_8601'",
        "SELECT '1 day 2 hours'::interval",
        "SET extra_float_digits = -{n}",
        "SELECT 0.1::float8 + 0.2",
        "SET bytea_output = escape",
        "SELECT '\\x00ff'::bytea",
        "SET client_min_messages = error",
        "SELECT say('{t}')",
        "SET search_path = c{c}, pg_catalog",
        "SET search_path TO other{c}",
        "SET search_path TO other{c}, c{c}",
        "RESET search_path",
        "SHOW search_path",
        "SELECT a FROM only_there",
        "SET statement_timeout = '{n}min'",
        "SHOW statement_timeout",
        "RESET ALL",
        "SET NAMES 'UTF8'",
        "SET client_encoding = 'LATIN1'",
        "SELECT chr(233)",
        "RESET client_encoding",
        "SET standard_conforming_strings = off",
        "SET standard_conforming_strings = on",
        "SELECT E'a\\\\b', 'c'",
        "SET a.b = 1; SET work_mem = '{n}MB'; SELECT 1/0",
        "SET work_mem = '{n}MB'; SELECT current_setting('work_mem')",
        "SELECT 1/0; SET work_mem = '{n}MB'",
        "SELECT name, setting FROM pg_settings WHERE name IN ('work_mem', 'TimeZone') ORDER BY name",
    ],
);

pub(crate) const HIDDEN: Theme = theme(
    "hidden settings",
    &[
        "DO $$ BEGIN PERFORM set_config('work_mem', '{n}MB', false); END $$",
        "DO $$ BEGIN SET work_mem = '{n}MB'; END $$",
        "DO $$ BEGIN SET LOCAL work_mem = '{n}MB'; END $$",
        "DO $$ BEGIN SET ROLE alice; END $$",
        "SELECT sets('work_mem', '{n}MB')",
        "SELECT sets('my.own', '{n}')",
        "SELECT sets('role', 'alice')",
        "SELECT has_own()",
        "CALL proc({n})",
        "SHOW work_mem",
        "SELECT current_setting('my.own', true), current_user",
        "DO $$ BEGIN CREATE TEMP TABLE hidden AS SELECT {n} AS a; END $$",
        "SELECT a FROM hidden",
        "DO $$ BEGIN PERFORM pg_advisory_lock({c}, {n}); END $$",
        "SELECT count(*) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND locktype = 'advisory' AND classid = {c}",
        "DO $$ BEGIN EXECUTE 'PREPARE {q} AS SELECT {n}'; END $$",
        "EXECUTE {q}",
        "RESET ALL",
        "DISCARD ALL",
    ],
);

pub(crate) const ROLES: Theme = theme(
    "roles",
    &[
        "SET ROLE alice",
        "SET ROLE alice",
        "SET LOCAL ROLE alice",
        "SET ROLE nowhere",
        "SET ROLE none",
        "RESET ROLE",
        "SELECT current_user, session_user",
        "SHOW role",
        "SELECT current_setting('role')",
        "SELECT * FROM secret",
        "CREATE TABLE of_alice (a int)",
        "DROP TABLE of_alice",
        "SET SESSION AUTHORIZATION alice",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET SESSION AUTHORIZATION",
        "RESET ALL",
        "DISCARD ALL",
    ],
);

pub(crate) const PREPARED: Theme = theme(
    "prepared in SQL",
    &[
        "PREPARE {q} AS SELECT count(*) FROM p",
        "PREPARE {q} (int) AS SELECT v FROM p WHERE id = $1",
        "PREPARE {q} (int, text) AS SELECT $1 + {n}, $2",
        "PREPARE {q} AS INSERT INTO p VALUES ($1, $2)",
        "PREPARE {q} AS SELECT * FROM d ORDER BY 1",
        "PREPARE {q} AS SELECT * FROM nowhere",
        "EXECUTE {q}",
        "EXECUTE {q}({n})",
        "EXECUTE {q}({n}, '{t}')",
        "EXECUTE {q}({n} + 50, 3)",
        "execute {q} ({n})",
        "DEALLOCATE {q}",
        "DEALLOCATE PREPARE {q}",
        "DEALLOCATE ALL",
        "DISCARD PLANS",
        "DISCARD ALL",
        "EXPLAIN (COSTS OFF) EXECUTE {q}",
        "CREATE TEMP TABLE made AS EXECUTE {q}",
        "EXECUTE protocol",
        "PREPARE s1 AS SELECT 'by SQL'",
        "EXECUTE s1",
        "EXECUTE s2({n})",
        "DEALLOCATE s1",
    ],
);

pub(crate) const TEMPORARY: Theme = theme(
    "temporary tables",
    &[
        "CREATE TEMP TABLE mine AS SELECT {n} AS a",
        "CREATE TEMP TABLE IF NOT EXISTS mine (a int)",
        "CREATE TEMP TABLE short (a int) ON COMMIT DROP",
        "CREATE TEMP TABLE p (id int, v int)",
        "SELECT a FROM mine ORDER BY a",
        "SELECT a FROM pg_temp.mine ORDER BY a",
        "INSERT INTO mine VALUES ({n})",
        "SELECT a INTO TEMP mine FROM (SELECT {n} AS a) x",
        "DROP TABLE mine",
        "DROP TABLE IF EXISTS pg_temp.p",
        "CREATE TEMP VIEW seen AS SELECT id FROM p",
        "SELECT * FROM seen ORDER BY 1",
        "CREATE TEMP SEQUENCE counted",
        "SELECT nextval('counted')",
        "DISCARD TEMP",
        "DISCARD ALL",
    ],
);

pub(crate) const CURSORS: Theme = Theme {
    name: "cursors",
    transactions: true,
    texts: &[
        "DECLARE {k} CURSOR FOR SELECT id FROM p ORDER BY id",
        "DECLARE {k} SCROLL CURSOR FOR SELECT id, v FROM p ORDER BY id",
        "DECLARE {k} CURSOR WITH HOLD FOR SELECT id FROM p ORDER BY id",
        "DECLARE {k} BINARY CURSOR FOR SELECT id FROM p ORDER BY id",
        "FETCH 2 FROM {k}",
        "FETCH NEXT FROM {k}",
        "FETCH ALL IN {k}",
        "MOVE 1 FROM {k}",
        "FETCH BACKWARD 1 FROM {k}",
        "UPDATE p SET v = 0 WHERE CURRENT OF {k}",
        "CLOSE {k}",
        "CLOSE ALL",
        "FETCH 1 FROM p1",
        "SELECT name, is_holdable FROM pg_cursors ORDER BY name",
        "DISCARD ALL",
    ],
};

pub(crate) const SEQUENCES: Theme = theme(
    "sequences",
    &[
        "SELECT nextval('sq')",
        "SELECT nextval('sq')",
        "SELECT currval('sq')",
        "SELECT lastval()",
        "SELECT setval('sq', {n})",
        "INSERT INTO numbered (a) VALUES ({n}) RETURNING id",
        "INSERT INTO numbered (a) VALUES ({n})",
        "SELECT currval(pg_get_serial_sequence('numbered', 'id'))",
        "DISCARD SEQUENCES",
        "DISCARD ALL",
    ],
);

pub(crate) const NOTIFICATIONS: Theme = theme(
    "notifications",
    &[
        "LISTEN ch{c}",
        "LISTEN ch{c}",
        "LISTEN other{c}",
        "UNLISTEN ch{c}",
        "UNLISTEN *",
        "NOTIFY ch{c}",
        "NOTIFY ch{c}, '{t}'",
        "NOTIFY other{c}, '{t}'",
        "SELECT pg_notify('ch{c}', '{t} {n}')",
        "SELECT * FROM pg_listening_channels() ORDER BY 1",
        "DISCARD ALL",
    ],
);

pub(crate) const LOCKS: Theme = theme(
    "advisory locks",
    &[
        "SELECT pg_advisory_lock({c}, {n})",
        "SELECT pg_try_advisory_lock({c}, {n})",
        "SELECT pg_advisory_unlock({c}, {n})",
        "SELECT pg_advisory_xact_lock({c}, {n})",
        "SELECT pg_advisory_lock_shared({c}, {n})",
        "SELECT pg_advisory_unlock_all()",
        "SELECT classid, objid, mode FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND locktype = 'advisory' AND classid = {c} ORDER BY 2, 3",
        "DISCARD ALL",
    ],
);

pub(crate) const SCHEMA: Theme = theme(
    "changes of the schema",
    &[
        "ALTER TABLE d ADD COLUMN x{n} int",
        "ALTER TABLE d DROP COLUMN x{n}",
        "ALTER TABLE d ALTER COLUMN b TYPE bigint USING b::bigint",
        "ALTER TABLE d ALTER COLUMN b TYPE text",
        "SELECT * FROM d ORDER BY 1",
        "SELECT a, b FROM d ORDER BY 1",
        "CREATE TABLE made{n} (a int)",
        "CREATE TABLE made{n} AS SELECT {n} AS a",
        "SELECT * FROM made{n}",
        "DROP TABLE made{n}",
        "DROP TABLE IF EXISTS made{n}",
        "CREATE OR REPLACE VIEW w AS SELECT {n} AS a",
        "SELECT a FROM w",
        "DROP VIEW IF EXISTS w",
        "CREATE INDEX ON d (a)",
        "TRUNCATE d",
        "INSERT INTO d VALUES ({n}, {n})",
        "CREATE TYPE mood{n} AS ENUM ('a', 'b')",
        "SELECT 'a'::mood{n}",
        "DROP TYPE mood{n}",
        "VACUUM d",
        "ANALYZE d",
        "COMMENT ON TABLE d IS '{t}'",
    ],
);

pub(crate) const OBJECTS: Theme = Theme {
    name: "large objects and others",
    transactions: true,
    texts: &[
        "SELECT lo_create(900{c}{n})",
        "SELECT lo_open(900{c}{n}, 393216)",
        "SELECT loread(0, 10)",
        "SELECT lowrite(0, '{t}')",
        "SELECT lo_close(0)",
        "SELECT lo_unlink(900{c}{n})",
        "LOAD 'plpgsql'",
        "SELECT say('{t}')",
        "SELECT pg_catalog.pg_client_encoding()",
        "LOCK p",
        "SET CONSTRAINTS ALL DEFERRED",
        "CHECKPOINT",
        "SELECT setseed(0.{n})",
        "SELECT txid_current() IS NOT NULL",
        "SELECT current_query()",
        "DISCARD ALL",
    ],
};

/// One of these, or some, beside the data.
pub(crate) const THEMES: &[Theme] = &[
    SETTINGS,
    SETTINGS,
    HIDDEN,
    ROLES,
    PREPARED,
    TEMPORARY,
    CURSORS,
    SEQUENCES,
    NOTIFICATIONS,
    LOCKS,
    SCHEMA,
    OBJECTS,
    ISOLATION,
];

/// What a parameter is to look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Int,
    Text,
}

/// Texts with parameters.
pub(crate) const WITH_PARAMETERS: &[(&str, &[Value])] = &[
    ("SELECT $1::int + 1", &[Value::Int]),
    ("SELECT id, v FROM p WHERE id = $1", &[Value::Int]),
    (
        "SELECT id, v FROM p WHERE id > $1 ORDER BY id",
        &[Value::Int],
    ),
    ("INSERT INTO p VALUES ($1, $2)", &[Value::Int, Value::Int]),
    ("SELECT $1::text || $2", &[Value::Text, Value::Text]),
    ("SELECT generate_series(1, $1::int)", &[Value::Int]),
    (
        "UPDATE p SET v = v + $2 WHERE id = $1 RETURNING v",
        &[Value::Int, Value::Int],
    ),
    ("SELECT a, b FROM d WHERE a > $1 ORDER BY a", &[Value::Int]),
    ("SELECT *, $1::int FROM d ORDER BY 1", &[Value::Int]),
    ("SELECT set_config($1, '3MB', false)", &[Value::Text]),
    ("SELECT say($1)", &[Value::Text]),
    ("SELECT 10 / $1::int", &[Value::Int]),
    ("SELECT $1", &[Value::Text]),
    ("DELETE FROM p WHERE id = $1::int", &[Value::Int]),
];

/// COPY, with rows some of which are wrong.
pub(crate) const COPIES_IN: &[&str] = &[
    "COPY p FROM STDIN",
    "COPY p (id, v) FROM STDIN WITH (FORMAT csv)",
    "COPY nowhere FROM STDIN",
    "copy d from stdin",
];

pub(crate) const COPIES_OUT: &[&str] = &[
    "COPY (SELECT id, v FROM p ORDER BY id) TO STDOUT",
    "COPY (SELECT 1/0) TO STDOUT",
    "COPY (SELECT generate_series(1, 3)) TO STDOUT WITH (FORMAT binary)",
    "COPY nowhere TO STDOUT",
];

/// Rows of data for COPY.
pub(crate) const ROWS: &[&str] = &[
    "{n}00\t1\n",
    "20{n}\t2\n",
    "{n}\tx\n",
    "1\n",
    "30{n},3\n",
    "\\.\n",
];
