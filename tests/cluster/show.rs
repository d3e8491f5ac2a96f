//! The console: SHOW pool_nodes and its relatives.

use std::time::Instant;

use anyhow::Result;

use crate::support::{DEADLINE, Frame, Options, Wire, cluster, msg, runtime, shown};

#[test]
fn pool_nodes_has_the_columns_and_rows_of_pgpool() -> Result<()> {
    let proxy = Options::weights([0, 1, 3]).start();
    let rows = runtime().block_on(async {
        let client = proxy.connect("postgres").await;
        client.query("SELECT 1", &[]).await?;
        // By the extended protocol, in which Pgpool-II knows no such command.
        let rows = client.query("SHOW pool_nodes", &[]).await?;
        let names: Vec<&str> = rows[0]
            .columns()
            .iter()
            .map(|column| column.name())
            .collect();
        assert_eq!(names.join(", "), NODES);
        let simple = client.simple_query("show POOL_NODES;").await?;
        let simple: Vec<Vec<String>> = simple
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|i| row.get(i).unwrap_or("null").to_owned())
                        .collect(),
                ),
                _ => None,
            })
            .collect();
        let extended: Vec<Vec<String>> = rows
            .iter()
            .map(|row| (0..row.len()).map(|i| row.get(i)).collect())
            .collect();
        // Lag moves by itself.
        let steady = |rows: &[Vec<String>]| -> Vec<Vec<String>> {
            let mut rows = rows.to_vec();
            rows.iter_mut().for_each(|row| row[10].clear());
            rows
        };
        assert_eq!(steady(&simple), steady(&extended));
        anyhow::Ok(extended)
    })?;

    assert_eq!(rows.len(), 3);
    for (number, (row, node)) in rows.iter().zip(cluster().nodes()).enumerate() {
        let role = ["primary", "standby", "standby"][number];
        let weight = ["0.000000", "0.250000", "0.750000"][number];
        let expected = [
            number.to_string(),
            "127.0.0.1".to_owned(),
            node.port().to_string(),
            "up".to_owned(),
            "up".to_owned(),
            weight.to_owned(),
            role.to_owned(),
            role.to_owned(),
        ];
        assert_eq!(row[..8], expected);
        let streaming = ["", "streaming", "streaming"][number];
        assert_eq!(row[11], streaming);
        assert_eq!(row[12], ["", "sync", "sync"][number]);
        let digits = row[13].replace(|c: char| c.is_ascii_digit(), "9");
        assert_eq!(digits, "9999-99-99 99:99:99");
    }
    let chosen: Vec<&str> = rows.iter().map(|row| row[9].as_str()).collect();
    assert_eq!(
        chosen.iter().filter(|value| **value == "true").count(),
        1,
        "{chosen:?}"
    );
    assert_eq!(chosen[0], "false");
    Ok(())
}

/// Selects counted at each node.
fn counts(wire: &mut Wire) -> Vec<u64> {
    let frames = wire.query("SHOW pool_nodes");
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let count = |value: Option<String>| value.unwrap().parse().unwrap();
    rows.map(|row| count(row.values().swap_remove(8))).collect()
}

#[test]
fn select_counts_move() {
    let proxy = Options::weights([0, 1, 0]).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let before = counts(&mut wire);
    for _ in 0..5 {
        wire.query("SELECT 1");
        wire.extended("SELECT 2");
    }
    wire.query("SELECT random()");
    wire.query("CREATE TEMP TABLE x ()");
    wire.query("SHOW work_mem");
    let after = counts(&mut wire);
    let moved: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    assert_eq!(moved, [1, 10, 0]);
}

