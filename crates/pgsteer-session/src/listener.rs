//! Accepting clients, and the threads that serve them.
//!
//! One thread accepts and hands each socket to the worker with the fewest clients: with few
//! long-lived clients, spreading by hash would leave workers idle. A session never moves.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pgsteer_core::Subscription;
use pgsteer_core::settings::TcpSettings;
use pgsteer_pool::{Stream, tune};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::login;
use crate::worker::{Shared, Worker};

/// Connections the kernel may hold for us; PgBouncer's and PostgreSQL's order of magnitude.
const BACKLOG: i32 = 1024;

/// Accepted sockets that may wait for a worker.
const HAND_OVER_MAX: usize = 1024;

/// Time between two looks at the clock and at idle server connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks at how long sessions take.
const TIMES_INTERVAL: Duration = Duration::from_millis(500);

/// Opens a listening socket.
///
/// # Errors
/// The address is in use, or may not be used.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that clients connect to.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix domain.
    Unix(UnixListener),
}

/// A client that was accepted.
enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// A copy, for the process that takes over from this one.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(OwnedFd::from),
            Self::Unix(listener) => listener.try_clone().map(OwnedFd::from),
        }
    }

    /// Registers it with the runtime this is called on.
    fn start(self) -> io::Result<Accepting> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener).map(Accepting::Tcp)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener).map(Accepting::Unix)
            }
        }
    }
}

/// A socket at which clients are accepted.
enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    /// The next client. Cancel safe.
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                socket.into_std().map(Accepted::Tcp)
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                socket.into_std().map(Accepted::Unix)
            }
        }
    }
}

/// The running data plane.
pub struct DataPlane {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    // Dropped when no more clients are to come.
    hands: Vec<mpsc::Sender<Accepted>>,
    acceptors: Vec<JoinHandle<()>>,
    // True when clients are not accepted any more.
    closed: watch::Sender<bool>,
}

impl DataPlane {
    /// Starts the workers, and a thread per listening socket that accepts for them.
    ///
    /// # Errors
    /// A thread or its runtime could not be started.
    pub fn start(
        listeners: Vec<Listener>,
        workers: usize,
        shared: &Arc<Shared>,
        subscription: &Subscription,
    ) -> io::Result<Self> {
        let mut started = Self::without_clients(workers, shared, subscription)?;
        started.accept(listeners)?;
        Ok(started)
    }

