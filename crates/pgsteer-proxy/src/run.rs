//! Puts the parts together, hands them over, and takes them apart again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pgsteer_control::sockets::{HandedOn, Sockets, name};
use pgsteer_control::{Control, Doors, Embedded};
use pgsteer_core::counters::Counters;
use pgsteer_core::settings::UnixSocketSettings;
use pgsteer_core::succession::Stage;
use pgsteer_core::topology::{Activity, Standing};
use pgsteer_core::{Facts, NodeId, Role, Settings, Snapshot, Subscription};
use pgsteer_plugin_host::{Options, WasmLoader};
use pgsteer_session::{DataPlane, Listener, Shared, UnixSocketFile, bind};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::embedded::{DEFAULT_FAILOVER, DEFAULT_ROUTER};
use crate::upgrade::{Elder, Heir};

/// Names under which the embedded plugins stand in the chain.
const ROUTER_NAME: &str = "90-pgpool-router";
const FAILOVER_NAME: &str = "90-pgpool-failover";

/// Purposes of the sockets for clients, for a process that takes over.
const CLIENTS: &str = "clients";
const UNIX_CLIENTS: &str = "unix-clients";

/// How long start-up waits until every node was asked once. After that it goes on without those
/// that do not answer.
const FIRST_PROBES: Duration = Duration::from_secs(10);

/// Cancel requests that may wait for the process before this one; ours.
const STRANGE_CANCELS_MAX: usize = 64;

/// How long the process before this one may take to hear that it is to stop; ours.
const TOLD_WITHIN: Duration = Duration::from_millis(200);

/// A running proxy.
pub struct Proxy {
    pub(crate) control: Control,
    facts: Arc<Facts>,
    pub(crate) shared: Arc<Shared>,
    pcp_addresses: Vec<SocketAddr>,
    addresses: Vec<SocketAddr>,
    unix_sockets: Vec<UnixSocketFile>,
    // Copies of the listening sockets, for the process that takes over.
    sockets: HandedOn,
    pub(crate) sessions: Sessions,
    stopping: watch::Sender<bool>,
}

/// What goes on until the last session has ended.
pub(crate) struct Sessions {
    // Away when its end is waited for.
    data_plane: Option<DataPlane>,
    joined: Option<JoinHandle<()>>,
    // Talks to the process before this one, while there is one.
    elder: JoinSet<()>,
}

impl Sessions {
    /// Waits until no session is left, here and in processes before this one.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn ended(&mut self) {
        if let Some(data_plane) = self.data_plane.take() {
            self.joined = Some(tokio::task::spawn_blocking(move || data_plane.join()));
        }
        if let Some(joined) = &mut self.joined {
            // Its panics are logged where they happen.
            let _ = joined.await;
            self.joined = None;
        }
        while self.elder.join_next().await.is_some() {}
    }
}

/// The sockets clients connect to.
struct Listening {
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    unix_sockets: Vec<UnixSocketFile>,
    /// Unix sockets of which another process has the files for now.
    adopted: Vec<UnixListener>,
    copies: HandedOn,
}

impl Listening {
    /// Listens where the settings say, over sockets that were handed over if there are such.
    fn open(settings: &Settings, handed: &mut Sockets) -> Result<Self> {
        let mut opened = Self {
            listeners: Vec::new(),
            addresses: Vec::new(),
            unix_sockets: Vec::new(),
            adopted: Vec::new(),
            copies: HandedOn::new(),
        };
        for address in &settings.listen {
            let what = || format!("cannot listen on {address}; is another proxy running there?");
            let listener = handed.take_or(CLIENTS, *address, bind).with_context(what)?;
            opened.addresses.push(listener.local_addr()?);
            opened.add(name(CLIENTS, address), Listener::Tcp(listener))?;
        }
        if let Some(settings) = &settings.unix_socket {
            let ports: BTreeSet<_> = opened.addresses.iter().map(SocketAddr::port).collect();
            for port in ports {
                opened.open_unix(settings, port, handed)?;
            }
        }
        Ok(opened)
    }

