//! Where the samples from the tap go: into the golden set, to shadows, into a recording. The tap is
//! open as wide as the one that wants most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::admin::{Order, Request};
use pgsteer_core::policy::{Hooks, Plugin, Sample};
use pgsteer_core::{Facts, Snapshot};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::orders::Answer;
use super::shadow::{self, Feed, Shadow, Taken};
use crate::recording;

/// What samples are wanted for.
pub(crate) struct Samples {
    facts: Arc<Facts>,
    receiver: Option<mpsc::Receiver<Sample>>,
    golden: Golden,
    feeds: Vec<(Feed, Skip)>,
    recording: Option<Recording>,
}

/// The latest questions, for trying out new versions.
#[derive(Debug, Default)]
struct Golden {
    samples: VecDeque<Sample>,
    skip: Skip,
    // Whether somebody in force has something to say about statements.
    wanted: bool,
}

/// Takes one of so many, if more come than are wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Skip {
    every: u32,
    seen: u32,
}

impl Skip {
    fn takes(&mut self, tap_every: u32) -> bool {
        let one_in = (self.every / tap_every.max(1)).max(1);
        self.seen = (self.seen + 1) % one_in;
        self.seen == 0
    }
}

/// An order to record, under way.
struct Recording {
    wanted: usize,
    values: bool,
    user: String,
    reply: oneshot::Sender<Answer>,
    lines: Vec<String>,
    since: Instant,
    // Samples that nobody had room for until then.
    dropped: u64,
}

impl Samples {
    pub(crate) fn new(facts: &Arc<Facts>) -> Self {
        Self {
            facts: Arc::clone(facts),
            receiver: facts.tap.take(),
            golden: Golden::default(),
            feeds: Vec::new(),
            recording: None,
        }
    }

    /// The next samples; never ends if there are none.
    ///
    /// # Cancel safety
    /// Cancel safe: samples that nobody took stay.
    pub(crate) async fn next(&mut self, batch: &mut Vec<Sample>) {
        let taken = match &mut self.receiver {
            Some(receiver) => receiver.recv_many(batch, BATCH).await,
            None => 0,
        };
        if taken == 0 {
            std::future::pending::<()>().await;
        }
    }

    /// When a recording has lasted long enough, if there is one.
    pub(crate) fn recording_until(&self) -> Option<Instant> {
        self.recording
            .as_ref()
            .map(|recording| recording.since + RECORD_TIME)
    }

    /// Hands samples to whoever wants them.
    pub(crate) fn hand_out(&mut self, batch: &mut Vec<Sample>) {
        let every = self.facts.tap.every();
        let taken = if self.facts.tap.takes_values() {
            Taken::Whole
        } else {
            Taken::Bare
        };
        for sample in batch.drain(..) {
            if let Some(recording) = &mut self.recording {
                recording.lines.push(recording::line(&sample));
                if recording.lines.len() >= recording.wanted {
                    self.finish_recording();
                }
            }
            for (feed, skip) in &mut self.feeds {
                if skip.takes(every) {
                    feed.put(sample.clone(), taken);
                }
            }
            // What was taken with literals and values is not kept.
            if self.golden.wanted && taken == Taken::Bare && self.golden.skip.takes(every) {
                self.golden.keep(sample);
            }
        }
    }

    /// The golden set as it is now.
    pub(crate) fn golden(&self) -> Vec<Sample> {
        self.golden.samples.iter().cloned().collect()
    }

    /// Begins and ends feeds so that there is one for each shadow, and opens the tap accordingly.
    pub(crate) fn follow(
        &mut self,
        shadows: &[(Shadow, Arc<Plugin>, Arc<Plugin>)],
        snapshot: &Snapshot,
        wake: &Arc<Notify>,
    ) {
        self.feeds
            .retain(|(feed, _)| shadows.iter().any(|(shadow, ..)| feed.is_of(shadow)));
        let mut values = false;
        for (shadow, old, new) in shadows {
            values |= shadow::sees_values(old, new);
            let every = every(shadow.share);
            let fed = self.feeds.iter_mut().find(|(feed, _)| feed.is_of(shadow));
            if let Some((_, skip)) = fed {
                skip.every = every;
                continue;
            }
            let feed = Feed::new(shadow, Arc::clone(old), Arc::clone(new), Arc::clone(wake));
            self.feeds.push((feed, Skip { every, seen: 0 }));
        }
        let mut in_force = snapshot.policies.plugins.iter();
        let speaks = |hooks: Hooks| hooks.has(Hooks::ROUTER) || hooks.has(Hooks::REWRITER);
        self.golden.wanted = in_force.any(|plugin| speaks(plugin.hooks));
        self.golden.skip.every = GOLDEN_EVERY;
        self.open_tap(values);
    }

