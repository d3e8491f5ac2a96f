//! What operators change while the proxy runs: on top of what the configuration says, and only until
//! that is read again.

use toml::{Table, Value};

use super::check::{Checker, Origin};
use super::keys::{Kind, Reload, Setting, setting};
use crate::import::{pgbouncer_setting, switch_value};

/// Settings that were changed, each once, in the order of the changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes(Vec<(String, Value)>);

/// Where a key belongs.
struct Place<'a> {
    section: &'a str,
    /// In a list of sections, from 0.
    index: Option<usize>,
    field: &'a str,
}

impl Changes {
    /// These changes and one more: a setting, by the key it has in the file (`pool.size`,
    /// `nodes[1].weight`) or by PgBouncer's name (`default_pool_size`), and its value as it is written
    /// in the console. Whether the value is allowed shows when the configuration is loaded with it.
    ///
    /// # Errors
    /// There is no such setting, or it cannot be changed so. The text is for the operator.
    pub fn with(&self, name: &str, text: &str) -> Result<Self, String> {
        let (key, value) = change(name, text)?;
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
            let place = format!("SET {key}");
            origin.variables.insert(key.to_owned(), place);
        }
    }

    /// Puts the values in the place of those in the file.
    pub(super) fn apply(&self, table: &mut Table, checker: &mut Checker<'_>) {
        for (key, value) in &self.0 {
            let section = place(key).and_then(|place| {
                let section = section_of(table, &place)?;
                Some((section, place.field))
            });
            match section {
                Some((section, field)) => put(section, field, value.clone()),
                None => checker.error(
                    key,
                    "is not there",
                    "positions in lists begin with 0; what is not in the configuration is added there",
                ),
            }
        }
    }
}

fn section_of<'a>(table: &'a mut Table, place: &Place<'_>) -> Option<&'a mut Table> {
    match place.index {
        Some(index) => table.get_mut(place.section)?.get_mut(index)?.as_table_mut(),
        None => {
            let section = table.entry(place.section);
            section
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
        }
    }
}

/// Puts a value into a table; dots in its name are sections inside.
pub(super) fn put(section: &mut Table, field: &str, value: Value) {
    let Some((outer, inner)) = field.split_once('.') else {
        section.insert(field.to_owned(), value);
        return;
    };
    let nested = section.entry(outer);
    let nested = nested.or_insert_with(|| Value::Table(Table::new()));
    if !nested.is_table() {
        *nested = Value::Table(Table::new());
    }
    if let Some(nested) = nested.as_table_mut() {
        put(nested, inner, value);
    }
}

/// `pool.size` and `nodes[1].weight`, taken apart; `None` if it is not of this form.
fn place(key: &str) -> Option<Place<'_>> {
    let (section, field) = key.split_once('.')?;
    let Some((section, index)) = section.split_once('[') else {
        return Some(Place {
            section,
            index: None,
            field,
        });
    };
    let index = Some(index.strip_suffix(']')?.parse().ok()?);
    Some(Place {
        section,
        index,
        field,
    })
}

/// A change of one setting, by its name in the console.
fn change(name: &str, text: &str) -> Result<(String, Value), String> {
    let (section, _) = name.split_once('.').unwrap_or_default();
    let of_plugin = setting(section).is_some_and(|section| section.kind == Kind::Free);
    if of_plugin {
        // What is in there only a plugin knows, and how it is written.
        return Ok((name.to_owned(), free_value(text)));
    }
    let name = name.to_ascii_lowercase();
    let (key, value) = match setting(&name) {
        Some(known) => (name, own_value(known, text)?),
        None => pgbouncer_setting(&name, text).unwrap_or_else(|| {
            let why = format!("\"{name}\" is not a setting: docs/settings.md has them all");
            Err(why)
        })?,
    };
    check_changeable(&key)?;
    Ok((key, value))
}

/// Sections that say who may do what, with whom, and which code runs: they are changed in the file, by
/// who may write it.
const CLOSED: &[&str] = &[
    "tls",
    "server_tls",
    "auth",
    "hba",
    "users",
    "plugins",
    "console",
    "admin",
    "pcp",
    "pcp_users",
];

/// Only what a reload would apply can be changed, and nothing that reaches beyond the proxy: no file, no
/// command, no SQL, no name.
fn check_changeable(key: &str) -> Result<(), String> {
    let Some((known, place)) = setting(key).zip(place(key)) else {
        return Err(format!(
            "\"{key}\" is not one setting: name one in a section"
        ));
    };
    if known.reload == Reload::Restart {
        return Err(format!(
            "\"{key}\" takes a restart: change the configuration, then `pgsteer upgrade`"
        ));
    }
    let is_value = matches!(
        known.kind,
        Kind::Choice(_)
            | Kind::Switch
            | Kind::Count(..)
            | Kind::Share
            | Kind::Percent
            | Kind::Duration(..)
            | Kind::Size(..)
    );
    if !is_value || CLOSED.contains(&place.section) {
        return Err(format!(
            "\"{key}\" is changed in the configuration alone, which RELOAD reads"
        ));
    }
    Ok(())
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
        _ => text.into(),
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

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
