//! What operators order about nodes.

use pgsteer_core::NodeId;
use pgsteer_core::admin::NodeOrder;
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::Standing;

use super::safety::{self, Wish};
use super::state::{Action, By, Phase, Stage, Switchover, Work};
use super::step::Machine;

impl Machine<'_> {
    /// An operator wants something. Replies at once, but to what takes its time.
    pub(super) fn ordered(&mut self, id: u64, order: &NodeOrder, user: &str) {
        let why = format!("user {user} says so");
        let answered = match *order {
            NodeOrder::Attach(node) => self.attach_by_order(node, &why).map(Some),
            NodeOrder::Detach(node) => self.detach_by_order(node, &why).map(Some),
            NodeOrder::Promote(node) => self.promote_by_order(id, node, &why),
            NodeOrder::Switchover(node) => self.switch_by_order(id, node, &why).map(|()| None),
        };
        match answered {
            Ok(None) => {}
            Ok(Some(line)) => self.actions.push(Action::Reply(id, Ok(vec![line]))),
            Err(why) => self.actions.push(Action::Reply(id, Err(why))),
        }
    }

    fn known(&self, node: NodeId) -> Result<(), String> {
        let count = self.sights.len();
        if node.index() < count {
            return Ok(());
        }
        Err(format!(
            "there is no node {node}; there are {count}, from 0"
        ))
    }

    fn attach_by_order(&mut self, node: NodeId, why: &str) -> Result<String, String> {
        self.known(node)?;
        if self.state.standing(node) == Standing::Closing {
            return Err("a switchover is under way".to_owned());
        }
        self.reattach(node, why)?;
        Ok(format!("node {node} is in service"))
    }

    fn detach_by_order(&mut self, node: NodeId, why: &str) -> Result<String, String> {
        self.known(node)?;
        self.nothing_under_way()?;
        if self.state.is_reigning(node) {
            return Err(format!(
                "node {node} is the primary: hand its work over first (pgsteer node switchover)"
            ));
        }
        match self.state.standing(node) {
            Standing::Closing => return Err("a switchover is under way".to_owned()),
            Standing::Fenced => return Err(format!("node {node} is fenced and serves nothing")),
            Standing::InService | Standing::Detached => {}
        }
        self.detach(node, By::Operator, why);
        Ok(format!("node {node} is detached until it is attached"))
    }

    fn promote_by_order(
        &mut self,
        id: u64,
        node: NodeId,
        why: &str,
    ) -> Result<Option<String>, String> {
        self.known(node)?;
        self.nothing_under_way()?;
        let sight = self.sights.get(node.index());
        if sight.is_some_and(super::sight::Sight::is_primary) {
            let is_it = self.state.reign.is_some_and(|reign| {
                let own = sight.and_then(|sight| sight.system_identifier);
                reign.node == node && !safety::is_other(reign.system_identifier, own)
            });
            if is_it && self.state.confirmed {
                return Ok(Some(format!("node {node} is the primary")));
            }
            safety::may_follow(self.state, self.sights, node, Wish::Operator)?;
            self.crown(
                node,
                "followed",
                format!("node {node} is the primary: {why}"),
            );
            return Ok(Some(format!(
                "node {node} counts as the primary from now on"
            )));
        }
        let advice = |why| format!("{why}; while the primary is up, use a switchover");
        safety::may_promote(self.state, self.sights, node, self.rules, Wish::Operator)
            .map_err(advice)?;
        let since = match self.state.phase {
            Phase::Lost { since, .. } => since,
            _ => self.now,
        };
        self.note(
            "ordered",
            Some(node),
            format!("promotion of node {node}: {why}"),
        );
        self.promote(node, since, Some(id));
        Ok(None)
    }

    pub(super) fn nothing_under_way(&self) -> Result<(), String> {
        match &self.state.phase {
            Phase::Calm | Phase::Lost { .. } => Ok(()),
            Phase::Promoting(promotion) => {
                Err(format!("node {} is being promoted", promotion.node))
            }
            Phase::Switching(switchover) => Err(format!(
                "a switchover to node {} is under way",
                switchover.to
            )),
        }
    }

    fn switch_by_order(&mut self, id: u64, to: NodeId, why: &str) -> Result<(), String> {
        self.known(to)?;
        self.nothing_under_way()?;
        let reign = self
            .state
            .reign
            .ok_or("there is no primary that could be replaced")?;
        let from = reign.node;
        if from == to {
            return Err(format!("node {to} is the primary already"));
        }
        if let Ok(why) = safety::is_lost(reign, self.sights) {
            let advice = format!("pgsteer node promote {to}");
            return Err(format!(
                "the primary is lost ({why}), which takes no switchover: {advice}"
            ));
        }
        if self.rules.demote_command.is_empty() {
            return Err(
                "failover.demote_command is not set: PostgreSQL cannot be demoted by SQL, so a \
                 command must stop the old primary, such as `ssh %h pg_ctl -D %D stop -m fast`"
                    .to_owned(),
            );
        }
        let flag = self.sights.get(from.index()).map(|sight| sight.flag);
        if flag != Some(NodeFlag::AllowToFailover) {
            return Err(format!(
                "the flag of node {from} forbids that it is replaced"
            ));
        }
        safety::may_promote(self.state, self.sights, to, self.rules, Wish::Switchover)?;
        let streams = self
            .sights
            .get(to.index())
            .is_some_and(|s| super::step::is_linked(s, reign));
        if !streams {
            return Err(format!("node {to} does not stream from the primary"));
        }
        self.note(
            "ordered",
            Some(to),
            format!("switchover from node {from} to node {to}: {why}"),
        );
        self.state.phase = Phase::Switching(Switchover {
            from,
            to,
            order: id,
            stage: Stage::Checkpointing,
            since: self.now,
            drain_until: self.now,
            position: None,
        });
        self.run(Work::Checkpoint(from));
        Ok(())
    }
}
