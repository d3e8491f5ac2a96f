//! Tags of frontend messages, and views of the few fields the proxy reads.
//!
//! A view reads from the start of a body that may be cut off: Bind carries its names first and any
//! amount of parameters after them, so the names can be read before the rest has arrived.

use crate::frame::{FrameError, HEADER_LEN, cstr, header};

/// Tags of messages from a client.
pub mod tag {
    #![expect(
        missing_docs,
        reason = "the names are the protocol's own message names"
    )]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// What Describe and Close refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

/// The fields of Parse.
#[derive(Clone, Copy, Debug)]
pub struct Parse<'a> {
    /// Name of the statement, empty for the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// Number of parameter types given.
    pub type_count: u16,
    /// That number and the types, as they stand in the message.
    pub types: &'a [u8],
}

/// The beginning of Bind.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    /// Name of the portal, empty for the unnamed one.
    pub portal: &'a [u8],
    /// Name of the statement, empty for the unnamed one.
    pub statement: &'a [u8],
    /// Number of formats and number of values, if so much of the message is there.
    pub counts: Option<(u16, u16)>,
}

/// Text of a simple query.
///
/// # Errors
/// The text does not end where the body ends.
pub fn query(body: &[u8]) -> Result<&[u8], FrameError> {
    match cstr(body) {
        Some((text, [])) => Ok(text),
        _ => Err(FrameError::Truncated('Q')),
    }
}

/// Fields of Parse.
///
/// # Errors
/// The body is too short.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, FrameError> {
    let short = FrameError::Truncated('P');
    let (name, rest) = cstr(body).ok_or(short)?;
    let (text, types) = cstr(rest).ok_or(short)?;
    let (count, _) = types.split_first_chunk::<2>().ok_or(short)?;
    Ok(Parse {
        name,
        text,
        type_count: u16::from_be_bytes(*count),
        types,
    })
}

/// Names of Bind and how much it binds, from the start of its body.
///
/// # Errors
/// What is there of the body is too short.
pub fn bind(body: &[u8]) -> Result<Bind<'_>, FrameError> {
    let short = FrameError::Truncated('B');
    let (portal, rest) = cstr(body).ok_or(short)?;
    let (statement, rest) = cstr(rest).ok_or(short)?;
    let counts = rest.split_first_chunk::<2>().and_then(|(formats, rest)| {
        let formats = u16::from_be_bytes(*formats);
        let values = rest.get(2 * usize::from(formats)..)?.first_chunk::<2>()?;
        Some((formats, u16::from_be_bytes(*values)))
    });
    Ok(Bind {
        portal,
        statement,
        counts,
    })
}

/// A Bind to the unnamed portal and what drivers nearly always send behind it: perhaps Describe of that
/// portal, Execute of it without a limit of rows, and Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Name of the statement that is bound, empty for the unnamed one.
    pub statement: &'a [u8],
    /// Number of formats and number of values of the Bind, if it is long enough to have them.
    pub counts: Option<(u16, u16)>,
    /// Bytes of the Bind message.
    pub bind_len: usize,
    /// Bytes of all messages together.
    pub len: usize,
}

/// Describe of the unnamed portal.
const DESCRIBE_UNNAMED: &[u8] = b"D\0\0\0\x06P\0";

/// Execute of the unnamed portal to its end, and Sync.
const EXECUTE_AND_SYNC: &[u8] = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";

/// Reads such messages at the beginning of what a client sent; `None` if other ones stand there, or
/// not all of them are there whole.
#[must_use]
pub fn run(bytes: &[u8]) -> Option<Run<'_>> {
    let bind_len = header(bytes).ok()??.frame_len();
    let (message, behind) = bytes.split_at_checked(bind_len)?;
    let (&tag::BIND, body) = (message.first()?, message.get(HEADER_LEN..)?) else {
        return None;
    };
    let bind = bind(body).ok()?;
    let rest = behind.strip_prefix(DESCRIBE_UNNAMED).unwrap_or(behind);
    let rest = rest.strip_prefix(EXECUTE_AND_SYNC)?;
    bind.portal.is_empty().then_some(Run {
        statement: bind.statement,
        counts: bind.counts,
        bind_len,
        len: bytes.len() - rest.len(),
    })
}

/// What Describe or Close refers to.
///
/// # Errors
/// The body is too short, or names neither a statement nor a portal.
pub fn target(tag: u8, body: &[u8]) -> Result<Target<'_>, FrameError> {
    let short = FrameError::Truncated(char::from(tag));
    let (kind, rest) = body.split_first().ok_or(short)?;
    let (name, _) = cstr(rest).ok_or(short)?;
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        _ => Err(short),
    }
}

/// Portal of Execute.
///
/// # Errors
/// The body is too short.
pub fn execute(body: &[u8]) -> Result<&[u8], FrameError> {
    cstr(body)
        .map(|(portal, _)| portal)
        .ok_or(FrameError::Truncated('E'))
}
