//! tokio-postgres: prepared statements it names itself, pipelines, transactions, portals, COPY,
//! cancelling, and several clients at once.

use anyhow::{Result, ensure};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{SESSION, TRANSACTION, proxy};
use crate::support::{cluster, database, runtime};

async fn connect(port: u16, name: &str) -> Result<Client> {
    let password = pgsteer_testkit::DEFAULT_PASSWORD;
    let text =
        format!("host=127.0.0.1 port={port} user=postgres password={password} dbname={name}");
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn use_it(port: u16, name: &str) -> Result<()> {
    let mut client = connect(port, name).await?;
    client
        .batch_execute("CREATE TABLE rust (a int PRIMARY KEY, b text)")
        .await?;
    let insert = client.prepare("INSERT INTO rust VALUES ($1, $2)").await?;
    for number in 0..50 {
        client
            .execute(&insert, &[&number, &format!("row {number}")])
            .await?;
    }
    transactions(&mut client).await?;
    pipelines(&client).await?;

    client.batch_execute("SET work_mem = '7MB'").await?;
    let shown = client.simple_query("SHOW work_mem").await?;
    let rows = shown.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(rows.collect::<Vec<_>>(), ["7MB"]);
    cancelled(&client, name).await?;

    // A type that the driver looks up at the server.
    client
        .batch_execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        .await?;
    let statement = client.prepare("SELECT 'sad'::mood").await?;
    assert_eq!(statement.columns()[0].type_().name(), "mood");
    // The type of a result changes under a prepared statement.
    let all = client.prepare("SELECT * FROM rust WHERE a = 1").await?;
    client.query(&all, &[]).await?;
    client
        .batch_execute("ALTER TABLE rust ADD COLUMN c int")
        .await?;
    let error = client.query(&all, &[]).await.err();
    let state = error.and_then(|error| error.code().map(|code| code.code().to_owned()));
    assert_eq!(
        state.as_deref(),
        Some("0A000"),
        "cached plan must not change result type"
    );

    many(port, name).await
}

async fn transactions(client: &mut Client) -> Result<()> {
    let select = client.prepare("SELECT b FROM rust WHERE a = $1").await?;
    let mut transaction = client.transaction().await?;
    transaction
        .execute("UPDATE rust SET b = 'changed' WHERE a = 1", &[])
        .await?;
    let row = transaction.query_one(&select, &[&1]).await?;
    assert_eq!(row.get::<_, &str>(0), "changed");
    let savepoint = transaction.savepoint("point").await?;
    ensure!(
        savepoint.query("SELECT 1/0", &[]).await.is_err(),
        "an error"
    );
    savepoint.rollback().await?;
    let portal = transaction
        .bind("SELECT a FROM rust ORDER BY a", &[])
        .await?;
    let mut count = 0;
    loop {
        let rows = transaction.query_portal(&portal, 7).await?;
        if rows.is_empty() {
            break;
        }
        count += rows.len();
    }
    assert_eq!(count, 50);
    transaction.rollback().await?;
    let row = client.query_one(&select, &[&1]).await?;
    assert_eq!(row.get::<_, &str>(0), "row 1");
    Ok(())
}

async fn pipelines(client: &Client) -> Result<()> {
    let add = client.prepare("SELECT $1::int + $2::int").await?;
    let (a, b, c, d) = tokio::try_join!(
        client.query_one(&add, &[&1, &2]),
        client.query_one("SELECT count(*) FROM rust", &[]),
        client.query_one(&add, &[&3, &4]),
        client.simple_query("SELECT 1; SELECT 2"),
    )?;
    assert_eq!((a.get::<_, i32>(0), c.get::<_, i32>(0)), (3, 7));
    assert_eq!((b.get::<_, i64>(0), d.len()), (50, 6));
    let fails = client.query_one("SELECT 1/0", &[]);
    let works = client.query_one(&add, &[&5, &6]);
    let (failed, worked) = tokio::join!(fails, works);
    ensure!(failed.is_err(), "it divides by zero");
    assert_eq!(worked?.get::<_, i32>(0), 11);
    Ok(())
}

async fn cancelled(client: &Client, name: &str) -> Result<()> {
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = '{name}'"
    );
    let token = client.cancel_token();
    let (error, cancelled) = tokio::join!(client.query("SELECT pg_sleep(60)", &[]), async {
        // It has no effect before the statement runs.
        let asleep = || async {
            cluster()
                .primary()
                .value(&running)
                .await
                .is_ok_and(|n| n != "0")
        };
        pgsteer_testkit::wait_until(crate::support::DEADLINE, "it sleeps", asleep).await?;
        anyhow::Ok(token.cancel_query(NoTls).await?)
    });
    cancelled?;
    let error = error
        .err()
        .and_then(|error| error.code().map(|c| c.code().to_owned()));
    assert_eq!(error.as_deref(), Some("57014"));
    Ok(())
}

/// More clients than server connections, each with statements of its own.
async fn many(port: u16, name: &str) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(connect(port, name).await?);
    }
    let texts: Vec<String> = (0..clients.len())
        .map(|n| format!("SELECT {n}::int8 + $1"))
        .collect();
    for round in 0..10_i64 {
        for (number, (client, text)) in clients.iter().zip(&texts).enumerate() {
            let row = client.query_one(text.as_str(), &[&round]).await?;
            assert_eq!(row.get::<_, i64>(0), round + i64::try_from(number)?);
        }
    }
    Ok(())
}

fn check(name: &str, port: u16) -> Result<()> {
    runtime().block_on(async {
        let setup = format!("ALTER DATABASE {name} SET synchronous_commit = 'remote_apply'");
        drop(database(name, &setup).await?);
        use_it(port, name).await
    })
}

#[test]
fn tokio_postgres_direct() -> Result<()> {
    check("rust_direct", cluster().primary().port())
}

#[test]
fn tokio_postgres_in_session_mode() -> Result<()> {
    // Each of the clients keeps a connection.
    let proxy = proxy(SESSION);
    check("rust_session", proxy.port())
}

#[test]
fn tokio_postgres_in_transaction_mode() -> Result<()> {
    let proxy = proxy(TRANSACTION);
    check("rust_transaction", proxy.port())
}
