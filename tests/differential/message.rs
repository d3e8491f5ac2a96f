//! Messages of a client, as they are generated, sent and shown.

use crate::support::msg;

/// One message.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Query(String),
    /// FunctionCall of the function with this oid, arguments and result in text.
    Call(u32, Vec<String>),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        values: Vec<Option<Vec<u8>>>,
        /// Format codes of parameters and of results: none, one for all, or too many.
        formats: (Vec<u16>, Vec<u16>),
    },
    Describe(Kind, String),
    Execute(String, u32),
    Close(Kind, String),
    Flush,
    Sync,
    CopyData(String),
    CopyDone,
    CopyFail(String),
}

/// What Describe and Close are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Statement,
    Portal,
    /// Neither: PostgreSQL refuses it.
    Neither,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
            Self::Neither => b'x',
        }
    }
}

impl Message {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Query(sql) => msg::query(sql),
            Self::Call(function, arguments) => call(*function, arguments),
            Self::Parse { name, sql, types } => parse(name, sql, types),
            Self::Bind {
                portal,
                statement,
                values,
                formats,
            } => bind(portal, statement, values, formats),
            Self::Describe(kind, name) => msg::describe(kind.byte(), name),
            Self::Execute(portal, rows) => msg::execute(portal, *rows),
            Self::Close(kind, name) => msg::close(kind.byte(), name),
            Self::Flush => msg::flush(),
            Self::Sync => msg::sync(),
            Self::CopyData(text) => msg::copy_data(text.as_bytes()),
            Self::CopyDone => msg::copy_done(),
            Self::CopyFail(reason) => msg::copy_fail(reason),
        }
    }

    /// Whether PostgreSQL sends what it has to say when this is done.
    pub(crate) fn flushes(&self) -> bool {
        matches!(
            self,
            Self::Query(_) | Self::Call(..) | Self::Flush | Self::Sync
        )
    }
}

fn counted(values: &[u16]) -> Vec<u8> {
    let count = u16::try_from(values.len()).expect("few");
    let all = std::iter::once(&count).chain(values);
    all.flat_map(|value| value.to_be_bytes()).collect()
}

fn valued(value: Option<&[u8]>) -> Vec<u8> {
    let length = value.map_or(-1, |v| i32::try_from(v.len()).expect("short"));
    [&length.to_be_bytes()[..], value.unwrap_or_default()].concat()
}

fn call(function: u32, arguments: &[String]) -> Vec<u8> {
    let mut body = function.to_be_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(u16::try_from(arguments.len()).expect("few").to_be_bytes());
    for argument in arguments {
        body.extend(valued(Some(argument.as_bytes())));
    }
    body.extend([0, 0]);
    msg::frame(b'F', &body)
}

fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).expect("few").to_be_bytes();
    let types = types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
    let body = [msg::cstr(name), msg::cstr(sql), count.to_vec(), types];
    msg::frame(b'P', &body.concat())
}

fn bind(
    portal: &str,
    statement: &str,
    values: &[Option<Vec<u8>>],
    formats: &(Vec<u16>, Vec<u16>),
) -> Vec<u8> {
    let mut body = [msg::cstr(portal), msg::cstr(statement), counted(&formats.0)].concat();
    body.extend(u16::try_from(values.len()).expect("few").to_be_bytes());
    for value in values {
        body.extend(valued(value.as_deref()));
    }
    body.extend(counted(&formats.1));
    msg::frame(b'B', &body)
}
