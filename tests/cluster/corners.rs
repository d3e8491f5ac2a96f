//! Corners of the protocol in which the proxy has to do what a server would, although it answers some
//! messages itself and several servers answer the others: the same programs, directly and through it.

use anyhow::Result;

use crate::support::{Login, Options, Wire, cluster, database, msg, runtime};

/// What is sent, in steps whose answers are awaited.
type Program = (&'static str, Vec<Vec<u8>>);

const SETUP: &str = "
CREATE TABLE t (a int PRIMARY KEY);
INSERT INTO t SELECT generate_series(1, 3);
CREATE SEQUENCE sq;
CREATE SCHEMA elsewhere;
CREATE FUNCTION sets(what text, value text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RETURN set_config(what, value, false); END $$";

fn query(text: &str) -> Vec<u8> {
    msg::query(text)
}

fn cat(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.concat()
}

fn execute(portal: &str) -> Vec<u8> {
    msg::execute(portal, 0)
}

/// Parse, Bind and Execute.
fn whole(name: &str, portal: &str, text: &str) -> Vec<u8> {
    cat(&[
        msg::parse(name, text),
        msg::bind(portal, name, &[]),
        execute(portal),
    ])
}

fn synced(messages: &[Vec<u8>]) -> Vec<u8> {
    cat(&[messages.concat(), msg::sync()])
}

fn transactions() -> Vec<Program> {
    // Of this one the proxy knows that it does not exist, and no server is asked.
    let refused = || synced(&[msg::bind("", "nowhere", &[])]);
    vec![
        (
            "the end of a failed transaction, and more, in one string",
            vec![
                query("BEGIN"),
                refused(),
                query("COMMIT; SELECT 1; SELECT 2"),
            ],
        ),
        (
            "something else before the end of a failed transaction",
            vec![query("BEGIN"), refused(), query("SELECT 1; COMMIT")],
        ),
        (
            "what a failed transaction set is undone by COMMIT in a string",
            vec![
                query("BEGIN"),
                query("SET work_mem = '5MB'"),
                query("SELECT 1/0"),
                query("COMMIT; SELECT nextval('sq') IS NOT NULL"),
                query("SHOW work_mem"),
            ],
        ),
        (
            "a string ends a transaction that failed at a read, and writes",
            vec![
                query("BEGIN"),
                query("SELECT 1/0"),
                query("COMMIT; INSERT INTO t VALUES (99)"),
                query("BEGIN"),
                query("SAVEPOINT s"),
                query("SELECT 1/0"),
                query("ROLLBACK TO s; DELETE FROM t WHERE a = 99"),
                query("COMMIT"),
                query("SELECT count(*) FROM t"),
            ],
        ),
        (
            "the same of one with a snapshot and a savepoint",
            vec![
                query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
                query("SAVEPOINT s"),
                query("SELECT 1/0"),
                query("SELECT 1; COMMIT"),
                query("ROLLBACK; INSERT INTO t VALUES (97)"),
                query("DELETE FROM t WHERE a = 97"),
            ],
        ),
        (
            "a failed transaction is chained",
            vec![
                query("BEGIN ISOLATION LEVEL REPEATABLE READ"),
                refused(),
                query("COMMIT AND CHAIN"),
                query("SHOW transaction_isolation"),
                query("ROLLBACK"),
            ],
        ),
        (
            "an empty query in a failed transaction",
            vec![
                query("BEGIN"),
                refused(),
                query(";"),
                synced(&[whole("", "", "-- nothing")]),
                query("ROLLBACK"),
            ],
        ),
    ]
}

fn ends_of_batches() -> Vec<Program> {
    vec![
        (
            "a query is one transaction with what no Sync has ended",
            vec![
                cat(&[whole("", "", "DELETE FROM t"), query("ROLLBACK TO s")]),
                query("SELECT count(*) FROM t"),
                cat(&[whole("", "", "SET work_mem = '3MB'"), query("SELECT 1/0")]),
                query("SHOW work_mem"),
                cat(&[whole("", "", "DELETE FROM t WHERE a = 1"), query("BEGIN")]),
                query("ROLLBACK"),
                query("SELECT count(*) FROM t"),
            ],
        ),
        (
            "a transaction begins behind a read and ROLLBACK, and writes later",
            vec![
                synced(&[
                    whole("", "", "SELECT count(*) FROM t"),
                    whole("", "", "ROLLBACK"),
                    whole("", "", "BEGIN"),
                ]),
                query("SHOW work_mem; PREPARE q AS SELECT count(*) FROM t"),
                query("SELECT count(*) FROM t"),
                query("DELETE FROM t WHERE a = 1"),
                query("ROLLBACK"),
            ],
        ),
        (
            "SET becomes part of the transaction that begins in the same batch",
            vec![
                synced(&[
                    msg::parse("read", "SELECT a FROM t"),
                    whole("", "", "SET work_mem = '5MB'"),
                    whole("", "", "BEGIN"),
                ]),
                query("ROLLBACK"),
                query("SHOW work_mem"),
            ],
        ),
        (
            "BEGIN is bound before something is parsed, and executed after",
            vec![
                synced(&[
                    msg::parse("", "BEGIN"),
                    msg::bind("p", "", &[]),
                    msg::parse("read", "SELECT a FROM t"),
                    execute("p"),
                ]),
                query("ROLLBACK"),
            ],
        ),
    ]
}

fn portals() -> Vec<Program> {
    vec![
        (
            "BEGIN is executed twice",
            vec![
                synced(&[whole("", "p", "BEGIN"), execute("p")]),
                query("ROLLBACK"),
            ],
        ),
        (
            "BEGIN is executed again in a failed transaction",
            vec![
                synced(&[whole("", "p", "BEGIN")]),
                query("SELECT 1/0"),
                synced(&[execute("p")]),
                query("ROLLBACK"),
            ],
        ),
        (
            "BEGIN is bound in a failed transaction",
            vec![
                synced(&[whole("s", "p", "BEGIN"), execute("p")]),
                synced(&[msg::bind("q", "s", &[])]),
                query("ROLLBACK"),
            ],
        ),
        (
            "COMMIT is executed again, which has ended with its portal",
            vec![
                query("BEGIN"),
                synced(&[whole("", "p", "COMMIT"), execute("p")]),
                query("SELECT 1"),
            ],
        ),
        (
            "ROLLBACK is executed twice",
            vec![
                query("BEGIN"),
                synced(&[whole("", "p", "ROLLBACK"), execute("p")]),
            ],
        ),
    ]
}

fn names_of_portals() -> Vec<Program> {
    vec![
        (
            "a portal is executed in a failed transaction",
            vec![
                query("BEGIN"),
                synced(&[
                    msg::parse("s", "SELECT a FROM t ORDER BY a"),
                    msg::bind("p", "s", &[]),
                ]),
                synced(&[msg::parse("s", "SELECT 1")]),
                synced(&[execute("p")]),
                synced(&[execute("q")]),
                query("ROLLBACK"),
            ],
        ),
        (
            "a name of a portal is used again for what runs elsewhere",
            vec![synced(&[
                msg::parse("w", "SELECT nextval('sq')"),
                msg::bind("p", "w", &[]),
                msg::parse("r", "SELECT a FROM t"),
                msg::bind("p", "r", &[]),
            ])],
        ),
        (
            "a name of a portal is free again behind CLOSE",
            vec![
                query("BEGIN"),
                synced(&[
                    msg::parse("w", "SELECT nextval('sq')"),
                    msg::bind("p", "w", &[]),
                ]),
                query("CLOSE p"),
                synced(&[
                    msg::parse("r", "SELECT a FROM t ORDER BY a"),
                    msg::bind("p", "r", &[]),
                ]),
                query("COMMIT"),
            ],
        ),
    ]
}

fn settings() -> Vec<Program> {
    let name = "SELECT current_setting('application_name'), current_setting('search_path')";
    vec![
        (
            "RESET ALL is not alone in its string",
            vec![
                query("RESET ALL; SELECT 1"),
                query(name),
                query("SET application_name = 'other'; RESET ALL"),
                query(name),
                query("RESET ALL; SET application_name = 'third'"),
                query(name),
            ],
        ),
        (
            "DISCARD ALL between others, and BEGIN behind it",
            vec![
                query("BEGIN"),
                query("SELECT 1/0"),
                synced(&[
                    whole("", "", "ROLLBACK"),
                    whole("", "", "DISCARD ALL"),
                    whole("", "", "BEGIN"),
                ]),
                query("COMMIT"),
                query(name),
            ],
        ),
        (
            "a lock outlives the error of the statement that took it",
            vec![
                query("SELECT pg_advisory_lock(9), 1/0"),
                query(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 9 AND pid = pg_backend_pid()",
                ),
            ],
        ),
        (
            "another user has no role",
            vec![
                query("SELECT nextval('sq') IS NOT NULL; SET ROLE pg_monitor"),
                query("RESET SESSION AUTHORIZATION"),
                query("SELECT current_user"),
            ],
        ),
        (
            "a function sets something in a session that keeps its server already",
            vec![
                query("SELECT pg_advisory_lock(7)"),
                query("SELECT sets('role', 'pg_monitor')"),
                query("SELECT current_user"),
            ],
        ),
    ]
}

fn statements() -> Vec<Program> {
    vec![
        (
            "PREPARE of the name its own statement has",
            vec![
                synced(&[
                    msg::parse("s", "PREPARE s AS SELECT 1"),
                    msg::bind("", "s", &[]),
                ]),
                synced(&[msg::bind("", "s", &[]), execute("")]),
            ],
        ),
        (
            "PREPARE of a name that the protocol had and DEALLOCATE took back",
            vec![
                synced(&[msg::parse("s", "SELECT nextval('sq')")]),
                query("DEALLOCATE s"),
                query("PREPARE s AS SELECT 'by SQL'"),
                query("EXECUTE s"),
                query("DEALLOCATE s"),
            ],
        ),
        (
            "EXPLAIN and CREATE TABLE AS EXECUTE what was prepared elsewhere",
            vec![
                synced(&[whole("s", "", "SELECT a FROM t ORDER BY a")]),
                query("EXPLAIN (COSTS OFF) EXECUTE s"),
                query("CREATE TABLE copied AS EXECUTE s"),
                query("SELECT count(*) FROM copied"),
                query("DROP TABLE copied"),
            ],
        ),
        (
            "EXECUTE of what was prepared for a read that ran elsewhere",
            vec![
                synced(&[whole("s", "", "SELECT a FROM t ORDER BY a")]),
                query("EXECUTE s"),
            ],
        ),
        (
            "a statement is used behind DISCARD ALL",
            vec![
                synced(&[msg::parse("s", "SELECT 1")]),
                synced(&[whole("", "", "DISCARD ALL"), msg::bind("", "s", &[])]),
                synced(&[
                    whole("", "", "DISCARD ALL"),
                    msg::parse("", "SELECT 2"),
                    msg::bind("", "", &[]),
                    execute(""),
                ]),
            ],
        ),
        (
            "too few values for a statement that means nothing any more",
            vec![
                synced(&[msg::parse("s", "SELECT a FROM t WHERE a = $1")]),
                query("SET search_path = elsewhere"),
                synced(&[msg::bind("", "s", &[])]),
            ],
        ),
    ]
}

/// Everything that is answered to these steps.
fn answers(port: u16, name: &str, steps: &[Vec<u8>]) -> String {
    let mut wire = Wire::open(port);
    let login = Login {
        parameters: &[("application_name", "corners")],
        ..Login::default()
    };
    assert_eq!(wire.log_in(&login, name), None);
    let mut lines = String::new();
    for step in steps {
        wire.send(step);
        for frame in wire.until(b'Z') {
            lines += &frame.shown();
            lines.push('\n');
        }
    }
    lines
}

fn compare(mode: &str) -> Result<()> {
    let name = format!("corners_{mode}");
    let options = Options {
        pool: match mode {
            "session" => "mode = \"session\"",
            _ => "mode = \"transaction\"",
        },
        ..Options::weights([0, 1, 1])
    };
    let proxy = options.start();
    let primary = cluster().primary().port();
    runtime().block_on(database(&name, SETUP))?;
    let mut differences = String::new();
    let all = [
        transactions(),
        ends_of_batches(),
        portals(),
        names_of_portals(),
        settings(),
        statements(),
    ];
    for (what, steps) in all.iter().flatten() {
        let direct = answers(primary, &name, steps);
        let proxied = answers(proxy.port(), &name, steps);
        if direct != proxied {
            differences += &format!("== {what}\ndirect:\n{direct}proxied:\n{proxied}");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    Ok(())
}

#[test]
fn corners_are_as_on_a_server_in_session_mode() -> Result<()> {
    compare("session")
}

#[test]
fn corners_are_as_on_a_server_in_transaction_mode() -> Result<()> {
    compare("transaction")
}
