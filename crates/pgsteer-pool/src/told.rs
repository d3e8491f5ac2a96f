//! What a server connection was told by those who had it, and has not forgotten. The pool keeps it
//! for the next one, and prefers a connection that needs to be told least.

use std::collections::HashMap;
use std::rc::Rc;

/// Parameters that were set, each with the statement that did it, in the order they were set.
/// Whoever hands them out sees to it that equal ones are the same: they are compared by identity.
pub type Parameters = Vec<(Box<str>, Box<str>)>;

/// A prepared statement of the protocol that a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownStatement {
    /// Number of the Parse it comes from.
    pub id: u64,
    /// Bytes of that Parse.
    pub len: usize,
    /// When it was last used, in uses of this connection.
    pub used: u64,
}

/// Statements prepared in SQL, of one user of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlStatements {
    /// Whose they are.
    pub owner: u64,
    /// How often one of them was taken back.
    pub epoch: u64,
    /// Number of the latest that was prepared.
    pub latest: u64,
}

/// Who has written on a connection, and may have used sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// Nobody.
    #[default]
    Nobody,
    /// This one.
    One(u64),
    /// Several.
    Several,
}

impl Writer {
    /// This one, too.
    pub fn add(&mut self, who: u64) {
        *self = match *self {
            Self::Nobody => Self::One(who),
            Self::One(known) if known == who => Self::One(who),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// What a connection knows.
#[derive(Debug)]
pub struct Told {
    /// Parameters that differ from those of a fresh connection; none: nobody knows.
    pub parameters: Option<Rc<Parameters>>,
    /// Somebody ran code there that may have left anything behind.
    pub stained_by: Option<u64>,
    /// Who has used sequences there, as far as `lastval` and `currval` remember.
    pub wrote: Writer,
    /// Statements it has that were prepared in SQL.
    pub sql: Option<SqlStatements>,
    /// Statements it has that were prepared by the protocol, by name.
    pub statements: Statements,
    /// Statements it has that nobody wants any more, by name.
    pub stale: Vec<Box<[u8]>>,
}

impl Default for Told {
    /// What a fresh connection knows: nothing.
    fn default() -> Self {
        Self {
            parameters: Some(Rc::default()),
            stained_by: None,
            wrote: Writer::Nobody,
            sql: None,
            statements: Statements::default(),
            stale: Vec::new(),
        }
    }
}

impl Told {
    /// Whether its parameters are these.
    #[must_use]
    pub fn has(&self, parameters: &Rc<Parameters>) -> bool {
        let same = |known: &Rc<Parameters>| {
            Rc::ptr_eq(known, parameters) || (known.is_empty() && parameters.is_empty())
        };
        self.parameters.as_ref().is_some_and(same)
    }
}

/// The prepared statements a server has, by name, bounded by the bytes of their texts.
#[derive(Debug, Default)]
pub struct Statements {
    by_name: HashMap<Box<[u8]>, KnownStatement, foldhash::fast::RandomState>,
    bytes: usize,
    uses: u64,
}

impl Statements {
    /// Whether it has the statement with this number under this name, which is about to be used.
    pub fn is_used(&mut self, name: &[u8], id: u64) -> bool {
        self.uses += 1;
        match self.by_name.get_mut(name) {
            Some(known) if known.id == id => {
                known.used = self.uses;
                true
            }
            _ => false,
        }
    }

    /// It has this one from now on.
    pub fn insert(&mut self, name: &[u8], id: u64, len: usize) {
        self.uses += 1;
        self.bytes += len;
        let known = KnownStatement {
            id,
            len,
            used: self.uses,
        };
        let before = match self.by_name.get_mut(name) {
            Some(before) => Some(std::mem::replace(before, known)),
            None => self.by_name.insert(name.into(), known),
        };
        self.bytes -= before.map_or(0, |before| before.len);
    }

    /// It does not have it any more; whether it had.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.by_name.remove(name);
        self.bytes -= removed.map_or(0, |known| known.len);
        removed.is_some()
    }

    /// Number of the one of this name.
    #[must_use]
    pub fn id(&self, name: &[u8]) -> Option<u64> {
        self.by_name.get(name).map(|known| known.id)
    }

    /// It has none any more.
    pub fn clear(&mut self) {
        (self.by_name, self.bytes) = (HashMap::default(), 0);
    }

    /// Bytes of the texts of all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Takes the one out that was not used for longest, if all together are larger than `bytes_max`.
    /// The unnamed one, and the one that was used last, stay.
    pub fn evict(&mut self, bytes_max: usize) -> Option<Box<[u8]>> {
        if self.bytes <= bytes_max {
            return None;
        }
        let newest = self.uses;
        let others = self.by_name.iter();
        let others = others.filter(|(name, known)| !name.is_empty() && known.used < newest);
        let name = others.min_by_key(|(_, known)| known.used)?.0.clone();
        self.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut statements = Statements::default();
        for (name, id) in [(&b""[..], 1), (b"a", 2), (b"b", 3), (b"c", 4)] {
            statements.insert(name, id, 10);
        }
        assert!(statements.is_used(b"a", 2));
        assert!(!statements.is_used(b"b", 7), "another one");
        assert_eq!(statements.evict(40), None);
        assert_eq!(statements.evict(30).as_deref(), Some(&b"b"[..]));
        assert_eq!(statements.evict(0).as_deref(), Some(&b"c"[..]));
        assert_eq!(statements.bytes(), 20);
        assert!(statements.remove(b"a") && !statements.remove(b"a"));
        assert_eq!(statements.evict(0), None, "the unnamed one stays");
    }

    #[test]
    fn whoever_writes_is_noted() {
        let mut writer = Writer::default();
        writer.add(1);
        writer.add(1);
        assert_eq!(writer, Writer::One(1));
        writer.add(2);
        writer.add(1);
        assert_eq!(writer, Writer::Several);
    }

    #[test]
    fn a_fresh_connection_has_no_parameters() {
        let told = Told::default();
        assert!(told.has(&Rc::default()));
        assert!(!told.has(&Rc::new(vec![("a".into(), "SET a".into())])));
    }
}
