//! Remembered answers of the plugins: per worker, of fixed size, without locks.

use pgsteer_core::policy::{Route, StatementFacts};

use crate::policies::Verdict;

/// Answers remembered per worker; a power of two.
const SLOT_COUNT: usize = 4096;

/// All that an answer depends on, folded into 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Clone, Debug)]
struct Slot {
    key: Key,
    verdict: Verdict,
}

/// A table in which a newer answer takes the place of an older one with the same slot.
#[derive(Debug)]
pub(crate) struct DecisionCache {
    slots: Box<[Option<Slot>]>,
}

impl DecisionCache {
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![None; SLOT_COUNT].into(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.slots.fill(None);
    }

    /// A remembered answer. To copy it allocates nothing: no refusal is among them.
    pub(crate) fn get(&self, key: Key) -> Option<Verdict> {
        let slot = self
            .slots
            .get(key.slot())?
            .as_ref()
            .filter(|slot| slot.key == key)?;
        Some(slot.verdict.clone())
    }

    /// Remembers an answer. Refusals are not worth it: they carry texts.
    pub(crate) fn insert(&mut self, key: Key, verdict: &Verdict) {
        if matches!(verdict.route, Route::Abstain | Route::Reject(_)) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(key.slot()) {
            let verdict = verdict.clone();
            *slot = Some(Slot { key, verdict });
        }
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;

    use super::*;

    #[test]
    fn an_answer_is_found_under_its_own_key_only() {
        let facts = StatementFacts {
            fingerprint: 7,
            class: 1,
            traits: 1,
            session_class: 0,
            balance_node: None,
            transaction_marks: 0,
            session_marks: 0,
            parameter_count: 0,
            sql: "",
            relations: &[],
            functions: &[],
        };
        let mut cache = DecisionCache::new();
        let verdict = Verdict::new(Route::Node(NodeId(2)), 0);
        cache.insert(Key::new(&facts, 0), &verdict);
        let get = |facts: &StatementFacts<'_>, session| {
            cache.get(Key::new(facts, session)).map(|v| v.route)
        };
        assert_eq!(get(&facts, 0), Some(Route::Node(NodeId(2))));
        assert_eq!(get(&facts, 1), None);
        let in_transaction = StatementFacts {
            traits: 1 | 1 << 6,
            ..facts
        };
        assert_eq!(get(&in_transaction, 0), None);
        let with_node = StatementFacts {
            balance_node: Some(NodeId(1)),
            ..facts
        };
        assert_eq!(get(&with_node, 0), None);
    }
}
