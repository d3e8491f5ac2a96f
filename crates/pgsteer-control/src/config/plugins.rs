//! What is said about plugins, in the configuration for all of them and in the file beside one of
//! them: the same keys with the same rules.

use std::time::Duration;

use pgsteer_core::policy::Grants;
use pgsteer_core::settings::{OnFailure, PluginLimits, PluginSettings, Rollout};

use super::check::Checker;
use super::raw;
use super::raw::Given;

/// Checks `[plugins]`.
pub(crate) fn settings(mut raw: raw::Plugins, checker: &mut Checker<'_>) -> PluginSettings {
    let base = PluginLimits {
        file_bytes_max: checker.size("plugins.file_max", raw.file_max.take()),
        ..default_limits(checker)
    };
    let (limits, rollout) = (limits_of(&mut raw), rollout_of(&mut raw));
    let (limits, rollout) = (
        Limits::read(limits, checker),
        Rollouts::read(rollout, checker),
    );
    PluginSettings {
        dir: checker.path("plugins.dir", raw.dir),
        state_dir: checker.path("plugins.state_dir", raw.state_dir),
        settle: checker.duration("plugins.settle", raw.settle),
        stack_bytes_max: checker.size("plugins.stack_max", raw.stack_max),
        allow: allow(raw.allow, checker),
        limits: limits.over(&base),
        grants: grants(raw.grants, checker),
        rollout: rollout.over(&default_rollout(checker)),
    }
}

/// Hashes of components in lower case.
fn allow(given: Given, checker: &mut Checker<'_>) -> Vec<String> {
    const KEY: &str = "plugins.allow";
    let list = checker.list(KEY, given).into_iter();
    let list: Vec<String> = list.map(|hash| hash.to_ascii_lowercase()).collect();
    for hash in &list {
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let advice = "write the 64 digits that sha256sum prints";
            checker.error(KEY, format!("holds \"{hash}\""), advice);
        }
    }
    list
}

/// What a plugin may do.
pub(crate) fn grants(given: Given, checker: &mut Checker<'_>) -> Grants {
    let words = checker.words("plugins.grants", given).into_iter();
    let known = words.filter_map(Grants::from_name);
    known.fold(Grants::default(), Grants::with)
}

/// Limits that were set; the others come from elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    decision_timeout: Option<Duration>,
    configure_timeout: Option<Duration>,
    memory_bytes_max: Option<usize>,
    functions_max: Option<u32>,
    results_bytes_max: Option<usize>,
    log_lines_max: Option<u32>,
    on_failure: Option<OnFailure>,
}

impl Limits {
    /// Reads what is set.
    pub(crate) fn read(raw: raw::Limits, checker: &mut Checker<'_>) -> Self {
        let set = |given: Given| given.is_some().then_some(given);
        Self {
            decision_timeout: set(raw.decision_timeout)
                .map(|given| checker.duration("plugins.decision_timeout", given)),
            configure_timeout: set(raw.configure_timeout)
                .map(|given| checker.duration("plugins.configure_timeout", given)),
            memory_bytes_max: set(raw.memory_max)
                .map(|given| checker.size("plugins.memory_max", given)),
            functions_max: set(raw.functions_max)
                .map(|given| small(checker.count("plugins.functions_max", given))),
            results_bytes_max: set(raw.results_max)
                .map(|given| checker.size("plugins.results_max", given)),
            log_lines_max: set(raw.log_lines_max)
                .map(|given| small(checker.count("plugins.log_lines_max", given))),
            on_failure: set(raw.on_failure)
                .map(|given| on_failure(checker.choice("plugins.on_failure", given))),
        }
    }

    /// The limits in force, given those for whatever is not set here.
    pub(crate) fn over(&self, base: &PluginLimits) -> PluginLimits {
        PluginLimits {
            results_bytes_max: self.results_bytes_max.unwrap_or(base.results_bytes_max),
            log_lines_max: self.log_lines_max.unwrap_or(base.log_lines_max),
            functions_max: self.functions_max.unwrap_or(base.functions_max),
            decision_timeout: self.decision_timeout.unwrap_or(base.decision_timeout),
            configure_timeout: self.configure_timeout.unwrap_or(base.configure_timeout),
            memory_bytes_max: self.memory_bytes_max.unwrap_or(base.memory_bytes_max),
            file_bytes_max: base.file_bytes_max,
            on_failure: self.on_failure.unwrap_or(base.on_failure),
        }
    }
}

/// Keys of the rollout that were set; the others come from elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rollouts {
    shadow_share: Option<f64>,
    shadow_decisions: Option<u64>,
    shadow_time: Option<Duration>,
    differences_max: Option<f64>,
    probation_time: Option<Duration>,
    probation_decisions: Option<u64>,
    refusals_max: Option<f64>,
    slow_max: Option<Duration>,
}

