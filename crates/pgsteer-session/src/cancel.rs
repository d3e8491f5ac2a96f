//! Cancel requests: from the key the proxy gave a client to the server that runs its statement. The
//! list of sessions that this takes is also what the console shows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use pgsteer_core::NodeId;
use pgsteer_pool::open_channel;
use pgsteer_tls::ServerTls;
use pgsteer_wire::md5::equal;
use pgsteer_wire::{ErrorReply, SqlState};
use tokio::io;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::ending::Said;
use crate::session::reserve_first;
use crate::whereabouts::{About, LastRest, Pin, Whereabouts};

/// What a running statement could be cancelled with.
#[derive(Clone, Debug)]
pub(crate) struct ServerTarget {
    pub(crate) node: NodeId,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    pub(crate) key: Arc<[u8]>,
    /// When the server connection was opened, and when the session got it.
    pub(crate) opened_at: SystemTime,
    pub(crate) leased_at: SystemTime,
    /// Sessions that have had it.
    pub(crate) uses: u64,
}

/// One session as cancel requests and the console see it.
#[derive(Debug)]
pub(crate) struct CancelSlot {
    pub(crate) about: About,
    pub(crate) last_rest: LastRest,
    /// What it does now.
    pub(crate) now: Whereabouts,
    /// That it is to end.
    pub(crate) said: Said,
    // Node that runs a statement now, plus one; zero while there is none, or `WAITING`.
    active: AtomicU32,
    // The same for the one that ran a statement last.
    asked: AtomicU32,
    // Wakes a statement that waits and is to be cancelled.
    unwanted: Notify,
    state: Mutex<State>,
}

/// A statement waits for a server.
const WAITING: u32 = u32::MAX;

/// Process ids of servers are below this: Linux gives no greater ones.
const SERVER_PIDS: u32 = 1 << 22;

#[derive(Debug, Default)]
struct State {
    targets: Vec<ServerTarget>,
    // What few sessions have.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    flights: Vec<Flight>,
    pins: Vec<Pin>,
}

/// A cancel request on its way to a server, where it could hit whatever runs next.
#[derive(Debug)]
struct Flight {
    number: u64,
    node: NodeId,
    pid: u32,
    awaited: Vec<oneshot::Sender<()>>,
    // Nobody knows whether it has landed, or ever will.
    lost: bool,
}

/// What is to be waited for before somebody else may use a server; none if nobody may ever.
#[derive(Debug)]
pub(crate) struct Landing(Option<Vec<oneshot::Receiver<()>>>);

impl Landing {
    /// Whether nothing is on its way.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }

    /// Waits until everything has landed; `false` if something never will.
    pub(crate) async fn over(self) -> bool {
        let Some(flights) = self.0 else { return false };
        for flight in flights {
            if flight.await.is_err() {
                return false;
            }
        }
        true
    }
}

/// How long a cancel request may take on its way to a server.
const SEND_MAX: Duration = Duration::from_secs(10);

