//! Idle connections of one worker, and the sessions that wait for one.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_core::servers::{EnteredServer, ServerState, ServerUse};
use pgsteer_core::settings::PoolSettings;
use pgsteer_core::traffic::{TrafficState, TrafficWatch};
use pgsteer_wire::backend::TransactionStatus;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::connect::Connector;
use crate::gates::Gates;
use crate::limits::Slot;
use crate::login::Login;
use crate::quotas::{Allowed, Quota};
use crate::{ConnectError, Connection, Credential, NodeLimits, Parameters, Target, Told, Writer};

/// Connections with the same key are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The pool a plugin named; none for everybody else's.
    pub pool: Option<Rc<str>>,
    /// User it logged in as.
    pub user: Rc<str>,
    /// Database.
    pub database: Rc<str>,
    /// Node.
    pub node: NodeId,
}

/// No connection was to be had.
#[derive(Debug, Error)]
pub enum CheckoutError {
    /// Opening one failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All are in use, and too many sessions wait already.
    #[error("too many sessions wait for a connection to node {0}")]
    QueueFull(NodeId),
    /// The node is not in service.
    #[error("node {0} is not in service")]
    Closed(NodeId),
    /// All are in use, and none became free in time.
    #[error("no connection to node {0} became free in time")]
    Timeout(NodeId),
}

struct Idle {
    // Boxed like everywhere on its way from session to session: only its address moves.
    connection: Box<Connection>,
    since: Instant,
}

struct Waiter {
    key: PoolKey,
    /// Those that came earlier have lower ones.
    number: u64,
    hand_over: oneshot::Sender<Box<Connection>>,
}

#[derive(Default)]
struct State {
    idle: HashMap<PoolKey, Vec<Idle>, foldhash::fast::RandomState>,
    waiters: VecDeque<Waiter>,
    /// Number of the waiter that came last.
    numbers: u64,
}

/// The place of one connection among those of its node, and in its quotas.
type Room = (Slot, Option<Quota>);

/// One session that wants a connection.
struct Queue {
    since: Instant,
    deadline: Instant,
    /// Its place among those that wait, once it does.
    number: Option<u64>,
}

impl Queue {
    fn new(now: Instant, wait: Duration) -> Self {
        Self {
            since: now,
            deadline: now + wait,
            number: None,
        }
    }

    fn has_waited(&self, time: Duration) -> bool {
        self.number.is_some() && self.since.elapsed() >= time
    }
}

struct Shared {
    state: RefCell<State>,
    connector: Connector,
    limits: NodeLimits,
    gates: Gates,
    settings: RefCell<PoolSettings>,
    traffic: RefCell<TrafficWatch>,
    // Walks through all numbers evenly (Weyl's sequence).
    point: Cell<u32>,
}

/// The pools of one worker.
#[derive(Clone)]
pub struct Pools(Rc<Shared>);

/// A connection that belongs to one session. Dropped without [`Lease::release`] it is closed:
/// what state it is in is not known then, and doubtful state is never used again.
pub struct Lease {
    connection: Option<Box<Connection>>,
    key: PoolKey,
    pools: Pools,
}

impl Lease {
    /// The connection.
    ///
    /// # Panics
    /// Never: only `release`, which consumes the lease, takes it out.
    #[expect(clippy::expect_used, reason = "states the invariant of the option")]
    pub fn connection(&mut self) -> &mut Connection {
        self.connection
            .as_deref_mut()
            .expect("taken by release only, which consumes the lease")
    }

    /// The connection, to look at.
    ///
    /// # Panics
    /// Never, as above.
    #[must_use]
    #[expect(clippy::expect_used, reason = "states the invariant of the option")]
    pub fn peek(&self) -> &Connection {
        self.connection
            .as_deref()
            .expect("taken by release only, which consumes the lease")
    }

    /// Gives the connection back as it is: what it was told, the next one finds in it. One that is not
    /// idle is closed.
    pub fn park(mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if is_at_rest(&connection) {
            self.pools.check_in(&self.key, connection);
        }
    }

