//! The console as a database: who may connect to it, and PgBouncer's SHOW commands.

use anyhow::Result;
use pgsteer_testkit::psql;

use crate::support::{Frame, Login, Options, Wire, database, msg, runtime, shown};

/// Logs in as `alice`, who may only look.
const ALICE: Login<'_> = Login {
    user: "alice",
    password: "alice's secret",
    parameters: &[],
};

const OLD: Login<'_> = Login {
    user: "old",
    password: "old secret",
    parameters: &[],
};

/// Names and types of the columns of an answer: `t` text, `i` int4, `q` int8, `n` numeric.
fn typed_columns(frames: &[Frame]) -> String {
    let Some(description) = frames.iter().find(|frame| frame.tag == b'T') else {
        return String::new();
    };
    let mut rest = &description.body[2..];
    let mut columns = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).expect("a name");
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let oid = u32::from_be_bytes(rest[end + 7..end + 11].try_into().expect("an oid"));
        let kind = match oid {
            25 => 't',
            23 => 'i',
            20 => 'q',
            1700 => 'n',
            other => panic!("type {other}"),
        };
        columns.push(format!("{name}:{kind}"));
        rest = &rest[end + 19..];
    }
    columns.join(" ")
}

/// The rows of an answer.
fn rows(frames: &[Frame]) -> Vec<Vec<String>> {
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let texts = |row: &Frame| row.values().into_iter().map(Option::unwrap_or_default);
    rows.map(|row| texts(row).collect()).collect()
}

/// The value of a column in the row whose first column is this.
fn value(wire: &mut Wire, show: &str, first: &str, column: &str) -> String {
    let frames = wire.query(show);
    let description = frames
        .iter()
        .find(|frame| frame.tag == b'T')
        .expect("columns");
    let columns = description.column_names();
    let at = columns
        .iter()
        .position(|c| c.split(':').next() == Some(column))
        .expect(column);
    let rows = rows(&frames);
    let row = rows.iter().find(|row| row[0] == first);
    row.unwrap_or_else(|| panic!("no {first} in {show}:\n{}", shown(&frames)))[at].clone()
}

/// Columns of PgBouncer 1.25's `src/admin.c` and `src/stats.c`.
const COLUMNS: &[(&str, &str)] = &[
    (
        "POOLS",
        "database:t user:t cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode:t load_balance_hosts:t",
    ),
    ("CLIENTS", SOCKET),
    ("SERVERS", SOCKET),
    (
        "STATS_TOTALS",
        "database:t server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n xact_time:n query_time:n wait_time:n client_parse_count:n server_parse_count:n bind_count:n client_login_count:n",
    ),
    (
        "STATS_AVERAGES",
        "database:t server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n xact_time:n query_time:n wait_time:n avg_client_parse_count:n avg_server_parse_count:n avg_bind_count:n avg_client_login_count:n",
    ),
    ("TOTALS", "name:t value:n"),
    (
        "DATABASES",
        "name:t host:t port:i database:t force_user:t pool_size:i min_pool_size:i reserve_pool_size:i server_lifetime:i pool_mode:t load_balance_hosts:t max_connections:i current_connections:i max_client_connections:i current_client_connections:i paused:i disabled:i",
    ),
    (
        "USERS",
        "name:t pool_size:t reserve_pool_size:t pool_mode:t max_user_connections:i current_connections:i max_user_client_connections:i current_client_connections:i",
    ),
    ("PEERS", "peer_id:i host:t port:i pool_size:i"),
    (
        "PEER_POOLS",
        "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i",
    ),
    ("CONFIG", "key:t value:t default:t changeable:t"),
    ("LISTS", "list:t items:i"),
    ("VERSION", "version:t"),
    ("MEM", "name:t size:i used:i free:i memtotal:i"),
    ("DNS_HOSTS", "hostname:t ttl:q addrs:t"),
    ("DNS_ZONES", "zonename:t serial:q count:i"),
    ("STATE", "key:t value:t"),
];

