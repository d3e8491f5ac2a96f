//! Where a frame begins and ends. Hot: runs for every frame in both directions.
//!
//! A frame is a tag byte, a four-byte length that counts itself but not the tag, and a body.

use thiserror::Error;

/// Bytes before the body: tag and length.
pub const HEADER_LEN: usize = 5;

/// PostgreSQL's ceiling for one message (`PQ_LARGE_MESSAGE_LIMIT`, `MaxAllocSize - 1`).
pub const FRAME_LEN_MAX: usize = 0x3fff_fffe;

/// The start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type; its meaning depends on the direction.
    pub tag: u8,
    /// Length of the body in bytes; `0 <= body_len <= FRAME_LEN_MAX`.
    pub body_len: usize,
}

impl Header {
    /// Length of the whole frame in bytes.
    #[must_use]
    pub fn frame_len(self) -> usize {
        HEADER_LEN + self.body_len
    }
}

/// A peer broke the framing rules; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is below four, or above PostgreSQL's ceiling.
    #[error("invalid message length {0}")]
    Length(u32),
    /// A body ended before the fields it must have.
    #[error("message {0:?} is too short for its fields")]
    Truncated(char),
}

/// Reads the header of the first frame in `bytes`; `None` means not enough bytes yet.
///
/// # Errors
/// [`FrameError::Length`] if the length cannot be right.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let &[tag, a, b, c, d, ..] = bytes else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]);
    match usize::try_from(len) {
        Ok(n) if (4..=FRAME_LEN_MAX).contains(&n) => Ok(Some(Header {
            tag,
            body_len: n - 4,
        })),
        _ => Err(FrameError::Length(len)),
    }
}

/// Splits off a NUL-terminated string; `None` if there is no NUL.
#[must_use]
pub fn cstr(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // Names are empty more often than not.
    if let [0, rest @ ..] = bytes {
        return Some((&[], rest));
    }
    let len = memchr::memchr(0, bytes)?;
    let (text, rest) = bytes.split_at_checked(len)?;
    Some((text, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_a_header_is_not_yet_a_frame() {
        let frame = [b'Q', 0, 0, 0, 6, b'x', 0];
        for n in 0..HEADER_LEN {
            assert_eq!(header(&frame[..n]), Ok(None));
        }
        assert_eq!(
            header(&frame),
            Ok(Some(Header {
                tag: b'Q',
                body_len: 2
            }))
        );
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for len in [0u32, 1, 3, 0x3fff_ffff, u32::MAX] {
            let mut frame = vec![b'Q'];
            frame.extend_from_slice(&len.to_be_bytes());
            assert_eq!(header(&frame), Err(FrameError::Length(len)));
        }
    }
}
