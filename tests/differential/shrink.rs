//! Makes a failing case small.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::case::{Case, Step};
use crate::compare::known;
use crate::setup::Stage;

/// Runs that may be spent on steps, and on messages.
const RUNS_MAX: usize = 150;
/// A session that hangs makes runs long.
const TIME_MAX: Duration = Duration::from_secs(40);

/// The smallest case found that still differs, and how.
pub(crate) fn smallest(
    case: Case,
    found: String,
    stage: &Stage,
    proxy: u16,
) -> Result<(Case, String)> {
    let mut best = (case, found);
    let mut runs = 0;
    let mut size = best.0.steps.len().div_ceil(2);
    // Whole stretches of steps first, then single ones, then messages.
    let end = Instant::now() + TIME_MAX;
    while size > 0 && runs < RUNS_MAX && Instant::now() < end {
        let mut at = 0;
        let mut is_smaller = false;
        while at < best.0.steps.len() && runs < RUNS_MAX && Instant::now() < end {
            let mut smaller = best.0.clone();
            let behind = (at + size).min(smaller.steps.len());
            smaller.steps.drain(at..behind);
            runs += 1;
            match smaller.difference(stage, proxy) {
                Ok(Some(found)) if is_alike(&found, &best.1) => {
                    best = (smaller, found);
                    is_smaller = true;
                }
                _ => at += size,
            }
        }
        if !is_smaller || size > 1 {
            size /= 2;
        }
    }
    without_messages(best, stage, proxy, end + TIME_MAX)
}

/// A session that hangs is not the same as one that says something else, nor is what is known.
fn is_alike(one: &str, other: &str) -> bool {
    one.contains("! silence") == other.contains("! silence") && known(one).is_none()
}

fn without_messages(
    mut best: (Case, String),
    stage: &Stage,
    proxy: u16,
    end: Instant,
) -> Result<(Case, String)> {
    let mut step = 0;
    while step < best.0.steps.len() {
        let mut at = 0;
        while at < best.0.steps[step].messages.len() && Instant::now() < end {
            let mut smaller = best.0.clone();
            let Step { messages, .. } = &mut smaller.steps[step];
            messages.remove(at);
            match smaller.difference(stage, proxy) {
                Ok(Some(found)) if is_alike(&found, &best.1) => {
                    best = (smaller, found);
                }
                _ => at += 1,
            }
        }
        step += 1;
    }
    Ok(best)
}
