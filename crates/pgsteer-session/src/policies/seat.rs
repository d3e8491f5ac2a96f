//! One plugin on one worker: its instance, what it is asked, and what happens when it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::Topology;
use pgsteer_core::policy::{Plugin, Policy, PolicyError};
use tracing::{error, warn};

/// Failures within [`FAILURES_WINDOW`] after which a plugin is left alone for a while.
const FAILURES_MAX: usize = 5;
const FAILURES_WINDOW: Duration = Duration::from_secs(10);
/// Failures among so many questions that lead to the same.
const SHARE_FAILURES_MAX: u32 = 10;
const SHARE_WINDOW: u32 = 1000;
/// First and longest time it is left alone.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(300);
/// Of so many questions one is timed.
const TIMED_EVERY: u32 = 16;
/// Questions an instance answers before it makes room for a fresh one.
const ANSWERED_MIN: u32 = 1000;
/// Failures are logged no more often than this.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Whether a plugin is asked.
#[derive(Debug)]
enum Breaker {
    /// It is.
    Closed,
    /// It is left alone until then; the next question is a trial.
    Open(Instant),
    /// One question decides.
    Trial,
}

/// A plugin's place in the chain of a worker.
pub(crate) struct Seat {
    pub(crate) plugin: Arc<Plugin>,
    /// Events it was not told since it was last told some.
    pub(crate) dropped: u64,
    policy: Option<Box<dyn Policy>>,
    breaker: Breaker,
    rest: Duration,
    recent: [Option<Instant>; FAILURES_MAX],
    asked: u32,
    failed_of_asked: u32,
    // Questions to the instance in use.
    answered: u32,
    logged: Option<Instant>,
}

impl Seat {
    pub(crate) fn new(plugin: &Arc<Plugin>) -> Self {
        Self {
            plugin: Arc::clone(plugin),
            dropped: 0,
            policy: None,
            breaker: Breaker::Closed,
            rest: REST_MIN,
            recent: [None; FAILURES_MAX],
            asked: 0,
            failed_of_asked: 0,
            answered: 0,
            logged: None,
        }
    }

    /// Asks the plugin; `None` if it rests.
    pub(crate) fn ask<T>(
        &mut self,
        worker: usize,
        topology: &Topology,
        question: impl FnOnce(&mut dyn Policy) -> Result<T, PolicyError>,
    ) -> Option<Result<T, PolicyError>> {
        if self.rests() {
            self.plugin.counters(worker).rested.add(1);
            return None;
        }
        let plugin = Arc::clone(&self.plugin);
        let counters = plugin.counters(worker);
        counters.calls.add(1);
        self.count_question();
        // To make an instance is part of the question, and takes longer than most.
        let is_timed = self.policy.is_none() || self.asked.is_multiple_of(TIMED_EVERY);
        let start = is_timed.then(Instant::now);
        let answer = match self.policy(worker, topology) {
            Ok(policy) => {
                let answer = question(policy);
                let (memory, is_worn) = (policy.memory_bytes() as u64, policy.is_worn());
                if let Some(start) = start {
                    counters.times.note(start.elapsed());
                    let known = counters.memory_bytes.get();
                    counters.memory_bytes.add(memory.saturating_sub(known));
                }
                self.answered += 1;
                // One that is worn at once would be so again.
                if is_worn && self.answered >= ANSWERED_MIN {
                    self.policy = None;
                }
                answer
            }
            Err(error) => Err(error),
        };
        match &answer {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(worker, error),
        }
        Some(answer)
    }

    /// The nodes changed.
    pub(crate) fn tell_topology(&mut self, worker: usize, topology: &Topology) {
        if let Some(policy) = &mut self.policy
            && let Err(error) = policy.topology_changed(topology)
        {
            self.failed(worker, &error);
        }
    }

    /// An answer that the host cannot accept counts like any other failure.
    pub(crate) fn failed(&mut self, worker: usize, error: &PolicyError) {
        // Whatever state the instance is in is not trusted any more.
        self.policy = None;
        let counters = self.plugin.counters(worker);
        if let Some(counter) = counters.failures.get(error.class as usize) {
            counter.add(1);
        }
        let now = Instant::now();
        let plugin = &*self.plugin.file_name;
        if self.logged.is_none_or(|at| now - at >= LOG_PAUSE) {
            self.logged = Some(now);
            warn!(plugin, class = ?error.class, reason = %error.reason, "plugin failed");
        }
        self.recent.rotate_left(1);
        if let Some(last) = self.recent.last_mut() {
            *last = Some(now);
        }
        self.failed_of_asked += 1;
        let oldest = self.recent.first().copied().flatten();
        let often = oldest.is_some_and(|at| now - at < FAILURES_WINDOW)
            || self.failed_of_asked >= SHARE_FAILURES_MAX
            || matches!(self.breaker, Breaker::Trial);
        if often {
            self.leave_alone(now);
        }
        self.plugin.tell_trouble();
    }

    fn leave_alone(&mut self, now: Instant) {
        let plugin = &*self.plugin.file_name;
        warn!(plugin, rest = ?self.rest, "plugin fails again and again and is left alone");
        if self.plugin.note_rest(now) {
            let advice = "drop a better file, or PGSTEER PLUGIN name ENABLE";
            error!(
                plugin,
                advice, "plugin is in quarantine: it is not asked any more"
            );
        }
        self.breaker = Breaker::Open(now + self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
        self.recent = [None; FAILURES_MAX];
        (self.asked, self.failed_of_asked) = (0, 0);
    }

    /// One good answer ends a trial; the next rest is as long as ever until it has done well for a
    /// while.
    fn succeeded(&mut self) {
        if matches!(self.breaker, Breaker::Trial) {
            self.breaker = Breaker::Closed;
        }
    }

    fn rests(&mut self) -> bool {
        if let Breaker::Open(until) = self.breaker
            && Instant::now() >= until
        {
            self.breaker = Breaker::Trial;
        }
        matches!(self.breaker, Breaker::Open(_)) || self.plugin.is_quarantined()
    }

    fn count_question(&mut self) {
        self.asked += 1;
        if self.asked > SHARE_WINDOW {
            if self.failed_of_asked == 0 {
                self.rest = REST_MIN;
            }
            (self.asked, self.failed_of_asked) = (1, 0);
        }
    }

    fn policy(
        &mut self,
        worker: usize,
        topology: &Topology,
    ) -> Result<&mut dyn Policy, PolicyError> {
        let policy = match self.policy.take() {
            Some(policy) => policy,
            None => {
                let mut fresh = self.plugin.instance(worker)?;
                fresh.topology_changed(topology)?;
                self.answered = 0;
                fresh
            }
        };
        Ok(&mut **self.policy.insert(policy))
    }
}
