//! sqlx: the extended protocol in binary, statements it names itself, a pool, a listener, COPY.
//! `drivers-sqlx PORT DATABASE` ends with an error when something is not as it should be.

use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::postgres::{
    PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolCopyExt as _, PgPoolOptions,
};
use sqlx::{Connection as _, Executor as _, Row as _};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("no port")?.parse()?;
    let database = arguments.next().ok_or("no database")?;
    let options = PgConnectOptions::new()
        .host("127.0.0.1")
        .port(port)
        .username("postgres")
        .password("password")
        .database(&database)
        .options([("statement_timeout", "30s")]);
    let mut conn = PgConnection::connect_with(&options).await?;
    statements(&mut conn).await?;
    transactions(&mut conn).await?;
    errors(&mut conn).await?;
    let pool = PgPoolOptions::new().max_connections(5);
    let pool = pool.connect_with(options.clone()).await?;
    pooled(&pool).await?;
    copies(&pool).await?;
    heard(&pool).await?;
    given_up(&mut conn).await?;
    conn.close().await?;
    pool.close().await;
    Ok(())
}

async fn statements(conn: &mut PgConnection) -> Result {
    conn.execute("CREATE TABLE sqlx (a int PRIMARY KEY, b text)")
        .await?;
    for number in 0..50 {
        let insert = sqlx::query("INSERT INTO sqlx VALUES ($1, $2)");
        let insert = insert.bind(number).bind(format!("row {number}"));
        assert_eq!(insert.execute(&mut *conn).await?.rows_affected(), 1);
    }
    // One name each, and a cache that forgets.
    for number in 0..200 {
        let text = format!("SELECT {number} + $1");
        let sum: i32 = sqlx::query_scalar(&text)
            .bind(1)
            .fetch_one(&mut *conn)
            .await?;
        assert_eq!(sum, number + 1);
    }
    let mut rows = sqlx::query("SELECT a, b FROM sqlx ORDER BY a").fetch(&mut *conn);
    let mut count = 0;
    while let Some(row) = rows.next().await {
        let row = row?;
        assert_eq!(row.get::<i32, _>(0), count);
        assert_eq!(row.get::<&str, _>("b"), format!("row {count}"));
        count += 1;
    }
    drop(rows);
    assert_eq!(count, 50);
    let several = "SELECT 1; SELECT 2; SELECT 3";
    assert_eq!(sqlx::raw_sql(several).fetch_all(&mut *conn).await?.len(), 3);
    let described = conn.describe("SELECT a, b FROM sqlx WHERE a = $1").await?;
    assert_eq!(described.columns.len(), 2);
    let shown: String = sqlx::query_scalar("SHOW statement_timeout")
        .fetch_one(&mut *conn)
        .await?;
    assert_eq!(shown, "30s");
    conn.execute("SET work_mem = '7MB'").await?;
    let shown: String = sqlx::query_scalar("SHOW work_mem")
        .fetch_one(&mut *conn)
        .await?;
    assert_eq!(shown, "7MB");
    // A type that the driver looks up at the server.
    conn.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        .await?;
    let row = sqlx::query("SELECT 'sad'::mood")
        .fetch_one(&mut *conn)
        .await?;
    assert_eq!(row.try_get_unchecked::<&str, _>(0)?, "sad");
    Ok(())
}

async fn transactions(conn: &mut PgConnection) -> Result {
    let select = "SELECT b FROM sqlx WHERE a = $1";
    let update = "UPDATE sqlx SET b = $1 WHERE a = 1";
    let mut outer = conn.begin().await?;
    sqlx::query(update)
        .bind("outer")
        .execute(&mut *outer)
        .await?;
    let mut inner = outer.begin().await?;
    sqlx::query(update)
        .bind("inner")
        .execute(&mut *inner)
        .await?;
    inner.rollback().await?;
    let seen: String = sqlx::query_scalar(select)
        .bind(1)
        .fetch_one(&mut *outer)
        .await?;
    assert_eq!(seen, "outer");
    // Dropped, so it is rolled back before the next statement.
    drop(outer);
    let seen: String = sqlx::query_scalar(select)
        .bind(1)
        .fetch_one(&mut *conn)
        .await?;
    assert_eq!(seen, "row 1");
    let mut kept = conn.begin().await?;
    sqlx::query(update).bind("kept").execute(&mut *kept).await?;
    kept.commit().await?;
    let seen: String = sqlx::query_scalar(select)
        .bind(1)
        .fetch_one(&mut *conn)
        .await?;
    assert_eq!(seen, "kept");
    Ok(())
}

async fn errors(conn: &mut PgConnection) -> Result {
    let divided = sqlx::query("SELECT 1 / $1")
        .bind(0)
        .execute(&mut *conn)
        .await;
    let error = divided.err().ok_or("it divides by zero")?;
    let error = error.as_database_error().ok_or("the server's word")?;
    assert_eq!(error.code().as_deref(), Some("22012"));
    // The type of a result changes under a prepared statement.
    let all = "SELECT * FROM sqlx WHERE a = 1";
    sqlx::query(all).fetch_one(&mut *conn).await?;
    conn.execute("ALTER TABLE sqlx ADD COLUMN c int").await?;
    let error = sqlx::query(all).fetch_one(&mut *conn).await.err();
    let error = error.ok_or("cached plan must not change result type")?;
    let error = error.as_database_error().ok_or("the server's word")?;
    assert_eq!(error.code().as_deref(), Some("0A000"));
    Ok(())
}

/// More at once than the pool has connections.
async fn pooled(pool: &PgPool) -> Result {
    let count = |number: i64| async move {
        let query = sqlx::query_scalar("SELECT count(*) + $1 FROM sqlx").bind(number);
        let sum: i64 = query.fetch_one(pool).await?;
        assert_eq!(sum, 50 + number);
        Result::Ok(())
    };
    for done in futures_util::future::join_all((0..40).map(count)).await {
        done?;
    }
    Ok(())
}

async fn copies(pool: &PgPool) -> Result {
    let mut into = pool.copy_in_raw("COPY sqlx (a, b) FROM STDIN").await?;
    for number in 1000..2000 {
        let line = format!("{number}\tcopied\n");
        into.send(line.into_bytes()).await?;
    }
    assert_eq!(into.finish().await?, 1000);
    let mut out = pool
        .copy_out_raw("COPY (SELECT a FROM sqlx WHERE a >= 1000) TO STDOUT")
        .await?;
    let mut len = 0;
    while let Some(part) = out.next().await {
        len += part?.len();
    }
    assert_eq!(len, 5000);
    let mut aborted = pool.copy_in_raw("COPY sqlx (a, b) FROM STDIN").await?;
    aborted.send(b"3000\tnever\n".as_slice()).await?;
    aborted.abort("no").await?;
    Ok(())
}

async fn heard(pool: &PgPool) -> Result {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("sqlx").await?;
    sqlx::query("SELECT pg_notify('sqlx', $1)")
        .bind("hello")
        .execute(pool)
        .await?;
    let notification = tokio::time::timeout(Duration::from_secs(60), listener.recv()).await??;
    assert_eq!(notification.payload(), "hello");
    Ok(())
}

/// A statement that nobody waits for to the end: its rows are thrown away before the next one.
async fn given_up(conn: &mut PgConnection) -> Result {
    let mut rows = sqlx::query("SELECT generate_series(1, 10000)").fetch(&mut *conn);
    assert!(rows.next().await.is_some());
    drop(rows);
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut *conn).await?;
    assert_eq!(one, 1);
    conn.ping().await?;
    Ok(())
}