impl Rollouts {
    /// Reads what is set.
    pub(crate) fn read(raw: raw::Rollout, checker: &mut Checker<'_>) -> Self {
        let set = |given: Given| given.is_some().then_some(given);
        Self {
            shadow_share: set(raw.shadow).map(|given| checker.percent("plugins.shadow", given)),
            shadow_decisions: set(raw.shadow_decisions)
                .map(|given| checker.count("plugins.shadow_decisions", given)),
            shadow_time: set(raw.shadow_time)
                .map(|given| checker.duration("plugins.shadow_time", given)),
            differences_max: set(raw.differences_max)
                .map(|given| checker.percent("plugins.differences_max", given)),
            probation_time: set(raw.probation)
                .map(|given| checker.duration("plugins.probation", given)),
            probation_decisions: set(raw.probation_decisions)
                .map(|given| checker.count("plugins.probation_decisions", given)),
            refusals_max: set(raw.refusals_max)
                .map(|given| checker.percent("plugins.refusals_max", given)),
            slow_max: set(raw.slow_max).map(|given| checker.duration("plugins.slow_max", given)),
        }
    }

    /// The rollout in force, given what holds for whatever is not set here.
    pub(crate) fn over(&self, base: &Rollout) -> Rollout {
        Rollout {
            shadow_share: self.shadow_share.unwrap_or(base.shadow_share),
            shadow_decisions: self.shadow_decisions.unwrap_or(base.shadow_decisions),
            shadow_time: self.shadow_time.unwrap_or(base.shadow_time),
            differences_max: self.differences_max.unwrap_or(base.differences_max),
            probation_time: self.probation_time.unwrap_or(base.probation_time),
            probation_decisions: self.probation_decisions.unwrap_or(base.probation_decisions),
            refusals_max: self.refusals_max.unwrap_or(base.refusals_max),
            slow_max: self.slow_max.unwrap_or(base.slow_max),
        }
    }
}

/// The table of settings as limits.
fn default_limits(checker: &mut Checker<'_>) -> PluginLimits {
    PluginLimits {
        results_bytes_max: checker.size("plugins.results_max", None),
        log_lines_max: small(checker.count("plugins.log_lines_max", None)),
        functions_max: small(checker.count("plugins.functions_max", None)),
        decision_timeout: checker.duration("plugins.decision_timeout", None),
        configure_timeout: checker.duration("plugins.configure_timeout", None),
        memory_bytes_max: checker.size("plugins.memory_max", None),
        file_bytes_max: checker.size("plugins.file_max", None),
        on_failure: on_failure(checker.choice("plugins.on_failure", None)),
    }
}

/// The table of settings as a rollout.
fn default_rollout(checker: &mut Checker<'_>) -> Rollout {
    Rollout {
        shadow_share: checker.percent("plugins.shadow", None),
        shadow_decisions: checker.count("plugins.shadow_decisions", None),
        shadow_time: checker.duration("plugins.shadow_time", None),
        differences_max: checker.percent("plugins.differences_max", None),
        probation_time: checker.duration("plugins.probation", None),
        probation_decisions: checker.count("plugins.probation_decisions", None),
        refusals_max: checker.percent("plugins.refusals_max", None),
        slow_max: checker.duration("plugins.slow_max", None),
    }
}

fn on_failure(word: Option<&str>) -> OnFailure {
    match word {
        Some("reject") => OnFailure::Reject,
        Some("last-good") => OnFailure::LastGood,
        _ => OnFailure::Skip,
    }
}

/// The limits in the table of settings fit.
fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn limits_of(raw: &mut raw::Plugins) -> raw::Limits {
    raw::Limits {
        decision_timeout: raw.decision_timeout.take(),
        configure_timeout: raw.configure_timeout.take(),
        memory_max: raw.memory_max.take(),
        functions_max: raw.functions_max.take(),
        results_max: raw.results_max.take(),
        log_lines_max: raw.log_lines_max.take(),
        on_failure: raw.on_failure.take(),
    }
}

fn rollout_of(raw: &mut raw::Plugins) -> raw::Rollout {
    raw::Rollout {
        shadow: raw.shadow.take(),
        shadow_decisions: raw.shadow_decisions.take(),
        shadow_time: raw.shadow_time.take(),
        differences_max: raw.differences_max.take(),
        probation: raw.probation.take(),
        probation_decisions: raw.probation_decisions.take(),
        refusals_max: raw.refusals_max.take(),
        slow_max: raw.slow_max.take(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Kind, setting};
    use super::*;

    #[test]
    fn all_grants_can_be_written() {
        let kind = setting("plugins.grants").expect("a setting").kind;
        let names: Vec<_> = Grants::NAMED.iter().map(|(_, name)| *name).collect();
        assert!(matches!(kind, Kind::Words(words) if words == names));
    }
}