    /// Gives the connection back: it is reset in the background and then used again. One that is
    /// not idle, or does not reset, is closed.
    pub fn release(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let closed = self.pools.0.gates.is_closed(self.key.node);
        let closed = closed || self.pools.is_unwanted(&connection, &self.key.database);
        if !is_at_rest(&connection) || closed {
            return;
        }
        connection.note(ServerState::Tested);
        let (pools, key) = (self.pools.clone(), self.key.clone());
        // Tracked by nothing: ends with its own deadline, and holds only its connection.
        tokio::task::spawn_local(async move {
            let (query, limit) = {
                let settings = pools.0.settings.borrow();
                (settings.reset_query.clone(), settings.connect_timeout)
            };
            let reset = timeout(limit, connection.run(&[&*query])).await;
            // A byte after the answer would be taken for an answer to somebody else.
            let clean = matches!(reset, Ok(Ok(None))) && connection.channel.input.is_empty();
            connection.asides.clear();
            // What it says is the operator's; what it leaves is not known, but for the usual one.
            connection.told = Told {
                parameters: query.eq_ignore_ascii_case("DISCARD ALL").then(Rc::default),
                ..Told::default()
            };
            if clean && connection.status == TransactionStatus::Idle {
                pools.check_in(&key, connection);
            } else {
                debug!(
                    node = key.node.0,
                    "closed a server connection that did not reset"
                );
            }
        });
    }
}

/// What a connection should be like, of those that will do.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// It has these parameters.
    pub parameters: Rc<Parameters>,
    /// Before that: it is the one on which this user, and nobody else, has written.
    pub written_by: Option<u64>,
}

impl Wanted {
    /// The one that fits best, as index; the list is not empty.
    fn best_of(&self, idle: &[Idle]) -> usize {
        let written = self.written_by.and_then(|who| {
            let own = Writer::One(who);
            let mut all = idle.iter().enumerate().rev();
            all.find(|(_, i)| i.connection.told.wrote == own)
        });
        let latest = idle.iter().enumerate().rev().take(LOOKED_AT_MAX);
        let mut fitting = latest.filter(|(_, i)| i.connection.told.has(&self.parameters));
        let best = written.or_else(|| fitting.next());
        best.map_or(idle.len().saturating_sub(1), |(at, _)| at)
    }
}

/// Whether nothing is going on there and nothing is left of what was.
fn is_at_rest(connection: &Connection) -> bool {
    connection.channel.is_quiet() && connection.status == TransactionStatus::Idle
}

/// Idle connections that are looked at to find one with the right parameters.
const LOOKED_AT_MAX: usize = 16;

fn is_retired(said: &TrafficState, connection: &Connection, database: &str) -> bool {
    // As nearly always.
    if said.orders() == 0 {
        return false;
    }
    let of_database = said.of(database);
    of_database.paused || of_database.reconnect > connection.opened_after
}

impl Pools {
    /// Empty pools.
    #[must_use]
    pub fn new(settings: PoolSettings, limits: NodeLimits) -> Self {
        let connector = Connector::default();
        connector.tcp.set(settings.tcp);
        Self(Rc::new(Shared {
            state: RefCell::default(),
            connector,
            gates: Gates::new(limits.nodes()),
            traffic: RefCell::new(limits.traffic.subscribe()),
            point: Cell::new(0),
            limits,
            settings: RefCell::new(settings),
        }))
    }

    /// Uses other limits and waits from now on.
    pub fn configure(&self, settings: &PoolSettings) {
        if *self.0.settings.borrow() != *settings {
            let before = self.0.settings.replace(settings.clone());
            if before.tls != settings.tls {
                self.0.state.borrow_mut().idle.clear();
            }
        }
        self.0.connector.tcp.set(settings.tcp);
        self.0.connector.forget();
    }