#[test]
fn pool_plugins_names_what_is_built_in() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("SELECT 1");
    for frames in [
        wire.query("SHOW pool_plugins"),
        wire.extended("SHOW pool_plugins"),
    ] {
        let rows: Vec<_> = frames.iter().filter(|frame| frame.tag == b'D').collect();
        let rows = rows
            .iter()
            .map(|row| -> Vec<String> { row.values().into_iter().map(Option::unwrap).collect() });
        let [failover, values] = rows.collect::<Vec<_>>().try_into().expect("two plugins");
        assert_eq!(
            (&*failover[0], &*failover[5]),
            ("90-pgpool-failover", "failover")
        );
        assert_eq!((&*failover[8], &*failover[9]), ("0", "live"));
        assert_eq!(values.len(), 12);
        assert_eq!(
            (&*values[0], &*values[1]),
            ("90-pgpool-router", "pgpool-router")
        );
        assert_eq!(values[3].len(), 64);
        assert_ne!(values[6], "0", "calls");
        assert_eq!(values[8], "0", "failures");
        assert_eq!((&*values[9], &*values[10]), ("live", "no"));
        assert_eq!(values[11], "", "reason");
    }
}

#[test]
fn the_console_works_inside_a_transaction_and_a_pipeline() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("BEGIN");
    let frames = wire.query("SHOW pool_nodes");
    assert_eq!(frames.last().unwrap().body, b"T");
    wire.query("COMMIT");
    wire.send(&msg::statement("SELECT 1", &[]));
    wire.send(&msg::statement("SHOW pool_version", &[]));
    wire.send(&msg::statement("SELECT 2", &[]));
    wire.send(&msg::sync());
    let frames = wire.until(b'Z');
    let rows: Vec<_> = frames.iter().filter(|frame| frame.tag == b'D').collect();
    assert_eq!(rows.len(), 3);
    assert!(
        rows[1].values()[0]
            .as_deref()
            .unwrap()
            .starts_with("pgsteer ")
    );
}

const NODES: &str = "node_id, hostname, port, status, pg_status, lb_weight, role, pg_role, select_cnt, \
    load_balance_node, replication_delay, replication_state, replication_sync_state, \
    last_status_change";

/// What Pgpool-II 4.8 shows.
const COLUMNS: [(&str, &str); 10] = [
    ("SHOW pool_nodes", NODES),
    (
        "SHOW pool_processes",
        "pool_pid, start_time, client_connection_count, database, username, \
         backend_connection_time, pool_counter, status",
    ),
    (
        "SHOW pool_pools",
        "pool_pid, start_time, client_connection_count, pool_id, backend_id, database, username, \
         backend_connection_time, client_connection_time, client_disconnection_time, \
         client_idle_duration, majorversion, minorversion, pool_counter, pool_backendpid, \
         pool_connected, status, load_balance_node, client_host, client_port, statement",
    ),
    ("SHOW pool_version", "pool_version"),
    (
        "SHOW pool_cache",
        "num_cache_hits, num_selects, cache_hit_ratio, num_hash_entries, used_hash_entries, \
         num_cache_entries, used_cache_entries_size, free_cache_entries_size, \
         fragment_cache_entries_size",
    ),
    (
        "SHOW pool_backend_stats",
        "node_id, hostname, port, status, role, select_cnt, insert_cnt, update_cnt, delete_cnt, \
         ddl_cnt, other_cnt, panic_cnt, fatal_cnt, error_cnt",
    ),
    (
        "SHOW pool_health_check_stats",
        "node_id, hostname, port, status, role, last_status_change, total_count, success_count, \
         fail_count, skip_count, retry_count, average_retry_count, max_retry_count, max_duration, \
         min_duration, average_duration, last_health_check, last_successful_health_check, \
         last_skip_health_check, last_failed_health_check",
    ),
    ("SHOW pool_status", "item, value, description"),
    ("PGPOOL SHOW ALL", "item, value, description"),
    ("PGPOOL SHOW backend_weight0", "backend_weight0"),
];

/// Names of the columns of an answer.
fn columns(frames: &[Frame]) -> String {
    let description = frames.iter().find(|frame| frame.tag == b'T');
    let description = description.unwrap_or_else(|| panic!("no columns:\n{}", shown(frames)));
    let names = description.columns().into_iter();
    let names: Vec<String> = names
        .map(|c| c.split(':').next().unwrap().to_owned())
        .collect();
    names.join(", ")
}

/// Rows of an answer.
fn rows(frames: &[Frame]) -> Vec<Vec<String>> {
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let text = |row: &Frame| row.values().into_iter().map(Option::unwrap_or_default);
    rows.map(|row| text(row).collect()).collect()
}

