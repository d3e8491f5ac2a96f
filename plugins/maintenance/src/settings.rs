//! The configuration.

use pgsteer_plugin_sdk::config::{self, choice, switch, text, texts};
use pgsteer_plugin_sdk::json;

use crate::state::Mode;

/// What the operator can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What holds until a command says something else.
    pub(crate) default: Mode,
    /// What clients are told with it.
    pub(crate) because: String,
    /// Users to whom it does not apply.
    pub(crate) allow_users: Vec<String>,
    /// A read-only time lets reads through that call functions which may write.
    pub(crate) allow_volatile_functions: bool,
}

impl Settings {
    /// Reads a JSON object; what it does not set has its default.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for (key, value) in json::object(json)? {
            let (key, value) = (key.as_str(), &value);
            match key {
                "default" => settings.default = choice(key, value, MODES)?,
                "because" => text(key, value)?.clone_into(&mut settings.because),
                "allow_users" => settings.allow_users = texts(key, value)?,
                "allow_volatile_functions" => {
                    settings.allow_volatile_functions = switch(key, value)?;
                }
                _ => return Err(config::unknown(key, value, &KEYS)),
            }
        }
        Ok(settings)
    }
}

const MODES: &[(&str, Mode)] = &[
    ("off", Mode::Off),
    ("on", Mode::On),
    ("read-only", Mode::ReadOnly),
];

/// All keys, in the order of the documentation.
pub(crate) const KEYS: [&str; 4] = [
    "default",
    "because",
    "allow_users",
    "allow_volatile_functions",
];
