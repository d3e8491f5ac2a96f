//! The untagged first packets of a connection.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::startup::Startup;
use thiserror::Error;

/// PostgreSQL refuses longer first packets (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_LEN_MAX: usize = 10_000;

/// The newest minor version of protocol 3 the proxy speaks, and PostgreSQL since 18.
pub const MINOR_MAX: u16 = 2;

const CANCEL_CODE: u32 = 80_877_102;
const SSL_CODE: u32 = 80_877_103;
const GSS_CODE: u32 = 80_877_104;

/// What a client opened its connection with.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstPacket {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    Gss,
    /// Wants a running statement of another connection cancelled.
    Cancel {
        /// Process id it was given.
        pid: u32,
        /// Secret key it was given.
        key: Vec<u8>,
    },
    /// Wants a session.
    Startup {
        /// Minor version of protocol 3 it asked for.
        minor: u16,
        /// Its parameters, `user` among them.
        parameters: BTreeMap<String, String>,
    },
}

/// The first packet is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartupError {
    /// Its length is impossible.
    #[error("invalid length of startup packet")]
    Length,
    /// Another major version.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Version(u16, u16),
    /// The rest makes no sense.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
}

/// Takes the first packet off `buf`; `None` means not enough bytes yet.
///
/// # Errors
/// The bytes are no first packet of PostgreSQL's protocol 3.
pub fn first_packet(buf: &mut BytesMut) -> Result<Option<FirstPacket>, StartupError> {
    let Some((len, rest)) = buf.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    if !(8..=STARTUP_LEN_MAX).contains(&len) {
        return Err(StartupError::Length);
    }
    let Some(body) = rest.get(..len - 4) else {
        return Ok(None);
    };
    let Some((code, body)) = body.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let packet = match u32::from_be_bytes(*code) {
        SSL_CODE => FirstPacket::Ssl,
        GSS_CODE => FirstPacket::Gss,
        CANCEL_CODE => match body.split_first_chunk::<4>() {
            Some((pid, key)) if (4..=256).contains(&key.len()) => FirstPacket::Cancel {
                pid: u32::from_be_bytes(*pid),
                key: key.to_vec(),
            },
            _ => return Err(StartupError::Length),
        },
        version => startup(version, buf.get(..len).unwrap_or_default())?,
    };
    let _ = buf.split_to(len);
    Ok(Some(packet))
}

fn startup(version: u32, packet: &[u8]) -> Result<FirstPacket, StartupError> {
    let [a, b, c, d] = version.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if major != 3 {
        return Err(StartupError::Version(major, minor));
    }
    let parameters = parameters(packet.get(8..).unwrap_or_default())?;
    Ok(FirstPacket::Startup { minor, parameters })
}

/// Names and values, as PostgreSQL's `ProcessStartupPacket` takes them apart: what has no value is no
/// pair, and one zero must be left.
fn parameters(body: &[u8]) -> Result<BTreeMap<String, String>, StartupError> {
    let text = |at: usize| {
        let rest = body.get(at..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    };
    let owned = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| StartupError::Layout);
    let mut parameters = BTreeMap::new();
    let mut at = 0;
    while at < body.len() {
        let name = text(at);
        let value_at = at + name.len() + 1;
        if name.is_empty() || value_at >= body.len() {
            break;
        }
        let value = text(value_at);
        parameters.insert(owned(name)?, owned(value)?);
        at = value_at + value.len() + 1;
    }
    if at + 1 == body.len() {
        Ok(parameters)
    } else {
        Err(StartupError::Layout)
    }
}

/// Writes the startup packet towards a server, for this minor version of protocol 3.
pub fn put_startup(buf: &mut BytesMut, minor: u16, parameters: &[(&str, &str)]) {
    let mut startup = Startup::new();
    startup.protocol_number_minor = minor;
    for (name, value) in parameters {
        startup
            .parameters
            .insert((*name).to_owned(), (*value).to_owned());
    }
    // Encoding into memory fails only for parameters too long for the packet, which `validate`
    // and the client's own packet limit exclude.
    let _ = startup.encode(buf);
}

/// Writes the request for TLS towards a server.
pub fn put_ssl_request(buf: &mut BytesMut) {
    buf.put_u32(8);
    buf.put_u32(SSL_CODE);
}

/// Writes a cancel request towards a server.
pub fn put_cancel(buf: &mut BytesMut, pid: u32, key: &[u8]) {
    buf.put_u32(u32::try_from(12 + key.len()).unwrap_or(u32::MAX));
    buf.put_u32(CANCEL_CODE);
    buf.put_u32(pid);
    buf.put_slice(key);
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_first_packet_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = first_packet(&mut BytesMut::from(&bytes[..]));
        }

        #[test]
        fn startup_round_trip_at_every_split(name in "[a-z]{1,12}", value in "[ -~]{0,40}") {
            let mut whole = BytesMut::new();
            put_startup(&mut whole, 0, &[("user", "u"), (&name, &value)]);
            for cut in 0..whole.len() {
                prop_assert_eq!(first_packet(&mut BytesMut::from(&whole[..cut])), Ok(None));
            }
            let Ok(Some(FirstPacket::Startup { parameters, .. })) = first_packet(&mut whole)
            else { return Err(TestCaseError::fail("not a startup packet")) };
            prop_assert_eq!(parameters.get(&name), Some(&value));
        }
    }
}
