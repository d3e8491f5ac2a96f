//! Messages of a client that are not what they must be, in PostgreSQL's words (`pq_getmsgstring` and
//! its relatives).

use crate::frame::{FrameError, Header, cstr};
use crate::frontend::tag;

/// Longest message of a kind that carries nothing long, with its length word (PostgreSQL's
/// `PQ_SMALL_MESSAGE_LIMIT`).
const SMALL_LEN_MAX: usize = 10_000;

const NO_STRING: &str = "invalid string in message";
const NOTHING_LEFT: &str = "no data left in message";
const TOO_SHORT: &str = "insufficient data left in message";
const TOO_LONG: &str = "invalid message format";

/// Whether a client may send messages of this kind at all.
#[must_use]
pub fn is_known(kind: u8) -> bool {
    matches!(
        kind,
        tag::BIND
            | tag::CLOSE
            | tag::COPY_DATA
            | tag::COPY_DONE
            | tag::COPY_FAIL
            | tag::DESCRIBE
            | tag::EXECUTE
            | tag::FLUSH
            | tag::FUNCTION_CALL
            | tag::PARSE
            | tag::QUERY
            | tag::SYNC
            | tag::TERMINATE
    )
}

/// Whether a message of this kind may be so long.
///
/// # Errors
/// It may not; PostgreSQL closes the connection without a word.
pub fn check_len(header: Header) -> Result<(), FrameError> {
    let large = matches!(
        header.tag,
        tag::BIND | tag::PARSE | tag::QUERY | tag::FUNCTION_CALL | tag::COPY_DATA
    );
    let len = header.body_len + 4;
    if large || len <= SMALL_LEN_MAX || !is_known(header.tag) {
        return Ok(());
    }
    Err(FrameError::Length(u32::try_from(len).unwrap_or(u32::MAX)))
}

/// What is wrong with a message, as far as the proxy interprets it; the rest of Parse and Bind is
/// looked at by the server, and of a long Bind only the beginning needs to be there.
#[must_use]
pub fn malformed(kind: u8, body: &[u8]) -> Option<String> {
    let problem = match kind {
        tag::QUERY => match cstr(body) {
            None => NO_STRING,
            Some((_, [])) => return None,
            Some(_) => TOO_LONG,
        },
        tag::PARSE => match strings(body) {
            None => NO_STRING,
            Some([] | [_]) => TOO_SHORT,
            Some(_) => return None,
        },
        tag::BIND => match strings(body) {
            None => NO_STRING,
            Some(_) => return None,
        },
        tag::EXECUTE => match cstr(body) {
            None => NO_STRING,
            Some((_, [_, _, _, _])) => return None,
            Some((_, rest)) if rest.len() < 4 => TOO_SHORT,
            Some(_) => TOO_LONG,
        },
        tag::DESCRIBE | tag::CLOSE => return target(kind, body),
        tag::FLUSH | tag::SYNC if !body.is_empty() => TOO_LONG,
        _ => return None,
    };
    Some(problem.to_owned())
}

/// What follows two strings.
fn strings(body: &[u8]) -> Option<&[u8]> {
    let (_, rest) = cstr(body)?;
    cstr(rest).map(|(_, rest)| rest)
}

fn target(kind: u8, body: &[u8]) -> Option<String> {
    let problem = match body.split_first() {
        None => NOTHING_LEFT,
        Some((subtype, rest)) => match cstr(rest) {
            None => NO_STRING,
            Some((_, [_, ..])) => TOO_LONG,
            Some(_) if matches!(subtype, b'S' | b'P') => return None,
            Some(_) => {
                let name = if kind == tag::CLOSE {
                    "CLOSE"
                } else {
                    "DESCRIBE"
                };
                return Some(format!("invalid {name} message subtype {subtype}"));
            }
        },
    };
    Some(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_formed_is_not_complained_about() {
        for (kind, body) in [
            (tag::QUERY, &b"SELECT 1\0"[..]),
            (tag::PARSE, b"name\0SELECT 1\0\0\0"),
            (tag::BIND, b"\0\0"),
            (tag::EXECUTE, b"\0\0\0\0\0"),
            (tag::DESCRIBE, b"S\0"),
            (tag::CLOSE, b"Pname\0"),
            (tag::SYNC, b""),
            (tag::COPY_DATA, b"anything"),
        ] {
            assert_eq!(malformed(kind, body), None, "{}", char::from(kind));
        }
    }

    #[test]
    fn only_what_may_be_long_is() {
        let header = |tag, body_len| Header { tag, body_len };
        assert!(check_len(header(tag::SYNC, 9996)).is_ok());
        assert!(check_len(header(tag::SYNC, 9997)).is_err());
        assert!(check_len(header(tag::BIND, 1 << 29)).is_ok());
    }
}
