//! Cancelling running statements.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use pgsteer_testkit::wait_until;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::support::{DEADLINE, Frame, Options, Wire, cluster, msg, runtime};

const CANCEL: u32 = 80_877_102;

/// Sends a cancel request and waits for the proxy to be done with it.
pub(crate) fn cancel(port: u16, key: &[u8]) {
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

/// A key of protocol 3.2 has 32 bytes, and every one of them counts.
#[test]
fn a_long_key_cancels_only_if_it_is_whole() -> Result<()> {
    runtime().block_on(async {
        let proxy = Options::weights([1, 0, 0]).start();
        let mut wire = Wire::open(proxy.port());
        wire.send(&msg::startup(3 << 16 | 2, &[("user", "postgres")]));
        let frames = wire.until(b'Z');
        let key = frames.iter().find(|f| f.tag == b'K').unwrap().body.clone();
        assert_eq!(key.len(), 36);
        wire.send(&msg::query("SELECT pg_sleep(1000), 'a long key'"));
        wait_for("a long key").await?;
        for at in 4..key.len() {
            let mut wrong = key.clone();
            wrong[at] ^= 1;
            cancel(proxy.port(), &wrong);
        }
        cancel(proxy.port(), &key[..8]);
        cancel(proxy.port(), &[&key[..], &[0]].concat());
        wait_for("a long key").await?;
        cancel(proxy.port(), &key);
        let frames = wire.until(b'Z');
        assert!(frames.iter().any(|frame| frame.error().0 == "57014"));
        Ok(())
    })
}

/// It has no server yet that could be told.
#[test]
fn a_statement_that_waits_for_a_connection_is_cancelled() {
    let options = Options {
        listen: "workers = 1",
        pool: "connections_per_node_max = 1",
        ..Options::weights([1, 0, 0])
    };
    let proxy = options.start();
    // From the second on the proxy knows what to tell a client at its login.
    let mut holder = Wire::connect(proxy.port(), "postgres");
    holder.query("BEGIN");
    holder.query("SELECT 1");
    let mut waiter = Wire::connect(proxy.port(), "postgres");
    waiter.send(&msg::query("SELECT 2"));
    waiter.set_patience(std::time::Duration::from_millis(100));
    let deadline = Instant::now() + DEADLINE;
    // Repeated, for the statement may not have arrived.
    let frames = loop {
        cancel(proxy.port(), &waiter.key);
        let (frames, complete) = waiter.read_until(b'Z');
        if complete {
            break frames;
        }
        assert!(Instant::now() < deadline, "never cancelled");
    };
    waiter.set_patience(DEADLINE);
    assert_eq!(frames[0].error().0, "57014");
    holder.query("COMMIT");
    holder.send(&msg::terminate());
    assert!(holder.is_closed());
    assert_eq!(waiter.value("SELECT 3"), "3");
}

/// Statements that are cancelled and statements that nobody cancels take turns on the same few
/// servers, and requests come at any moment: before, while and after a statement runs.
#[expect(clippy::too_many_lines, reason = "the steps of one story")]
fn cancels_hit_their_addressees_only(pool: &'static str) {
    const CANCELLED: usize = 40;
    const UNDISTURBED: usize = 400;
    let options = Options {
        pool,
        ..Options::weights([1, 0, 0])
    };
    let proxy = options.start();
    let port = proxy.port();
    let keys: [Mutex<Option<Vec<u8>>>; 2] = [Mutex::new(None), Mutex::new(None)];
    let (cancelled, undisturbed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    let is_over = || {
        let enough = cancelled.load(Ordering::Relaxed) >= CANCELLED
            && undisturbed.load(Ordering::Relaxed) >= UNDISTURBED;
        enough || over.load(Ordering::Relaxed)
    };
    let sql = "SELECT count(*) FROM generate_series(1, 20000)";
    let victim = |key: &Mutex<Option<Vec<u8>>>| {
        while !is_over() {
            let mut wire = Wire::connect(port, "postgres");
            *key.lock().unwrap() = Some(wire.key.clone());
            for round in 0..6 {
                let frames = if round % 2 == 0 {
                    wire.query(sql)
                } else {
                    wire.extended(sql)
                };
                if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
                    assert_eq!(error.error().0, "57014", "{}", error.shown());
                    cancelled.fetch_add(1, Ordering::Relaxed);
                }
            }
            wire.send(&msg::terminate());
        }
    };
    let bystander = || {
        while !is_over() {
            let mut wire = Wire::connect(port, "postgres");
            for _ in 0..6 {
                for frames in [wire.query(sql), wire.extended("SELECT 1")] {
                    let error = frames.iter().find(|frame| frame.tag == b'E');
                    assert_eq!(error.map(Frame::shown), None);
                    undisturbed.fetch_add(1, Ordering::Relaxed);
                }
            }
            wire.send(&msg::terminate());
        }
    };
    let canceller = |key: &Mutex<Option<Vec<u8>>>| {
        let deadline = Instant::now() + DEADLINE;
        while !is_over() && Instant::now() < deadline {
            let key = key.lock().unwrap().clone();
            if let Some(key) = key {
                cancel(port, &key);
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| victim(key));
            scope.spawn(|| canceller(key));
        }
        for _ in 0..3 {
            scope.spawn(bystander);
        }
    });
    let counts = (cancelled.into_inner(), undisturbed.into_inner());
    assert!(
        counts.0 >= CANCELLED && counts.1 >= UNDISTURBED,
        "{counts:?}"
    );
}

#[test]
fn cancels_hit_their_addressees_only_when_sessions_take_turns() {
    cancels_hit_their_addressees_only("connections_per_node_max = 4\nmode = \"session\"");
}

#[test]
fn cancels_hit_their_addressees_only_when_transactions_take_turns() {
    cancels_hit_their_addressees_only("connections_per_node_max = 3\nmode = \"transaction\"");
}
