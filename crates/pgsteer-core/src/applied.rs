//! How far the workers are with what was published: whoever must know that all of them have let go of
//! a node can wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Generation;

/// The generations that the workers have taken over, all that follows from them included.
#[derive(Debug, Default)]
pub struct Applied(Mutex<Vec<Weak<AtomicU64>>>);

/// A worker's part of it; ends with the worker.
#[derive(Debug)]
pub struct Progress(Arc<AtomicU64>);

impl Applied {
    /// A worker begins, and has taken over nothing.
    #[must_use]
    pub fn begin(&self) -> Progress {
        let progress = Arc::new(AtomicU64::new(0));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|worker| worker.strong_count() > 0);
        all.push(Arc::downgrade(&progress));
        Progress(progress)
    }

    /// Whether every worker there is has taken over this generation, or a later one.
    #[must_use]
    pub fn by_all(&self, generation: Generation) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workers = all.iter().filter_map(Weak::upgrade);
        workers.all(|worker| worker.load(Ordering::Acquire) >= generation.0)
    }
}

impl Progress {
    /// Everything that follows from this generation was done.
    pub fn note(&self, generation: Generation) {
        self.0.store(generation.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_worker_counts_until_it_ends() {
        let applied = Applied::default();
        assert!(applied.by_all(Generation(5)), "nobody is behind");
        let (fast, slow) = (applied.begin(), applied.begin());
        fast.note(Generation(5));
        slow.note(Generation(4));
        assert!(!applied.by_all(Generation(5)));
        assert!(applied.by_all(Generation(4)));
        drop(slow);
        assert!(applied.by_all(Generation(5)));
    }
}
