//! What the clients were told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What became of an attempt, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The commit was acknowledged.
    Acknowledged,
    /// It was refused, with this SQLSTATE: it must not be there.
    Refused(String),
    /// It may be there: the connection was lost while it was committed, or the answer says so.
    Unknown(String),
}

/// Which server wrote a row, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) port: u16,
    pub(crate) timeline: u32,
}

/// One transfer that a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: u64,
    #[expect(dead_code, reason = "shown with findings")]
    pub(crate) client: u32,
    /// Whether it was one statement without a transaction around it.
    pub(crate) autocommit: bool,
    pub(crate) begun: Instant,
    /// When the message was sent with which it would be committed, or the last one before that.
    pub(crate) decided: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
    /// What came back, if it was not a plain success.
    #[expect(dead_code, reason = "shown with findings")]
    pub(crate) said: String,
    /// Known if the row was written, whether it was committed or not.
    pub(crate) stamp: Option<Stamp>,
}

/// The notes of all clients.
#[derive(Debug, Default)]
pub(crate) struct Books {
    attempts: Mutex<Vec<Attempt>>,
    findings: Mutex<Vec<String>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    closed: Mutex<bool>,
    closing: Condvar,
    last: AtomicU64,
    /// Sessions whose connection ended.
    pub(crate) sessions_lost: AtomicU64,
    /// Reads that were answered.
    pub(crate) reads: AtomicU64,
    /// Reads that were refused or whose connection ended.
    pub(crate) reads_failed: AtomicU64,
}

impl Books {
    /// A number no other attempt has.
    pub(crate) fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn note(&self, attempt: Attempt) {
        let label = match &attempt.outcome {
            Outcome::Acknowledged => None,
            Outcome::Refused(state) => Some(format!("refused with {state}")),
            Outcome::Unknown(state) => Some(format!("unknown after {state}")),
        };
        if let Some(label) = label {
            *lock(&self.refusals).entry(label).or_default() += 1;
        }
        lock(&self.attempts).push(attempt);
    }

    /// Something that must not be.
    pub(crate) fn find(&self, text: String) {
        println!("FOUND: {text}");
        lock(&self.findings).push(text);
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        lock(&self.findings).clone()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        lock(&self.attempts).clone()
    }

    /// Attempts that began after a moment.
    pub(crate) fn attempts_since(&self, begin: Instant) -> Vec<Attempt> {
        let attempts = lock(&self.attempts);
        let later = attempts.iter().filter(|attempt| attempt.begun >= begin);
        later.cloned().collect()
    }

    /// How many attempts that began after a moment were acknowledged.
    pub(crate) fn acknowledged_since(&self, begin: Instant) -> usize {
        let attempts = lock(&self.attempts);
        let recent = attempts.iter().rev().take_while(|a| a.ended >= begin);
        recent
            .filter(|a| a.begun >= begin && a.outcome == Outcome::Acknowledged)
            .count()
    }

    /// The longest time without an acknowledged commit since a moment.
    pub(crate) fn longest_gap_since(&self, begin: Instant) -> Duration {
        let mut last = begin;
        let mut longest = Duration::ZERO;
        for attempt in lock(&self.attempts).iter() {
            if attempt.ended >= begin && attempt.outcome == Outcome::Acknowledged {
                longest = longest.max(attempt.ended.saturating_duration_since(last));
                last = attempt.ended;
            }
        }
        longest
    }

    /// Tells all clients to end.
    pub(crate) fn close(&self) {
        *lock(&self.closed) = true;
        self.closing.notify_all();
    }

    /// Lets a moment pass; false when the books are closed.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let closed = lock(&self.closed);
        let waited = self.closing.wait_timeout_while(closed, time, |c| !*c);
        let (closed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*closed
    }

    /// Numbers for people.
    pub(crate) fn summary(&self) -> String {
        let attempts = lock(&self.attempts);
        let acknowledged = attempts
            .iter()
            .filter(|attempt| attempt.outcome == Outcome::Acknowledged);
        let mut text = format!(
            "{} attempts, {} acknowledged, {} sessions lost, {} reads of which {} failed",
            attempts.len(),
            acknowledged.count(),
            self.sessions_lost.load(Ordering::Relaxed),
            self.reads.load(Ordering::Relaxed),
            self.reads_failed.load(Ordering::Relaxed),
        );
        for (label, count) in lock(&self.refusals).iter() {
            let _ = write!(text, "\n  {count} {label}");
        }
        text
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
