//! Cancel requests: from the key the proxy gave a client to the server that runs its statement. The
//! list of sessions that this takes is also what the console shows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::BytesMut;
use pgsteer_core::NodeId;
use pgsteer_pool::{Channel, open_stream};
use tokio::io;
use tokio::sync::Notify;

use crate::ending::Said;
use crate::whereabouts::{About, LastRest, Whereabouts};

/// What a running statement could be cancelled with.
#[derive(Clone, Debug)]
pub(crate) struct ServerTarget {
    pub(crate) node: NodeId,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    pub(crate) key: Vec<u8>,
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
    cancelled: Notify,
    // Node that runs a statement now, plus one; zero while there is none.
    active: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<ServerTarget>,
    /// Nodes with a cancel request on its way, which could hit whatever runs there next.
    in_flight: Vec<NodeId>,
}

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
            cancelled: Notify::new(),
            active: AtomicU32::new(0),
            state: Mutex::default(),
        }
    }

    /// Whether a statement runs on a node now.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) != 0
    }

    /// The servers it holds.
    pub(crate) fn servers(&self) -> Vec<ServerTarget> {
        self.state().targets.clone()
    }

    /// A statement starts on this node. Runs for every statement: one store.
    pub(crate) fn start(&self, node: NodeId) {
        self.active.store(u32::from(node.0) + 1, Ordering::Release);
    }

    /// No statement runs.
    pub(crate) fn stop(&self) {
        self.active.store(0, Ordering::Release);
    }

    /// The session holds this server from now on.
    pub(crate) fn add(&self, target: ServerTarget) {
        let mut state = self.state();
        state.targets.retain(|t| t.node != target.node);
        state.targets.push(target);
    }

    /// The session lets go of its server at this node; `false` if a cancel request is on its way
    /// there, so that nobody else may use that server.
    pub(crate) fn remove(&self, node: NodeId) -> bool {
        let mut state = self.state();
        state.targets.retain(|t| t.node != node);
        !state.in_flight.contains(&node)
    }

    fn take_off(&self) -> Option<ServerTarget> {
        let active = self.active.load(Ordering::Acquire).checked_sub(1)?;
        let mut state = self.state();
        let target = state
            .targets
            .iter()
            .find(|t| u32::from(t.node.0) == active)?
            .clone();
        state.in_flight.push(target.node);
        Some(target)
    }

    /// Cancels what a server runs for the session, if one does.
    pub(crate) async fn cancel_statement(&self) {
        let Some(target) = self.take_off() else {
            return;
        };
        if let Err(error) = send(&target).await {
            tracing::debug!(node = target.node.0, %error, "cancel request did not reach the server");
        }
        self.landed(target.node);
    }

    /// Resolves when the client wants something cancelled.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }

    fn landed(&self, node: NodeId) {
        let mut state = self.state();
        if let Some(at) = state.in_flight.iter().position(|n| *n == node) {
            state.in_flight.swap_remove(at);
        }
    }
}

type Key = (u32, u32);

/// All sessions that can be cancelled, of all workers.
#[derive(Debug, Default)]
pub(crate) struct CancelRegistry(Mutex<HashMap<Key, Arc<CancelSlot>>>);

impl CancelRegistry {
    fn map(&self) -> MutexGuard<'_, HashMap<Key, Arc<CancelSlot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session under a random key that nobody has; `None` without random numbers.
    pub(crate) fn register(
        self: &Arc<Self>,
        about: About,
        random: impl Fn() -> Option<u64>,
    ) -> Option<Registered> {
        loop {
            let bytes = random()?.to_be_bytes();
            let [a, b, c, d, e, f, g, h] = bytes;
            // A process id is a positive number to clients.
            let pid = u32::from_be_bytes([a, b, c, d]) >> 1;
            let key = (pid, u32::from_be_bytes([e, f, g, h]));
            let mut map = self.map();
            if pid == 0 || map.contains_key(&key) {
                continue;
            }
            let slot = Arc::new(CancelSlot::new(about));
            map.insert(key, Arc::clone(&slot));
            return Some(Registered {
                registry: Arc::clone(self),
                key,
                slot,
            });
        }
    }

    /// All sessions with their process ids, the oldest first.
    pub(crate) fn list(&self) -> Vec<(u32, Arc<CancelSlot>)> {
        let map = self.map();
        let all = map.iter().map(|((pid, _), slot)| (*pid, Arc::clone(slot)));
        let mut all: Vec<_> = all.collect();
        drop(map);
        all.sort_by_key(|(pid, slot)| (slot.about.started, *pid));
        all
    }

    /// Carries out a cancel request. An unknown key does nothing, as in PostgreSQL.
    pub(crate) async fn cancel(&self, pid: u32, key: &[u8]) {
        let Ok(key) = <[u8; 4]>::try_from(key) else {
            return;
        };
        let slot = self.map().get(&(pid, u32::from_be_bytes(key))).cloned();
        let Some(slot) = slot else { return };
        slot.cancelled.notify_waiters();
        slot.cancel_statement().await;
    }
}

/// Sends the request and waits until the server has closed the connection: then it has landed.
async fn send(target: &ServerTarget) -> io::Result<()> {
    let mut channel = Channel::new(open_stream(&target.host, target.port).await?);
    let mut request = BytesMut::new();
    pgsteer_wire::startup::put_cancel(&mut request, target.pid, &target.key);
    channel.output = request;
    channel.flush().await?;
    channel.fill().await.map(|_| ())
}

/// A session's entry; gone when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<CancelRegistry>,
    /// Process id and secret the client was given.
    pub(crate) key: Key,
    /// The entry.
    pub(crate) slot: Arc<CancelSlot>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.map().remove(&self.key);
    }
}
