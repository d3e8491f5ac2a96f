//! Listening sockets that another process hands over, by name: the process before this one, or
//! whoever starts services.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// Sockets that are open already.
#[derive(Debug, Default)]
pub struct Sockets(HashMap<String, OwnedFd>);

impl Sockets {
    /// One more.
    pub fn put(&mut self, name: String, socket: OwnedFd) {
        self.0.insert(name, socket);
    }

    /// The one of this name, which nobody else gets.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.0.remove(name)
    }

    /// The one for this purpose at this address, or what `open` makes of it.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn take_or(
        &mut self,
        purpose: &str,
        address: SocketAddr,
        open: impl FnOnce(SocketAddr) -> io::Result<TcpListener>,
    ) -> io::Result<TcpListener> {
        match self.take(&name(purpose, address)) {
            Some(socket) => Ok(socket.into()),
            None => open(address),
        }
    }
}

/// What the socket for this purpose at this place is called.
pub fn name(purpose: &str, place: impl std::fmt::Display) -> String {
    format!("{purpose} {place}")
}

/// Copies of sockets with their names, for the process that takes over.
pub type HandedOn = Vec<(String, OwnedFd)>;
