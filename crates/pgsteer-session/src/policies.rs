//! The policies of one worker: asks the plugins in order, remembers answers, survives failures.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::policy::{
    Candidate, Limits, Marks, Opening, Plugin, PolicyError, Rejection, Reuse, Route, Router,
    SessionFacts, StatementFacts, needs,
};
use pgsteer_core::settings::OnFailure;
use pgsteer_core::{Generation, Snapshot, Topology};
use tokio::time::Instant;
use tracing::warn;

use crate::decision_cache::{DecisionCache, Key};

/// What one plugin knows of one session.
#[derive(Clone, Debug, Default)]
struct PluginSession {
    opening: Opening,
    marks: Marks,
}

/// What the plugins know of one session. Opened again when plugins or topology changed.
#[derive(Debug, Default)]
pub(crate) struct SessionPolicies {
    generation: Option<(Generation, u64)>,
    plugins: Vec<PluginSession>,
    // What the plugins were told about the session has changed.
    changed: bool,
}

impl SessionPolicies {
    /// The session is to be opened again before the next question; its marks stay.
    pub(crate) fn reopen(&mut self) {
        self.changed = true;
    }

    /// Nodes for balanced reads, as the plugin that said so named them.
    pub(crate) fn candidates(&self, plugin: usize) -> &[Candidate] {
        self.plugins
            .get(plugin)
            .map_or(&[], |p| &p.opening.candidates)
    }

    /// The first plugin that names nodes for balanced reads.
    pub(crate) fn first_candidates(&self) -> &[Candidate] {
        let named = |p: &&PluginSession| !p.opening.candidates.is_empty();
        self.plugins
            .iter()
            .find(named)
            .map_or(&[], |p| &p.opening.candidates)
    }

    /// A statement succeeded: its marks hold from now on.
    pub(crate) fn mark(&mut self, verdict: &Verdict, in_transaction: bool) {
        if let Some(plugin) = self.plugins.get_mut(verdict.plugin) {
            plugin.marks.session |= verdict.marks.session;
            if in_transaction {
                plugin.marks.transaction |= verdict.marks.transaction;
                plugin.marks.transaction &= !verdict.marks.clear_transaction;
            }
        }
    }

    /// The transaction ended.
    pub(crate) fn clear_transaction_marks(&mut self) {
        for plugin in &mut self.plugins {
            plugin.marks.transaction = 0;
        }
    }

    /// One number for all that the answers may depend on.
    fn class(&self) -> u64 {
        self.plugins.iter().fold(0, |all, p| {
            let marks = u64::from(p.marks.transaction) << 32 | u64::from(p.marks.session);
            (all.rotate_left(17) ^ marks).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ u64::from(p.opening.class)
        })
    }
}

/// What the plugins said about a statement.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Where it runs.
    pub(crate) route: Route,
    /// Which plugin said so.
    pub(crate) plugin: usize,
    /// Marks to set when it has succeeded.
    pub(crate) marks: Marks,
    /// Relations that count as written with it.
    pub(crate) also_writes: Option<Rc<[String]>>,
    /// Why, as the plugin numbers it.
    pub(crate) reason: u32,
    /// What a replica must keep.
    pub(crate) limits: Limits,
    /// The plugin vouches for the functions it calls.
    pub(crate) trusts_functions: bool,
}

impl Verdict {
    pub(crate) fn new(route: Route, plugin: usize) -> Self {
        Self {
            route,
            plugin,
            marks: Marks::default(),
            also_writes: None,
            reason: 0,
            limits: Limits::default(),
            trusts_functions: false,
        }
    }
}

/// Failures in a row after which a plugin is left alone for a while.
const FAILURES_MAX: u32 = 5;
/// First and longest time it is left alone.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(300);

struct Seat {
    plugin: Arc<Plugin>,
    router: Option<Box<dyn Router>>,
    failures: u32,
    rest: Duration,
    rests_until: Option<Instant>,
}

impl Seat {
    fn new(plugin: &Arc<Plugin>) -> Self {
        let plugin = Arc::clone(plugin);
        Self {
            plugin,
            router: None,
            failures: 0,
            rest: REST_MIN,
            rests_until: None,
        }
    }

    /// Asks the plugin; `None` if it is resting.
    fn ask<T>(
        &mut self,
        worker: usize,
        topology: &Topology,
        question: impl FnOnce(&mut dyn Router) -> Result<T, PolicyError>,
    ) -> Option<Result<T, PolicyError>> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        self.plugin.counters(worker).calls.add(1);
        let answer = self.router(worker, topology).and_then(question);
        match &answer {
            Ok(_) => (self.failures, self.rest, self.rests_until) = (0, REST_MIN, None),
            Err(error) => self.failed(worker, error),
        }
        Some(answer)
    }

    fn router(
        &mut self,
        worker: usize,
        topology: &Topology,
    ) -> Result<&mut dyn Router, PolicyError> {
        let router = match self.router.take() {
            Some(router) => router,
            None => {
                let mut fresh = self.plugin.instance(worker)?;
                fresh.topology_changed(topology)?;
                fresh
            }
        };
        Ok(&mut **self.router.insert(router))
    }

    /// Whatever state the instance is in is not trusted any more.
    fn failed(&mut self, worker: usize, error: &PolicyError) {
        self.router = None;
        self.plugin.counters(worker).failures.add(1);
        self.failures += 1;
        let plugin = &self.plugin.file_name;
        if self.failures == 1 {
            warn!(plugin, class = ?error.class, reason = %error.reason, "plugin failed");
        }
        if self.failures >= FAILURES_MAX {
            warn!(plugin, rest = ?self.rest, "plugin fails again and again and is left alone");
            self.rests_until = Some(Instant::now() + self.rest);
            self.rest = (self.rest * 2).min(REST_MAX);
        }
    }
}

