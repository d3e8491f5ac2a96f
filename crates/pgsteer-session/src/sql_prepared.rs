//! Statements a client prepared in SQL: what they are, and the texts for servers that do not have
//! them yet.

use std::collections::HashMap;
use std::rc::Rc;

use pgsteer_pool::SqlStatements;
use pgsteer_sql::Analysis;

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
    // Grows when one is taken back.
    epoch: u64,
}

impl SqlPrepared {
    /// What a server has that has all of them and no other, if there are any.
    pub(crate) fn seen(&self, owner: u64) -> Option<SqlStatements> {
        (!self.entries.is_empty()).then(|| self.mark(owner))
    }

    /// The same for a server that has something else of the session's besides.
    pub(crate) fn mark(&self, owner: u64) -> SqlStatements {
        SqlStatements {
            owner,
            epoch: self.epoch,
            latest: self.number,
        }
    }

    /// Whether a server that has these has none that the session does not.
    pub(crate) fn is_of(&self, known: SqlStatements, session: u64) -> bool {
        known.owner == session && known.epoch == self.epoch
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
            self.epoch += 1;
        }
    }

    /// All were.
    pub(crate) fn clear(&mut self) {
        self.epoch += u64::from(!self.entries.is_empty());
        self.entries.clear();
        self.text_bytes = 0;
    }

    /// Statements for a server that has those up to the number `seen`, in the order they came.
    pub(crate) fn missing(&self, seen: u64) -> Vec<String> {
        let missing = self.entries.values().filter(|e| e.number > seen);
        let mut missing: Vec<_> = missing.collect();
        missing.sort_by_key(|entry| entry.number);
        missing.iter().map(|e| e.text.to_string()).collect()
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
        let seen = prepared.seen(7).expect("there are some");
        assert!(prepared.insert("c", &analysis, "PREPARE c"));
        assert_eq!(prepared.missing(0), ["PREPARE a", "PREPARE b", "PREPARE c"]);
        assert_eq!(prepared.missing(seen.latest), ["PREPARE c"]);
        assert!(prepared.is_of(seen, 7) && !prepared.is_of(seen, 8));
        prepared.remove("b");
        assert!(!prepared.is_of(seen, 7), "it has one too many");
        assert_eq!(prepared.missing(0), ["PREPARE a", "PREPARE c"]);
        let long = "x".repeat(TEXT_BYTES_MAX);
        assert!(!prepared.insert("d", &analysis, &long));
        prepared.clear();
        assert_eq!(prepared.seen(7), None);
        assert!(prepared.insert("d", &analysis, &long));
    }
}
