//! What all sessions of one worker share. Belongs to one thread: no locks, no atomics to wait for.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Instant, SystemTime};

use pgsteer_core::admin::ProcessOrder;
use pgsteer_core::applied::Progress;
use pgsteer_core::counters::{Counters, WorkerCounters};
use pgsteer_core::pool_counters::PoolCounters;
use pgsteer_core::topology::{Node, Standing};
use pgsteer_core::traffic::{DatabaseTraffic, Everybody, TrafficWatch};
use pgsteer_core::{Facts, NodeId, SessionId, Settings, Snapshot, Subscription};
use pgsteer_pool::{NodeLimits, Pools};
use pgsteer_sql::{Analysis, Cache};
use pgsteer_tls::ServerTls;
use tokio::sync::Semaphore;

use crate::auth::{DERIVING_MAX, Failures, Keyring};
use crate::cancel::{CancelRegistry, CancelSlot};
use crate::catch_up::ParameterSets;
use crate::ending::Why;
use crate::listen_hub::Hubs;
use crate::names::{Meaning, Meanings};
use crate::notifiers::Notifiers;
use crate::policies::Policies;
use crate::prefill::KnownPool;
use crate::statements::StatementBook;
use crate::writes::RelationWrites;

/// Memory for remembered analyses, per worker, in bytes.
const ANALYSES_BYTES_MAX: usize = 16 << 20;

/// Names that sessions share, per worker.
const NAMES_MAX: usize = 1024;

/// Parameter lists remembered for logins, per worker.
const WELCOMES_MAX: usize = 1024;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Counters of the data plane.
    pub counters: Arc<Counters>,
    /// What the control plane finds out.
    pub facts: Arc<Facts>,
    pub(crate) limits: NodeLimits,
    pub(crate) cancels: Arc<CancelRegistry>,
    pub(crate) relation_writes: Arc<RelationWrites>,
    pub(crate) hubs: Hubs,
    pub(crate) notifiers: Notifiers,
    pub(crate) sessions: AtomicU64,
    /// Statements that wait for a node.
    pub(crate) held: AtomicUsize,
    /// For answers to users that do not exist.
    pub(crate) secret: [u8; 32],
    pub(crate) failures: Failures,
    /// How many passwords are derived at one time.
    pub(crate) deriving: Semaphore,
}

impl Shared {
    /// Statements that wait for a node now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Carries out a cancel request, here or in the process before this one.
    pub async fn cancel(&self, pid: u32, key: &[u8], tls: &ServerTls) {
        if !self.cancels.cancel(pid, key, tls).await {
            self.facts.succession.cancel_elsewhere(pid, key).await;
        }
    }

    /// Nothing is going on yet.
    #[must_use]
    pub fn new(counters: Arc<Counters>, facts: Arc<Facts>) -> Self {
        let mut secret = [0; 32];
        for chunk in secret.chunks_mut(8) {
            let random = std::hash::RandomState::new()
                .build_hasher()
                .finish()
                .to_be_bytes();
            chunk.copy_from_slice(&random);
        }
        let limits = NodeLimits::new(&facts);
        let cancels = Arc::<CancelRegistry>::default();
        // Of several data planes in one process only tests have more than one, and they ask none.
        let _ = facts.session_list.set(Arc::clone(&cancels) as _);
        let _ = facts.counters.set(Arc::clone(&counters));
        Self {
            counters,
            facts,
            limits,
            cancels,
            relation_writes: Arc::default(),
            hubs: Hubs::default(),
            notifiers: Notifiers::default(),
            sessions: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            secret,
            failures: Failures::default(),
            deriving: Semaphore::new(DERIVING_MAX),
        }
    }
}

/// What the server reported to sessions with the same user, database and parameters.
pub(crate) type Welcome = Rc<Vec<(String, String)>>;

