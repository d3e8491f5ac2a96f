//! Another text in the place of a statement, on every path a statement can take.

use anyhow::Result;

use crate::support::plugins::{install, refusal};
use crate::support::{Frame, Options, Running, Wire, msg, shown};

/// Rules of the rewriter in these tests.
const RULES: &str = r#"
[[config.rules]]
text = "SELECT 'old'"
with = "SELECT 'new'"
[[config.rules]]
text = "SELECT $1::int, $2::text"
with = "SELECT $2::int, $1::text, $2::int + 1"
parameters = [2, 1]
[[config.rules]]
text = "SELECT $1::int AS twice"
with = "SELECT $1::int * $2::int AS twice"
parameters = [1, 1]
[[config.rules]]
text = "SELECT 'too strong'"
with = "CREATE TABLE must_not_be (id int)"
[[config.rules]]
text = "SELECT 'two'"
with = "SELECT 1; SELECT 2"
[[config.rules]]
contains = "FROM moved"
replace = "FROM moved"
with = "FROM pg_catalog.generate_series(1, 3)"
[[config.rules]]
contains = "forbidden"
refuse = "it is forbidden"
hint = "do something else"
"#;

fn proxy() -> Result<Running> {
    let proxy = Options::default().start();
    install(&proxy, "20-query-rewrite", "query-rewrite", RULES)?;
    Ok(proxy)
}

fn row(frames: &[Frame]) -> Vec<String> {
    let row = frames.iter().find(|frame| frame.tag == b'D');
    let values = row
        .unwrap_or_else(|| panic!("no row:\n{}", shown(frames)))
        .values();
    values.into_iter().map(Option::unwrap_or_default).collect()
}

#[test]
fn a_new_text_runs_in_both_protocols_and_by_name() -> Result<()> {
    let proxy = proxy()?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for _ in 0..3 {
        assert_eq!(wire.value("SELECT 'old'"), "new");
        assert_eq!(row(&wire.extended("SELECT 'old'")), ["new"]);
    }
    // Behind a longer and a shorter text there is more in the same packet.
    let both = [
        msg::query("SELECT 1 AS a"),
        msg::query("SELECT 'old'"),
        msg::query("SELECT count(*) FROM moved AS t(i)"),
        msg::query("SELECT 2"),
    ];
    wire.send(&both.concat());
    let answers: Vec<_> = (0..4).map(|_| row(&wire.until(b'Z')).remove(0)).collect();
    assert_eq!(answers, ["1", "new", "3", "2"]);
    // Prepared once, bound in another batch, and after a transaction on another server.
    wire.send(&[msg::parse("p", "SELECT 'old'"), msg::sync()].concat());
    wire.until(b'Z');
    for _ in 0..2 {
        let run = [msg::bind("", "p", &[]), msg::execute("", 0), msg::sync()];
        wire.send(&run.concat());
        assert_eq!(row(&wire.until(b'Z')), ["new"]);
    }
    wire.query("BEGIN");
    assert_eq!(wire.value("SELECT 'old'"), "new");
    wire.query("COMMIT");
    Ok(())
}

#[test]
fn values_follow_the_map_of_parameters() -> Result<()> {
    let proxy = proxy()?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for name in ["", "named"] {
        let text = "SELECT $1::int, $2::text";
        wire.send(
            &[
                msg::parse(name, text),
                msg::describe(b'S', name),
                msg::sync(),
            ]
            .concat(),
        );
        let described = wire.until(b'Z');
        let types = described.iter().find(|frame| frame.tag == b't').unwrap();
        // int4, text: as the client numbered them.
        assert_eq!(types.body, [0, 2, 0, 0, 0, 23, 0, 0, 0, 25]);
        let bind = msg::bind("", name, &[Some("41"), Some("x")]);
        let run = [
            bind,
            msg::describe(b'P', ""),
            msg::execute("", 0),
            msg::sync(),
        ];
        wire.send(&run.concat());
        assert_eq!(row(&wire.until(b'Z')), ["41", "x", "42"], "{name:?}");
    }
    let twice = msg::statement("SELECT $1::int AS twice", &[Some("7")]);
    wire.send(&[twice, msg::sync()].concat());
    assert_eq!(row(&wire.until(b'Z')), ["49"]);
    // A value that is missing is an error of the client, and the session goes on.
    let wrong = msg::statement("SELECT $1::int, $2::text", &[Some("41")]);
    wire.send(&[wrong, msg::sync()].concat());
    let (state, _) = refusal(&wire.until(b'Z')).unwrap();
    assert_eq!(state, "08P01");
    assert_eq!(wire.value("SELECT 1"), "1");
    Ok(())
}

#[test]
fn a_driver_that_binds_binary_values_notices_nothing() -> Result<()> {
    let proxy = proxy()?;
    crate::support::runtime().block_on(async {
        let client = proxy.connect("postgres").await;
        let row = client
            .query_one("SELECT $1::int, $2::text", &[&20, &"y"])
            .await?;
        assert_eq!(row.get::<_, i32>(0), 20);
        assert_eq!(row.get::<_, String>(1), "y");
        assert_eq!(row.get::<_, i32>(2), 21);
        Ok(())
    })
}

