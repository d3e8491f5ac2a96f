//! How a version of a plugin gets into force and back out of it: what it is, the states it goes
//! through, and the words for numbers about it.

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::policy::{FailureClass, Grants, Plugin, PluginSource};
use pgsteer_core::settings::PluginLimits;

use super::probation::Probation;
use super::shadow::Shadow;

/// What makes a plugin behave as it does; equal versions need not be loaded again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) sha256: String,
    pub(crate) config: String,
    pub(crate) limits: PluginLimits,
    pub(crate) grants: Grants,
}

impl Version {
    pub(crate) fn of(source: &PluginSource) -> Self {
        Self {
            sha256: source.sha256.clone(),
            config: source.config.clone(),
            limits: source.limits.clone(),
            grants: source.grants,
        }
    }

    /// Component and configuration, in a form that outlives a restart.
    pub(crate) fn key(&self) -> String {
        key(&self.sha256, &self.config)
    }
}

/// [`Version::key`] of a component with this configuration.
pub(crate) fn key(sha256: &str, config: &str) -> String {
    let config = super::sha256(config.as_bytes());
    format!("{sha256}/{}", config.get(..16).unwrap_or_default())
}

/// A version that was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) version: Version,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) plugin: Arc<Plugin>,
}

impl Build {
    /// As people tell versions apart.
    pub(crate) fn name(&self) -> String {
        let hash = self.version.sha256.get(..12).unwrap_or_default();
        format!("version {} ({hash})", self.plugin.version)
    }
}

/// What is in force of a plugin.
#[derive(Debug, Default)]
pub(crate) enum Force {
    /// Nothing.
    #[default]
    Out,
    /// Nothing, because an operator said so; this was, and how far it had got if it was watched.
    Disabled(Build, Option<Box<Probation>>),
    /// A new version, which is watched.
    Probation(Build, Box<Probation>),
    /// A version that has proven itself.
    Live(Build),
}

impl Force {
    /// The version that decides.
    pub(crate) fn deciding(&self) -> Option<&Build> {
        match self {
            Self::Out | Self::Disabled(..) => None,
            Self::Probation(build, _) | Self::Live(build) => Some(build),
        }
    }

    /// The version that decides, or would if it were enabled.
    pub(crate) fn chosen(&self) -> Option<&Build> {
        match self {
            Self::Disabled(build, _) => Some(build),
            other => other.deciding(),
        }
    }

    /// The version to go back to if the next one fails: the last that has proven itself, or if none
    /// has, the one in force.
    pub(crate) fn into_proven(self) -> Option<Build> {
        match self {
            Self::Out | Self::Disabled(..) => None,
            Self::Live(build) => Some(build),
            Self::Probation(build, probation) => Some(probation.before.unwrap_or(build)),
        }
    }
}

/// A version that was loaded and does not decide yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) build: Build,
    pub(crate) waits: Waits,
}

/// What a candidate waits for.
#[derive(Debug)]
pub(crate) enum Waits {
    /// For the others of its set.
    Others,
    /// For its shadow to have been compared.
    Shadow(Shadow),
}

/// Failures by class, such as `6 trap, 1 deadline`.
pub(crate) fn failures_in_words(failures: &[u64; FailureClass::COUNT]) -> String {
    let all = FailureClass::ALL.iter().zip(failures);
    let some = all.filter(|(_, count)| **count > 0);
    let words = some.map(|(class, count)| format!("{count} {}", class_name(*class)));
    words.collect::<Vec<_>>().join(", ")
}

fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Trap => "trap",
        FailureClass::Deadline => "deadline",
        FailureClass::Memory => "memory",
        FailureClass::Abi => "abi",
        FailureClass::Invalid => "invalid",
    }
}

/// `0.5%`.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// A time with the precision people want.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{} s", trimmed(s)),
        s if s >= 0.001 => format!("{} ms", trimmed(s * 1e3)),
        s => format!("{} us", trimmed(s * 1e6)),
    }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (share, text) in [(0.05, "5%"), (0.0101, "1.01%"), (1.0, "100%"), (0.0, "0%")] {
            assert_eq!(percent(share), text);
        }
        let times = [
            (1, "1 us"),
            (1500, "1.5 ms"),
            (2_000_000, "2 s"),
            (600_000_000, "600 s"),
        ];
        for (micros, text) in times {
            assert_eq!(in_words(Duration::from_micros(micros)), text);
        }
    }
}
