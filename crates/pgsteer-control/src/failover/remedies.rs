//! What the policy answers, and what becomes of it once the rules have been looked at.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{Occasion, Remedy};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::Standing;

use super::safety::{self, Wish};
use super::sight::Sight;
use super::state::{Action, By, Command, CommandKind, Phase, Question};
use super::step::{Machine, WAIT_MAX, is_linked};

impl Machine<'_> {
    /// The policy has answered.
    pub(super) fn advised(&mut self, id: u64, remedy: Result<Remedy, String>) {
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
                self.refuse("no advice", question, why.clone(), why);
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
            self.refuse("refused", question, why, text);
        }
    }

    /// Nothing is done, and why; said when the reason is another one than before.
    fn refuse(&mut self, what: &'static str, question: Question, why: String, text: String) {
        if self.state.refused != why {
            self.note(what, question.subject, text);
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
                self.refuse("given up", question, why.clone(), why);
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
        self.run_command(Command {
            kind: CommandKind::Failover,
            node: old.unwrap_or(node),
            new_main: Some(node),
            old_primary: old,
        });
        Ok(())
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
const REFUSED: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_millis(50);