/// The tag of an answer, or its error.
fn outcome(frames: &[Frame]) -> String {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    if let Some(error) = error {
        let (state, text) = error.error();
        return format!("{state} {text}");
    }
    let done = frames.iter().find(|frame| frame.tag == b'C');
    let done = done.unwrap_or_else(|| panic!("no end:\n{}", shown(frames)));
    String::from_utf8_lossy(&done.body)
        .trim_end_matches('\0')
        .to_owned()
}

#[test]
fn columns_are_those_of_pgpool_in_both_protocols() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for (command, expected) in COLUMNS {
        let expected = expected.to_owned();
        let (simple, extended) = (wire.query(command), wire.extended(command));
        for frames in [&simple, &extended] {
            assert_eq!(columns(frames), expected, "{command}");
            let rows = rows(frames);
            assert_eq!(outcome(frames), format!("SELECT {}", rows.len()));
            assert!(!rows.is_empty(), "{command}");
        }
    }
    assert_eq!(
        outcome(&wire.query("SHOW pool_foo")),
        "42704 unrecognized configuration parameter \"pool_foo\""
    );
}

/// Counts of `pool_backend_stats` of the primary: select to error.
fn backend_stats(wire: &mut Wire, node: usize) -> Vec<u64> {
    let row = rows(&wire.query("SHOW pool_backend_stats")).swap_remove(node);
    row[5..]
        .iter()
        .map(|count| count.parse().unwrap())
        .collect()
}