    /// An idle connection, a new one, or the first that becomes free. Of the idle ones it is the one
    /// used last, or one that has these parameters already.
    ///
    /// # Errors
    /// See [`CheckoutError`].
    ///
    /// # Cancel safety
    /// Cancel safe: a connection that was handed over but not taken is closed.
    pub async fn checkout(
        &self,
        key: PoolKey,
        target: &Target,
        credential: &Credential,
        wanted: &Wanted,
    ) -> Result<Lease, CheckoutError> {
        let (wait, waiters_max, connections_max) = {
            let s = self.0.settings.borrow();
            (
                s.checkout_timeout,
                s.waiters_max,
                s.connections_per_node_max,
            )
        };
        let mut queue = Queue::new(Instant::now(), wait);
        loop {
            if self.0.gates.is_closed(key.node) {
                return Err(CheckoutError::Closed(key.node));
            }
            let ready = self.pop_idle(&key, wanted);
            let connection = if ready.is_some() {
                ready
            } else if let Some(room) = self.room(&key, connections_max, &queue) {
                let opened = self.open(&key, target, credential, &[], room).await?;
                Some(Box::new(opened))
            } else if self.0.state.borrow().waiters.len() >= waiters_max {
                return Err(CheckoutError::QueueFull(key.node));
            } else {
                self.wait(&key, &mut queue).await?
            };
            if let Some(connection) = connection {
                return Ok(self.lease(key, connection));
            }
        }
    }

    /// The idle connection [`Pools::checkout`] would give, if there is one.
    #[must_use]
    pub fn checkout_idle(&self, key: &PoolKey, wanted: &Wanted) -> Option<Lease> {
        if self.0.gates.is_closed(key.node) {
            return None;
        }
        let connection = self.pop_idle(key, wanted)?;
        Some(self.lease(key.clone(), connection))
    }

    /// Opens one more idle connection of a pool that has fewer than it is to keep. `false`: it has
    /// enough, or there is no room for one.
    ///
    /// # Errors
    /// Opening it failed.
    ///
    /// # Cancel safety
    /// Cancel safe: what was opened by half is closed.
    pub async fn fill(
        &self,
        key: &PoolKey,
        target: &Target,
        credential: &Credential,
    ) -> Result<bool, CheckoutError> {
        let max = self.0.settings.borrow().connections_per_node_max;
        let enough = self.0.limits.quotas.of_pool(key) >= self.kept(key);
        if enough || self.0.gates.is_closed(key.node) {
            return Ok(false);
        }
        let queue = Queue::new(Instant::now(), Duration::ZERO);
        let Some(room) = self.room(key, max, &queue) else {
            return Ok(false);
        };
        let opened = self.open(key, target, credential, &[], room).await?;
        self.check_in(key, Box::new(opened));
        Ok(true)
    }

    fn lease(&self, key: PoolKey, mut connection: Box<Connection>) -> Lease {
        connection.uses += 1;
        connection.note(ServerState::Active);
        Lease {
            connection: Some(connection),
            key,
            pools: self.clone(),
        }
    }

    /// A connection of its own, with these parameters in its startup packet, which nobody else will
    /// ever use. It counts as long as it lives.
    ///
    /// # Errors
    /// There is no room for one, or opening it failed; nobody waits for it.
    ///
    /// # Cancel safety
    /// Cancel safe: what was opened by half is closed.
    pub async fn dedicated(
        &self,
        key: &PoolKey,
        target: &Target,
        credential: &Credential,
        parameters: &[(&str, &str)],
    ) -> Result<Connection, CheckoutError> {
        let max = self.0.settings.borrow().connections_per_node_max;
        self.alone(key, target, (credential, parameters), max).await
    }

    /// The same for the proxy's own needs. It counts, but is not kept waiting: who waits for it may
    /// hold the very connections it would wait for.
    ///
    /// # Errors
    /// Opening it failed.
    ///
    /// # Cancel safety
    /// Cancel safe, as above.
    pub async fn extra(
        &self,
        key: &PoolKey,
        target: &Target,
        credential: &Credential,
    ) -> Result<Connection, CheckoutError> {
        self.alone(key, target, (credential, &[]), u32::MAX).await
    }

