//! What the primary's WAL position was, moment by moment. Pure and bounded.

use std::collections::VecDeque;

use pgsteer_core::Moment;

/// Everything acknowledged before `moment` is in the WAL up to `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Noted before the primary was asked.
    pub(super) moment: Moment,
    /// What it answered.
    pub(super) position: u64,
}

/// Samples of one timeline of one primary, both numbers growing.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Sample>);

impl Samples {
    /// Adds a newer one. Where nothing was written since the last one, that only becomes newer.
    pub(super) fn push(&mut self, sample: Sample) {
        match self.0.back_mut() {
            Some(last) if last.position == sample.position => {
                last.moment = last.moment.max(sample.moment);
            }
            _ => self.0.push_back(sample),
        }
        if self.0.len() > SAMPLES_MAX {
            self.thin();
        }
    }

    /// Drops every second of the older ones: of a replica that is far behind we know less exactly
    /// how far, and never claim too much.
    fn thin(&mut self) {
        let mut index = 0;
        self.0.retain(|_| {
            index += 1;
            index % 2 == 1 || index > SAMPLES_MAX * 3 / 4
        });
    }

    /// The last one.
    pub(super) fn newest(&self) -> Option<Sample> {
        self.0.back().copied()
    }

    /// The moment as of which somebody is fresh who has replayed up to `position`.
    pub(super) fn reached(&self, position: u64) -> Option<Moment> {
        let after = self.0.partition_point(|s| s.position <= position);
        let last = self.0.get(after.checked_sub(1)?)?;
        Some(last.moment)
    }
}

/// Between 2.5 s at the close rate without a loss of detail, and hours after thinning (ours).
const SAMPLES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(list: impl IntoIterator<Item = (u64, u64)>) -> Samples {
        let mut samples = Samples::default();
        for (moment, position) in list {
            samples.push(Sample {
                moment: Moment(moment),
                position,
            });
        }
        samples
    }

    #[test]
    fn the_last_position_that_was_reached_counts() {
        let samples = samples([(1, 100), (2, 200), (3, 200), (4, 300)]);
        for (position, moment) in [(99, None), (100, Some(1)), (299, Some(3)), (900, Some(4))] {
            assert_eq!(samples.reached(position), moment.map(Moment), "{position}");
        }
        assert_eq!(samples.0.len(), 3, "an idle primary takes no room");
    }

    #[test]
    fn many_samples_are_thinned_where_they_are_old() {
        let samples = samples((1..100_000).map(|n| (n, n * 10)));
        assert!(samples.0.len() <= SAMPLES_MAX);
        assert_eq!(samples.reached(10), Some(Moment(1)));
        for n in [500, 50_000, 99_000] {
            let reached = samples.reached(n * 10).expect("an older one is there");
            assert!(reached <= Moment(n), "{n}: {reached:?}");
        }
        assert_eq!(samples.reached(99_990 * 10), Some(Moment(99_990)));
    }
}
