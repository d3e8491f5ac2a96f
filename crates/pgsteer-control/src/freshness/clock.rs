//! The freshness clock as a value: samples and positions go in, what is published comes out. No
//! clock, no socket: every moment is given.

use std::time::Duration;

use pgsteer_core::{Moment, NodeId, Role};

use super::follow::{Follow, Patience, Receiver, Sight, Verdict, is_attached};
use super::samples::{Sample, Samples};

/// Everything known about who has replayed what.
#[derive(Debug)]
pub(super) struct Clock {
    patience: Patience,
    primary: Option<Primary>,
    nodes: Vec<Known>,
}

/// The primary the samples are of; kept while it is away.
#[derive(Debug)]
struct Primary {
    node: NodeId,
    timeline: Option<u32>,
    samples: Samples,
    // Since when replicas can be held against it: its first sample after it was away.
    watched_since: Moment,
}

#[derive(Debug, Default)]
struct Known {
    // Its role while it is up.
    role: Role,
    seen: Option<Seen>,
    receiver: Receiver,
    ahead: bool,
    as_of: Moment,
    follow: Follow,
}

/// Up to where a replica has replayed.
#[derive(Clone, Copy, Debug)]
struct Seen {
    answered: Moment,
    position: u64,
    progress_at: Moment,
    first: Moment,
}

/// What is published about a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) as_of: Moment,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag: Option<Duration>,
}

impl Clock {
    /// Nothing is known of so many nodes.
    pub(super) fn new(nodes: usize, patience: Patience) -> Self {
        Self {
            patience,
            primary: None,
            nodes: (0..nodes).map(|_| Known::default()).collect(),
        }
    }

    /// Takes over who is what; `Unknown` stands for a node that is down too. Positions of a node
    /// that is not a replica any more are forgotten, and with a new primary those of all.
    pub(super) fn set_roles(&mut self, roles: &[Role], primary: Option<NodeId>) {
        for (known, role) in self.nodes.iter_mut().zip(roles) {
            if known.role != *role {
                known.role = *role;
                known.forget();
            }
            if *role == Role::Primary {
                known.follow = Follow::default();
            }
        }
        let same = |node| self.primary.as_ref().is_some_and(|p| p.node == node);
        if let Some(node) = primary.filter(|node| !same(*node)) {
            self.primary = Some(Primary {
                node,
                timeline: None,
                samples: Samples::default(),
                watched_since: Moment::NEVER,
            });
            self.nodes.iter_mut().for_each(Known::forget);
        }
    }

    /// The primary was asked at a moment and gave its position and, if it was asked for that too,
    /// its timeline. Another timeline, or a position before the last one, is another history.
    pub(super) fn sampled(&mut self, sample: Sample, timeline: Option<u32>) {
        let Some(primary) = &mut self.primary else {
            return;
        };
        let newest = primary.samples.newest();
        let turned = timeline
            .zip(primary.timeline)
            .is_some_and(|(new, old)| new != old);
        if turned || newest.is_some_and(|last| sample.position < last.position) {
            primary.samples = Samples::default();
            self.nodes.iter_mut().for_each(Known::forget);
        }
        let was_away = newest.is_none_or(|last| sample.moment.since(last.moment) > AWAY_AFTER);
        if was_away || turned {
            primary.watched_since = sample.moment;
        }
        primary.timeline = timeline.or(primary.timeline);
        primary.samples.push(sample);
        for known in &mut self.nodes {
            if let Some(seen) = known.seen.filter(|seen| seen.answered <= sample.moment) {
                known.ahead = seen.position > sample.position;
            }
            known.advance(primary);
        }
    }

    /// A replica has answered, at a moment, up to where it has replayed.
    pub(super) fn replayed(&mut self, node: NodeId, answered: Moment, position: u64) {
        let Some(known) = self.nodes.get_mut(node.index()) else {
            return;
        };
        if known.role != Role::Replica {
            return;
        }
        let before = known.seen;
        if before.is_some_and(|before| position < before.position) {
            // It was restored from a backup or rewound: what it had shown may be gone.
            known.as_of = Moment::NEVER;
        }
        let moved = before.is_none_or(|before| before.position != position);
        let progress_at = before
            .filter(|_| !moved)
            .map_or(answered, |b| b.progress_at);
        known.seen = Some(Seen {
            answered,
            position,
            progress_at,
            first: before.map_or(answered, |before| before.first),
        });
        if let Some(primary) = &self.primary {
            known.advance(primary);
        }
    }

    /// What a replica said about its WAL receiver.
    pub(super) fn received(&mut self, node: NodeId, receiver: Receiver) {
        if let Some(known) = self.nodes.get_mut(node.index()) {
            known.receiver = receiver;
        }
    }

