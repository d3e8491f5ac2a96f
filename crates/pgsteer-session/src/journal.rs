//! What a session told its servers and every further server must be told before it is used.
//!
//! Parameters set for the session live in [`Settings`]; what was set or marked inside the running
//! transaction lives in its [`Journal`] and moves to the settings on COMMIT, or is forgotten.

use std::cell::RefCell;
use std::rc::Rc;

use pgsteer_pool::Parameters;
use pgsteer_sql::Effect;

use crate::catch_up::{self, ParameterSets};
use crate::listen_wishes::Wishes;

/// One parameter of the session.
#[derive(Clone, Debug)]
struct Entry {
    name: Box<str>,
    text: Box<str>,
    number: u64,
}

/// Parameters of the session, in the order they were last set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    entries: Vec<Entry>,
    number: u64,
    // What is left of them, as of this number.
    left: RefCell<Option<(u64, Rc<Parameters>)>>,
}

/// Name of a note about the transaction itself.
const MODE: &str = "transaction";

/// Parameters that say who the user is.
pub(crate) const USER_PARAMETERS: [&str; 2] = ["role", "session_authorization"];

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

    /// What was set since then was undone where it was done; servers that were told of it in
    /// between must be told otherwise.
    pub(crate) fn restore(&mut self, before: &Self) {
        let undone: Vec<Box<str>> = self
            .entries
            .iter()
            .filter(|entry| entry.number > before.number)
            .map(|entry| entry.name.clone())
            .collect();
        for name in undone {
            let old = before.entries.iter().find(|entry| entry.name == name);
            match old {
                Some(old) => self.set(&name, &old.text),
                None => self.set(&name, &format!("RESET {}", quote_identifier(&name))),
            }
        }
    }

    /// RESET ALL: all parameters but those about who the user is, which it leaves alone
    /// (`GUC_NO_RESET_ALL`).
    pub(crate) fn reset_all(&mut self) {
        self.entries.retain(|e| is_about_user(&e.name));
        self.set(ALL, "RESET ALL");
    }

    /// DISCARD ALL: every parameter, also those about who the user is. `startup` are the statements
    /// that make it look as at login.
    pub(crate) fn reset(&mut self, startup: &[(Box<str>, Box<str>)]) {
        self.entries.clear();
        self.set(ALL, "RESET ALL");
        for (name, text) in startup {
            self.set(name, text);
        }
    }

    /// The statement that set a parameter last, if it is set.
    pub(crate) fn last_set(&self, name: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| &*entry.name == name);
        entry.map(|entry| &*entry.text)
    }

    /// What a server must have set that is up to date.
    pub(crate) fn parameters(&self, sets: &ParameterSets) -> Rc<Parameters> {
        let mut left = self.left.borrow_mut();
        if let Some((number, known)) = &*left
            && *number == self.number
        {
            return Rc::clone(known);
        }
        // Behind RESET ALL there is nothing but what was set since.
        let set = self.entries.iter().filter(|e| &*e.name != ALL);
        let now = sets.shared(catch_up::left(set.map(|e| (&*e.name, &*e.text))));
        *left = Some((self.number, Rc::clone(&now)));
        now
    }
}

/// Whether a statement takes a parameter back to its default.
pub(crate) fn is_reset(text: &str) -> bool {
    text.get(..6)
        .is_some_and(|verb| verb.eq_ignore_ascii_case("reset "))
}

/// Whether a parameter says who the user is.
fn is_about_user(name: &str) -> bool {
    USER_PARAMETERS.contains(&name)
}

/// Puts a statement behind others in one string.
pub(crate) fn push_statement(all: &mut String, text: &str) {
    // On a line of its own: a text may end in a comment.
    if !all.is_empty() {
        all.push_str("\n;");
    }
    all.push_str(text);
}

#[derive(Debug)]
enum What {
    Savepoint(Box<str>),
    Set {
        name: Box<str>,
        local: bool,
        text: Box<str>,
    },
}

#[derive(Debug)]
struct Note {
    number: u64,
    what: What,
}

/// What happened in a transaction that its further servers must be told. Notes are numbered, so
/// that what a server saw stays clear when others are taken back.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    notes: Vec<Note>,
    number: u64,
    wishes: Wishes,
}

impl Journal {
    /// Number of the latest note ever made; a server that saw it is up to date.
    pub(crate) fn latest(&self) -> u64 {
        self.number
    }

    /// Whether it sets something for longer than the transaction.
    pub(crate) fn sets_for_session(&self) -> bool {
        let lasts = |n: &Note| matches!(n.what, What::Set { local: false, .. });
        self.notes.iter().any(lasts)
    }

    /// Notes that still hold.
    pub(crate) fn len(&self) -> usize {
        self.notes.len()
    }

    /// The statement that set a parameter last in this transaction: none if RESET ALL took it
    /// back; nothing at all if the transaction has not touched it.
    pub(crate) fn last_set(&self, name: &str) -> Option<Option<&str>> {
        self.notes.iter().rev().find_map(|note| match &note.what {
            What::Set { name: n, text, .. } if **n == *name => Some(Some(&**text)),
            What::Set { name: n, .. } if **n == *ALL && !is_about_user(name) => Some(None),
            _ => None,
        })
    }

    /// Whether a server that saw everything up to `seen` has nothing to be told.
    pub(crate) fn is_known(&self, seen: u64) -> bool {
        self.notes.last().is_none_or(|note| note.number <= seen)
    }

