//! The same conversation with the primary and through the proxy gives the same messages.

use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Result;
use pgsteer_testkit::Cluster;

use crate::support::{
    DEADLINE, Frame, Options, Running, Wire, cluster, database, msg, runtime, shown,
};

/// What a client does.
enum Step {
    /// Sends these bytes in one piece.
    Send(Vec<u8>),
    /// Reads up to the next message of this kind.
    Until(u8),
}

/// Runs a script and writes down everything that came, and at the end what is still true.
fn converse(port: u16, database: &str, steps: &[Step]) -> String {
    let mut wire = Wire::connect(port, database);
    let mut frames = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Send(bytes) => wire.send(bytes),
            Step::Until(tag) => {
                let (more, complete) = wire.read_until(*tag);
                frames.extend(more);
                if !complete {
                    return format!("{}step {number} was not answered\n", shown(&frames));
                }
            }
        }
    }
    wire.send(&msg::terminate());
    while let Ok(frame) = wire.read() {
        frames.push(frame);
    }
    shown(&frames)
}

/// Where two conversations part, with what came before.
fn difference(direct: &str, proxied: &str) -> String {
    let pairs = direct.lines().zip(proxied.lines());
    let common = pairs.take_while(|(a, b)| a == b).count();
    let part = |text: &str| {
        let lines = text.lines().skip(common.saturating_sub(6));
        lines.take(14).collect::<Vec<_>>().join("\n")
    };
    let (direct, proxied) = (part(direct), part(proxied));
    format!("direct:\n{direct}\n\nthrough the proxy:\n{proxied}\n")
}

/// Through this proxy everything goes to the primary.
fn proxy_port(cluster: &Cluster) -> u16 {
    static PROXY: OnceLock<Running> = OnceLock::new();
    let proxy = PROXY.get_or_init(|| Options::weights([1, 0, 0]).start_for(cluster));
    proxy.port()
}

/// Creates the database of these tests the first time.
fn prepared() -> u16 {
    static DATABASE: OnceLock<()> = OnceLock::new();
    let setup = "CREATE TABLE t (a int PRIMARY KEY, b text);
                 INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 20) g;
                 CREATE FUNCTION notice(text) RETURNS int LANGUAGE plpgsql AS
                 $$ BEGIN RAISE NOTICE 'hear: %', $1; RETURN 1; END $$";
    DATABASE.get_or_init(|| {
        runtime()
            .block_on(database("protocol", setup))
            .map(drop)
            .expect("the database can be made");
    });
    proxy_port(cluster())
}

#[track_caller]
fn same(steps: &[Step]) {
    let proxy = prepared();
    let direct = converse(cluster().primary().port(), "protocol", steps);
    let proxied = converse(proxy, "protocol", steps);
    assert!(direct == proxied, "{}", difference(&direct, &proxied));
}

/// One after the other, each up to its ReadyForQuery.
fn queries(texts: &[&str]) -> Vec<Step> {
    let pair = |sql: &&str| [Step::Send(msg::query(sql)), Step::Until(b'Z')];
    texts.iter().flat_map(pair).collect()
}

/// Messages in one piece with Sync behind them, up to its ReadyForQuery.
fn batch(messages: &[Vec<u8>]) -> [Step; 2] {
    let bytes = [messages.concat(), msg::sync()].concat();
    [Step::Send(bytes), Step::Until(b'Z')]
}

fn batches(all: &[&[Vec<u8>]]) -> Vec<Step> {
    all.iter().flat_map(|messages| batch(messages)).collect()
}

#[test]
fn simple_queries() {
    same(&queries(&[
        "SELECT 1",
        "SELECT a, b, NULL FROM t ORDER BY a LIMIT 3",
        "SELECT 1 AS one; SELECT 2 AS two; SELECT 'three'",
        "",
        ";",
        " ; ; ",
        "-- nothing",
        "SELECT FROM t LIMIT 2",
        "SELECT 'a' WHERE false",
        "BEGIN; SELECT 1; COMMIT; SELECT 2",
        "SELECT 1; SELECT 1/0; SELECT 3",
        "BEGIN; SELECT 1/0",
        "SELECT 4",
        "ROLLBACK; SELECT 5",
    ]));
}

