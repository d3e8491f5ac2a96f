//! From the text of a file to [`Raw`]: syntax, sections and names of keys. Every unknown key is
//! reported, with the likely intended one.

use toml::{Table, Value};

use super::changes::Changes;
use super::check::Checker;
use super::error::ConfigError;
use super::keys::{Kind, SETTINGS, Setting, setting};
use super::raw::Raw;

/// Parses the text of a file and makes the changes to it; `None` if it is not TOML at all.
pub(crate) fn read(
    text: &str,
    changes: &Changes,
    checker: &mut Checker<'_>,
    file: &str,
) -> Option<Raw> {
    let mut table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            checker.errors.push(syntax_error(text, &error, file));
            return None;
        }
    };
    changes.apply(&mut table, checker);
    table.retain(|section, value| keep_section(section, value, checker));
    match table.try_into() {
        Ok(raw) => Some(raw),
        Err(error) => {
            checker.error(
                "file",
                error.message(),
                "compare with the reference in docs/settings.md",
            );
            None
        }
    }
}

/// A mistake of TOML's own syntax, with line and column.
pub(crate) fn syntax_error(text: &str, error: &toml::de::Error, file: &str) -> ConfigError {
    let offset = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default())
        .chars()
        .count()
        + 1;
    ConfigError {
        file: Some(file.to_owned()),
        place: format!("line {line}, column {column}"),
        problem: error.message().replace('\n', ", "),
        advice: "mend the syntax (TOML 1.0)".to_owned(),
    }
}

/// Removes what is wrong from a section; `false` if nothing of it can be kept.
fn keep_section(section: &str, value: &mut Value, checker: &mut Checker<'_>) -> bool {
    if setting(section).is_some_and(|setting| setting.kind == Kind::Free) {
        return is_table(section, value, checker);
    }
    let list_prefix = format!("{section}[].");
    let table_prefix = format!("{section}.");
    if SETTINGS
        .iter()
        .any(|setting| setting.key.starts_with(&list_prefix))
    {
        return keep_list(section, value, checker);
    }
    if SETTINGS
        .iter()
        .any(|setting| setting.key.starts_with(&table_prefix))
    {
        return is_table(section, value, checker) && {
            keep_known(&table_prefix, value, checker);
            true
        };
    }
    unknown("", section, checker);
    false
}

fn is_table(section: &str, value: &Value, checker: &mut Checker<'_>) -> bool {
    if !value.is_table() {
        checker.error(
            section,
            "is not a section",
            format!("write [{section}] on a line of its own"),
        );
    }
    value.is_table()
}

fn keep_list(section: &str, value: &mut Value, checker: &mut Checker<'_>) -> bool {
    let Value::Array(list) = value else {
        let advice = format!("write [[{section}]], once for each");
        checker.error(section, "is not a list of sections", advice);
        return false;
    };
    for (index, element) in list.iter_mut().enumerate() {
        let key = format!("{section}[{index}]");
        if element.is_table() {
            keep_known(&format!("{key}."), element, checker);
        } else {
            checker.error(
                &key,
                "is not a section",
                format!("write [[{section}]] before it"),
            );
            *element = Value::Table(Table::new());
        }
    }
    true
}

fn keep_known(prefix: &str, section: &mut Value, checker: &mut Checker<'_>) {
    let Value::Table(table) = section else { return };
    table.retain(|key, _| {
        let known = setting(&format!("{prefix}{key}")).is_some();
        if !known {
            unknown(prefix, key, checker);
        }
        known
    });
}

fn unknown(prefix: &str, key: &str, checker: &mut Checker<'_>) {
    let advice = match intended(prefix, key) {
        Some(setting) => format!("did you mean `{}`?", setting.key),
        None => "remove it, or look it up in docs/settings.md".to_owned(),
    };
    checker.error(&format!("{prefix}{key}"), "is not a setting", advice);
}

/// A setting that PgBouncer or Pgpool-II calls so, or one that is spelled nearly so.
fn intended(prefix: &str, key: &str) -> Option<&'static Setting> {
    let same_name = |setting: &&Setting| {
        setting.known_as.contains(&key) || setting.key.rsplit('.').next() == Some(key)
    };
    let pattern = super::keys::pattern(&format!("{prefix}{key}"));
    SETTINGS.iter().find(same_name).or_else(|| {
        let near = |setting: &&Setting| distance(setting.key, &pattern) <= 2;
        SETTINGS.iter().find(near)
    })
}

/// Levenshtein's distance in bytes.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replaced = diagonal + usize::from(l != r);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(last + 1);
            last = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
