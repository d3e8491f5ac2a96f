//! The configuration.

use pgsteer_plugin_sdk::config::{self, choice, switch, text, texts};
use pgsteer_plugin_sdk::json::{self, Json};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where the tenant comes from.
    pub(crate) from: From,
    /// What must stand in front of it, and is taken off.
    pub(crate) prefix: String,
    /// What must stand behind it, and is taken off.
    pub(crate) suffix: String,
    /// If there are any: only these are tenants, by what they are found under.
    pub(crate) tenants: Vec<(String, String)>,
    /// The setting that holds it, in lower case.
    pub(crate) setting: String,
    /// The role of the session, or empty; `{tenant}` stands for the tenant.
    pub(crate) role: String,
    /// DO, CALL and new functions are refused whatever is in them.
    pub(crate) strict: bool,
    /// Users who may do as they like.
    pub(crate) exempt_users: Vec<String>,
}

/// Where the tenant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    User,
    Database,
    ApplicationName,
}

impl From {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Database => "database",
            Self::ApplicationName => "application_name",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            from: From::User,
            prefix: String::new(),
            suffix: String::new(),
            tenants: Vec::new(),
            setting: "app.tenant".to_owned(),
            role: String::new(),
            strict: true,
            exempt_users: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads a JSON object; what it does not set has its default.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for (key, value) in json::object(json)? {
            let (key, value) = (key.as_str(), &value);
            match key {
                "from" => settings.from = choice(key, value, FROM)?,
                "prefix" => text(key, value)?.clone_into(&mut settings.prefix),
                "suffix" => text(key, value)?.clone_into(&mut settings.suffix),
                "tenants" => settings.tenants = tenants(key, value)?,
                "setting" => settings.setting = setting(key, value)?,
                "role" => text(key, value)?.clone_into(&mut settings.role),
                "strict" => settings.strict = switch(key, value)?,
                "exempt_users" => settings.exempt_users = texts(key, value)?,
                _ => return Err(config::unknown(key, value, &KEYS)),
            }
        }
        Ok(settings)
    }
}

fn tenants(key: &str, value: &Json) -> Result<Vec<(String, String)>, String> {
    let wrong = || config::wrong(key, value, "must be a table of texts, none of them empty");
    let Json::Object(fields) = value else {
        return Err(wrong());
    };
    let pairs = fields.iter().map(|(name, tenant)| {
        let tenant = tenant.as_text().filter(|tenant| !tenant.is_empty());
        Some((name.clone(), tenant?.to_owned()))
    });
    pairs.collect::<Option<_>>().ok_or_else(wrong)
}

/// A name with a dot, as PostgreSQL wants it for settings it does not know.
fn setting(key: &str, value: &Json) -> Result<String, String> {
    let name = text(key, value)?.to_ascii_lowercase();
    let is_part = |part: &str| {
        let mut characters = part.chars();
        let first = characters.next();
        first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let parts: Vec<&str> = name.split('.').collect();
    match parts.len() >= 2 && parts.into_iter().all(is_part) {
        true => Ok(name),
        false => Err(config::wrong(
            key,
            value,
            "must be a name with a dot, such as app.tenant",
        )),
    }
}

const FROM: &[(&str, From)] = &[
    ("user", From::User),
    ("database", From::Database),
    ("application_name", From::ApplicationName),
];

/// All keys, in the order of the documentation.
pub(crate) const KEYS: [&str; 8] = [
    "from",
    "prefix",
    "suffix",
    "tenants",
    "setting",
    "role",
    "strict",
    "exempt_users",
];
