//! A table of statements and what they are.

use crate::analysis::bits::{
    CATALOG, LOCKING, PARAMETERS, READS, SEVERAL, UNKNOWN_FUNCTION, VOLATILE_FUNCTION, WRITES,
};
use crate::{Class, Effect, Isolation, PinReason, TransactionMode, analyze};

const SHAPE: u64 = READS
    | WRITES
    | LOCKING
    | VOLATILE_FUNCTION
    | SEVERAL
    | PARAMETERS
    | CATALOG
    | UNKNOWN_FUNCTION;

const STATEMENTS: &[(&str, Class, u64)] = &[
    ("SELECT 1", Class::Select, READS),
    (
        "select abalance from pgbench_accounts where aid = $1",
        Class::Select,
        READS | PARAMETERS,
    ),
    ("VALUES (1)", Class::Select, READS),
    ("TABLE t1", Class::Select, READS),
    ("(SELECT 4)", Class::Select, READS),
    ("WITH a AS (SELECT 5) SELECT * FROM a", Class::Select, READS),
    (
        "WITH RECURSIVE a(n) AS (SELECT 1) SELECT * FROM a AS b(m)",
        Class::Select,
        READS,
    ),
    (
        "WITH w AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM w",
        Class::Select,
        WRITES,
    ),
    ("SELECT 6 FOR UPDATE", Class::Select, READS | LOCKING),
    (
        "SELECT * FROM (SELECT 1 FOR NO KEY UPDATE) a",
        Class::Select,
        READS | LOCKING,
    ),
    ("SELECT * FROM t FOR SHARE", Class::Select, READS | LOCKING),
    ("SELECT 7 INTO TEMP zz", Class::Select, WRITES),
    (
        "SELECT now(), count(*), lower('a'), substring('a' from 1)",
        Class::Select,
        READS,
    ),
    (
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b)",
        Class::Select,
        READS,
    ),
    (
        "SELECT 'a'::varchar(10), 'b'::geometry(Point)",
        Class::Select,
        READS,
    ),
    (
        "SELECT nextval('s')",
        Class::Select,
        READS | VOLATILE_FUNCTION,
    ),
    (
        "SELECT (SELECT pg_catalog.nextval('s'))",
        Class::Select,
        READS | VOLATILE_FUNCTION,
    ),
    (
        "SELECT txid_current()",
        Class::Select,
        READS | VOLATILE_FUNCTION,
    ),
    (
        "SELECT * FROM t1, LATERAL (SELECT random()) x",
        Class::Select,
        READS | VOLATILE_FUNCTION,
    ),
    ("SELECT f(1)", Class::Select, READS | UNKNOWN_FUNCTION),
    (
        "SELECT s.lower('x')",
        Class::Select,
        READS | UNKNOWN_FUNCTION,
    ),
    ("SELECT * FROM pg_class", Class::Select, READS | CATALOG),
    ("EXPLAIN SELECT 8", Class::Explain, READS),
    (
        "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
        Class::Explain,
        WRITES,
    ),
    ("SHOW work_mem", Class::Show, READS),
    ("SET work_mem = '1MB'", Class::Setting, 0),
    ("COPY t1 TO STDOUT", Class::Copy, READS),
    (
        "COPY (SELECT nextval('s')) TO STDOUT",
        Class::Copy,
        READS | VOLATILE_FUNCTION,
    ),
    ("COPY t1 FROM STDIN", Class::Copy, WRITES),
    ("COPY t1 TO '/tmp/x'", Class::Copy, WRITES),
    (
        "COPY (INSERT INTO t VALUES (1) RETURNING a) TO STDOUT",
        Class::Copy,
        WRITES,
    ),
    ("INSERT INTO t VALUES (1)", Class::Insert, WRITES),
    ("UPDATE t SET a = 1", Class::Update, WRITES),
    ("DELETE FROM t", Class::Delete, WRITES),
    ("CREATE TABLE t (a int)", Class::SchemaChange, WRITES),
    ("TRUNCATE t", Class::SchemaChange, WRITES),
    ("BEGIN", Class::Transaction, 0),
    ("LOCK t", Class::Lock, WRITES),
    ("DO $$ BEGIN END $$", Class::Call, WRITES),
    ("LISTEN x", Class::Notify, WRITES),
    ("PREPARE p AS SELECT 10", Class::Prepare, READS),
    ("EXECUTE p", Class::Execute, WRITES),
    (
        "SELECT app.check(1)",
        Class::Select,
        READS | UNKNOWN_FUNCTION,
    ),
    ("COMMIT PREPARED 'x'", Class::Transaction, WRITES),
    ("SELECT 1; SELECT 2", Class::Select, SEVERAL | WRITES),
    ("SELEC 1", Class::Unknown, WRITES),
    (";", Class::Empty, READS),
    ("", Class::Empty, READS),
];