    async fn alone(
        &self,
        key: &PoolKey,
        target: &Target,
        (credential, parameters): (&Credential, &[(&str, &str)]),
        max: u32,
    ) -> Result<Connection, CheckoutError> {
        if self.0.gates.is_closed(key.node) {
            return Err(CheckoutError::Closed(key.node));
        }
        let slot = self.0.limits.take(key.node, max);
        let slot = slot.ok_or(CheckoutError::QueueFull(key.node))?;
        // It belongs to no pool, so quotas are not about it.
        let room = (slot, None);
        let opened = self.open(key, target, credential, parameters, room).await?;
        opened.note(ServerState::Active);
        if let Some(card) = opened.card() {
            card.dedicated.store(true, Ordering::Relaxed);
        }
        Ok(opened)
    }

    async fn open(
        &self,
        key: &PoolKey,
        target: &Target,
        credential: &Credential,
        parameters: &[(&str, &str)],
        (slot, quota): Room,
    ) -> Result<Connection, CheckoutError> {
        let (limit, tls) = {
            let settings = self.0.settings.borrow();
            (settings.connect_timeout, settings.tls.clone())
        };
        let entered = self.enter(key, target);
        let opened_after = self.0.traffic.borrow_mut().get().orders();
        let login = Login {
            user: &key.user,
            database: &key.database,
            credential,
            parameters,
        };
        let opening = timeout(limit, self.0.connector.connect(target, login, &tls));
        let opened = tokio::select! {
            biased;
            // Both branches are cancel safe: what was opened by half is closed. A connection that is
            // there just when all are severed must not escape.
            () = self.0.gates.shut(key.node) => Err(ConnectError::Withdrawn),
            opened = opening => opened.map_err(|_| ConnectError::Timeout)?,
        };
        let mut connection = opened?;
        entered
            .card
            .opened(connection.key.pid, connection.channel.stream().local_addr());
        entered
            .card
            .encrypted
            .store(connection.channel.tls().is_some(), Ordering::Relaxed);
        (connection.entered, connection.opened_after) = (Some(entered), opened_after);
        connection.quota = quota;
        connection.old_at = self.old_at(key);
        let stream = connection.channel.stream();
        connection.handle = Some(self.0.gates.enter(key.node, stream, slot));
        Ok(connection)
    }

    /// The place of one more connection, if there is one.
    fn room(&self, key: &PoolKey, connections_max: u32, queue: &Queue) -> Option<Room> {
        let settings = self.0.settings.borrow();
        let has_waited = queue.has_waited(settings.limits.reserve_timeout);
        let allowed = Allowed::of(&settings, key, has_waited);
        let quotas = &self.0.limits.quotas;
        // What is taken and given back at once would wake those that wait for it.
        if !quotas.has_room(key, allowed) {
            return None;
        }
        let slot = self.0.limits.take(key.node, connections_max)?;
        let quota = quotas.take(key, allowed)?;
        Some((slot, Some(quota)))
    }

    /// When a connection that is opened now is too old; they differ, so that those that are opened
    /// together are not closed together.
    fn old_at(&self, key: &PoolKey) -> Option<Instant> {
        let settings = self.0.settings.borrow();
        let lifetime = settings.quota_of(&key.database, &key.user).lifetime;
        if lifetime.is_zero() {
            return None;
        }
        let point = self.0.point.get().wrapping_add(0x9e37_79b9);
        self.0.point.set(point);
        let share = f64::from(point) / 4_294_967_296.0 * settings.limits.lifetime_jitter;
        Some(Instant::now() + lifetime.mul_f64(1.0 - share))
    }

