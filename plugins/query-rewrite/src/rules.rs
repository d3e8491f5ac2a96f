//! The rules, and how they are read.

use pgsteer_plugin_sdk::config;
use pgsteer_plugin_sdk::json::{self, Json};

/// A rule; the first that matches counts.
pub(crate) struct Rule {
    matched: Match,
    /// For this user only.
    pub(crate) user: Option<String>,
    pub(crate) action: Action,
}

/// Which texts it is about.
enum Match {
    /// This one, blanks and a semicolon at its ends left aside.
    Text(String),
    /// Those that begin like this, upper and lower case alike.
    Prefix(String),
    /// Those with this in them.
    Contains(String),
}

/// What is done with a statement.
pub(crate) enum Action {
    /// `from`, or the whole text, becomes `to`.
    Replace {
        from: Option<String>,
        to: String,
        map: Option<Vec<u16>>,
    },
    /// It does not run.
    Refuse {
        message: String,
        hint: Option<String>,
    },
}

impl Rule {
    pub(crate) fn matches(&self, sql: &str, user: Option<&String>) -> bool {
        if self.user.is_some() && self.user.as_ref() != user {
            return false;
        }
        match &self.matched {
            Match::Text(text) => bare(sql) == text,
            Match::Prefix(prefix) => {
                let start = sql.trim_start().get(..prefix.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            }
            Match::Contains(part) => sql.contains(part),
        }
    }
}

fn bare(sql: &str) -> &str {
    sql.trim().trim_end_matches(';').trim_end()
}

/// Reads `{"rules": [...]}`.
pub(crate) fn read(json: &str) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for (key, value) in json::object(json)? {
        match (key.as_str(), value) {
            ("rules", Json::List(all)) => {
                for (number, rule) in (1..).zip(all) {
                    rules.push(read_rule(rule).map_err(|why| format!("rule {number}: {why}"))?);
                }
            }
            ("rules", other) => return Err(config::wrong("rules", &other, "must be a list")),
            (_, other) => return Err(config::unknown(&key, &other, &["rules"])),
        }
    }
    Ok(rules)
}

/// Keys of a rule.
const KEYS: [&str; 9] = [
    "text",
    "prefix",
    "contains",
    "user",
    "replace",
    "with",
    "parameters",
    "refuse",
    "hint",
];

fn read_rule(rule: Json) -> Result<Rule, String> {
    let Json::Object(fields) = rule else {
        return Err("must be an object".to_owned());
    };
    let (mut matched, mut user, mut map) = (Vec::new(), None, None);
    let (mut from, mut to, mut refuse, mut hint) = (None, None, None, None);
    for (key, value) in fields {
        if key == "parameters" {
            map = Some(numbers(&key, &value)?);
            continue;
        }
        let own = || config::text(&key, &value).map(str::to_owned);
        match key.as_str() {
            "text" => matched.push(Match::Text(bare(&own()?).to_owned())),
            "prefix" => matched.push(Match::Prefix(own()?)),
            "contains" => matched.push(Match::Contains(own()?)),
            "user" => user = Some(own()?),
            "replace" => from = Some(own()?),
            "with" => to = Some(own()?),
            "refuse" => refuse = Some(own()?),
            "hint" => hint = Some(own()?),
            _ => return Err(config::unknown(&key, &value, &KEYS)),
        }
    }
    let only = matched.pop().filter(|_| matched.is_empty());
    let matched = only.ok_or("needs exactly one of text, prefix, contains")?;
    let action = match (to, refuse) {
        (Some(to), None) => Action::Replace { from, to, map },
        (None, Some(message)) => Action::Refuse { message, hint },
        _ => return Err("needs exactly one of with, refuse".to_owned()),
    };
    Ok(Rule {
        matched,
        user,
        action,
    })
}

fn numbers(key: &str, value: &Json) -> Result<Vec<u16>, String> {
    let wrong = || config::wrong(key, value, "must be a list of numbers from 1");
    let Json::List(values) = value else {
        return Err(wrong());
    };
    let number = |value: &Json| match value {
        Json::Number(text) => text.parse::<u16>().ok().filter(|n| *n > 0),
        _ => None,
    };
    let numbers: Option<Vec<_>> = values.iter().map(number).collect();
    numbers.ok_or_else(wrong)
}
