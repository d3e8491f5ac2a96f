//! What operators change while the proxy runs: on top of what the configuration says, and only until
//! that is read again.

use toml::{Table, Value};

use super::check::{Checker, Origin};
use super::keys::{Kind, Reload, Setting, setting};
use crate::import::{pgbouncer_setting, switch_value};

/// Settings that were changed, each once, in the order of the changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes(Vec<(String, Value)>);

/// A part of a key: a section, or a place in a list of sections.
enum Place<'a> {
    Section(&'a str),
    Listed(&'a str, usize),
}

impl Changes {
    /// These changes and one more: a setting, by the key it has in the file (`pool.size`,
    /// `nodes[1].weight`) or by PgBouncer's name (`default_pool_size`), and its value as it is written
    /// in the console. Whether the value is allowed shows when the configuration is loaded with it.
    ///
    /// # Errors
    /// There is no such setting, it takes a restart, or it is a secret. The text is for the operator.
    pub fn with(&self, name: &str, text: &str) -> Result<Self, String> {
        let (key, value) = match setting(name) {
            Some(known) => (name.to_owned(), own_value(known, text)?),
            None => foreign_value(name, text)?,
        };
        if place(&key).is_none() {
            return Err(format!("\"{name}\" is a section: name a setting in it"));
        }
        check_changeable(&key)?;
        let mut changes = self.clone();
        changes.0.retain(|(changed, _)| *changed != key);
        changes.0.push((key, value));
        Ok(changes)
    }

    /// Keys of the settings that were changed.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Says of complaints about these settings that they are not about the file.
    pub(super) fn mark(&self, origin: &mut Origin) {
        for key in self.keys() {
            origin
                .variables
                .insert(key.to_owned(), format!("SET {key}"));
        }
    }

    /// Puts the values in the place of those in the file.
    pub(super) fn apply(&self, table: &mut Table, checker: &mut Checker<'_>) {
        for (key, value) in &self.0 {
            let section = match place(key) {
                Some((Place::Section(name), field)) => {
                    let section = table
                        .entry(name)
                        .or_insert_with(|| Value::Table(Table::new()));
                    section.as_table_mut().map(|section| (section, field))
                }
                Some((Place::Listed(name, index), field)) => table
                    .get_mut(name)
                    .and_then(|list| list.get_mut(index))
                    .and_then(Value::as_table_mut)
                    .map(|section| (section, field)),
                None => None,
            };
            match section {
                Some((section, field)) => {
                    section.insert(field.to_owned(), value.clone());
                }
                None => checker.error(
                    key,
                    "is not there",
                    "positions in lists begin with 0; what is not in the configuration is added there",
                ),
            }
        }
    }
}

/// `pool.size` and `nodes[1].weight`, taken apart; `None` if there is nothing behind the section.
fn place(key: &str) -> Option<(Place<'_>, &str)> {
    let (section, field) = key.split_once('.')?;
    let Some((list, index)) = section.split_once('[') else {
        return Some((Place::Section(section), field));
    };
    let index = index.strip_suffix(']')?.parse().ok()?;
    Some((Place::Listed(list, index), field))
}

/// Only what a reload would apply can be changed, and nothing that a log or a history must not hold.
fn check_changeable(key: &str) -> Result<(), String> {
    let known = setting(key).or_else(|| key.split_once('.').and_then(|(name, _)| setting(name)));
    match known {
        Some(known) if known.kind == Kind::Secret => Err(format!(
            "\"{key}\" is a secret, which logs would show: write it into the configuration, then RELOAD"
        )),
        Some(known) if known.reload == Reload::Restart => Err(format!(
            "\"{key}\" takes a restart: change the configuration, then `pgsteer upgrade`"
        )),
        _ => Ok(()),
    }
}

/// A value as the file would have it.
fn own_value(known: &Setting, text: &str) -> Result<Value, String> {
    let wrong = |wanted: &str| format!("\"{text}\" is not {wanted}");
    Ok(match known.kind {
        Kind::Switch => switch_value(text).ok_or_else(|| wrong("on or off"))?,
        Kind::Count(..) => {
            let number: i64 = text.parse().map_err(|_| wrong("a whole number"))?;
            number.into()
        }
        Kind::Share => {
            let number: f64 = text.parse().map_err(|_| wrong("a number"))?;
            number.into()
        }
        Kind::Texts | Kind::List | Kind::Words(_) => {
            let words = text.split(',').map(str::trim);
            Value::Array(words.filter(|w| !w.is_empty()).map(Value::from).collect())
        }
        Kind::Text
        | Kind::Secret
        | Kind::Path
        | Kind::Choice(_)
        | Kind::Percent
        | Kind::Duration(..)
        | Kind::Size(..) => text.into(),
        Kind::Free => free_value(text),
    })
}

/// What only a plugin understands: as TOML would read it, or else text.
fn free_value(text: &str) -> Value {
    let parsed: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    parsed
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| text.into())
}

/// A setting by another program's name, or one of a section that a plugin reads.
fn foreign_value(name: &str, text: &str) -> Result<(String, Value), String> {
    let in_section = name
        .split_once('.')
        .and_then(|(section, _)| setting(section));
    if in_section.is_some_and(|section| section.kind == Kind::Free) {
        return Ok((name.to_owned(), free_value(text)));
    }
    pgbouncer_setting(name, text).unwrap_or_else(|| {
        let why = format!("\"{name}\" is not a setting: docs/settings.md has them all");
        Err(why)
    })
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
