//! The judge of a version that is watched: it compares what the version did with what it may do.

use std::collections::VecDeque;
use std::time::Instant;

use pgsteer_core::policy::{FailureClass, Plugin};
use pgsteer_core::settings::Rollout;

use super::rollout::{Build, failures_in_words, in_words, percent};

/// What a version did, of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Questions it was asked.
    pub(crate) calls: u64,
    /// Those, and those that were answered from memory.
    pub(crate) decisions: u64,
    /// Failures by class.
    pub(crate) failures: [u64; FailureClass::COUNT],
    /// Statements and sessions it refused.
    pub(crate) refusals: u64,
}

impl Counts {
    pub(crate) fn of(plugin: &Plugin) -> Self {
        let calls = plugin.sum(|c| c.calls.get());
        let class =
            |index: usize| plugin.sum(|c| c.failures.get(index).map_or(0, |counter| counter.get()));
        Self {
            calls,
            decisions: calls + plugin.sum(|c| c.cached.get()),
            failures: std::array::from_fn(class),
            refusals: plugin.sum(|c| c.refusals.get()),
        }
    }

    fn since(&self, base: &Self) -> Self {
        let less = |index: usize| {
            let now = self.failures.get(index).copied().unwrap_or_default();
            now.saturating_sub(base.failures.get(index).copied().unwrap_or_default())
        };
        Self {
            calls: self.calls.saturating_sub(base.calls),
            decisions: self.decisions.saturating_sub(base.decisions),
            failures: std::array::from_fn(less),
            refusals: self.refusals.saturating_sub(base.refusals),
        }
    }

    fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    fn refused_share(&self) -> f64 {
        if self.decisions == 0 {
            return 0.0;
        }
        self.refusals as f64 / self.decisions as f64
    }
}

/// A version is watched.
#[derive(Debug)]
pub(crate) struct Probation {
    /// The version to go back to.
    pub(crate) before: Option<Build>,
    since: Instant,
    // When an operator took it out of force.
    paused: Option<Instant>,
    // What it had done before it was watched.
    base: Counts,
    // Calls and failures at some moments, the oldest first.
    moments: VecDeque<(u64, u64)>,
}

/// What the judge says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is watched on.
    Watched,
    /// It has proven itself.
    Settled,
    /// It goes: why.
    Failed(String),
}

impl Probation {
    /// Begins now.
    pub(crate) fn new(build: &Build, before: Option<Build>, now: Instant) -> Self {
        Self {
            before,
            since: now,
            paused: None,
            base: Counts::of(&build.plugin),
            moments: VecDeque::from([(0, 0)]),
        }
    }

