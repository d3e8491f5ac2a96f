//! Judges a node from one probe after the other. Pure: no clock, no socket.

use std::time::SystemTime;

use pgsteer_core::Role;
use pgsteer_core::topology::Health;

/// What is known about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    /// The judgement.
    pub health: Health,
    /// What the node said last; kept while it is down.
    pub role: Role,
    /// Failed probes in a row.
    pub failures: u32,
    /// Whether the last probe succeeded.
    pub last_probe_ok: bool,
    /// When health or role last changed.
    pub changed_at: SystemTime,
}

impl NodeHealth {
    /// A node that was never asked.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self {
            health: Health::Unknown,
            role: Role::Unknown,
            failures: 0,
            last_probe_ok: false,
            changed_at: now,
        }
    }
}

/// What came of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The node answered with this role.
    Answered(Role),
    /// It did not answer, or not with what was asked.
    Failed,
}

/// The next judgement. A node is down after `failures_max` failed probes in a row
/// (`1 <= failures_max`) and up again after one that succeeded.
#[must_use]
pub fn step(
    before: &NodeHealth,
    outcome: ProbeOutcome,
    failures_max: u32,
    now: SystemTime,
) -> NodeHealth {
    let mut after = before.clone();
    match outcome {
        ProbeOutcome::Answered(role) => {
            after.health = Health::Up;
            after.role = role;
            after.failures = 0;
            after.last_probe_ok = true;
        }
        ProbeOutcome::Failed => {
            after.failures = before.failures.saturating_add(1);
            after.last_probe_ok = false;
            if after.failures >= failures_max {
                after.health = Health::Down;
            }
        }
    }
    if (after.health, after.role) != (before.health, before.role) {
        after.changed_at = now;
    }
    after
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Feeds outcomes (`p` primary, `r` replica, `x` failed), one per second, and compares the state
    /// after each: health (`?` unknown, `U` up, `D` down), role, second of the last change.
    fn check(failures_max: u32, outcomes: &str, expected: &[&str]) {
        let start = SystemTime::UNIX_EPOCH;
        let mut state = NodeHealth::new(start);
        let mut seen = Vec::new();
        for (second, outcome) in (1..).zip(outcomes.chars()) {
            let outcome = match outcome {
                'p' => ProbeOutcome::Answered(Role::Primary),
                'r' => ProbeOutcome::Answered(Role::Replica),
                _ => ProbeOutcome::Failed,
            };
            state = step(
                &state,
                outcome,
                failures_max,
                start + Duration::from_secs(second),
            );
            assert_eq!(state.last_probe_ok, outcome != ProbeOutcome::Failed);
            let health = match state.health {
                Health::Unknown => '?',
                Health::Up => 'U',
                Health::Down => 'D',
            };
            let role = match state.role {
                Role::Unknown => '?',
                Role::Primary => 'p',
                Role::Replica => 'r',
            };
            let changed = state
                .changed_at
                .duration_since(start)
                .expect("after the start");
            seen.push(format!("{health}{role}{}", changed.as_secs()));
        }
        assert_eq!(seen, expected, "{outcomes}");
    }

    #[test]
    fn patience_is_counted_in_a_row() {
        check(2, "rxrxx", &["Ur1", "Ur1", "Ur1", "Ur1", "Dr5"]);
        check(1, "px", &["Up1", "Dp2"]);
        check(3, "xxxx", &["??0", "??0", "D?3", "D?3"]);
    }

    #[test]
    fn one_success_brings_a_node_back() {
        check(2, "rxxxr", &["Ur1", "Ur1", "Dr3", "Dr3", "Ur5"]);
        check(2, "xp", &["??0", "Up2"]);
    }

    #[test]
    fn a_promotion_is_a_change() {
        check(2, "rrpp", &["Ur1", "Ur1", "Up3", "Up3"]);
        check(1, "pxr", &["Up1", "Dp2", "Ur3"]);
    }
}