    /// A node was lost sight of: it may come back with other data.
    pub(super) fn lost(&mut self, node: NodeId) {
        if let Some(known) = self.nodes.get_mut(node.index()) {
            known.forget();
        }
    }

    /// Judges anew whether a node follows. `None` if that stays, or cannot be told now.
    pub(super) fn judge(&mut self, node: NodeId, now: Moment) -> Option<Verdict> {
        let primary = self.primary.as_ref()?;
        let newest = primary.samples.newest()?;
        let known = self.nodes.get_mut(node.index())?;
        let seen = known.seen?;
        if now.since(newest.moment) > AWAY_AFTER {
            // Nobody can follow a primary that is away.
            return None;
        }
        let reached = primary.samples.reached(seen.position);
        let judged_since = primary.watched_since.max(seen.first);
        let missing = seen.position < newest.position;
        let sight = Sight {
            receiver: known.receiver,
            timeline: primary.timeline,
            position: seen.position,
            ahead: known.ahead,
            missing_since: missing.then(|| reached.unwrap_or_default().max(judged_since)),
            progress_at: seen.progress_at,
            reached: reached.is_some(),
        };
        let verdict = known.follow.judge(&sight, now, &self.patience);
        match verdict {
            Some(Verdict::Astray(_)) => known.as_of = Moment::NEVER,
            Some(Verdict::Follows) => known.advance(primary),
            None => {}
        }
        verdict
    }

    /// Whether each node follows, as far as is known.
    pub(super) fn follows(&self) -> Vec<bool> {
        self.nodes.iter().map(|k| k.follow.follows()).collect()
    }

    /// What is to be published about a node.
    pub(super) fn reading(&self, node: NodeId, now: Moment) -> Reading {
        let known = self.nodes.get(node.index());
        let Some(known) = known.filter(|known| known.follow.follows()) else {
            return Reading::default();
        };
        if known.role == Role::Primary {
            return Reading {
                as_of: Moment::NEVER,
                lag_bytes: Some(0),
                lag: Some(Duration::ZERO),
            };
        }
        let newest = self.primary.as_ref().and_then(|p| p.samples.newest());
        let (Some(seen), Some(newest)) = (known.seen, newest) else {
            return Reading::default();
        };
        let behind = newest.position.saturating_sub(seen.position);
        let lag = match (behind, known.as_of) {
            (0, _) => Some(Duration::ZERO),
            (_, Moment::NEVER) => None,
            (_, as_of) => Some(now.since(as_of)),
        };
        Reading {
            as_of: known.as_of,
            lag_bytes: Some(behind),
            lag,
        }
    }

    /// How long to wait from one round of questions to the next.
    pub(super) fn pace(&self, latest_write: Moment, now: Moment) -> Duration {
        let behind = |known: &&Known| {
            let is_read = known.role == Role::Replica && known.follow.follows();
            is_read && known.as_of != Moment::NEVER && known.as_of < latest_write
        };
        let shortest = self.nodes.iter().filter(behind);
        let shortest = shortest.map(|known| now.since(known.as_of)).min();
        shortest.map_or(PACE_IDLE, |lag| {
            (lag / PACE_SHARE).clamp(PACE_CLOSE, PACE_IDLE)
        })
    }
}

impl Known {
    fn forget(&mut self) {
        self.seen = None;
        self.receiver = Receiver::Unknown;
        self.ahead = false;
        self.as_of = Moment::NEVER;
    }

    /// Moves `as_of` forward to what the samples prove. A position beyond the last sample proves
    /// something only if its WAL surely came from this primary; else the next sample decides.
    fn advance(&mut self, primary: &Primary) {
        let (Some(seen), Some(newest)) = (self.seen, primary.samples.newest()) else {
            return;
        };
        let trusted = is_attached(self.receiver, primary.timeline);
        if self.ahead || !(trusted || seen.position <= newest.position) {
            return;
        }
        let reached = primary.samples.reached(seen.position);
        self.as_of = self.as_of.max(reached.unwrap_or_default());
    }
}

/// Time between two rounds while nobody waits for anything (ours).
pub(super) const PACE_IDLE: Duration = Duration::from_millis(200);
/// The same while a replica has not replayed the last write (ours).
pub(super) const PACE_CLOSE: Duration = Duration::from_millis(5);
/// A replica that lags is looked at so many times in as long as it lags: closely if it is about to
/// arrive, hardly ever if it is hours behind (ours).
const PACE_SHARE: u32 = 40;
/// A primary that was not sampled for so long was away, and replicas get time to find it again
/// (ours).
const AWAY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
