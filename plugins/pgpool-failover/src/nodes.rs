//! A node that is no primary is lost, or one that was taken out is back.

use pgsteer_plugin_sdk::{Crisis, NodeFlag, Past, Remedy, Standing, Witness};

use crate::AGAIN_MS;
use crate::settings::Settings;

pub(crate) fn lost(crisis: &Crisis) -> Remedy {
    let may = |node: &&Witness| {
        node.flag == NodeFlag::AllowToFailover && node.standing == Standing::InService
    };
    match crisis.subject().filter(may) {
        None => Remedy::Abstain,
        // When it is back it may be the one that is to be promoted.
        Some(_) if crisis.primary.is_none() => Remedy::Wait(AGAIN_MS),
        Some(node) => Remedy::Detach(node.id),
    }
}

pub(crate) fn back(settings: &Settings, crisis: &Crisis) -> Remedy {
    let Some(node) = crisis.subject().filter(|_| settings.auto_failback) else {
        return Remedy::Abstain;
    };
    let primary = crisis.nodes.iter().find(|other| Some(other.id) == crisis.primary);
    // Without a primary there is nothing to be connected to, and it may be the one to be promoted.
    if node.connected == Some(false) && primary.is_some_and(|primary| primary.up) {
        return Remedy::Wait(AGAIN_MS);
    }
    let attached_ms = crisis.last(Past::Attached, node.id);
    let rests_ms = attached_ms.map_or(0, |ago_ms| {
        settings.auto_failback_interval_ms.saturating_sub(ago_ms)
    });
    match u32::try_from(rests_ms) {
        Ok(0) => Remedy::Reattach(node.id),
        rests_ms => Remedy::Wait(rests_ms.unwrap_or(u32::MAX)),
    }
}
