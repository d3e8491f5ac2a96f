//! The hooks of plugins besides routing and rewriting, on real servers: who may begin a session, what
//! happened, what operators say, values of parameters, keys of writes.

use anyhow::Result;

use crate::support::plugins::{install, lines, refusal};
use crate::support::{DEADLINE, Login, Options, Wire, msg, runtime, shown};

/// A tenant's setting, as a client sees it.
const TENANT: &str = "SELECT current_setting('app.tenant', true)";

#[test]
fn a_tenant_has_its_setting_in_every_transaction_and_cannot_change_it() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let beside = "[config]\nfrom = \"database\"\n";
    install(&proxy, "10-tenant-isolation", "tenant-isolation", beside)?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for _ in 0..2 {
        assert_eq!(wire.value(TENANT), "postgres", "on a replica");
        assert_eq!(
            wire.value(&format!("{TENANT}, random()")),
            "postgres",
            "on the primary"
        );
        let frames = wire.extended(TENANT);
        let row = frames.iter().find(|frame| frame.tag == b'D').unwrap();
        assert_eq!(row.values(), [Some("postgres".to_owned())]);
    }
    for sql in [
        "SET app.tenant = 'other'",
        "SET LOCAL app.tenant TO 'other'",
        "RESET app.tenant",
        "SELECT set_config('app.tenant', 'other', false)",
        "SELECT set_config('app.' || 'tenant', 'other', false)",
        "SELECT 1; SET app.tenant = 'other'",
        "DO $$BEGIN PERFORM set_config('app.tenant', 'other', false); END$$",
        "PREPARE p AS SELECT set_config('app.tenant', 'other', false)",
    ] {
        for frames in [wire.query(sql), wire.extended(sql)] {
            let (state, _) =
                refusal(&frames).unwrap_or_else(|| panic!("{sql}: {}", shown(&frames)));
            // Several statements in one Parse are the server's to refuse.
            assert!(state == "42501" || state == "42601", "{sql}: {state}");
        }
        assert_eq!(wire.value(TENANT), "postgres", "{sql}");
    }
    // What is set behind the proxy's back holds for that transaction at most.
    wire.query("RESET ALL");
    assert_eq!(wire.value(TENANT), "postgres");
    wire.query("BEGIN");
    assert_eq!(wire.value(TENANT), "postgres");
    wire.query("DISCARD ALL");
    wire.query("ROLLBACK");
    assert_eq!(wire.value(TENANT), "postgres");
    Ok(())
}

#[test]
fn a_session_that_is_not_admitted_ends_before_it_begins() -> Result<()> {
    let proxy = Options::default().start();
    let beside = "[config]\nfrom = \"application_name\"\nprefix = \"tenant-\"\n";
    install(&proxy, "10-tenant-isolation", "tenant-isolation", beside)?;
    let mut wire = Wire::open(proxy.port());
    let login = Login::default();
    let error = wire.log_in(&login, "postgres").expect("it is refused");
    assert_eq!(error.error().0, "42501");
    assert_eq!(error.field(b'S').as_deref(), Some("FATAL"));
    assert!(wire.is_closed());
    Ok(())
}

#[test]
fn an_observer_is_told_what_came_back() -> Result<()> {
    let proxy = Options::weights([1, 0, 0]).start();
    install(
        &proxy,
        "80-statement-stats",
        "statement-stats",
        "grants = [\"metrics\"]\n",
    )?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("SELECT generate_series(1, 10)");
    wire.extended("SELECT generate_series(1, 5)");
    wire.query("SELECT 1/0");
    wire.extended("SELECT nonsense");
    let pipeline = [
        msg::statement("SELECT 1", &[]),
        msg::statement("SELECT 2", &[]),
        msg::statement("SELECT 3/0", &[]),
        msg::statement("SELECT 4", &[]),
        msg::sync(),
    ];
    wire.send(&pipeline.concat());
    wire.until(b'Z');
    wire.query("COPY (SELECT generate_series(1, 7)) TO STDOUT");
    // Handed over within a second, by the worker's tick.
    let value = |wire: &mut Wire, metric: &str| {
        let frames = wire.query("SHOW pool_plugin_metrics");
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        let mut values = rows.map(|row| row.values());
        let row = values.find(|values| values[1].as_deref() == Some(metric));
        row.map_or(0.0, |row| {
            row[5].as_deref().unwrap().parse::<f64>().unwrap()
        })
    };
    runtime().block_on(pgsteer_testkit::wait_until(DEADLINE, "the events", || {
        let told = value(&mut wire, "reads") >= 7.0;
        async move { told }
    }))?;
    assert_eq!(value(&mut wire, "reads"), 7.0);
    assert_eq!(value(&mut wire, "errors"), 3.0);
    assert_eq!(value(&mut wire, "rows"), 10.0 + 5.0 + 2.0 + 7.0);
    assert!(value(&mut wire, "bytes") > 100.0);
    assert_eq!(value(&mut wire, "refused"), 0.0);
    Ok(())
}