#[test]
fn classes_and_traits() {
    for &(text, class, traits) in STATEMENTS {
        let analysis = analyze(text.as_bytes());
        assert_eq!(analysis.class, class, "{text}");
        assert_eq!(analysis.traits & SHAPE, traits, "{text}");
    }
}

fn set(name: &str, local: bool, text: &str) -> Effect {
    Effect::Set {
        name: name.into(),
        local,
        text: text.into(),
    }
}

fn mode(read_only: Option<bool>, isolation: Option<Isolation>) -> TransactionMode {
    TransactionMode {
        read_only,
        isolation,
    }
}

const SERIALIZABLE: &str = "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY";

#[test]
fn effects() {
    let serializable = mode(Some(true), Some(Isolation::Serializable));
    let repeatable = mode(None, Some(Isolation::RepeatableRead));
    let begin = |mode, text: &str| Effect::Begin {
        mode,
        text: text.into(),
    };
    let set_transaction = |mode, text: &str| Effect::SetTransaction {
        mode,
        text: text.into(),
    };
    for (text, effect) in [
        ("BEGIN;", begin(mode(None, None), "BEGIN")),
        (SERIALIZABLE, begin(serializable, SERIALIZABLE)),
        (
            " SET TRANSACTION ISOLATION LEVEL REPEATABLE READ ;",
            set_transaction(
                repeatable,
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            ),
        ),
        (
            "SET transaction_read_only = off",
            set_transaction(mode(Some(false), None), "SET transaction_read_only = off"),
        ),
        ("COMMIT AND CHAIN", Effect::Commit { chain: true }),
        ("ABORT", Effect::Rollback { chain: false }),
        ("SAVEPOINT a", Effect::Savepoint("a".into())),
        ("ROLLBACK TO a", Effect::RollbackTo("a".into())),
        (
            "SET LOCAL Work_Mem = 1",
            set("work_mem", true, "SET LOCAL Work_Mem = 1"),
        ),
        (
            "RESET work_mem",
            set("work_mem", false, "RESET \"work_mem\""),
        ),
        (
            "SET Work_Mem TO DEFAULT",
            set("work_mem", false, "RESET \"work_mem\""),
        ),
        (
            "SET TIME ZONE 'UTC'",
            set("timezone", false, "SET TIME ZONE 'UTC'"),
        ),
        ("SET ROLE x", set("role", false, "SET ROLE x")),
        (
            "SELECT set_config('a', $1, true)",
            Effect::SetByFunction { local: true },
        ),
        (
            "SELECT set_config('a', 'b', false)",
            Effect::SetByFunction { local: false },
        ),
        ("RESET ALL", Effect::ResetAll),
        ("DISCARD ALL", Effect::DiscardAll),
    ] {
        assert_eq!(
            analyze(text.as_bytes()).sole_effect(),
            Some(&effect),
            "{text}"
        );
    }
}

#[test]
fn session_characteristics_are_parameters() {
    let text = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, \
                READ ONLY, NOT DEFERRABLE";
    let isolation = "SET default_transaction_isolation = 'repeatable read'";
    let read_only = "SET default_transaction_read_only = on";
    let deferrable = "SET default_transaction_deferrable = off";
    let expected = [
        set("default_transaction_isolation", false, isolation),
        set("default_transaction_read_only", false, read_only),
        set("default_transaction_deferrable", false, deferrable),
    ];
    assert_eq!(*analyze(text.as_bytes()).effects, expected);
    let local = "SET LOCAL SESSION CHARACTERISTICS AS TRANSACTION READ WRITE";
    let read_write = "SET LOCAL default_transaction_read_only = off";
    let expected = [set("default_transaction_read_only", true, read_write)];
    assert_eq!(*analyze(local.as_bytes()).effects, expected);
}

#[test]
fn hostile_texts_are_writes_and_do_not_panic() {
    let nested = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let long = format!("SELECT * FROM t WHERE a IN ({}1)", "1,".repeat(5_000_000));
    for text in [
        nested.as_bytes(),
        long.as_bytes(),
        b"SELECT \0 1",
        b"SELECT '\xff'",
    ] {
        assert!(!analyze(text).is_proven_read());
    }
}