    /// Waits for a connection of this key, or for room to open one (`None`). Who comes back to wait
    /// on has the place of before.
    async fn wait(
        &self,
        key: &PoolKey,
        queue: &mut Queue,
    ) -> Result<Option<Box<Connection>>, CheckoutError> {
        let (hand_over, taken) = oneshot::channel();
        let (allowed, reserve) = {
            let settings = self.0.settings.borrow();
            let limits = &settings.limits;
            let has_waited = queue.has_waited(limits.reserve_timeout);
            let quota = settings.quota_of(&key.database, &key.user);
            let reserve =
                (quota.reserved > 0 && !has_waited).then(|| queue.since + limits.reserve_timeout);
            (Allowed::of(&settings, key, has_waited), reserve)
        };
        let quotas = &self.0.limits.quotas;
        let mut quota_freed = std::pin::pin!(quotas.freed());
        // Registered before the look, so that what is freed meanwhile is noticed.
        quota_freed.as_mut().enable();
        let lacks_quota = !quotas.has_room(key, allowed);
        self.enqueue(key, hand_over, queue);
        let _counted = (!lacks_quota).then(|| self.0.limits.wait(key.node));
        let _of_quota = lacks_quota.then(|| quotas.wait(key));
        let either = async {
            tokio::select! {
                // All branches are cancel safe: a connection handed over to a dropped receiver
                // comes back to the sender.
                connection = taken => connection.ok(),
                () = self.0.limits.freed(key.node), if !lacks_quota => None,
                () = quota_freed, if lacks_quota => None,
                () = self.0.gates.shut(key.node) => None,
                () = self.0.limits.ask() => None,
            }
        };
        let until = reserve.map_or(queue.deadline, |at| at.min(queue.deadline));
        match timeout_at(until, either).await {
            Ok(found) => Ok(found),
            Err(_) if until < queue.deadline => Ok(None),
            Err(_) => Err(CheckoutError::Timeout(key.node)),
        }
    }

    /// Puts a waiter where its number belongs: behind those that came before it.
    fn enqueue(
        &self,
        key: &PoolKey,
        hand_over: oneshot::Sender<Box<Connection>>,
        queue: &mut Queue,
    ) {
        let mut state = self.0.state.borrow_mut();
        let number = *queue.number.get_or_insert_with(|| {
            state.numbers += 1;
            state.numbers
        });
        let waiters = &mut state.waiters;
        let at = waiters.iter().rposition(|waiter| waiter.number < number);
        let waiter = Waiter {
            key: key.clone(),
            number,
            hand_over,
        };
        waiters.insert(at.map_or(0, |at| at + 1), waiter);
    }

    fn pop_idle(&self, key: &PoolKey, wanted: &Wanted) -> Option<Box<Connection>> {
        let mut state = self.0.state.borrow_mut();
        let idle = state.idle.get_mut(key)?;
        while !idle.is_empty() {
            let at = wanted.best_of(idle);
            let Idle { connection, .. } = idle.remove(at);
            // Something to read on an idle connection means that the server said goodbye.
            let mut nobody = Context::from_waker(Waker::noop());
            let quiet = connection.channel.poll_readable(&mut nobody).is_pending();
            if quiet && !self.is_unwanted(&connection, &key.database) {
                return Some(connection);
            }
        }
        None
    }

    /// Whether somebody of this worker waits for a connection of this key, or anybody for room on
    /// its node.
    #[must_use]
    pub fn is_wanted(&self, key: &PoolKey) -> bool {
        self.0.limits.is_wanted(key.node)
    }