const SOCKET: &str = "type:t user:t database:t replication:t state:t addr:t port:i local_addr:t local_port:i connect_time:t request_time:t wait:i wait_us:i close_needed:i ptr:t link:t remote_pid:i tls:t application_name:t prepared_statements:i id:i";

#[test]
fn every_show_has_the_columns_and_types_of_pgbouncer() {
    let proxy = Options::default().start();
    let mut client = Wire::connect(proxy.port(), "postgres");
    client.query("SELECT 1");
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    assert_eq!(console.parameters["server_version"], "1.25.0/bouncer");
    for (show, columns) in COLUMNS {
        let frames = console.query(&format!("SHOW {show};"));
        assert_eq!(typed_columns(&frames), *columns, "{show}");
        let tag = frames
            .iter()
            .find(|frame| frame.tag == b'C')
            .expect("a tag");
        assert_eq!(tag.body, b"SHOW\0", "{show}");
        for row in rows(&frames) {
            assert_eq!(row.len(), columns.split(' ').count(), "{show}");
        }
    }
    let buffers =
        "recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i";
    for show in ["SOCKETS", "ACTIVE_SOCKETS"] {
        let frames = console.query(&format!("SHOW {show}"));
        assert_eq!(
            typed_columns(&frames),
            format!("{SOCKET} {buffers}"),
            "{show}"
        );
    }
    let stats = typed_columns(&console.query("SHOW STATS"));
    for name in [
        "total_xact_count:n",
        "total_query_count:n",
        "total_received:n",
        "avg_wait_time:n",
    ] {
        assert!(stats.split(' ').any(|column| column == name), "{stats}");
    }
    let refused = console.query("SHOW FDS");
    assert_eq!(refused[0].error().0, "0A000");
    let help = console.query("SHOW HELP");
    assert_eq!(help[0].tag, b'N');
    assert!(
        help[0]
            .field(b'D')
            .expect("a detail")
            .contains("STATS_TOTALS")
    );
}

#[test]
fn psql_shows_everything_and_commands_of_pgpool_work_there_too() -> Result<()> {
    let proxy = Options::default().start();
    runtime().block_on(async {
        let place = format!("{} password=password", proxy.conninfo("pgsteer"));
        for show in COLUMNS
            .iter()
            .map(|(show, _)| *show)
            .chain(["HELP", "SOCKETS", "STATS"])
        {
            psql(&place, &format!("SHOW {show}")).await?.success()?;
        }
        let nodes = psql(&place, "SHOW pool_nodes").await?.success()?;
        assert_eq!(nodes.lines().count(), 3, "{nodes}");
        let pools = psql(&place, "SHOW pool_pools").await?.success()?;
        assert!(pools.contains("pgsteer"), "{pools}");
        assert!(psql(&place, "SELECT 1").await?.success().is_err());
        anyhow::Ok(())
    })
}

#[test]
fn only_operators_and_watchers_get_in_and_watchers_only_look() {
    let proxy = Options::default().start();
    let mut watcher = Wire::open(proxy.port());
    assert!(watcher.log_in(&ALICE, "pgbouncer").is_none());
    assert_eq!(rows(&watcher.query("SHOW STATE"))[0], ["active", "yes"]);
    for order in [
        "PAUSE",
        "RELOAD",
        "SHUTDOWN",
        "KILL postgres",
        "SET a = 1",
        "SHOW FDS",
    ] {
        let frames = watcher.query(order);
        assert_eq!(frames[0].error().0, "42501", "{order}");
    }
    let mut stranger = Wire::open(proxy.port());
    let refused = stranger.log_in(&OLD, "pgsteer").expect("a refusal");
    assert_eq!(refused.error().0, "42501");
    // Not even its name can be tried without a password that is right.
    let mut wrong = Wire::open(proxy.port());
    let nobody = Login {
        user: "zzz",
        ..ALICE
    };
    assert!(wrong.log_in(&nobody, "pgbouncer").is_some());
    let mut operator = Wire::connect(proxy.port(), "pgbouncer");
    for (text, state) in [
        ("SELECT 1", "42601"),
        ("SHOW POOLS; SHOW STATS", "42601"),
        ("DISABLE", "42601"),
    ] {
        assert_eq!(operator.query(text)[0].error().0, state, "{text}");
    }
    assert_eq!(operator.query("SET timezone = 'UTC'")[0].tag, b'N');
    assert_eq!(operator.query(" ; ")[0].tag, b'I');
    assert_eq!(operator.value("SHOW client_encoding"), "UTF-8");
}