#[test]
fn an_operator_closes_and_opens_the_proxy() -> Result<()> {
    let proxy = Options::default().start();
    let beside = "grants = [\"kv\"]\n[config]\nallow_users = [\"alice\"]\n";
    install(&proxy, "05-maintenance", "maintenance", beside)?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let mut tell = |what: &str| {
        let sql = format!("PGSTEER PLUGIN maintenance TELL '{what}'");
        // Somebody who is let in all the time gives the orders.
        let answer = lines(&mut wire, &sql);
        assert!(!answer.is_empty(), "{what}");
        answer
    };
    let is_open = || {
        let mut wire = Wire::connect(proxy.port(), "postgres");
        refusal(&wire.query("SELECT 1")).is_none()
    };
    assert!(is_open());
    tell("on read-only because of the move");
    let mut other = Wire::connect(proxy.port(), "postgres");
    assert!(refusal(&other.query("SELECT 1")).is_none(), "reads go on");
    let (state, _) = refusal(&other.query("CREATE TABLE t (id int)")).unwrap();
    assert_eq!(state, "25006");
    // The other worker, if there is one, hears of it too; so do remembered answers.
    tell("off");
    assert!(is_open());
    assert!(refusal(&other.query("SELECT 1")).is_none());
    Ok(())
}

#[test]
fn only_operators_give_orders() -> Result<()> {
    let proxy = Options::default().start();
    let mut wire = Wire::open(proxy.port());
    let login = Login {
        user: "alice",
        ..Login::default()
    };
    assert!(wire.log_in(&login, "postgres").is_none());
    for sql in [
        "PGSTEER RECORD 1",
        "PGSTEER PLUGIN 90-pgpool-router DISABLE",
        "PGSTEER PLUGIN 90-pgpool-router TELL 'x'",
    ] {
        for frames in [wire.query(sql), wire.extended(sql)] {
            assert_eq!(refusal(&frames).unwrap().0, "42501", "{sql}");
        }
    }
    let mut wire = Wire::connect(proxy.port(), "postgres");
    assert_eq!(refusal(&wire.query("PGSTEER DANCE")).unwrap().0, "42601");
    let told = wire.query("PGSTEER PLUGIN 90-pgpool-router TELL 'x'");
    let (state, message) = refusal(&told).unwrap();
    assert_eq!(state, "55000");
    assert!(message.contains("takes no commands"), "{message}");
    Ok(())
}

#[test]
fn reads_see_the_writes_under_their_key() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let beside = "[config]\nkey = \"comment:tenant\"\nprimary_weight = 0\n";
    install(&proxy, "50-causal-reads", "causal-reads", beside)?;
    let mut writer = Wire::connect(proxy.port(), "postgres");
    writer.query("CREATE TABLE IF NOT EXISTS causal (id int)");
    let mut reader = Wire::connect(proxy.port(), "postgres");
    for number in 1..=50 {
        writer.query(&format!(
            "/* tenant='7' */ INSERT INTO causal VALUES ({number})"
        ));
        // Another session, at once: it sees the write, wherever it is sent.
        let count = reader.value("SELECT count(*) FROM causal /* tenant='7' */");
        assert_eq!(count, number.to_string());
    }
    writer.query("DROP TABLE causal");
    Ok(())
}

#[test]
fn a_router_sees_values_at_bind_and_not_before() -> Result<()> {
    let proxy = Options::weights([0, 1, 1]).start();
    let beside = "grants = [\"values\"]\n[config]\nkey = \"parameter:1\"\nprimary_weight = 0\n";
    install(&proxy, "50-causal-reads", "causal-reads", beside)?;
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("CREATE TABLE IF NOT EXISTS causal_values (tenant text, id int)");
    let mut other = Wire::connect(proxy.port(), "postgres");
    other.wait_for_catalog();
    let read = "SELECT count(*) FROM causal_values WHERE tenant = $1";
    other.send(&[msg::parse("count", read), msg::sync()].concat());
    other.until(b'Z');
    for number in 1..=30 {
        let write = "INSERT INTO causal_values VALUES ($1, 1)";
        wire.send(&[msg::statement(write, &[Some("a")]), msg::sync()].concat());
        wire.until(b'Z');
        let run = [
            msg::bind("", "count", &[Some("a")]),
            msg::execute("", 0),
            msg::sync(),
        ];
        other.send(&run.concat());
        let frames = other.until(b'Z');
        let row = frames.iter().find(|frame| frame.tag == b'D');
        let row = row.unwrap_or_else(|| panic!("{}", shown(&frames)));
        assert_eq!(row.values(), [Some(number.to_string())]);
    }
    wire.query("DROP TABLE causal_values");
    Ok(())
}
