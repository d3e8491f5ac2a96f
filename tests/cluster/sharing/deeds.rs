//! What a session may do to a server connection, and what it must find again afterwards.

/// Something one session does.
pub(super) struct Deed {
    /// Statements, one after the other.
    pub(super) texts: &'static [&'static str],
    /// What it must see then, wherever it runs.
    pub(super) then: &'static [(&'static str, &'static str)],
    /// Whether the session may keep its server connection.
    pub(super) may_pin: bool,
}

const fn follows(
    texts: &'static [&'static str],
    then: &'static [(&'static str, &'static str)],
) -> Deed {
    Deed {
        texts,
        then,
        may_pin: false,
    }
}

const fn pins(
    texts: &'static [&'static str],
    then: &'static [(&'static str, &'static str)],
) -> Deed {
    Deed {
        texts,
        then,
        may_pin: true,
    }
}

/// State that goes with the session, so that others get the connection.
pub(super) const FOLLOWING: &[Deed] = &[
    follows(&["SET work_mem = '7MB'"], &[("SHOW work_mem", "7MB")]),
    follows(
        &["set session WORK_MEM to '7MB'", "RESET work_mem"],
        &[("SHOW work_mem", "4MB")],
    ),
    follows(
        &["SET my.own = 'mine'"],
        &[("SELECT current_setting('my.own', true)", "mine")],
    ),
    follows(
        &[
            "SET search_path = nowhere",
            "SET TIME ZONE 'Asia/Tokyo'",
            "SET datestyle = German",
        ],
        &[
            ("SHOW search_path", "nowhere"),
            ("SHOW TimeZone", "Asia/Tokyo"),
            ("SELECT '2024-02-03'::date", "03.02.2024"),
        ],
    ),
    follows(
        &[
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ],
        &[
            ("SHOW transaction_isolation", "repeatable read"),
            ("SHOW transaction_read_only", "on"),
        ],
    ),
    follows(
        &[
            "SET default_transaction_isolation = 'repeatable read'",
            "BEGIN",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE",
            "ROLLBACK",
        ],
        &[
            ("SHOW transaction_isolation", "repeatable read"),
            ("SHOW transaction_read_only", "off"),
        ],
    ),
    follows(
        &[
            "BEGIN",
            "SET LOCAL SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "COMMIT",
        ],
        &[("SHOW default_transaction_read_only", "off")],
    ),
    follows(&["SET ROLE alice"], &[("SELECT current_user", "alice")]),
    follows(
        &["SET ROLE alice", "RESET ROLE"],
        &[("SELECT current_user", "postgres")],
    ),
    follows(
        &[
            "BEGIN",
            "SET LOCAL work_mem = '7MB'",
            "SET LOCAL ROLE alice",
            "COMMIT",
        ],
        &[
            ("SHOW work_mem", "4MB"),
            ("SELECT current_user", "postgres"),
        ],
    ),
    follows(
        &[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SET ROLE alice",
            "ROLLBACK",
        ],
        &[
            ("SHOW work_mem", "4MB"),
            ("SELECT current_user", "postgres"),
        ],
    ),
    follows(
        &[
            "BEGIN",
            "SET work_mem = '6MB'",
            "SAVEPOINT s",
            "SET work_mem = '7MB'",
            "ROLLBACK TO s",
            "COMMIT",
        ],
        &[("SHOW work_mem", "6MB")],
    ),
    follows(
        &["BEGIN", "SET work_mem = '7MB'", "SELECT 1/0", "COMMIT"],
        &[("SHOW work_mem", "4MB")],
    ),
    follows(
        &["SET work_mem = '7MB'; SELECT 1/0"],
        &[("SHOW work_mem", "4MB")],
    ),
    follows(
        &["SET work_mem = '6MB'; SET work_mem = '7MB'"],
        &[("SHOW work_mem", "7MB")],
    ),
    follows(
        &["PREPARE secret AS SELECT 'the first one''s'"],
        &[("EXECUTE secret", "the first one's")],
    ),
    follows(
        &[
            "PREPARE secret AS SELECT 1",
            "DEALLOCATE secret",
            "PREPARE secret AS SELECT 2",
        ],
        &[("EXECUTE secret", "2")],
    ),
    follows(
        &["SET work_mem = '7MB'", "DISCARD ALL"],
        &[
            ("SHOW work_mem", "4MB"),
            ("SHOW search_path", "\"$user\", public"),
        ],
    ),
    follows(
        &["SET work_mem = '7MB'", "RESET ALL"],
        &[("SHOW work_mem", "4MB")],
    ),
];