/// Tells one session from outside that something concerns it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) drain: Cell<bool>,
    /// A node it may hold a leg on is not in service any more.
    pub(crate) leave: Cell<bool>,
    pub(crate) ending: Cell<Option<Why>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl Control {
    /// Whoever sets something from now on wakes this task.
    pub(crate) fn wake_by(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        let known = waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        if !known {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// What the worker knows of a node besides what is published.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    withdrawn: bool,
    severances: u64,
}

/// How a session is told something, and where others see it.
type Told = (Rc<Control>, Arc<CancelSlot>);

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) subscription: RefCell<Subscription>,
    progress: Progress,
    pub(crate) pools: Pools,
    pub(crate) analyses: RefCell<Cache>,
    pub(crate) policies: RefCell<Policies>,
    /// Databases and users whose sessions ask for the values sequences gave them.
    sequences: RefCell<HashSet<(Box<str>, Box<str>)>>,
    /// Parameters of sessions, and statements they prepared, as far as they share servers.
    pub(crate) parameter_sets: ParameterSets,
    pub(crate) statements: RefCell<StatementBook>,
    parses: Cell<u64>,
    pub(crate) meanings: RefCell<Meanings>,
    /// The meaning of a statement without names.
    pub(crate) no_names: Rc<Meaning>,
    pub(crate) hasher: foldhash::quality::RandomState,
    pub(crate) welcomes: RefCell<HashMap<String, Welcome>>,
    /// What users, databases, applications and hosts are called, for sessions to share.
    names: RefCell<HashMap<Rc<str>, Arc<str>>>,
    pub(crate) controls: RefCell<HashMap<u64, Told>>,
    pub(crate) traffic: RefCell<TrafficWatch>,
    pub(crate) pool_counters: RefCell<HashMap<String, Arc<PoolCounters>>>,
    pub(crate) keyring: RefCell<Keyring>,
    /// Pools that are kept filled, and whether they are being filled.
    pub(crate) known_pools: RefCell<HashSet<KnownPool>>,
    pub(crate) fills: Cell<bool>,
    settings: RefCell<Arc<Settings>>,
    nodes: RefCell<Vec<Known>>,
    point: Cell<u64>,
    second: Cell<u64>,
    /// The second of the last warning of which one a second is enough.
    warned: Cell<u64>,
    epoch: Cell<u64>,
    turn: Cell<u32>,
    /// It has asked for the end of the proxy.
    ends: Cell<bool>,
}