impl CancelSlot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(about: About) -> Self {
        Self {
            about,
            last_rest: LastRest::default(),
            now: Whereabouts::default(),
            said: Said::default(),
            active: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            unwanted: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Whether a statement runs on a node now.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) != 0
    }

    /// It keeps a server from now on.
    pub(crate) fn note_pin(&self, pin: Pin) {
        self.state().rare.get_or_insert_default().pins.push(pin);
    }

    /// Why it keeps servers.
    pub(crate) fn pins(&self) -> Vec<Pin> {
        let state = self.state();
        let rare = state.rare.as_ref();
        rare.map_or_else(Vec::new, |rare| rare.pins.clone())
    }

    /// The servers it holds.
    pub(crate) fn servers(&self) -> Vec<ServerTarget> {
        self.state().targets.clone()
    }

    /// A statement starts on this node. Runs for every statement: two stores.
    pub(crate) fn start(&self, node: NodeId) {
        self.active.store(u32::from(node.0) + 1, Ordering::Release);
        self.asked.store(u32::from(node.0) + 1, Ordering::Relaxed);
    }

    /// The node on which a statement started last.
    pub(crate) fn asked_last(&self) -> Option<NodeId> {
        let node = self.asked.load(Ordering::Relaxed).checked_sub(1)?;
        u16::try_from(node).ok().map(NodeId)
    }

    /// None started yet.
    pub(crate) fn forget_asked(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// No statement runs.
    pub(crate) fn stop(&self) {
        self.active.store(0, Ordering::Release);
    }

    /// A statement waits, until what this gives is dropped; resolves when it is to be cancelled.
    pub(crate) fn unwanted(&self) -> impl Future<Output = ()> + '_ {
        let unwanted = self.unwanted.notified();
        self.active.store(WAITING, Ordering::Release);
        let waiting = Waiting(self);
        async move {
            let _waiting = waiting;
            unwanted.await;
        }
    }

    /// The session holds this server from now on.
    pub(crate) fn add(&self, target: ServerTarget) {
        let mut state = self.state();
        state.targets.retain(|t| t.node != target.node);
        reserve_first(&mut state.targets);
        state.targets.push(target);
    }

    /// The session lets go of its server at this node. Nobody else may use that server before what
    /// is on its way there has landed.
    pub(crate) fn remove(&self, node: NodeId) -> Landing {
        let mut state = self.state();
        let State { targets, rare } = &mut *state;
        if let Some(rare) = rare {
            rare.pins.retain(|pin| pin.node != node);
        }
        let at = targets.iter().position(|t| t.node == node);
        let Some(target) = at.map(|at| targets.swap_remove(at)) else {
            return Landing(Some(Vec::new()));
        };
        let flights = rare.iter_mut().flat_map(|rare| rare.flights.iter_mut());
        let to_it = flights.filter(|f| f.node == node && f.pid == target.pid);
        let awaited = to_it.map(|flight| {
            let (landed, landing) = oneshot::channel();
            flight.awaited.push(landed);
            (!flight.lost).then_some(landing)
        });
        Landing(awaited.collect())
    }

    /// The server that a cancel request is to be sent to, and the number of its flight.
    fn take_off(&self) -> Option<(u64, ServerTarget)> {
        let active = self.active.load(Ordering::Acquire);
        if active == WAITING {
            self.unwanted.notify_waiters();
            return None;
        }
        let active = active.checked_sub(1)?;
        let mut state = self.state();
        // What the session does not hold any more is not found, and what is found here stays with
        // the session until this has landed.
        let target = state
            .targets
            .iter()
            .find(|t| u32::from(t.node.0) == active)?
            .clone();
        let flights = &mut state.rare.get_or_insert_default().flights;
        let number = flights.last().map_or(0, |f| f.number + 1);
        flights.push(Flight {
            number,
            node: target.node,
            pid: target.pid,
            awaited: Vec::new(),
            lost: false,
        });
        Some((number, target))
    }

    /// Cancels what the session waits for, or what a server runs for it.
    pub(crate) async fn cancel_statement(self: &Arc<Self>, tls: &ServerTls) {
        let Some((number, target)) = self.take_off() else {
            return;
        };
        let mut sent = Sent {
            slot: Arc::clone(self),
            number,
            landed: false,
        };
        let landed = match timeout(SEND_MAX, send(&target, tls)).await {
            Ok(landed) => landed,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match landed {
            Ok(()) => sent.landed = true,
            Err(error) => {
                tracing::debug!(node = target.node.0, %error, "cancel request did not reach the server");
            }
        }
    }

    /// A flight has ended, and whether it is known how.
    fn ended(&self, number: u64, landed: bool) {
        let mut state = self.state();
        let Some(rare) = &mut state.rare else { return };
        let flights = &mut rare.flights;
        let Some(at) = flights.iter().position(|f| f.number == number) else {
            return;
        };
        if landed {
            for awaited in flights.remove(at).awaited {
                let _ = awaited.send(());
            }
        } else if let Some(flight) = flights.get_mut(at) {
            flight.awaited.clear();
            flight.lost = true;
        }
    }
}

/// A statement that waits, for as long as this lives.
struct Waiting<'a>(&'a CancelSlot);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// PostgreSQL's words for it.
pub(crate) fn cancelled() -> ErrorReply {
    let text = "canceling statement due to user request";
    ErrorReply::error(SqlState::QUERY_CANCELED, text)
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    slot: Arc<CancelSlot>,
}

