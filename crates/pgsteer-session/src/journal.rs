//! What a session told its servers and every further server must be told before it is used.
//!
//! Parameters set for the session live in [`Settings`]; what was set or marked inside the running
//! transaction lives in its [`Journal`] and moves to the settings on COMMIT, or is forgotten.

use pgsteer_sql::Effect;

/// One parameter of the session.
#[derive(Debug)]
struct Entry {
    name: Box<str>,
    text: Box<str>,
    number: u64,
}

/// Parameters of the session, in the order they were last set.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    entries: Vec<Entry>,
    number: u64,
}

/// Name of the entry that stands for RESET ALL.
const ALL: &str = "*";

impl Settings {
    /// Number of the latest entry; a server that saw it is up to date.
    pub(crate) fn latest(&self) -> u64 {
        self.number
    }

    /// A parameter was set by this statement.
    pub(crate) fn set(&mut self, name: &str, text: &str) {
        self.number += 1;
        self.entries.retain(|e| &*e.name != name);
        self.entries.push(Entry {
            name: name.into(),
            text: text.into(),
            number: self.number,
        });
    }

    /// All parameters were reset; `startup` are the statements that make it look as at login.
    pub(crate) fn reset(&mut self, startup: &[(Box<str>, Box<str>)]) {
        self.entries.clear();
        self.set(ALL, "RESET ALL");
        for (name, text) in startup {
            self.set(name, text);
        }
    }

    /// Statements a server that saw everything up to `seen` must run, as one string; empty if none.
    pub(crate) fn missing(&self, seen: u64) -> String {
        join(
            self.entries
                .iter()
                .filter(|e| e.number > seen)
                .map(|e| &*e.text),
        )
    }
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.fold(String::new(), |mut all, text| {
        if !all.is_empty() {
            all.push_str("; ");
        }
        all.push_str(text);
        all
    })
}

#[derive(Debug)]
enum Note {
    Savepoint(Box<str>),
    Set {
        name: Box<str>,
        local: bool,
        text: Box<str>,
    },
}

/// What happened in a transaction that its further servers must be told.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    notes: Vec<Note>,
}

impl Journal {
    /// Notes so far; a server that saw so many is up to date.
    pub(crate) fn len(&self) -> usize {
        self.notes.len()
    }

    /// Notes the effect of a statement that succeeded.
    pub(crate) fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Savepoint(name) => self.notes.push(Note::Savepoint(name.clone())),
            Effect::Release(name) => {
                if let Some(at) = self.find(name) {
                    let is_set = |n: &Note| matches!(n, Note::Set { .. });
                    let kept: Vec<_> = self.notes.drain(at..).filter(is_set).collect();
                    self.notes.extend(kept);
                }
            }
            Effect::RollbackTo(name) => {
                if let Some(at) = self.find(name) {
                    self.notes.truncate(at + 1);
                }
            }
            Effect::Set { name, local, text } => {
                let (name, local, text) = (name.clone(), *local, text.clone());
                self.notes.push(Note::Set { name, local, text });
            }
            Effect::SetTransaction { text, .. } => {
                let (name, text) = (Box::from("transaction"), text.clone());
                self.notes.push(Note::Set {
                    name,
                    local: true,
                    text,
                });
            }
            _ => {}
        }
    }

    /// Whether there is a savepoint of this name.
    pub(crate) fn knows(&self, savepoint: &str) -> bool {
        self.find(savepoint).is_some()
    }

    fn find(&self, savepoint: &str) -> Option<usize> {
        let named = |n: &Note| matches!(n, Note::Savepoint(name) if &**name == savepoint);
        self.notes.iter().rposition(named)
    }

    /// Statements a server that saw `seen` notes must run, as one string; empty if none.
    pub(crate) fn missing(&self, seen: usize) -> String {
        let texts: Vec<_> = self.notes.iter().skip(seen).map(Note::text).collect();
        join(texts.iter().map(String::as_str))
    }

    /// The transaction was committed: what it set for the session stays.
    pub(crate) fn commit(self, settings: &mut Settings) {
        for note in self.notes {
            if let Note::Set {
                name,
                local: false,
                text,
            } = note
            {
                settings.set(&name, &text);
            }
        }
    }
}

impl Note {
    fn text(&self) -> String {
        match self {
            Self::Savepoint(name) => format!("SAVEPOINT {}", quote_identifier(name)),
            Self::Set { text, .. } => text.to_string(),
        }
    }
}

/// A name as SQL identifier.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as SQL literal, whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(value: &str) -> String {
    let escaped = value.replace('\'', "''");
    if value.contains('\\') {
        format!(" E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, local: bool) -> Effect {
        Effect::Set {
            name: name.into(),
            local,
            text: format!("SET {name}").into(),
        }
    }

    #[test]
    fn savepoints_take_settings_back() {
        let mut journal = Journal::default();
        journal.note(&set("a", false));
        journal.note(&Effect::Savepoint("s".into()));
        journal.note(&set("b", false));
        journal.note(&set("c", true));
        assert_eq!(journal.missing(0), "SET a; SAVEPOINT \"s\"; SET b; SET c");
        journal.note(&Effect::RollbackTo("s".into()));
        assert_eq!(journal.missing(1), "SAVEPOINT \"s\"");
        journal.note(&set("d", false));
        journal.note(&Effect::Release("s".into()));
        let mut settings = Settings::default();
        journal.commit(&mut settings);
        assert_eq!(settings.missing(0), "SET a; SET d");
    }

    #[test]
    fn a_parameter_is_replayed_once_with_its_last_value() {
        let mut settings = Settings::default();
        settings.set("a", "SET a = 1");
        let seen = settings.latest();
        settings.set("b", "SET b = 1");
        settings.set("a", "SET a = 2");
        assert_eq!(settings.missing(0), "SET b = 1; SET a = 2");
        assert_eq!(settings.missing(seen), "SET b = 1; SET a = 2");
        settings.reset(&[("c".into(), "SET c".into())]);
        assert_eq!(settings.missing(seen), "RESET ALL; SET c");
    }

    #[test]
    fn literals_are_quoted() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
    }
}
