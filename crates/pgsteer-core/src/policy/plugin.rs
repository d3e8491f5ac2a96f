//! A plugin in force: what workers share about it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{
    FailureClass, Grants, Hooks, LoadReport, LoadedPlugin, PluginSource, Policy, PolicyError,
    PolicyFactory, SeriesTable,
};
use crate::Generation;
use crate::counters::Counter;
use crate::settings::OnFailure;

/// What one worker counted about one plugin.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PluginCounters {
    /// Questions that went to the plugin.
    pub calls: Counter,
    /// Questions answered from memory.
    pub cached: Counter,
    /// Questions it failed to answer, by [`FailureClass`].
    pub failures: [Counter; FailureClass::COUNT],
    /// Statements and sessions it refused.
    pub refusals: Counter,
    /// Statements it rewrote.
    pub rewrites: Counter,
    /// Rewritings that the host did not accept, among the failures.
    pub bad_rewrites: Counter,
    /// Events it was told.
    pub events: Counter,
    /// Events it was too slow for.
    pub events_dropped: Counter,
    /// Remembered answers that were asked again and compared.
    pub rechecks: Counter,
    /// Those that had become wrong although nothing had changed.
    pub divergences: Counter,
    /// Questions it was not asked because it rests.
    pub rested: Counter,
    /// Instances made.
    pub instances: Counter,
    /// The most memory an instance has had, in bytes.
    pub memory_bytes: Counter,
    /// How long answers took, of every sixteenth question.
    pub times: TimeHistogram,
}

/// Counts of times by length: four steps to each doubling.
#[derive(Debug)]
pub struct TimeHistogram {
    cells: [Counter; BUCKETS],
    sum_ns: Counter,
}

const BUCKETS: usize = 128;

/// Doublings that are told apart for those who look from outside: 256 ns to 17 ms.
const SHOWN_DOUBLINGS: std::ops::RangeInclusive<usize> = 5..=21;

impl Default for TimeHistogram {
    fn default() -> Self {
        Self {
            cells: std::array::from_fn(|_| Counter::default()),
            sum_ns: Counter::default(),
        }
    }
}

impl TimeHistogram {
    /// Notes one. Only the owning worker may call this.
    pub fn note(&self, time: Duration) {
        if let Some(bucket) = self.cells.get(bucket(time)) {
            bucket.add(1);
        }
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.add(nanoseconds);
    }

    fn add_to(&self, sums: &mut [u64; BUCKETS]) {
        for (sum, bucket) in sums.iter_mut().zip(&self.cells) {
            *sum += bucket.get();
        }
    }
}

fn bucket(time: Duration) -> usize {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(4);
    let octave = nanoseconds.ilog2();
    let step = (nanoseconds >> (octave - 2)) & 3;
    let index = usize::try_from(octave - 2).unwrap_or(0) * 4 + usize::try_from(step).unwrap_or(0);
    index.min(BUCKETS - 1)
}

/// The longest time that belongs into a bucket.
fn upper(index: usize) -> Duration {
    let (octave, step) = (index / 4, index as u64 % 4);
    Duration::from_nanos((4 + step + 1) << octave)
}

/// A plugin in force, or about to be.
#[derive(Debug)]
pub struct Plugin {
    /// File name without directory and extension.
    pub file_name: Arc<str>,
    /// Name from its manifest.
    pub name: String,
    /// Version from its manifest.
    pub version: String,
    /// What it does, in its own words.
    pub description: String,
    /// SHA-256 of the component in hexadecimal.
    pub sha256: String,
    /// Hooks it implements.
    pub hooks: Hooks,
    /// What it may do.
    pub grants: Grants,
    /// Plugin generation in which it was loaded.
    pub generation: Generation,
    /// Its answers may be remembered.
    pub deterministic: bool,
    /// What it wants to be told about statements, bits of [`super::needs`].
    pub needs: u64,
    /// What happens to a statement when it fails.
    pub on_failure: OnFailure,
    /// How it was loaded.
    pub report: LoadReport,
    /// What it counts itself.
    pub series: Arc<SeriesTable>,
    factory: Arc<dyn PolicyFactory>,
    kv_version: Arc<AtomicU64>,
    // One mailbox per worker: filled by the loader, emptied once by the worker.
    mailboxes: Box<[Mailbox]>,
    counters: Box<[PluginCounters]>,
    forgets: AtomicBool,
    quarantined: AtomicBool,
    openings: Mutex<Vec<Instant>>,
    trouble: Arc<Notify>,
}

struct Mailbox(Mutex<Option<Box<dyn Policy>>>);

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox")
    }
}

impl Plugin {
    /// Makes a loaded plugin ready for the workers. `trouble` is told of each failure.
    #[must_use]
    pub fn new(
        source: &PluginSource,
        loaded: LoadedPlugin,
        generation: Generation,
        trouble: Arc<Notify>,
    ) -> Self {
        let counters = loaded.instances.iter();
        let counters = counters.map(|_| PluginCounters::default()).collect();
        let mailbox = |policy| Mailbox(Mutex::new(Some(policy)));
        Self {
            file_name: source.name.as_str().into(),
            name: loaded.name,
            version: loaded.version,
            description: loaded.description,
            sha256: source.sha256.clone(),
            hooks: loaded.hooks,
            grants: source.grants,
            generation,
            deterministic: loaded.deterministic,
            needs: loaded.needs,
            on_failure: source.limits.on_failure,
            report: loaded.report,
            series: loaded.series,
            factory: loaded.factory,
            kv_version: loaded.kv_version,
            mailboxes: loaded.instances.into_iter().map(mailbox).collect(),
            counters,
            forgets: AtomicBool::new(false),
            quarantined: AtomicBool::new(false),
            openings: Mutex::default(),
            trouble,
        }
    }

