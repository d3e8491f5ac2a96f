//! Judges whether a replica replays what the current primary writes. Pure: no clock, no socket.
//!
//! A replica that does not is worse than one that lags: it answers from a past that never ends, or
//! from a history that did not happen. Being stale is for the freshness clock; this is about
//! replicas that will not catch up by waiting.

use std::fmt;
use std::time::Duration;

use pgsteer_core::Moment;

/// How long each sign must be seen before it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The WAL receiver is on another timeline. Short, and not zero: a replica that follows a
    /// promoted node changes over within a second or so after that began its timeline.
    pub(crate) other_timeline: Duration,
    /// There is no WAL receiver and something is missing. PostgreSQL tries to connect anew every
    /// 5 s (`wal_retrieve_retry_interval`).
    pub(crate) detached: Duration,
    /// Nothing is replayed although something is missing. Longer than the 30 s for which a query
    /// may hold up replay by default (`max_standby_streaming_delay`), and than the 10 s to 25 s for
    /// which an idle primary may leave the last record of an open transaction unflushed.
    pub(crate) stalled: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            other_timeline: Duration::from_secs(2),
            detached: Duration::from_secs(10),
            stalled: Duration::from_secs(35),
        }
    }
}

/// The process of a replica that streams WAL, as `pg_stat_wal_receiver` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// Not asked yet.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It is connected; the timeline is hidden from roles without `pg_monitor`.
    Present(Option<u32>),
}

/// Why a replica does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It streams a history other than the primary's.
    OtherTimeline {
        /// Its own.
        own: u32,
        /// The primary's.
        primary: u32,
    },
    /// It has replayed what the primary never wrote.
    Ahead,
    /// It streams from nobody and misses something.
    Detached(Duration),
    /// It replays nothing and misses something.
    Stalled(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherTimeline { own, primary } => {
                write!(f, "it streams timeline {own}, the primary is on {primary}")
            }
            Self::Ahead => f.write_str("it has replayed WAL that the primary never wrote"),
            Self::Detached(time) => write!(
                f,
                "it has no WAL receiver and has been missing something for {} s",
                time.as_secs()
            ),
            Self::Stalled(time) => write!(
                f,
                "it has replayed nothing for {} s although the primary is ahead",
                time.as_secs()
            ),
        }
    }
}

/// What is seen of a replica next to its primary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Its WAL receiver.
    pub(super) receiver: Receiver,
    /// The timeline of the primary.
    pub(super) timeline: Option<u32>,
    /// Up to where it has replayed.
    pub(super) position: u64,
    /// Whether the primary, asked later, had not got so far.
    pub(super) ahead: bool,
    /// Since when it misses something, at most since it can be judged.
    pub(super) missing_since: Option<Moment>,
    /// When it last replayed something.
    pub(super) progress_at: Moment,
    /// Whether it has replayed what some sample of this primary saw.
    pub(super) reached: bool,
}

impl Sight {
    /// Whether it streams from the timeline of the primary.
    fn is_attached(&self) -> bool {
        is_attached(self.receiver, self.timeline)
    }
}

/// Whether a receiver is known to stream from this timeline.
pub(super) fn is_attached(receiver: Receiver, timeline: Option<u32>) -> bool {
    matches!((receiver, timeline), (Receiver::Present(Some(own)), Some(primary)) if own == primary)
}

/// What was found out about one replica.
#[derive(Debug, Default)]
pub(super) struct Follow {
    // While it does not follow: why, and where it was then.
    astray: Option<(Reason, u64)>,
    other_timeline_since: Option<Moment>,
}

/// A change of the judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does not follow any more.
    Astray(Reason),
    /// It follows again.
    Follows,
}

impl Follow {
    /// Whether it follows, as far as is known.
    pub(super) fn follows(&self) -> bool {
        self.astray.is_none()
    }

    /// Takes in what is seen now. `None` if the judgement stays.
    pub(super) fn judge(
        &mut self,
        sight: &Sight,
        now: Moment,
        patience: &Patience,
    ) -> Option<Verdict> {
        let sign = self.sign(sight, now, patience);
        match (self.astray, sign) {
            (None, Some(reason)) => {
                self.astray = Some((reason, sight.position));
                Some(Verdict::Astray(reason))
            }
            // That a sign went away is not enough: the primary may have written past the point where
            // a replica with another history stands.
            (Some((_, stood)), None) => {
                let moved = sight.position != stood && self.other_timeline_since.is_none();
                let proven = sight.reached && (sight.is_attached() || moved);
                proven.then(|| {
                    self.astray = None;
                    Verdict::Follows
                })
            }
            _ => None,
        }
    }