#[test]
fn errors_of_simple_queries() {
    same(&queries(&[
        "SELEC 1",
        "SELECT nothing",
        "SELECT * FROM nowhere",
        "SELECT 1/0",
        "INSERT INTO t VALUES (1, 'again')",
        "SELECT 'x'::int",
        "SELECT 1 FROM t WHERE",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT outside",
        "RELEASE outside",
        "EXECUTE nothing",
        "FETCH nothing",
        "SELECT 1",
    ]));
}

#[test]
fn transactions_and_savepoints() {
    same(&queries(&[
        "BEGIN",
        "BEGIN",
        "SELECT 1",
        "COMMIT",
        "COMMIT",
        "BEGIN",
        "SELECT 1/0",
        "SELECT 1",
        "SELEC 1",
        "SHOW work_mem",
        "COMMIT",
        "START TRANSACTION READ ONLY",
        "INSERT INTO t VALUES (100, 'x')",
        "END",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
        "ABORT",
        "BEGIN",
        "INSERT INTO t VALUES (100, 'x')",
        "SAVEPOINT s",
        "INSERT INTO t VALUES (100, 'x')",
        "SELECT 2",
        "ROLLBACK TO s",
        "SELECT count(*) FROM t",
        "RELEASE s",
        "RELEASE s",
        "ROLLBACK TO SAVEPOINT s",
        "ROLLBACK",
        "BEGIN",
        "SELECT 1",
        "COMMIT AND CHAIN",
        "SELECT 1",
        "ROLLBACK AND CHAIN",
        "INSERT INTO t VALUES (101, 'x')",
        "ROLLBACK",
        "COMMIT AND CHAIN",
        "BEGIN; SELECT 1",
        "SAVEPOINT a; SAVEPOINT b; ROLLBACK TO a",
        "COMMIT; SELECT 3",
        "BEGIN ISOLATION LEVEL nonsense",
        "BEGIN",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SELECT 1",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "COMMIT",
        "SELECT count(*) FROM t",
    ]));
}

#[test]
fn transactions_by_the_extended_protocol() {
    let run = |sql: &str| batch(&[msg::statement(sql, &[])]);
    let texts = [
        "BEGIN",
        "BEGIN",
        "SELECT 1",
        "SAVEPOINT s",
        "SELECT 1/0",
        "SELECT 1",
        "ROLLBACK TO s",
        "SELECT 2",
        "RELEASE s",
        "COMMIT",
        "COMMIT",
        "ROLLBACK",
        "BEGIN READ ONLY",
        "INSERT INTO t VALUES (100, 'x')",
        "COMMIT",
        "SAVEPOINT outside",
        "BEGIN",
        "COMMIT AND CHAIN",
        "SELECT 1",
        "ROLLBACK",
        "BEGIN ISOLATION LEVEL nonsense",
        "SELECT 3",
    ];
    same(&texts.into_iter().flat_map(run).collect::<Vec<_>>());
}

#[test]
fn a_pipeline_with_its_own_transaction() {
    let all: Vec<Vec<u8>> = [
        "BEGIN",
        "INSERT INTO t VALUES (200, 'x')",
        "SAVEPOINT s",
        "SELECT count(*) FROM t",
        "ROLLBACK",
        "SELECT count(*) FROM t",
    ]
    .map(|sql| msg::statement(sql, &[]))
    .into();
    same(&batch(&all));
}

#[test]
fn parameters_and_descriptions() {
    same(&batches(&[
        &[
            msg::parse("s", "SELECT $1::int + a, b FROM t WHERE a = $2"),
            msg::describe(b'S', "s"),
        ],
        &[
            msg::bind("", "s", &[Some("10"), Some("3")]),
            msg::describe(b'P', ""),
            msg::execute("", 0),
        ],
        &[msg::bind("", "s", &[None, Some("3")]), msg::execute("", 0)],
        &[
            msg::parse("w", "INSERT INTO t VALUES ($1, $2)"),
            msg::describe(b'S', "w"),
        ],
        &[msg::describe(b'S', "s"), msg::describe(b'S', "w")],
        &[
            msg::close(b'S', "s"),
            msg::close(b'S', "s"),
            msg::close(b'P', "no"),
        ],
        &[msg::describe(b'S', "s")],
        &[msg::describe(b'P', "no")],
        &[msg::statement("", &[])],
        &[msg::statement("SHOW work_mem", &[])],
        &[msg::parse("b", "BEGIN"), msg::describe(b'S', "b")],
        &[msg::bind("", "b", &[]), msg::describe(b'P', "")],
        &[],
    ]));
}