    fn check_in(&self, key: &PoolKey, mut connection: Box<Connection>) {
        let retired = self.is_unwanted(&connection, &key.database) || connection.is_old();
        if self.0.gates.is_closed(key.node) || retired {
            return;
        }
        let mut state = self.0.state.borrow_mut();
        state.waiters.retain(|w| !w.hand_over.is_closed());
        while let Some(at) = state.waiters.iter().position(|w| w.key == *key) {
            let Some(waiter) = state.waiters.remove(at) else {
                break;
            };
            connection.note(ServerState::Active);
            match waiter.hand_over.send(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
        if self.0.limits.is_wanted(key.node) || self.0.limits.quotas.is_wanted(key) {
            // Somebody else, perhaps on another worker, needs the room more.
            drop(connection);
        } else {
            connection.note(ServerState::Idle);
            let idle = Idle {
                connection,
                since: Instant::now(),
            };
            match state.idle.get_mut(key) {
                Some(all) => all.push(idle),
                None => drop(state.idle.insert(key.clone(), vec![idle])),
            }
        }
    }

    /// What others see of a connection that is being opened.
    fn enter(&self, key: &PoolKey, target: &Target) -> EnteredServer {
        let about = ServerUse {
            database: (*key.database).into(),
            user: (*key.user).into(),
            node: key.node,
            host: Arc::clone(&target.host),
            port: target.port,
        };
        self.0.limits.servers.enter(about, SystemTime::now())
    }

    /// Whether an operator wants a connection closed before it is used again.
    #[must_use]
    pub fn is_retired(&self, connection: &Connection, database: &str) -> bool {
        is_retired(self.0.traffic.borrow_mut().get(), connection, database)
    }

    /// The same for one that no session has.
    fn is_unwanted(&self, connection: &Connection, database: &str) -> bool {
        let mut traffic = self.0.traffic.borrow_mut();
        let said = traffic.get();
        is_retired(said, connection, database) || said.emptied(database) > connection.opened_after
    }

    /// Closes idle connections that an operator wants closed.
    pub fn follow_traffic(&self) {
        let mut state = self.0.state.borrow_mut();
        state.idle.retain(|key, idle| {
            idle.retain(|i| !self.is_unwanted(&i.connection, &key.database));
            !idle.is_empty()
        });
    }

    /// Connections of a pool that are not closed for being unused.
    fn kept(&self, key: &PoolKey) -> u32 {
        let settings = self.0.settings.borrow();
        settings.quota_of(&key.database, &key.user).size_min
    }

    /// Closes an idle connection for each pool whose room somebody waits for, the one that was not used
    /// for longest.
    pub fn give_way(&self) {
        let mut state = self.0.state.borrow_mut();
        for (key, idle) in &mut state.idle {
            let wanted = self.0.limits.is_wanted(key.node) || self.0.limits.quotas.is_wanted(key);
            if wanted && !idle.is_empty() {
                drop(idle.remove(0));
            }
        }
    }

    /// Closes connections that nobody used for too long, that their server closed, or whose room
    /// somebody waits for. To be called about once a second.
    pub fn sweep(&self) {
        self.give_way();
        let idle_timeout = self.0.settings.borrow().idle_timeout;
        let mut state = self.0.state.borrow_mut();
        state.waiters.retain(|w| !w.hand_over.is_closed());
        let mut nobody = Context::from_waker(Waker::noop());
        state.idle.retain(|key, idle| {
            let kept = self.kept(key);
            let mut spare = self.0.limits.quotas.of_pool(key).saturating_sub(kept);
            idle.retain(|i| {
                let quiet = i.connection.channel.poll_readable(&mut nobody).is_pending();
                let unused = i.since.elapsed() >= idle_timeout && spare > 0;
                let stays = quiet && !unused && !i.connection.is_old();
                spare = spare.saturating_sub(u32::from(!stays));
                stays
            });
            !idle.is_empty()
        });
    }

    /// Says whether a node may be used. While it may not, nobody is given a connection to it, and
    /// those that are given back are closed.
    pub fn set_in_service(&self, node: NodeId, in_service: bool) {
        self.0.gates.set_closed(node, !in_service);
        if !in_service {
            self.forget_node(node);
        }
    }

    /// Closes every connection to a node at once, whatever is going on there: those that use one see
    /// it closed by the server.
    pub fn sever(&self, node: NodeId) {
        self.0.gates.sever(node);
        self.forget_node(node);
    }

    /// Closes all idle connections to a node, for instance because it went down.
    pub fn forget_node(&self, node: NodeId) {
        self.0
            .state
            .borrow_mut()
            .idle
            .retain(|key, _| key.node != node);
    }
}