    fn open_unix(
        &mut self,
        settings: &UnixSocketSettings,
        port: u16,
        handed: &mut Sockets,
    ) -> Result<()> {
        let UnixSocketSettings { dir, mode } = settings;
        let name = name(UNIX_CLIENTS, format!("{} {port}", dir.display()));
        let listener = match handed.take(&name) {
            Some(socket) => {
                let listener = UnixListener::from(socket);
                self.adopted.push(listener.try_clone()?);
                listener
            }
            None => {
                let what = || format!("cannot listen on a Unix socket in {}", dir.display());
                let (listener, file) = UnixSocketFile::bind(dir, port, *mode).with_context(what)?;
                self.unix_sockets.push(file);
                listener
            }
        };
        self.add(name, Listener::Unix(listener))
    }

    fn add(&mut self, name: String, listener: Listener) -> Result<()> {
        self.copies.push((name, listener.copy()?));
        self.listeners.push(listener);
        Ok(())
    }
}

impl Proxy {
    /// Starts control plane and data plane. The control plane runs on the runtime this is called
    /// on, the data plane on threads of its own.
    ///
    /// # Errors
    /// An address cannot be listened on, or an embedded plugin does not load.
    pub async fn start(settings: Settings) -> Result<Self> {
        Self::start_after(settings, None).await
    }

    /// The same, and takes over from a process that serves, as soon as this one can.
    pub(crate) async fn start_after(
        settings: Settings,
        mut elder: Option<&mut Elder>,
    ) -> Result<Self> {
        let mut handed = elder.as_mut().map(|elder| elder.sockets());
        let handed = handed.get_or_insert_default();
        let Listening {
            listeners,
            addresses,
            unix_sockets,
            adopted,
            copies: mut sockets,
        } = Listening::open(&settings, handed)?;
        let doors = Doors::open(&settings, handed)?;
        sockets.extend(doors.hand_on()?);
        let pcp_addresses = doors.pcp_addresses();
        let (workers, nodes) = (settings.workers, settings.nodes.len());
        let facts = Arc::new(Facts::new(Instant::now(), nodes));
        let loader = WasmLoader::new(Options {
            stack_bytes_max: settings.plugins.stack_bytes_max,
            state_dir: settings.plugins.state_dir.clone(),
            facts: Some(Arc::clone(&facts)),
        });
        let loader = Arc::new(loader.context("cannot start the plugin engine")?);
        if elder.is_some() {
            facts.succession.set(Stage::Heir);
        }
        let known = Arc::clone(&facts);
        let mut control = Control::start(settings, embedded(), loader, workers, known).await?;
        let mut doors = Some(doors);
        if elder.is_none() {
            control.serve(doors.take().unwrap_or_default());
        }
        if !control.wait_ready(FIRST_PROBES).await {
            warn!("some nodes were not asked yet, starting without waiting for them");
        }
        let counters = Arc::new(Counters::new(workers, nodes));
        let shared = Arc::new(Shared::new(counters, Arc::clone(&facts)));
        let data_plane = DataPlane::without_clients(workers, &shared, &control.subscribe())?;
        let mut proxy = Self {
            control,
            facts,
            shared,
            pcp_addresses,
            addresses,
            unix_sockets,
            sockets,
            sessions: Sessions {
                data_plane: Some(data_plane),
                joined: None,
                elder: JoinSet::new(),
            },
            stopping: watch::Sender::new(false),
        };
        if let Some(elder) = elder {
            proxy.take_over(elder, doors.unwrap_or_default()).await?;
            for listener in &adopted {
                match UnixSocketFile::adopt(listener) {
                    Ok(file) => proxy.unix_sockets.push(file),
                    Err(error) => warn!(%error, "the files of a Unix socket stay at the end"),
                }
            }
        }
        proxy.accept(listeners)?;
        Ok(proxy)
    }

    /// Waits until the process before this one lets go of clients and nodes.
    async fn take_over(&mut self, elder: &mut Elder, doors: Doors) -> Result<()> {
        let link = elder.take_over().await?;
        self.facts.succession.set(Stage::InCharge);
        self.control.serve(doors);
        let (sender, receiver) = mpsc::channel(STRANGE_CANCELS_MAX);
        self.facts.succession.set_elder(sender);
        self.sessions
            .elder
            .spawn(link.carry(receiver, self.stopping.subscribe()));
        Ok(())
    }