#[test]
fn a_refusal_is_an_error_like_the_servers() -> Result<()> {
    let proxy = proxy()?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let refused = Some(("42501".to_owned(), "it is forbidden".to_owned()));
    assert_eq!(refusal(&wire.query("SELECT 'forbidden'")), refused);
    let frames = wire.extended("SELECT 'forbidden'");
    assert_eq!(refusal(&frames), refused);
    let error = frames.iter().find(|frame| frame.tag == b'E').unwrap();
    assert_eq!(error.field(b'H').as_deref(), Some("do something else"));
    // In a pipeline what comes behind it up to Sync is skipped, what is behind Sync is not.
    let pipeline = [
        msg::statement("SELECT 1", &[]),
        msg::statement("SELECT 'forbidden'", &[]),
        msg::statement("SELECT 2", &[]),
        msg::sync(),
        msg::statement("SELECT 3", &[]),
        msg::sync(),
    ];
    wire.send(&pipeline.concat());
    let first = wire.until(b'Z');
    assert_eq!(row(&first), ["1"]);
    assert_eq!(refusal(&first), refused);
    assert_eq!(first.iter().filter(|frame| frame.tag == b'D').count(), 1);
    assert_eq!(row(&wire.until(b'Z')), ["3"]);
    // Prepared in SQL, copied out, explained.
    for sql in [
        "PREPARE p AS SELECT 'forbidden'",
        "COPY (SELECT 'forbidden') TO STDOUT",
        "EXPLAIN SELECT 'forbidden'",
        "SELECT 1; SELECT 'forbidden'",
        "DO 'BEGIN PERFORM ''forbidden''; END'",
    ] {
        assert_eq!(refusal(&wire.query(sql)), refused, "{sql}");
    }
    // A transaction with a refused statement has failed.
    wire.query("BEGIN");
    wire.query("SELECT 1");
    wire.query("SELECT 'forbidden'");
    assert_eq!(refusal(&wire.query("SELECT 1")).unwrap().0, "25P02");
    wire.query("ROLLBACK");
    assert_eq!(wire.value("SELECT 1"), "1");
    Ok(())
}

#[test]
fn what_must_not_become_stronger_stays_as_it_is() -> Result<()> {
    let proxy = proxy()?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for (sql, kept) in [
        ("SELECT 'too strong'", "too strong"),
        ("SELECT 'two'", "two"),
    ] {
        assert_eq!(wire.value(sql), kept);
        assert_eq!(row(&wire.extended(sql)), [kept]);
    }
    assert_eq!(wire.value("SELECT to_regclass('must_not_be') IS NULL"), "t");
    let stats = wire.query("SHOW pool_plugin_stats");
    let rows: Vec<_> = stats.iter().filter(|frame| frame.tag == b'D').collect();
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            row.values()
                .into_iter()
                .map(Option::unwrap)
                .collect::<Vec<_>>()
        })
        .find(|values| values[0] == "20-query-rewrite")
        .unwrap();
    assert_eq!(
        (&*values[13], &*values[14]),
        ("4", "4"),
        "invalid answers, bad rewrites"
    );
    Ok(())
}

#[test]
fn copies_and_cursors_are_rewritten_too() -> Result<()> {
    let proxy = proxy()?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let frames = wire.query("COPY (SELECT i FROM moved AS t(i)) TO STDOUT");
    assert_eq!(
        frames.iter().filter(|frame| frame.tag == b'd').count(),
        3,
        "{}",
        shown(&frames)
    );
    wire.query("BEGIN");
    wire.query("DECLARE c CURSOR FOR SELECT i FROM moved AS t(i)");
    let frames = wire.query("FETCH ALL FROM c");
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 3);
    wire.query("COMMIT");
    wire.query("PREPARE q AS SELECT count(*) FROM moved AS t(i)");
    assert_eq!(wire.value("EXECUTE q"), "3");
    assert_eq!(row(&wire.extended("EXECUTE q")), ["3"]);
    let route = wire.query("EXPLAIN ROUTE SELECT 'old'");
    let items: Vec<_> = route
        .iter()
        .filter(|f| f.tag == b'D')
        .map(Frame::values)
        .collect();
    let rewritten = items
        .iter()
        .find(|row| row[0].as_deref() == Some("rewritten"));
    assert_eq!(rewritten.unwrap()[1].as_deref(), Some("SELECT 'new'"));
    Ok(())
}

#[test]
fn with_the_grant_a_read_may_become_a_write() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let rules = r#"
        grants = ["rewrite-any"]
        [[config.rules]]
        text = "SELECT 'log it'"
        with = "INSERT INTO rewritten_log VALUES (1) RETURNING 'logged'"
    "#;
    install(&proxy, "20-query-rewrite", "query-rewrite", rules)?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("CREATE TABLE IF NOT EXISTS rewritten_log (id int)");
    assert_eq!(wire.value("SELECT 'log it'"), "logged");
    assert_eq!(row(&wire.extended("SELECT 'log it'")), ["logged"]);
    wire.query("DROP TABLE rewritten_log");
    Ok(())
}