#[test]
fn statements_are_counted_by_kind() {
    // Reads on the primary too, so that all counts are of one node.
    let proxy = Options::weights([1, 0, 0]).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("CREATE TEMP TABLE counted (a int PRIMARY KEY)");
    // select, insert, update, delete, ddl, other, panic, fatal, error
    for (text, expected) in [
        ("SELECT 1", [1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("VALUES (1)", [1, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            "WITH a AS (SELECT 1) SELECT * FROM a",
            [1, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (";", [1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("SELECT 1; SELECT 2", [1, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            "INSERT INTO counted VALUES (1)",
            [0, 1, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "INSERT INTO counted VALUES (1)",
            [0, 1, 0, 0, 0, 0, 0, 0, 1],
        ),
        ("UPDATE counted SET a = 2", [0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ("DELETE FROM counted", [0, 0, 0, 1, 0, 0, 0, 0, 0]),
        ("TRUNCATE counted", [0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("DO 'BEGIN END'", [0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("COPY counted TO STDOUT", [0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("REINDEX TABLE counted", [0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("SET work_mem = '1MB'", [0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("SHOW work_mem", [0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("EXPLAIN SELECT 1", [0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("VACUUM counted", [0, 0, 0, 0, 0, 1, 0, 0, 0]),
        // A DELETE for Pgpool-II.
        ("SELEC 1", [0, 0, 0, 0, 0, 1, 0, 0, 1]),
        ("SELECT 1/0", [1, 0, 0, 0, 0, 0, 0, 0, 1]),
        // Answered by the proxy.
        ("SHOW pool_nodes", [0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("PGPOOL SHOW port", [0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let before = backend_stats(&mut wire, 0);
        wire.query(text);
        let after = backend_stats(&mut wire, 0);
        let moved: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        assert_eq!(moved, expected, "{text}");
    }
    // The connection is reset when its client leaves, which is no statement of anybody.
    let before = backend_stats(&mut wire, 0);
    let mut other = Wire::connect(proxy.port(), "postgres");
    other.extended("SELECT 1");
    other.send(&msg::terminate());
    assert!(other.is_closed());
    let after = backend_stats(&mut wire, 0);
    let moved: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    assert_eq!(moved, [1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn probes_are_shown() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let rows = rows(&wire.query("SHOW pool_health_check_stats"));
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_ne!(row[6], "0", "{row:?}");
        assert_eq!((&*row[6], &*row[8]), (&*row[7], "0"), "{row:?}");
        assert_eq!(row[16], row[17]);
        assert_eq!(row[19], "");
    }
}

#[test]
fn sessions_are_shown_to_each_other_without_their_statements() {
    let proxy = Options::weights([0, 1, 0]).start();
    let mut first = Wire::connect(proxy.port(), "postgres");
    let mut second = Wire::connect(proxy.port(), "template1");
    let pid = |wire: &Wire| u32::from_be_bytes(wire.key[..4].try_into().unwrap()).to_string();
    first.query("BEGIN");
    first.query("SELECT 'secret'");
    let backend = first.value("SELECT pg_backend_pid()");
    let of = |rows: &[Vec<String>], pid: &str| -> Vec<Vec<String>> {
        let own = rows.iter().filter(|row| row[0] == pid);
        own.cloned().collect()
    };
    // The client has its answer a moment before its session is idle.
    let start = Instant::now();
    let processes = loop {
        let processes = rows(&second.query("SHOW pool_processes"));
        let row = of(&processes, &pid(&first)).swap_remove(0);
        assert_eq!(row[2..5], ["1", "postgres", "postgres"]);
        if row[7] == "Idle in transaction" {
            break processes;
        }
        assert!(start.elapsed() < DEADLINE, "{row:?}");
    };
    let own = of(&processes, &pid(&second)).swap_remove(0);
    assert_eq!((&*own[3], &*own[7]), ("template1", "Execute command"));

    let pools = rows(&second.query("SHOW pool_pools"));
    let rows_of_first = of(&pools, &pid(&first));
    let here = |row: &&Vec<String>| row[14] == backend;
    let row = rows_of_first.iter().find(here).expect("its server");
    assert_eq!((&*row[4], &*row[15], &*row[17]), ("1", "1", "1"));
    assert_eq!(row[18], "127.0.0.1");
    assert!(
        pools
            .iter()
            .flatten()
            .all(|value| !value.contains("secret"))
    );
    first.query("COMMIT");
    first.send(&msg::terminate());
    assert!(first.is_closed());
    while !of(&rows(&second.query("SHOW pool_processes")), &pid(&first)).is_empty() {
        assert!(start.elapsed() < DEADLINE, "the session is still shown");
    }
}

/// The value of a setting as `PGPOOL SHOW` shows it.
fn setting(wire: &mut Wire, name: &str) -> String {
    wire.value(&format!("PGPOOL SHOW {name}"))
}

#[test]
fn settings_have_the_names_of_pgpool() {
    let mut options = Options::weights([0, 1, 3]);
    options.router = "statement_level_load_balance = true";
    let proxy = options.start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for (name, value) in [
        ("backend_hostname0", "127.0.0.1"),
        ("backend_weight2", "3"),
        ("load_balance_mode", "on"),
        ("statement_level_load_balance", "on"),
        ("disable_load_balance_on_write", "transaction"),
        ("health_check_period", "0.2"),
        ("sr_check_password", "*****"),
        ("listen.workers", &setting(&mut wire, "listen.workers")),
    ] {
        assert_eq!(setting(&mut wire, name), value, "{name}");
    }
    let status = rows(&wire.query("SHOW pool_status"));
    let value = |name: &str| {
        let row = status.iter().find(|row| row[0] == name);
        row.unwrap_or_else(|| panic!("{name} is missing"))[1].clone()
    };
    assert_eq!(value("load_balance_mode"), "1");
    assert_eq!(value("backend_weight2"), "0.750000");
    assert_eq!(value("backend_status1"), "up");
    let group = |wire: &mut Wire, name: &str| {
        let rows = rows(&wire.query(&format!("PGPOOL SHOW {name}")));
        let names = rows.into_iter().map(|mut row| row.swap_remove(0));
        names.collect::<Vec<_>>().join(" ")
    };
    assert!(
        group(&mut wire, "backend").starts_with("backend_hostname0 backend_port0 backend_weight0")
    );
    assert!(group(&mut wire, "health_check").contains("health_check_password"));
    assert_eq!(group(&mut wire, "watchdog"), "");
    let passwords = rows(&wire.query("PGPOOL SHOW ALL"));
    let passwords = passwords.iter().filter(|row| row[0].contains("password"));
    assert!(passwords.clone().count() > 0 && passwords.into_iter().all(|row| row[1] == "*****"));
}

#[test]
fn pgpool_set_and_reset_answer_as_pgpool_does() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    for (command, expected) in [
        ("PGPOOL SET allow_sql_comments TO on", "SET"),
        ("PGPOOL SET notice_per_node_statement = 'off'", "SET"),
        ("PGPOOL SET client_idle_limit TO 300", "SET"),
        ("PGPOOL RESET client_idle_limit", "SET"),
        ("PGPOOL SET check_unlogged_table TO DEFAULT", "SET"),
        ("PGPOOL SET log_per_node_statement TO off", "SET"),
        ("PGPOOL RESET ALL", "RESET"),
        (
            "PGPOOL SET foo TO 1",
            "42704 unrecognized configuration parameter \"foo\"",
        ),
        ("PGPOOL SHOW foo", "42704 config variable \"foo\" not found"),
        (
            "PGPOOL SET port TO 1",
            "55P02 invalid Context, value for parameter \"port\" cannot be changed",
        ),
        (
            "PGPOOL SET log_min_messages TO debug1",
            "55P02 invalid Context, value for parameter \"log_min_messages\" cannot be changed",
        ),
        (
            "PGPOOL SET load_balance_mode TO off",
            "55P02 invalid Context, value for parameter \"load_balance_mode\" cannot be changed",
        ),
        (
            "PGPOOL SET allow_sql_comments TO abc",
            "22023 invalid value for parameter \"allow_sql_comments\": \"abc\"",
        ),
        (
            "PGPOOL SET client_idle_limit TO -5",
            "22023 -5 is outside the valid range for parameter \"client_idle_limit\" \
             (0 .. 2147483647)",
        ),
    ] {
        assert_eq!(outcome(&wire.query(command)), expected, "{command}");
        assert_eq!(
            outcome(&wire.extended(command)),
            expected,
            "{command}, extended"
        );
    }
    wire.query("PGPOOL SET client_idle_limit TO '5min'");
    assert_eq!(setting(&mut wire, "client_idle_limit"), "300");
    wire.query("PGPOOL RESET ALL");
    assert_eq!(setting(&mut wire, "client_idle_limit"), "0");
    // An error of the console is an error like any other.
    wire.query("BEGIN");
    wire.query("PGPOOL SET foo TO 1");
    assert_eq!(outcome(&wire.query("COMMIT")), "ROLLBACK");
}

#[test]
fn a_session_may_allow_comments_for_itself() {
    let proxy = Options::weights([0, 1, 0]).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let ports: Vec<String> = cluster()
        .nodes()
        .iter()
        .map(|n| n.port().to_string())
        .collect();
    let commented = "/* c */ SELECT inet_server_port()";
    assert_eq!(wire.value(commented), ports[0]);
    wire.query("PGPOOL SET allow_sql_comments TO on");
    assert_eq!(wire.value(commented), ports[1]);
    assert_eq!(rows(&wire.extended(commented))[0][0], ports[1]);
    assert_eq!(setting(&mut wire, "allow_sql_comments"), "on");
    // It is nobody else's.
    let mut other = Wire::connect(proxy.port(), "postgres");
    assert_eq!(other.value(commented), ports[0]);
    for reset in ["PGPOOL RESET allow_sql_comments", "PGPOOL RESET ALL"] {
        wire.query(reset);
        assert_eq!(wire.value(commented), ports[0], "{reset}");
        assert_eq!(setting(&mut wire, "allow_sql_comments"), "off");
        wire.query("PGPOOL SET allow_sql_comments TO on");
        assert_eq!(wire.value(commented), ports[1]);
    }
    // Inside a transaction at once, and whatever becomes of it.
    wire.query("BEGIN");
    assert_eq!(wire.value(commented), ports[1]);
    wire.query("PGPOOL SET allow_sql_comments TO off");
    assert_eq!(wire.value(commented), ports[0]);
    wire.query("ROLLBACK");
    assert_eq!(wire.value(commented), ports[0]);
}

#[test]
fn a_client_that_stays_idle_is_disconnected_if_it_wanted_that() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("PGPOOL SET client_idle_limit TO 1");
    // Not idle, although it says nothing for longer.
    wire.query("SELECT pg_sleep(1.5)");
    let frame = wire.read().unwrap();
    assert_eq!(frame.field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(
        frame.error(),
        ("57000".into(), "unable to read data".into())
    );
    let detail = "child connection forced to terminate due to client_idle_limit:1 is reached";
    assert_eq!(frame.field(b'D').as_deref(), Some(detail));
    assert!(wire.is_closed());
}

/// Message and detail of each notice, and the tags of all messages.
fn notices(frames: &[Frame]) -> (Vec<(String, Option<String>)>, String) {
    let notices = frames.iter().filter(|frame| frame.tag == b'N');
    let notice = |frame: &Frame| {
        assert_eq!(frame.field(b'S').as_deref(), Some("NOTICE"));
        let (state, text) = frame.error();
        assert_eq!(state, "00000");
        (text, frame.field(b'D'))
    };
    let tags = frames.iter().map(|frame| char::from(frame.tag)).collect();
    (notices.map(notice).collect(), tags)
}

#[test]
fn notices_say_where_statements_go() {
    let proxy = Options::weights([0, 1, 0]).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    assert_eq!(notices(&wire.query("SELECT 1")).0, []);
    wire.query("PGPOOL SET notice_per_node_statement TO on");
    let text = |node: u8, what: &str| (format!("DB node id: {node} statement: {what}"), None);
    let frames = wire.query("SELECT 1");
    assert_eq!(
        notices(&frames),
        (vec![text(1, "SELECT 1")], "NTDCZ".into())
    );
    let frames = wire.query("EXPLAIN SELECT 1");
    assert_eq!(notices(&frames).0, [text(0, "EXPLAIN SELECT 1")]);
    // What the proxy answers goes nowhere.
    assert_eq!(notices(&wire.query("BEGIN")).0, []);
    wire.query("COMMIT");
    let frames = wire.extended("SELECT 2");
    let three = ["Parse: SELECT 2", "Bind: SELECT 2", "Execute: SELECT 2"];
    let expected = three.map(|what| text(1, what)).to_vec();
    assert_eq!(notices(&frames), (expected.clone(), "N1N2TNDCZ".into()));
    // In the order in which things happen, also in a pipeline over two nodes.
    let batch = [
        msg::statement("SELECT 2", &[]),
        msg::statement("EXPLAIN SELECT 1", &[]),
        msg::sync(),
    ];
    wire.send(&batch.concat());
    let (texts, tags) = notices(&wire.until(b'Z'));
    assert_eq!(tags, "N1N2TNDCN1N2TNDCZ");
    assert_eq!(texts[..3], expected);
    assert_eq!(texts[5], text(0, "Execute: EXPLAIN SELECT 1"));
    wire.query("PGPOOL RESET ALL");
    assert_eq!(notices(&wire.query("SELECT 1")).0, []);
}

#[test]
fn notices_say_why_on_request() {
    let proxy = Options::weights([0, 1, 0]).start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    let detail = |frames: &[Frame]| {
        let (mut notices, _) = notices(frames);
        notices.pop().map(|(_, detail)| detail.unwrap_or_default())
    };
    wire.query("SET pgsteer.notice_route = on");
    let said = detail(&wire.query("/* c */ SELECT 1")).unwrap();
    for part in [
        "rule: as the plugin said",
        "plugin: pgpool-router 0.1.0 (90-pgpool-router)",
        "plugin said: primary: its text does not begin like a read",
        "facts: reads only, leading comment",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    let said = detail(&wire.extended("SELECT 1")).unwrap();
    assert!(said.contains("plugin said: balanced"), "{said}");
    wire.query("SET pgsteer.notice_route = off");
    assert_eq!(detail(&wire.query("SELECT 1")), None);
    // As long as the setting lasts.
    wire.query("BEGIN");
    wire.query("SET LOCAL pgsteer.notice_route = on");
    assert!(detail(&wire.query("SELECT 1")).is_some());
    wire.query("ROLLBACK");
    assert_eq!(detail(&wire.query("SELECT 1")), None);
    wire.query("SET pgsteer.notice_route = on");
    wire.query("RESET pgsteer.notice_route");
    assert_eq!(detail(&wire.query("SELECT 1")), None);
}