    fn open_tap(&self, values: bool) {
        let recording = self.recording.as_ref();
        // Whoever records without values must not be shown any.
        let values = recording.map_or(values, |recording| recording.values);
        let golden = self.golden.wanted.then_some(GOLDEN_EVERY);
        let feeds = self.feeds.iter().map(|(_, skip)| skip.every);
        let wants = golden.into_iter().chain(feeds).chain(recording.map(|_| 1));
        let every = wants.min().unwrap_or(0);
        let tap = &self.facts.tap;
        if (tap.every(), tap.takes_values()) != (every, values) {
            tap.open(every, values);
        }
    }

    /// Begins to record; the answer comes when it has ended.
    pub(crate) fn record(&mut self, count: u32, values: bool, request: Request<Order>) {
        if let Some(recording) = &self.recording {
            let reason = format!("{} records already: try again in a moment", recording.user);
            let _gone = request.reply.send(Err(reason));
            return;
        }
        if let Some(receiver) = &mut self.receiver {
            // They were taken in another way.
            while receiver.try_recv().is_ok() {}
        }
        self.recording = Some(Recording {
            wanted: usize::try_from(count).unwrap_or(usize::MAX),
            values,
            user: request.user,
            reply: request.reply,
            lines: Vec::new(),
            since: Instant::now(),
            dropped: self.facts.tap.dropped(),
        });
        self.open_tap(false);
    }

    /// Ends a recording, with however much there is.
    pub(crate) fn finish_recording(&mut self) {
        let Some(recording) = self.recording.take() else {
            return;
        };
        let mut lines = recording.lines;
        let seconds = recording.since.elapsed().as_secs_f64();
        let (got, wanted) = (lines.len(), recording.wanted);
        let kind = if recording.values {
            "with literals and values"
        } else {
            "without literals and values"
        };
        let mut line = format!("# {got} of {wanted} decisions recorded in {seconds:.1} s, {kind}");
        let dropped = self.facts.tap.dropped().saturating_sub(recording.dropped);
        if dropped > 0 {
            line.push_str(&format!(
                "; {dropped} between them came too fast and are left out"
            ));
        }
        lines.push(line);
        let _gone = recording.reply.send(Ok(lines));
        self.open_tap(false);
        if let Some(receiver) = self.receiver.as_mut().filter(|_| recording.values) {
            while receiver.try_recv().is_ok() {}
        }
    }
}

impl Golden {
    fn keep(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        if self.samples.len() > GOLDEN_MAX {
            self.samples.pop_front();
        }
    }
}

/// Every how many-th statement makes this share.
fn every(share: f64) -> u32 {
    let every = (1.0 / share.clamp(1e-6, 1.0)).round();
    // Between 1 and a million.
    every as u32
}

/// Samples taken at once (ours).
const BATCH: usize = 256;

/// The golden set: of every so many statements one, the latest so many (ours).
const GOLDEN_EVERY: u32 = 1024;
const GOLDEN_MAX: usize = 256;

/// How long a recording may take (ours).
const RECORD_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_one_in_so_many() {
        for (share, expected) in [(1.0, 1), (0.5, 2), (0.01, 100), (0.001, 1000)] {
            assert_eq!(every(share), expected, "{share}");
        }
    }

    #[test]
    fn whoever_wants_less_takes_one_of_many() {
        let count = |every, tap| {
            let mut skip = Skip { every, seen: 0 };
            (0..256).filter(|_| skip.takes(tap)).count()
        };
        assert_eq!(count(256, 256), 256);
        assert_eq!(count(256, 1), 1);
        assert_eq!(count(64, 16), 64);
        assert_eq!(count(1, 0), 256);
    }

    #[test]
    fn the_golden_set_is_bounded() {
        let mut golden = Golden::default();
        for fingerprint in 0..300 {
            golden.keep(Sample {
                fingerprint,
                ..Sample::default()
            });
        }
        assert_eq!(golden.samples.len(), GOLDEN_MAX);
        assert_eq!(
            golden.samples.front().map(|sample| sample.fingerprint),
            Some(44)
        );
    }
}
