//! Rules of access, from `[[hba]]` or from a file in the format of `pg_hba.conf` and
//! `pool_hba.conf`, and the maps they refer to.

mod entry;
mod ident;
pub(crate) mod lines;
mod networks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgsteer_core::auth::{IdentMap, Rule, Rules};

use entry::Wrong;
pub(crate) use entry::{Entry, World};
use lines::{Line, Word};

use super::check::Checker;
use super::error::ConfigError;
use super::raw;

/// Files within files, as in PostgreSQL (`CONF_FILE_MAX_DEPTH`).
const DEPTH_MAX: usize = 10;

const FILE: &str = "auth.hba_file";
const IDENT_FILE: &str = "auth.ident_file";

/// The rules, or `None` if there are none, so that one method is for all.
pub(super) fn rules(
    raw: Vec<raw::Hba>,
    hba_file: raw::Given,
    ident_file: raw::Given,
    checker: &mut Checker<'_>,
) -> Option<Rules> {
    let mut path_of = |key, given: raw::Given| {
        let given = given?;
        checker.path(key, Some(given))
    };
    let (file, map_file) = (path_of(FILE, hba_file), path_of(IDENT_FILE, ident_file));
    if file.is_some() && !raw.is_empty() {
        checker.error(FILE, "is given together with [[hba]]", "keep one of them");
    }
    let maps = map_file.as_deref().map(|path| ident::maps(path, checker));
    let maps = maps.unwrap_or_default();
    let map_file = map_file.as_deref();
    match file {
        Some(path) => Some(from_file(&path, &maps, map_file, checker)),
        None if raw.is_empty() => None,
        None => Some(from_sections(raw, &maps, map_file, checker)),
    }
}

fn from_sections(
    raw: Vec<raw::Hba>,
    maps: &HashMap<String, Arc<IdentMap>>,
    map_file: Option<&Path>,
    checker: &mut Checker<'_>,
) -> Rules {
    let mut rules = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let place = format!("hba[{index}]");
        let Some(entry) = section(&place, raw, checker) else {
            continue;
        };
        let world = World {
            read_file: checker.read_file(),
            maps,
            map_file,
        };
        match entry.rule(&place, &world) {
            Ok(rule) => rules.push(rule),
            Err((problem, advice)) => checker.error(&place, problem, advice),
        }
    }
    Rules(rules)
}

/// A section as a line of the file would be.
fn section(place: &str, raw: raw::Hba, checker: &mut Checker<'_>) -> Option<Entry> {
    let key = |name: &str| format!("{place}.{name}");
    let kind = checker.required(&key("type"), raw.kind);
    let method = checker.required(&key("method"), raw.method);
    let mut words = |name: &str, given: raw::Given| {
        let texts = match given {
            Some(given) => checker.texts(&key(name), Some(given)),
            None => vec!["all".to_owned()],
        };
        let mut words = Vec::new();
        for text in texts {
            match lines::fields(&text) {
                Ok(fields) => words.extend(fields.into_iter().flatten()),
                Err(problem) => checker.error(&key(name), problem, "write names as in pg_hba.conf"),
            }
        }
        words
    };
    let (databases, users) = (words("database", raw.database), words("user", raw.user));
    let address = match raw.address {
        Some(given) => checker.text(&key("address"), Some(given)),
        None => Some(String::new()),
    };
    let address = address?;
    // A mask may follow.
    let (address, mask) = address.split_once(' ').unwrap_or((&address, ""));
    Some(Entry {
        kind: kind?,
        databases,
        users,
        address: address.to_owned(),
        mask: mask.trim().to_owned(),
        method: method?,
        options: checker.list(&key("options"), raw.options),
    })
}

fn from_file(
    path: &Path,
    maps: &HashMap<String, Arc<IdentMap>>,
    map_file: Option<&Path>,
    checker: &mut Checker<'_>,
) -> Rules {
    let Some(text) = checker.file(FILE, path) else {
        return Rules::default();
    };
    let mut reader = Reader {
        world: World {
            read_file: checker.read_file(),
            maps,
            map_file,
        },
        rules: Vec::new(),
        errors: Vec::new(),
    };
    reader.read(path, &text, 0);
    let Reader { rules, errors, .. } = reader;
    if rules.is_empty() && errors.is_empty() {
        let problem = format!("{} has no rule, so nobody could log in", path.display());
        checker.error(FILE, problem, "add one, or remove the setting");
    }
    checker.errors.extend(errors);
    Rules(rules)
}

