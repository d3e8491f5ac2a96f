//! Whether a statement runs as it is: the chain of rewriters, what they may not do, and the memory in
//! front of them.

use std::collections::HashMap;
use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{Grants, Hooks, Reuse, Rewriting, Rewritten, StatementFacts, traits};
use pgsteer_sql::{Analysis, Class, Effect, FunctionRef, PinReason, Volatility, known_volatility};

use super::cache::Stores;
use super::{Policies, SessionPolicies, failure, invalid, must_answer};

/// A text in the place of the client's.
#[derive(Debug, PartialEq)]
pub(crate) struct Replaced {
    pub(crate) text: Box<str>,
    pub(crate) analysis: Rc<Analysis>,
    /// For each of its parameters the client's, from 1; `None`: the same as before.
    pub(crate) map: Option<Rc<[u16]>>,
}

/// What is known of a text: it stays, or this takes its place.
type Known = Option<Rc<Replaced>>;

/// Remembered rewritings of exact texts, per worker.
#[derive(Default)]
pub(super) struct Rewritings(HashMap<RewriteKey, (Known, Stores), foldhash::fast::RandomState>);

/// Texts, and bytes of a text, that are remembered.
const REMEMBERED_MAX: usize = 2048;
const REMEMBERED_BYTES_MAX: usize = 4096;

/// All that a rewriting depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RewriteKey {
    text: [u64; 2],
    traits: u64,
    session: u64,
    balance_node: Option<NodeId>,
}

impl Rewritings {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The way of one text through the chain.
#[derive(Debug)]
pub(crate) struct Passage {
    /// What comes of it must not be remembered.
    is_volatile: bool,
    /// Plugins whose stores were looked at.
    stores: u64,
    /// All stores, before anybody was asked.
    before: Stores,
}

impl Policies {
    /// Under what a rewriting is remembered.
    pub(crate) fn rewrite_key(
        &self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
    ) -> RewriteKey {
        RewriteKey {
            text: [self.text_hash(facts.sql), facts.fingerprint],
            traits: facts.traits,
            session: session.rewriter_class(),
            balance_node: facts.balance_node,
        }
    }

    /// A text begins its way.
    pub(crate) fn begin_passage(&self) -> Passage {
        Passage {
            is_volatile: false,
            stores: 0,
            before: self.stores(u64::MAX),
        }
    }

    /// What came of the same text before.
    pub(crate) fn rewritten_before(&mut self, key: RewriteKey) -> Option<Known> {
        let (known, stores) = self.rewritings.0.get(&key)?;
        let (known, stores) = (known.clone(), *stores);
        let is_old = stores.plugins != 0 && stores != self.stores(stores.plugins);
        if is_old || self.distrusts_any(Hooks::REWRITER) {
            self.rewritings.0.remove(&key);
            return None;
        }
        Some(known)
    }

    /// Remembers what came of a text.
    pub(crate) fn remember_rewriting(&mut self, key: RewriteKey, known: &Known, way: &Passage) {
        let len = known.as_ref().map_or(0, |replaced| replaced.text.len());
        // Whatever changed while they were asked is not in the answer for certain.
        let changed = way.stores != 0 && way.before != self.stores(u64::MAX);
        if way.is_volatile || changed || len > REMEMBERED_BYTES_MAX {
            return;
        }
        if self.rewritings.0.len() >= REMEMBERED_MAX {
            self.rewritings.0.clear();
        }
        let stores = self.stores(way.stores);
        self.rewritings.0.insert(key, (known.clone(), stores));
    }

    /// The plugins that rewrite, by position in the chain.
    pub(crate) fn rewriters(&self) -> Vec<usize> {
        let seats = self.seats.iter().enumerate();
        let rewriters = seats.filter(|(_, seat)| seat.plugin.hooks.has(Hooks::REWRITER));
        rewriters.map(|(index, _)| index).collect()
    }