/// The plugins of one worker.
pub(crate) struct Policies {
    worker: usize,
    generation: Option<(Generation, u64)>,
    topology: Arc<Topology>,
    seats: Vec<Seat>,
    cache: DecisionCache,
    /// Some plugin looks at texts: answers are remembered for the exact text only.
    reads_sql: bool,
    hasher: foldhash::quality::RandomState,
}

impl Policies {
    pub(crate) fn new(worker: usize, snapshot: &Snapshot) -> Self {
        let mut new = Self {
            worker,
            generation: None,
            topology: Arc::clone(&snapshot.topology),
            seats: Vec::new(),
            cache: DecisionCache::new(),
            reads_sql: false,
            hasher: foldhash::quality::RandomState::default(),
        };
        new.refresh(snapshot);
        new
    }

    /// Takes over the plugins and the topology of a snapshot. Costs a comparison if both are the
    /// ones in use; to be called before every other question.
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot) {
        let generation = (snapshot.policies.generation, snapshot.topology.epoch);
        if self.generation == Some(generation) {
            return;
        }
        let topology_changed = self
            .generation
            .is_some_and(|(_, epoch)| epoch != generation.1);
        self.generation = Some(generation);
        self.topology = Arc::clone(&snapshot.topology);
        self.cache.clear();
        let mut old = std::mem::take(&mut self.seats);
        for plugin in &snapshot.policies.plugins {
            let kept = old
                .iter()
                .position(|seat| Arc::ptr_eq(&seat.plugin, plugin));
            let mut seat = kept.map_or_else(|| Seat::new(plugin), |at| old.swap_remove(at));
            if topology_changed
                && let Some(router) = &mut seat.router
                && let Err(error) = router.topology_changed(&self.topology)
            {
                seat.failed(self.worker, &error);
            }
            self.seats.push(seat);
        }
        self.reads_sql = self
            .seats
            .iter()
            .any(|seat| seat.plugin.needs & needs::SQL != 0);
    }

    /// Opens the session at every plugin, unless it is open under this generation.
    pub(crate) fn open(&mut self, session: &mut SessionPolicies, facts: &SessionFacts<'_>) {
        if session.generation == self.generation && !session.changed {
            return;
        }
        session.changed = false;
        let fresh = session.generation.is_none();
        let kept = self.generation.map(|g| g.0) == session.generation.map(|g| g.0);
        session.generation = self.generation;
        let old = std::mem::take(&mut session.plugins);
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let asked = seat.ask(self.worker, &self.topology, |r| r.open(facts));
            let opening = asked.and_then(Result::ok).unwrap_or_default();
            // Marks mean something only to the plugins that made them.
            let marks = old
                .get(index)
                .filter(|_| kept && !fresh)
                .map_or_else(Marks::default, |o| o.marks);
            session.plugins.push(PluginSession { opening, marks });
        }
    }

    /// Asks where a statement runs.
    pub(crate) fn decide(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
    ) -> Verdict {
        let text = if self.reads_sql {
            self.text_hash(facts.sql)
        } else {
            0
        };
        let key = Key::new(facts, session.class() ^ text);
        if let Some(verdict) = self.cache.get(key) {
            if let Some(seat) = self.seats.get(verdict.plugin) {
                seat.plugin.counters(self.worker).cached.add(1);
            }
            return verdict;
        }
        let (verdict, reusable) = self.ask_all(session, facts);
        if reusable {
            self.cache.insert(key, &verdict);
        }
        verdict
    }

    fn text_hash(&self, sql: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(sql.as_bytes());
        hasher.finish()
    }

    /// The plugin behind a verdict, and its rule in words.
    pub(crate) fn explain(&mut self, verdict: &Verdict) -> Option<(Arc<Plugin>, String)> {
        let seat = self.seats.get_mut(verdict.plugin)?;
        let asked = seat.ask(self.worker, &self.topology, |r| r.explain(verdict.reason));
        let rule = asked.and_then(Result::ok).unwrap_or_default();
        Some((Arc::clone(&seat.plugin), rule))
    }

    fn ask_all(
        &mut self,
        session: &SessionPolicies,
        facts: &StatementFacts<'_>,
    ) -> (Verdict, bool) {
        let mut reusable = true;
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let Some(own) = session.plugins.get(index) else {
                break;
            };
            let facts = StatementFacts {
                session_class: own.opening.class,
                transaction_marks: own.marks.transaction,
                session_marks: own.marks.session,
                ..*facts
            };
            let answer = seat.ask(self.worker, &self.topology, |r| r.decide(&facts));
            let Some(Ok(decision)) = answer else {
                reusable = false;
                if seat.plugin.on_failure == OnFailure::Reject {
                    let route = Route::Reject(failure(&seat.plugin));
                    return (Verdict::new(route, index), false);
                }
                continue;
            };
            reusable &= decision.reuse == Reuse::Statement && seat.plugin.deterministic;
            if decision.route != Route::Abstain {
                let also_writes = decision.also_writes;
                let verdict = Verdict {
                    route: decision.route,
                    plugin: index,
                    marks: decision.marks,
                    also_writes: (!also_writes.is_empty()).then(|| also_writes.into()),
                    reason: decision.reason,
                    limits: decision.limits,
                    trusts_functions: decision.trusts_functions,
                };
                return (verdict, reusable);
            }
        }
        (Verdict::new(Route::Primary, usize::MAX), reusable)
    }
}

fn failure(plugin: &Plugin) -> Rejection {
    Rejection {
        sqlstate: "58000".to_owned(),
        message: format!(
            "plugin \"{}\" failed and this statement must not pass without it",
            plugin.name
        ),
        hint: Some("See the proxy's log, or SHOW pool_plugins.".to_owned()),
    }
}
