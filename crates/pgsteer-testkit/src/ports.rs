//! TCP ports that are free now and are not handed out twice within this process.
//!
//! Ports are taken from below the kernel's range for outgoing connections (32768 and up on Linux):
//! a port of that range is borrowed by any client that connects anywhere, also while a stopped
//! server is about to come back on it. Each process begins at another place, so that two test
//! binaries at work at the same time do not race for the same numbers.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Result, bail};

/// Returns a port on which nothing listens and which no earlier call in this process returned.
///
/// # Errors
/// When no port of the range is free.
pub fn free_port() -> Result<u16> {
    let span = LAST - FIRST;
    // Knuth's multiplicative hash: neighbouring process ids begin far apart.
    let start = std::process::id().wrapping_mul(2_654_435_761) % u32::from(span);
    for step in 0..u32::from(span) {
        let offset = u16::try_from((start + step) % u32::from(span))?;
        if reserve(FIRST + offset) {
            return Ok(FIRST + offset);
        }
    }
    bail!("no free TCP port between {FIRST} and {LAST}");
}

/// Reserves `port` if nothing listens on it and nobody in this process has it. True on success.
pub fn reserve(port: u16) -> bool {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    !given.contains(&port) && is_unbound(port) && given.insert(port)
}

/// Gives a port back, so that a later call may return it.
pub fn release(port: u16) {
    GIVEN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&port);
}

/// True when neither this machine's loopback nor all its addresses are listened on at `port`.
fn is_unbound(port: u16) -> bool {
    [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]
        .into_iter()
        .all(|address| TcpListener::bind((address, port)).is_ok())
}

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Ours: above the ports services are known by, below Linux's `ip_local_port_range`.
const FIRST: u16 = 15_000;
const LAST: u16 = 32_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_port_in_use_is_not_reserved() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!reserve(port));
        drop(listener);
        assert!(reserve(port));
        release(port);
    }
}
