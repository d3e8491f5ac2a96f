//! Cancelling running statements.

use anyhow::Result;
use pgsteer_testkit::wait_until;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::support::{DEADLINE, Options, Wire, cluster, msg, runtime};

const CANCEL: u32 = 80_877_102;

/// Sends a cancel request and waits for the proxy to be done with it.
fn cancel(port: u16, key: &[u8]) {
    let mut wire = Wire::open(port);
    wire.send(&msg::first(&[&CANCEL.to_be_bytes(), key].concat()));
    assert!(wire.is_closed());
}

/// Waits until a server runs a statement with this text in it.
async fn wait_for(mark: &str) -> Result<()> {
    let question = format!(
        "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{mark}%' \
                 AND pid <> pg_backend_pid()"
    );
    wait_until(DEADLINE, mark, || async {
        for node in cluster().nodes() {
            if node.value(&question).await.is_ok() {
                return true;
            }
        }
        false
    })
    .await
}

#[test]
fn a_running_statement_is_cancelled_on_every_node() -> Result<()> {
    runtime().block_on(async {
        for weights in [[1, 0, 0], [0, 1, 1]] {
            let proxy = Options::weights(weights).start();
            let client = proxy.connect("postgres").await;
            let token = client.cancel_token();
            let mark = format!("cancel me {weights:?}");
            // Generates rows for hours; a read, unlike pg_sleep.
            let sql = format!("SELECT count(*), '{mark}' FROM generate_series(1, 1000000000000)");
            let running = async { client.batch_execute(&sql).await };
            let cancelled = async {
                wait_for(&mark).await?;
                anyhow::Ok(token.cancel_query(NoTls).await?)
            };
            let (ended, cancelled) = tokio::join!(running, cancelled);
            cancelled?;
            let error = ended.expect_err("it was cancelled");
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{weights:?}");
            // The session goes on.
            let row = client.query_one("SELECT 42", &[]).await?;
            assert_eq!(row.get::<_, i32>(0), 42);
        }
        Ok(())
    })
}

#[test]
fn only_the_right_key_cancels_and_only_its_own_session() -> Result<()> {
    runtime().block_on(async {
        let proxy = Options::weights([1, 0, 0]).start();
        let client = proxy.connect("postgres").await;
        let port = proxy.port();
        let others: Vec<Wire> = (0..3).map(|_| Wire::connect(port, "postgres")).collect();
        let sql = "SELECT pg_advisory_lock(4711), 'not to be cancelled'";
        let holder = cluster().primary().connect("postgres").await?;
        holder
            .batch_execute("SELECT pg_advisory_lock(4711)")
            .await?;
        let running = client.query(sql, &[]);
        let attempts = async {
            wait_for("not to be cancelled").await?;
            for other in &others {
                cancel(port, &other.key);
                let mut wrong = other.key.clone();
                *wrong.last_mut().unwrap() ^= 1;
                cancel(port, &wrong);
            }
            cancel(port, &[0; 8]);
            cancel(port, &[0xff; 8]);
            wait_for("not to be cancelled").await?;
            anyhow::Ok(
                holder
                    .batch_execute("SELECT pg_advisory_unlock(4711)")
                    .await?,
            )
        };
        let (ended, attempts) = tokio::join!(running, attempts);
        attempts?;
        ended?;
        Ok(())
    })
}

/// The server connection of an ended or idle session serves somebody else: a late cancel must not
/// hit that one.
#[test]
fn a_late_cancel_hits_nobody() -> Result<()> {
    runtime().block_on(async {
        let options = Options {
            pool: "connections_per_node_max = 1",
            ..Options::weights([1, 0, 0])
        };
        let proxy = options.start();
        let mut first = Wire::connect(proxy.port(), "postgres");
        first.query("SELECT 1");
        let key = first.key.clone();
        first.send(&msg::terminate());
        drop(first);

        let client = proxy.connect("postgres").await;
        let holder = cluster().primary().connect("postgres").await?;
        holder
            .batch_execute("SELECT pg_advisory_lock(4712)")
            .await?;
        let sql = "SELECT pg_advisory_lock(4712), 'somebody else'";
        let running = client.query(sql, &[]);
        let attempts = async {
            wait_for("somebody else").await?;
            cancel(proxy.port(), &key);
            wait_for("somebody else").await?;
            anyhow::Ok(
                holder
                    .batch_execute("SELECT pg_advisory_unlock(4712)")
                    .await?,
            )
        };
        let (ended, attempts) = tokio::join!(running, attempts);
        attempts?;
        ended?;
        Ok(())
    })
}