#[test]
fn several_statements_before_one_sync() {
    same(&batches(&[
        &[
            msg::statement("SELECT 1", &[]),
            msg::statement("SELECT a FROM t WHERE a < $1 ORDER BY a", &[Some("4")]),
            msg::statement("INSERT INTO t VALUES (300, 'x')", &[]),
            msg::statement("SELECT count(*) FROM t", &[]),
            msg::statement("DELETE FROM t WHERE a = 300", &[]),
        ],
        &[msg::statement("SELECT count(*) FROM t", &[])],
    ]));
}

#[test]
fn errors_in_a_pipeline() {
    same(&batches(&[
        // At the end, in Parse, in Bind and in Execute; what comes behind is thrown away.
        &[
            msg::statement("SELECT 1", &[]),
            msg::statement("SELECT 1/0", &[]),
        ],
        &[
            msg::statement("INSERT INTO t VALUES (301, 'x')", &[]),
            msg::statement("SELEC 1", &[]),
            msg::statement("SELECT 2", &[]),
        ],
        &[
            msg::parse("p", "SELECT $1::int"),
            msg::bind("", "p", &[Some("no number")]),
            msg::execute("", 0),
            msg::statement("SELECT 2", &[]),
        ],
        &[
            msg::statement("SELECT 1", &[]),
            msg::statement("SELECT 1/0", &[]),
            msg::statement("SELECT 2", &[]),
        ],
        &[msg::bind("", "p", &[]), msg::execute("", 0)],
        &[msg::bind("", "unknown", &[]), msg::execute("", 0)],
        &[msg::execute("unknown", 0)],
        &[msg::parse("p", "SELECT 2")],
        &[msg::bind("", "p", &[Some("7")]), msg::execute("", 0)],
        // Parsed before the error, in an implicit transaction that failed: still there.
        &[
            msg::parse("q", "SELECT 3"),
            msg::statement("SELECT 1/0", &[]),
        ],
        &[msg::bind("", "q", &[]), msg::execute("", 0)],
        // Parsed after the error: not there.
        &[
            msg::statement("SELECT 1/0", &[]),
            msg::parse("r", "SELECT 3"),
        ],
        &[msg::bind("", "r", &[]), msg::execute("", 0)],
        &[msg::statement("SELECT count(*) FROM t", &[])],
    ]));
}

#[test]
fn answers_come_at_flush() {
    let part = |bytes: Vec<u8>, tag| [Step::Send([bytes, msg::flush()].concat()), Step::Until(tag)];
    let steps = [
        part(msg::parse("f", "SELECT $1::int"), b'1'),
        part(msg::describe(b'S', "f"), b'T'),
        part(msg::bind("c", "f", &[Some("5")]), b'2'),
        part(msg::describe(b'P', "c"), b'T'),
        part(msg::execute("c", 0), b'C'),
        part(msg::close(b'P', "c"), b'3'),
        part(msg::statement("SELECT 1/0", &[]), b'E'),
        part(msg::statement("SELECT 2", &[]), b'Z'),
    ];
    let mut steps: Vec<Step> = steps.into_iter().flatten().collect();
    // Nothing comes for the last part until Sync.
    steps.insert(steps.len() - 1, Step::Send(msg::sync()));
    same(&steps);
}

