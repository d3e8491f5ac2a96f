//! How a session ends.

use pgsteer_wire::frame::FrameError;
use pgsteer_wire::{ErrorReply, SqlState};

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
        Self::Fatal(ErrorReply::fatal(
            SqlState::PROTOCOL_VIOLATION,
            error.to_string(),
        ))
    }
}

/// The server is lost and nobody knows what became of the statement.
pub(crate) fn server_lost() -> ErrorReply {
    let text = "connection to the server was lost while a statement was running";
    ErrorReply::fatal(SqlState::CONNECTION_FAILURE, text)
        .with_hint("The statement may have been carried out: check before you repeat it.")
}

/// The server is lost while the session held state there, but no statement was running.
pub(crate) fn server_lost_idle() -> ErrorReply {
    let text = "connection to the server was lost, and with it the state of this session";
    ErrorReply::fatal(SqlState::CONNECTION_FAILURE, text).with_hint("Connect again.")
}
