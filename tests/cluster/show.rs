//! The console: SHOW pool_nodes and its relatives.

use anyhow::Result;

use crate::support::{Options, Wire, cluster, runtime};

const COLUMNS: [&str; 14] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "pg_status",
    "lb_weight",
    "role",
    "pg_role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
    "replication_state",
    "replication_sync_state",
    "last_status_change",
];

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
        assert_eq!(names, COLUMNS);
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
fn pool_plugins_names_the_built_in_router() {
    let proxy = Options::default().start();
    let mut wire = Wire::connect(proxy.port(), "postgres");
    wire.query("SELECT 1");
    for frames in [
        wire.query("SHOW pool_plugins"),
        wire.extended("SHOW pool_plugins"),
    ] {
        let rows: Vec<_> = frames.iter().filter(|frame| frame.tag == b'D').collect();
        assert_eq!(rows.len(), 1);
        let values: Vec<String> = rows[0].values().into_iter().map(Option::unwrap).collect();
        assert_eq!(values.len(), 11);
        assert_eq!(
            (&*values[0], &*values[1]),
            ("90-pgpool-router", "pgpool-router")
        );
        assert_eq!(values[3].len(), 64);
        assert_ne!(values[6], "0", "calls");
        assert_eq!(values[8], "0", "failures");
        assert_eq!((&*values[9], &*values[10]), ("live", ""));
    }
}

#[test]
fn the_console_works_inside_a_transaction_and_a_pipeline() {
    use crate::support::msg;
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
