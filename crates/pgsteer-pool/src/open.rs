//! Opening a channel to a server, encrypted as the settings want it.

use std::io;

use pgsteer_tls::{Attempt, ServerTls};
use pgsteer_wire::startup;

use crate::connect::open_stream;
use crate::{Channel, Stream};

/// A channel could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Nobody answered, or the socket failed.
    Socket(io::Error),
    /// The server was there, but did not come to terms with us about TLS.
    Tls(io::Error),
}

/// Opens a channel, one way after the other until TLS is not what fails. For messages that a server
/// never refuses, as cancel requests: it is not asked whether it wants another way.
///
/// # Errors
/// What the operating system said, or the first thing that was wrong with TLS.
pub async fn open_channel(host: &str, port: u16, tls: &ServerTls) -> io::Result<Channel> {
    let mut first = None;
    for attempt in tls.attempts(host) {
        match open(host, port, tls, *attempt).await {
            Ok(channel) => return Ok(channel),
            Err(OpenError::Socket(error)) => return Err(error),
            Err(OpenError::Tls(error)) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

/// Opens a channel in one way.
pub(crate) async fn open(
    host: &str,
    port: u16,
    tls: &ServerTls,
    attempt: Attempt,
) -> Result<Channel, OpenError> {
    let stream = open_stream(host, port).await.map_err(OpenError::Socket)?;
    let mut channel = Channel::new(stream);
    let wants = attempt != Attempt::Plain && matches!(channel.stream(), Stream::Tcp(_));
    if wants && (tls.is_direct() || is_willing(&mut channel, attempt).await?) {
        let shaken = channel.connect_tls(tls, host).await;
        shaken.map_err(OpenError::Tls)?;
    }
    Ok(channel)
}

/// Asks the server whether it speaks TLS.
async fn is_willing(channel: &mut Channel, attempt: Attempt) -> Result<bool, OpenError> {
    startup::put_ssl_request(&mut channel.output);
    channel.flush().await.map_err(OpenError::Socket)?;
    if channel.fill().await.map_err(OpenError::Socket)? == 0 {
        return Err(OpenError::Socket(io::ErrorKind::UnexpectedEof.into()));
    }
    // More than the one byte could have been slipped in by somebody in between, to be taken for the
    // server's once there is TLS (CVE-2021-23222).
    let answer = match channel.input.bytes() {
        b"S" => Ok(true),
        b"N" if attempt == Attempt::TlsIfOffered => Ok(false),
        b"N" => Err("the server does not support TLS, which server_tls.mode asks for"),
        // An ErrorResponse: nobody vouches for what it says.
        [b'E', ..] => Err("the server refused to speak about TLS; see its log"),
        _ => Err("the server did not answer the request for TLS as PostgreSQL does"),
    };
    channel.input.consume(1);
    answer.map_err(|text| OpenError::Tls(io::Error::new(io::ErrorKind::InvalidData, text)))
}