    fn sign(&mut self, sight: &Sight, now: Moment, patience: &Patience) -> Option<Reason> {
        if sight.ahead {
            return Some(Reason::Ahead);
        }
        if let (Receiver::Present(Some(own)), Some(primary)) = (sight.receiver, sight.timeline)
            && own != primary
        {
            let since = *self.other_timeline_since.get_or_insert(now);
            let reason = Reason::OtherTimeline { own, primary };
            return (now.since(since) >= patience.other_timeline).then_some(reason);
        }
        self.other_timeline_since = None;
        let missing_since = sight.missing_since?;
        let missing = now.since(missing_since);
        if sight.receiver == Receiver::Absent && missing >= patience.detached {
            return Some(Reason::Detached(missing));
        }
        let still = now.since(sight.progress_at.max(missing_since));
        (still >= patience.stalled).then_some(Reason::Stalled(still))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn sight() -> Sight {
        Sight {
            receiver: Receiver::Present(Some(1)),
            timeline: Some(1),
            position: 100,
            ahead: false,
            missing_since: None,
            progress_at: Moment(1),
            reached: true,
        }
    }

    /// Judges at these seconds and says at each whether it follows.
    fn judge(follow: &mut Follow, sight: &Sight, seconds: &[u64]) -> Vec<bool> {
        let patience = Patience::default();
        let at = |second: &u64| {
            follow.judge(sight, Moment(second * SECOND), &patience);
            follow.follows()
        };
        seconds.iter().map(at).collect()
    }

    #[test]
    fn signs_count_when_they_last() {
        let missing = Sight {
            missing_since: Some(Moment(10 * SECOND)),
            ..sight()
        };
        let cases = [
            ("caught up and idle", sight(), vec![true; 4]),
            (
                "another timeline",
                Sight {
                    receiver: Receiver::Present(Some(2)),
                    ..sight()
                },
                vec![true, false, false, false],
            ),
            (
                "ahead",
                Sight {
                    ahead: true,
                    ..sight()
                },
                vec![false; 4],
            ),
            (
                "nobody to stream from, nothing missing",
                Sight {
                    receiver: Receiver::Absent,
                    ..sight()
                },
                vec![true; 4],
            ),
            (
                "nobody to stream from",
                Sight {
                    receiver: Receiver::Absent,
                    ..missing
                },
                vec![true, true, false, false],
            ),
            ("stalled", missing, vec![true, true, true, false]),
            (
                "slow, but it moves",
                Sight {
                    progress_at: Moment(44 * SECOND),
                    ..missing
                },
                vec![true; 4],
            ),
        ];
        for (name, sight, expected) in cases {
            let mut follow = Follow::default();
            assert_eq!(
                judge(&mut follow, &sight, &[10, 13, 20, 45]),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_change_of_timelines_is_waited_for() {
        let mut follow = Follow::default();
        let other = Sight {
            receiver: Receiver::Present(Some(2)),
            ..sight()
        };
        assert_eq!(judge(&mut follow, &other, &[1, 2]), [true; 2]);
        assert_eq!(judge(&mut follow, &sight(), &[3]), [true]);
        assert_eq!(judge(&mut follow, &other, &[4, 5, 6]), [true, true, false]);
    }

    #[test]
    fn the_way_back_takes_a_proof() {
        let astray = || {
            let mut follow = Follow::default();
            let ahead = Sight {
                ahead: true,
                ..sight()
            };
            assert_eq!(judge(&mut follow, &ahead, &[1]), [false]);
            follow
        };
        let overtaken = Sight {
            receiver: Receiver::Absent,
            ..sight()
        };
        assert_eq!(judge(&mut astray(), &overtaken, &[2, 3]), [false; 2]);
        let moved = Sight {
            position: 90,
            ..overtaken
        };
        assert_eq!(judge(&mut astray(), &moved, &[2]), [true]);
        assert_eq!(judge(&mut astray(), &sight(), &[2]), [true]);
        let nothing_yet = Sight {
            reached: false,
            ..sight()
        };
        assert_eq!(judge(&mut astray(), &nothing_yet, &[2]), [false]);
    }
}
