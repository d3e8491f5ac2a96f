//! Which node counts as the primary: how the first one is recognised, what is kept of it, how another
//! takes its place, and what becomes of those that only say that they are one.

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::Standing;

use super::safety::is_other;
use super::sight::Sight;
use super::state::{Action, CommandKind, Phase, Reign, Tenure};
use super::step::Machine;

impl Machine<'_> {
    /// A node that is always the primary is it.
    pub(super) fn obey_flag(&mut self) {
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

    /// Another node of this cluster on a later timeline: the primary was replaced.
    pub(super) fn replacement(&self, reign: Reign, among: fn(&Sight) -> bool) -> Option<NodeId> {
        let mut later = self.sights.iter().filter(|s| {
            s.id != reign.node
                && among(s)
                && s.timeline > reign.timeline
                && !is_other(reign.system_identifier, s.system_identifier)
        });
        later.next().map(|sight| sight.id)
    }

    /// What is remembered counts once it was seen, and nobody knows better.
    pub(super) fn confirm(&mut self) {
        let Some(reign) = self.state.reign.filter(|_| !self.state.confirmed) else {
            return;
        };
        let sight = self.sights.get(reign.node.index());
        if !sight.is_some_and(Sight::is_primary) {
            return;
        }
        if self.replacement(reign, |s| s.up).is_some() {
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
    pub(super) fn recognise(&mut self) {
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
        if first.flag != NodeFlag::AlwaysPrimary
            && let Some(later) = self.replacement(Reign::of(first), |s| s.up)
        {
            let text = format!(
                "node {} says that it is a primary, but node {} is on a later timeline: it was \
                 replaced once. If its replacement is gone for good, say `pgsteer node promote`",
                first.id, later
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
    pub(super) fn keep_reign(&mut self) {
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
    pub(super) fn fence_pretenders(&mut self) {
        let Some(reign) = self.state.reign else {
            return;
        };
        for sight in self.sights {
            let id = sight.id;
            let tenure = self.state.nodes.get(id.index());
            let serves = |tenure: &Tenure| tenure.judged && tenure.standing == Standing::InService;
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

    /// This node is the primary from now on.
    pub(super) fn crown(&mut self, node: NodeId, how: &'static str, text: String) {
        let Some(sight) = self.sights.get(node.index()) else {
            return;
        };
        let before = self.state.reign.map(|reign| reign.node);
        let before = before.filter(|old| *old != node);
        self.state.reign = Some(Reign::of(sight));
        if let Some(tenure) = self.state.tenure(node) {
            tenure.standing = Standing::InService;
            tenure.by = None;
            tenure.repoint_until = None;
            (tenure.abandoned, tenure.outdated) = (false, false);
        }
        let commanded = matches!(self.state.phase, Phase::Lost { commanded, .. } if commanded);
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
}

/// A primary that nobody remembers is not taken before every node has answered, or for so long after
/// the start.
const RECOGNISE_AFTER: Duration = Duration::from_secs(10);
/// How often the position of the primary is kept for after a restart.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);