/// State that may bind the session to its server connection, or follow it.
pub(super) const BINDING: &[Deed] = &[
    pins(
        &["SELECT set_config('work_mem', '7MB', false)"],
        &[("SHOW work_mem", "7MB")],
    ),
    pins(
        &["SELECT set_config('work_mem', '7MB', false), 1/0"],
        &[("SHOW work_mem", "4MB")],
    ),
    pins(
        &["CREATE TEMP TABLE private AS SELECT 5 AS a"],
        &[
            ("SELECT a FROM private", "5"),
            ("SELECT a FROM pg_temp.private", "5"),
        ],
    ),
    pins(
        &["SELECT 5 AS a INTO TEMP private"],
        &[("SELECT a FROM private", "5")],
    ),
    pins(
        &["BEGIN", "CREATE TEMP TABLE private (a int)", "ROLLBACK"],
        &[("SELECT to_regclass('private') IS NULL", "t")],
    ),
    pins(
        &["SELECT pg_advisory_lock(4711, 1)"],
        &[
            (OWN_LOCKS, "1"),
            ("SELECT pg_advisory_unlock(4711, 1)", "t"),
        ],
    ),
    pins(
        &[
            "BEGIN",
            "SELECT pg_advisory_xact_lock(4711, 1)",
            "SELECT pg_advisory_lock(4711, 2)",
            "COMMIT",
        ],
        &[(OWN_LOCKS, "1")],
    ),
    pins(
        &["DECLARE held CURSOR WITH HOLD FOR SELECT 'row'"],
        &[("FETCH held", "row")],
    ),
    pins(
        &["SELECT nextval('sq')"],
        &[("SELECT currval('sq') = lastval()", "t")],
    ),
    pins(
        &["INSERT INTO numbered (a) VALUES (1)"],
        &[("SELECT currval('numbered_id_seq') = lastval()", "t")],
    ),
    pins(
        &["SET SESSION AUTHORIZATION alice"],
        &[("SELECT session_user", "alice")],
    ),
    pins(
        &["DO $$ BEGIN PERFORM set_config('work_mem', '7MB', false); END $$"],
        &[("SHOW work_mem", "7MB")],
    ),
    pins(
        &["DO $$ BEGIN SET ROLE alice; END $$"],
        &[("SELECT current_user", "alice")],
    ),
    pins(
        &["DO $$ BEGIN EXECUTE 'SET my.own = ''mine'''; END $$"],
        &[("SELECT current_setting('my.own', true)", "mine")],
    ),
    pins(
        &["DO $$ BEGIN CREATE TEMP TABLE private AS SELECT 5 AS a; END $$"],
        &[("SELECT a FROM private", "5")],
    ),
    pins(
        &["DO $$ BEGIN PERFORM pg_advisory_lock(4711, 1); END $$"],
        &[(OWN_LOCKS, "1")],
    ),
    pins(
        &["DO $$ BEGIN EXECUTE 'PREPARE secret AS SELECT 3'; END $$"],
        &[("EXECUTE secret", "3")],
    ),
    pins(
        &["SELECT sets('work_mem', '7MB')"],
        &[("SHOW work_mem", "7MB")],
    ),
    pins(
        &["SELECT sets('role', 'alice')"],
        &[("SELECT current_user", "alice")],
    ),
    pins(&["SELECT locks(4711)"], &[(OWN_LOCKS, "1")]),
    pins(&["SELECT makes()"], &[("SELECT a FROM private", "5")]),
    pins(&["CALL sets_too('7MB')"], &[("SHOW work_mem", "7MB")]),
    pins(
        &[
            "SET work_mem = '7MB'",
            "CREATE TEMP TABLE private (a int)",
            "DISCARD ALL",
        ],
        &[
            ("SHOW work_mem", "4MB"),
            ("SELECT to_regclass('private') IS NULL", "t"),
        ],
    ),
    pins(
        &["SET default_transaction_isolation = 'repeatable read'"],
        &[("SHOW transaction_isolation", "repeatable read")],
    ),
];

pub(super) const OWN_LOCKS: &str = "SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 4711 AND pid = pg_backend_pid()";

/// What the functions above are.
pub(super) const SETUP: &str = "
    CREATE SEQUENCE sq;
    CREATE TABLE numbered (id serial, a int);
    CREATE FUNCTION sets(what text, value text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RETURN set_config(what, value, false); END $$;
    CREATE FUNCTION locks(key int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_lock(key, 1); RETURN key; END $$;
    CREATE FUNCTION makes() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN CREATE TEMP TABLE private AS SELECT 5 AS a; RETURN 1; END $$;
    CREATE PROCEDURE sets_too(value text) LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('work_mem', value, false); END $$;";

/// What somebody else sees, always as in a session of its own.
pub(super) const PROBES: &[&str] = &[
    "SHOW work_mem",
    "SELECT current_setting('my.own', true) IS NULL OR current_setting('my.own', true) = ''",
    "SELECT current_user, session_user, current_schemas(false)",
    "SHOW search_path",
    "SHOW TimeZone",
    "SHOW DateStyle",
    "SHOW transaction_read_only",
    "SHOW transaction_isolation",
    "SELECT * FROM private",
    "SELECT * FROM pg_temp.private",
    "EXECUTE secret",
    "DEALLOCATE secret",
    "FETCH held",
    "SELECT count(*) FROM pg_cursors",
    "SELECT name FROM pg_prepared_statements WHERE name NOT LIKE 'pgsteer_%'",
    "SELECT * FROM pg_listening_channels()",
    "SELECT currval('sq')",
    "SELECT currval('numbered_id_seq')",
    "SELECT lastval()",
    "SELECT pg_advisory_unlock(4711, 1)",
    OWN_LOCKS,
];
