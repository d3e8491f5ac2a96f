//! How a session ends.

use bytes::BytesMut;
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::frame::FrameError;
use pgsteer_wire::{ErrorReply, Severity, SqlState, encode};

/// Why a session is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said goodbye.
    Terminated,
    /// The client went away without a word.
    ClientGone,
    /// The client is told this last.
    Fatal(ErrorReply),
    /// The client is told this last: a server's own message, or the whole of an ErrorResponse.
    Message(Vec<u8>),
    /// A message to the client was cut off; nothing can be said any more.
    Broken,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::ClientGone
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        match error {
            // PostgreSQL closes the connection without a word.
            FrameError::Length(_) => Self::ClientGone,
            FrameError::Truncated(_) => {
                let text = error.to_string();
                Self::Fatal(ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, text))
            }
        }
    }
}

/// What a client says that does not know the protocol.
pub(crate) fn unknown_message(tag: u8) -> End {
    let text = format!("invalid frontend message type {tag}");
    End::Fatal(ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, text))
}

/// PostgreSQL's words for it.
pub(crate) fn administrator() -> ErrorReply {
    let text = "terminating connection due to administrator command";
    ErrorReply::fatal(SqlState::ADMIN_SHUTDOWN, text)
}

/// The server is lost and nobody knows what became of the statement.
pub(crate) fn server_lost() -> ErrorReply {
    let text = "connection to the server was lost while a statement was running";
    ErrorReply::error(SqlState::CONNECTION_FAILURE, text)
        .with_hint("The statement may have been carried out: check before you repeat it.")
}

/// The server is lost while the session held state there, but no statement was running.
pub(crate) fn server_lost_idle() -> ErrorReply {
    let text = "connection to the server was lost, and with it the state of this session";
    ErrorReply::fatal(SqlState::CONNECTION_FAILURE, text).with_hint("Connect again.")
}

/// A server's error with another severity: what refuses a login is fatal to it, and what refuses
/// the proxy a connection is not fatal to a session.
pub(crate) fn with_severity(body: &[u8], severity: Severity) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut fields = Vec::with_capacity(body.len() + 4);
    for field in body.split(|&b| b == 0).filter(|field| !field.is_empty()) {
        match field.split_first() {
            Some((kind @ (b'S' | b'V'), _)) => {
                fields.push(*kind);
                fields.extend_from_slice(severity.as_str().as_bytes());
            }
            _ => fields.extend_from_slice(field),
        }
        fields.push(0);
    }
    // Some servers leave it out; clients count on it.
    if ErrorFields::new(body).field(b'C').is_none() {
        fields.extend_from_slice(b"CXX000\0");
    }
    fields.push(0);
    encode::frame(&mut out, b'E', &fields);
    out.to_vec()
}