struct Reader<'a> {
    world: World<'a>,
    rules: Vec<Rule>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn read(&mut self, path: &Path, text: &str, depth: usize) {
        let (lines, problems) = lines::lines(text);
        for (number, problem) in problems {
            let advice = "write type, database, user, address (not for local) and method".into();
            self.wrong(path, number, (problem, advice));
        }
        for Line { number, fields } in lines {
            let is_directive = |word: &Word| word.text.starts_with("include") && !word.is_quoted;
            let first = fields.first().and_then(|field| field.first());
            if let Some(word) = first.filter(|word| is_directive(word)).cloned() {
                self.include(path, number, &word.text, &fields, depth);
                continue;
            }
            let rule = self.expand(path, fields, depth);
            let place = place(path, number);
            let rule =
                rule.and_then(|fields| Entry::from_fields(fields)?.rule(&place, &self.world));
            match rule {
                Ok(rule) => self.rules.push(rule),
                Err(wrong) => self.wrong(path, number, wrong),
            }
        }
    }

    fn wrong(&mut self, path: &Path, line: usize, (problem, advice): Wrong) {
        self.errors.push(error_in(path, line, problem, advice));
    }

    /// `include` and `include_if_exists` of PostgreSQL 16.
    fn include(
        &mut self,
        path: &Path,
        number: usize,
        directive: &str,
        fields: &[Vec<Word>],
        depth: usize,
    ) {
        let [_, name] = fields else {
            let wrong = ("includes what?".to_owned(), "name one file".to_owned());
            return self.wrong(path, number, wrong);
        };
        let is_optional = directive == "include_if_exists";
        if !is_optional && directive != "include" {
            let problem = format!("begins with {directive}");
            let wrong = (problem, "name each file with include".to_owned());
            return self.wrong(path, number, wrong);
        }
        for word in name {
            let inner = beside(path, &word.text);
            match self.inner(&inner, depth) {
                Ok(text) => self.read(&inner, &text, depth + 1),
                Err(_) if is_optional && depth < DEPTH_MAX => {}
                Err(wrong) => self.wrong(path, number, wrong),
            }
        }
    }

    /// Puts the words of `@file` in its place, in the columns of databases and users.
    fn expand(
        &self,
        path: &Path,
        mut fields: Vec<Vec<Word>>,
        depth: usize,
    ) -> Result<Vec<Vec<Word>>, Wrong> {
        for field in fields.iter_mut().skip(1).take(2) {
            *field = self.words(path, std::mem::take(field), depth)?;
        }
        Ok(fields)
    }

    fn words(&self, path: &Path, words: Vec<Word>, depth: usize) -> Result<Vec<Word>, Wrong> {
        let mut expanded = Vec::new();
        for word in words {
            let name = word.text.strip_prefix('@').filter(|name| !name.is_empty());
            let Some(name) = name.filter(|_| !word.is_quoted) else {
                expanded.push(word);
                continue;
            };
            let inner = beside(path, name);
            let text = self.inner(&inner, depth)?;
            let (lines, problems) = lines::lines(&text);
            if let Some((number, problem)) = problems.into_iter().next() {
                let place = place(&inner, number);
                return Err((format!("{place} {problem}"), "mend that file".to_owned()));
            }
            let inner_words = lines.into_iter().flat_map(|line| line.fields).flatten();
            expanded.extend(self.words(&inner, inner_words.collect(), depth + 1)?);
        }
        Ok(expanded)
    }

    fn inner(&self, path: &Path, depth: usize) -> Result<String, Wrong> {
        if depth >= DEPTH_MAX {
            let problem = format!("names {}, the file that is one too many", path.display());
            let advice = format!("keep to {DEPTH_MAX} files within files");
            return Err((problem, advice));
        }
        (self.world.read_file)(path).map_err(|error| {
            let problem = format!("names {}, which cannot be read: {error}", path.display());
            (problem, "name a file the proxy may read".to_owned())
        })
    }
}

/// A file that another one names.
fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().map(|dir| dir.join(name)).unwrap_or_default()
}

fn place(path: &Path, line: usize) -> String {
    format!("{}:{line}", path.display())
}

/// A mistake in a line of another file.
pub(super) fn error_in(path: &Path, line: usize, problem: String, advice: String) -> ConfigError {
    ConfigError {
        file: Some(path.display().to_string()),
        place: format!("line {line}"),
        problem,
        advice,
    }
}
