//! The admin socket: one line of JSON in, one line of JSON out. The peer must be the proxy's own
//! user or root, which the kernel vouches for. It needs no node, so it works when every one is down.

mod protocol;
mod socket;
mod words;

use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::admin::{NodeOrder, ProcessOrder};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{info, warn};

pub use protocol::{LINE_BYTES_MAX, Listed, ListedNode, Reply, Request};
pub(crate) use socket::AdminSocket;

use crate::doors::{House, Outcome, Visitors, breathe};

/// Serves the socket until the proxy ends; then its file is removed.
pub(crate) async fn run(mut socket: AdminSocket, house: House) {
    let listener = match socket.listener() {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "the admin socket cannot be served");
            return;
        }
    };
    info!(path = %socket.path().display(), "accepting operators");
    accept(&listener, &house).await;
    if !house.facts.succession.is_in_charge() {
        socket.leave_file();
    }
    drop(socket);
}

async fn accept(listener: &UnixListener, house: &House) {
    let mut visitors = Visitors::new(CONNECTIONS_MAX);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => visitors.admit(visit(stream, house.clone())),
                Err(_) => breathe().await,
            },
            () = house.closed() => break,
        }
    }
    visitors.leave().await;
}

async fn visit(mut stream: UnixStream, house: House) {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let reply = match peer {
        Ok(uid) if may_enter(uid, own) => {
            let asked = tokio::select! {
                asked = timeout(REQUEST_TIMEOUT, request(&mut stream)) => asked,
                () = house.closed() => return,
            };
            match asked {
                Ok(Ok(request)) => answer(request, &format!("uid {uid}"), &house).await,
                Ok(Err(why)) => Reply::Refused(why),
                Err(_) => Reply::Refused("no request came in time".to_owned()),
            }
        }
        Ok(uid) => {
            warn!(uid, "somebody who may not was at the admin socket");
            Reply::Refused(format!(
                "user id {uid} may not give orders: run this as the user of the proxy or as root"
            ))
        }
        Err(_) => Reply::Refused("the system does not say who you are".to_owned()),
    };
    let mut line = serde_json::to_string(&reply).unwrap_or_default();
    line.push('\n');
    // An operator who is gone needs no answer.
    let _ = timeout(REQUEST_TIMEOUT, stream.write_all(line.as_bytes())).await;
    let _ = stream.shutdown().await;
    // What nobody has read would make the end an error on the other side.
    let mut rest = stream.take(LINE_BYTES_MAX * 16);
    let _ = timeout(
        REQUEST_TIMEOUT,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
}

/// Only the proxy's own user, and root, who could become anybody.
fn may_enter(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

async fn request(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream).take(LINE_BYTES_MAX);
    let read = reader.read_until(b'\n', &mut line).await;
    read.map_err(|error| format!("the request cannot be read: {error}"))?;
    if line.last() != Some(&b'\n') {
        return Err(format!(
            "the request is no line of at most {LINE_BYTES_MAX} bytes"
        ));
    }
    serde_json::from_slice(&line).map_err(|error| format!("the request is not understood: {error}"))
}

async fn answer(request: Request, user: &str, house: &House) -> Reply {
    if let Request::List = request {
        return Reply::Listed(words::listed(&house.now().topology));
    }
    info!(?request, user, "an operator orders");
    let outcome = match request {
        Request::Attach { node } => about(NodeOrder::Attach(NodeId(node)), user, house).await,
        Request::Detach { node } => about(NodeOrder::Detach(NodeId(node)), user, house).await,
        Request::Promote { node } => about(NodeOrder::Promote(NodeId(node)), user, house).await,
        Request::Switchover { node } => {
            about(NodeOrder::Switchover(NodeId(node)), user, house).await
        }
        Request::Reload => house.process_order(ProcessOrder::Reload, user).await,
        Request::Stop { now: false } => house.process_order(ProcessOrder::Stop, user).await,
        Request::Stop { now: true } => house.process_order(ProcessOrder::StopNow, user).await,
        Request::Upgrade => house.process_order(ProcessOrder::Upgrade, user).await,
        Request::List => return Reply::Refused("asked twice".to_owned()),
    };
    match outcome {
        Outcome::Done(lines) => Reply::Done(lines),
        Outcome::Refused(why) => Reply::Refused(why),
        Outcome::Unknown(why) => Reply::Unknown(why),
    }
}

async fn about(order: NodeOrder, user: &str, house: &House) -> Outcome {
    let (node, known) = (order.node(), house.now().topology.nodes.len());
    if node.index() >= known {
        return Outcome::Refused(format!("there is no node {node}: there are {known} nodes"));
    }
    house.node_order(order, user).await
}

/// Connections at one time; ours. One more is closed.
const CONNECTIONS_MAX: usize = 16;

/// How long a request may take to come, and a reply to go.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
