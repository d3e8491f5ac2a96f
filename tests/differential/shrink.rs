//! Makes a failing case small.

use anyhow::Result;

use crate::case::{Case, Step};
use crate::setup::Stage;

/// Runs that may be spent on it.
const RUNS_MAX: usize = 150;

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
    while size > 0 && runs < RUNS_MAX {
        let mut at = 0;
        let mut is_smaller = false;
        while at < best.0.steps.len() && runs < RUNS_MAX {
            let mut smaller = best.0.clone();
            let end = (at + size).min(smaller.steps.len());
            smaller.steps.drain(at..end);
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
    without_messages(best, stage, proxy, &mut runs)
}

/// A session that hangs is not the same as one that says something else.
fn is_alike(one: &str, other: &str) -> bool {
    one.contains("! silence") == other.contains("! silence")
}

fn without_messages(
    mut best: (Case, String),
    stage: &Stage,
    proxy: u16,
    runs: &mut usize,
) -> Result<(Case, String)> {
    let mut step = 0;
    while step < best.0.steps.len() {
        let mut at = 0;
        while at < best.0.steps[step].messages.len() && *runs < 2 * RUNS_MAX {
            let mut smaller = best.0.clone();
            let Step { messages, .. } = &mut smaller.steps[step];
            messages.remove(at);
            *runs += 1;
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
