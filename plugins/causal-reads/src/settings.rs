//! The configuration.

use pgsteer_plugin_sdk::Spread;
use pgsteer_plugin_sdk::config::{self, choice, number, share, text};
use pgsteer_plugin_sdk::json::{self, Json};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Whose writes a read must see.
    pub(crate) key: Key,
    /// What a read without a key must see.
    pub(crate) without_key: WithoutKey,
    /// How long a read waits for a replica that has replayed enough, in milliseconds.
    pub(crate) wait_ms: u32,
    /// Share of the reads that the primary takes; `None`: its weight in the proxy's configuration.
    pub(crate) primary_weight: Option<f64>,
    /// How often a node is drawn.
    pub(crate) spread: Spread,
}

/// Where the key of a statement is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    User,
    Database,
    ApplicationName,
    /// In a comment, under this name.
    Comment(String),
    /// The value of this parameter, from 1.
    Parameter(usize),
}

/// What a read without a key must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutKey {
    /// The writes of its session.
    Session,
    /// Those of all sessions of the database.
    Database,
    /// Everything: it goes to the primary.
    Primary,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: Key::User,
            without_key: WithoutKey::Session,
            wait_ms: 20,
            primary_weight: None,
            spread: Spread::Session,
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
                "key" => settings.key = Key::parse(name, value)?,
                "without_key" => settings.without_key = choice(name, value, WITHOUT_KEY)?,
                "wait_ms" => {
                    let wait_ms = u32::try_from(number(name, value)?).ok();
                    let fits = wait_ms.filter(|ms| *ms <= WAIT_MS_MAX);
                    settings.wait_ms =
                        fits.ok_or_else(|| config::wrong(name, value, "allowed are 0 to 10000"))?;
                }
                "primary_weight" => settings.primary_weight = Some(share(name, value)?),
                "spread" => settings.spread = choice(name, value, SPREAD)?,
                _ => return Err(config::unknown(name, value, &KEYS)),
            }
        }
        Ok(settings)
    }
}

impl Key {
    fn parse(name: &str, value: &Json) -> Result<Self, String> {
        let word = text(name, value)?;
        let key = match word.split_once(':') {
            None => match word {
                "user" => Some(Self::User),
                "database" => Some(Self::Database),
                "application_name" => Some(Self::ApplicationName),
                _ => None,
            },
            Some(("comment", tag)) if is_tag(tag) => Some(Self::Comment(tag.to_owned())),
            Some(("parameter", digits)) => {
                let number = digits.parse().ok().filter(|n| (1..=65_535).contains(n));
                number.map(Self::Parameter)
            }
            Some(_) => None,
        };
        key.ok_or_else(|| config::wrong(name, value, ALLOWED))
    }
}

/// What `sql::tag` can find.
fn is_tag(name: &str) -> bool {
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '=' | ':' | '\'');
    !name.is_empty() && !name.contains(separates)
}

const ALLOWED: &str = "allowed are \"user\", \"database\", \"application_name\", \"comment:NAME\" \
                       and \"parameter:NUMBER\"";

const WITHOUT_KEY: &[(&str, WithoutKey)] = &[
    ("session", WithoutKey::Session),
    ("database", WithoutKey::Database),
    ("primary", WithoutKey::Primary),
];

const SPREAD: &[(&str, Spread)] = &[
    ("session", Spread::Session),
    ("statement", Spread::Statement),
];

/// All keys, in the order of the documentation.
pub(crate) const KEYS: [&str; 5] = ["key", "without_key", "wait_ms", "primary_weight", "spread"];

/// Of the proxy.
const WAIT_MS_MAX: u32 = 10_000;