    /// What one rewriter says to a statement. What failed, or is refused, is an answer as well, by
    /// what the plugin's configuration says.
    pub(crate) fn rewrite_by(
        &mut self,
        index: usize,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
        way: &mut Passage,
    ) -> Rewritten {
        let (Some(seat), Some(own)) = (self.seats.get_mut(index), session.plugins.get(index))
        else {
            return Rewritten::Keep;
        };
        let facts = StatementFacts {
            session_class: own.rewriter_class,
            transaction_marks: own.marks.transaction,
            session_marks: own.marks.session,
            ..*facts
        };
        if !own.rewriter_opened {
            way.is_volatile = true;
            return self.without_answer(index);
        }
        let asked = seat.ask(self.worker, &self.topology, |p| p.rewrite(&facts));
        let Some(Ok(Rewriting {
            rewritten,
            reuse,
            taint,
        })) = asked
        else {
            way.is_volatile = true;
            return self.without_answer(index);
        };
        way.is_volatile |= reuse == Reuse::Never
            || !seat.plugin.deterministic
            || seat.plugin.forgets()
            || taint.volatile
            || (taint.kv && index >= 64);
        way.stores |= u64::from(taint.kv) << (index & 63);
        if let Rewritten::Reject(_) = rewritten {
            seat.plugin.counters(self.worker).refusals.add(1);
        }
        rewritten
    }

    /// The text it offered was taken.
    pub(crate) fn count_rewrite(&self, index: usize) {
        if let Some(seat) = self.seats.get(index) {
            seat.plugin.counters(self.worker).rewrites.add(1);
        }
    }

    /// It offered a text that it must not: that is a failure like any other.
    pub(crate) fn bad_rewrite(
        &mut self,
        index: usize,
        why: String,
        way: &mut Passage,
    ) -> Rewritten {
        way.is_volatile = true;
        if let Some(seat) = self.seats.get_mut(index) {
            seat.plugin.counters(self.worker).bad_rewrites.add(1);
            seat.failed(self.worker, &invalid(why));
        }
        self.without_answer(index)
    }

    fn without_answer(&self, index: usize) -> Rewritten {
        match self.seats.get(index) {
            Some(seat) if must_answer(&seat.plugin) => Rewritten::Reject(failure(&seat.plugin)),
            _ => Rewritten::Keep,
        }
    }

    /// What the plugin may do.
    pub(crate) fn grants(&self, index: usize) -> Grants {
        let seat = self.seats.get(index);
        seat.map_or_else(Grants::default, |seat| seat.plugin.grants)
    }
}

/// A text offered in the place of another.
pub(crate) struct Offer<'a> {
    pub(crate) old: &'a Analysis,
    pub(crate) new: &'a Analysis,
    pub(crate) map: Option<&'a [u16]>,
    pub(crate) grants: Grants,
}

impl Offer<'_> {
    /// Why it must not be taken, if so.
    pub(crate) fn violation(&self) -> Option<String> {
        let (old, new) = (self.old, self.new);
        if new.statement_count != old.statement_count {
            let (had, has) = (old.statement_count, new.statement_count);
            return Some(format!(
                "the new text holds {has} statements, the old one {had}"
            ));
        }
        if new.class == Class::Unknown && old.class != Class::Unknown {
            return Some("the new text is not understood".to_owned());
        }
        let concerns_proxy = new.console.is_some() || new.is_transaction_control();
        if concerns_proxy || matches!(new.class, Class::Deallocate) {
            return Some("the new text is about the session or the proxy itself".to_owned());
        }
        if !self.grants.has(Grants::REWRITE_ANY) && is_stronger(new, old) {
            let (from, to) = (old.class, new.class);
            return Some(format!(
                "it makes {from:?} into something stronger, {to:?}, without the grant rewrite-any"
            ));
        }
        self.wrong_parameters()
    }

    fn wrong_parameters(&self) -> Option<String> {
        let new_count = self.new.parameter_count;
        let Some(map) = self.map else {
            let count = self.old.parameter_count;
            return (new_count != count).then(|| {
                format!("the new text has {new_count} parameters, the old one {count}, and no map")
            });
        };
        if map.len() != usize::from(new_count) {
            let len = map.len();
            return Some(format!("a map of {len} for {new_count} parameters"));
        }
        let count = self.old.parameter_count;
        if let Some(number) = map.iter().find(|n| **n == 0 || **n > count) {
            return Some(format!("the map names parameter {number} of {count}"));
        }
        let unused = (1..=count).find(|number| !map.contains(number));
        unused.map(|number| format!("the map leaves out parameter {number} of {count}"))
    }
}

