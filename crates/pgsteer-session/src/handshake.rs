//! The first packets of a connection: encryption requests, cancel requests, the startup packet.

use std::collections::BTreeMap;

use pgsteer_pool::Channel;
use pgsteer_wire::startup::{FirstPacket, MINOR_MAX, STARTUP_LEN_MAX, StartupError, first_packet};
use pgsteer_wire::{ErrorReply, SqlState, encode};

use bytes::BytesMut;

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

/// Reads first packets until the client says what it wants.
pub(crate) async fn wish(client: &mut Channel) -> std::io::Result<Wish> {
    let mut packets = BytesMut::new();
    let mut requests = 0;
    loop {
        match first_packet(&mut packets) {
            Ok(Some(FirstPacket::Ssl | FirstPacket::Gss)) => {
                requests += 1;
                // Bytes after the request could have been slipped in by somebody in between, to be
                // taken for encrypted later (CVE-2021-23222).
                if requests > REQUESTS_MAX || !packets.is_empty() {
                    return Ok(Wish::Nothing);
                }
                client.output.extend_from_slice(b"N");
                client.flush().await?;
            }
            Ok(Some(FirstPacket::Cancel { pid, key })) => return Ok(Wish::Cancel { pid, key }),
            Ok(Some(FirstPacket::Startup { minor, parameters })) => {
                client.input.extend(&packets);
                let minor = negotiate(client, minor, &parameters);
                return Ok(Wish::Session { minor, parameters });
            }
            Ok(None) => {
                if packets.len() > STARTUP_LEN_MAX || client.fill().await? == 0 {
                    return Ok(Wish::Nothing);
                }
                packets.extend_from_slice(client.input.bytes());
                client.input.consume(usize::MAX / 2);
            }
            Err(error) => {
                let sqlstate = match error {
                    StartupError::Version(..) => SqlState::FEATURE_NOT_SUPPORTED,
                    StartupError::Length | StartupError::Layout => SqlState::PROTOCOL_VIOLATION,
                };
                let reply = ErrorReply::fatal(sqlstate, error.to_string());
                encode::error(&mut client.output, &reply);
                client.flush().await?;
                return Ok(Wish::Nothing);
            }
        }
    }
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
