//! Remembered analyses, bounded in bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use crate::{Analysis, Class, analyze, normalize};

/// Bytes an entry occupies beside its analysis: key, pointer, table overhead.
const ENTRY_BYTES: usize = 64;

type Key = (u64, u64);
type Map = HashMap<Key, Rc<Analysis>, foldhash::fast::RandomState>;

/// Analyses by normal form, in two generations: when the young one is full it becomes the old one
/// and the old one is forgotten, so what is in use survives and nothing is counted per look-up.
///
/// Keys are 128-bit hashes under seeds of this process, so nobody can make two texts collide.
#[derive(Debug)]
pub struct Cache {
    young: Map,
    old: Map,
    young_bytes: usize,
    old_bytes: usize,
    generation_bytes_max: usize,
    seeds: [foldhash::quality::RandomState; 2],
    scratch: Vec<u8>,
    last_id: u64,
}

impl Cache {
    /// A cache that occupies at most about `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let seed = foldhash::quality::RandomState::default;
        Self {
            young: Map::default(),
            old: Map::default(),
            young_bytes: 0,
            old_bytes: 0,
            generation_bytes_max: bytes_max / 2,
            seeds: [seed(), seed()],
            scratch: Vec::new(),
            last_id: 0,
        }
    }

    /// The analysis of a text, remembered or fresh. What is not understood is not remembered: it
    /// may share its normal form with what is.
    pub fn analyze(&mut self, text: &[u8]) -> Rc<Analysis> {
        let key = self.key(text);
        if let Some(found) = self.young.get(&key) {
            return Rc::clone(found);
        }
        let analysis = if let Some(known) = self.old.remove(&key) {
            self.old_bytes = self.old_bytes.saturating_sub(entry_bytes(&known));
            known
        } else {
            self.last_id += 1;
            Rc::new(Analysis {
                id: self.last_id,
                ..analyze(text)
            })
        };
        if analysis.class != Class::Unknown {
            self.insert(key, Rc::clone(&analysis));
        }
        analysis
    }

    /// How many analyses were not remembered, ever.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.last_id
    }

    /// Bytes that the remembered analyses occupy, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }

    fn key(&mut self, text: &[u8]) -> Key {
        self.scratch.clear();
        let normalized = normalize::normalize(text, &mut self.scratch);
        let form = if normalized {
            self.scratch.as_slice()
        } else {
            text
        };
        let hash = |seed: &foldhash::quality::RandomState| {
            let mut hasher = seed.build_hasher();
            hasher.write(form);
            hasher.finish()
        };
        let [a, b] = &self.seeds;
        let key = (hash(a), hash(b));
        if self.scratch.capacity() > crate::TEXT_LEN_MAX {
            self.scratch = Vec::new();
        }
        key
    }

    fn insert(&mut self, key: Key, analysis: Rc<Analysis>) {
        self.young_bytes += entry_bytes(&analysis);
        self.young.insert(key, analysis);
        if self.young_bytes > self.generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
    }
}

/// What an analysis occupies in the cache.
fn entry_bytes(analysis: &Analysis) -> usize {
    analysis.size_bytes() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_literals_share_an_entry() {
        let mut cache = Cache::new(1 << 20);
        let a = cache.analyze(b"SELECT * FROM t WHERE a = 1");
        let b = cache.analyze(b"SELECT  * FROM t WHERE a = 'x'");
        assert!(Rc::ptr_eq(&a, &b));
    }

    #[test]
    fn one_bad_text_does_not_decide_for_good_ones() {
        let mut cache = Cache::new(1 << 20);
        let long = format!("SELECT * FROM t WHERE a IN ({}1)", "1,".repeat(40_000));
        for (bad, good) in [
            (
                "SELECT * FROM t WHERE a = 12abc",
                "SELECT * FROM t WHERE a = 12",
            ),
            (&*long, "SELECT * FROM t WHERE a IN (1)"),
        ] {
            assert_eq!(cache.analyze(bad.as_bytes()).class, Class::Unknown);
            assert!(cache.analyze(good.as_bytes()).is_proven_read());
        }
        assert_eq!(
            cache.analyze(b"SELECT * FROM t WHERE b = '\xe9'").class,
            Class::Unknown
        );
        assert!(
            cache
                .analyze(b"SELECT * FROM t WHERE b = 'e'")
                .is_proven_read()
        );
    }

    #[test]
    fn stays_within_its_bytes() {
        let mut cache = Cache::new(64 * 1024);
        for i in 0..5000 {
            cache.analyze(format!("SELECT column_{i} FROM t").as_bytes());
        }
        let entries = cache.young.len() + cache.old.len();
        assert!(
            entries * size_of::<Analysis>() <= 2 * 64 * 1024,
            "{entries} entries"
        );
        assert!(entries > 10);
    }
}
