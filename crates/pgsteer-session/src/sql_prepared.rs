//! Statements a client prepared in SQL: what they are, and the texts for servers that do not have
//! them yet.

use std::collections::HashMap;
use std::rc::Rc;

use pgsteer_sql::Analysis;

use crate::journal::quote_identifier;

/// Statements that are remembered for a session.
const STATEMENTS_MAX: usize = 10_000;

/// Memory for their texts, in bytes; ours.
const TEXT_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
struct Entry {
    analysis: Rc<Analysis>,
    text: Box<str>,
    number: u64,
}

/// What PREPARE left behind, by name. Numbered, so that it is clear what a server has seen.
#[derive(Debug, Default)]
pub(crate) struct SqlPrepared {
    entries: HashMap<Box<str>, Entry, foldhash::fast::RandomState>,
    text_bytes: usize,
    number: u64,
}

impl SqlPrepared {
    /// Number of the latest one; a server that saw it has all.
    pub(crate) fn latest(&self) -> u64 {
        self.number
    }

    /// The statement behind a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Rc<Analysis>> {
        self.entries.get(name).map(|entry| &entry.analysis)
    }

    /// One was prepared; `false` if there are too many to remember it.
    pub(crate) fn insert(&mut self, name: &str, analysis: &Rc<Analysis>, text: &str) -> bool {
        self.remove(name);
        let fits = self.text_bytes + text.len() <= TEXT_BYTES_MAX;
        if !fits || self.entries.len() >= STATEMENTS_MAX {
            return false;
        }
        self.text_bytes += text.len();
        self.number += 1;
        let entry = Entry {
            analysis: Rc::clone(analysis),
            text: text.into(),
            number: self.number,
        };
        self.entries.insert(name.into(), entry);
        true
    }

    /// One was deallocated.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.text_bytes -= entry.text.len();
        }
    }

    /// All were.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.text_bytes = 0;
    }

    /// Statements for a server that saw everything up to `seen`, in the order they came. It may have
    /// another one of the same name, which was deallocated elsewhere.
    pub(crate) fn missing(&self, seen: u64) -> Vec<String> {
        let missing = self.entries.iter().filter(|(_, e)| e.number > seen);
        let mut missing: Vec<_> = missing.collect();
        missing.sort_by_key(|(_, entry)| entry.number);
        let mut statements = Vec::new();
        for (name, entry) in missing {
            if seen > 0 {
                statements.push(format!("DEALLOCATE {}", quote_identifier(name)));
            }
            statements.push(entry.text.to_string());
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_what_it_lacks_and_no_more() {
        let analysis = Rc::new(Analysis::opaque(1));
        let mut prepared = SqlPrepared::default();
        assert!(prepared.insert("a", &analysis, "PREPARE a"));
        assert!(prepared.insert("b", &analysis, "PREPARE b"));
        let seen = prepared.latest();
        assert!(prepared.insert("c", &analysis, "PREPARE c"));
        prepared.remove("b");
        assert_eq!(prepared.missing(0), ["PREPARE a", "PREPARE c"]);
        assert_eq!(prepared.missing(seen), ["DEALLOCATE \"c\"", "PREPARE c"]);
        let long = "x".repeat(TEXT_BYTES_MAX);
        assert!(!prepared.insert("d", &analysis, &long));
        prepared.clear();
        assert!(prepared.insert("d", &analysis, &long));
    }
}