#[test]
fn portals_with_row_limits() {
    same(&batches(&[
        &[msg::statement("BEGIN", &[])],
        &[
            msg::parse("", "SELECT a FROM t WHERE a <= 10 ORDER BY a"),
            msg::bind("c", "", &[]),
            msg::execute("c", 3),
        ],
        &[msg::execute("c", 3)],
        &[msg::statement("SELECT 1", &[]), msg::execute("c", 3)],
        &[msg::execute("c", 0)],
        &[msg::execute("c", 0)],
        &[msg::close(b'P', "c")],
        &[msg::execute("c", 1)],
        &[msg::statement("ROLLBACK", &[])],
        // Outside of a transaction a portal ends at Sync.
        &[
            msg::parse("", "SELECT a FROM t ORDER BY a"),
            msg::bind("c", "", &[]),
            msg::execute("c", 2),
            msg::execute("c", 2),
        ],
        &[msg::execute("c", 2)],
        &[msg::bind("d", "", &[]), msg::bind("d", "", &[])],
        &[msg::statement("BEGIN", &[])],
        &[msg::statement(
            "DECLARE k CURSOR FOR SELECT a FROM t ORDER BY a",
            &[],
        )],
        &[msg::execute("k", 2)],
        &[msg::statement("FETCH 2 FROM k", &[])],
        &[msg::statement("MOVE 3 IN k", &[])],
        &[msg::statement("CLOSE k", &[])],
        &[msg::statement("COMMIT", &[])],
    ]));
}

#[test]
fn named_statements_live_on() {
    let mut steps = batches(&[
        &[msg::parse("n", "SELECT count(*) FROM t WHERE a > $1")],
        &[msg::bind("", "n", &[Some("1")]), msg::execute("", 0)],
        &[msg::statement("BEGIN", &[])],
        &[msg::bind("", "n", &[Some("2")]), msg::execute("", 0)],
        &[msg::parse("in", "SELECT 'made in a transaction'")],
        &[msg::statement("ROLLBACK", &[])],
        &[msg::bind("", "in", &[]), msg::execute("", 0)],
        &[msg::bind("", "n", &[Some("3")]), msg::execute("", 0)],
        &[msg::parse("n", "SELECT 1")],
        &[msg::close(b'S', "n"), msg::parse("n", "SELECT 'new'")],
        &[msg::bind("", "n", &[]), msg::execute("", 0)],
    ]);
    steps.extend(queries(&[
        "EXECUTE n",
        "PREPARE sqlmade AS SELECT 'by SQL'",
        "PREPARE n AS SELECT 2",
    ]));
    steps.extend(batches(&[&[
        msg::bind("", "sqlmade", &[]),
        msg::describe(b'P', ""),
        msg::execute("", 0),
    ]]));
    steps.extend(queries(&["DEALLOCATE n"]));
    steps.extend(batches(&[&[msg::bind("", "n", &[]), msg::execute("", 0)]]));
    steps.extend(batches(&[&[msg::parse("sqlmade", "SELECT 1")]]));
    steps.extend(queries(&["DEALLOCATE ALL"]));
    steps.extend(batches(&[
        &[msg::bind("", "in", &[]), msg::execute("", 0)],
        &[msg::parse("sqlmade", "SELECT 1")],
    ]));
    same(&steps);
}

#[test]
fn unnamed_statements_and_simple_queries() {
    let mut steps: Vec<Step> = batches(&[
        &[msg::parse("", "SELECT 'unnamed'")],
        &[msg::bind("", "", &[]), msg::execute("", 0)],
    ]);
    // A simple query destroys the unnamed statement.
    steps.extend(queries(&["SELECT 1"]));
    steps.extend(batches(&[&[msg::bind("", "", &[]), msg::execute("", 0)]]));
    steps.extend(batches(&[
        &[msg::parse("", "SELECT 'again'")],
        &[msg::parse("", "SELEC")],
        &[msg::bind("", "", &[]), msg::execute("", 0)],
    ]));
    same(&steps);
}

#[test]
fn a_simple_query_before_sync() {
    let unfinished = [msg::statement("SELECT 1", &[]), msg::query("SELECT 2")].concat();
    let failed = [msg::statement("SELECT 1/0", &[]), msg::query("SELECT 2")].concat();
    same(&[
        Step::Send(unfinished),
        Step::Until(b'Z'),
        Step::Send(msg::sync()),
        Step::Until(b'Z'),
        // After an error everything up to Sync is thrown away, a query too.
        Step::Send(failed),
        Step::Send(msg::sync()),
        Step::Until(b'Z'),
    ]);
}

