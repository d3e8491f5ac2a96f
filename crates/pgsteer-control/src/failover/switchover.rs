//! A planned change of the primary: new writes wait, those that run end, the old primary is
//! stopped, the new one is promoted. Until the old one is stopped everything can be taken back.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::topology::Standing;

use super::safety::{self, Wish};
use super::state::{Action, Command, CommandKind, Outcome, Phase, Stage, Switchover, Work};
use super::step::Machine;
use crate::probe::FAILURES_MIN;

impl Machine<'_> {
    /// Goes on with it if something it waits for has come.
    pub(super) fn watch_switchover(&mut self, mut switchover: Switchover) {
        let from = switchover.from;
        let gone = self.reign_is_lost();
        match switchover.stage {
            Stage::Checkpointing | Stage::Positioning | Stage::Draining { .. } if gone => {
                self.fail_switchover(&switchover, "the primary failed meanwhile".to_owned());
            }
            Stage::Draining { severed } => {
                let connections = self.connections(from);
                let is_late = self.now >= switchover.drain_until;
                if connections == 0 {
                    switchover.stage = Stage::Positioning;
                    self.state.phase = Phase::Switching(switchover);
                    self.run(Work::Position(from));
                } else if is_late && !severed {
                    let text = format!(
                        "{connections} connections still ran something after \
                         failover.drain_timeout and are closed"
                    );
                    self.note("severed", Some(from), text);
                    if let Some(tenure) = self.state.tenure(from) {
                        tenure.severances += 1;
                    }
                    switchover.stage = Stage::Draining { severed: true };
                    switchover.drain_until = self.now + SEVER_MAX;
                    self.state.phase = Phase::Switching(switchover);
                } else if is_late {
                    let why = format!("{connections} connections to node {from} did not end");
                    self.fail_switchover(&switchover, why);
                }
            }
            Stage::Settling { deadline } => self.settle(&switchover, deadline),
            Stage::Checkpointing | Stage::Positioning | Stage::Demoting => {}
        }
    }

    fn connections(&self, node: NodeId) -> u32 {
        self.sights
            .get(node.index())
            .map_or(0, |sight| sight.connections)
    }

    fn reign_is_lost(&self) -> bool {
        let reign = self.state.reign;
        reign.is_none_or(|reign| safety::is_lost(reign, self.sights).is_ok())
    }

    /// The old primary was stopped: the new one is promoted once it has everything.
    fn settle(&mut self, switchover: &Switchover, deadline: Duration) {
        let (from, to) = (switchover.from, switchover.to);
        // It was stopped on purpose: two failed probes are enough, whatever patience is configured.
        let old = self.sights.get(from.index());
        let stopped = old
            .is_none_or(|old| (old.failures >= FAILURES_MIN && !old.refuses) || old.is_replica());
        let sight = self.sights.get(to.index());
        let received = sight.and_then(super::sight::Sight::position);
        let complete = received
            .zip(switchover.position)
            .is_some_and(|(own, its)| own >= its);
        // The proxy alone may have lost it.
        let gone =
            || safety::everybody_lost_it(self.state, self.sights, self.rules, Wish::Switchover);
        let fit = safety::may_promote(self.state, self.sights, to, self.rules, Wish::Switchover)
            .and_then(|()| gone());
        if stopped && complete && fit.is_ok() {
            self.promote(to, switchover.since, Some(switchover.order));
            return;
        }
        if self.now < deadline {
            // Sooner than the next probe of its own.
            self.actions.push(Action::Probe(from));
            self.ask_witnesses(from);
            return;
        }
        let why = match fit {
            _ if !stopped => format!("node {from} is still up after failover.demote_command"),
            Err(why) => why,
            Ok(()) => format!(
                "node {to} has received up to {received:?}, and node {from} wrote up to {:?}",
                switchover.position
            ),
        };
        self.fail_switchover(switchover, why);
    }

    /// Takes back what can be taken back. If the old primary is gone, the policy decides.
    fn fail_switchover(&mut self, switchover: &Switchover, why: String) {
        let from = switchover.from;
        if let Some(tenure) = self.state.tenure(from)
            && tenure.standing == Standing::Closing
        {
            tenure.standing = Standing::InService;
        }
        self.note("switchover failed", Some(switchover.to), why.clone());
        self.actions.push(Action::Reply(switchover.order, Err(why)));
        self.state.phase = Phase::Calm;
        if let Some(Ok(why)) = self
            .state
            .reign
            .map(|reign| safety::is_lost(reign, self.sights))
        {
            self.lose(why);
        }
    }

    /// A task ended while a switchover is under way; whether it was one of its own.
    pub(super) fn switchover_done(&mut self, work: &Work, outcome: &Outcome) -> bool {
        let Phase::Switching(mut switchover) = self.state.phase.clone() else {
            return false;
        };
        let failed = match outcome {
            Outcome::Failed(why) | Outcome::Unknown(why) => Some(why.clone()),
            Outcome::Done | Outcome::Position(_) => None,
        };
        match (switchover.stage, work) {
            (Stage::Checkpointing, Work::Checkpoint(_)) => {
                if let Some(why) = failed {
                    self.note("no checkpoint", Some(switchover.from), why);
                }
                if let Some(tenure) = self.state.tenure(switchover.from) {
                    tenure.standing = Standing::Closing;
                }
                switchover.stage = Stage::Draining { severed: false };
                switchover.drain_until = self.now + self.rules.drain_timeout;
                self.state.phase = Phase::Switching(switchover);
            }
            // One that was on its way when the writes were stopped.
            (Stage::Positioning, Work::Position(_)) if self.connections(switchover.from) > 0 => {
                switchover.stage = Stage::Draining { severed: false };
                self.state.phase = Phase::Switching(switchover);
            }
            (Stage::Positioning, Work::Position(_)) => match (outcome, failed) {
                (Outcome::Position(position), _) => self.demote(switchover, *position),
                (_, why) => self.fail_switchover(&switchover, why.unwrap_or_default()),
            },
            (Stage::Demoting, Work::Command(command)) if command.kind == CommandKind::Demote => {
                if let Some(why) = failed {
                    // What matters is whether the server is gone, which is looked at.
                    self.note("command failed", Some(switchover.from), why);
                }
                switchover.stage = Stage::Settling {
                    deadline: self.now + SETTLE_MAX,
                };
                self.actions.push(Action::Probe(switchover.from));
                self.state.phase = Phase::Switching(switchover);
            }
            _ => return false,
        }
        true
    }

    fn demote(&mut self, mut switchover: Switchover, position: u64) {
        let (from, to) = (switchover.from, switchover.to);
        switchover.position = Some(position);
        switchover.stage = Stage::Demoting;
        self.note(
            "demoting",
            Some(from),
            format!("failover.demote_command stops node {from}"),
        );
        self.state.phase = Phase::Switching(switchover);
        self.run_command(Command {
            kind: CommandKind::Demote,
            node: from,
            new_main: Some(to),
            old_primary: Some(from),
        });
    }
}

/// How long the new primary may take to have everything the old one wrote, after that has stopped
/// (ours). It has it as soon as the old one is gone; this is for probes to see it.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// How long connections may take to end once they are closed from our side (ours).
const SEVER_MAX: Duration = Duration::from_secs(5);