#[test]
fn values_of_set_statements() {
    for (text, expected) in [
        (
            "SET search_path = a, \"B c\", 'd'",
            Some("\"a\", \"B c\", \"d\""),
        ),
        ("SET search_path TO DEFAULT", None),
        ("RESET search_path", None),
        (
            "SELECT pg_catalog.set_config('search_path','a,b',false)",
            Some("a,b"),
        ),
        ("SELECT 1", None),
        ("SELEC", None),
    ] {
        assert_eq!(crate::set_value(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn what_a_rollback_and_a_read_only_mode_look_like() {
    use crate::analysis::bits::{ROLLBACK_TO, SETS_READ_ONLY};
    let has = |text: &str, bit| analyze(text.as_bytes()).traits & bit != 0;
    assert!(has("ROLLBACK TO a", ROLLBACK_TO) && !has("SAVEPOINT a", ROLLBACK_TO));
    assert!(has("SET TRANSACTION READ ONLY", SETS_READ_ONLY));
    assert!(has("SET transaction_read_only = on", SETS_READ_ONLY));
    assert!(!has("SET TRANSACTION READ WRITE", SETS_READ_ONLY));
    assert!(!has(
        "SET TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE",
        SETS_READ_ONLY
    ));
    assert!(!has("SET work_mem = 1", SETS_READ_ONLY));
}

#[test]
fn what_execute_runs_is_found_inside_others() {
    for (text, expected) in [
        ("EXECUTE s(1)", Some("s")),
        ("EXPLAIN (VERBOSE) EXECUTE s(NULL)", Some("s")),
        ("CREATE TABLE t AS EXECUTE s", Some("s")),
        ("EXPLAIN CREATE TABLE t AS EXECUTE s", Some("s")),
        ("EXPLAIN SELECT 1", None),
    ] {
        let analysis = analyze(text.as_bytes());
        assert_eq!(analysis.executes.as_deref(), expected, "{text}");
    }
}

#[test]
fn whatever_is_temporary_keeps_the_session_on_its_server() {
    let pins = Effect::Pin(PinReason::TemporaryRelation);
    for (text, expected) in [
        ("CREATE TEMP TABLE t (a int)", true),
        ("CREATE TABLE pg_temp.t (a int)", true),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DROP", false),
        ("CREATE TYPE pg_temp.t AS (a int)", true),
        ("CREATE TYPE pg_temp.t AS RANGE (subtype = float8)", true),
        ("CREATE TYPE pg_temp.t AS ENUM ('a')", true),
        ("CREATE DOMAIN pg_temp.d AS int CHECK (value > 0)", true),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            true,
        ),
        (
            "CREATE OR REPLACE PROCEDURE pg_temp_3.p() LANGUAGE sql AS ''",
            true,
        ),
        (
            "CREATE OPERATOR pg_temp.=== (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)",
            true,
        ),
        (
            "CREATE TYPE pg_temp.t AS (a int); CREATE TEMP TABLE x (a int) ON COMMIT DROP",
            true,
        ),
        (
            "CREATE TEMP TABLE x (a int) ON COMMIT DROP; CREATE TABLE y (a int)",
            false,
        ),
        (
            "CREATE FUNCTION pg_temp_cleanup() RETURNS int LANGUAGE sql AS ''",
            false,
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = pg_temp AS ''",
            false,
        ),
        (
            "CREATE FUNCTION pg_template.f() RETURNS int LANGUAGE sql AS ''",
            false,
        ),
        ("SELECT pg_temp.f()", false),
        ("CREATE TABLE t (a text DEFAULT 'pg_temp')", false),
    ] {
        let effects = analyze(text.as_bytes()).effects;
        assert_eq!(effects.contains(&pins), expected, "{text}: {effects:?}");
    }
}

#[test]
fn who_notifies_is_known_wherever_in_a_text_it_stands() {
    for (text, expected) in [
        ("NOTIFY c", true),
        ("SELECT 1; NOTIFY c, 'text'", true),
        ("SELECT pg_notify('c', 'text')", true),
        ("INSERT INTO t SELECT pg_catalog.pg_notify($1, $2)", true),
        ("WITH n AS (SELECT pg_notify('c', '')) SELECT 1", true),
        ("LISTEN c", false),
        ("UNLISTEN *", false),
        ("SELECT 'NOTIFY c'", false),
    ] {
        assert_eq!(analyze(text.as_bytes()).notifies, expected, "{text}");
    }
}

#[test]
fn some_statements_need_a_database_for_themselves() {
    for (text, expected) in [
        ("DROP DATABASE IF EXISTS d", Some("d")),
        ("ALTER DATABASE d RENAME TO e", Some("d")),
        ("ALTER DATABASE d SET TABLESPACE s", Some("d")),
        ("CREATE DATABASE e TEMPLATE d", Some("d")),
        ("CREATE DATABASE e", None),
        ("ALTER TABLE d RENAME TO e", None),
        ("ALTER DATABASE d CONNECTION LIMIT 3", None),
    ] {
        let analysis = analyze(text.as_bytes());
        assert_eq!(analysis.needs_alone.as_deref(), expected, "{text}");
    }
}
