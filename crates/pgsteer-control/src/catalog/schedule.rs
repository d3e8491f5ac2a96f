//! When the catalog of a database is loaded next. Pure: no clock.

use std::time::Duration;

use tokio::time::Instant;

/// What came of loads so far.
#[derive(Debug)]
pub(super) struct Schedule {
    is_running: bool,
    loaded_at: Option<Instant>,
    not_before: Instant,
    failures: u32,
}

impl Schedule {
    /// Nothing was loaded yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_running: false,
            loaded_at: None,
            not_before: now,
            failures: 0,
        }
    }

    /// When to load, if nothing changes; `None` if not at all.
    pub(super) fn due(
        &self,
        is_in_use: bool,
        is_known: bool,
        refresh_interval: Duration,
    ) -> Option<Instant> {
        if self.is_running || !is_in_use {
            return None;
        }
        let aged = self.loaded_at.filter(|_| is_known);
        let aged = aged.map(|at| at + refresh_interval);
        Some(self.not_before.max(aged.unwrap_or(self.not_before)))
    }

    /// A load begins.
    pub(super) fn begin(&mut self) {
        self.is_running = true;
    }

    /// A load that began then has succeeded. The next waits, so that loading takes a third of the
    /// time at most while one change of the schema follows the other.
    pub(super) fn succeeded(&mut self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        self.is_running = false;
        self.loaded_at = Some(began);
        self.not_before = now + (took * 2).max(PAUSE_MIN);
        self.failures = 0;
    }

    /// A load has failed and is tried again, after a pause that grows.
    pub(super) fn failed(&mut self, now: Instant) {
        let doublings = self.failures.min(16);
        self.is_running = false;
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + (RETRY_MIN * (1 << doublings)).min(RETRY_MAX);
    }

    /// A load was refused for a reason that time alone does not mend.
    pub(super) fn refused(&mut self, now: Instant, refresh_interval: Duration) {
        self.is_running = false;
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + refresh_interval.max(RETRY_MIN);
    }

    /// Whatever made loads fail may be gone.
    pub(super) fn retry(&mut self, now: Instant) {
        if self.failures > 0 {
            self.not_before = self.not_before.min(now);
        }
    }

    /// Failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// From when on what is known is too old to be relied upon.
    pub(super) fn stale_at(&self, refresh_interval: Duration) -> Option<Instant> {
        let loaded_at = self.loaded_at?;
        Some(loaded_at + refresh_interval * STALE_AFTER)
    }
}

/// Pause between two loads of a database (ours).
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Pause after the first failure in a row (ours); it doubles.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest pause after a failure (ours).
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A catalog that could not be loaded again for so many refresh intervals is not relied upon (ours).
const STALE_AFTER: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(60);

    /// Milliseconds from the start until the next load.
    fn due(schedule: &Schedule, start: Instant, is_known: bool) -> Option<u128> {
        let at = schedule.due(true, is_known, REFRESH)?;
        Some(at.duration_since(start).as_millis())
    }

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_is_not_known_is_loaded_soon_and_what_is_known_when_it_aged() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert_eq!(due(&schedule, start, false), Some(0));
        assert_eq!(schedule.due(false, false, REFRESH), None, "nobody uses it");
        schedule.begin();
        assert_eq!(due(&schedule, start, false), None, "one at a time");
        schedule.succeeded(start, after(start, 5));
        assert_eq!(due(&schedule, start, true), Some(60_000));
        assert_eq!(due(&schedule, start, false), Some(25));
        schedule.succeeded(after(start, 100), after(start, 400));
        assert_eq!(due(&schedule, start, false), Some(1000), "twice as long");
    }

    #[test]
    fn failures_are_tried_again_ever_more_rarely() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            schedule.failed(start);
            pauses.extend(due(&schedule, start, false));
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[19], 30_000);
        schedule.succeeded(start, start);
        schedule.failed(start);
        assert_eq!(due(&schedule, start, false), Some(100));
    }

    #[test]
    fn what_cannot_be_refreshed_gets_stale() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert_eq!(schedule.stale_at(REFRESH), None);
        schedule.succeeded(start, after(start, 10));
        schedule.failed(after(start, 70_000));
        assert_eq!(schedule.stale_at(REFRESH), Some(after(start, 120_000)));
    }

    #[test]
    fn a_new_situation_ends_the_pause_after_a_failure_alone() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.succeeded(start, after(start, 100));
        schedule.retry(start);
        assert_eq!(due(&schedule, start, false), Some(300));
        schedule.refused(after(start, 400), REFRESH);
        assert_eq!(due(&schedule, start, false), Some(60_400));
        schedule.retry(after(start, 500));
        assert_eq!(due(&schedule, start, false), Some(500));
    }
}
