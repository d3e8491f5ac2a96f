//! The SQLSTATEs the proxy itself sends, from Appendix A of the PostgreSQL documentation.

use std::fmt;

/// A five-character error code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: Self = Self(*$code);)*
        }
    };
}

states! {
    /// All is well (notices).
    SUCCESSFUL_COMPLETION = b"00000";
    /// All is well, but (warnings).
    WARNING = b"01000";
    /// A peer broke the protocol.
    PROTOCOL_VIOLATION = b"08P01";
    /// The connection to a server was lost.
    CONNECTION_FAILURE = b"08006";
    /// No connection to a server could be opened.
    CANNOT_CONNECT = b"08001";
    /// A transaction was idle for too long.
    IDLE_IN_TRANSACTION_TIMEOUT = b"25P03";
    /// A transaction took too long.
    TRANSACTION_TIMEOUT = b"25P04";
    /// A session was idle for too long.
    IDLE_SESSION_TIMEOUT = b"57P05";
    /// The configuration cannot be used.
    CONFIG_FILE_ERROR = b"F0000";
    /// Not possible here.
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// BEGIN inside a transaction (a warning).
    ACTIVE_SQL_TRANSACTION = b"25001";
    /// COMMIT or ROLLBACK outside a transaction (a warning).
    NO_ACTIVE_SQL_TRANSACTION = b"25P01";
    /// Only the end of the transaction is accepted now.
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    /// A write where only reads are possible.
    READ_ONLY_SQL_TRANSACTION = b"25006";
    /// The transaction was rolled back through no fault of its own, and may be repeated.
    SERIALIZATION_FAILURE = b"40001";
    /// A prepared statement that does not exist.
    INVALID_SQL_STATEMENT_NAME = b"26000";
    /// A portal that does not exist.
    INVALID_CURSOR_NAME = b"34000";
    /// A cursor or a portal that exists already.
    DUPLICATE_CURSOR = b"42P03";
    /// A prepared statement that exists already.
    DUPLICATE_PREPARED_STATEMENT = b"42P05";
    /// The user may not log in.
    INVALID_AUTHORIZATION = b"28000";
    /// The password is wrong.
    INVALID_PASSWORD = b"28P01";
    /// Bytes that are no characters.
    CHARACTER_NOT_IN_REPERTOIRE = b"22021";
    /// A value that a parameter cannot have.
    INVALID_PARAMETER_VALUE = b"22023";
    /// A parameter that does not exist.
    UNDEFINED_OBJECT = b"42704";
    /// A command that is not understood.
    SYNTAX_ERROR = b"42601";
    /// A name has more bytes than PostgreSQL keeps (a notice).
    NAME_TOO_LONG = b"42622";
    /// Not possible in the state something is in.
    NOT_IN_PREREQUISITE_STATE = b"55000";
    /// A parameter that cannot be changed now.
    CANT_CHANGE_RUNTIME_PARAM = b"55P02";
    /// A statement was cancelled.
    QUERY_CANCELED = b"57014";
    /// Refused by a policy.
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// A limit of the proxy on stored state.
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// No connection is free.
    TOO_MANY_CONNECTIONS = b"53300";
    /// The operator wants the session to end.
    OPERATOR_INTERVENTION = b"57000";
    /// The proxy is shutting down.
    ADMIN_SHUTDOWN = b"57P01";
    /// No node fits now.
    CANNOT_CONNECT_NOW = b"57P03";
    /// A policy failed.
    SYSTEM_ERROR = b"58000";
    /// The proxy itself is at fault.
    INTERNAL_ERROR = b"XX000";
}

impl SqlState {
    /// The code of a text; `None` unless it is five upper-case letters or digits.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let code: [u8; 5] = text.as_bytes().try_into().ok()?;
        let valid = code
            .iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        valid.then_some(Self(code))
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
