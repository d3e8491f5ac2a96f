//! The failover machine: state, sights of the nodes and an event in, state and actions out. No
//! clock, no socket; time is what the caller says it is.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::policy::Receiver;
use pgsteer_core::settings::FailoverSettings;
use pgsteer_core::topology::Standing;

use super::commands;
use super::safety::{self, is_other};
use super::sight::Sight;
use super::state::{
    Action, Command, CommandKind, Event, Outcome, Phase, Promotion, Reign, State, Work,
};
use crate::probe::FAILURES_MIN;

/// The next state, and what is to be done. `now` is the time since some start and never goes back.
#[must_use]
pub(crate) fn step(
    mut state: State,
    sights: &[Sight],
    event: Event,
    now: Duration,
    rules: &FailoverSettings,
) -> (State, Vec<Action>) {
    let mut machine = Machine {
        state: &mut state,
        sights,
        now,
        rules,
        actions: Vec::new(),
    };
    match event {
        Event::Look => {}
        Event::Advice(id, remedy) => machine.advised(id, remedy),
        Event::Done(work, outcome) => machine.done(&work, outcome),
        Event::Order(id, order, user) => machine.ordered(id, &order, &user),
    }
    machine.look();
    let actions = machine.actions;
    (state, actions)
}

/// One step under way.
pub(super) struct Machine<'a> {
    pub(super) state: &'a mut State,
    pub(super) sights: &'a [Sight],
    pub(super) now: Duration,
    pub(super) rules: &'a FailoverSettings,
    pub(super) actions: Vec<Action>,
}

