//! Remembered answers of the plugins: per worker, of fixed size, without locks.

use pgsteer_core::policy::{Route, StatementFacts};

use super::Verdict;

/// Answers remembered per worker; a power of two.
const SLOT_COUNT: usize = 4096;

/// All that an answer depends on, folded into 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    statement: u64,
    moment: u64,
}

impl Key {
    /// The key of a statement in a session whose plugins know it under this number.
    pub(crate) fn new(facts: &StatementFacts<'_>, session: u64) -> Self {
        let balance = facts.balance_node.map_or(0, |node| u64::from(node.0) + 1);
        let moment = session.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ facts.traits.rotate_left(8)
            ^ balance.rotate_left(48)
            ^ u64::from(facts.class) << 40;
        Self {
            statement: facts.fingerprint,
            moment,
        }
    }

    fn slot(self) -> usize {
        let mixed = (self.statement ^ self.moment).wrapping_mul(0xff51_afd7_ed55_8ccd);
        usize::try_from(mixed >> 40).unwrap_or(0) % SLOT_COUNT
    }
}

/// What an answer is good for besides its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stores {
    /// Plugins of the chain whose key-value stores were looked at, by position.
    pub(crate) plugins: u64,
    /// The versions of those, added up: they only grow.
    pub(crate) versions: u64,
}

#[derive(Clone, Debug)]
struct Slot {
    key: Key,
    verdict: Verdict,
    stores: Stores,
    hits: u32,
}

/// A remembered answer.
pub(crate) struct Hit {
    pub(crate) verdict: Verdict,
    pub(crate) stores: Stores,
    /// It is time to ask again and compare.
    pub(crate) is_due: bool,
}

/// Of the uses of remembered answers, one in so many is checked: first the answer's own 64th, then
/// each time its uses have doubled, and besides every so-manieth of the worker.
const CHECKED_FIRST: u32 = 64;
const CHECKED_EVERY: u32 = 1024;

/// A table in which a newer answer takes the place of an older one with the same slot.
#[derive(Debug)]
pub(crate) struct DecisionCache {
    slots: Box<[Option<Slot>]>,
    uses: u32,
}

impl DecisionCache {
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![None; SLOT_COUNT].into(),
            uses: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.slots.fill(None);
    }

    /// A remembered answer. To copy it allocates nothing: no refusal is among them.
    pub(crate) fn get(&mut self, key: Key) -> Option<Hit> {
        let slot = self.slots.get_mut(key.slot())?.as_mut();
        let slot = slot.filter(|slot| slot.key == key)?;
        self.uses = self.uses.wrapping_add(1);
        slot.hits = slot.hits.saturating_add(1);
        let own = slot.hits >= CHECKED_FIRST && slot.hits.is_power_of_two();
        Some(Hit {
            verdict: slot.verdict.clone(),
            stores: slot.stores,
            is_due: own || self.uses.is_multiple_of(CHECKED_EVERY),
        })
    }

    /// Remembers an answer. Refusals are not worth it: they carry texts.
    pub(crate) fn insert(&mut self, key: Key, verdict: &Verdict, stores: Stores) {
        if matches!(verdict.route, Route::Abstain | Route::Reject(_)) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(key.slot()) {
            *slot = Some(Slot {
                key,
                verdict: verdict.clone(),
                stores,
                hits: 0,
            });
        }
    }

    /// Forgets an answer.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key.slot()) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;

    use super::*;

    const FACTS: StatementFacts<'_> = StatementFacts {
        fingerprint: 7,
        class: 1,
        traits: 1,
        session_class: 0,
        balance_node: None,
        transaction_marks: 0,
        session_marks: 0,
        sql: "",
        relations: &[],
        functions: &[],
        values: &[],
    };

    #[test]
    fn an_answer_is_found_under_its_own_key_only() {
        let mut cache = DecisionCache::new();
        let verdict = Verdict::new(Route::Node(NodeId(2)), 0);
        cache.insert(Key::new(&FACTS, 0), &verdict, Stores::default());
        let mut get = |facts: &StatementFacts<'_>, session| {
            let hit = cache.get(Key::new(facts, session));
            hit.map(|hit| hit.verdict.route)
        };
        assert_eq!(get(&FACTS, 0), Some(Route::Node(NodeId(2))));
        assert_eq!(get(&FACTS, 1), None);
        let in_transaction = StatementFacts {
            traits: 1 | 1 << 6,
            ..FACTS
        };
        assert_eq!(get(&in_transaction, 0), None);
        let with_node = StatementFacts {
            balance_node: Some(NodeId(1)),
            ..FACTS
        };
        assert_eq!(get(&with_node, 0), None);
    }

    #[test]
    fn an_answer_is_due_for_a_check_within_its_first_hundred_uses() {
        let mut cache = DecisionCache::new();
        let key = Key::new(&FACTS, 0);
        cache.insert(key, &Verdict::new(Route::Primary, 0), Stores::default());
        let due = (1..=2048).filter(|_| cache.get(key).is_some_and(|hit| hit.is_due));
        assert_eq!(due.collect::<Vec<_>>(), [64, 128, 256, 512, 1024, 2048]);
        cache.remove(key);
        assert!(cache.get(key).is_none());
    }
}
