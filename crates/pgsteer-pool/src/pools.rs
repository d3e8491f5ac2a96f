//! Idle connections of one worker, and the sessions that wait for one.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use pgsteer_core::NodeId;
use pgsteer_core::settings::PoolSettings;
use pgsteer_wire::backend::TransactionStatus;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::connect::Connector;
use crate::gates::Gates;
use crate::limits::Slot;
use crate::login::Login;
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
    connection: Connection,
    since: Instant,
}

struct Waiter {
    key: PoolKey,
    hand_over: oneshot::Sender<Connection>,
}

#[derive(Default)]
struct State {
    idle: HashMap<PoolKey, Vec<Idle>, foldhash::fast::RandomState>,
    waiters: VecDeque<Waiter>,
}

struct Shared {
    state: RefCell<State>,
    connector: Connector,
    limits: NodeLimits,
    gates: Gates,
    settings: RefCell<PoolSettings>,
}

/// The pools of one worker.
#[derive(Clone)]
pub struct Pools(Rc<Shared>);

/// A connection that belongs to one session. Dropped without [`Lease::release`] it is closed:
/// what state it is in is not known then, and doubtful state is never used again.
pub struct Lease {
    connection: Option<Connection>,
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
            .as_mut()
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
            .as_ref()
            .expect("taken by release only, which consumes the lease")
    }

    /// Gives the connection back as it is: what it was told, the next one finds in it. One that is not
    /// idle is closed.
    pub fn park(mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if is_at_rest(&connection) {
            self.pools.check_in(self.key.clone(), connection);
        }
    }

    /// Gives the connection back: it is reset in the background and then used again. One that is
    /// not idle, or does not reset, is closed.
    pub fn release(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !is_at_rest(&connection) || self.pools.0.gates.is_closed(self.key.node) {
            return;
        }
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
                pools.check_in(key, connection);
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
        let deadline = Instant::now() + wait;
        loop {
            if self.0.gates.is_closed(key.node) {
                return Err(CheckoutError::Closed(key.node));
            }
            let ready = self.pop_idle(&key, wanted);
            let connection = if ready.is_some() {
                ready
            } else if let Some(slot) = self.0.limits.take(key.node, connections_max) {
                Some(self.open(&key, target, credential, &[], slot).await?)
            } else if self.0.state.borrow().waiters.len() >= waiters_max {
                return Err(CheckoutError::QueueFull(key.node));
            } else {
                self.wait(&key, deadline).await?
            };
            if let Some(mut connection) = connection {
                connection.uses += 1;
                return Ok(Lease {
                    connection: Some(connection),
                    key,
                    pools: self.clone(),
                });
            }
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
        if self.0.gates.is_closed(key.node) {
            return Err(CheckoutError::Closed(key.node));
        }
        let max = self.0.settings.borrow().connections_per_node_max;
        let slot = self.0.limits.take(key.node, max);
        let slot = slot.ok_or(CheckoutError::QueueFull(key.node))?;
        self.open(key, target, credential, parameters, slot).await
    }

    async fn open(
        &self,
        key: &PoolKey,
        target: &Target,
        credential: &Credential,
        parameters: &[(&str, &str)],
        slot: Slot,
    ) -> Result<Connection, CheckoutError> {
        let (limit, tls) = {
            let settings = self.0.settings.borrow();
            (settings.connect_timeout, settings.tls.clone())
        };
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
        let stream = connection.channel.stream();
        connection.handle = Some(self.0.gates.enter(key.node, stream, slot));
        Ok(connection)
    }

    /// Waits for a connection of this key, or for room to open one (`None`).
    async fn wait(
        &self,
        key: &PoolKey,
        deadline: Instant,
    ) -> Result<Option<Connection>, CheckoutError> {
        let (hand_over, taken) = oneshot::channel();
        let waiter = Waiter {
            key: key.clone(),
            hand_over,
        };
        self.0.state.borrow_mut().waiters.push_back(waiter);
        let _counted = self.0.limits.wait(key.node);
        let either = async {
            tokio::select! {
                // All branches are cancel safe: a connection handed over to a dropped receiver
                // comes back to the sender.
                connection = taken => connection.ok(),
                () = self.0.limits.freed(key.node) => None,
                () = self.0.gates.shut(key.node) => None,
            }
        };
        timeout_at(deadline, either)
            .await
            .map_err(|_| CheckoutError::Timeout(key.node))
    }

    fn pop_idle(&self, key: &PoolKey, wanted: &Wanted) -> Option<Connection> {
        let mut state = self.0.state.borrow_mut();
        let idle = state.idle.get_mut(key)?;
        while !idle.is_empty() {
            let at = wanted.best_of(idle);
            let Idle { connection, .. } = idle.remove(at);
            // Something to read on an idle connection means that the server said goodbye.
            let mut nobody = Context::from_waker(Waker::noop());
            if connection.channel.poll_readable(&mut nobody).is_pending() {
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

    fn check_in(&self, key: PoolKey, mut connection: Connection) {
        if self.0.gates.is_closed(key.node) {
            return;
        }
        let mut state = self.0.state.borrow_mut();
        state.waiters.retain(|w| !w.hand_over.is_closed());
        while let Some(at) = state.waiters.iter().position(|w| w.key == key) {
            let Some(waiter) = state.waiters.remove(at) else {
                break;
            };
            match waiter.hand_over.send(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
        if self.0.limits.is_wanted(key.node) {
            // Somebody else, perhaps on another worker, needs the room more.
            drop(connection);
        } else {
            let idle = Idle {
                connection,
                since: Instant::now(),
            };
            state.idle.entry(key).or_default().push(idle);
        }
    }

    /// Closes connections that nobody used for too long, that their server closed, or whose room
    /// somebody waits for. To be called about once a second.
    pub fn sweep(&self) {
        let idle_timeout = self.0.settings.borrow().idle_timeout;
        let mut state = self.0.state.borrow_mut();
        state.waiters.retain(|w| !w.hand_over.is_closed());
        let mut nobody = Context::from_waker(Waker::noop());
        state.idle.retain(|key, idle| {
            if self.0.limits.is_wanted(key.node) {
                idle.clear();
            }
            idle.retain(|i| {
                let quiet = i.connection.channel.poll_readable(&mut nobody).is_pending();
                quiet && i.since.elapsed() < idle_timeout
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
