//! The decoder against everything that is no message.

use proptest::prelude::*;

use super::frame::{BODY_BYTES_MAX, Frame, decode, put, put_error, put_strings};
use super::request::Request;

proptest! {
    #[test]
    fn whatever_comes_is_a_message_not_yet_one_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok(Some((frame, length))) = decode(&bytes) {
            prop_assert!(length <= bytes.len());
            prop_assert_eq!(frame.body.len() + 5, length);
            let _ = Request::read(&frame);
            prop_assert!(frame.strings().count() >= 1);
        }
    }

    #[test]
    fn a_message_is_read_back_and_its_beginning_is_not_one(
        tag in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        behind in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        put(&mut bytes, tag, &body);
        let whole = bytes.len();
        bytes.extend(behind);
        prop_assert_eq!(decode(&bytes), Ok(Some((Frame { tag, body: &body }, whole))));
        for end in 0..whole {
            prop_assert_eq!(decode(&bytes[..end]), Ok(None));
        }
        let _ = Request::read(&Frame { tag, body: &body });
    }
}

#[test]
fn lengths_that_cannot_be_are_refused_before_anything_is_stored() {
    for length in [0, 3, u32::MAX, u32::try_from(BODY_BYTES_MAX).unwrap() + 5] {
        let mut bytes = vec![b'L'];
        bytes.extend(length.to_be_bytes());
        assert!(decode(&bytes).is_err(), "{length}");
    }
}

#[test]
fn zeros_inside_what_is_sent_move_no_field() {
    let mut out = Vec::new();
    put_strings(&mut out, b'x', ["a\0b", "c"]);
    put_error(&mut out, "ERROR", "m\0Dfake", "");
    assert_eq!(
        out,
        b"x\0\0\0\x09ab\0c\0E\0\0\0\x27SERROR\0CXX000\0MmDfake\0Fpgsteer\0L0\0\0"
    );
}
