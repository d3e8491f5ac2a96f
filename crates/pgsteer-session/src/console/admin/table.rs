//! Tables of the console: columns with types, rows, and how both are put on the wire.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use pgsteer_wire::encode;

/// Type of a column, as PgBouncer has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int4,
    Int8,
    /// For sums; in the extended protocol, which PgBouncer's console does not speak, it is `int8`.
    Numeric,
}

impl Kind {
    fn oid(self, extended: bool) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric if extended => 20,
            Self::Numeric => 1700,
        }
    }

    fn len(self, extended: bool) -> i16 {
        match self {
            Self::Int4 => 4,
            Self::Int8 => 8,
            Self::Numeric if extended => 8,
            Self::Text | Self::Numeric => -1,
        }
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    let name = Cow::Borrowed(name);
    Column { name, kind }
}

/// Columns of text that are not known beforehand.
pub(crate) fn texts(names: &[&str]) -> Vec<Column> {
    let column = |name: &&str| Column {
        name: Cow::Owned((*name).to_owned()),
        kind: Kind::Text,
    };
    names.iter().map(column).collect()
}

/// A column of text.
pub(crate) const fn s(name: &'static str) -> Column {
    column(name, Kind::Text)
}

/// A column of `int4`.
pub(crate) const fn i(name: &'static str) -> Column {
    column(name, Kind::Int4)
}

/// A column of `int8`.
pub(crate) const fn q(name: &'static str) -> Column {
    column(name, Kind::Int8)
}

/// A column of `numeric`.
pub(crate) const fn n(name: &'static str) -> Column {
    column(name, Kind::Numeric)
}

/// What stands in a column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Null,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Number(value.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row.
pub(crate) type Row = Vec<Value>;

/// Which results a client wants in the binary format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Formats {
    /// The simple protocol: all is text.
    #[default]
    Simple,
    /// The extended protocol: true for binary; one for all, or one for each, or none for text.
    Extended(Vec<bool>),
}

impl Formats {
    fn is_extended(&self) -> bool {
        matches!(self, Self::Extended(_))
    }

    fn is_binary(&self, column: usize) -> bool {
        match self {
            Self::Extended(all) if all.len() == 1 => all.first() == Some(&true),
            Self::Extended(all) => all.get(column) == Some(&true),
            Self::Simple => false,
        }
    }
}

/// RowDescription.
pub(crate) fn put_columns(out: &mut BytesMut, columns: &[Column], formats: &Formats) {
    let extended = formats.is_extended();
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
    for (index, column) in columns.iter().enumerate() {
        body.put_slice(column.name.as_bytes());
        body.put_u8(0);
        body.put_u32(0);
        body.put_u16(0);
        body.put_u32(column.kind.oid(extended));
        body.put_i16(column.kind.len(extended));
        body.put_i32(-1);
        body.put_u16(u16::from(formats.is_binary(index)));
    }
    encode::frame(out, b'T', &body);
}

/// DataRow.
pub(crate) fn put_row(out: &mut BytesMut, columns: &[Column], row: &[Value], formats: &Formats) {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(row.len()).unwrap_or(u16::MAX));
    for (index, (value, column)) in row.iter().zip(columns).enumerate() {
        match (value, column.kind) {
            (Value::Null, _) => body.put_i32(-1),
            (Value::Text(text), _) => put_bytes(&mut body, text.as_bytes()),
            (Value::Number(number), Kind::Int4) if formats.is_binary(index) => {
                let number = i32::try_from(*number).unwrap_or(i32::MAX);
                put_bytes(&mut body, &number.to_be_bytes());
            }
            (Value::Number(number), Kind::Int8 | Kind::Numeric) if formats.is_binary(index) => {
                let number = i64::try_from(*number).unwrap_or(i64::MAX);
                put_bytes(&mut body, &number.to_be_bytes());
            }
            (Value::Number(number), _) => put_bytes(&mut body, number.to_string().as_bytes()),
        }
    }
    encode::frame(out, b'D', &body);
}

fn put_bytes(body: &mut BytesMut, bytes: &[u8]) {
    body.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    body.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_text_unless_a_client_wants_them_binary() {
        let columns = [s("a"), i("b"), n("c")];
        let row = [Value::from("x"), Value::from(7_u64), Value::Null];
        let mut out = BytesMut::new();
        put_row(&mut out, &columns, &row, &Formats::Simple);
        assert_eq!(&out[7..], b"\0\0\0\x01x\0\0\0\x017\xff\xff\xff\xff");
        out.clear();
        put_row(&mut out, &columns, &row, &Formats::Extended(vec![true]));
        assert_eq!(
            &out[7..],
            b"\0\0\0\x01x\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff"
        );
    }
}
