//! The policies of one worker: asks the plugins in order, remembers answers, survives failures.
//!
//! `seat` is one plugin and what becomes of it when it fails, `session` what the plugins know of a
//! session; `decide`, `rewrite`, `admit` and `observe` are the questions.

mod admit;
mod cache;
mod decide;
mod observe;
mod rewrite;
mod seat;
mod session;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::policy::{
    Decision, FailureClass, Hooks, Limits, Marks, Plugin, PolicyError, Rejection, Route,
    SessionFacts, needs,
};
use pgsteer_core::settings::OnFailure;
use pgsteer_core::{Generation, Snapshot, Topology};

pub(crate) use observe::Seen;
pub(crate) use rewrite::{Offer, Passage, Replaced, compose};
pub(crate) use session::SessionPolicies;

use cache::{DecisionCache, Key, Stores};
use observe::Events;
use rewrite::Rewritings;
use seat::Seat;
use session::PluginSession;

/// What the plugins said about a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Where it runs.
    pub(crate) route: Route,
    /// Which plugin said so, by its position,
    pub(crate) plugin: usize,
    /// in this chain.
    pub(crate) chain: Generation,
    /// Marks to set when it has succeeded.
    pub(crate) marks: Marks,
    /// Relations that count as written with it.
    pub(crate) also_writes: Option<Rc<[String]>>,
    /// What it writes is noted under these.
    pub(crate) keys: Option<Rc<[u64]>>,
    /// Why, as the plugin numbers it.
    pub(crate) reason: u32,
    /// What a replica must keep.
    pub(crate) limits: Limits,
    /// The plugin vouches for the functions it calls.
    pub(crate) trusts_functions: bool,
}

impl Verdict {
    pub(crate) fn new(route: Route, plugin: usize) -> Self {
        Self::of(Decision::new(route), plugin)
    }

    fn of(decision: Decision, plugin: usize) -> Self {
        let (also_writes, keys) = (decision.also_writes, decision.keys);
        Self {
            route: decision.route,
            plugin,
            chain: Generation::default(),
            marks: decision.marks,
            also_writes: (!also_writes.is_empty()).then(|| also_writes.into()),
            keys: (!keys.is_empty()).then(|| keys.into()),
            reason: decision.reason,
            limits: decision.limits,
            trusts_functions: decision.trusts_functions,
        }
    }
}

/// What the plugins of the chain want, taken together: nothing else is worked out for them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Some router looks at texts: its answers are remembered for the exact text only.
    pub(crate) texts: bool,
    /// Some router looks at the values of parameters.
    pub(crate) values: bool,
    /// Something rewrites.
    pub(crate) rewrites: bool,
    /// Something watches.
    pub(crate) events: bool,
}

/// The plugins of one worker.
pub(crate) struct Policies {
    worker: usize,
    generation: Option<(Generation, u64)>,
    topology: Arc<Topology>,
    seats: Vec<Seat>,
    wanted: Wanted,
    cache: DecisionCache,
    rewritings: Rewritings,
    // Answers to fall back to, of plugins that are configured so.
    last_good: HashMap<(usize, Key), Decision, foldhash::fast::RandomState>,
    events: Events,
    hasher: foldhash::quality::RandomState,
}

impl Policies {
    pub(crate) fn new(worker: usize, snapshot: &Snapshot) -> Self {
        let mut new = Self {
            worker,
            generation: None,
            topology: Arc::clone(&snapshot.topology),
            seats: Vec::new(),
            wanted: Wanted::default(),
            cache: DecisionCache::new(),
            rewritings: Rewritings::default(),
            last_good: HashMap::default(),
            events: Events::default(),
            hasher: foldhash::quality::RandomState::default(),
        };
        new.refresh(snapshot);
        new
    }