    /// Starts the workers. No client comes before [`DataPlane::accept`].
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn without_clients(
        workers: usize,
        shared: &Arc<Shared>,
        subscription: &Subscription,
    ) -> io::Result<Self> {
        let mut hands = Vec::new();
        let mut handles = Vec::new();
        let guest = subscription.clone().get().settings.plugins.stack_bytes_max;
        for index in 0..workers {
            let (sender, receiver) = mpsc::channel(HAND_OVER_MAX);
            let (shared, subscription) = (Arc::clone(shared), subscription.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .stack_size(OWN_STACK_BYTES + guest);
            handles.push(thread.spawn(move || work(index, shared, subscription, receiver))?);
            hands.push(sender);
        }
        Ok(Self {
            shared: Arc::clone(shared),
            workers: handles,
            hands,
            acceptors: Vec::new(),
            closed: watch::Sender::new(false),
        })
    }

    /// Accepts clients from now on, on a thread per listening socket.
    ///
    /// # Errors
    /// A thread or its runtime could not be started.
    pub fn accept(&mut self, listeners: Vec<Listener>) -> io::Result<()> {
        self.closed.send_replace(false);
        for listener in listeners {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (hands, shared) = (self.hands.clone(), Arc::clone(&self.shared));
            let closed = self.closed.subscribe();
            let accepting = {
                let _entered = runtime.enter();
                listener.start()?
            };
            let thread = std::thread::Builder::new().name("acceptor".to_owned());
            self.acceptors.push(thread.spawn(move || {
                runtime.block_on(accept(&accepting, &hands, &shared, closed));
            })?);
        }
        Ok(())
    }

    /// Accepts nobody any more, until [`DataPlane::accept`]. When this returns the listening sockets
    /// are closed here.
    pub fn stop_accepting(&mut self) {
        self.closed.send_replace(true);
        for acceptor in self.acceptors.drain(..) {
            if acceptor.join().is_err() {
                warn!("an acceptor thread ended by a panic");
            }
        }
    }

    /// Nobody is accepted ever again: clients that were accepted before are served to their end, and
    /// a worker ends with its last one.
    pub fn retire(&mut self) {
        self.stop_accepting();
        self.hands.clear();
    }

    /// Waits until all workers have ended, which they do with their last session if the snapshot
    /// says drain, or if nobody is accepted any more.
    pub fn join(self) {
        for worker in self.workers {
            if worker.join().is_err() {
                warn!("a worker thread ended by a panic");
            }
        }
    }
}

/// Stack of a worker besides what guests may use, in bytes.
const OWN_STACK_BYTES: usize = 2 << 20;

/// Hands clients out until nobody is to be accepted any more, or there is no worker left.
async fn accept(
    listener: &Accepting,
    workers: &[mpsc::Sender<Accepted>],
    shared: &Shared,
    mut closed: watch::Receiver<bool>,
) {
    loop {
        // Both branches are cancel safe: who was not accepted is still in the queue.
        let accepted = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => {
                let load = |index: usize| {
                    let worker = shared.counters.worker(index);
                    let waiting = HAND_OVER_MAX - workers.get(index).map_or(0, |w| w.capacity());
                    let served = worker
                        .clients_accepted
                        .get()
                        .saturating_sub(worker.clients_closed.get());
                    served + u64::try_from(waiting).unwrap_or(0)
                };
                let alive = |index: &usize| workers.get(*index).is_some_and(|w| !w.is_closed());
                let all = (0..workers.len()).filter(alive);
                let Some(least) = all.min_by_key(|index| load(*index)) else {
                    return;
                };
                if let Some(worker) = workers.get(least)
                    && worker.send(socket).await.is_err()
                {
                    // It has just ended: the client is turned away, the next one is not.
                    continue;
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: those in use go on, new ones wait.
                warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn work(
    index: usize,
    shared: Arc<Shared>,
    subscription: Subscription,
    receiver: mpsc::Receiver<Accepted>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            // A task of its own, as sessions are.
            let served = runtime.spawn_local(serve(index, shared, subscription, receiver));
            if let Err(ended) = runtime.block_on(served)
                && ended.is_panic()
            {
                std::panic::resume_unwind(ended.into_panic());
            }
        }
        Err(error) => warn!(index, %error, "worker could not start"),
    }
}

async fn serve(
    index: usize,
    shared: Arc<Shared>,
    mut subscription: Subscription,
    mut receiver: mpsc::Receiver<Accepted>,
) {
    let worker = Rc::new(Worker::new(index, shared, subscription.clone()));
    // What was published before the worker began is news to it, too.
    worker.snapshot_changed();
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut open = true;
    let mut times = tokio::time::interval(TIMES_INTERVAL);
    let mut traffic = worker.shared.facts.traffic.subscribe();
    let limits = worker.shared.limits.clone();
    loop {
        // All branches are cancel safe: what was not received is received next time.
        tokio::select! {
            socket = receiver.recv(), if open => match socket {
                Some(socket) => spawn(&worker, socket),
                // Those who are here stay.
                None => open = false,
            },
            alive = subscription.changed() => {
                worker.snapshot_changed();
                if !alive {
                    break;
                }
            }
            _ = sweep.tick() => {
                worker.tick();
                worker.fill_pools();
            }
            () = limits.wanted() => worker.pools.give_way(),
            _ = times.tick() => worker.look_at_times(),
            () = traffic.changed() => worker.traffic_changed(),
        }
        let counters = worker.counters();
        let empty = counters.clients_accepted.get() == counters.clients_closed.get();
        if (worker.snapshot().draining || !open) && empty {
            info!(index, "worker has no sessions left and ends");
            break;
        }
    }
}

/// Counts a client for as long as it is served, however that ends.
pub(crate) struct Counted(pub(crate) Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters().clients_closed.add(1);
    }
}

fn spawn(worker: &Rc<Worker>, socket: Accepted) {
    worker.counters().clients_accepted.add(1);
    let counted = Counted(Rc::clone(worker));
    let stream = match prepare(socket, &worker.snapshot().settings.pool.tcp) {
        Ok(stream) => stream,
        Err(error) => return warn!(%error, "cannot serve a client"),
    };
    tokio::task::spawn_local(login::serve(counted, stream));
}

fn prepare(socket: Accepted, tcp: &TcpSettings) -> io::Result<(Stream, Option<SocketAddr>)> {
    match socket {
        Accepted::Tcp(socket) => {
            socket.set_nonblocking(true)?;
            // Finds out about clients whose machine went away.
            tune(&SockRef::from(&socket), tcp)?;
            let address = socket.peer_addr().ok();
            let stream = tokio::net::TcpStream::from_std(socket)?;
            Ok((Stream::Tcp(stream), address))
        }
        Accepted::Unix(socket) => {
            socket.set_nonblocking(true)?;
            let stream = tokio::net::UnixStream::from_std(socket)?;
            Ok((Stream::Unix(stream), None))
        }
    }
}
