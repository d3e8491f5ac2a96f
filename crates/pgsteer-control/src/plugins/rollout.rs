//! How a version of a plugin gets into force and back out of it: what it is, the states it goes
//! through, and the judge who watches it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::policy::{FailureClass, Grants, Plugin, PluginSource};
use pgsteer_core::settings::{PluginLimits, Rollout};

use super::shadow::Shadow;

/// What makes a plugin behave as it does; equal versions need not be loaded again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) sha256: String,
    pub(crate) config: String,
    pub(crate) limits: PluginLimits,
    pub(crate) grants: Grants,
}

impl Version {
    pub(crate) fn of(source: &PluginSource) -> Self {
        Self {
            sha256: source.sha256.clone(),
            config: source.config.clone(),
            limits: source.limits.clone(),
            grants: source.grants,
        }
    }

    /// Component and configuration, in a form that outlives a restart.
    pub(crate) fn key(&self) -> String {
        key(&self.sha256, &self.config)
    }
}

/// [`Version::key`] of a component with this configuration.
pub(crate) fn key(sha256: &str, config: &str) -> String {
    let config = super::sha256(config.as_bytes());
    format!("{sha256}/{}", config.get(..16).unwrap_or_default())
}

/// A version that was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) version: Version,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) plugin: Arc<Plugin>,
}

impl Build {
    /// As people tell versions apart.
    pub(crate) fn name(&self) -> String {
        let hash = self.version.sha256.get(..12).unwrap_or_default();
        format!("version {} ({hash})", self.plugin.version)
    }
}

/// What is in force of a plugin.
#[derive(Debug, Default)]
pub(crate) enum Force {
    /// Nothing.
    #[default]
    Out,
    /// Nothing, because an operator said so; this was.
    Disabled(Build),
    /// A new version, which is watched.
    Probation(Build, Box<Probation>),
    /// A version that has proven itself.
    Live(Build),
}

impl Force {
    /// The version that decides.
    pub(crate) fn deciding(&self) -> Option<&Build> {
        match self {
            Self::Out | Self::Disabled(_) => None,
            Self::Probation(build, _) | Self::Live(build) => Some(build),
        }
    }

    /// The version to go back to if the next one fails: the last that has proven itself, or if none
    /// has, the one in force.
    pub(crate) fn into_proven(self) -> Option<Build> {
        match self {
            Self::Out | Self::Disabled(_) => None,
            Self::Live(build) => Some(build),
            Self::Probation(build, probation) => Some(probation.before.unwrap_or(build)),
        }
    }
}

/// A version that was loaded and does not decide yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) build: Build,
    pub(crate) waits: Waits,
}

/// What a candidate waits for.
#[derive(Debug)]
pub(crate) enum Waits {
    /// For the others of its set.
    Others,
    /// For its shadow to have been compared.
    Shadow(Shadow),
}

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

/// Failures by class, such as `6 trap, 1 deadline`.
pub(crate) fn failures_in_words(failures: &[u64; FailureClass::COUNT]) -> String {
    let all = FailureClass::ALL.iter().zip(failures);
    let some = all.filter(|(_, count)| **count > 0);
    let words = some.map(|(class, count)| format!("{count} {}", class_name(*class)));
    words.collect::<Vec<_>>().join(", ")
}

fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Trap => "trap",
        FailureClass::Deadline => "deadline",
        FailureClass::Memory => "memory",
        FailureClass::Abi => "abi",
        FailureClass::Invalid => "invalid",
    }
}

/// A version is watched.
#[derive(Debug)]
pub(crate) struct Probation {
    /// The version to go back to.
    pub(crate) before: Option<Build>,
    since: Instant,
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
            base: Counts::of(&build.plugin),
            moments: VecDeque::from([(0, 0)]),
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

    fn refusing(&self, counts: &Counts, rollout: &Rollout) -> Option<String> {
        let before = self.before.as_ref().map(|build| Counts::of(&build.plugin));
        let before = before.unwrap_or_default().refused_share();
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

/// `0.5%`.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// A time with the precision people want.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{} s", trimmed(s)),
        s if s >= 0.001 => format!("{} ms", trimmed(s * 1e3)),
        s => format!("{} us", trimmed(s * 1e6)),
    }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
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
#[path = "rollout_tests.rs"]
mod tests;
