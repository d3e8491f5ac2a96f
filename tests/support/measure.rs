//! Times calls, for the benchmarks.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds of which the median is shown.
const ROUNDS: usize = 41;

/// Prints the nanoseconds of one call: the median over rounds of about 5 ms each, and the best.
/// Each call must succeed.
pub(crate) fn measure(what: &str, mut call: impl FnMut() -> bool) {
    let mut calls = 0_u32;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        assert!(call(), "{what} failed");
        calls += 1;
    }
    let per_round = (calls / 4).max(1);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..per_round {
                assert!(black_box(call()), "{what} failed");
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(per_round)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (best, median) = (rounds[0], rounds[ROUNDS / 2]);
    println!("{what:46} {median:10.0} ns (best {best:.0})");
}
