//! Checks what is said about failover, and what is said about single nodes for it.

use std::collections::HashMap;
use std::sync::Arc;

use pgsteer_core::auth::User;
use pgsteer_core::settings::{FailoverSettings, NodeFlag, NodeSettings, ProbeSettings};

use super::check::Checker;
use super::raw;
use super::validate::number;

/// `[failover]`; `rules` are those of the built-in policy, as JSON.
pub(super) fn settings(
    raw: raw::Failover,
    rules: String,
    checker: &mut Checker<'_>,
) -> FailoverSettings {
    let mut command = |name: &str, given: raw::Given| {
        let given = given.and_then(|given| checker.text(&format!("failover.{name}"), Some(given)));
        given.unwrap_or_default()
    };
    let failover_command = command("failover_command", raw.failover_command);
    let failback_command = command("failback_command", raw.failback_command);
    let follow_primary_command = command("follow_primary_command", raw.follow_primary_command);
    let demote_command = command("demote_command", raw.demote_command);
    let witnesses = checker.count("failover.witnesses_min", raw.witnesses_min);
    FailoverSettings {
        promote: checker.switch("failover.promote", raw.promote),
        lag_bytes_max: checker.size("failover.lag_max", raw.lag_max) as u64,
        witnesses_min: u32::try_from(witnesses).unwrap_or(u32::MAX),
        promote_timeout: checker.duration("failover.promote_timeout", raw.promote_timeout),
        repoint: checker.switch("failover.repoint", raw.repoint),
        on_backend_error: checker.switch("failover.on_backend_error", raw.on_backend_error),
        on_backend_shutdown: checker
            .switch("failover.on_backend_shutdown", raw.on_backend_shutdown),
        hold_timeout: checker.duration("failover.hold_timeout", raw.hold_timeout),
        hold_max: number(checker.count("failover.hold_max", raw.hold_max)),
        drain_timeout: checker.duration("failover.drain_timeout", raw.drain_timeout),
        failover_command,
        failback_command,
        follow_primary_command,
        demote_command,
        command_timeout: checker.duration("failover.command_timeout", raw.command_timeout),
        state_dir: checker.path("failover.state_dir", raw.state_dir),
        audit_log: checker.path("failover.audit_log", raw.audit_log),
        rules,
    }
}

/// How one node is watched: as all are, but for what it says itself.
pub(super) fn node_probe(
    index: usize,
    raw: &mut raw::Node,
    common: &ProbeSettings,
    users: &HashMap<String, User>,
    checker: &mut Checker<'_>,
) -> ProbeSettings {
    let key = |name: &str| format!("nodes[{index}].probe_{name}");
    let mut probe = common.clone();
    if let Some(given) = raw.probe_user.take()
        && let Some(user) = checker.text(&key("user"), Some(given))
    {
        if let Some(password) = users.get(&user).and_then(User::password) {
            probe.password = Arc::clone(password);
        }
        probe.user = user;
    }
    let prefix = format!("nodes[{index}].probe_");
    if let Some(password) = checker.secret(&prefix, raw.probe_password.take(), None) {
        probe.password = password.into();
    }
    if let Some(given) = raw.probe_database.take()
        && let Some(database) = checker.text(&key("database"), Some(given))
    {
        probe.database = database;
    }
    if let Some(given) = raw.probe_interval.take() {
        probe.interval = checker.duration(&key("interval"), Some(given));
    }
    if let Some(given) = raw.probe_timeout.take() {
        probe.timeout = checker.duration(&key("timeout"), Some(given));
    }
    if let Some(given) = raw.probe_failures_max.take() {
        let failures_max = checker.count(&key("failures_max"), Some(given));
        probe.failures_max = u32::try_from(failures_max).unwrap_or(u32::MAX);
    }
    if let Some(given) = raw.probe_retry_delay.take() {
        probe.retry_delay = checker.duration(&key("retry_delay"), Some(given));
    }
    probe
}

/// `nodes[].flag`.
pub(super) fn flag(key: &str, given: raw::Given, checker: &mut Checker<'_>) -> NodeFlag {
    match checker.choice(key, given) {
        Some("DISALLOW_TO_FAILOVER") => NodeFlag::DisallowToFailover,
        Some("ALWAYS_PRIMARY") => NodeFlag::AlwaysPrimary,
        _ => NodeFlag::AllowToFailover,
    }
}

/// One node at most is always the primary.
pub(super) fn check_flags(nodes: &[NodeSettings], checker: &mut Checker<'_>) {
    let always = (0..)
        .zip(nodes)
        .filter(|(_, node)| node.flag == NodeFlag::AlwaysPrimary);
    for (index, _) in always.skip(1) {
        let key: String = format!("nodes[{index}].flag");
        checker.error(
            &key,
            "is ALWAYS_PRIMARY, as another is",
            "let one node be the primary",
        );
    }
}