    fn accept(&mut self, listeners: Vec<Listener>) -> Result<()> {
        if let Some(data_plane) = &mut self.sessions.data_plane {
            data_plane.accept(listeners)?;
        }
        Ok(())
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

    /// The listening sockets, for a process that takes over.
    pub(crate) fn sockets(&self) -> &HandedOn {
        &self.sockets
    }

    /// What must not change while another process starts, because it has read it already.
    pub(crate) fn standings(&self) -> Standings {
        let topology = &self.control.current().topology;
        let standings = topology.nodes.iter().map(|node| node.standing);
        Standings {
            primary: topology.primary().map(|node| node.id),
            standings: standings.collect(),
            activity: topology.activity,
        }
    }

    /// Gives clients and nodes to another process. Sessions that are here go on.
    ///
    /// # Errors
    /// It is gone; then everything is as before.
    pub(crate) async fn hand_over(&mut self, heir: &mut Heir) -> Result<()> {
        if let Some(data_plane) = &mut self.sessions.data_plane {
            data_plane.stop_accepting();
        }
        self.facts.succession.set(Stage::Retired);
        if let Err(error) = heir.hand_over().await {
            self.facts.succession.set(Stage::InCharge);
            let mut listeners = Vec::new();
            for (name, socket) in &self.sockets {
                listeners.extend(client_listener(name, socket.try_clone()?));
            }
            self.accept(listeners)?;
            return Err(error).context("the new process is gone");
        }
        for file in &mut self.unix_sockets {
            file.leave();
        }
        Ok(())
    }

    /// Closes what the other process has now.
    pub(crate) async fn let_go(&mut self) {
        self.sockets.clear();
        if let Some(data_plane) = &mut self.sessions.data_plane {
            data_plane.retire();
        }
        self.control.close_doors().await;
    }

    /// Lets sessions finish their transactions, for as long as the settings allow, and stops.
    pub async fn stop(mut self) {
        let limit = self.control.current().settings.drain_timeout;
        self.control.drain();
        self.stopping.send_replace(true);
        // Nobody is to find them; those who are connected do not need them.
        self.unix_sockets.clear();
        if tokio::time::timeout(limit, self.sessions.ended())
            .await
            .is_err()
        {
            warn!("some sessions did not finish in time and are closed");
        }
        self.control.shutdown().await;
    }

    /// Stops without waiting for anybody.
    pub(crate) async fn stop_now(mut self) {
        self.stopping.send_replace(true);
        // So that the process before this one hears of it.
        let told = self.sessions.elder.join_next();
        let _ = tokio::time::timeout(TOLD_WITHIN, told).await;
        self.control.shutdown().await;
    }

    /// Says what it serves.
    pub(crate) fn announce(&self) {
        let snapshot = self.control.current();
        announce_nodes(&snapshot);
        for address in self.addresses() {
            info!(%address, workers = snapshot.settings.workers, "accepting clients");
        }
        for socket in &self.unix_sockets {
            info!(path = %socket.path().display(), "accepting clients on a Unix socket");
        }
    }
}

/// How the nodes stand, as far as it is kept for the next process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standings {
    primary: Option<NodeId>,
    standings: Vec<Standing>,
    pub(crate) activity: Activity,
}

/// The socket, if it is one for clients.
fn client_listener(name: &str, socket: OwnedFd) -> Option<Listener> {
    match name.split(' ').next() {
        Some(CLIENTS) => Some(Listener::Tcp(socket.into())),
        Some(UNIX_CLIENTS) => Some(Listener::Unix(socket.into())),
        _ => None,
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

fn announce_nodes(snapshot: &Snapshot) {
    for node in &snapshot.topology.nodes {
        let role = match node.role {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Unknown => "unknown",
        };
        let (host, port, usable) = (&node.host, node.port, node.is_usable());
        info!(node = node.id.0, %host, port, role, usable, "node");
    }
}
