//! The server connections there are, of all workers: what `SHOW SERVERS` shows, and what an order
//! waits for that wants them gone. Locked when one is opened or closed and by those who look; what a
//! connection does is told by plain stores.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::NodeId;

/// What a server connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It is being opened.
    Login,
    /// A session has it.
    Active,
    /// Nobody has it.
    Idle,
    /// It is made fit for the next session.
    Tested,
}

impl ServerState {
    /// PgBouncer's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Login => "new",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Tested => "tested",
        }
    }
}

/// Whom a server connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUse {
    /// The database.
    pub database: Box<str>,
    /// The user it logs in as.
    pub user: Box<str>,
    /// The node.
    pub node: NodeId,
    /// Its host.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
}

/// One server connection.
#[derive(Debug)]
pub struct ServerCard {
    /// Number, unique since the start.
    pub id: u64,
    /// Whom it is for.
    pub about: ServerUse,
    /// When it was begun to be opened.
    pub opened_at: SystemTime,
    /// The address on this side; none for a Unix socket.
    pub local: OnceLock<Option<SocketAddr>>,
    /// Whether it is encrypted.
    pub encrypted: AtomicBool,
    /// Whether it belongs to no pool: it carries replication, or listens for several sessions.
    pub dedicated: AtomicBool,
    pid: AtomicU32,
    state: AtomicU8,
    session: AtomicU64,
    used_at: AtomicU64,
    prepared: AtomicU32,
}

impl ServerCard {
    /// It is open, and this is the process behind it.
    pub fn opened(&self, pid: u32, local: Option<SocketAddr>) {
        self.pid.store(pid, Ordering::Relaxed);
        let _ = self.local.set(local);
    }

    /// Process id of the backend; 0 while it is not known.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// It does this from now on.
    pub fn set(&self, state: ServerState) {
        let session = self.session.load(Ordering::Relaxed);
        if state != ServerState::Active && session != 0 {
            self.session.store(0, Ordering::Relaxed);
        }
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// What it does.
    #[must_use]
    pub fn state(&self) -> ServerState {
        match self.state.load(Ordering::Relaxed) {
            0 => ServerState::Login,
            1 => ServerState::Active,
            2 => ServerState::Idle,
            _ => ServerState::Tested,
        }
    }

    /// This session has it, as of a second since 1970.
    pub fn link(&self, session: u64, second: u64) {
        self.session.store(session, Ordering::Relaxed);
        self.used_at.store(second, Ordering::Relaxed);
    }

    /// The session that has it; 0 for none.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.session.load(Ordering::Relaxed)
    }

    /// When a session got it last, in seconds since 1970; 0 for never.
    #[must_use]
    pub fn used_at(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// So many statements are prepared there.
    pub fn note_prepared(&self, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.prepared.store(number, Ordering::Relaxed);
    }

    /// Number of statements that are prepared there.
    #[must_use]
    pub fn prepared(&self) -> u32 {
        self.prepared.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Servers {
    all: Mutex<HashMap<u64, Arc<ServerCard>>>,
    next: AtomicU64,
    closed: Notify,
}

impl Servers {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<ServerCard>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more is being opened; it is gone when the guard is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>, about: ServerUse, now: SystemTime) -> EnteredServer {
        let card = Arc::new(ServerCard {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            about,
            opened_at: now,
            local: OnceLock::new(),
            encrypted: AtomicBool::new(false),
            dedicated: AtomicBool::new(false),
            pid: AtomicU32::new(0),
            state: AtomicU8::new(ServerState::Login as u8),
            session: AtomicU64::new(0),
            used_at: AtomicU64::new(0),
            prepared: AtomicU32::new(0),
        });
        self.all().insert(card.id, Arc::clone(&card));
        EnteredServer {
            servers: Arc::clone(self),
            card,
        }
    }

    /// All, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<ServerCard>> {
        let mut all: Vec<_> = self.all().values().map(Arc::clone).collect();
        all.sort_by_key(|card| card.id);
        all
    }

    /// Number of the one that was opened last; 0 if there was none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Number of those that fit.
    #[must_use]
    pub fn count(&self, fits: impl Fn(&ServerCard) -> bool) -> usize {
        self.all().values().filter(|card| fits(card)).count()
    }

    /// Waits until none fits.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn none_left(&self, fits: impl Fn(&ServerCard) -> bool) {
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            // Before the look, so that what is closed meanwhile is noticed.
            closed.as_mut().enable();
            if self.count(&fits) == 0 {
                return;
            }
            closed.await;
        }
    }
}

/// A server connection for as long as it is there.
#[derive(Debug)]
pub struct EnteredServer {
    servers: Arc<Servers>,
    /// What others see of it.
    pub card: Arc<ServerCard>,
}

impl Drop for EnteredServer {
    fn drop(&mut self) {
        self.servers.all().remove(&self.card.id);
        self.servers.closed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_there_until_its_guard_is_dropped() {
        let servers = Arc::new(Servers::default());
        let about = ServerUse {
            database: "a".into(),
            user: "u".into(),
            node: NodeId(1),
            host: "h".into(),
            port: 5432,
        };
        let entered = servers.enter(about, SystemTime::UNIX_EPOCH);
        let card = Arc::clone(&entered.card);
        assert_eq!(card.state(), ServerState::Login);
        card.set(ServerState::Active);
        card.link(7, 1);
        assert_eq!((card.session(), card.state()), (7, ServerState::Active));
        card.set(ServerState::Idle);
        assert_eq!((card.session(), card.state()), (0, ServerState::Idle));
        let in_a = |card: &ServerCard| &*card.about.database == "a";
        assert_eq!(servers.count(in_a), 1);
        let mut gone = Box::pin(servers.none_left(in_a));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(gone.as_mut().poll(&mut cx).is_pending());
        drop(entered);
        assert!(gone.as_mut().poll(&mut cx).is_ready());
    }
}