    /// Whether it wants to hear a channel.
    pub(crate) fn listens(&self) -> bool {
        self.wishes.listens()
    }

    /// Notes the effect of a statement that succeeded.
    pub(crate) fn note(&mut self, effect: &Effect) {
        self.wishes.note(effect);
        match effect {
            Effect::Savepoint(name) => self.push(What::Savepoint(name.clone())),
            Effect::Release(name) => {
                if let Some(at) = self.find(name) {
                    let is_set = |n: &Note| matches!(n.what, What::Set { .. });
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
                self.push(What::Set { name, local, text });
            }
            Effect::SetTransaction { text, .. } => {
                let (name, text) = (Box::from(MODE), text.clone());
                self.push(What::Set {
                    name,
                    local: true,
                    text,
                });
            }
            Effect::ResetAll => {
                let (name, text) = (Box::from(ALL), Box::from("RESET ALL"));
                self.push(What::Set {
                    name,
                    local: false,
                    text,
                });
            }
            _ => {}
        }
    }

    fn push(&mut self, what: What) {
        self.number += 1;
        self.notes.push(Note {
            number: self.number,
            what,
        });
    }

    /// Number of the savepoint of this name, if there is one.
    pub(crate) fn savepoint(&self, name: &str) -> Option<u64> {
        self.find(name)
            .and_then(|at| self.notes.get(at))
            .map(|note| note.number)
    }

    /// Whether there is any.
    pub(crate) fn has_savepoints(&self) -> bool {
        let mut notes = self.notes.iter();
        notes.any(|note| matches!(note.what, What::Savepoint(_)))
    }

    fn find(&self, savepoint: &str) -> Option<usize> {
        let named = |n: &Note| matches!(&n.what, What::Savepoint(name) if &**name == savepoint);
        self.notes.iter().rposition(named)
    }

    /// Statements a server that saw everything up to `seen` must run, as one string; empty if
    /// none. `modes`: those about the transaction itself too.
    pub(crate) fn missing(&self, seen: u64, modes: bool) -> String {
        let is_mode = |n: &Note| matches!(&n.what, What::Set { name, .. } if &**name == MODE);
        let new = self
            .notes
            .iter()
            .filter(|n| n.number > seen && (modes || !is_mode(n)));
        new.fold(String::new(), |mut all, note| {
            push_statement(&mut all, &note.what.text());
            all
        })
    }

    /// The transaction was committed: what it set for the session stays. Gives what it wants to hear.
    pub(crate) fn commit(self, settings: &mut Settings) -> Wishes {
        for note in self.notes {
            match note.what {
                What::Set { name, .. } if &*name == ALL => settings.reset_all(),
                What::Set {
                    name,
                    local: false,
                    text,
                } => settings.set(&name, &text),
                What::Set { .. } | What::Savepoint(_) => {}
            }
        }
        self.wishes
    }
}

impl What {
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
        assert_eq!(
            journal.missing(0, true),
            "SET a\n;SAVEPOINT \"s\"\n;SET b\n;SET c"
        );
        let seen_all = journal.latest();
        journal.note(&Effect::RollbackTo("s".into()));
        assert_eq!(journal.missing(1, true), "SAVEPOINT \"s\"");
        assert!(journal.is_known(seen_all) && !journal.is_known(1));
        journal.note(&set("d", false));
        // A server that saw four notes of which two were taken back must still be told of this.
        assert_eq!(journal.missing(seen_all, true), "SET d");
        journal.note(&Effect::Release("s".into()));
        let mut settings = Settings::default();
        let _ = journal.commit(&mut settings);
        assert_eq!(texts(&settings), ["SET a", "SET d"]);
    }

    /// What is left to be set, in order.
    fn texts(settings: &Settings) -> Vec<String> {
        let parameters = settings.parameters(&ParameterSets::default());
        parameters
            .iter()
            .map(|(_, text)| text.to_string())
            .collect()
    }

    #[test]
    fn a_parameter_is_replayed_once_with_its_last_value() {
        let mut settings = Settings::default();
        settings.set("a", "SET a = 1");
        settings.set("b", "SET b = 1");
        settings.set("a", "SET a = 2");
        assert_eq!(texts(&settings), ["SET b = 1", "SET a = 2"]);
        let before = settings.clone();
        settings.set("b", "RESET \"b\"");
        settings.set("d", "SET d = 1");
        assert_eq!(texts(&settings), ["SET a = 2", "SET d = 1"]);
        settings.restore(&before);
        assert_eq!(texts(&settings), ["SET a = 2", "SET b = 1"]);
        settings.reset(&[("c".into(), "SET c".into())]);
        assert_eq!(texts(&settings), ["SET c"]);
    }

    #[test]
    fn reset_all_leaves_the_role() {
        let mut settings = Settings::default();
        settings.set("role", "SET ROLE r");
        settings.set("a", "SET a = 1");
        settings.reset_all();
        assert_eq!(texts(&settings), ["SET ROLE r"]);
        assert_eq!(settings.last_set("role"), Some("SET ROLE r"));
        let mut journal = Journal::default();
        journal.note(&set("role", false));
        journal.note(&set("a", false));
        journal.note(&Effect::ResetAll);
        assert_eq!(journal.last_set("role"), Some(Some("SET role")));
        assert_eq!(journal.last_set("a"), Some(None));
        settings.reset(&[]);
        assert!(texts(&settings).is_empty());
    }

    #[test]
    fn literals_are_quoted() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
    }
}
