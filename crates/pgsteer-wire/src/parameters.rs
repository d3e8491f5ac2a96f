//! Values bound to parameters, and the three messages that must change when a text was put in the
//! place of another whose parameters are numbered in another way: Parse, Bind, ParameterDescription.
//!
//! A map says, for each parameter of the new text, which parameter of the client's it takes, from 1.

use bytes::{BufMut, BytesMut};

use crate::encode;
use crate::frame::{FrameError, cstr};
use crate::frontend::{self, tag};

/// A value as Bind carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'a> {
    /// In binary format, else in text format.
    pub binary: bool,
    /// Its bytes; `None` for NULL.
    pub bytes: Option<&'a [u8]>,
}

/// Most parameters PostgreSQL takes.
const PARAMETERS_MAX: usize = u16::MAX as usize;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn short() -> FrameError {
        FrameError::Truncated('B')
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        let (head, rest) = self.0.split_first_chunk::<2>().ok_or(Self::short())?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*head))
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or(Self::short())?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*head))
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Self::short())?;
        self.0 = rest;
        Ok(head)
    }
}

/// The values of a Bind, and what follows them (the formats of the result).
///
/// # Errors
/// The body is not whole.
pub fn bound(body: &[u8]) -> Result<(Vec<Bound<'_>>, &[u8]), FrameError> {
    let (_, rest) = cstr(body).ok_or(Reader::short())?;
    let (_, rest) = cstr(rest).ok_or(Reader::short())?;
    let mut reader = Reader(rest);
    let format_count = usize::from(reader.u16()?);
    let formats = reader.bytes(format_count * 2)?;
    let is_binary = |index: usize| {
        let index = if format_count == 1 { 0 } else { index };
        formats.get(index * 2 + 1).copied().unwrap_or(0) == 1
    };
    let count = usize::from(reader.u16()?);
    let mut values = Vec::with_capacity(count.min(reader.0.len() / 4));
    for index in 0..count {
        let len = reader.u32()?;
        let bytes = match i32::from_ne_bytes(len.to_ne_bytes()) {
            -1 => None,
            _ => Some(reader.bytes(usize::try_from(len).unwrap_or(usize::MAX))?),
        };
        let binary = is_binary(index);
        values.push(Bound { binary, bytes });
    }
    Ok((values, reader.0))
}

/// Puts a Parse in the place of the one with this body: another text, and the types of its
/// parameters by the map.
///
/// # Errors
/// The body is not whole.
pub fn put_parse(
    out: &mut BytesMut,
    body: &[u8],
    text: &[u8],
    map: Option<&[u16]>,
) -> Result<(), FrameError> {
    let parse = frontend::parse(body)?;
    let after_texts = parse.name.len() + parse.text.len() + 2;
    let mut reader = Reader(body.get(after_texts..).unwrap_or_default());
    let count = usize::from(reader.u16()?);
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        types.push(reader.u32()?);
    }
    if let Some(map) = map {
        // 0 leaves the type to the server.
        let of = |number: &u16| {
            let given = usize::from(*number)
                .checked_sub(1)
                .and_then(|i| types.get(i));
            given.copied().unwrap_or(0)
        };
        types = map.iter().map(of).collect();
    }
    let mut new = BytesMut::with_capacity(body.len() + text.len());
    for part in [parse.name, text] {
        new.put_slice(part);
        new.put_u8(0);
    }
    new.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
    types.iter().for_each(|oid| new.put_u32(*oid));
    encode::frame(out, tag::PARSE, &new);
    Ok(())
}

/// Puts a Bind in the place of the one with this body, with the values the map names.
///
/// # Errors
/// The body is not whole, or the client bound fewer values than the map names.
pub fn put_bind(out: &mut BytesMut, body: &[u8], map: &[u16]) -> Result<(), FrameError> {
    let names = frontend::bind(body)?;
    let (values, results) = bound(body)?;
    let mut new = BytesMut::with_capacity(body.len());
    for part in [names.portal, names.statement] {
        new.put_slice(part);
        new.put_u8(0);
    }
    let of = |number: &u16| {
        let index = usize::from(*number).checked_sub(1);
        index.and_then(|i| values.get(i)).ok_or(Reader::short())
    };
    let taken = map.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let count = u16::try_from(taken.len().min(PARAMETERS_MAX)).unwrap_or(u16::MAX);
    new.put_u16(count);
    taken
        .iter()
        .for_each(|value| new.put_u16(u16::from(value.binary)));
    new.put_u16(count);
    for value in taken {
        match value.bytes {
            None => new.put_i32(-1),
            Some(bytes) => {
                new.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                new.put_slice(bytes);
            }
        }
    }
    new.put_slice(results);
    encode::frame(out, tag::BIND, &new);
    Ok(())
}

