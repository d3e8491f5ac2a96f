//! Puts the parts together and takes them apart again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pgsteer_control::config::{ConfigErrors, Loaded};
use pgsteer_control::{Control, Doors, Embedded};
use pgsteer_core::admin::{ProcessOrder, Request as Order};
use pgsteer_core::counters::Counters;
use pgsteer_core::settings::UnixSocketSettings;
use pgsteer_core::{Facts, Role, Settings, Subscription};
use pgsteer_plugin_host::{Options, WasmLoader};
use pgsteer_session::{DataPlane, Listener, Shared, UnixSocketFile, bind};
use tokio::sync::mpsc::Receiver;
use tracing::{error, info, warn};

use crate::embedded::{DEFAULT_FAILOVER, DEFAULT_ROUTER};
use crate::signals::{Request, Signals};

/// Names under which the embedded plugins stand in the chain.
const ROUTER_NAME: &str = "90-pgpool-router";
const FAILOVER_NAME: &str = "90-pgpool-failover";

/// How long start-up waits until every node was asked once. After that it goes on without those
/// that do not answer.
const FIRST_PROBES: Duration = Duration::from_secs(10);

/// Stack of a thread besides what guests may use, in bytes.
const OWN_STACK_BYTES: usize = 2 << 20;

/// A running proxy.
pub struct Proxy {
    control: Control,
    facts: Arc<Facts>,
    pcp_addresses: Vec<SocketAddr>,
    data_plane: DataPlane,
    addresses: Vec<SocketAddr>,
    unix_sockets: Vec<UnixSocketFile>,
}

/// The sockets clients connect to.
struct Listening {
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    unix_sockets: Vec<UnixSocketFile>,
}

impl Listening {
    fn open(settings: &Settings) -> Result<Self> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for address in &settings.listen {
            let what = || format!("cannot listen on {address}; is another proxy running there?");
            let listener = bind(*address).with_context(what)?;
            addresses.push(listener.local_addr()?);
            listeners.push(Listener::Tcp(listener));
        }
        let mut unix_sockets = Vec::new();
        if let Some(UnixSocketSettings { dir, mode }) = &settings.unix_socket {
            let ports: BTreeSet<_> = addresses.iter().map(SocketAddr::port).collect();
            for port in ports {
                let what = || format!("cannot listen on a Unix socket in {}", dir.display());
                let (listener, file) = UnixSocketFile::bind(dir, port, *mode).with_context(what)?;
                listeners.push(Listener::Unix(listener));
                unix_sockets.push(file);
            }
        }
        Ok(Self {
            listeners,
            addresses,
            unix_sockets,
        })
    }
}

impl Proxy {
    /// Starts control plane and data plane. The control plane runs on the runtime this is called
    /// on, the data plane on threads of its own.
    ///
    /// # Errors
    /// An address cannot be listened on, or an embedded plugin does not load.
    pub async fn start(settings: Settings) -> Result<Self> {
        let Listening {
            listeners,
            addresses,
            unix_sockets,
        } = Listening::open(&settings)?;
        let doors = Doors::open(&settings)?;
        let pcp_addresses = doors.pcp_addresses();
        let (workers, nodes) = (settings.workers, settings.nodes.len());
        let facts = Arc::new(Facts::new(Instant::now(), nodes));
        let loader = WasmLoader::new(Options {
            stack_bytes_max: settings.plugins.stack_bytes_max,
            state_dir: settings.plugins.state_dir.clone(),
            facts: Some(Arc::clone(&facts)),
        });
        let loader = Arc::new(loader.context("cannot start the plugin engine")?);
        let known = Arc::clone(&facts);
        let mut control = Control::start(settings, embedded(), loader, workers, known).await?;
        control.serve(doors);
        if !control.wait_ready(FIRST_PROBES).await {
            warn!("some nodes were not asked yet, starting without waiting for them");
        }
        let counters = Arc::new(Counters::new(workers, nodes));
        let shared = Arc::new(Shared::new(counters, Arc::clone(&facts)));
        let data_plane = DataPlane::start(listeners, workers, &shared, &control.subscribe())?;
        Ok(Self {
            control,
            facts,
            pcp_addresses,
            data_plane,
            addresses,
            unix_sockets,
        })
    }

    /// Addresses clients can connect to.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Addresses for the tools of Pgpool-II.
    #[must_use]
    pub fn pcp_addresses(&self) -> &[SocketAddr] {
        &self.pcp_addresses
    }

    /// What both planes share, for tests that take orders or give them.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// What is true now.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.control.subscribe()
    }

    /// Applies new settings as far as a running proxy can.
    /// Returns the keys of settings that wait for a restart.
    pub fn reload(&self, settings: Settings) -> Vec<&'static str> {
        self.control.reload(settings)
    }

    /// Lets sessions finish their transactions, for as long as the settings allow, and stops.
    pub async fn stop(self) {
        let limit = self.control.current().settings.drain_timeout;
        self.control.drain();
        // Nobody is to find them; those who are connected do not need them.
        drop(self.unix_sockets);
        let data_plane = self.data_plane;
        let joined = tokio::task::spawn_blocking(move || data_plane.join());
        if tokio::time::timeout(limit, joined).await.is_err() {
            warn!("some sessions did not finish in time and are closed");
        }
        self.control.shutdown().await;
    }
}