#[test]
fn notices_settings_and_their_reports() {
    same(&queries(&[
        "SELECT notice('one'), notice('two')",
        "DO $$ BEGIN RAISE WARNING 'w' USING HINT = 'h', DETAIL = 'd'; END $$",
        "DROP TABLE IF EXISTS nothing_here",
        "SET application_name = 'me'",
        "SHOW application_name",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'German'",
        "SELECT date '2020-02-01'",
        "BEGIN",
        "SET LOCAL DateStyle = 'ISO'",
        "SET client_encoding = 'LATIN1'",
        "SELECT 'ä'",
        "ROLLBACK",
        "SHOW client_encoding",
        "SHOW DateStyle",
        "BEGIN",
        "SET application_name = 'other'",
        "SELECT 1/0",
        "ROLLBACK",
        "SHOW application_name",
        "RESET application_name",
        "SET standard_conforming_strings = off",
        "SELECT 'a\\\\b'",
        "RESET ALL",
        "SHOW TimeZone",
        "SELECT set_config('TimeZone', 'UTC', false)",
        "SET nothing_like_this = 1",
        "SET work_mem = 'a lot'",
        "SET my.own = 'x'",
        "SHOW my.own",
        "DISCARD ALL",
        "SHOW work_mem",
        "SET SESSION AUTHORIZATION alice",
        "SELECT current_user",
        "RESET SESSION AUTHORIZATION",
        "SET ROLE alice",
        "SELECT current_user, session_user",
        "RESET ROLE",
        "SELECT current_user",
    ]));
}

#[test]
fn listen_and_notify() {
    same(&queries(&[
        "LISTEN protocol_channel",
        "NOTIFY protocol_channel, 'hello'",
        "BEGIN",
        "NOTIFY protocol_channel, 'late'",
        "SELECT 1",
        "COMMIT",
        "SELECT pg_notify('protocol_channel', 'by function')",
        "UNLISTEN protocol_channel",
        "NOTIFY protocol_channel, 'unheard'",
    ]));
}

#[test]
fn copy_by_simple_queries() {
    let copied = |sql: &str, messages: &[Vec<u8>]| {
        [
            Step::Send(msg::query(sql)),
            Step::Until(b'G'),
            Step::Send(messages.concat()),
            Step::Until(b'Z'),
        ]
    };
    let copy = "COPY t FROM STDIN";
    let row = || msg::copy_data(b"401\tcopied\n");
    let mut steps = queries(&[
        "COPY t TO STDOUT",
        "COPY (SELECT 1, 'x') TO STDOUT (FORMAT csv)",
    ]);
    steps.extend(queries(&["BEGIN"]));
    steps.extend(copied(copy, &[row(), msg::copy_done()]));
    steps.extend(copied(
        "SELECT 1; COPY t (a) FROM STDIN; SELECT 2",
        &[
            msg::copy_data(b"402\n4"),
            msg::copy_data(b"03\n"),
            msg::copy_done(),
        ],
    ));
    steps.extend(queries(&[
        "SELECT * FROM t WHERE a > 400 ORDER BY a",
        "ROLLBACK",
    ]));
    steps.extend(copied(copy, &[row(), msg::copy_fail("I changed my mind")]));
    steps.extend(copied(
        copy,
        &[msg::copy_data(b"no number\n"), msg::copy_done()],
    ));
    steps.extend(copied(
        copy,
        &[msg::flush(), msg::sync(), msg::copy_fail("after Sync")],
    ));
    steps.extend(queries(&[
        "COPY nowhere FROM STDIN",
        "COPY nowhere TO STDOUT",
        "SELECT 1",
    ]));
    same(&steps);
}

/// PostgreSQL gives the connection up; the query is not run.
#[test]
fn a_query_instead_of_copy_data_ends_the_session() {
    let data = [msg::copy_data(b"1\tx\n"), msg::query("SELECT 5")].concat();
    same(&[
        Step::Send(msg::query("COPY t FROM STDIN")),
        Step::Until(b'G'),
        Step::Send(data),
        Step::Until(b'Z'),
    ]);
}

