//! Accepting clients, and the threads that serve them.
//!
//! One thread accepts and hands each socket to the worker with the fewest clients: with few
//! long-lived clients, spreading by hash would leave workers idle. A session never moves.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pgsteer_core::Subscription;
use pgsteer_core::settings::TcpSettings;
use pgsteer_pool::{Stream, tune};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing::{info, warn};

use crate::login;
use crate::worker::{Shared, Worker};

/// Connections the kernel may hold for us; PgBouncer's and PostgreSQL's order of magnitude.
const BACKLOG: i32 = 1024;

/// Accepted sockets that may wait for a worker.
const HAND_OVER_MAX: usize = 1024;

/// Time between two looks at the clock and at idle server connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

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
    fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(socket, _)| Accepted::Tcp(socket)),
            Self::Unix(listener) => listener.accept().map(|(socket, _)| Accepted::Unix(socket)),
        }
    }
}

/// The running data plane.
pub struct DataPlane {
    workers: Vec<JoinHandle<()>>,
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
        let mut senders = Vec::new();
        let mut handles = Vec::new();
        let guest = subscription.clone().get().settings.plugins.stack_bytes_max;
        for index in 0..workers {
            let (sender, receiver) = mpsc::channel(HAND_OVER_MAX);
            let (shared, subscription) = (Arc::clone(shared), subscription.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .stack_size(OWN_STACK_BYTES + guest);
            handles.push(thread.spawn(move || work(index, shared, subscription, receiver))?);
            senders.push(sender);
        }
        for listener in listeners {
            let (senders, shared) = (senders.clone(), Arc::clone(shared));
            let thread = std::thread::Builder::new().name("acceptor".to_owned());
            // Ends with the process: it blocks in accept and holds nothing worth waiting for.
            drop(thread.spawn(move || accept(&listener, &senders, &shared))?);
        }
        Ok(Self { workers: handles })
    }

    /// Waits until all workers have ended, which they do when the snapshot says drain and their
    /// last session is over.
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

fn accept(listener: &Listener, workers: &[mpsc::Sender<Accepted>], shared: &Shared) {
    loop {
        match listener.accept() {
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
                    && worker.blocking_send(socket).is_err()
                {
                    // It has just ended: the client is turned away, the next one is not.
                    continue;
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: those in use go on, new ones wait.
                warn!(%error, "cannot accept a client");
                std::thread::park_timeout(Duration::from_millis(100));
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
        .build();
    match runtime {
        Ok(runtime) => {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, serve(index, shared, subscription, receiver));
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
    loop {
        // All branches are cancel safe: what was not received is received next time.
        tokio::select! {
            socket = receiver.recv() => match socket {
                Some(socket) => spawn(&worker, socket),
                None => break,
            },
            alive = subscription.changed() => {
                worker.snapshot_changed();
                if !alive {
                    break;
                }
            }
            _ = sweep.tick() => worker.tick(),
        }
        let counters = worker.counters();
        let empty = counters.clients_accepted.get() == counters.clients_closed.get();
        if worker.snapshot().draining && empty {
            info!(index, "worker has no sessions left and ends");
            break;
        }
    }
}

/// Counts a client for as long as it is served, however that ends.
struct Counted(Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters().clients_closed.add(1);
    }
}

fn spawn(worker: &Rc<Worker>, socket: Accepted) {
    worker.counters().clients_accepted.add(1);
    let counted = Counted(Rc::clone(worker));
    let worker = Rc::clone(worker);
    let stream = match prepare(socket, &worker.snapshot().settings.pool.tcp) {
        Ok(stream) => stream,
        Err(error) => return warn!(%error, "cannot serve a client"),
    };
    tokio::task::spawn_local(async move {
        let _counted = counted;
        let (stream, address) = stream;
        login::serve(worker, stream, address).await;
    });
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