fn embedded() -> Vec<Embedded> {
    vec![
        Embedded {
            name: ROUTER_NAME.to_owned(),
            bytes: DEFAULT_ROUTER.into(),
            config: |settings| &settings.router_config,
        },
        Embedded {
            name: FAILOVER_NAME.to_owned(),
            bytes: DEFAULT_FAILOVER.into(),
            config: |settings| &settings.failover.rules,
        },
    ]
}

/// Runs a proxy until a signal stops it. `reload` is asked for new settings on SIGHUP, `ready` is
/// told when clients can connect.
///
/// # Errors
/// It cannot start, or its control plane failed.
pub fn run(
    settings: Settings,
    reload: impl Fn() -> Result<Loaded, ConfigErrors>,
    ready: impl FnOnce(&Proxy) -> Result<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Plugins are tried out on its blocking threads.
        .thread_stack_size(OWN_STACK_BYTES + settings.plugins.stack_bytes_max)
        .build()?;
    let ended = runtime.block_on(serve(settings, reload, ready));
    // Threads that wait for sessions that never end must not keep the process.
    runtime.shutdown_background();
    ended
}

pub(crate) async fn serve(
    settings: Settings,
    reload: impl Fn() -> Result<Loaded, ConfigErrors>,
    ready: impl FnOnce(&Proxy) -> Result<()>,
) -> Result<()> {
    let mut signals = Signals::new()?;
    // A signal during start-up stops it: nobody should have to wait for it to finish.
    let started = tokio::select! {
        started = Proxy::start(settings) => started?,
        Request::Stop = signals.next() => return Ok(()),
    };
    let mut proxy = started;
    announce(&proxy);
    ready(&proxy)?;
    let orders = proxy.facts.process_desk.take();
    let mut orders = orders.context("somebody else takes the orders of operators")?;
    loop {
        let wish = tokio::select! {
            request = signals.next() => request,
            Some(order) = orders.recv() => match order.order {
                ProcessOrder::Reload => {
                    let _ = order.reply.send(apply(&proxy, reload()));
                    continue;
                }
                ProcessOrder::Stop => stopping(order, "sessions may finish their transactions"),
                ProcessOrder::StopNow => {
                    stopping(order, "at once");
                    warn!("stopped at once");
                    proxy.control.shutdown().await;
                    return Ok(());
                }
            },
            () = proxy.control.failed() => bail!("a task of the control plane ended by itself"),
        };
        match wish {
            Request::Stop => break,
            Request::Reload => {
                let _ = apply(&proxy, reload());
            }
        }
    }
    info!("stopping: sessions may finish their transactions; a second signal stops at once");
    tokio::select! {
        () = proxy.stop() => {}
        () = stop_at_once(&mut signals, &mut orders) => warn!("stopped at once"),
    }
    Ok(())
}

/// Tells an operator that the proxy does as told.
fn stopping(order: Order<ProcessOrder>, how: &str) -> Request {
    info!(user = order.user, "an operator stops the proxy");
    let _ = order.reply.send(Ok(vec![format!("stopping: {how}")]));
    Request::Stop
}

/// Waits, while the proxy stops already, for a signal or an order not to wait any longer.
async fn stop_at_once(signals: &mut Signals, orders: &mut Receiver<Order<ProcessOrder>>) {
    loop {
        tokio::select! {
            request = signals.next() => if request == Request::Stop {
                return;
            },
            Some(order) = orders.recv() => match order.order {
                ProcessOrder::Reload => {
                    let _ = order.reply.send(Err("the proxy is stopping".to_owned()));
                }
                ProcessOrder::Stop => {
                    let _ = stopping(order, "sessions may finish their transactions");
                }
                ProcessOrder::StopNow => {
                    let _ = stopping(order, "at once");
                    return;
                }
            },
        }
    }
}

/// Applies a configuration, and says what became of it: what is worth knowing, or every mistake.
fn apply(proxy: &Proxy, loaded: Result<Loaded, ConfigErrors>) -> Result<Vec<String>, String> {
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                warn!("{warning}");
            }
            let waiting = proxy.reload(loaded.settings).into_iter();
            let waiting = waiting.map(|key| format!("{key}: takes a restart, the old value stays"));
            Ok(loaded.warnings.into_iter().chain(waiting).collect())
        }
        Err(errors) => {
            error!("configuration was not reloaded, the old one stays");
            for line in errors.to_string().lines() {
                error!("{line}");
            }
            Err(format!(
                "configuration was not reloaded, the old one stays\n{errors}"
            ))
        }
    }
}

fn announce(proxy: &Proxy) {
    let snapshot = proxy.control.current();
    for node in &snapshot.topology.nodes {
        let role = match node.role {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Unknown => "unknown",
        };
        let (host, port, usable) = (&node.host, node.port, node.is_usable());
        info!(node = node.id.0, %host, port, role, usable, "node");
    }
    for address in proxy.addresses() {
        info!(%address, workers = snapshot.settings.workers, "accepting clients");
    }
    for socket in &proxy.unix_sockets {
        info!(path = %socket.path().display(), "accepting clients on a Unix socket");
    }
}
