//! The first packets of a connection: encryption requests, cancel requests, the startup packet.

use std::collections::BTreeMap;

use pgsteer_pool::{Channel, Stream};
use pgsteer_tls::ClientTls;
use pgsteer_wire::startup::{FirstPacket, MINOR_MAX, STARTUP_LEN_MAX, StartupError, first_packet};
use pgsteer_wire::{ErrorReply, SqlState, encode};

use bytes::BytesMut;
use tracing::info;

/// What a client wants.
pub(crate) enum Wish {
    /// A session with these parameters, in this minor version of protocol 3.
    Session {
        minor: u16,
        parameters: BTreeMap<String, String>,
    },
    /// A statement of another session cancelled.
    Cancel { pid: u32, key: Vec<u8> },
    /// Nothing more: it left, or was told why it must leave.
    Nothing,
}

/// Encryption requests a client may make before it must start; libpq makes two.
const REQUESTS_MAX: usize = 4;

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads first packets until the client says what it wants.
pub(crate) async fn wish(client: &mut Channel, tls: &ClientTls) -> std::io::Result<Wish> {
    if client.fill().await? == 0 {
        return Ok(Wish::Nothing);
    }
    let direct = client.input.bytes().first() == Some(&TLS_HANDSHAKE);
    if direct && is_offered(client, tls) {
        encrypt(client, tls).await?;
        // As PostgreSQL: without it something else than PostgreSQL may have been meant.
        if !client.is_named() {
            info!("a client began with TLS without naming PostgreSQL's protocol (ALPN)");
            return Ok(Wish::Nothing);
        }
    }
    let mut packets = BytesMut::new();
    let mut requests = 0;
    loop {
        let error = match first_packet(&mut packets) {
            Ok(Some(FirstPacket::Ssl | FirstPacket::Gss)) if client.tls().is_some() => {
                "a request for encryption came over an encrypted connection".to_owned()
            }
            Ok(Some(request @ (FirstPacket::Ssl | FirstPacket::Gss))) => {
                requests += 1;
                // Bytes after the request could have been slipped in by somebody in between, to be
                // taken for encrypted later (CVE-2021-23222).
                if requests > REQUESTS_MAX || !packets.is_empty() {
                    return Ok(Wish::Nothing);
                }
                let accepted = request == FirstPacket::Ssl && is_offered(client, tls);
                client
                    .output
                    .extend_from_slice(if accepted { b"S" } else { b"N" });
                client.flush().await?;
                if accepted {
                    encrypt(client, tls).await?;
                }
                continue;
            }
            Ok(Some(FirstPacket::Cancel { pid, key })) => return Ok(Wish::Cancel { pid, key }),
            Ok(Some(FirstPacket::Startup { minor, parameters })) => {
                client.input.extend(&packets);
                if tls.is_required() && client.tls().is_none() && can_encrypt(client) {
                    return refuse(client, &without_tls()).await;
                }
                let minor = negotiate(client, minor, &parameters);
                return Ok(Wish::Session { minor, parameters });
            }
            Ok(None) => {
                let nothing = client.input.is_empty();
                if nothing && (packets.len() > STARTUP_LEN_MAX || client.fill().await? == 0) {
                    return Ok(Wish::Nothing);
                }
                packets.extend_from_slice(client.input.bytes());
                client.input.consume(usize::MAX / 2);
                continue;
            }
            // PostgreSQL does not answer what is no packet at all.
            Err(StartupError::Length) => return Ok(Wish::Nothing),
            Err(error @ StartupError::Version(major, _)) => {
                if major < 3 {
                    // In that protocol's form.
                    let text = format!("EFATAL:  {error}\n\0");
                    client.output.extend_from_slice(text.as_bytes());
                    client.close().await;
                    return Ok(Wish::Nothing);
                }
                let text = error.to_string();
                let reply = ErrorReply::fatal(SqlState::FEATURE_NOT_SUPPORTED, text);
                return refuse(client, &reply).await;
            }
            Err(error) => error.to_string(),
        };
        let reply = ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, error);
        return refuse(client, &reply).await;
    }
}

/// Tells a client why it must leave.
async fn refuse(client: &mut Channel, reply: &ErrorReply) -> std::io::Result<Wish> {
    encode::error(&mut client.output, reply);
    client.close().await;
    Ok(Wish::Nothing)
}

fn without_tls() -> ErrorReply {
    let text = "the proxy takes clients with TLS only";
    ErrorReply::fatal(SqlState::INVALID_AUTHORIZATION, text)
        .with_hint("Set sslmode to require, or to something stronger.")
}

/// As in PostgreSQL there is no TLS over Unix sockets, which do not leave the machine.
fn can_encrypt(client: &Channel) -> bool {
    matches!(client.stream(), Stream::Tcp(_))
}

fn is_offered(client: &Channel, tls: &ClientTls) -> bool {
    tls.config().is_some() && can_encrypt(client)
}

async fn encrypt(client: &mut Channel, tls: &ClientTls) -> std::io::Result<()> {
    let shaken = client.accept_tls(tls).await;
    if let Err(error) = &shaken {
        let address = match client.stream() {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        };
        info!(?address, %error, "a client could not be brought to TLS");
    }
    shaken
}

/// A client that asks for more than the proxy knows is told what it gets, as PostgreSQL 18 does it.
/// Version 3.1 exists in name only: it is 3.0. Returns the version that is spoken.
fn negotiate(client: &mut Channel, asked: u16, parameters: &BTreeMap<String, String>) -> u16 {
    let minor = asked.min(MINOR_MAX);
    let unknown: Vec<&str> = parameters
        .keys()
        .filter(|k| k.starts_with("_pq_."))
        .map(String::as_str)
        .collect();
    if asked > minor || !unknown.is_empty() {
        encode::negotiate_protocol(&mut client.output, minor.into(), &unknown);
    }
    minor
}
