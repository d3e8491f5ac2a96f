//! What makes the other nodes follow a new primary: SQL where that suffices, else a command.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::settings::NodeFlag;

use super::safety::is_other;
use super::sight::Sight;
use super::state::{Action, By, CommandKind, Phase, Work};
use super::step::{Machine, is_linked};

impl Machine<'_> {
    /// The other nodes are to follow the new primary.
    pub(super) fn gather_followers(&mut self, primary: NodeId) {
        let Some(reign) = self.state.reign else {
            return;
        };
        for sight in self.sights {
            // A command may well delete what is there: not what somebody left alone on purpose.
            let left_alone = sight.flag != NodeFlag::AllowToFailover
                || is_other(reign.system_identifier, sight.system_identifier);
            if let Some(tenure) = self.state.nodes.get_mut(sight.id.index()) {
                let may = tenure.by != Some(By::Operator) && !left_alone;
                tenure.owed = may && sight.id != primary && !is_linked(sight, reign);
                (tenure.told, tenure.repoint_until) = (false, None);
            }
        }
        self.actions.push(Action::Remember);
        self.watch_followers();
    }

    /// Nodes that are to follow the primary are told so, by SQL where that suffices; one that was
    /// told and does not gets a command for it.
    pub(super) fn watch_followers(&mut self) {
        let Some(reign) = self.state.reign.filter(|_| self.state.confirmed) else {
            return;
        };
        if self.state.phase != Phase::Calm {
            return;
        }
        for sight in self.sights {
            let Some(tenure) = self.state.nodes.get_mut(sight.id.index()) else {
                continue;
            };
            if !tenure.owed || !sight.observed {
                continue;
            }
            let is_late = tenure.repoint_until.is_some_and(|until| self.now >= until);
            if sight.id == reign.node || is_linked(sight, reign) {
                (tenure.owed, tenure.told, tenure.repoint_until) = (false, false, None);
                self.actions.push(Action::Remember);
            } else if !tenure.told {
                tenure.told = true;
                self.make_follow(sight, reign.node);
            } else if is_late {
                tenure.repoint_until = None;
                self.follow_command(sight.id);
            }
        }
    }

    fn make_follow(&mut self, sight: &Sight, primary: NodeId) {
        let id = sight.id;
        if !sight.is_replica() {
            self.follow_command(id);
            return;
        }
        if let Some(tenure) = self.state.tenure(id) {
            tenure.repoint_until = Some(self.now + REPOINT_MAX);
        }
        // If it is not to be done by SQL, somebody else may do it.
        if self.rules.repoint && self.rules.promote {
            self.run(Work::Repoint(id, primary));
        }
    }

    /// Runs the operator's command that makes a node follow the present primary.
    fn follow_command(&mut self, node: NodeId) {
        let mut past = self.state.history.iter().rev();
        let deposed = past.find(|(_, _, what)| *what == "deposed");
        let old_primary = deposed.map(|(_, node, _)| *node);
        self.command(CommandKind::FollowPrimary, node, old_primary);
    }
}

/// How long a replica may take to stream from the new primary after it was told to. PostgreSQL tries
/// to connect anew every 5 s (`wal_retrieve_retry_interval`).
const REPOINT_MAX: Duration = Duration::from_secs(30);
