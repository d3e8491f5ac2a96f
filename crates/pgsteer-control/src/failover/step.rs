//! The failover machine: state, sights of the nodes and an event in, state and actions out. No
//! clock, no socket; time is what the caller says it is.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{Occasion, Receiver, Remedy};
use pgsteer_core::settings::{FailoverSettings, NodeFlag};
use pgsteer_core::topology::Standing;

use super::safety::{self, Wish, is_other};
use super::sight::Sight;
use super::state::{
    Action, By, Command, CommandKind, Event, Outcome, Phase, Promotion, Question, Reign, State,
    Work,
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

    /// A node that is always the primary is it.
    fn obey_flag(&mut self) {
        let fixed = |s: &&Sight| s.flag == NodeFlag::AlwaysPrimary && s.is_primary();
        if let Some(fixed) = self.sights.iter().find(fixed)
            && !self.state.is_reigning(fixed.id)
        {
            let node = fixed.id;
            self.crown(
                node,
                "recognised",
                format!("node {node} is always the primary"),
            );
        }
    }

    /// Another node of this cluster that is up and on a later timeline: the primary was replaced.
    fn is_replaced(&self, reign: Reign, among: fn(&Sight) -> bool) -> bool {
        self.sights.iter().any(|s| {
            s.id != reign.node
                && among(s)
                && s.timeline > reign.timeline
                && !is_other(reign.system_identifier, s.system_identifier)
        })
    }

    /// What is remembered counts once it was seen, and nobody knows better.
    fn confirm(&mut self) {
        let Some(reign) = self.state.reign.filter(|_| !self.state.confirmed) else {
            return;
        };
        let sight = self.sights.get(reign.node.index());
        if !sight.is_some_and(Sight::is_primary) {
            return;
        }
        if self.is_replaced(reign, |s| s.up) {
            let node = reign.node;
            let text = format!(
                "node {node} was the primary once, but another node is on a later timeline: it was \
                 replaced. If its replacement is gone for good, say `pgsteer node promote {node}`"
            );
            self.say(node, text);
            return;
        }
        self.state.confirmed = true;
    }

    /// The first primary: the only one, or the one that was promoted last.
    fn recognise(&mut self) {
        if !self.sights.iter().all(|sight| sight.observed) {
            return;
        }
        // Whoever knows that it was replaced may be on its way up.
        let all_answer = self.sights.iter().all(|sight| sight.up);
        if !all_answer && self.rules.promote && self.now < RECOGNISE_AFTER {
            return;
        }
        let mut primaries: Vec<_> = self.sights.iter().filter(|s| s.is_primary()).collect();
        primaries.sort_by_key(|s| {
            (
                s.flag != NodeFlag::AlwaysPrimary,
                std::cmp::Reverse(s.timeline),
            )
        });
        let Some(first) = primaries.first() else {
            return;
        };
        if first.flag != NodeFlag::AlwaysPrimary
            && let Some(second) = primaries.get(1)
        {
            let other = is_other(first.system_identifier, second.system_identifier);
            if other || first.timeline.is_none() || first.timeline == second.timeline {
                let text = format!(
                    "nodes {} and {} both say that they are primaries, and nothing says which is \
                     right: no write goes anywhere. Make one a replica, or say \
                     `pgsteer node promote`",
                    first.id, second.id
                );
                self.say(first.id, text);
                return;
            }
        }
        // A former primary that came back while those that left it behind are replicas, or down.
        let is_later = |s: &&Sight| {
            s.up && s.timeline > first.timeline
                && !is_other(first.system_identifier, s.system_identifier)
        };
        if first.flag != NodeFlag::AlwaysPrimary
            && let Some(later) = self.sights.iter().find(is_later)
        {
            let text = format!(
                "node {} says that it is a primary, but node {} is on a later timeline: it was \
                 replaced once. If its replacement is gone for good, say `pgsteer node promote`",
                first.id, later.id
            );
            self.say(first.id, text);
            return;
        }
        let node = first.id;
        self.crown(node, "recognised", format!("node {node} is the primary"));
    }

    /// Says something about a node once.
    fn say(&mut self, node: NodeId, text: String) {
        let Some(tenure) = self.state.tenure(node) else {
            return;
        };
        if tenure.said != text {
            tenure.said.clone_from(&text);
            self.note("in doubt", Some(node), text);
        }
    }

    /// Follows how far the primary is.
    fn keep_reign(&mut self) {
        self.forget_former_cluster();
        let Some(reign) = &mut self.state.reign else {
            return;
        };
        let Some(sight) = self
            .sights
            .get(reign.node.index())
            .filter(|s| s.is_primary())
        else {
            return;
        };
        if is_other(reign.system_identifier, sight.system_identifier) {
            return;
        }
        let before = (reign.system_identifier, reign.timeline);
        reign.system_identifier = sight.system_identifier.or(reign.system_identifier);
        // Its own word, smaller or not: it may have been taken back to an earlier state.
        reign.timeline = sight.timeline.or(reign.timeline);
        let moved = reign.lsn.is_none();
        reign.lsn = sight.received.or(reign.lsn);
        let due = self.now >= self.state.remember_at || moved;
        if due || before != (reign.system_identifier, reign.timeline) {
            self.state.remember_at = self.now + REMEMBER_EVERY;
            self.actions.push(Action::Remember);
        }
    }

    /// Everything was set up anew, and what is remembered is about a cluster that no node has any
    /// more. A node that has not answered since the start may have it.
    fn forget_former_cluster(&mut self) {
        let known = self.state.reign.and_then(|reign| reign.system_identifier);
        let is_new = |s: &Sight| is_other(known, s.system_identifier);
        if self.sights.iter().all(is_new) && self.nothing_under_way().is_ok() {
            self.state.reign = None;
            self.state.phase = Phase::Calm;
            self.recognise();
        }
    }

    /// A node that says it is a primary, and that the policy does not want to follow, gets nothing.
    /// Until the policy has answered it only gets no writes.
    fn fence_pretenders(&mut self) {
        let Some(reign) = self.state.reign else {
            return;
        };
        for sight in self.sights {
            let id = sight.id;
            let tenure = self.state.nodes.get(id.index());
            let serves = |tenure: &super::state::Tenure| {
                tenure.judged && tenure.standing == Standing::InService
            };
            let is_pretender = sight.is_primary() && id != reign.node && !self.is_promoting(id);
            if !is_pretender || !tenure.is_some_and(serves) {
                continue;
            }
            self.fence(id);
            let text = format!(
                "node {id} says that it is a primary, but node {} counts as it: nothing goes to \
                 node {id} until it is a replica, or is followed",
                reign.node
            );
            self.note("fenced", Some(id), text);
        }
    }

    fn is_promoting(&self, node: NodeId) -> bool {
        matches!(&self.state.phase, Phase::Promoting(promotion) if promotion.node == node)
    }

    pub(super) fn fence(&mut self, node: NodeId) {
        if let Some(tenure) = self.state.tenure(node) {
            tenure.standing = Standing::Fenced;
            tenure.severances += 1;
            self.state.note_past(self.now, node, "fenced");
        }
    }

    /// Replicas that were to follow a new primary do, or get a command for it.
    fn watch_followers(&mut self) {
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
    fn follow_command(&mut self, node: NodeId) {
        let old = self.state.history.iter().rev();
        let old_primary = old
            .clone()
            .find(|(_, _, what)| *what == "deposed")
            .map(|(_, n, _)| *n);
        self.command(CommandKind::FollowPrimary, node, old_primary);
    }

    pub(super) fn command(&mut self, kind: CommandKind, node: NodeId, old_primary: Option<NodeId>) {
        let text = match kind {
            CommandKind::Failover => &self.rules.failover_command,
            CommandKind::Failback => &self.rules.failback_command,
            CommandKind::FollowPrimary => &self.rules.follow_primary_command,
            CommandKind::Demote => &self.rules.demote_command,
        };
        if text.is_empty() {
            return;
        }
        let command = Command {
            kind,
            node,
            new_main: self.state.reign.map(|reign| reign.node),
            old_primary,
        };
        self.run(Work::Command(command));
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
        let replaced = self.is_replaced(reign, Sight::is_primary);
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

    /// This node is the primary from now on.
    pub(super) fn crown(&mut self, node: NodeId, how: &'static str, text: String) {
        let Some(sight) = self.sights.get(node.index()) else {
            return;
        };
        let before = self
            .state
            .reign
            .map(|reign| reign.node)
            .filter(|old| *old != node);
        self.state.reign = Some(Reign {
            node,
            system_identifier: sight.system_identifier,
            timeline: sight.timeline,
            lsn: sight.lsn,
        });
        if let Some(tenure) = self.state.tenure(node) {
            tenure.standing = Standing::InService;
            tenure.by = None;
            tenure.repoint_until = None;
            (tenure.abandoned, tenure.outdated) = (false, false);
        }
        let commanded = matches!(
            self.state.phase,
            Phase::Lost {
                commanded: true,
                ..
            }
        );
        self.state.confirmed = true;
        let past = if how == "promoted" { how } else { "followed" };
        self.state.note_past(self.now, node, past);
        self.state.refused.clear();
        self.state.failed_promotions = 0;
        self.state.phase = Phase::Calm;
        self.note(how, Some(node), text);
        self.actions.push(Action::Remember);
        if let Some(old) = before {
            self.state.note_past(self.now, old, "deposed");
            if self.state.standing(old) != Standing::Fenced {
                self.fence(old);
            }
            if !commanded {
                self.command(CommandKind::Failover, old, Some(old));
            }
        }
        if before.is_some() || how == "promoted" {
            self.gather_followers(node);
        }
    }

    /// The other nodes are made to follow the new primary, by SQL where that suffices.
    fn gather_followers(&mut self, primary: NodeId) {
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

    /// The policy has answered.
    fn advised(&mut self, id: u64, remedy: Result<Remedy, String>) {
        let Some(question) = self.state.question.filter(|question| question.id == id) else {
            return;
        };
        self.state.question = None;
        for (sight, tenure) in self.sights.iter().zip(&mut self.state.nodes) {
            let is_about_it = question.subject == Some(sight.id);
            tenure.judged |= is_about_it || question.occasion == Occasion::PrimaryLost;
        }
        let remedy = match remedy {
            Ok(remedy) => remedy,
            Err(why) => {
                if self.state.refused != why {
                    self.note("no advice", question.subject, why.clone());
                    self.state.refused = why;
                }
                Remedy::Wait(AGAIN_MS)
            }
        };
        let wait = match &remedy {
            Remedy::Wait(milliseconds) => Duration::from_millis((*milliseconds).into()),
            Remedy::Abstain | Remedy::GiveUp(_) => IDLE,
            _ => REFUSED,
        };
        let wait = wait.clamp(WAIT_MIN, WAIT_MAX);
        self.ask_later(question, wait);
        if let Err(why) = self.obey(question, remedy.clone()) {
            if let Some(reign) = self.state.reign {
                self.ask_witnesses(reign.node);
            }
            let text = format!("{}: {why}", in_words(&remedy));
            if self.state.refused != why {
                self.note("refused", question.subject, text);
            }
            self.state.refused = why;
        }
    }

    fn ask_later(&mut self, question: Question, wait: Duration) {
        let at = self.now + wait;
        if question.occasion == Occasion::PrimaryLost {
            if let Phase::Lost { ask_at, .. } = &mut self.state.phase {
                *ask_at = at;
            }
        } else if let Some(tenure) = question.subject.and_then(|node| self.state.tenure(node)) {
            tenure.ask_at = at;
        }
    }

    /// Does what the policy said, unless a rule forbids it.
    fn obey(&mut self, question: Question, remedy: Remedy) -> Result<(), String> {
        match remedy {
            Remedy::Abstain | Remedy::Wait(_) => Ok(()),
            Remedy::GiveUp(why) => {
                self.say_given_up(question, why);
                Ok(())
            }
            Remedy::Promote(node) => self.promote_by_policy(node),
            Remedy::Follow(node) => {
                if self.state.is_reigning(node) {
                    return Err(format!("node {node} counts as the primary already"));
                }
                self.nothing_under_way()?;
                safety::may_follow(self.state, self.sights, node, Wish::Policy)?;
                self.crown(
                    node,
                    "followed",
                    format!("node {node} was promoted by somebody else"),
                );
                Ok(())
            }
            Remedy::Detach(node) => self.detach_by_policy(node),
            Remedy::Reattach(node) => {
                let tenure = self.state.nodes.get(node.index());
                if tenure.is_some_and(|tenure| tenure.by == Some(By::Operator)) {
                    return Err(format!("node {node} was taken out by an operator"));
                }
                self.nothing_under_way()?;
                self.reattach(node, "the policy says so")
            }
        }
    }

    fn say_given_up(&mut self, question: Question, why: String) {
        if self.state.refused != why {
            self.note("given up", question.subject, why.clone());
            self.state.refused = why;
        }
    }

    fn promote_by_policy(&mut self, node: NodeId) -> Result<(), String> {
        let Phase::Lost {
            since, commanded, ..
        } = self.state.phase
        else {
            return Err("there is a primary, or one is on its way".to_owned());
        };
        safety::may_promote(self.state, self.sights, node, self.rules, Wish::Policy)?;
        if self.rules.promote {
            self.promote(node, since, None);
            return Ok(());
        }
        if self.rules.failover_command.is_empty() || commanded {
            return Err("failover.promote is false: something else promotes".to_owned());
        }
        if let Phase::Lost { commanded, .. } = &mut self.state.phase {
            *commanded = true;
        }
        let old = self.state.reign.map(|reign| reign.node);
        let text = format!("failover_command is run; node {node} would be the new primary");
        self.note("left to a command", Some(node), text);
        let command = Command {
            kind: CommandKind::Failover,
            node: old.unwrap_or(node),
            new_main: Some(node),
            old_primary: old,
        };
        self.run(Work::Command(command));
        Ok(())
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

    fn detach_by_policy(&mut self, node: NodeId) -> Result<(), String> {
        let sight = self.sights.get(node.index());
        let sight = sight.ok_or_else(|| format!("there is no node {node}"))?;
        if sight.flag != NodeFlag::AllowToFailover {
            return Err(format!("the flag of node {node} forbids it"));
        }
        if !sight.down && !sight.is_primary() {
            return Err(format!("node {node} is up and a replica"));
        }
        if self.state.is_reigning(node) {
            return Err(format!(
                "node {node} is the primary: it is replaced, not detached"
            ));
        }
        if self.state.standing(node) != Standing::InService {
            return Ok(());
        }
        self.detach(node, By::Policy, "the policy says so");
        // What runs there would wait for an answer for ever.
        if let Some(tenure) = self.state.tenure(node) {
            tenure.severances += 1;
        }
        self.command(
            CommandKind::Failover,
            node,
            self.state.reign.map(|reign| reign.node),
        );
        Ok(())
    }

    pub(super) fn detach(&mut self, node: NodeId, by: By, why: &str) {
        if let Some(tenure) = self.state.tenure(node) {
            tenure.standing = Standing::Detached;
            tenure.by = Some(by);
        }
        self.state.note_past(self.now, node, "detached");
        self.note(
            "detached",
            Some(node),
            format!("node {node} is taken out: {why}"),
        );
        self.actions.push(Action::Remember);
    }

    /// A node serves again.
    pub(super) fn reattach(&mut self, node: NodeId, why: &str) -> Result<(), String> {
        let sight = self.sights.get(node.index());
        let sight = sight.ok_or_else(|| format!("there is no node {node}"))?;
        let standing = self.state.standing(node);
        if standing == Standing::InService {
            return Ok(());
        }
        if standing == Standing::Closing {
            return Err("a switchover is under way".to_owned());
        }
        if standing == Standing::Fenced && !self.may_leave_fence(sight) {
            return Err(format!(
                "node {node} is fenced until it is a replica of the primary; to make it the primary \
                 say: pgsteer node promote {node}"
            ));
        }
        if let Some(tenure) = self.state.tenure(node) {
            tenure.standing = Standing::InService;
            tenure.by = None;
            (tenure.abandoned, tenure.outdated) = (false, false);
        }
        self.state.note_past(self.now, node, "attached");
        self.note(
            "attached",
            Some(node),
            format!("node {node} serves again: {why}"),
        );
        self.command(
            CommandKind::Failback,
            node,
            self.state.reign.map(|reign| reign.node),
        );
        self.actions.push(Action::Remember);
        Ok(())
    }

    fn may_leave_fence(&self, sight: &Sight) -> bool {
        let linked = |reign| is_linked(sight, reign);
        let promoting = matches!(self.state.phase, Phase::Promoting(_));
        let reigns = self.state.is_reigning(sight.id) && !promoting;
        reigns || self.state.reign.is_some_and(linked)
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

fn in_words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Promote(node) => format!("not promoting node {node}"),
        Remedy::Follow(node) => format!("not following node {node}"),
        Remedy::Detach(node) => format!("not detaching node {node}"),
        Remedy::Reattach(node) => format!("not attaching node {node}"),
        Remedy::Abstain | Remedy::Wait(_) | Remedy::GiveUp(_) => "nothing is done".to_owned(),
    }
}

// Ours: how soon the policy is asked again.
const AGAIN_MS: u32 = 1000;
const AGAIN: Duration = Duration::from_millis(AGAIN_MS as u64);
const REFUSED: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A primary that nobody remembers is not taken before every node has answered, or for so long after
/// the start.
const RECOGNISE_AFTER: Duration = Duration::from_secs(10);
/// How often the position of the primary is kept for after a restart.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);
/// How long a replica may take to stream from the new primary after it was told to. PostgreSQL tries
/// to connect anew every 5 s (`wal_retrieve_retry_interval`).
const REPOINT_MAX: Duration = Duration::from_secs(30);
