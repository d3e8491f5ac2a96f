//! What the imports from poolers that are no Pgpool-II share: tables of their keys, how values are
//! carried over, and what is said of each.

use std::time::Duration;

use toml::Value;

use super::Work;
use super::draft::Draft;
use super::report::Line;
use super::report::Verdict::{self, CarriedOver, NotNeeded, NotThere};
use crate::config::{Kind, SETTINGS, units};

/// How a value is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Seconds become a duration, 0 this text; nothing if that is empty.
    Seconds(&'static str),
    /// The same with milliseconds.
    Milliseconds(&'static str),
    /// A whole number stays one.
    Count,
    /// 0 and 1, or words for off and on.
    Switch,
    Text,
    /// Names with commas between them.
    List,
    /// A word becomes another.
    Word(&'static [(&'static str, &'static str)]),
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A setting here has the value.
    To(&'static str, Form),
    /// Worked out together with others: the settings it goes to.
    Special(Verdict, &'static str),
    /// Nothing is lost without it.
    NotNeeded,
    /// Not possible here; these values ask for nothing.
    Missing(&'static [&'static str]),
    /// As [`Rule::Missing`], and a warning.
    Danger(&'static [&'static str]),
}

/// One key of the other program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) rule: Rule,
    /// The difference, the reason, or what to do instead.
    pub(crate) note: &'static str,
}

/// A row of a table of keys.
pub(crate) const fn key(name: &'static str, rule: Rule, note: &'static str) -> Key {
    Key { name, rule, note }
}

impl Key {
    /// The verdict if it asks for something.
    pub(crate) const fn verdict(&self) -> Verdict {
        match self.rule {
            Rule::To(..) => CarriedOver,
            Rule::Special(verdict, _) => verdict,
            Rule::NotNeeded => NotNeeded,
            Rule::Missing(_) | Rule::Danger(_) => NotThere,
        }
    }

    /// What the table of the documentation says about it.
    #[cfg(test)]
    pub(crate) fn here(&self) -> String {
        match self.rule {
            Rule::To(setting, _) => format!("`{setting}`"),
            Rule::Special(_, "") => "–".to_owned(),
            Rule::Special(_, settings) => settings.to_owned(),
            Rule::NotNeeded | Rule::Missing(_) | Rule::Danger(_) => "–".to_owned(),
        }
    }
}

/// Where something stands in the input.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// File and line, or file and path of the key.
    pub(crate) place: String,
    /// The key as it is written.
    pub(crate) subject: String,
    pub(crate) value: String,
}

impl Found {
    /// A line of the report about it.
    pub(crate) fn line(&self, verdict: Verdict, text: impl Into<String>) -> Line {
        Line {
            place: self.place.clone(),
            subject: self.subject.clone(),
            verdict,
            text: text.into(),
            is_warning: false,
        }
    }

    /// The same as a warning.
    pub(crate) fn warning(&self, verdict: Verdict, text: impl Into<String>) -> Line {
        Line {
            is_warning: true,
            ..self.line(verdict, text)
        }
    }
}

/// Does what the table says; `None` for what is worked out together with others.
pub(crate) fn answer(key: &Key, found: &Found, work: &mut Work) -> Option<Line> {
    let value = found.value.as_str();
    match key.rule {
        Rule::To(setting, form) => Some(to(key, setting, form, found, &mut work.draft)),
        Rule::Special(..) => None,
        Rule::NotNeeded => Some(found.line(NotNeeded, key.note)),
        Rule::Missing(harmless) | Rule::Danger(harmless) => {
            if asks_for_nothing(value, harmless) {
                return Some(found.line(NotNeeded, "this value asks for nothing"));
            }
            Some(match key.rule {
                Rule::Danger(_) => found.warning(NotThere, key.note),
                _ => found.line(NotThere, key.note),
            })
        }
    }
}

fn asks_for_nothing(value: &str, harmless: &[&str]) -> bool {
    value.is_empty() || harmless.iter().any(|word| word.eq_ignore_ascii_case(value))
}

fn to(key: &Key, setting: &str, form: Form, found: &Found, draft: &mut Draft) -> Line {
    if found.value.is_empty() {
        return found.line(NotNeeded, "it is empty");
    }
    if !is_known(setting) {
        let text = format!("`{setting}` is not there in this version; {}", key.note);
        return found.warning(NotThere, text.trim_end_matches("; "));
    }
    match value(setting, form, &found.value) {
        Ok(Some(value)) => {
            let shown = format!("{setting} = {value}");
            draft.set(setting, value);
            let pieces = [shown.as_str(), key.note];
            let pieces: Vec<_> = pieces.into_iter().filter(|text| !text.is_empty()).collect();
            found.line(CarriedOver, pieces.join("; "))
        }
        Ok(None) => found.line(NotNeeded, "0 asks for nothing"),
        Err(wanted) => {
            let text = format!("the value is not {wanted}, so it was left out");
            found.warning(NotThere, text)
        }
    }
}