#[test]
fn the_numbers_are_real() -> Result<()> {
    let _database = runtime().block_on(database("console_numbers", ""))?;
    let proxy = Options::default().start();
    let mut console = Wire::connect(proxy.port(), "pgbouncer");
    let mut client = Wire::connect(proxy.port(), "console_numbers");
    let mut other = Wire::connect(proxy.port(), "console_numbers");
    client.query("SELECT 1");
    for sql in ["BEGIN", "SELECT 1", "SELECT pg_sleep(0.05)", "COMMIT"] {
        client.query(sql);
    }
    client.extended("SELECT 2");
    other.query("BEGIN");
    other.query("SELECT 1");
    let mut stat = |column: &str| -> u64 {
        let text = value(&mut console, "SHOW STATS", "console_numbers", column);
        text.parse().expect("a number")
    };
    assert_eq!(stat("total_query_count"), 8);
    assert_eq!(stat("total_xact_count"), 4);
    assert_eq!(stat("total_client_login_count"), 2);
    assert!(stat("total_query_time") >= 50_000, "pg_sleep is in it");
    assert!(stat("total_xact_time") >= stat("total_query_time") / 2);
    assert!(stat("total_received") > 100 && stat("total_sent") > 100);
    assert!(stat("total_server_assignment_count") >= 2);
    let pool =
        |console: &mut Wire, column: &str| value(console, "SHOW POOLS", "console_numbers", column);
    assert_eq!(pool(&mut console, "cl_active"), "2");
    assert_eq!(pool(&mut console, "cl_waiting"), "0");
    let active: u32 = pool(&mut console, "sv_active").parse()?;
    assert!((1..=4).contains(&active), "{active}");
    assert_eq!(
        value(
            &mut console,
            "SHOW DATABASES",
            "console_numbers",
            "current_client_connections"
        ),
        "2"
    );
    let servers = rows(&console.query("SHOW SERVERS"));
    let of_ours = servers.iter().filter(|row| row[2] == "console_numbers");
    let pids: Vec<u32> = of_ours.map(|row| row[16].parse().expect("a pid")).collect();
    let pid: u32 = other.value("SELECT pg_backend_pid()").parse()?;
    assert!(pids.contains(&pid), "{pid} in {pids:?}");
    let lists = value(&mut console, "SHOW LISTS", "used_clients", "items");
    assert_eq!(lists, "3");
    Ok(())
}

#[test]
fn drivers_that_speak_the_extended_protocol_get_numbers() -> Result<()> {
    let proxy = Options::default().start();
    runtime().block_on(async {
        let client = proxy.connect("pgbouncer").await;
        let rows = client.query("SHOW LISTS", &[]).await?;
        let used = rows
            .iter()
            .find(|row| row.get::<_, &str>(0) == "used_clients");
        assert_eq!(used.expect("a row").get::<_, i32>(1), 1);
        let stats = client.query("SHOW STATS", &[]).await?;
        let queries: i64 = stats[0].get("total_query_count");
        assert!(queries > 0);
        assert!(client.query("SELECT 1", &[]).await.is_err());
        client.batch_execute("SHOW STATE").await?;
        anyhow::Ok(())
    })?;
    // An error throws away what comes up to Sync, as on a server.
    let mut wire = Wire::connect(proxy.port(), "pgbouncer");
    wire.send(&msg::bind("", "missing", &[]));
    wire.send(&msg::execute("", 0));
    wire.send(&msg::sync());
    let frames = wire.until(b'Z');
    let tags: Vec<_> = frames.iter().map(|frame| frame.tag).collect();
    assert_eq!(tags, [b'E', b'Z'], "{}", shown(&frames));
    Ok(())
}
