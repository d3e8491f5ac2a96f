//! The primary is lost.

use std::cmp::Reverse;

use pgsteer_plugin_sdk::{Crisis, NodeFlag, NodeId, NodeRole, Past, Remedy, Standing, Witness};

use crate::settings::{Promotion, Settings};
use crate::{AGAIN_MS, always_primary, same_cluster};

/// `refused` are the nodes whose promotion the proxy refused in this crisis.
pub(crate) fn primary_lost(
    settings: &Settings,
    crisis: &Crisis,
    refused: &mut Vec<NodeId>,
) -> Remedy {
    if let Some(node) = always_primary(crisis) {
        let id = node.id.0;
        return Remedy::give_up(format!(
            "node {id} is ALWAYS_PRIMARY: nothing takes its place"
        ));
    }
    let Some(lost) = crisis.subject() else {
        // Perhaps all of these are replicas of a primary that is none of our business.
        return Remedy::give_up(
            "no primary was ever seen, so nothing is promoted without an operator's order",
        );
    };
    let id = lost.id.0;
    if lost.flag != NodeFlag::AllowToFailover {
        return Remedy::give_up(format!(
            "node {id} is DISALLOW_TO_FAILOVER: it is waited for"
        ));
    }
    if lost.up && lost.role == NodeRole::Primary {
        return Remedy::Wait(AGAIN_MS);
    }
    if let Some(remedy) = promoted_by_others(crisis, lost) {
        return remedy;
    }
    let others = || crisis.nodes.iter().filter(|node| node.id != lost.id);
    if others().next().is_none() {
        return Remedy::give_up(format!("there is no node besides node {id}"));
    }
    if others().all(|node| node.flag != NodeFlag::AllowToFailover) {
        return Remedy::give_up("all other nodes are DISALLOW_TO_FAILOVER");
    }
    let candidates: Vec<_> = crisis
        .nodes
        .iter()
        .filter(|node| may_be_promoted(crisis, node, lost))
        .collect();
    if candidates.iter().all(|node| refused.contains(&node.id)) {
        refused.clear();
    }
    let best = candidates
        .into_iter()
        .min_by_key(|node| preference(settings, crisis, node, lost, refused));
    best.map_or(Remedy::Wait(AGAIN_MS), |node| Remedy::Promote(node.id))
}

/// An operator, Patroni or the like was faster: a primary on a later timeline than the lost one.
fn promoted_by_others(crisis: &Crisis, lost: &Witness) -> Option<Remedy> {
    let mut primaries: Vec<_> = crisis
        .nodes
        .iter()
        .filter(|node| node.id != lost.id && was_promoted(crisis, node, lost))
        .collect();
    primaries.sort_by_key(|node| Reverse(node.timeline));
    let (first, second) = (primaries.first()?, primaries.get(1));
    if let Some(second) = second.filter(|second| second.timeline == first.timeline) {
        let (one, other) = (first.id.0, second.id.0);
        return Some(Remedy::give_up(format!(
            "nodes {one} and {other} are both primaries on the same timeline: detach the wrong one"
        )));
    }
    Some(Remedy::Follow(first.id))
}

fn was_promoted(crisis: &Crisis, node: &Witness, lost: &Witness) -> bool {
    let is_later = match (node.timeline, lost.timeline) {
        (Some(own), Some(lost)) => own > lost,
        // A former primary that is kept out is not the next one.
        _ => node.standing != Standing::Fenced,
    };
    let may = node.standing != Standing::Detached || was_lost(crisis, node);
    let is_primary = node.up && node.role == NodeRole::Primary;
    is_primary && is_later && may && same_cluster(node, lost)
}

/// One that is back and not in service yet may be the only one that has what was acknowledged.
fn may_be_promoted(crisis: &Crisis, node: &Witness, lost: &Witness) -> bool {
    let may = match node.standing {
        Standing::InService => true,
        Standing::Detached => was_lost(crisis, node),
        _ => false,
    };
    node.up
        && node.role == NodeRole::Replica
        && node.flag == NodeFlag::AllowToFailover
        && may
        && same_cluster(node, lost)
}

/// What an operator took out is left alone; what was taken out because it was lost is not.
fn was_lost(crisis: &Crisis, node: &Witness) -> bool {
    crisis.last(Past::Lost, node.id).is_some()
}

/// Failed promotions of a node after which others come before it.
const FAILURES_PATIENTLY_TAKEN: usize = 3;

/// What matters most comes first, and less is better.
type Preference = (bool, usize, bool, Reverse<Option<u64>>, bool, NodeId);

fn preference(
    settings: &Settings,
    crisis: &Crisis,
    node: &Witness,
    lost: &Witness,
    refused: &[NodeId],
) -> Preference {
    // What it has is of an earlier time: positions cannot be compared.
    let is_old = matches!((node.timeline, lost.timeline), (Some(own), Some(lost)) if own < lost);
    let failed = crisis.history.iter().filter(|event| {
        let now = event.ago_ms <= crisis.for_ms;
        now && event.node == node.id && event.what == Past::PromotionFailed
    });
    // One that failed now and then may still be the one that has what was acknowledged.
    let failed = failed.count() / FAILURES_PATIENTLY_TAKEN;
    let was_refused = refused.contains(&node.id);
    match settings.promotion {
        // One that lacks less is not passed over because it was refused once, unless an operator may
        // have taken it out as well.
        Promotion::MostAdvanced => {
            let position = Reverse(node.position());
            (
                is_old,
                failed,
                was_refused && node.standing != Standing::InService,
                position,
                !node.is_synchronous(),
                node.id,
            )
        }
        Promotion::LowestId => (is_old, failed, was_refused, Reverse(None), false, node.id),
    }
}
