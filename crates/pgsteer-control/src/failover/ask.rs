//! When the failover machine asks the policy, and what it tells it.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{Crisis, Occasion, PastEvent, Witness};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::{Health, Standing};

use super::safety::{behind, is_other};
use super::sight::Sight;
use super::state::{Action, By, Phase, Question, State};
use super::step::{Machine, is_linked};

impl Machine<'_> {
    /// Asks the policy, if there is something to ask and it is time.
    pub(super) fn ask(&mut self) {
        if self.state.question.is_some() {
            return;
        }
        let Some((occasion, subject, since)) = self.occasion() else {
            return;
        };
        let id = self.state.next_id();
        self.state.question = Some(Question {
            id,
            occasion,
            subject,
        });
        let crisis = Crisis {
            occasion,
            subject,
            primary: self.state.reign.map(|reign| reign.node),
            for_ms: milliseconds(self.now.saturating_sub(since)),
            nodes: self.sights.iter().map(|s| self.witness(s)).collect(),
            history: self.history(),
            refused: self.state.refused.clone(),
        };
        self.actions.push(Action::Ask(id, Box::new(crisis)));
    }

    /// The most pressing thing the policy may be asked about now, and since when it is so.
    fn occasion(&self) -> Option<(Occasion, Option<NodeId>, Duration)> {
        match self.state.phase {
            Phase::Lost { since, ask_at, .. } if self.now >= ask_at => {
                let subject = self.state.reign.map(|reign| reign.node);
                return Some((Occasion::PrimaryLost, subject, since));
            }
            Phase::Calm | Phase::Lost { .. } => {}
            Phase::Promoting(_) | Phase::Switching(_) => return None,
        }
        let due = |sight: &&Sight| {
            let tenure = self.state.nodes.get(sight.id.index());
            tenure.is_some_and(|tenure| self.now >= tenure.ask_at)
        };
        let of = |occasion, sight: &Sight| {
            let since = self.now.saturating_sub(sight.age);
            Some((occasion, Some(sight.id), since))
        };
        let nodes = || self.sights.iter().filter(due);
        if let Some(other) = nodes().find(|sight| self.is_other_primary(sight)) {
            return of(Occasion::OtherPrimary, other);
        }
        if let Some(back) = nodes().find(|sight| self.is_back(sight)) {
            return of(Occasion::NodeBack, back);
        }
        // While there is no primary it may be the one that is to be promoted.
        let calm = self.state.phase == Phase::Calm;
        let lost = nodes().find(|sight| calm && self.is_node_lost(sight))?;
        of(Occasion::NodeLost, lost)
    }

    fn is_other_primary(&self, sight: &Sight) -> bool {
        let calm = self.state.phase == Phase::Calm;
        calm && self.state.reign.is_some()
            && sight.is_primary()
            && !self.state.is_reigning(sight.id)
    }

    fn is_back(&self, sight: &Sight) -> bool {
        let Some(tenure) = self.state.nodes.get(sight.id.index()) else {
            return false;
        };
        let Some(reign) = self.state.reign else {
            return false;
        };
        match tenure.standing {
            Standing::Fenced => tenure.by != Some(By::Operator) && is_linked(sight, reign),
            // Whether it follows the primary is judged all the time; until it does nothing is read
            // there.
            Standing::Detached if tenure.by == Some(By::Policy) => {
                sight.is_replica() && !is_other(reign.system_identifier, sight.system_identifier)
            }
            Standing::Detached | Standing::InService | Standing::Closing => false,
        }
    }

    fn is_node_lost(&self, sight: &Sight) -> bool {
        sight.down
            && sight.flag == NodeFlag::AllowToFailover
            && self.state.reign.is_some()
            && !self.state.is_reigning(sight.id)
            && self.state.standing(sight.id) == Standing::InService
    }

    fn history(&self) -> Vec<PastEvent> {
        let past = |(at, node, what): &(Duration, NodeId, &'static str)| PastEvent {
            ago_ms: milliseconds(self.now.saturating_sub(*at)),
            node: *node,
            what,
        };
        self.state.history.iter().map(past).collect()
    }

    fn witness(&self, sight: &Sight) -> Witness {
        witness(self.state, self.sights, sight)
    }
}

/// A node as the policy and the audit log are told about it.
pub(super) fn witness(state: &State, sights: &[Sight], sight: &Sight) -> Witness {
    // The primary may not have answered since the start of the proxy, which knows it from before.
    let known = state.reign.filter(|reign| reign.node == sight.id);
    Witness {
        id: sight.id,
        host: sight.host.clone(),
        port: sight.port,
        flag: sight.flag,
        role: sight.role,
        health: match (sight.up, sight.down) {
            (true, _) => Health::Up,
            (false, true) => Health::Down,
            (false, false) => Health::Unknown,
        },
        failures: sight.failures,
        standing: state.standing(sight.id),
        since_ms: milliseconds(sight.age),
        system_identifier: sight
            .system_identifier
            .or(known.and_then(|reign| reign.system_identifier)),
        timeline: sight.timeline.or(known.and_then(|reign| reign.timeline)),
        lsn: sight.lsn.or(known.and_then(|reign| reign.lsn)),
        received_lsn: sight.received,
        receiver: sight.receiver,
        silent_ms: sight.silent.map(milliseconds),
        follows: sight.follows,
        behind_bytes: behind(state, sights, sight),
        sync_state: sight.sync_state.clone(),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
