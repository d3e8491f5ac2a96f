//! The clients: each moves money until the books are closed.

use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::books::{Attempt, Books, Outcome, Stamp};
use crate::driver::Driver;
use crate::plan::Random;
use crate::wire::{Wire, shown};
use crate::wire_session::WireSession;

/// A transfer to be made.
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) amount: usize,
    /// How it is sent; each session has its own ways.
    pub(crate) way: usize,
}

/// What a session says about an order.
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) decided: Instant,
    pub(crate) autocommit: bool,
    /// What came back, if it was not a plain success.
    pub(crate) said: String,
}

/// One connection of a client.
pub(crate) trait Session {
    /// Makes a transfer.
    fn transfer(&mut self, order: &Order) -> Report;
    /// How many rows there are of an attempt; `None` if that was refused.
    fn rows_of(&mut self, id: u64) -> Option<String>;
    /// Whether it can go on.
    fn is_alive(&self) -> bool;
    /// Something that must not be.
    fn findings(&mut self) -> Vec<String>;
}

/// Starts all clients.
pub(crate) fn start<'s>(
    scope: &'s Scope<'s, '_>,
    books: &'s Books,
    port: u16,
    seed: u64,
) -> Vec<ScopedJoinHandle<'s, ()>> {
    let mut threads = Vec::new();
    for client in 0..WIRE_CLIENTS + DRIVER_CLIENTS {
        let random = Random::new(seed ^ (u64::from(client) << 32));
        threads.push(scope.spawn(move || {
            let open = || -> Result<Box<dyn Session>> {
                if client < WIRE_CLIENTS {
                    Ok(Box::new(WireSession::open(port, client)?))
                } else {
                    Ok(Box::new(Driver::open(port, client)?))
                }
            };
            work(books, client, random, open);
        }));
    }
    for _ in 0..READERS {
        threads.push(scope.spawn(move || read(books, port)));
    }
    threads
}

fn work(
    books: &Books,
    client: u32,
    mut random: Random,
    open: impl Fn() -> Result<Box<dyn Session>>,
) {
    let mut session = None;
    let mut before = String::new();
    while books.pause(BETWEEN_ATTEMPTS) {
        let Some(open) = session.take().or_else(|| open().ok()) else {
            continue;
        };
        let mut used: Box<dyn Session> = open;
        let from = random.below(ACCOUNTS);
        let order = Order {
            id: books.next_id(),
            from,
            to: (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS,
            amount: 1 + random.below(100),
            way: random.below(64),
        };
        let begun = Instant::now();
        let report = used.transfer(&order);
        let acknowledged = report.outcome == Outcome::Acknowledged;
        let told = format!(
            "way {}, {:?}: {}",
            order.way % 4,
            report.outcome,
            report.said
        );
        books.note(Attempt {
            id: order.id,
            client,
            autocommit: report.autocommit,
            begun,
            decided: report.decided,
            ended: Instant::now(),
            outcome: report.outcome,
            said: report.said,
            stamp: report.stamp,
        });
        // Sessions read their own writes, before, during and after a failover.
        if acknowledged
            && random.below(4) == 0
            && let Some(rows) = used.rows_of(order.id)
            && rows != "1"
        {
            let id = order.id;
            books.find(format!(
                "client {client} sees {rows} rows of its attempt {id}"
            ));
        }
        for finding in used.findings() {
            let id = order.id;
            books.find(format!(
                "client {client}, attempt {id}: {finding}; {told}; the attempt before: {before}"
            ));
        }
        before = told;
        if used.is_alive() {
            session = Some(used);
        } else {
            books.sessions_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads that have nothing to do with the primary.
fn read(books: &Books, port: u16) {
    let mut session = None;
    while books.pause(BETWEEN_ATTEMPTS) {
        let opened = session
            .take()
            .or_else(|| Wire::try_connect(port, "postgres", ANSWER_DEADLINE).ok());
        let Some(mut wire): Option<Wire> = opened else {
            continue;
        };
        wire.send(&crate::wire::msg::query("SELECT count(*) FROM accounts"));
        let (frames, answered) = wire.read_until(b'Z');
        if !answered {
            books.find("a read got no answer".to_owned());
            continue;
        }
        let row = frames.iter().find(|frame| frame.tag == b'D');
        match row.and_then(|row| row.values().swap_remove(0)) {
            Some(count) if count == ACCOUNTS.to_string() => {
                books.reads.fetch_add(1, Ordering::Relaxed);
            }
            Some(count) => books.find(format!("a read sees {count} accounts")),
            None => {
                books.reads_failed.fetch_add(1, Ordering::Relaxed);
                println!("a read failed: {}", shown(&frames).trim_end());
            }
        }
        if frames.last().is_some_and(|frame| frame.tag == b'Z') {
            session = Some(wire);
        } else {
            books.sessions_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a refusal means for the attempt. Connection exceptions and whatever ends a connection leave
/// it open whether a commit went through; anything else says that it did not.
pub(crate) fn judge(severity: &str, state: &str) -> Outcome {
    if severity == "ERROR" && !state.starts_with("08") {
        Outcome::Refused(state.to_owned())
    } else {
        Outcome::Unknown(format!("{severity} {state}"))
    }
}

/// Text of the one statement that makes a transfer. Arguments are numbers or placeholders.
pub(crate) fn statement(id: &str, from: &str, to: &str, amount: &str) -> String {
    format!(
        "WITH moved AS ({}) {}",
        update(from, to, amount),
        insert(id, from, to, amount)
    )
}

/// Text that moves the money.
pub(crate) fn update(from: &str, to: &str, amount: &str) -> String {
    format!(
        "UPDATE accounts SET balance = balance + CASE id WHEN {from} THEN -{amount} ELSE {amount} END \
         WHERE id IN ({from}, {to})"
    )
}

/// Text that notes it, with what the session and the server say about themselves.
pub(crate) fn insert(id: &str, from: &str, to: &str, amount: &str) -> String {
    format!(
        "INSERT INTO ledger (attempt, source, target, amount, client, port, timeline) \
         VALUES ({id}, {from}, {to}, {amount}, current_setting('ledger.client')::int, \
         inet_server_port(), \
         ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int) \
         RETURNING port::text, timeline::text"
    )
}

/// The row of [`insert`].
pub(crate) fn stamp(port: Option<&str>, timeline: Option<&str>) -> Option<Stamp> {
    Some(Stamp {
        port: port?.parse().ok()?,
        timeline: timeline?.parse().ok()?,
    })
}

/// Accounts, numbered from 0.
pub(crate) const ACCOUNTS: usize = 500;
/// How long an answer may take: longer than a statement waits for a primary and a server connection.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
const WIRE_CLIENTS: u32 = 5;
const DRIVER_CLIENTS: u32 = 4;
const READERS: usize = 2;
/// Leaves processor time for the servers.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(15);