impl Machine<'_> {
    /// Compares what is with what should be.
    fn look(&mut self) {
        self.notice_changes();
        self.obey_flag();
        if self.state.reign.is_none() && self.nothing_under_way().is_ok() {
            self.recognise();
        }
        self.keep_reign();
        self.confirm();
        self.fence_pretenders();
        self.watch_followers();
        match self.state.phase.clone() {
            Phase::Calm => self.watch_primary(),
            Phase::Lost { .. } => self.look_for_return(),
            Phase::Promoting(promotion) => self.watch_promotion(&promotion),
            Phase::Switching(switchover) => self.watch_switchover(switchover),
        }
        self.ask();
    }

    /// A node that looks different may be asked about at once.
    fn notice_changes(&mut self) {
        let mut news = Vec::new();
        for (sight, tenure) in self.sights.iter().zip(&mut self.state.nodes) {
            let looks = (sight.up, sight.is_primary(), sight.timeline);
            if looks != tenure.looked {
                if looks.0 != tenure.looked.0 && sight.observed {
                    news.push((sight.id, if sight.up { "back" } else { "lost" }));
                }
                tenure.looked = looks;
                tenure.judged = false;
                tenure.ask_at = self.now;
            }
        }
        for (node, what) in news {
            self.state.note_past(self.now, node, what);
            if let Phase::Lost { ask_at, .. } = &mut self.state.phase {
                *ask_at = self.now.min(*ask_at);
            }
        }
    }

    pub(super) fn fence(&mut self, node: NodeId) {
        if let Some(tenure) = self.state.tenure(node) {
            tenure.standing = Standing::Fenced;
            tenure.severances += 1;
            self.state.note_past(self.now, node, "fenced");
        }
    }

    /// Runs a command about a node under the present primary.
    pub(super) fn command(&mut self, kind: CommandKind, node: NodeId, old_primary: Option<NodeId>) {
        self.run_command(Command {
            kind,
            node,
            new_main: self.state.reign.map(|reign| reign.node),
            old_primary,
        });
    }

    /// Runs one of the operator's commands, if there is such a one.
    pub(super) fn run_command(&mut self, command: Command) {
        if !commands::text(command.kind, self.rules).is_empty() {
            self.run(Work::Command(command));
        }
    }

    /// Begins a task.
    pub(super) fn run(&mut self, work: Work) {
        self.actions.push(Action::Run(work));
    }

    pub(super) fn note(&mut self, what: &'static str, node: Option<NodeId>, text: String) {
        self.actions.push(Action::Note { what, node, text });
    }

    /// Whether the primary is still there. The others are asked about it as soon as there is doubt,
    /// so that what they say is fresh when it counts.
    fn watch_primary(&mut self) {
        let Some(reign) = self.state.reign else {
            return;
        };
        let failures = self
            .sights
            .get(reign.node.index())
            .map_or(0, |sight| sight.failures);
        if failures > self.state.alarm {
            self.ask_witnesses(reign.node);
        }
        self.state.alarm = failures;
        if let Ok(why) = safety::is_lost(reign, self.sights) {
            self.lose(why);
        }
    }

    /// Probes all but the primary at once.
    pub(super) fn ask_witnesses(&mut self, primary: NodeId) {
        let others = self.sights.iter().map(|sight| sight.id);
        let others = others.filter(|id| *id != primary);
        self.actions.extend(others.map(Action::Probe));
    }

    /// There is no primary from now on.
    pub(super) fn lose(&mut self, why: String) {
        let node = self.state.reign.map(|reign| reign.node);
        self.note("primary lost", node, why);
        self.state.refused.clear();
        self.actions.push(Action::Remember);
        self.state.phase = Phase::Lost {
            since: self.now,
            ask_at: self.now,
            commanded: false,
        };
    }

    /// While there is no primary: the old one may come back before anything was done.
    fn look_for_return(&mut self) {
        let Some(reign) = self.state.reign else {
            return;
        };
        let is_back = |s: &&Sight| s.is_primary();
        let sight = self.sights.get(reign.node.index()).filter(is_back);
        // Somebody may have promoted another one meanwhile; the policy is asked about that.
        let replaced = self.replacement(reign, Sight::is_primary).is_some();
        if sight.is_none() || replaced || safety::is_lost(reign, self.sights).is_ok() {
            return;
        }
        for tenure in &mut self.state.nodes {
            tenure.outdated |= tenure.abandoned;
        }
        if let Some(tenure) = self.state.tenure(reign.node)
            && tenure.standing == Standing::Fenced
        {
            tenure.standing = Standing::InService;
        }
        self.state.failed_promotions = 0;
        self.state.phase = Phase::Calm;
        let text = format!("node {} answers again and is still the primary", reign.node);
        self.note("primary back", Some(reign.node), text);
    }

    /// A promotion ends when the node says that it is a primary.
    fn watch_promotion(&mut self, promotion: &Promotion) {
        let node = promotion.node;
        let old = self.state.reign.and_then(|reign| reign.timeline);
        let sight = self.sights.get(node.index()).filter(|s| s.is_primary());
        let is_new = |s: &&Sight| old.zip(s.timeline).is_none_or(|(old, new)| new > old);
        if sight.filter(is_new).is_some() {
            let took = (self.now - promotion.lost_since).as_millis();
            let text = format!("node {node} was promoted; there was no primary for {took} ms");
            self.crown(node, "promoted", text);
            if let Some(order) = promotion.order {
                let line = format!("node {node} is the primary");
                self.actions.push(Action::Reply(order, Ok(vec![line])));
            }
        } else if self.now >= promotion.deadline {
            let why = format!(
                "node {node} is no primary after {} s (failover.promote_timeout)",
                (self.now - promotion.since).as_secs()
            );
            self.abandon(node);
            self.give_up_promotion(promotion, why);
        } else if self.is_dead(node) {
            self.abandon(node);
            self.give_up_promotion(promotion, format!("node {node} is lost as well"));
        } else {
            self.actions.push(Action::Probe(node));
        }
    }

    /// It may become a primary yet.
    fn abandon(&mut self, node: NodeId) {
        if let Some(tenure) = self.state.tenure(node) {
            tenure.abandoned = true;
        }
    }

    fn is_dead(&self, node: NodeId) -> bool {
        let sight = self.sights.get(node.index());
        sight.is_some_and(|s| s.down && s.failures >= FAILURES_MIN && !s.refuses)
    }

    fn give_up_promotion(&mut self, promotion: &Promotion, why: String) {
        let node = promotion.node;
        // One that cannot be promoted is not tried every second for ever.
        let again = AGAIN * 2_u32.saturating_pow(self.state.failed_promotions.min(6));
        self.state.failed_promotions += 1;
        self.state.note_past(self.now, node, "promotion-failed");
        self.state.refused.clone_from(&why);
        self.note("promotion failed", Some(node), why.clone());
        if let Some(order) = promotion.order {
            self.actions.push(Action::Reply(order, Err(why)));
        }
        self.state.phase = Phase::Lost {
            since: promotion.lost_since,
            ask_at: self.now + again.min(WAIT_MAX),
            commanded: false,
        };
    }

    /// Nothing goes to the old primary any more, then the new one is promoted.
    pub(super) fn promote(&mut self, node: NodeId, lost_since: Duration, order: Option<u64>) {
        if let Some(reign) = self.state.reign
            && reign.node != node
            && self.state.standing(reign.node) != Standing::Fenced
        {
            self.fence(reign.node);
        }
        self.note("promoting", Some(node), format!("node {node} is promoted"));
        self.state.phase = Phase::Promoting(Promotion {
            node,
            since: self.now,
            deadline: self.now + self.rules.promote_timeout,
            order,
            lost_since,
        });
        self.run(Work::Promote(node));
    }

    /// A task has ended.
    fn done(&mut self, work: &Work, outcome: Outcome) {
        if matches!(self.state.phase, Phase::Switching(_)) && self.switchover_done(work, &outcome) {
            return;
        }
        match (work, outcome) {
            (Work::Promote(node), Outcome::Done) => self.actions.push(Action::Probe(*node)),
            (Work::Promote(node), Outcome::Failed(why)) => {
                if let Phase::Promoting(promotion) = self.state.phase.clone()
                    && promotion.node == *node
                {
                    self.give_up_promotion(&promotion, why);
                }
            }
            // It is seen by probes whether it was promoted.
            (Work::Promote(node), Outcome::Unknown(why)) => {
                self.note("in doubt", Some(*node), why);
            }
            (Work::Repoint(node, _), Outcome::Failed(why) | Outcome::Unknown(why)) => {
                self.note("not repointed", Some(*node), why);
                if let Some(tenure) = self.state.tenure(*node) {
                    tenure.repoint_until = Some(self.now);
                }
            }
            (Work::Repoint(node, to), _) => {
                self.note(
                    "repointed",
                    Some(*node),
                    format!("node {node} is to follow node {to}"),
                );
            }
            (Work::Command(command), Outcome::Failed(why) | Outcome::Unknown(why)) => {
                let setting = command.kind.setting();
                self.note(
                    "command failed",
                    Some(command.node),
                    format!("{setting}: {why}"),
                );
            }
            _ => {}
        }
    }
}

/// Whether a node is a replica that streams from the primary.
pub(super) fn is_linked(sight: &Sight, reign: Reign) -> bool {
    let timelines = sight.timeline.zip(reign.timeline);
    let same_timeline = timelines.is_none_or(|(own, its)| own >= its);
    let streams = match sight.receiver {
        Receiver::Streaming => true,
        // It has one, and hides what that does.
        Receiver::Unknown => timelines.is_some(),
        Receiver::None => false,
    };
    sight.is_replica()
        && !is_other(reign.system_identifier, sight.system_identifier)
        && same_timeline
        && streams
}

/// How soon the policy is asked again after a promotion that failed (ours).
const AGAIN: Duration = Duration::from_secs(1);
/// The longest a policy may wait before it is asked again (ours).
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
