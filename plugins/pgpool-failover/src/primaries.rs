//! A node says that it is a primary, and another counts as it.

use std::cmp::Ordering;

use pgsteer_plugin_sdk::{Crisis, NodeFlag, NodeId, NodeRole, Remedy, Standing, Witness};

use crate::settings::Settings;
use crate::{AGAIN_MS, always_primary, same_cluster};

pub(crate) fn other_primary(settings: &Settings, crisis: &Crisis) -> Remedy {
    let (Some(other), Some(present)) = (crisis.subject(), crisis.primary()) else {
        return Remedy::Abstain;
    };
    let detach = || detach_false(settings, other);
    let stays = present.flag != NodeFlag::AllowToFailover || always_primary(crisis).is_some();
    if stays || !same_cluster(other, present) {
        return detach();
    }
    if settings.detach_false_primary {
        match followed(crisis, other.id, present.id) {
            Followed::Other => return Remedy::Follow(other.id),
            Followed::Present => return detach(),
            Followed::Unclear => {}
        }
    }
    let (Some(own), Some(timeline)) = (other.timeline, present.timeline) else {
        return Remedy::Wait(AGAIN_MS);
    };
    match own.cmp(&timeline) {
        // It was promoted, and the other has not noticed.
        Ordering::Greater if other.standing != Standing::Detached => Remedy::Follow(other.id),
        _ => detach(),
    }
}

/// Otherwise the proxy keeps it fenced.
fn detach_false(settings: &Settings, other: &Witness) -> Remedy {
    let may = settings.detach_false_primary
        && other.flag == NodeFlag::AllowToFailover
        && other.standing != Standing::Detached;
    match may {
        true => Remedy::Detach(other.id),
        false => Remedy::Abstain,
    }
}

/// Whom the replicas follow.
enum Followed {
    Other,
    Present,
    Unclear,
}

/// All of them must agree, and there must be one, as with Pgpool-II.
fn followed(crisis: &Crisis, other: NodeId, present: NodeId) -> Followed {
    let mut replicas = crisis
        .nodes
        .iter()
        .filter(|node| node.up && node.role == NodeRole::Replica)
        .filter(|node| node.standing == Standing::InService)
        .map(|node| node.follows)
        .peekable();
    let Some(first) = replicas.peek().copied() else {
        return Followed::Unclear;
    };
    if !replicas.all(|follows| follows == first) {
        return Followed::Unclear;
    }
    match first {
        Some(node) if node == other => Followed::Other,
        Some(node) if node == present => Followed::Present,
        _ => Followed::Unclear,
    }
}