/// Whether there is a setting of this name.
pub(crate) fn is_known(setting: &str) -> bool {
    SETTINGS.iter().any(|known| known.key == setting)
}

/// A value as it is written here; `None` if it asks for nothing, or what it should have been.
pub(crate) fn value(setting: &str, form: Form, text: &str) -> Result<Option<Value>, &'static str> {
    let text = text.trim();
    match form {
        Form::Seconds(zero) => duration(setting, text, 1_000_000.0, zero),
        Form::Milliseconds(zero) => duration(setting, text, 1_000.0, zero),
        Form::Count => {
            let number: i64 = text.parse().map_err(|_| "a whole number")?;
            Ok(Some(limited_count(setting, number).into()))
        }
        Form::Switch => switch(text).map(Some).ok_or("0 or 1"),
        Form::Text => Ok(Some(text.into())),
        Form::List => {
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            let names: Vec<Value> = names.map(Value::from).collect();
            Ok((!names.is_empty()).then_some(Value::Array(names)))
        }
        Form::Word(words) => {
            let found = words
                .iter()
                .find(|(from, _)| from.eq_ignore_ascii_case(text));
            let (_, to) = found.ok_or("a word that is known")?;
            Ok(Some((*to).into()))
        }
    }
}

/// 0 and 1, or a word for off and on.
pub(crate) fn switch(text: &str) -> Option<Value> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true.into()),
        "0" | "off" | "no" | "false" => Some(false.into()),
        _ => None,
    }
}

fn duration(
    setting: &str,
    text: &str,
    micros_each: f64,
    zero: &str,
) -> Result<Option<Value>, &'static str> {
    let number: f64 = text.parse().map_err(|_| "a number")?;
    if !number.is_finite() || number < 0.0 {
        return Err("a number that is not negative");
    }
    if number == 0.0 {
        return Ok((!zero.is_empty()).then(|| zero.into()));
    }
    let time = Duration::try_from_secs_f64(number * micros_each / 1e6).unwrap_or(Duration::MAX);
    // Whole milliseconds: there are no limits below one.
    let time = Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1));
    let found = SETTINGS.iter().find(|known| known.key == setting);
    let time = match found.map(|known| known.kind) {
        Some(Kind::Duration(min, max)) => time.clamp(min, max),
        _ => time,
    };
    Ok(Some(units::show_duration(time).into()))
}

fn limited_count(setting: &str, number: i64) -> i64 {
    let found = SETTINGS.iter().find(|known| known.key == setting);
    let (min, max) = match found.map(|known| known.kind) {
        Some(Kind::Count(min, max)) => (min, max),
        _ => (0, u64::MAX),
    };
    let limit = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    number.clamp(limit(min), limit(max))
}

/// Nodes that were found, each once, in order.
pub(crate) fn add_node(draft: &mut Draft, host: &str, port: i64) -> usize {
    let same = |node: &super::draft::Node| node.host == host && node.port == Some(port);
    if let Some(at) = draft.nodes.iter().position(same) {
        return at;
    }
    draft.nodes.push(super::draft::Node {
        number: u32::try_from(draft.nodes.len()).unwrap_or(u32::MAX),
        host: host.to_owned(),
        port: Some(port),
        weight: 1.0,
        more: Vec::new(),
    });
    draft.nodes.len() - 1
}

/// Sets a key of the rule for a database or a user, or both.
pub(crate) fn set_rule(
    draft: &mut Draft,
    (database, user): (Option<&str>, Option<&str>),
    key: &str,
    value: Value,
) {
    let who = |name: &str, given: Option<&str>| given.map(|g| (name.to_owned(), Value::from(g)));
    let about: Vec<_> = [who("database", database), who("user", user)]
        .into_iter()
        .flatten()
        .collect();
    let found = draft.pools.iter_mut().find(|rule| {
        let named = rule
            .iter()
            .filter(|(key, _)| key == "database" || key == "user");
        named.cloned().eq(about.iter().cloned())
    });
    match found {
        Some(rule) => rule.push((key.to_owned(), value)),
        None => {
            let mut rule = about;
            rule.push((key.to_owned(), value));
            draft.pools.push(rule);
        }
    }
}
