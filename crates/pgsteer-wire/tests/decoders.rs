//! Decoders against everything that is no message, and against messages that are: on every compiler,
//! what the targets in `fuzz/` do at length.

use pgsteer_wire::backend::{self, TransactionStatus};
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::frame::{self, FRAME_LEN_MAX, FrameError};
use pgsteer_wire::frontend::{self, Target};
use proptest::collection::vec;
use proptest::prelude::*;

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

/// A string as the protocol has them.
fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8.., 0..40)
}

fn with_end(text: &[u8]) -> Vec<u8> {
    [text, b"\0"].concat()
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in any_bytes(), tag in any::<u8>()) {
        let _ = frame::header(&bytes);
        let _ = frontend::query(&bytes);
        let _ = frontend::parse(&bytes);
        let _ = frontend::bind(&bytes);
        let _ = frontend::execute(&bytes);
        let _ = frontend::run(&bytes);
        let _ = frontend::target(tag, &bytes);
        let _ = backend::authentication(&bytes);
        let _ = backend::parameter_status(&bytes);
        let _ = backend::backend_key(&bytes);
        let _ = backend::data_row(&bytes);
        let _ = TransactionStatus::from_body(&bytes);
        let fields = ErrorFields::new(&bytes);
        let _ = (fields.field(tag), fields.sqlstate(), fields.message(), fields.is_fatal());
        prop_assert!(backend::command_tag(&bytes).len() <= bytes.len());
    }

    #[test]
    fn a_header_is_refused_or_fits(tag in any::<u8>(), len in any::<u32>(), rest in any_bytes()) {
        let bytes = [&[tag], &len.to_be_bytes()[..], &rest].concat();
        match frame::header(&bytes) {
            Ok(Some(header)) => {
                prop_assert_eq!(header.tag, tag);
                prop_assert!(header.body_len <= FRAME_LEN_MAX);
                prop_assert_eq!(header.frame_len(), usize::try_from(len).unwrap_or(0) + 1);
            }
            Ok(None) => prop_assert!(false, "five bytes are a header"),
            Err(error) => prop_assert_eq!(error, FrameError::Length(len)),
        }
    }

    #[test]
    fn a_run_is_what_its_messages_are_one_by_one(
        portal in prop_oneof![9 => Just(Vec::new()), 1 => text()],
        statement in text(),
        values in vec(any::<u8>(), 0..40),
        describe in prop_oneof![3 => Just(Some(&b"P\0"[..])), 3 => Just(None), 1 => Just(Some(&b"S\0"[..]))],
        limit in prop_oneof![9 => Just(0_u32), 1 => any::<u32>()],
        behind in any_bytes(),
        cut in any::<prop::sample::Index>(),
    ) {
        let message = |tag: u8, body: &[u8]| {
            let len = u32::try_from(body.len() + 4).unwrap_or(0).to_be_bytes();
            [&[tag], &len[..], body].concat()
        };
        let bind = message(b'B', &[with_end(&portal), with_end(&statement), values].concat());
        let mut sent = bind.clone();
        if let Some(target) = describe {
            sent.extend(message(b'D', target));
        }
        sent.extend(message(b'E', &[&b"\0"[..], &limit.to_be_bytes()].concat()));
        sent.extend(message(b'S', b""));
        let len = sent.len();
        let is_run = portal.is_empty() && describe != Some(b"S\0") && limit == 0;
        sent.extend(behind);
        let run = frontend::run(&sent);
        prop_assert_eq!(run.is_some(), is_run);
        if let Some(run) = run {
            prop_assert_eq!(run.statement, &statement[..]);
            let counts = frontend::bind(&bind[5..]).unwrap().counts;
            prop_assert_eq!((run.bind_len, run.len, run.counts), (bind.len(), len, counts));
        }
        prop_assert_eq!(frontend::run(&sent[..cut.index(len)]), None);
    }

    #[test]
    fn fields_of_messages_are_found_and_half_a_message_is_not_one(
        first in text(),
        second in text(),
        count in any::<u16>(),
    ) {
        let parse = [with_end(&first), with_end(&second), count.to_be_bytes().to_vec()].concat();
        let read = frontend::parse(&parse);
        prop_assert!(read.is_ok_and(|p| p.name == first && p.text == second && p.type_count == count));
        for end in 0..parse.len() {
            prop_assert!(frontend::parse(parse.get(..end).unwrap_or_default()).is_err());
        }
        let bind = [with_end(&first), with_end(&second)].concat();
        let read = frontend::bind(&bind);
        prop_assert!(read.is_ok_and(|b| b.portal == first && b.statement == second));
        let query = with_end(&first);
        prop_assert_eq!(frontend::query(&query), Ok(first.as_slice()));
        prop_assert!(frontend::query(&first).is_err());
        let describe = [b"S", with_end(&first).as_slice()].concat();
        prop_assert_eq!(frontend::target(b'D', &describe), Ok(Target::Statement(&first)));
    }

    #[test]
    fn the_first_field_of_its_kind_is_found(
        fields in vec((1_u8.., "[^\0]{0,20}"), 0..8),
        kind in 1_u8..,
    ) {
        let mut body = Vec::new();
        for (kind, text) in &fields {
            body.push(*kind);
            body.extend(with_end(text.as_bytes()));
        }
        body.push(0);
        let wanted = fields.iter().find(|(found, _)| *found == kind);
        let wanted = wanted.map(|(_, text)| text.as_str());
        prop_assert_eq!(ErrorFields::new(&body).field(kind), wanted);
    }

    #[test]
    fn rows_are_read_back(values in vec(proptest::option::of("[^\0]{0,20}"), 0..8)) {
        let mut body = u16::try_from(values.len()).unwrap_or(0).to_be_bytes().to_vec();
        for value in &values {
            let length = value.as_ref().map_or(-1, |v| i32::try_from(v.len()).unwrap_or(0));
            body.extend(length.to_be_bytes());
            body.extend(value.as_deref().unwrap_or_default().as_bytes());
        }
        let whole = body.len();
        prop_assert_eq!(backend::data_row(&body), Some(values));
        if whole > 2 {
            prop_assert_eq!(backend::data_row(body.get(..whole - 1).unwrap_or_default()), None);
        }
    }
}
