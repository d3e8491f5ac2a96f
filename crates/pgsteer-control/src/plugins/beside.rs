//! `NN-name.toml`, the file beside a component: its configuration and limits.

use std::collections::HashMap;

use pgsteer_core::settings::{OnFailure, PluginLimits};
use serde::Deserialize;
use toml::Table;

use crate::config::check::{Checker, Origin};
use crate::config::raw::Given;
use crate::config::{syntax_error, validate};

/// What the file beside a component says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beside {
    /// `enabled = false` takes the plugin out of force.
    pub(crate) enabled: bool,
    /// The table `[config]` as a JSON object, if there is one.
    pub(crate) config: Option<String>,
    limits: LimitsGiven,
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            enabled: true,
            config: None,
            limits: LimitsGiven::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct LimitsGiven {
    decision_timeout: Option<std::time::Duration>,
    configure_timeout: Option<std::time::Duration>,
    memory_bytes_max: Option<usize>,
    on_failure: Option<OnFailure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    enabled: Option<bool>,
    config: Option<Table>,
    limits: RawLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    decision_timeout: Given,
    configure_timeout: Given,
    memory_max: Given,
    on_failure: Given,
}

impl Beside {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every mistake in it, in one line.
    pub(crate) fn parse(text: &str, file: &str) -> Result<Self, String> {
        let raw: Raw =
            toml::from_str(text).map_err(|error| syntax_error(text, &error, file).to_string())?;
        let own = |key: &str| (format!("plugins.{key}"), format!("{file}: limits.{key}"));
        let keys = [
            "decision_timeout",
            "configure_timeout",
            "memory_max",
            "on_failure",
        ];
        let variables: HashMap<_, _> = keys.into_iter().map(own).collect();
        let origin = Origin {
            variables,
            ..Origin::default()
        };
        let mut checker = Checker::new(&origin, &|_| Err(std::io::ErrorKind::Unsupported.into()));
        let limits = limits(raw.limits, &mut checker);
        let config = raw
            .config
            .map(|table| validate::json(toml::Value::Table(table)))
            .transpose();
        let config = config.map_err(|problem| format!("{file}: config {problem}"))?;
        if checker.errors.is_empty() {
            let config = config.map(|json| json.to_string());
            return Ok(Self {
                enabled: raw.enabled.unwrap_or(true),
                config,
                limits,
            });
        }
        let texts: Vec<_> = checker.errors.iter().map(ToString::to_string).collect();
        Err(texts.join("; "))
    }

    /// The limits in force, given those for plugins that set none.
    pub(crate) fn limits(&self, defaults: &PluginLimits) -> PluginLimits {
        let given = &self.limits;
        PluginLimits {
            decision_timeout: given.decision_timeout.unwrap_or(defaults.decision_timeout),
            configure_timeout: given
                .configure_timeout
                .unwrap_or(defaults.configure_timeout),
            memory_bytes_max: given.memory_bytes_max.unwrap_or(defaults.memory_bytes_max),
            file_bytes_max: defaults.file_bytes_max,
            on_failure: given.on_failure.unwrap_or(defaults.on_failure),
        }
    }
}

fn limits(raw: RawLimits, checker: &mut Checker<'_>) -> LimitsGiven {
    let mut duration =
        |key: &str, given: Given| given.map(|value| checker.duration(key, Some(value)));
    let decision_timeout = duration("plugins.decision_timeout", raw.decision_timeout);
    let configure_timeout = duration("plugins.configure_timeout", raw.configure_timeout);
    let memory = raw
        .memory_max
        .map(|value| checker.size("plugins.memory_max", Some(value)));
    let on_failure = raw
        .on_failure
        .map(|value| validate::on_failure("plugins.on_failure", Some(value), checker));
    LimitsGiven {
        decision_timeout,
        configure_timeout,
        memory_bytes_max: memory,
        on_failure,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DEFAULTS: PluginLimits = PluginLimits {
        decision_timeout: Duration::from_millis(50),
        configure_timeout: Duration::from_secs(1),
        memory_bytes_max: 1 << 24,
        file_bytes_max: 1 << 22,
        on_failure: OnFailure::Skip,
    };

    #[test]
    fn configuration_and_limits_are_read() {
        let text = "[config]\nlist = [1, \"two\"]\n[limits]\ndecision_timeout = \"5ms\"\n\
                    memory_max = \"1MiB\"\non_failure = \"reject\"\n";
        let beside = Beside::parse(text, "10-x.toml").expect("valid");
        assert_eq!(beside.config.as_deref(), Some("{\"list\":[1,\"two\"]}"));
        let limits = beside.limits(&DEFAULTS);
        let expected = PluginLimits {
            decision_timeout: Duration::from_millis(5),
            memory_bytes_max: 1 << 20,
            on_failure: OnFailure::Reject,
            ..DEFAULTS
        };
        assert_eq!(limits, expected);
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
                "limits.on_failure: is \"maybe\"; use one of: skip, reject",
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
