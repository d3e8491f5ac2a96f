//! A new version is asked beside the one in force: both get the same questions on a thread of their
//! own, and what they say is compared and thrown away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pgsteer_core::policy::{Answers, FailureClass, Grants, Hooks, Plugin, Policy, Sample};
use pgsteer_core::settings::Rollout;
use tokio::sync::{Notify, mpsc};

use super::rollout::{failures_in_words, in_words, percent};

/// A shadow: how far it has got, and how it is fed.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    /// Share of the statements it is asked about.
    pub(crate) share: f64,
    since: Instant,
    tally: Arc<Mutex<Tally>>,
}

/// What came of it so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Questions both versions were asked.
    pub(crate) asked: u64,
    /// Those they did not answer alike.
    pub(crate) different: u64,
    /// Failures of the new version by class.
    pub(crate) failures: [u64; FailureClass::COUNT],
    /// Some differences in words.
    pub(crate) words: Vec<String>,
}

/// What the comparison says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It goes on.
    Going,
    /// The new version may decide; in words.
    Passed(String),
    /// It may not: why.
    Refused(String),
}

impl Shadow {
    pub(crate) fn new(share: f64, now: Instant) -> Self {
        Self {
            share,
            since: now,
            tally: Arc::default(),
        }
    }

    /// What came of it so far.
    pub(crate) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Whether both are the same shadow.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tally, &other.tally)
    }

    /// Whether it has come to an end, and to which.
    pub(crate) fn judge(&self, rollout: &Rollout, now: Instant) -> Outcome {
        judge(&self.tally(), rollout, now >= self.until(rollout))
    }

    /// When it ends at the latest.
    pub(crate) fn until(&self, rollout: &Rollout) -> Instant {
        self.since + rollout.shadow_time
    }

    /// How far it has got.
    pub(crate) fn progress(&self, rollout: &Rollout, now: Instant) -> String {
        let tally = self.tally();
        let asked = now.saturating_duration_since(self.since).as_secs();
        let mut text = format!(
            "asked about {} of the statements for {asked} of {}: {} of {}, {}",
            percent(self.share),
            in_words(rollout.shadow_time),
            tally.asked,
            rollout.shadow_decisions,
            tally.in_words()
        );
        if !tally.words.is_empty() {
            text.push_str("; ");
            text.push_str(&tally.words.join("; "));
        }
        text
    }
}

fn judge(tally: &Tally, rollout: &Rollout, is_over: bool) -> Outcome {
    let failed: u64 = tally.failures.iter().sum();
    if failed >= FAILURES_MAX && failed * 100 > tally.asked {
        let words = failures_in_words(&tally.failures);
        let asked = tally.asked;
        return Outcome::Refused(format!("it failed {failed} of {asked} times ({words})"));
    }
    if tally.asked < rollout.shadow_decisions && !is_over {
        return Outcome::Going;
    }
    let text = format!("{} statements compared, {}", tally.asked, tally.in_words());
    let share = tally.different as f64 / tally.asked.max(1) as f64;
    if share <= rollout.differences_max {
        return Outcome::Passed(text);
    }
    let max = percent(rollout.differences_max);
    let examples = tally.words.join("; ");
    Outcome::Refused(format!("{text} (differences_max is {max}): {examples}"))
}

impl Tally {
    fn in_words(&self) -> String {
        let share = self.different as f64 / self.asked.max(1) as f64;
        let failures = failures_in_words(&self.failures);
        let failures = if failures.is_empty() {
            "no failures"
        } else {
            &failures
        };
        format!(
            "{} answered in another way ({}), {failures}",
            self.different,
            percent(share)
        )
    }

    /// Notes one comparison. Says whether somebody should look now; otherwise the next look is soon
    /// enough.
    fn take_in(
        &mut self,
        sample: &Sample,
        before: &Answers,
        now: Result<Answers, FailureClass>,
        taken: Taken,
    ) -> bool {
        self.asked += 1;
        let now = match now {
            Ok(now) if now == *before => return self.asked.is_multiple_of(NEWS_EVERY),
            Ok(now) => now.words(),
            Err(class) => {
                let index = FailureClass::ALL.iter().position(|c| *c == class);
                if let Some(count) = index.and_then(|index| self.failures.get_mut(index)) {
                    *count += 1;
                }
                format!("it fails ({class:?})")
            }
        };
        let before = before.words();
        self.differ(sample, taken, || format!("before: {before}; now: {now}"));
        true
    }

