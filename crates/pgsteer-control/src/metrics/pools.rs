//! What was done for each database and user.

use std::collections::HashMap;

use pgsteer_core::Facts;
use pgsteer_core::counters::Counter;
use pgsteer_core::histogram::{Counted, Histogram};
use pgsteer_core::pool_counters::PoolCounters;

use super::text::Text;

/// A pool, summed over the workers.
struct Sum {
    database: String,
    user: String,
    times: [Counted; TIMES.len()],
    counts: [u64; COUNTS.len()],
}

/// Writes the families of pools: as many as are told apart, those that came first, and one for all
/// others. So no series ever shrinks.
pub(super) fn collect(facts: &Facts, told_apart: usize, text: &mut Text) {
    let sums = sums(facts, told_apart);
    for (index, (name, _)) in TIMES.iter().enumerate() {
        text.begin(name);
        for sum in &sums {
            if let Some(counted) = sum.times.get(index) {
                text.histogram(&sum.labels(), counted);
            }
        }
    }
    for (index, (name, _)) in COUNTS.iter().enumerate() {
        text.begin(name);
        for sum in &sums {
            text.put(&sum.labels(), sum.counts.get(index).copied().unwrap_or(0));
        }
    }
}

fn sums(facts: &Facts, told_apart: usize) -> Vec<Sum> {
    let cells = facts.pools.cells();
    let mut sums: Vec<Sum> = Vec::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for cell in &cells {
        let next = places.len().min(told_apart);
        let place = *places.entry((&*cell.database, &*cell.user)).or_insert(next);
        if place >= sums.len() {
            let others = place == told_apart;
            sums.push(Sum::of(if others {
                OTHERS
            } else {
                (&cell.database, &cell.user)
            }));
        }
        if let Some(sum) = sums.get_mut(place) {
            sum.add(cell);
        }
    }
    sums
}

impl Sum {
    fn of((database, user): (&str, &str)) -> Self {
        Self {
            database: database.to_owned(),
            user: user.to_owned(),
            times: Default::default(),
            counts: Default::default(),
        }
    }

    fn add(&mut self, cell: &PoolCounters) {
        for (sum, (_, read)) in self.times.iter_mut().zip(TIMES) {
            read(cell).add_to(sum);
        }
        for (sum, (_, read)) in self.counts.iter_mut().zip(COUNTS) {
            *sum = sum.wrapping_add(read(cell).get());
        }
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [("database", &self.database), ("user", &self.user)]
    }
}

type Times = fn(&PoolCounters) -> &Histogram;
type Counts = fn(&PoolCounters) -> &Counter;

const TIMES: [(&str, Times); 4] = [
    ("pgsteer_query_seconds", |pool| &pool.query_times),
    ("pgsteer_transaction_seconds", |pool| {
        &pool.transaction_times
    }),
    ("pgsteer_wait_seconds", |pool| &pool.wait_times),
    ("pgsteer_login_seconds", |pool| &pool.login_times),
];

const COUNTS: [(&str, Counts); 4] = [
    ("pgsteer_pool_logins_total", |pool| &pool.logins),
    ("pgsteer_pool_received_bytes_total", |pool| {
        &pool.received_bytes
    }),
    ("pgsteer_pool_sent_bytes_total", |pool| &pool.sent_bytes),
    ("pgsteer_pool_assignments_total", |pool| &pool.assignments),
];

/// Database and user that stand for all that are not told apart.
pub(super) const OTHERS: (&str, &str) = ("other", "other");

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    #[test]
    fn pools_beyond_the_limit_are_counted_together_and_none_is_lost() {
        let facts = Facts::new(Instant::now(), 1);
        // The third comes on two workers, the first again on the second.
        for (database, user, queries) in [
            ("a", "u", 1),
            ("b", "u", 2),
            ("c", "u", 4),
            ("d", "u", 8),
            ("c", "u", 16),
            ("a", "u", 32),
        ] {
            let cell = PoolCounters::new(database, user);
            for _ in 0..queries {
                cell.query_times.note_us(100);
            }
            facts.pools.enter(Arc::new(cell));
        }
        let shown = |limit| -> Vec<(String, u64)> {
            let sums = sums(&facts, limit);
            sums.iter()
                .map(|sum| (sum.database.clone(), sum.times[0].count()))
                .collect()
        };
        let of = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
            pairs
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        assert_eq!(shown(2), of(&[("a", 33), ("b", 2), ("other", 28)]));
        assert_eq!(shown(9), of(&[("a", 33), ("b", 2), ("c", 20), ("d", 8)]));
        assert_eq!(shown(0), of(&[("other", 63)]));
    }
}
