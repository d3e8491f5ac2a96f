//! What a session adds to the counters of its database and user, and what others can see of it: how
//! long its queries and transactions take, how long it waits for servers, how many bytes it moves.
//! Two looks at the clock for each query, and one more for each wait; plain stores otherwise.

use std::sync::Arc;
use std::time::Instant;

use pgsteer_core::counters::NodeCounters;
use pgsteer_core::pool_counters::PoolCounters;

use crate::cancel::CancelSlot;
use crate::session::Session;
use crate::whereabouts::Doing;
use crate::worker::Worker;

/// Databases with users that one worker counts by themselves; ours. Those after them are counted
/// for nobody.
const POOLS_MAX: usize = 10_000;

/// What one session is at.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) pool: Arc<PoolCounters>,
    /// When the query began that is under way.
    query: Option<Instant>,
    /// When the transaction began that is under way.
    transaction: Option<Instant>,
    received: u64,
    sent: u64,
}

impl Meter {
    /// For a session that begins; it is counted once it is logged in.
    pub(crate) fn new(worker: &Worker, database: &str, user: &str) -> Self {
        let known = worker.pool_counters(database, user);
        Self {
            pool: known.unwrap_or_else(|| Arc::new(PoolCounters::new(database, user))),
            query: None,
            transaction: None,
            received: 0,
            sent: 0,
        }
    }

    /// The session is logged in: whoever looks can see its pool from now on.
    pub(crate) fn logged_in(&mut self, worker: &Worker, began: Instant) {
        self.pool = worker.enter_pool(&self.pool);
        self.pool.logins.add(1);
        self.pool.login_times.note(began.elapsed());
    }

    /// When the query began that is under way.
    pub(crate) fn query_began(&self) -> Option<Instant> {
        self.query
    }

    /// A query begins; whether a transaction does.
    fn begin(&mut self, now: Instant) -> bool {
        self.query = Some(now);
        self.pool.queries.add(1);
        if self.transaction.is_none() {
            self.transaction = Some(now);
            self.pool.transactions.add(1);
            return true;
        }
        false
    }

    /// It ends; `node` has answered last.
    fn end(
        &mut self,
        now: Instant,
        in_transaction: bool,
        node: Option<&NodeCounters>,
        (received, sent): (u64, u64),
    ) {
        if let Some(start) = self.query.take() {
            let us = micros(start, now);
            self.pool.query_us.add(us);
            self.pool.query_times.note_us(us);
            if let Some(node) = node {
                node.query_times.note_us(us);
            }
        }
        if !in_transaction && let Some(start) = self.transaction.take() {
            let us = micros(start, now);
            self.pool.transaction_us.add(us);
            self.pool.transaction_times.note_us(us);
        }
        let pool = &self.pool;
        pool.received_bytes
            .add(received.wrapping_sub(self.received));
        pool.sent_bytes.add(sent.wrapping_sub(self.sent));
        (self.received, self.sent) = (received, sent);
    }
}

/// Time from one moment to another, in microseconds.
fn micros(start: Instant, end: Instant) -> u64 {
    let time = end.saturating_duration_since(start).as_micros();
    u64::try_from(time).unwrap_or(u64::MAX)
}

impl Session {
    /// A query of the client begins.
    pub(crate) fn begin_query(&mut self) {
        let now = Instant::now();
        let transaction = self.meter.begin(now);
        self.cancel.slot.forget_asked();
        self.cancel.slot.now.begin(now, transaction);
    }

    /// It was answered, or the session ends with it.
    pub(crate) fn end_query(&mut self) {
        let in_transaction = !self.transaction.is_none();
        let now = Instant::now();
        let slot = &self.cancel.slot;
        let counters = self.steering.worker.counters();
        let node = slot
            .asked_last()
            .and_then(|node| counters.nodes.get(node.index()));
        let moved = self.client.moved();
        self.meter.end(now, in_transaction, node, moved);
        slot.now.end(now, in_transaction);
        slot.now.note_prepared(self.prepared.len());
        self.end_trace(now);
    }
}

/// A wait for a server; counted however it ends.
pub(crate) struct Waits {
    pool: Arc<PoolCounters>,
    slot: Arc<CancelSlot>,
    start: Instant,
}

impl Waits {
    /// It begins now.
    pub(crate) fn begin(pool: &Arc<PoolCounters>, slot: &Arc<CancelSlot>) -> Self {
        let start = Instant::now();
        slot.now.set(Doing::Waiting, start);
        Self {
            pool: Arc::clone(pool),
            slot: Arc::clone(slot),
            start,
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let end = Instant::now();
        let us = micros(self.start, end);
        self.pool.wait_us.add(us);
        self.pool.wait_times.note_us(us);
        self.slot.now.set(Doing::Active, end);
    }
}

impl Worker {
    /// The cells of a database and user on this worker, if it has served them already.
    fn pool_counters(&self, database: &str, user: &str) -> Option<Arc<PoolCounters>> {
        let pools = self.pool_counters.borrow();
        pools.get(&name(database, user)).map(Arc::clone)
    }

    /// Makes cells seen, unless there are some for that database and user by now.
    fn enter_pool(&self, pool: &Arc<PoolCounters>) -> Arc<PoolCounters> {
        if let Some(known) = self.pool_counters(&pool.database, &pool.user) {
            return known;
        }
        let mut pools = self.pool_counters.borrow_mut();
        if pools.len() < POOLS_MAX {
            pools.insert(name(&pool.database, &pool.user), Arc::clone(pool));
            self.shared.facts.pools.enter(Arc::clone(pool));
        }
        Arc::clone(pool)
    }
}

/// Names hold no NUL: they came in a startup packet.
fn name(database: &str, user: &str) -> String {
    format!("{database}\0{user}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_transaction_of_two_queries_counts_once() {
        let mut meter = Meter {
            pool: Arc::new(PoolCounters::new("a", "u")),
            query: None,
            transaction: None,
            received: 0,
            sent: 0,
        };
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (begin, end, in_transaction, moved) in [
            (0, 1, false, (10, 100)),
            (10, 11, true, (20, 200)),
            (20, 22, false, (30, 300)),
        ] {
            meter.begin(at(begin));
            meter.end(at(end), in_transaction, None, moved);
        }
        let pool = &meter.pool;
        assert_eq!((pool.queries.get(), pool.transactions.get()), (3, 2));
        assert_eq!(
            (pool.query_us.get(), pool.transaction_us.get()),
            (4_000, 13_000)
        );
        assert_eq!(
            (pool.received_bytes.get(), pool.sent_bytes.get()),
            (30, 300)
        );
    }
}
