//! What the data plane did for each database and user, as PgBouncer counts it in `SHOW STATS`.
//!
//! Every cell belongs to one worker, as those in [`crate::counters`] do: adding waits for nobody.
//! The list of cells is locked only when a database and user come to a worker for the first time,
//! and by those who read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::counters::Counter;
use crate::histogram::Histogram;

/// What one worker did for one database and user.
#[derive(Debug, Default)]
pub struct PoolCounters {
    /// The database, as clients name it.
    pub database: Box<str>,
    /// The user.
    pub user: Box<str>,
    /// Clients that logged in.
    pub logins: Counter,
    /// Times a session got a server.
    pub assignments: Counter,
    /// Transactions that began; a statement outside of one is one by itself.
    pub transactions: Counter,
    /// Queries: simple ones, and batches of the extended protocol up to their Sync.
    pub queries: Counter,
    /// Bytes that came from clients.
    pub received_bytes: Counter,
    /// Bytes that went to clients.
    pub sent_bytes: Counter,
    /// Time inside transactions that have ended, in microseconds.
    pub transaction_us: Counter,
    /// Time from a query to its last answer, in microseconds.
    pub query_us: Counter,
    /// Time that sessions waited for a server, in microseconds.
    pub wait_us: Counter,
    /// Statements that clients prepared by the protocol.
    pub client_parses: Counter,
    /// Statements that were prepared on a server.
    pub server_parses: Counter,
    /// Statements that clients bound.
    pub binds: Counter,
    /// How long transactions took.
    pub transaction_times: Histogram,
    /// How long queries took, from their first byte to their last answer.
    pub query_times: Histogram,
    /// How long sessions waited for a server, if they waited.
    pub wait_times: Histogram,
    /// How long logins took, from the startup packet.
    pub login_times: Histogram,
}

impl PoolCounters {
    /// Cells for this database and user, all zero, that nobody else sees yet.
    #[must_use]
    pub fn new(database: &str, user: &str) -> Self {
        Self {
            database: database.into(),
            user: user.into(),
            ..Self::default()
        }
    }

    fn counts(&self) -> Counts {
        let cells = [
            &self.assignments,
            &self.transactions,
            &self.queries,
            &self.received_bytes,
            &self.sent_bytes,
            &self.transaction_us,
            &self.query_us,
            &self.wait_us,
            &self.client_parses,
            &self.server_parses,
            &self.binds,
            &self.logins,
        ];
        Counts(cells.map(Counter::get))
    }
}

/// The counts of a pool, a database or all, in the order in which PgBouncer shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; COUNTS]);

/// Number of counts.
pub const COUNTS: usize = 12;

/// Positions of the times, with the position of what they are divided by for an average.
const TIMES: [(usize, usize); 3] = [(5, 1), (6, 2), (7, 2)];

impl Counts {
    /// The values in order: assignments, transactions, queries, bytes received and sent, times of
    /// transactions, queries and waits in microseconds, parses of clients and on servers, binds,
    /// logins.
    #[must_use]
    pub const fn values(&self) -> [u64; COUNTS] {
        self.0
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(more);
        }
    }

    /// What was done since, on average: numbers and bytes for each second, times for each
    /// transaction or query.
    fn average(&self, before: &Self, over: Duration) -> Self {
        let mut change = [0; COUNTS];
        for ((change, now), before) in change.iter_mut().zip(self.0).zip(before.0) {
            *change = now.saturating_sub(before);
        }
        let us = u64::try_from(over.as_micros()).unwrap_or(u64::MAX).max(1);
        let each_second = |n: u64| {
            let average = u128::from(n) * 1_000_000 / u128::from(us);
            u64::try_from(average).unwrap_or(u64::MAX)
        };
        let mut averages = change.map(each_second);
        for (time, of) in TIMES {
            averages[time] = change[time].checked_div(change[of]).unwrap_or(0);
        }
        Self(averages)
    }
}

/// The counts of one database and user, of all workers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSum {
    /// The database.
    pub database: Box<str>,
    /// The user.
    pub user: Box<str>,
    /// Since the start.
    pub total: Counts,
    /// As of the beginning of the time that averages are about.
    pub before: Counts,
}

/// Sums and averages of some pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Since the start.
    pub total: Counts,
    /// Over the last minute or two.
    pub average: Counts,
}