#[test]
fn copy_by_the_extended_protocol() {
    let start = |sql: &str| {
        let bytes = [msg::statement(sql, &[]), msg::flush()].concat();
        [Step::Send(bytes), Step::Until(b'G')]
    };
    let rest = |messages: &[Vec<u8>]| [Step::Send(messages.concat()), Step::Until(b'Z')];
    let row = || msg::copy_data(b"501\tcopied\n");
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(batch(&[msg::statement("COPY t TO STDOUT", &[])]));
    steps.extend(batch(&[msg::statement("BEGIN", &[])]));
    steps.extend(start("COPY t FROM STDIN"));
    steps.extend(rest(&[row(), msg::copy_done(), msg::sync()]));
    steps.extend(batch(&[msg::statement("SELECT count(*) FROM t", &[])]));
    steps.extend(batch(&[msg::statement("ROLLBACK", &[])]));
    // As libpq does it: Sync goes out before the first row, and again after the last.
    let early = [msg::statement("COPY t FROM STDIN", &[]), msg::sync()].concat();
    steps.extend([Step::Send(early), Step::Until(b'G')]);
    steps.extend(rest(&[row(), msg::copy_done(), msg::sync()]));
    steps.extend(batch(&[msg::statement("DELETE FROM t WHERE a = 501", &[])]));
    steps.extend(start("COPY t FROM STDIN"));
    steps.extend(rest(&[row(), msg::copy_fail("no"), msg::sync()]));
    steps.extend(start("COPY t FROM STDIN"));
    steps.extend(rest(&[
        msg::copy_data(b"bad\n"),
        row(),
        msg::copy_done(),
        msg::sync(),
    ]));
    // In a pipeline, with a statement behind it.
    steps.extend(start("COPY t FROM STDIN"));
    let delete = msg::statement("DELETE FROM t WHERE a = 501", &[]);
    steps.extend(rest(&[row(), msg::copy_done(), delete, msg::sync()]));
    steps.extend(batch(&[msg::statement("SELECT count(*) FROM t", &[])]));
    same(&steps);
}

#[test]
fn copy_data_outside_of_a_copy_is_ignored() {
    let stray = [
        msg::copy_data(b"x"),
        msg::copy_done(),
        msg::query("SELECT 1"),
    ]
    .concat();
    same(&[Step::Send(stray), Step::Until(b'Z')]);
}

#[test]
fn function_calls() {
    // `int4pl` (177) of two integers in text, result in text; then a function that is not there.
    let call = |oid: u32| {
        let arguments = b"\0\0\0\x02\0\0\0\x0220\0\0\0\x0222\0\0";
        msg::frame(b'F', &[&oid.to_be_bytes()[..], arguments].concat())
    };
    let mut steps = vec![
        Step::Send(call(177)),
        Step::Until(b'Z'),
        Step::Send(call(4)),
        Step::Until(b'Z'),
    ];
    steps.extend(queries(&["BEGIN"]));
    steps.extend([Step::Send(call(177)), Step::Until(b'Z')]);
    steps.extend(queries(&["COMMIT"]));
    same(&steps);
}

#[test]
fn many_messages_at_once() {
    let mut bytes = Vec::new();
    let mut steps = Vec::new();
    for number in 0..200 {
        bytes.extend(msg::query(&format!("SELECT {number}")));
        bytes.extend(msg::statement(&format!("SELECT {number}::text"), &[]));
        bytes.extend(msg::sync());
    }
    steps.push(Step::Send(bytes));
    steps.extend((0..400).map(|_| Step::Until(b'Z')));
    same(&steps);
}

#[test]
fn an_unknown_message_ends_the_session() {
    same(&[Step::Send(msg::frame(b'?', b"what")), Step::Until(b'E')]);
}

#[test]
fn a_malformed_message_is_refused() {
    for bytes in [
        msg::frame(b'P', b"no end"),
        msg::frame(b'B', b"\0"),
        msg::frame(b'D', b"X\0"),
        msg::frame(b'C', b""),
        msg::frame(b'E', b""),
    ] {
        let all = [bytes, msg::sync()].concat();
        let proxy = prepared();
        let kind = |port| {
            let mut wire = Wire::connect(port, "protocol");
            wire.send(&all);
            let frames = wire.until(b'E');
            frames.last().map(Frame::error).map(|(state, _)| state)
        };
        assert_eq!(
            kind(proxy),
            kind(cluster().primary().port()),
            "{}",
            all.escape_ascii()
        );
    }
}