/// Puts a ParameterDescription as the client is to see it in the place of the server's: the type of
/// each of the client's parameters is that of the first new one that takes it.
///
/// # Errors
/// The body is not whole.
pub fn put_description(out: &mut BytesMut, body: &[u8], map: &[u16]) -> Result<(), FrameError> {
    let mut reader = Reader(body);
    let count = usize::from(reader.u16()?);
    let mut types = Vec::with_capacity(count.min(body.len() / 4));
    for _ in 0..count {
        types.push(reader.u32()?);
    }
    let client_count = map.iter().copied().max().unwrap_or(0);
    let mut new = BytesMut::with_capacity(2 + 4 * usize::from(client_count));
    new.put_u16(client_count);
    for number in 1..=client_count {
        let taken_by = map.iter().position(|taken| *taken == number);
        let oid = taken_by.and_then(|index| types.get(index));
        new.put_u32(oid.copied().unwrap_or(0));
    }
    encode::frame(out, b't', &new);
    Ok(())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bind(formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = b"portal\0statement\0".to_vec();
        body.put_u16(u16::try_from(formats.len()).unwrap());
        formats.iter().for_each(|format| body.put_u16(*format));
        body.put_u16(u16::try_from(values.len()).unwrap());
        for value in values {
            match value {
                None => body.put_i32(-1),
                Some(bytes) => {
                    body.put_u32(u32::try_from(bytes.len()).unwrap());
                    body.put_slice(bytes);
                }
            }
        }
        body.put_slice(&[0, 1, 0, 1]);
        body
    }

    #[test]
    fn values_follow_the_map_with_their_formats() {
        let body = bind(&[0, 1, 0], &[Some(b"a"), Some(b"\x01"), None]);
        let mut out = BytesMut::new();
        put_bind(&mut out, &body, &[3, 2, 2, 1]).expect("whole");
        let (values, results) = bound(&out[5..]).expect("whole");
        let value = |binary, bytes| Bound { binary, bytes };
        let expected = [
            value(false, None),
            value(true, Some(&b"\x01"[..])),
            value(true, Some(&b"\x01"[..])),
            value(false, Some(&b"a"[..])),
        ];
        assert_eq!(values, expected);
        assert_eq!(results, [0, 1, 0, 1]);
        let names = frontend::bind(&out[5..]).expect("names");
        assert_eq!(
            (names.portal, names.statement),
            (&b"portal"[..], &b"statement"[..])
        );
        assert!(put_bind(&mut out, &body, &[4]).is_err(), "no such value");
    }

    #[test]
    fn one_format_is_for_all_and_none_is_text() {
        let values: [Option<&[u8]>; 2] = [Some(b"x"), Some(b"y")];
        for (formats, binary) in [(&[1][..], true), (&[][..], false)] {
            let body = bind(formats, &values);
            let (bound, _) = bound(&body).expect("whole");
            assert!(bound.iter().all(|value| value.binary == binary));
        }
    }

    #[test]
    fn types_follow_the_map_and_back() {
        let body = b"name\0old\0\0\x02\0\0\0\x17\0\0\0\x19";
        let mut out = BytesMut::new();
        put_parse(&mut out, body, b"new", Some(&[2, 1, 3])).expect("whole");
        assert_eq!(&out[5..], b"name\0new\0\0\x03\0\0\0\x19\0\0\0\x17\0\0\0\0");
        let mut out = BytesMut::new();
        let described = b"\0\x03\0\0\0\x19\0\0\0\x17\0\0\0\x10";
        put_description(&mut out, described, &[2, 1, 2]).expect("whole");
        assert_eq!(&out[5..], b"\0\x02\0\0\0\x17\0\0\0\x19");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = BytesMut::new();
            let _ = bound(&body);
            let _ = put_bind(&mut out, &body, &[1, 2]);
            let _ = put_parse(&mut out, &body, b"x", Some(&[1]));
            let _ = put_description(&mut out, &body, &[1]);
        }
    }
}
