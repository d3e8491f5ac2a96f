//! Tells the service manager what it asked to be told (`Type=notify` of systemd, see sd_notify(3)):
//! a datagram to the socket that the variable `NOTIFY_SOCKET` names.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// This process serves.
    Ready,
    /// That process serves from now on, and this one only its old sessions.
    Heir(u32),
    /// It stops.
    Stopping,
}

/// Tells it. Whoever started this process may not want to know, or be gone.
pub(crate) fn notify(notice: Notice) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let text = match notice {
        Notice::Ready => format!("READY=1\nMAINPID={}\n", std::process::id()),
        Notice::Heir(pid) => format!("READY=1\nMAINPID={pid}\n"),
        Notice::Stopping => "STOPPING=1\n".to_owned(),
    };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let sent = address.and_then(|address| {
        let datagram = UnixDatagram::unbound()?;
        datagram.set_nonblocking(true)?;
        datagram.send_to_addr(text.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