/// All sessions that can be cancelled, of all workers, by the process ids their clients were given.
#[derive(Debug, Default)]
pub(crate) struct CancelRegistry(Mutex<HashMap<u32, Entry>>);

impl CancelRegistry {
    fn map(&self) -> MutexGuard<'_, HashMap<u32, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session under a random process id that nobody has, with a random key of so many
    /// bytes; `None` without random numbers.
    pub(crate) fn register(self: &Arc<Self>, about: About, key_len: usize) -> Option<Registered> {
        let mut key = vec![0; key_len];
        getrandom::fill(&mut key).ok()?;
        let key: Box<[u8]> = key.into();
        loop {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).ok()?;
            // A process id is a positive number to clients, and no server has such a great one.
            let pid = u32::from_be_bytes(bytes) >> 1;
            let mut map = self.map();
            if pid < SERVER_PIDS || map.contains_key(&pid) {
                continue;
            }
            let slot = Arc::new(CancelSlot::new(about));
            let entry = Entry {
                key,
                slot: Arc::clone(&slot),
            };
            map.insert(pid, entry);
            return Some(Registered {
                registry: Arc::clone(self),
                pid,
                slot,
            });
        }
    }

    /// All sessions with their process ids, the oldest first.
    pub(crate) fn list(&self) -> Vec<(u32, Arc<CancelSlot>)> {
        let map = self.map();
        let all = map.iter().map(|(pid, e)| (*pid, Arc::clone(&e.slot)));
        let mut all: Vec<_> = all.collect();
        drop(map);
        all.sort_by_key(|(pid, slot)| (slot.about.started, *pid));
        all
    }

    /// Carries out a cancel request; `false` if the key is that of no session. It does nothing then,
    /// as in PostgreSQL.
    pub(crate) async fn cancel(&self, pid: u32, key: &[u8], tls: &ServerTls) -> bool {
        let slot = {
            let map = self.map();
            // In a time that does not tell how much of the key is right.
            let entry = map.get(&pid).filter(|e| equal(&e.key, key));
            entry.map(|e| Arc::clone(&e.slot))
        };
        let Some(slot) = slot else { return false };
        slot.cancel_statement(tls).await;
        true
    }
}

/// Cancels what a server runs for a session that has ended.
pub(crate) async fn cancel_abandoned(target: &ServerTarget, tls: &ServerTls) {
    let node = target.node.0;
    match timeout(SEND_MAX, send(target, tls)).await {
        Ok(Ok(())) => tracing::debug!(node, "cancelled the statement of a client that has left"),
        _ => tracing::debug!(
            node,
            "could not cancel the statement of a client that has left"
        ),
    }
}

/// A cancel request that is being sent. Whoever sends it may be stopped in the middle.
struct Sent {
    slot: Arc<CancelSlot>,
    number: u64,
    landed: bool,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.slot.ended(self.number, self.landed);
    }
}

/// Sends the request and waits until the server has closed the connection: then it has landed.
async fn send(target: &ServerTarget, tls: &ServerTls) -> io::Result<()> {
    let Ok(mut channel) = open_channel(&target.host, target.port, tls).await else {
        // Nothing was sent, so nothing will come.
        tracing::debug!(node = target.node.0, "no connection for a cancel request");
        return Ok(());
    };
    let mut request = BytesMut::new();
    pgsteer_wire::startup::put_cancel(&mut request, target.pid, &target.key);
    channel.output = request;
    channel.flush().await?;
    match channel.fill().await {
        // Over TLS it says no goodbye.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        closed => closed.map(|_| ()),
    }
}

/// A session's entry; gone when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<CancelRegistry>,
    /// Process id the client was given.
    pub(crate) pid: u32,
    /// The entry.
    pub(crate) slot: Arc<CancelSlot>,
}

impl Registered {
    /// Secret the client was given.
    pub(crate) fn key(&self) -> Box<[u8]> {
        let map = self.registry.map();
        map.get(&self.pid)
            .map_or_else(Box::default, |e| e.key.clone())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.map().remove(&self.pid);
    }
}
