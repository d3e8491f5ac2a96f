//! The configuration, with Pgpool-II's names where it has one.

use pgsteer_plugin_sdk::config::{self, choice, number, switch};
use pgsteer_plugin_sdk::json;

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Which replica is promoted.
    pub(crate) promotion: Promotion,
    /// A node that was taken out and replays again is taken back.
    pub(crate) auto_failback: bool,
    /// Not again before so many milliseconds since it was last taken back.
    pub(crate) auto_failback_interval_ms: u64,
    /// A primary that the replicas do not follow is taken out.
    pub(crate) detach_false_primary: bool,
}

/// Which replica is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    /// The one that has most of the WAL.
    MostAdvanced,
    /// The one with the lowest number.
    LowestId,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            promotion: Promotion::MostAdvanced,
            auto_failback: true,
            auto_failback_interval_ms: 60_000,
            detach_false_primary: false,
        }
    }
}

impl Settings {
    /// Reads a JSON object; what it does not set has its default.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for (name, value) in json::object(json)? {
            let (name, value) = (name.as_str(), &value);
            match name {
                "promotion" => settings.promotion = choice(name, value, PROMOTION)?,
                "auto_failback" => settings.auto_failback = switch(name, value)?,
                "auto_failback_interval" => {
                    let seconds = number(name, value)?;
                    let fits = (seconds <= INTERVAL_SECONDS_MAX).then(|| seconds * 1_000);
                    settings.auto_failback_interval_ms = fits.ok_or_else(|| {
                        config::wrong(name, value, "allowed are seconds, 0 to 86400")
                    })?;
                }
                "detach_false_primary" => settings.detach_false_primary = switch(name, value)?,
                _ => return Err(config::unknown(name, value, &KEYS)),
            }
        }
        Ok(settings)
    }
}

const PROMOTION: &[(&str, Promotion)] = &[
    ("most-advanced", Promotion::MostAdvanced),
    ("lowest-id", Promotion::LowestId),
];

/// All keys, in the order of the documentation.
pub(crate) const KEYS: [&str; 4] = [
    "promotion",
    "auto_failback",
    "auto_failback_interval",
    "detach_false_primary",
];

/// A day.
const INTERVAL_SECONDS_MAX: u64 = 86_400;