#[test]
fn large_values_in_both_directions() -> Result<()> {
    let proxy = prepared();
    let mut wire = Wire::connect(proxy, "protocol");

    // 50 MB of rows.
    let frames = wire.query("SELECT repeat('x', 50000) FROM generate_series(1, 1000)");
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let bytes: usize = rows.map(|frame| frame.body.len() - 6).sum();
    assert_eq!(bytes, 50_000_000);

    // One value of 50 MB.
    let frames = wire.query("SELECT repeat('x', 50000000)");
    assert!(frames.iter().any(|frame| frame.body.len() == 50_000_006));

    // A parameter of 20 MB.
    let value = "p".repeat(20_000_000);
    wire.send(&msg::statement("SELECT length($1)", &[Some(&value)]));
    wire.send(&msg::sync());
    let frames = wire.until(b'Z');
    let row = frames.iter().find(|frame| frame.tag == b'D').unwrap();
    assert_eq!(row.values(), [Some("20000000".to_owned())]);

    // A text of 5 MB, by both protocols.
    let sql = format!("SELECT length('{}')", "t".repeat(5_000_000));
    assert_eq!(wire.value(&sql), "5000000");
    let frames = wire.extended(&sql);
    let row = frames.iter().find(|frame| frame.tag == b'D').unwrap();
    assert_eq!(row.values(), [Some("5000000".to_owned())]);

    // 20 MB of COPY.
    assert_eq!(wire.query("CREATE TEMP TABLE big (a text)")[0].tag, b'C');
    wire.send(&msg::query("COPY big FROM STDIN"));
    wire.until(b'G');
    let row = format!("{}\n", "c".repeat(19_999));
    for _ in 0..1000 {
        wire.send(&msg::copy_data(row.as_bytes()));
    }
    wire.send(&msg::copy_done());
    wire.until(b'Z');
    assert_eq!(wire.value("SELECT sum(length(a)) FROM big"), "19999000");
    Ok(())
}

#[test]
fn what_a_server_says_about_itself() {
    let proxy = Wire::connect(prepared(), "protocol");
    let direct = Wire::connect(cluster().primary().port(), "protocol");
    assert_eq!(proxy.parameters, direct.parameters);
    assert_eq!(proxy.key.len(), direct.key.len());
}

#[test]
fn a_client_may_send_more_before_it_reads() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    // More than the sockets hold, so that the proxy is left with a part of it.
    let long = msg::statement("SELECT repeat('x', 16000000)", &[]);
    wire.send(&[long, msg::flush()].concat());
    wire.wait_for_answer();
    wire.send(&[msg::statement("SELECT 1", &[]), msg::sync()].concat());
    let frames = wire.until(b'Z');
    let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
    assert_eq!(tags, "12TDC12TDCZ");
    assert_eq!(frames[3].values()[0].as_ref().unwrap().len(), 16_000_000);
}

/// The statement that is bound goes to the primary, the one that is parsed before it to a replica.
#[test]
fn a_parse_whose_statement_is_not_run_leaves_its_server_in_no_transaction() -> Result<()> {
    runtime().block_on(database("left_parse", "CREATE TABLE t AS SELECT 1 AS a"))?;
    let proxy = Options::weights([0, 1, 1]).start();
    let mut wire = Wire::connect(proxy.port(), "left_parse");
    wire.wait_for_catalog();
    wire.send(
        &[
            msg::parse("writes", "INSERT INTO t VALUES (1)"),
            msg::sync(),
        ]
        .concat(),
    );
    wire.until(b'Z');
    let primary = cluster().primary().port().to_string();
    let deadline = Instant::now() + DEADLINE;
    while wire.value("SELECT inet_server_port() FROM t") == primary {
        assert!(Instant::now() < deadline, "no replica is fresh enough");
    }
    let messages = [
        msg::parse("reads", "SELECT a FROM t"),
        msg::bind("", "writes", &[]),
        msg::execute("", 0),
        msg::sync(),
    ];
    wire.send(&messages.concat());
    let frames = wire.until(b'Z');
    assert_eq!(shown(&frames), "1 \n2 \nC INSERT 0 1\\x00\nZ I\n");
    for replica in cluster().replicas() {
        let mut direct = Wire::connect(replica.port(), "postgres");
        let left = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = 'left_parse' AND state <> 'idle'";
        assert_eq!(direct.value(left), "0");
    }
    wire.send(&msg::terminate());
    Ok(())
}
