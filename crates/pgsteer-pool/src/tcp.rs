//! Signs of life of TCP peers.

use std::io;

use pgsteer_core::settings::TcpSettings;
use socket2::{SockRef, TcpKeepalive};

/// Applies the settings to a TCP socket.
///
/// # Errors
/// The operating system does not know one of them.
pub fn tune(socket: &SockRef<'_>, tcp: &TcpSettings) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if tcp.keepalive {
        let mut keepalive = TcpKeepalive::new();
        if !tcp.keepidle.is_zero() {
            keepalive = keepalive.with_time(tcp.keepidle);
        }
        if !tcp.keepintvl.is_zero() {
            keepalive = keepalive.with_interval(tcp.keepintvl);
        }
        if tcp.keepcnt > 0 {
            keepalive = keepalive.with_retries(tcp.keepcnt);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if !tcp.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(tcp.user_timeout))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_socket_has_what_was_set() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = SockRef::from(&listener);
        let tcp = TcpSettings {
            keepalive: true,
            keepidle: Duration::from_secs(7),
            keepintvl: Duration::from_secs(3),
            keepcnt: 2,
            user_timeout: Duration::from_secs(11),
        };
        tune(&socket, &tcp).unwrap();
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), tcp.keepidle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), tcp.keepintvl);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), tcp.keepcnt);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(tcp.user_timeout));
    }

    #[test]
    fn nobody_is_asked_where_that_is_off() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = SockRef::from(&listener);
        let off = TcpSettings {
            keepalive: false,
            ..TcpSettings::default()
        };
        tune(&socket, &off).unwrap();
        assert!(!socket.keepalive().unwrap());
    }
}
