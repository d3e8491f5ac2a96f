//! `SHOW STATS` and its relatives: what was done for each database since the start, and on average.

use std::time::Instant;

use pgsteer_core::pool_counters::{Counts, PoolSum, Sums};

use super::columns::COUNTS;
use super::command::Show;
use super::table::{Row, Value};
use crate::session::Session;

impl Session {
    /// Rows of `SHOW STATS`, `STATS_TOTALS` and `STATS_AVERAGES`: one for each database.
    pub(super) fn stats_rows(&self, show: Show) -> Vec<Row> {
        let pools = &self.steering.worker.shared.facts.pools;
        let sums = pools.sums();
        let mut names: Vec<&str> = sums.iter().map(|sum| &*sum.database).collect();
        names.dedup();
        let row = |name: &&str| {
            let of_it = |sum: &PoolSum| &*sum.database == *name;
            let Sums { total, average } = pools.sum_of(&sums, Instant::now(), of_it);
            let counts = match show {
                Show::StatsTotals => values(&total),
                Show::StatsAverages => values(&average),
                _ => values(&total).into_iter().chain(values(&average)).collect(),
            };
            std::iter::once(Value::from(*name)).chain(counts).collect()
        };
        names.iter().map(row).collect()
    }

    /// Rows of `SHOW TOTALS`.
    pub(super) fn totals_rows(&self) -> Vec<Row> {
        let pools = &self.steering.worker.shared.facts.pools;
        let Sums { total, average } = pools.sum_of(&pools.sums(), Instant::now(), |_| true);
        let rows = |prefix: &'static str, counts: Counts| {
            let named = COUNTS.into_iter().zip(counts.values());
            named.map(move |(name, value)| vec![format!("{prefix}_{name}").into(), value.into()])
        };
        rows("total", total).chain(rows("avg", average)).collect()
    }
}

fn values(counts: &Counts) -> Vec<Value> {
    counts.values().into_iter().map(Value::from).collect()
}
