//! The rules that no policy can override. Each says in words why not.

use pgsteer_core::NodeId;
use pgsteer_core::policy::Receiver;
use pgsteer_core::settings::{FailoverSettings, NodeFlag};
use pgsteer_core::topology::Standing;

use super::sight::Sight;
use super::state::{By, Reign, State};
use crate::probe::FAILURES_MIN;

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Policy,
    /// An operator who may lose data knowingly, but not run two primaries.
    Operator,
    /// Part of a switchover: the old primary was stopped for it.
    Switchover,
}

/// Whether the primary is lost: down by more than one probe, or a replica by its own word.
///
/// # Errors
/// Why it is not.
pub(super) fn is_lost(reign: Reign, sights: &[Sight]) -> Result<String, String> {
    let node = reign.node;
    let Some(sight) = sights.get(node.index()) else {
        return Ok(format!("node {node} is not there any more"));
    };
    if sight.flag == NodeFlag::AlwaysPrimary {
        return Err(format!("node {node} is always the primary"));
    }
    if sight.is_replica() {
        return Ok(format!("node {node} says that it is a replica"));
    }
    if sight.is_primary() && is_other(reign.system_identifier, sight.system_identifier) {
        return Ok(format!("node {node} holds another cluster now"));
    }
    if sight.refuses {
        return Err(format!("node {node} lives: it refuses the probes"));
    }
    if sight.down && sight.failures >= FAILURES_MIN {
        let failures = sight.failures;
        return Ok(format!("node {node} failed {failures} probes in a row"));
    }
    if sight.is_primary() {
        return Err(format!("node {node} is up and a primary"));
    }
    let failures = sight.failures;
    Err(format!(
        "node {node} failed {failures} probes, which is not enough to be sure"
    ))
}

