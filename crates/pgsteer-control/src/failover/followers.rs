//! What makes the other nodes follow a new primary: SQL where that suffices, else a command.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::settings::NodeFlag;

use super::safety::is_other;
use super::state::{By, CommandKind, Work};
use super::step::{Machine, is_linked};

impl Machine<'_> {
    /// Replicas that were to follow a new primary do, or get a command for it.
    pub(super) fn watch_followers(&mut self) {
        let Some(reign) = self.state.reign else {
            return;
        };
        for sight in self.sights {
            let Some(tenure) = self.state.nodes.get_mut(sight.id.index()) else {
                continue;
            };
            let Some(until) = tenure.repoint_until else {
                continue;
            };
            if is_linked(sight, reign) {
                tenure.repoint_until = None;
            } else if self.now >= until {
                tenure.repoint_until = None;
                self.follow_command(sight.id);
            }
        }
    }

    /// Runs the operator's command that makes a node follow the present primary.
    pub(super) fn follow_command(&mut self, node: NodeId) {
        let old = self.state.history.iter().rev();
        let old_primary = old
            .clone()
            .find(|(_, _, what)| *what == "deposed")
            .map(|(_, n, _)| *n);
        self.command(CommandKind::FollowPrimary, node, old_primary);
    }

    /// The other nodes are made to follow the new primary, by SQL where that suffices.
    pub(super) fn gather_followers(&mut self, primary: NodeId) {
        let Some(reign) = self.state.reign else {
            return;
        };
        for sight in self.sights {
            let id = sight.id;
            let by = self
                .state
                .nodes
                .get(id.index())
                .and_then(|tenure| tenure.by);
            // A command may well delete what is there: not what somebody left alone on purpose.
            let left_alone = by == Some(By::Operator)
                || sight.flag != NodeFlag::AllowToFailover
                || is_other(reign.system_identifier, sight.system_identifier);
            if id == primary || is_linked(sight, reign) || left_alone {
                continue;
            }
            if sight.is_replica() {
                if let Some(tenure) = self.state.tenure(id) {
                    tenure.repoint_until = Some(self.now + REPOINT_MAX);
                }
                // If it is not to be done by SQL, somebody else may do it.
                if self.rules.repoint && self.rules.promote {
                    self.run(Work::Repoint(id, primary));
                }
            } else {
                self.follow_command(id);
            }
        }
    }
}

/// How long a replica may take to stream from the new primary after it was told to. PostgreSQL tries
/// to connect anew every 5 s (`wal_retrieve_retry_interval`).
const REPOINT_MAX: Duration = Duration::from_secs(30);