#[derive(Debug)]
struct Cell {
    counters: Arc<PoolCounters>,
    older: Counts,
    newer: Counts,
}

#[derive(Debug)]
struct State {
    cells: Vec<Cell>,
    older_at: Instant,
    newer_at: Instant,
}

/// The cells of all workers.
#[derive(Debug)]
pub struct AllPools(Mutex<State>);

/// Time between two looks for the averages; PgBouncer's `stats_period`.
pub const PERIOD: Duration = Duration::from_secs(60);

impl AllPools {
    /// None yet; averages begin at `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self(Mutex::new(State {
            cells: Vec::new(),
            older_at: start,
            newer_at: start,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes cells seen.
    pub fn enter(&self, counters: Arc<PoolCounters>) {
        self.state().cells.push(Cell {
            counters,
            older: Counts::default(),
            newer: Counts::default(),
        });
    }

    /// All cells: several of a database and user if several workers serve them.
    #[must_use]
    pub fn cells(&self) -> Vec<Arc<PoolCounters>> {
        let state = self.state();
        let cells = state.cells.iter();
        cells.map(|cell| Arc::clone(&cell.counters)).collect()
    }

    /// Begins a new time for the averages if the last one is over. To be called about once a second.
    pub fn sample(&self, now: Instant) {
        let mut state = self.state();
        if now.saturating_duration_since(state.newer_at) < PERIOD {
            return;
        }
        state.older_at = state.newer_at;
        state.newer_at = now;
        for cell in &mut state.cells {
            cell.older = cell.newer;
            cell.newer = cell.counters.counts();
        }
    }

    /// One sum for each database and user, by their names.
    #[must_use]
    pub fn sums(&self) -> Vec<PoolSum> {
        let state = self.state();
        let mut sums: Vec<PoolSum> = Vec::new();
        for cell in &state.cells {
            let (database, user) = (&cell.counters.database, &cell.counters.user);
            let known = sums
                .iter()
                .position(|sum| sum.database == *database && sum.user == *user);
            let at = known.unwrap_or_else(|| {
                sums.push(PoolSum {
                    database: database.clone(),
                    user: user.clone(),
                    total: Counts::default(),
                    before: Counts::default(),
                });
                sums.len() - 1
            });
            if let Some(sum) = sums.get_mut(at) {
                sum.total.add(&cell.counters.counts());
                sum.before.add(&cell.older);
            }
        }
        sums.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
        sums
    }

    /// Sums and averages of the pools that fit.
    #[must_use]
    pub fn sum_of(&self, sums: &[PoolSum], now: Instant, fits: impl Fn(&PoolSum) -> bool) -> Sums {
        let (mut total, mut before) = (Counts::default(), Counts::default());
        for sum in sums.iter().filter(|sum| fits(sum)) {
            total.add(&sum.total);
            before.add(&sum.before);
        }
        let over = now.saturating_duration_since(self.state().older_at);
        Sums {
            total,
            average: total.average(&before, over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(database: &str, user: &str) -> Arc<PoolCounters> {
        Arc::new(PoolCounters::new(database, user))
    }

    #[test]
    fn cells_of_workers_are_added_up_and_averages_are_over_the_last_period() {
        let start = Instant::now();
        let all = AllPools::new(start);
        let (one, two, other) = (pool("a", "u"), pool("a", "u"), pool("b", "u"));
        for cell in [&other, &one, &two] {
            all.enter(Arc::clone(cell));
        }
        one.queries.add(60);
        two.queries.add(60);
        one.query_us.add(1200);
        other.queries.add(5);
        let sums = all.sums();
        let names: Vec<_> = sums.iter().map(|sum| &*sum.database).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(sums[0].total.values()[2], 120);
        let of_a = |at| all.sum_of(&all.sums(), start + at, |sum| &*sum.database == "a");
        let first = of_a(Duration::from_secs(60));
        assert_eq!(first.average.values()[2], 2);
        assert_eq!(first.average.values()[6], 10);
        // Two periods later nothing of it counts any more for the averages.
        all.sample(start + PERIOD);
        all.sample(start + PERIOD + Duration::from_secs(1));
        all.sample(start + 2 * PERIOD);
        let later = of_a(3 * PERIOD);
        assert_eq!(later.average.values()[2], 0);
        assert_eq!(later.average.values()[6], 0);
        assert_eq!(later.total.values()[2], 120);
    }
}