/// How much a statement can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    /// It only reads, and that is certain.
    Reads,
    /// It works on rows.
    Rows,
    /// It reads or works on rows within something else: COPY, a cursor, EXPLAIN, PREPARE.
    Wraps,
    /// Anything.
    Anything,
}

fn strength(analysis: &Analysis) -> Strength {
    const IN_DOUBT: u64 =
        traits::WRITES | traits::LOCKING | traits::VOLATILE_FUNCTION | traits::UNKNOWN_FUNCTION;
    // Only statements of their own are known well enough.
    let several = analysis.statement_count > 1;
    if several || analysis.reaches_outside || analysis.effects.iter().any(leaves_something) {
        return Strength::Anything;
    }
    match analysis.class {
        Class::Select
            if analysis.traits & traits::READS != 0 && analysis.traits & IN_DOUBT == 0 =>
        {
            Strength::Reads
        }
        Class::Select | Class::Insert | Class::Update | Class::Delete | Class::Merge => {
            Strength::Rows
        }
        Class::Copy | Class::Cursor | Class::Explain | Class::Prepare => Strength::Wraps,
        _ => Strength::Anything,
    }
}

/// Whether the session is another one afterwards; what PREPARE and cursors leave behind is what they
/// are for.
fn leaves_something(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Prepare { .. } | Effect::Pin(PinReason::HoldCursor)
    )
}

fn is_stronger(new: &Analysis, old: &Analysis) -> bool {
    let (new_strength, old_strength) = (strength(new), strength(old));
    let became_a_write = new.traits & traits::WRITES != 0 && old.traits & traits::WRITES == 0;
    if became_a_write || calls_more(new, old) {
        return true;
    }
    match new_strength.max(old_strength) {
        Strength::Anything => true,
        // Of those each kind is one of its own.
        Strength::Wraps => new.class != old.class,
        _ => new_strength > old_strength,
    }
}

/// Whether it calls something that may do more than read, and the old one did not.
fn calls_more(new: &Analysis, old: &Analysis) -> bool {
    let harmless =
        |f: &FunctionRef| known_volatility(f.schema.as_deref(), &f.name) == Volatility::Stable;
    let is_new = |f: &&FunctionRef| {
        let same = |o: &FunctionRef| (&o.schema, &o.name) == (&f.schema, &f.name);
        !old.functions.iter().any(same)
    };
    new.functions.iter().filter(is_new).any(|f| !harmless(f))
}

