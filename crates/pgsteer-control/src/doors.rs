//! Where operators come in, past any session: the admin socket, the port for the tools of Pgpool-II
//! and that for Prometheus. All are opened before anything else starts, so that one that is taken is
//! found out early, and let whoever waits for an answer have it before they close.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::admin::{Desk, NodeOrder, ProcessOrder};
use pgsteer_core::settings::FailoverSettings;
use pgsteer_core::{Facts, Publisher, Settings, Snapshot};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::AdminSocket;
use crate::sockets::{HandedOn, Sockets, name};

/// Why a door could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DoorError {
    /// Somebody answers on the admin socket.
    #[error(
        "another process answers on the admin socket {0}; stop it, or give this proxy another \
         `admin.socket`"
    )]
    Live(PathBuf),
    /// Something else has its name.
    #[error("{0} is there and is no socket; remove it, or change `admin.socket`")]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on the admin socket {0}: {1}")]
    Socket(PathBuf, io::Error),
    /// The port is taken, or the address is not of this machine.
    #[error(
        "cannot listen on {0} for the tools of Pgpool-II: {1}; change `pcp.listen`, or set it to []"
    )]
    Pcp(SocketAddr, io::Error),
    /// The same for the metrics.
    #[error("cannot listen on {0} for Prometheus: {1}; change `metrics.listen`")]
    Metrics(SocketAddr, io::Error),
}

/// Doors that are open, but nobody looks after them yet.
#[derive(Debug, Default)]
pub struct Doors {
    pub(crate) admin: Option<AdminSocket>,
    pub(crate) pcp: Vec<(SocketAddr, TcpListener)>,
    pub(crate) metrics: Vec<(SocketAddr, TcpListener)>,
}

const ADMIN: &str = "admin";
const PCP: &str = "pcp";
const METRICS: &str = "metrics";

impl Doors {
    /// Opens what the settings ask for, as far as it was not handed over.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(settings: &Settings, sockets: &mut Sockets) -> Result<Self, DoorError> {
        let admin = settings.admin.socket.as_deref();
        let admin = admin.map(|path| match sockets.take(&name(ADMIN, path.display())) {
            Some(socket) => AdminSocket::adopt(path, socket),
            None => AdminSocket::open(path),
        });
        let admin = admin.transpose()?;
        let mut pcp = Vec::new();
        if !settings.pcp.users.is_empty() {
            for address in &settings.pcp.listen {
                let opened = open(sockets, PCP, *address);
                let opened = opened.map_err(|error| DoorError::Pcp(*address, error));
                pcp.push((*address, opened?));
            }
        }
        let mut metrics = Vec::new();
        for address in &settings.metrics.listen {
            let opened = open(sockets, METRICS, *address);
            let opened = opened.map_err(|error| DoorError::Metrics(*address, error));
            metrics.push((*address, opened?));
        }
        Ok(Self {
            admin,
            pcp,
            metrics,
        })
    }

    /// Copies of the sockets, for the process that takes over from this one.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn hand_on(&self) -> io::Result<HandedOn> {
        let mut all = HandedOn::new();
        if let Some(admin) = &self.admin {
            all.push((name(ADMIN, admin.path().display()), admin.copy()?));
        }
        for (address, listener) in &self.pcp {
            let copy = OwnedFd::from(listener.try_clone()?);
            all.push((name(PCP, address), copy));
        }
        for (address, listener) in &self.metrics {
            let copy = OwnedFd::from(listener.try_clone()?);
            all.push((name(METRICS, address), copy));
        }
        Ok(all)
    }

    /// Addresses for the tools of Pgpool-II.
    #[must_use]
    pub fn pcp_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.pcp.iter().map(|(_, listener)| listener.local_addr());
        addresses.filter_map(Result::ok).collect()
    }
}

fn open(sockets: &mut Sockets, purpose: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = sockets.take_or(purpose, address, TcpListener::bind)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out; lines for the operator.
    Done(Vec<String>),
    /// It was not, and why.
    Refused(String),
    /// It was handed in, and nobody said in time what became of it.
    Unknown(String),
}

/// What those who serve operators look at, and where they hand in orders.
// Not a subscription, which would keep the snapshot it has seen last, and its plugins, alive.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub(crate) facts: Arc<Facts>,
    pub(crate) publisher: Arc<Publisher>,
    /// True when the proxy ends.
    pub(crate) closing: watch::Receiver<bool>,
}

impl House {
    /// What is true now.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    /// Waits until the proxy ends.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn closed(&self) {
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }

    /// Hands in an order about a node.
    pub(crate) async fn node_order(&self, order: NodeOrder, user: &str) -> Outcome {
        let limit = patience(&self.now().settings.failover);
        ask(&self.facts.node_desk, order, user, limit).await
    }

    /// Hands in an order about the program.
    pub(crate) async fn process_order(&self, order: ProcessOrder, user: &str) -> Outcome {
        let limit = match order {
            ProcessOrder::Upgrade => UPGRADE_MAX,
            _ => GRACE,
        };
        ask(&self.facts.process_desk, order, user, limit).await
    }
}

/// Asked at most as long as what an order may take by itself, with all its commands.
fn patience(failover: &FailoverSettings) -> Duration {
    let all = [
        failover.promote_timeout,
        failover.drain_timeout,
        failover.command_timeout,
        GRACE,
    ];
    all.iter().sum()
}

async fn ask<O: Send>(desk: &Desk<O>, order: O, user: &str, limit: Duration) -> Outcome {
    match tokio::time::timeout(limit, desk.ask(order, user)).await {
        Ok(Ok(lines)) => Outcome::Done(lines),
        Ok(Err(why)) => Outcome::Refused(why),
        Err(_) => Outcome::Unknown(format!(
            "no answer within {} s; look at the nodes before you repeat it",
            limit.as_secs()
        )),
    }
}

/// Connections that are being served.
pub(crate) struct Visitors {
    tasks: JoinSet<()>,
    max: usize,
}

impl Visitors {
    /// Nobody yet, and at most `max`.
    pub(crate) fn new(max: usize) -> Self {
        let tasks = JoinSet::new();
        Self { tasks, max }
    }

    /// Serves one more, or drops it with its connection if there are too many.
    pub(crate) fn admit(&mut self, visit: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() < self.max {
            self.tasks.spawn(visit);
        }
    }

    /// Lets those have their answers who wait for one.
    pub(crate) async fn leave(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}

/// After a failed `accept`: most often there are no file descriptors left, and there will be.
pub(crate) async fn breathe() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Longer than another process may take to start and to take over.
const UPGRADE_MAX: Duration = Duration::from_secs(180);

/// Beyond the time an order may take by itself; also what a reload may take.
const GRACE: Duration = Duration::from_secs(30);

/// How long answers may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);
