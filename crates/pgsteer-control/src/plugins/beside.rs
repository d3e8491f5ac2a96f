//! `NN-name.toml`, the file beside a component: its configuration, grants, limits and rollout.

use std::collections::HashMap;

use pgsteer_core::policy::Grants;
use serde::Deserialize;
use toml::Table;

use crate::config::check::{Checker, Origin};
use crate::config::plugins::{Limits, Rollouts};
use crate::config::raw::{self, Given};
use crate::config::{plugins, syntax_error, validate};

/// What the file beside a component says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beside {
    /// `enabled = false` takes the plugin out of force.
    pub(crate) enabled: bool,
    /// What it may do, if it is said.
    pub(crate) grants: Option<Grants>,
    /// The table `[config]` as a JSON object, if there is one.
    pub(crate) config: Option<String>,
    /// The table `[limits]`.
    pub(crate) limits: Limits,
    /// The table `[rollout]`.
    pub(crate) rollout: Rollouts,
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            enabled: true,
            grants: None,
            config: None,
            limits: Limits::default(),
            rollout: Rollouts::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    enabled: Option<bool>,
    grants: Given,
    config: Option<Table>,
    limits: raw::Limits,
    rollout: raw::Rollout,
}

impl Beside {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every mistake in it, in one line.
    pub(crate) fn parse(text: &str, file: &str) -> Result<Self, String> {
        let raw: Raw =
            toml::from_str(text).map_err(|error| syntax_error(text, &error, file).to_string())?;
        let origin = Origin {
            variables: places(file),
            ..Origin::default()
        };
        let mut checker = Checker::new(&origin, &|_| Err(std::io::ErrorKind::Unsupported.into()));
        let grants = raw.grants;
        let grants = grants.map(|given| plugins::grants(Some(given), &mut checker));
        let limits = Limits::read(raw.limits, &mut checker);
        let rollout = Rollouts::read(raw.rollout, &mut checker);
        let config = raw
            .config
            .map(|table| validate::json(toml::Value::Table(table)))
            .transpose();
        let config = config.map_err(|problem| format!("{file}: config {problem}"))?;
        if checker.errors.is_empty() {
            let config = config.map(|json| json.to_string());
            return Ok(Self {
                enabled: raw.enabled.unwrap_or(true),
                grants,
                config,
                limits,
                rollout,
            });
        }
        let texts: Vec<_> = checker.errors.iter().map(ToString::to_string).collect();
        Err(texts.join("; "))
    }
}

/// By key of the configuration, what it is called in this file.
fn places(file: &str) -> HashMap<String, String> {
    const LIMITS: [&str; 7] = [
        "decision_timeout",
        "configure_timeout",
        "memory_max",
        "functions_max",
        "results_max",
        "log_lines_max",
        "on_failure",
    ];
    const ROLLOUT: [&str; 8] = [
        "shadow",
        "shadow_decisions",
        "shadow_time",
        "differences_max",
        "probation",
        "probation_decisions",
        "refusals_max",
        "slow_max",
    ];
    let limits = LIMITS.into_iter().map(|key| (key, "limits."));
    let rollout = ROLLOUT.into_iter().map(|key| (key, "rollout."));
    let all = limits.chain(rollout).chain([("grants", "")]);
    all.map(|(key, table)| (format!("plugins.{key}"), format!("{file}: {table}{key}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgsteer_core::settings::{OnFailure, PluginLimits};

    use super::*;

    const DEFAULTS: PluginLimits = PluginLimits {
        decision_timeout: Duration::from_millis(50),
        configure_timeout: Duration::from_secs(1),
        memory_bytes_max: 1 << 24,
        file_bytes_max: 1 << 22,
        functions_max: 20_000,
        results_bytes_max: 1 << 20,
        log_lines_max: 10,
        on_failure: OnFailure::Skip,
    };

    #[test]
    fn configuration_and_limits_are_read() {
        let text = "[config]\nlist = [1, \"two\"]\n[limits]\ndecision_timeout = \"5ms\"\n\
                    memory_max = \"1MiB\"\non_failure = \"reject\"\n\
                    [rollout]\nshadow = \"10%\"\n";
        let text = format!("grants = [\"kv\"]\n{text}");
        let text = text.as_str();
        let beside = Beside::parse(text, "10-x.toml").expect("valid");
        assert_eq!(beside.config.as_deref(), Some("{\"list\":[1,\"two\"]}"));
        let limits = beside.limits.over(&DEFAULTS);
        let expected = PluginLimits {
            decision_timeout: Duration::from_millis(5),
            memory_bytes_max: 1 << 20,
            on_failure: OnFailure::Reject,
            ..DEFAULTS
        };
        assert_eq!(limits, expected);
        assert_eq!(beside.grants, Some(Grants::KV));
        let base = crate::testing::settings().plugins.rollout;
        assert_eq!(beside.rollout.over(&base).shadow_share, 0.1);
        assert!(
            !Beside::parse("enabled = false", "f")
                .expect("valid")
                .enabled
        );
        assert_eq!(Beside::parse("", "f"), Ok(Beside::default()));
    }

    #[test]
    fn mistakes_name_the_key() {
        let cases = [
            (
                "[limits]\ndecision_timeout = 5\nmemory_max = \"9\"",
                "limits.decision_timeout: is the bare number 5",
            ),
            (
                "[limits]\ndecision_timeout = 5\nmemory_max = \"9\"",
                "limits.memory_max: is \"9\"",
            ),
            (
                "[limits]\non_failure = \"maybe\"",
                "limits.on_failure: is \"maybe\"; use one of: skip, reject, last-good",
            ),
            (
                "grants = [\"kv\", \"root\"]",
                "10-x.toml: grants: holds \"root\"; use some of",
            ),
            (
                "[rollout]\nprobation = 60",
                "10-x.toml: rollout.probation: is the bare number 60",
            ),
            ("[limit]", "unknown field `limit`"),
            ("[config", "line 1, column"),
            (
                "[config]\nx = nan",
                "10-x.toml: config holds the number NaN",
            ),
        ];
        for (text, expected) in cases {
            let error = Beside::parse(text, "10-x.toml").expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains("10-x.toml"), "{text}: {error}");
        }
    }
}