/// Whether both are known and differ.
pub(super) fn is_other(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Whether this replica may be promoted now.
///
/// # Errors
/// Why not.
pub(super) fn may_promote(
    state: &State,
    sights: &[Sight],
    candidate: NodeId,
    rules: &FailoverSettings,
    wish: Wish,
) -> Result<(), String> {
    let Some(sight) = sights.get(candidate.index()) else {
        return Err(format!("there is no node {candidate}"));
    };
    if let Some(fixed) = sights.iter().find(|s| s.flag == NodeFlag::AlwaysPrimary) {
        return Err(format!("node {} is always the primary", fixed.id));
    }
    if !sight.is_replica() {
        return Err(format!("node {candidate} is not a replica that is up"));
    }
    if let Some(reign) = state.reign {
        if wish != Wish::Switchover {
            is_lost(reign, sights).map_err(|why| format!("the primary is not lost: {why}"))?;
        }
        if wish != Wish::Operator {
            same_history(reign, sight)?;
        }
    }
    if let Some(rival) = sights.iter().find(|s| is_rival(state, s, wish)) {
        return Err(format!("node {} is a primary already", rival.id));
    }
    if wish != Wish::Operator {
        allowed_by_operator(state, sights, sight)?;
        close_enough(state, sights, sight, rules)?;
    }
    if wish == Wish::Switchover {
        // Before the primary is stopped, not after.
        return all_are_judged(state, sights);
    }
    everybody_lost_it(state, sights, rules, wish)
}

/// It is a replica of this primary, and has got as far as its timeline.
fn same_history(reign: Reign, sight: &Sight) -> Result<(), String> {
    let id = sight.id;
    if is_other(reign.system_identifier, sight.system_identifier) {
        return Err(format!("node {id} belongs to another cluster"));
    }
    let timelines = reign.timeline.zip(sight.timeline);
    if timelines.is_some_and(|(reign, own)| own < reign) {
        return Err(format!(
            "node {id} has not reached the timeline of the primary"
        ));
    }
    Ok(())
}

/// Whether there is a primary besides the one that counts. One of an older timeline is a former
/// primary that came back: it is fenced, and lacks things. One of another cluster is none of ours.
fn is_rival(state: &State, sight: &Sight, wish: Wish) -> bool {
    if !sight.is_primary() || state.is_reigning(sight.id) {
        return false;
    }
    let old = state.reign.and_then(|reign| reign.timeline);
    let outdated = sight.timeline.zip(old).is_some_and(|(own, old)| own < old);
    let identifier = state.reign.and_then(|reign| reign.system_identifier);
    let foreign = is_other(identifier, sight.system_identifier);
    let is_out = state.standing(sight.id) != Standing::InService;
    let is_ignored = wish == Wish::Operator && is_out;
    !(outdated || foreign || is_ignored)
}

/// What the configuration and orders say about the nodes.
fn allowed_by_operator(state: &State, sights: &[Sight], sight: &Sight) -> Result<(), String> {
    let id = sight.id;
    if sight.flag == NodeFlag::DisallowToFailover {
        return Err(format!("node {id} is DISALLOW_TO_FAILOVER"));
    }
    let lost = state.reign.and_then(|reign| sights.get(reign.node.index()));
    if lost.is_some_and(|lost| lost.flag == NodeFlag::DisallowToFailover) {
        return Err("the primary is DISALLOW_TO_FAILOVER".to_owned());
    }
    let tenure = state.nodes.get(id.index());
    match tenure.map(|tenure| (tenure.standing, tenure.by)) {
        Some((Standing::InService, _) | (Standing::Detached, Some(By::Policy))) | None => Ok(()),
        Some((standing, _)) => Err(format!("node {id} is {}", standing.name())),
    }
}

/// It lacks no more of what the primary wrote than the operator can bear.
fn close_enough(
    state: &State,
    sights: &[Sight],
    sight: &Sight,
    rules: &FailoverSettings,
) -> Result<(), String> {
    let id = sight.id;
    match behind(state, sights, sight) {
        Some(bytes) if bytes <= rules.lag_bytes_max => Ok(()),
        Some(bytes) => Err(format!(
            "node {id} lacks {bytes} bytes of what was written, more than failover.lag_max ({})",
            rules.lag_bytes_max
        )),
        None => Err(format!("node {id} does not say how far it is")),
    }
}

/// Bytes a replica lacks of what is known to have been written.
pub(super) fn behind(state: &State, sights: &[Sight], sight: &Sight) -> Option<u64> {
    let own = sight.position()?;
    let identifier = state.reign.and_then(|reign| reign.system_identifier);
    let of_ours = |s: &&Sight| s.is_replica() && !is_other(identifier, s.system_identifier);
    let furthest = sights
        .iter()
        .filter(of_ours)
        .filter_map(Sight::position)
        .max();
    let written = state.reign.and_then(|reign| reign.lsn).max(furthest)?;
    Some(written.saturating_sub(own))
}

/// Every node has answered or is down. For some moments after a start that is not so: the one that is
/// not known yet may have more than those that were faster, or be a primary.
fn all_are_judged(state: &State, sights: &[Sight]) -> Result<(), String> {
    let is_judged = |s: &&Sight| s.up || s.down || state.is_reigning(s.id);
    match sights.iter().find(|s| !is_judged(s)) {
        Some(unknown) => Err(format!(
            "node {} has not answered yet, and not failed often enough to be down",
            unknown.id
        )),
        None => Ok(()),
    }
}

/// Every node was judged, those that answer have lost the primary too, and there are enough of them.
/// One that is fed by a replica that answers says nothing about the primary.
///
/// # Errors
/// Why it may be alive.
pub(super) fn everybody_lost_it(
    state: &State,
    sights: &[Sight],
    rules: &FailoverSettings,
    wish: Wish,
) -> Result<(), String> {
    all_are_judged(state, sights)?;
    let identifier = state.reign.and_then(|reign| reign.system_identifier);
    let answers = |id: NodeId| sights.get(id.index()).is_some_and(Sight::is_replica);
    let is_cascaded = |s: &Sight| {
        s.receiver == Receiver::Streaming
            && s.follows
                .is_some_and(|upstream| !state.is_reigning(upstream) && answers(upstream))
    };
    let is_witness = |s: &&Sight| {
        s.is_replica() && !is_other(identifier, s.system_identifier) && !is_cascaded(s)
    };
    let witnesses = || sights.iter().filter(is_witness);
    if let Some(why) = witnesses().find_map(Sight::hears) {
        return Err(format!("the primary may be alive: {why}"));
    }
    let count = witnesses().count();
    if wish == Wish::Policy && (count as u64) < u64::from(rules.witnesses_min) {
        return Err(format!(
            "{count} nodes have lost the primary, failover.witnesses_min is {}",
            rules.witnesses_min
        ));
    }
    Ok(())
}

/// Whether this primary, which somebody else promoted, may count as the primary from now on.
///
/// # Errors
/// Why not.
pub(super) fn may_follow(
    state: &State,
    sights: &[Sight],
    node: NodeId,
    wish: Wish,
) -> Result<(), String> {
    let Some(sight) = sights.get(node.index()) else {
        return Err(format!("there is no node {node}"));
    };
    if !sight.is_primary() {
        return Err(format!("node {node} is not a primary that is up"));
    }
    let Some(reign) = state.reign else {
        return Ok(());
    };
    let fixed = sights.iter().find(|s| s.flag == NodeFlag::AlwaysPrimary);
    if let Some(fixed) = fixed.filter(|fixed| fixed.id != node) {
        return Err(format!("node {} is always the primary", fixed.id));
    }
    // What is left is what an operator chooses from.
    let lost = is_lost(reign, sights).is_ok();
    let (old, new) = (reign.timeline, sight.timeline);
    if wish != Wish::Operator || !lost {
        if is_other(reign.system_identifier, sight.system_identifier) {
            return Err(format!("node {node} belongs to another cluster"));
        }
        if old.zip(new).is_some_and(|(old, new)| new < old) {
            return Err(format!(
                "node {node} is on an older timeline than the primary"
            ));
        }
    }
    let tenure = state.nodes.get(node.index());
    if wish == Wish::Policy && tenure.is_some_and(|tenure| tenure.outdated) {
        return Err(format!(
            "node {node} was promoted late: the primary went on meanwhile"
        ));
    }
    let is_later = old.zip(new).is_some_and(|(old, new)| new > old);
    if wish == Wish::Policy && !is_later && !lost {
        return Err(format!(
            "the primary is up, and node {node} is not on a later timeline"
        ));
    }
    // Promoted apart from the primary, from the same point: what each has the other lacks.
    if wish == Wish::Policy && !is_later && old.is_some() {
        return Err(format!(
            "node {node} is a primary on the same timeline as the one that was lost; only an \
             operator can say which is right: pgsteer node promote {node}"
        ));
    }
    Ok(())
}