    /// It is out of force: no time goes by for it.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused = Some(now);
    }

    /// It is in force again.
    pub(crate) fn resume(&mut self, now: Instant) {
        if let Some(at) = self.paused.take() {
            self.since += now.saturating_duration_since(at);
        }
    }

    /// Looks at what the version did so far.
    pub(crate) fn judge(&mut self, plugin: &Plugin, rollout: &Rollout, now: Instant) -> Verdict {
        let counts = Counts::of(plugin).since(&self.base);
        let wrong = self
            .failing(&counts)
            .or_else(|| self.refusing(&counts, rollout))
            .or_else(|| slow(plugin, &counts, rollout))
            .or_else(|| {
                let quarantined = "it was left alone three times within an hour for its failures";
                plugin.is_quarantined().then(|| quarantined.to_owned())
            });
        let watched = now.saturating_duration_since(self.since);
        if let Some(wrong) = wrong {
            let (decisions, time) = (counts.decisions, in_words(watched));
            return Verdict::Failed(format!("{wrong}, after {decisions} decisions in {time}"));
        }
        let asked = counts.decisions >= rollout.probation_decisions;
        let over = watched >= rollout.probation_time.saturating_mul(PROBATION_TIMES_MAX);
        if over || (asked && watched >= rollout.probation_time) {
            return Verdict::Settled;
        }
        Verdict::Watched
    }

    /// How far it has got.
    pub(crate) fn progress(&self, plugin: &Plugin, rollout: &Rollout, now: Instant) -> String {
        let counts = Counts::of(plugin).since(&self.base);
        let watched = now.saturating_duration_since(self.since).as_secs();
        let mut text = format!(
            "watched for {watched} of {}, {} of {} decisions, {} failures, {} refusals",
            in_words(rollout.probation_time),
            counts.decisions,
            rollout.probation_decisions,
            counts.failed(),
            counts.refusals,
        );
        match &self.before {
            Some(before) => text.push_str(&format!("; before it: {}", before.name())),
            None => text.push_str("; nothing before it"),
        }
        let report = &plugin.report;
        if report.golden_asked > 0 {
            let (asked, different) = (report.golden_asked, report.golden_different);
            let examples = report.differences.join("; ");
            let golden = format!("; of {asked} earlier statements it answers {different} in ");
            text.push_str(&golden);
            text.push_str("another way");
            if !examples.is_empty() {
                text.push_str(&format!(": {examples}"));
            }
        }
        text
    }

    fn failing(&mut self, counts: &Counts) -> Option<String> {
        let (calls, failed) = (counts.calls, counts.failed());
        let burst = self.is_burst(calls, failed);
        let many = failed >= FAILURES_MAX && failed * 100 > calls;
        (burst || many).then(|| {
            let words = failures_in_words(&counts.failures);
            format!("it failed {failed} times in {calls} questions ({words})")
        })
    }

    /// Whether it failed too often within few calls. Every failure wakes the judge, so those that
    /// are new belong to the latest calls.
    fn is_burst(&mut self, calls: u64, failed: u64) -> bool {
        let last = self.moments.back().copied().unwrap_or_default();
        if failed > last.1 {
            let from = calls.saturating_sub(failed - last.1).max(last.0);
            self.moments.push_back((from, last.1));
            self.moments.push_back((calls, failed));
        }
        let burst = self.moments.iter().any(|(before, failures)| {
            failed - failures >= FAILURES_MAX && calls.saturating_sub(*before) <= BURST_CALLS
        });
        while self.moments.len() > MOMENTS_MAX {
            self.moments.pop_front();
        }
        burst
    }

    /// The first of its name may be there to refuse: only a version before it says what is usual.
    fn refusing(&self, counts: &Counts, rollout: &Rollout) -> Option<String> {
        let before = Counts::of(&self.before.as_ref()?.plugin).refused_share();
        let share = counts.refused_share();
        let judged = counts.decisions >= DECISIONS_TO_JUDGE;
        (judged && share - before > rollout.refusals_max).then(|| {
            format!(
                "it refused {} ({} of all), the version before it {} (refusals_max is {})",
                counts.refusals,
                percent(share),
                percent(before),
                percent(rollout.refusals_max)
            )
        })
    }
}

/// One in a hundred says something once there are hundreds; the half of them sooner.
fn slow(plugin: &Plugin, counts: &Counts, rollout: &Rollout) -> Option<String> {
    let quantiles = [
        (0.99, CALLS_PER_TIME * 100, "one answer in a hundred"),
        (0.5, CALLS_PER_TIME * 10, "every other answer"),
    ];
    quantiles.into_iter().find_map(|(share, calls_min, which)| {
        let time = plugin.time_quantile(share)?;
        let slow = counts.calls >= calls_min && time > rollout.slow_max;
        slow.then(|| {
            let (time, max) = (in_words(time), in_words(rollout.slow_max));
            format!("{which} took {time} or longer (slow_max is {max})")
        })
    })
}

/// Probation ends after so many times its time, however little was asked (ours).
const PROBATION_TIMES_MAX: u32 = 10;

/// Failures that are too many if they are more than one in a hundred, or come within this many
/// calls (ours).
const FAILURES_MAX: u64 = 5;
const BURST_CALLS: u64 = 100;

/// Moments that are remembered (ours).
const MOMENTS_MAX: usize = 32;

/// Fewer decisions say nothing about a share (ours).
const DECISIONS_TO_JUDGE: u64 = 100;

/// Workers note the time of every sixteenth answer.
const CALLS_PER_TIME: u64 = 16;

#[cfg(test)]
#[path = "probation_tests.rs"]
mod tests;
