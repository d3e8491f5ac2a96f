//! A relay in front of a node that can do what a network does: lose connections, or swallow all
//! that is sent.
//!
//! Everybody but this crate reaches the node through it, so that one address serves as the node's
//! in a proxy's configuration and in `primary_conninfo`. Replicas and everybody else can be cut off
//! separately: the startup packet tells them apart. A thread of its own runs it, so that it
//! outlives the runtime that started it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// What happens to the connections of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// They work.
    #[default]
    Open,
    /// They are reset, and new ones at once too.
    Cut,
    /// Nothing arrives and nobody is told, as behind a firewall that drops packets. What was sent
    /// meanwhile arrives when the passage is open again.
    Silent,
}

/// The state of the network in front of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// For proxies and clients.
    pub clients: Passage,
    /// For replicas and base backups.
    pub replicas: Passage,
}

impl Link {
    /// The same for everybody.
    #[must_use]
    pub fn all(passage: Passage) -> Self {
        Self {
            clients: passage,
            replicas: passage,
        }
    }

    fn of(self, side: Side) -> Passage {
        match side {
            Side::Clients => self.clients,
            Side::Replicas => self.replicas,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Clients,
    Replicas,
}

/// A running relay; dropping it closes all its connections.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    link: watch::Sender<Link>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Relays from `port` to `target`, both on this machine.
    pub(crate) fn start(port: u16, target: u16) -> Result<Self> {
        let (link, watched) = watch::channel(Link::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("relay-{port}"))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let listening = runtime.and_then(|runtime| {
                    let listener = runtime.block_on(TcpListener::bind((HOST, port)))?;
                    Ok((runtime, listener))
                });
                match listening {
                    Ok((runtime, listener)) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(async {
                            tokio::select! {
                                () = accept(&listener, target, &watched) => {}
                                _ = stopped => {}
                            }
                        });
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .context("cannot start a thread")?;
        let started = started.recv().context("the relay ended at its start")?;
        started.with_context(|| format!("cannot listen on port {port}"))?;
        Ok(Self {
            port,
            link,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Only a bug of ours can make it panic, and then its output says so.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, target: u16, link: &watch::Receiver<Link>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let link = link.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(client, target, link).await {
                        tracing::debug!(target, %error, "relayed connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(target, %error, "cannot accept");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn serve(mut client: TcpStream, target: u16, link: watch::Receiver<Link>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (side, startup) = startup_packet(&mut client, &link).await?;
    let mut gate = Gate { side, link };
    gate.open().await?;
    let mut server = TcpStream::connect((HOST, target)).await?;
    server.set_nodelay(true)?;
    server.write_all(&startup).await?;
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let ended = {
        let up = pump(client_read, server_write, gate.clone());
        let down = pump(server_read, client_write, gate.clone());
        tokio::pin!(down);
        tokio::select! {
            ended = &mut down => ended,
            ended = up => match ended {
                Ok(()) => Ok(()),
                // The server does not listen any more; its last words are still to be delivered.
                Err(_) => down.await,
            },
        }
    };
    if gate.is_cut() {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    ended
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut gate: Gate) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        gate.open().await?;
        let count = tokio::select! {
            count = from.read(&mut buffer) => count?,
            () = gate.changed() => continue,
        };
        if count == 0 {
            return Ok(());
        }
        // What was read in the moment of the fault shares its fate.
        gate.open().await?;
        to.write_all(&buffer[..count]).await?;
    }
}

/// What one connection sees of the network.
#[derive(Clone)]
struct Gate {
    side: Side,
    link: watch::Receiver<Link>,
}

impl Gate {
    /// Waits until bytes pass; an error when the connection is cut.
    async fn open(&mut self) -> io::Result<()> {
        loop {
            let passage = self.link.borrow_and_update().of(self.side);
            match passage {
                Passage::Open => return Ok(()),
                Passage::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
                Passage::Silent => self
                    .link
                    .changed()
                    .await
                    .map_err(|_| io::ErrorKind::ConnectionAborted)?,
            }
        }
    }

    fn is_cut(&self) -> bool {
        self.link.borrow().of(self.side) == Passage::Cut
    }

    async fn changed(&mut self) {
        // The sender is gone at the end only, and `open` says so.
        let _ = self.link.changed().await;
    }
}

/// Reads up to the packet that says who connects; requests for encryption before it are declined.
async fn startup_packet(
    client: &mut TcpStream,
    link: &watch::Receiver<Link>,
) -> io::Result<(Side, Vec<u8>)> {
    loop {
        let length = client.read_u32().await?;
        let rest = usize::try_from(length).unwrap_or(usize::MAX);
        if !(8..=STARTUP_BYTES_MAX).contains(&rest) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut packet = length.to_be_bytes().to_vec();
        packet.resize(rest, 0);
        client.read_exact(&mut packet[4..]).await?;
        let code = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        if code == SSL_REQUEST || code == GSSENC_REQUEST {
            let side = Side::Replicas;
            let open = link.borrow().clients == Passage::Open;
            if !open {
                // Nobody knows yet who this is; a side that works must not wait for the other.
                let link = link.clone();
                Gate { side, link }.open().await?;
            }
            client.write_all(b"N").await?;
            continue;
        }
        return Ok((side_of(&packet), packet));
    }
}

/// A walsender is asked for by a parameter of this name.
fn side_of(packet: &[u8]) -> Side {
    let parameters = packet.get(8..).unwrap_or_default();
    let mut names = parameters.split(|byte| *byte == 0).step_by(2);
    if names.any(|name| name == b"replication") {
        Side::Replicas
    } else {
        Side::Clients
    }
}

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const BUFFER_BYTES: usize = 16 << 10;
/// `MAX_STARTUP_PACKET_LENGTH` of PostgreSQL.
const STARTUP_BYTES_MAX: usize = 10_000;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(parameters: &str) -> Vec<u8> {
        [&[0, 0, 0, 0, 0, 3, 0, 0], parameters.as_bytes()].concat()
    }

    #[test]
    fn replicas_are_known_by_their_startup_packet() {
        let replica = packet("user\0replicator\0replication\0true\0\0");
        assert_eq!(side_of(&replica), Side::Replicas);
        let user = packet("user\0replication\0database\0replication\0\0");
        assert_eq!(side_of(&user), Side::Clients);
    }
}