    /// What the plugins want.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Takes over the plugins and the topology of a snapshot. Costs a comparison if both are the
    /// ones in use; to be called before every other question.
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot) {
        let generation = (snapshot.policies.generation, snapshot.topology.epoch);
        if self.generation == Some(generation) {
            return;
        }
        let before = self.generation.replace(generation);
        let other_plugins = before.is_none_or(|(plugins, _)| plugins != generation.0);
        let other_topology = before.is_some_and(|(_, epoch)| epoch != generation.1);
        self.topology = Arc::clone(&snapshot.topology);
        self.cache.clear();
        self.rewritings.clear();
        if other_plugins {
            self.deliver();
            self.take_over(&snapshot.policies.plugins);
            self.last_good.clear();
        }
        if other_topology {
            for seat in &mut self.seats {
                seat.tell_topology(self.worker, &self.topology);
            }
        }
    }

    fn take_over(&mut self, plugins: &[Arc<Plugin>]) {
        let mut old = std::mem::take(&mut self.seats);
        for plugin in plugins {
            let kept = old
                .iter()
                .position(|seat| Arc::ptr_eq(&seat.plugin, plugin));
            let seat = kept.map_or_else(|| Seat::new(plugin), |at| old.swap_remove(at));
            self.seats.push(seat);
        }
        let any = |hook: Hooks, need: u64| {
            let wants = |p: &Plugin| p.hooks.has(hook) && (need == 0 || p.needs & need != 0);
            plugins.iter().any(|plugin| wants(plugin))
        };
        self.wanted = Wanted {
            texts: any(Hooks::ROUTER, needs::SQL),
            values: any(Hooks::ROUTER, needs::VALUES),
            rewrites: any(Hooks::REWRITER, 0),
            events: any(Hooks::OBSERVER, 0),
        };
    }

    /// Opens the session at every plugin, unless it is open under this generation.
    pub(crate) fn open(&mut self, session: &mut SessionPolicies, facts: &SessionFacts<'_>) {
        let is_due = |at: Instant| Instant::now() >= at;
        let is_known = session.generation == self.generation && !session.changed;
        if is_known && !session.again_at.is_some_and(is_due) {
            return;
        }
        session.changed = false;
        session.again_at = None;
        session.generation = self.generation;
        let exactly = Vec::with_capacity(self.seats.len());
        let old = std::mem::replace(&mut session.plugins, exactly);
        for seat in &mut self.seats {
            // Marks, and what was said about the session, are of that very plugin.
            let is_own = |o: &&PluginSession| {
                o.plugin
                    .as_ref()
                    .is_some_and(|p| Arc::ptr_eq(p, &seat.plugin))
            };
            let mut new = old.iter().find(is_own).cloned().unwrap_or_default();
            new.plugin = Some(Arc::clone(&seat.plugin));
            if seat.plugin.hooks.has(Hooks::ROUTER) {
                let asked = seat.ask(self.worker, &self.topology, |p| p.open(facts));
                match asked.and_then(Result::ok) {
                    Some(opening) => (new.opening, new.router_opened) = (opening, true),
                    None => session.again_at = Some(Instant::now() + AGAIN),
                }
            }
            if seat.plugin.hooks.has(Hooks::REWRITER) {
                let asked = seat.ask(self.worker, &self.topology, |p| p.open_rewriter(facts));
                match asked.and_then(Result::ok) {
                    Some(class) => (new.rewriter_class, new.rewriter_opened) = (class, true),
                    None => session.again_at = Some(Instant::now() + AGAIN),
                }
            }
            session.plugins.push(new);
        }
    }

    /// The plugin behind a verdict, and its rule in words.
    pub(crate) fn explain(&mut self, verdict: &Verdict) -> Option<(Arc<Plugin>, String)> {
        let seat = self.seats.get_mut(verdict.plugin)?;
        let asked = seat.ask(self.worker, &self.topology, |p| p.explain(verdict.reason));
        let rule = asked.and_then(Result::ok).unwrap_or_default();
        Some((Arc::clone(&seat.plugin), rule))
    }

    /// A command of an operator for the plugin of this file name, with or without its number.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub(crate) fn command(&mut self, name: &str, text: &str) -> Result<String, String> {
        let is_named = |seat: &&mut Seat| {
            let file = &*seat.plugin.file_name;
            let stem = file.split_once('-').map_or(file, |(_, stem)| stem);
            file == name || stem == name
        };
        let Some(seat) = self.seats.iter_mut().find(is_named) else {
            return Err(format!(
                "no plugin \"{name}\" is in force; see SHOW pool_plugins"
            ));
        };
        if !seat.plugin.hooks.has(Hooks::OPERATOR) {
            return Err(format!("plugin \"{name}\" takes no commands"));
        }
        match seat.ask(self.worker, &self.topology, |p| p.command(text)) {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => Err(format!("plugin \"{name}\" failed: {error}")),
            None => Err(format!("plugin \"{name}\" failed too often and rests")),
        }
    }

    /// File name of a plugin of the chain; empty if there is none.
    pub(crate) fn file_name(&self, index: usize) -> &str {
        self.seats.get(index).map_or("", |s| &s.plugin.file_name)
    }

    /// Marks of all plugins in a session, by file name.
    pub(crate) fn all_marks(&self, session: &SessionPolicies) -> Vec<(Arc<str>, u32, u32)> {
        let marked = self.seats.iter().enumerate().map(|(index, seat)| {
            let (transaction, session) = session.marks(index);
            (Arc::clone(&seat.plugin.file_name), transaction, session)
        });
        marked.filter(|(_, t, s)| t | s != 0).collect()
    }

    /// The stores that were looked at, as they are now.
    fn stores(&self, plugins: u64) -> Stores {
        let looked_at = self.seats.iter().enumerate();
        let looked_at = looked_at.filter(|(at, _)| *at < 64 && plugins >> at & 1 == 1);
        let versions = looked_at.fold(0_u64, |sum, (_, s)| sum.wrapping_add(s.plugin.kv_version()));
        Stores { plugins, versions }
    }

    /// Whether an answer of one of them turned out to be wrong, on this worker or another.
    fn distrusts_any(&self, hook: Hooks) -> bool {
        let asked = self.seats.iter().filter(|seat| seat.plugin.hooks.has(hook));
        asked.into_iter().any(|seat| seat.plugin.forgets())
    }

    /// The chain in use.
    pub(crate) fn chain(&self) -> Generation {
        self.generation
            .map(|(plugins, _)| plugins)
            .unwrap_or_default()
    }

    fn text_hash(&self, sql: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(sql.as_bytes());
        hasher.finish()
    }
}

/// After this time a plugin that could not be told of a session is told again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a client is told when a plugin failed and nothing may pass without it.
fn failure(plugin: &Plugin) -> Rejection {
    Rejection {
        sqlstate: "58000".to_owned(),
        message: format!(
            "plugin \"{}\" failed and this must not pass without it",
            plugin.name
        ),
        hint: Some("See the proxy's log, or SHOW pool_plugins.".to_owned()),
    }
}

/// Whether a failure of this plugin refuses what it was asked about.
fn must_answer(plugin: &Plugin) -> bool {
    plugin.on_failure == OnFailure::Reject
}

fn invalid(reason: String) -> PolicyError {
    PolicyError {
        class: FailureClass::Invalid,
        reason,
    }
}