fn unix_second() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, mut subscription: Subscription) -> Self {
        let snapshot = Arc::clone(subscription.get());
        let known = |node: &Node| Known {
            withdrawn: false,
            severances: node.severances,
        };
        let nodes = snapshot.topology.nodes.iter().map(known).collect();
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Self {
            index,
            pools: Pools::new(snapshot.settings.pool.clone(), shared.limits.clone()),
            analyses: RefCell::new(Cache::new(ANALYSES_BYTES_MAX)),
            policies: RefCell::new(Policies::new(index, &snapshot)),
            sequences: RefCell::default(),
            parameter_sets: ParameterSets::default(),
            statements: RefCell::default(),
            parses: Cell::new(0),
            meanings: RefCell::default(),
            no_names: Rc::default(),
            hasher: foldhash::quality::RandomState::default(),
            welcomes: RefCell::default(),
            names: RefCell::default(),
            controls: RefCell::default(),
            traffic: RefCell::new(shared.facts.traffic.subscribe()),
            pool_counters: RefCell::default(),
            keyring: RefCell::default(),
            known_pools: RefCell::default(),
            fills: Cell::new(false),
            settings: RefCell::new(Arc::clone(&snapshot.settings)),
            nodes: RefCell::new(nodes),
            point: Cell::new(seed),
            second: Cell::new(unix_second()),
            warned: Cell::new(0),
            epoch: Cell::new(snapshot.topology.epoch),
            turn: Cell::new(0),
            ends: Cell::new(false),
            subscription: RefCell::new(subscription),
            progress: shared.facts.applied.begin(),
            shared,
        }
    }

    /// The latest snapshot.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.subscription.borrow_mut().get())
    }

    /// Whether there is a snapshot newer than this one.
    pub(crate) fn has_newer(&self, than: &Snapshot) -> bool {
        self.subscription.borrow_mut().get().generation != than.generation
    }

    /// The analysis of a text, remembered or fresh.
    pub(crate) fn analyze(&self, text: &[u8]) -> Rc<Analysis> {
        let mut analyses = self.analyses.borrow_mut();
        let before = analyses.made();
        let analysis = analyses.analyze(text);
        let counters = self.counters();
        counters.analyses_asked.add(1);
        if analyses.made() != before {
            counters.analyses_made.add(1);
            counters.analyses_bytes.set(analyses.size_bytes() as u64);
        }
        analysis
    }

    /// What this worker counts.
    pub(crate) fn counters(&self) -> &WorkerCounters {
        self.shared.counters.worker(self.index)
    }

    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.shared.sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A session of this database and user asked for the value a sequence gave it: others will.
    pub(crate) fn note_sequences(&self, database: &str, user: &str) {
        let mut sequences = self.sequences.borrow_mut();
        if sequences.len() < WELCOMES_MAX {
            sequences.insert((database.into(), user.into()));
        }
    }

    /// Whether one did.
    pub(crate) fn knows_sequences(&self, database: &str, user: &str) -> bool {
        let sequences = self.sequences.borrow();
        !sequences.is_empty() && sequences.contains(&(database.into(), user.into()))
    }

    /// Number of the next Parse.
    pub(crate) fn next_parse(&self) -> u64 {
        self.parses.set(self.parses.get() + 1);
        self.parses.get()
    }

    /// Seconds since 1970, as of the last look at the clock, which is a second ago at most.
    pub(crate) fn second(&self) -> u64 {
        self.second.get()
    }

    /// Whether a warning is the first in this second, of those that many sessions may have at one time.
    pub(crate) fn warns_now(&self) -> bool {
        self.warned.replace(self.second()) != self.second()
    }

    /// What is to be done once a second.
    pub(crate) fn tick(&self) {
        self.second.set(unix_second());
        self.pools.sweep();
        if self.index == 0 {
            self.shared.facts.pools.sample(Instant::now());
            self.end_after_the_last();
        }
        self.policies.borrow_mut().deliver();
    }

    /// Whether it is the turn of this question, of every so-manieth.
    pub(crate) fn is_turn(&self, every: u32) -> bool {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(if turn >= every { 0 } else { turn });
        turn >= every
    }

    /// The next point of a sequence that fills `0.0 <= p < 1.0` evenly (Weyl's, by the golden
    /// ratio, from a random start). For spreading load it is better than random numbers: after a
    /// thousand sessions the shares are off by a session or two, not by dozens.
    pub(crate) fn next_point(&self) -> f64 {
        let point = self.point.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.point.set(point);
        f64::from(u32::try_from(point >> 32).unwrap_or(0)) / 4_294_967_296.0
    }

    /// A name as the session keeps it, and as others see it. Sessions are many, and names few.
    pub(crate) fn name(&self, name: &str) -> (Rc<str>, Arc<str>) {
        let mut names = self.names.borrow_mut();
        if let Some((own, others)) = names.get_key_value(name) {
            return (Rc::clone(own), Arc::clone(others));
        }
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        let (own, others): (Rc<str>, Arc<str>) = (name.into(), name.into());
        names.insert(Rc::clone(&own), Arc::clone(&others));
        (own, others)
    }

    /// Remembers what a server reported.
    pub(crate) fn remember_welcome(&self, key: String, welcome: &Welcome) {
        let mut welcomes = self.welcomes.borrow_mut();
        if welcomes.len() >= WELCOMES_MAX {
            welcomes.clear();
        }
        welcomes.insert(key, Rc::clone(welcome));
    }

    /// Takes over what a new snapshot changed for the worker as a whole.
    pub(crate) fn snapshot_changed(&self) {
        let snapshot = self.snapshot();
        self.policies.borrow_mut().refresh(&snapshot);
        if !Arc::ptr_eq(&self.settings.borrow(), &snapshot.settings) {
            self.settings.replace(Arc::clone(&snapshot.settings));
            self.pools.configure(&snapshot.settings.pool);
            self.welcomes.borrow_mut().clear();
        }
        if self.epoch.replace(snapshot.topology.epoch) != snapshot.topology.epoch {
            // Another server may report other parameters, for instance after an upgrade.
            self.welcomes.borrow_mut().clear();
        }
        for node in snapshot.topology.nodes.iter().filter(|n| !n.is_usable()) {
            self.pools.forget_node(node.id);
        }
        self.follow_standings(&snapshot);
        if snapshot.draining {
            for (control, _) in self.controls.borrow().values() {
                control.drain.set(true);
                control.wake();
            }
        }
        self.progress.note(snapshot.generation);
    }

    /// Stops the proxy when nobody may log in any more and the last client has gone.
    fn end_after_the_last(&self) {
        let closing = self.traffic.borrow_mut().get().closing;
        if !closing || self.shared.counters.clients() > 0 || self.ends.replace(true) {
            return;
        }
        let facts = Arc::clone(&self.shared.facts);
        // Ends with the answer, or with the worker.
        tokio::task::spawn_local(async move {
            let _ = facts.process_desk.ask(ProcessOrder::Stop, "console").await;
        });
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// What operators said about a database.
    pub(crate) fn traffic_of(&self, database: &str) -> DatabaseTraffic {
        let mut traffic = self.traffic.borrow_mut();
        let said = traffic.get();
        if said.orders() == 0 {
            return DatabaseTraffic::default();
        }
        said.of(database)
    }

    /// Whether no session may begin anything.
    pub(crate) fn is_suspended(&self) -> bool {
        self.traffic.borrow_mut().get().everybody == Everybody::Suspended
    }

    /// Follows what operators said: closes servers that nobody may use, and tells sessions.
    pub(crate) fn traffic_changed(&self) {
        self.end_sessions();
        self.pools.follow_traffic();
        for (control, slot) in self.controls.borrow().values() {
            self.tell_traffic(control, slot);
        }
    }

    /// Tells a session what operators said about its database.
    pub(crate) fn tell_traffic(&self, control: &Control, slot: &CancelSlot) {
        if slot.about.is_console {
            return;
        }
        let said = self.traffic_of(&slot.about.database);
        if said.draining {
            control.drain.set(true);
        }
        if said.paused || said.reconnect > 0 {
            control.leave.set(true);
        }
        if said != DatabaseTraffic::default() {
            control.wake();
        }
    }

    /// Whether a node is not in service, as far as the worker was told.
    pub(crate) fn is_withdrawn(&self, node: NodeId) -> bool {
        let nodes = self.nodes.borrow();
        nodes.get(node.index()).is_some_and(|n| n.withdrawn)
    }

    /// Closes the pools of nodes that left service, tells the sessions, and closes the connections
    /// to nodes that are to be cut off.
    fn follow_standings(&self, snapshot: &Snapshot) {
        let mut leaves = false;
        for node in &snapshot.topology.nodes {
            let now = Known {
                withdrawn: node.standing != Standing::InService,
                severances: node.severances,
            };
            let before = match self.nodes.borrow_mut().get_mut(node.id.index()) {
                Some(known) => std::mem::replace(known, now),
                None => continue,
            };
            if before.withdrawn != now.withdrawn {
                self.pools.set_in_service(node.id, !now.withdrawn);
                leaves |= now.withdrawn;
            }
            if before.severances < now.severances {
                self.pools.sever(node.id);
            }
        }
        if leaves {
            for (control, _) in self.controls.borrow().values() {
                control.leave.set(true);
                control.wake();
            }
        }
    }
}
