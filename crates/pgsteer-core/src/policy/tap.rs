//! Questions of the present on their way to the control plane: for the golden set, for shadows, for
//! recordings. A worker never waits for it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::Sample;

/// The tap on the questions of all workers.
#[derive(Debug)]
pub struct Tap {
    every: AtomicU32,
    values: AtomicBool,
    dropped: AtomicU64,
    sender: mpsc::Sender<Sample>,
    receiver: Mutex<Option<mpsc::Receiver<Sample>>>,
}

/// Samples that may wait for the control plane; ours.
const WAITING_MAX: usize = 1024;

impl Default for Tap {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            every: AtomicU32::new(0),
            values: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Tap {
    /// The reading end, once.
    pub fn take(&self) -> Option<mpsc::Receiver<Sample>> {
        let receiver = self.receiver.lock();
        receiver.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Every how many-th question of a worker is taken; 0 for none. `values`: literals and values
    /// of parameters too.
    pub fn open(&self, every: u32, values: bool) {
        self.values.store(values, Ordering::Relaxed);
        self.every.store(every, Ordering::Relaxed);
    }

    /// Every how many-th question is taken now; 0 for none. Costs a worker one load.
    #[must_use]
    pub fn every(&self) -> u32 {
        self.every.load(Ordering::Relaxed)
    }

    /// Whether literals and values are taken.
    #[must_use]
    pub fn takes_values(&self) -> bool {
        self.values.load(Ordering::Relaxed)
    }

    /// Hands a sample over, unless too many wait.
    pub fn put(&self, sample: Sample) {
        if self.sender.try_send(sample).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Samples that nobody had room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
