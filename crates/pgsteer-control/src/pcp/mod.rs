//! The port for the tools of Pgpool-II (`pcp_node_info` and its relatives), as far as there is
//! something here for what they ask.
//!
//! `frame` is the wire format, `login` the passwords, `request` what the tools want, `rows` what
//! they are shown, `connection` the life of one. Everything was compared with what the tools of
//! Pgpool-II 4.3.5 and its server say to each other.

mod connection;
mod frame;
mod login;
mod request;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool_tests;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tracing::{info, warn};

pub(crate) use login::{digest, is_digest, users};

use crate::doors::{House, Visitors, breathe};

/// Reads whatever this is; a mistake here would panic.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    let Ok(Some((frame, length))) = frame::decode(bytes) else {
        return;
    };
    assert!(length <= bytes.len(), "a message lies in its bytes");
    let _ = request::Request::read(&frame);
    let _ = (frame.strings().count(), frame.number());
}

/// Serves one address until the proxy ends.
pub(crate) async fn run(listener: TcpListener, house: House, common: Common) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "the port for the tools of Pgpool-II cannot be served");
            return;
        }
    };
    if let Ok(address) = listener.local_addr() {
        info!(%address, "accepting the tools of Pgpool-II");
    }
    let mut visitors = Visitors::new(CONNECTIONS_MAX);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let visit = connection::serve(stream, peer, house.clone(), common.clone());
                    visitors.admit(visit);
                }
                Err(_) => breathe().await,
            },
            () = house.closed() => break,
        }
    }
    visitors.leave().await;
}

/// What all addresses share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// When the port was opened.
    started: SystemTime,
    /// Wrong passwords that may be answered at the same time.
    guesses: Arc<Semaphore>,
}

impl Common {
    pub(crate) fn new() -> Self {
        let guesses = Arc::new(Semaphore::new(GUESSES_MAX));
        let started = SystemTime::now();
        Self { started, guesses }
    }
}

/// Connections at one time to one address; ours. One more is closed.
const CONNECTIONS_MAX: usize = 32;

/// With the delay of each: wrong passwords a second, over all addresses.
const GUESSES_MAX: usize = 4;
