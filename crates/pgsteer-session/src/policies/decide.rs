//! Where a statement runs: the chain of routers, and the memory in front of it.

use std::hash::{BuildHasher, Hasher};

use pgsteer_core::policy::{Decision, Hooks, Reuse, Route, StatementFacts, Value};
use pgsteer_core::settings::OnFailure;
use tracing::warn;

use super::cache::{Hit, Key};
use super::{Policies, SessionPolicies, Verdict, failure, must_answer};

/// Answers to fall back to, per worker.
const LAST_GOOD_MAX: usize = 1024;

/// An answer of the whole chain.
struct Answer {
    verdict: Verdict,
    /// It may be remembered.
    reusable: bool,
    /// Some plugin did not answer.
    incomplete: bool,
    /// Plugins whose stores were looked at.
    stores: u64,
}

impl Policies {
    /// Asks where a statement runs.
    pub(crate) fn decide(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
    ) -> Verdict {
        let key = self.key(session, facts);
        if let Some(hit) = self.cache.get(key) {
            let is_good = hit.stores.plugins == 0 || hit.stores == self.stores(hit.stores.plugins);
            if is_good && !self.distrusts_any(Hooks::ROUTER) {
                return self.use_again(session, facts, key, hit);
            }
            self.cache.remove(key);
        }
        let before = self.stores(u64::MAX);
        let answer = self.ask_routers(session, facts, key);
        // Whatever changed while they were asked is not in the answer for certain.
        let stores = self.stores(answer.stores);
        let unchanged = answer.stores == 0 || before == self.stores(u64::MAX);
        if answer.reusable && unchanged {
            self.cache.insert(key, &answer.verdict, stores);
        }
        answer.verdict
    }

    fn key(&self, session: &SessionPolicies, facts: &StatementFacts<'_>) -> Key {
        let mut exact = 0;
        if self.wanted.texts {
            exact ^= self.text_hash(facts.sql);
        }
        if self.wanted.values && !facts.values.is_empty() {
            exact ^= self.values_hash(facts.values);
        }
        Key::new(facts, session.class() ^ exact)
    }

    fn values_hash(&self, values: &[Value<'_>]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for value in values {
            let (kind, bytes) = match value {
                Value::Null => (0, &b""[..]),
                Value::Text(text) => (1, text.as_bytes()),
                Value::Binary(bytes) => (2, *bytes),
            };
            hasher.write_u8(kind);
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
        hasher.finish()
    }

    fn use_again(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
        key: Key,
        hit: Hit,
    ) -> Verdict {
        // Those that had left it to others had their part in it.
        let asked = self.seats.iter().take(hit.verdict.plugin.saturating_add(1));
        for seat in asked.filter(|seat| seat.plugin.hooks.has(Hooks::ROUTER)) {
            seat.plugin.counters(self.worker).cached.add(1);
        }
        if hit.is_due {
            self.recheck(session, facts, key, hit)
        } else {
            hit.verdict
        }
    }

    /// Asks again what is remembered. A plugin that answers in another way although nothing it may
    /// depend on has changed keeps something from the host: it is not remembered any more.
    fn recheck(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
        key: Key,
        hit: Hit,
    ) -> Verdict {
        let (known, stores) = (hit.verdict, hit.stores);
        let answer = self.ask_routers(session, facts, key);
        if answer.incomplete || stores != self.stores(stores.plugins) {
            self.cache.remove(key);
            return answer.verdict;
        }
        let Some(seat) = self.seats.get(known.plugin.min(answer.verdict.plugin)) else {
            return known;
        };
        let counters = seat.plugin.counters(self.worker);
        counters.rechecks.add(1);
        if answer.verdict == known {
            return known;
        }
        counters.divergences.add(1);
        self.cache.remove(key);
        if seat.plugin.stop_remembering() {
            let plugin = &*seat.plugin.file_name;
            let (remembered, now) = (known.route.to_string(), answer.verdict.route.to_string());
            warn!(
                plugin,
                remembered,
                now,
                fingerprint = facts.fingerprint,
                "plugin calls itself deterministic and is not: its answers are not remembered any more"
            );
        }
        answer.verdict
    }

    fn ask_routers(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
        key: Key,
    ) -> Answer {
        let mut answer = Answer {
            verdict: Verdict::new(Route::Primary, usize::MAX),
            reusable: true,
            incomplete: false,
            stores: 0,
        };
        for index in 0..self.seats.len() {
            let Some(decision) = self.ask_router(session, facts, (index, key), &mut answer) else {
                continue;
            };
            if decision.route != Route::Abstain {
                answer.verdict = Verdict::of(decision, index);
                break;
            }
        }
        answer.verdict.chain = self.chain();
        if let Route::Reject(_) = answer.verdict.route
            && let Some(seat) = self.seats.get(answer.verdict.plugin)
        {
            seat.plugin.counters(self.worker).refusals.add(1);
        }
        answer
    }

    /// What one plugin says, if it is a router; `None` if it has nothing to say.
    fn ask_router(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
        (index, key): (usize, Key),
        answer: &mut Answer,
    ) -> Option<Decision> {
        let (seat, own) = (self.seats.get_mut(index)?, session.plugins.get(index)?);
        if !seat.plugin.hooks.has(Hooks::ROUTER) {
            return None;
        }
        let facts = StatementFacts {
            session_class: own.opening.class,
            transaction_marks: own.marks.transaction,
            session_marks: own.marks.session,
            ..*facts
        };
        // What it would say about a session that it does not know is worth nothing.
        let ask = own.router_opened;
        let asked = ask.then(|| seat.ask(self.worker, &self.topology, |p| p.decide(&facts)));
        let asked = asked.flatten();
        let keeps_last = seat.plugin.on_failure == OnFailure::LastGood;
        if let Some(Ok(decision)) = asked {
            answer.reusable &= decision.reuse == Reuse::Statement
                && seat.plugin.deterministic
                && !seat.plugin.forgets()
                && !decision.taint.volatile;
            if decision.taint.kv {
                // A chain that is too long for the bits is not remembered.
                answer.reusable &= index < 64;
                answer.stores |= 1 << (index & 63);
            }
            if keeps_last {
                if self.last_good.len() >= LAST_GOOD_MAX {
                    self.last_good.clear();
                }
                self.last_good.insert((index, key), decision.clone());
            }
            return Some(decision);
        }
        (answer.reusable, answer.incomplete) = (false, true);
        if must_answer(&seat.plugin) {
            return Some(Decision::new(Route::Reject(failure(&seat.plugin))));
        }
        let last = keeps_last.then(|| self.last_good.get(&(index, key)).cloned());
        last.flatten()
    }
}