    fn differ(&mut self, sample: &Sample, taken: Taken, words: impl Fn() -> String) {
        self.different += 1;
        if self.words.len() < WORDS_MAX {
            // What was taken with literals and values stays out of reports.
            let text = if taken == Taken::Bare {
                format!("{:.200}: {}", sample.sql, words())
            } else {
                format!("a statement with fingerprint {:016x}", sample.fingerprint)
            };
            self.words.push(text);
        }
    }
}

/// Hands samples to the thread that compares. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Feed {
    shadow: Shadow,
    // Both versions may see values of parameters.
    values: bool,
    sender: mpsc::Sender<(Sample, Taken)>,
}

/// How a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Without literals and values: it may be shown.
    Bare,
    /// With them: it may not.
    Whole,
}

impl Feed {
    /// Begins to compare.
    pub(crate) fn new(
        shadow: &Shadow,
        old: Arc<Plugin>,
        new: Arc<Plugin>,
        wake: Arc<Notify>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let tally = Arc::clone(&shadow.tally);
        let values = sees_values(&old, &new);
        // Not awaited: it ends with the feed, and what it found is in the tally.
        let _thread =
            tokio::task::spawn_blocking(move || compare(receiver, &old, &new, &tally, &wake));
        Self {
            shadow: shadow.clone(),
            values,
            sender,
        }
    }

    /// Whether it feeds this shadow.
    pub(crate) fn is_of(&self, shadow: &Shadow) -> bool {
        self.shadow.is(shadow)
    }

    /// Hands a sample over; with too many under way it is left out.
    pub(crate) fn put(&self, mut sample: Sample, taken: Taken) {
        if !self.values {
            sample.values.clear();
        }
        let _full = self.sender.try_send((sample, taken));
    }
}

/// Whether both versions may see values of parameters.
pub(crate) fn sees_values(old: &Plugin, new: &Plugin) -> bool {
    old.grants.has(Grants::VALUES) && new.grants.has(Grants::VALUES)
}

fn compare(
    mut receiver: mpsc::Receiver<(Sample, Taken)>,
    old: &Arc<Plugin>,
    new: &Arc<Plugin>,
    tally: &Mutex<Tally>,
    wake: &Notify,
) {
    let hooks = common(old.hooks, new.hooks);
    let mut old = Asked::new(old, hooks);
    let mut new = Asked::new(new, hooks);
    while let Some((sample, taken)) = receiver.blocking_recv() {
        // Without an answer of the version in force there is nothing to compare.
        let Ok(before) = old.ask(&sample) else {
            continue;
        };
        let answer = new.ask(&sample);
        let is_news = lock(tally).take_in(&sample, &before, answer, taken);
        if is_news {
            wake.notify_one();
        }
    }
}

/// A plugin with an instance that no worker has.
struct Asked<'a> {
    plugin: &'a Plugin,
    hooks: Hooks,
    instance: Option<Box<dyn Policy>>,
}

impl<'a> Asked<'a> {
    fn new(plugin: &'a Arc<Plugin>, hooks: Hooks) -> Self {
        Self {
            plugin,
            hooks,
            instance: None,
        }
    }

    fn ask(&mut self, sample: &Sample) -> Result<Answers, FailureClass> {
        let made = match self.instance.take().filter(|instance| !instance.is_worn()) {
            Some(instance) => Ok(instance),
            None => self.plugin.factory().instantiate_for_trial(),
        };
        let mut instance = made.map_err(|error| error.class)?;
        let file = &*self.plugin.file_name;
        let answers = Answers::ask(&mut *instance, self.hooks, sample, file);
        let answers = answers.map_err(|error| error.class)?;
        self.instance = Some(instance);
        Ok(answers)
    }
}

/// What both versions say about statements; empty if there is nothing to compare.
pub(crate) fn common(old: Hooks, new: Hooks) -> Hooks {
    let both = [Hooks::ROUTER, Hooks::REWRITER].into_iter();
    let both = both.filter(|hook| old.has(*hook) && new.has(*hook));
    both.fold(Hooks::default(), Hooks::with)
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples on their way to the thread (ours).
const WAITING_MAX: usize = 256;

/// Statements after which somebody looks without anything having happened (ours).
const NEWS_EVERY: u64 = 64;

/// Differences kept in words (ours).
const WORDS_MAX: usize = 5;

/// Failures that end a shadow at once if they are more than one in a hundred (ours).
const FAILURES_MAX: u64 = 5;

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
