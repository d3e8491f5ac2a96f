//! Tags of backend messages, and the few of them the proxy opens.

use crate::frame::cstr;

/// Tags of messages from a server.
pub mod tag {
    #![expect(
        missing_docs,
        reason = "the names are the protocol's own message names"
    )]
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_IN: u8 = b'G';
    pub const COPY_OUT: u8 = b'H';
    pub const COPY_BOTH: u8 = b'W';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY: u8 = b'I';
    pub const ERROR: u8 = b'E';
    pub const FUNCTION_CALL: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE: u8 = b'N';
    pub const NOTIFICATION: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Transaction status as ReadyForQuery reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction.
    Idle,
    /// Inside a transaction.
    InTransaction,
    /// Inside a transaction that failed.
    Failed,
}

impl TransactionStatus {
    /// From the body of ReadyForQuery.
    #[must_use]
    pub fn from_body(body: &[u8]) -> Option<Self> {
        match body {
            [b'I'] => Some(Self::Idle),
            [b'T'] => Some(Self::InTransaction),
            [b'E'] => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte in ReadyForQuery.
    #[must_use]
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// Name and value of a ParameterStatus.
#[must_use]
pub fn parameter_status(body: &[u8]) -> Option<(&str, &str)> {
    let (name, rest) = cstr(body)?;
    let (value, _) = cstr(rest)?;
    Some((
        std::str::from_utf8(name).ok()?,
        std::str::from_utf8(value).ok()?,
    ))
}

/// Columns of a DataRow in the text format; none for NULL.
#[must_use]
pub fn data_row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let len = i32::from_be_bytes(*len);
        if len < 0 {
            columns.push(None);
            rest = behind;
            continue;
        }
        let (value, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
        columns.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = behind;
    }
    Some(columns)
}

/// Process id and secret key of BackendKeyData (4 to 256 bytes of key since protocol 3.2).
#[must_use]
pub fn backend_key(body: &[u8]) -> Option<(u32, &[u8])> {
    let (pid, key) = body.split_first_chunk::<4>()?;
    ((4..=256).contains(&key.len())).then_some((u32::from_be_bytes(*pid), key))
}

/// The command tag of CommandComplete.
#[must_use]
pub fn command_tag(body: &[u8]) -> &[u8] {
    cstr(body).map_or(body, |(tag, _)| tag)
}

/// What a server asks of us while we log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationRequest<'a> {
    /// Nothing more.
    Ok,
    /// The password in clear text.
    Cleartext,
    /// The password hashed with this salt.
    Md5([u8; 4]),
    /// One of these mechanisms.
    Sasl(Vec<&'a str>),
    /// Next step of the mechanism.
    SaslContinue(&'a [u8]),
    /// Last step of the mechanism.
    SaslFinal(&'a [u8]),
    /// A method the proxy does not speak, by its number.
    Unsupported(u32),
}

/// Opens the body of an Authentication message; `None` if it is too short.
#[must_use]
pub fn authentication(body: &[u8]) -> Option<AuthenticationRequest<'_>> {
    let (code, rest) = body.split_first_chunk::<4>()?;
    Some(match u32::from_be_bytes(*code) {
        0 => AuthenticationRequest::Ok,
        3 => AuthenticationRequest::Cleartext,
        5 => AuthenticationRequest::Md5(rest.try_into().ok()?),
        10 => {
            let names = rest.split(|&b| b == 0).filter(|name| !name.is_empty());
            AuthenticationRequest::Sasl(names.filter_map(|n| std::str::from_utf8(n).ok()).collect())
        }
        11 => AuthenticationRequest::SaslContinue(rest),
        12 => AuthenticationRequest::SaslFinal(rest),
        other => AuthenticationRequest::Unsupported(other),
    })
}