/// The client's parameters behind those of the newest text, through one more step.
pub(crate) fn compose(before: Option<&[u16]>, step: Option<&[u16]>) -> Option<Rc<[u16]>> {
    match (before, step) {
        (None, None) => None,
        (Some(map), None) | (None, Some(map)) => Some(map.into()),
        (Some(before), Some(step)) => {
            let through = |number: &u16| {
                let index = usize::from(*number).saturating_sub(1);
                before.get(index).copied().unwrap_or(*number)
            };
            Some(step.iter().map(through).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::policy::Grants;
    use pgsteer_sql::analyze;

    use super::{Offer, compose};

    fn violation(old: &str, new: &str, map: Option<&[u16]>, grants: Grants) -> Option<String> {
        let (old, new) = (analyze(old.as_bytes()), analyze(new.as_bytes()));
        Offer {
            old: &old,
            new: &new,
            map,
            grants,
        }
        .violation()
    }

    #[test]
    fn a_rewrite_must_not_get_stronger() {
        let none = Grants::default();
        for (old, new) in [
            ("SELECT 1", "INSERT INTO t VALUES (1)"),
            ("SELECT 1", "SELECT 1 FOR UPDATE"),
            ("SELECT 1", "SET ROLE postgres"),
            ("SELECT 1", "SELECT set_config('a.b', '1', false)"),
            ("SELECT 1", "DROP TABLE t"),
            ("INSERT INTO t VALUES (1)", "TRUNCATE t"),
            ("SET a.b = 1", "DO 'BEGIN END'"),
            (
                "SELECT 1",
                "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            ),
            ("SELECT 1", "EXPLAIN ANALYZE DELETE FROM t"),
            ("SELECT 1", "SELECT nextval('s')"),
            ("SELECT 1", "SELECT no_such_function()"),
            ("SET a.b = 1", "SET a.b = 2"),
            ("DROP TABLE t", "DROP TABLE u"),
            ("SELECT 1; SELECT 2", "SELECT 1; COPY t TO PROGRAM 'sh'"),
            ("COPY t TO STDOUT", "COPY t FROM STDIN"),
            ("COPY t FROM STDIN", "COPY t FROM PROGRAM 'sh'"),
            ("COPY t TO STDOUT", "COPY t TO '/tmp/t'"),
            ("SELECT nextval('s')", "SELECT pg_terminate_backend(1)"),
            ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (f())"),
            ("DROP TABLE t", "DELETE FROM t"),
            ("SET a.b = 1", "SELECT 1"),
            ("EXPLAIN SELECT 1", "SELECT 1"),
        ] {
            let found = violation(old, new, None, none);
            assert!(
                found.is_some_and(|v| v.contains("rewrite-any")),
                "{old} -> {new}"
            );
            let granted = violation(old, new, None, Grants::REWRITE_ANY);
            assert_eq!(granted, None, "{old} -> {new}");
        }
        for (old, new) in [
            ("SELECT a FROM t", "SELECT a FROM t WHERE b = 1"),
            ("DELETE FROM t", "SELECT 1 FROM t"),
            ("UPDATE t SET a = 1", "DELETE FROM t"),
            ("SELECT nextval('s')", "SELECT nextval('t')"),
            ("PREPARE p AS SELECT 1", "PREPARE p AS SELECT 2"),
            ("COPY (SELECT 1) TO STDOUT", "COPY (SELECT 2) TO STDOUT"),
        ] {
            assert_eq!(violation(old, new, None, none), None, "{old} -> {new}");
        }
    }

    #[test]
    fn some_rewrites_are_never_taken() {
        let any = Grants::REWRITE_ANY;
        for (old, new, word) in [
            ("SELECT 1", "SELECT 1; SELECT 2", "2 statements"),
            ("SELECT 1", "SELEC 1", "not understood"),
            ("SELECT 1", "COMMIT", "itself"),
            ("SELECT 1", "SHOW pool_nodes", "itself"),
            ("SELECT 1", "PGSTEER RECORD 1", "itself"),
        ] {
            let found = violation(old, new, None, any).expect(new);
            assert!(found.contains(word), "{new}: {found}");
        }
    }

    #[test]
    fn parameters_are_all_used_and_all_there() {
        let (none, old) = (Grants::default(), "SELECT $1, $2");
        for (new, map, word) in [
            ("SELECT $1", None, "no map"),
            ("SELECT $1, $2, $3", Some(&[1, 2][..]), "map of 2 for 3"),
            ("SELECT $1, $2", Some(&[1, 3][..]), "parameter 3 of 2"),
            ("SELECT $1, $2", Some(&[0, 1][..]), "parameter 0 of 2"),
            ("SELECT $1", Some(&[2][..]), "leaves out parameter 1"),
        ] {
            let found = violation(old, new, map, none).expect(new);
            assert!(found.contains(word), "{new}: {found}");
        }
        assert_eq!(violation(old, "SELECT $2, $1", Some(&[2, 1]), none), None);
        assert_eq!(
            violation(old, "SELECT $1, $2, $3", Some(&[1, 2, 2]), none),
            None
        );
    }

    #[test]
    fn maps_are_composed() {
        assert_eq!(compose(None, None), None);
        assert_eq!(compose(Some(&[2, 1]), None).as_deref(), Some(&[2, 1][..]));
        let both = compose(Some(&[2, 1]), Some(&[1, 1, 2]));
        assert_eq!(both.as_deref(), Some(&[2, 2, 1][..]));
    }
}