    /// The instance built for this worker, the first time; a fresh one afterwards.
    ///
    /// # Errors
    /// A fresh instance was needed and could not be set up.
    pub fn instance(&self, worker: usize) -> Result<Box<dyn Policy>, PolicyError> {
        let mailbox = self.mailboxes.get(worker).ok_or_else(|| PolicyError {
            class: FailureClass::Invalid,
            reason: format!("no instance for worker {worker}"),
        })?;
        let ready = mailbox.0.lock();
        let ready = ready.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(counters) = self.counters.get(worker) {
            counters.instances.add(1);
        }
        ready.map_or_else(|| self.factory.instantiate(), Ok)
    }

    /// Makes further instances.
    #[must_use]
    pub fn factory(&self) -> &dyn PolicyFactory {
        &*self.factory
    }

    /// The counters of one worker, which alone may write them.
    #[must_use]
    pub fn counters(&self, worker: usize) -> &PluginCounters {
        &self.counters[worker]
    }

    /// Sum over all workers.
    #[must_use]
    pub fn sum(&self, read: impl Fn(&PluginCounters) -> u64) -> u64 {
        self.counters.iter().map(read).sum()
    }

    /// Failures of all classes and workers.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.sum(|c| c.failures.iter().map(Counter::get).sum())
    }

    /// The most memory an instance of any worker has had, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let most = self.counters.iter().map(|c| c.memory_bytes.get()).max();
        most.unwrap_or(0)
    }

    /// The time that this share of the answers did not exceed, of all workers; `None` before the
    /// first was taken.
    #[must_use]
    pub fn time_quantile(&self, share: f64) -> Option<Duration> {
        let mut sums = [0; BUCKETS];
        for counters in &self.counters {
            counters.times.add_to(&mut sums);
        }
        let total: u64 = sums.iter().sum();
        let mut left = (total as f64 * share).ceil().max(1.0);
        for (index, count) in sums.iter().enumerate() {
            left -= *count as f64;
            if total > 0 && left <= 0.0 {
                return Some(upper(index));
            }
        }
        None
    }

    /// How long answers took, of all workers: the time to each doubling, in nanoseconds, and how many
    /// took less; then how many there were, and their sum in nanoseconds.
    #[must_use]
    pub fn times(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let mut sums = [0; BUCKETS];
        for counters in &self.counters {
            counters.times.add_to(&mut sums);
        }
        let mut total = 0;
        let mut up_to = Vec::new();
        for (doubling, cells) in sums.chunks(4).enumerate() {
            total += cells.iter().sum::<u64>();
            if SHOWN_DOUBLINGS.contains(&doubling) {
                up_to.push((8 << doubling, total));
            }
        }
        (up_to, total, self.sum(|c| c.times.sum_ns.get()))
    }

    /// Version of its key-value store: grows with every change there.
    #[must_use]
    pub fn kv_version(&self) -> u64 {
        self.kv_version.load(Ordering::Acquire)
    }

    /// Whether its answers are not remembered although it declared them good: one turned out not
    /// to be.
    #[must_use]
    pub fn forgets(&self) -> bool {
        self.forgets.load(Ordering::Relaxed)
    }

    /// From now on its answers are not remembered. Says whether that is new.
    pub fn stop_remembering(&self) -> bool {
        !self.forgets.swap(true, Ordering::Relaxed)
    }

    /// Whether it failed so often that it is not asked any more, until an operator says so.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// It is asked again.
    pub fn release(&self) {
        self.openings().clear();
        self.quarantined.store(false, Ordering::Relaxed);
    }

    /// A worker leaves it alone for a while. The third time within an hour it is left alone for
    /// good; says whether this is that time.
    pub fn note_rest(&self, now: Instant) -> bool {
        let mut openings = self.openings();
        openings.retain(|at| now.saturating_duration_since(*at) < OPENINGS_WINDOW);
        // Several workers that give up at the same time met the same trouble.
        let is_new = |last: &Instant| now.saturating_duration_since(*last) >= OPENINGS_APART;
        if openings.last().is_none_or(is_new) {
            openings.push(now);
        }
        openings.len() >= OPENINGS_MAX && !self.quarantined.swap(true, Ordering::Relaxed)
    }

    /// It failed: whoever watches it should look.
    pub fn tell_trouble(&self) {
        self.trouble.notify_one();
    }

    fn openings(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rests within this time, of all workers together, that end in quarantine.
const OPENINGS_WINDOW: Duration = Duration::from_secs(3600);
const OPENINGS_MAX: usize = 3;
const OPENINGS_APART: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, bucket, upper};

    #[test]
    fn every_time_is_below_the_upper_end_of_its_bucket_and_above_the_one_before() {
        for nanoseconds in (0..2_000).chain([1 << 20, 5_000_000, 3_000_000_000]) {
            let time = Duration::from_nanos(nanoseconds);
            let index = bucket(time);
            assert!(index < BUCKETS && time < upper(index), "{time:?}");
            if nanoseconds > 4 && index > 0 {
                assert!(time >= upper(index - 1), "{time:?}");
            }
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
