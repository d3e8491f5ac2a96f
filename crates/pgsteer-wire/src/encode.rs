//! The messages the proxy writes itself, appended to a buffer.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};
use pgwire::messages::response::{CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery};
use pgwire::messages::startup::{Authentication, ParameterStatus};

use crate::backend::TransactionStatus;
use crate::{ErrorReply, Severity};

// Encoding into memory cannot fail for the messages below: pgwire's result is for its I/O layer.
fn put(buf: &mut BytesMut, message: &impl Message) {
    let _ = message.encode(buf);
}

/// A frame with this tag and body.
pub fn frame(buf: &mut BytesMut, tag: u8, body: &[u8]) {
    buf.put_u8(tag);
    buf.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    buf.put_slice(body);
}

/// ReadyForQuery.
pub fn ready(buf: &mut BytesMut, status: TransactionStatus) {
    use pgwire::messages::response::TransactionStatus as Wire;
    let status = match status {
        TransactionStatus::Idle => Wire::Idle,
        TransactionStatus::InTransaction => Wire::Transaction,
        TransactionStatus::Failed => Wire::Error,
    };
    put(buf, &ReadyForQuery::new(status));
}

/// CommandComplete.
pub fn command_complete(buf: &mut BytesMut, tag: &str) {
    put(buf, &CommandComplete::new(tag.to_owned()));
}

/// ErrorResponse, or NoticeResponse for a warning or notice.
pub fn error(buf: &mut BytesMut, reply: &ErrorReply) {
    let severity = reply.severity.as_str().to_owned();
    let mut fields = vec![
        (b'S', severity.clone()),
        (b'V', severity),
        (b'C', reply.sqlstate.as_str().to_owned()),
        (b'M', reply.message.clone()),
    ];
    fields.extend(reply.detail.iter().map(|text| (b'D', text.clone())));
    fields.extend(reply.hint.iter().map(|text| (b'H', text.clone())));
    match reply.severity {
        Severity::Warning | Severity::Notice => put(buf, &NoticeResponse::new(fields)),
        Severity::Error | Severity::Fatal => put(buf, &ErrorResponse::new(fields)),
    }
}

/// AuthenticationOk.
pub fn authentication_ok(buf: &mut BytesMut) {
    put(buf, &Authentication::Ok);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(buf: &mut BytesMut) {
    put(buf, &Authentication::CleartextPassword);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(buf: &mut BytesMut, salt: [u8; 4]) {
    put(buf, &Authentication::MD5Password(salt.to_vec()));
}

/// AuthenticationSASL, offering one mechanism.
pub fn authentication_sasl(buf: &mut BytesMut, mechanism: &str) {
    put(buf, &Authentication::SASL(vec![mechanism.to_owned()]));
}

/// AuthenticationSASL with several mechanisms, the best first.
pub fn authentication_sasl_of(buf: &mut BytesMut, mechanisms: &[&str]) {
    let mechanisms = mechanisms.iter().map(|&name| name.to_owned()).collect();
    put(buf, &Authentication::SASL(mechanisms));
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(buf: &mut BytesMut, data: &[u8]) {
    put(buf, &Authentication::SASLContinue(data.to_vec().into()));
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(buf: &mut BytesMut, data: &[u8]) {
    put(buf, &Authentication::SASLFinal(data.to_vec().into()));
}

/// ParameterStatus.
pub fn parameter_status(buf: &mut BytesMut, name: &str, value: &str) {
    put(
        buf,
        &ParameterStatus::new(name.to_owned(), value.to_owned()),
    );
}

/// BackendKeyData. A key has four bytes up to protocol 3.1, and up to 256 since 3.2.
pub fn backend_key(buf: &mut BytesMut, pid: u32, key: &[u8]) {
    let mut body = BytesMut::new();
    body.put_u32(pid);
    body.put_slice(key);
    frame(buf, b'K', &body);
}

/// RowDescription of text columns.
pub fn row_description(buf: &mut BytesMut, columns: &[&str]) {
    const TEXT_OID: u32 = 25;
    let field = |name: &&str| FieldDescription::new((*name).to_owned(), 0, 0, TEXT_OID, -1, -1, 0);
    put(
        buf,
        &RowDescription::new(columns.iter().map(field).collect()),
    );
}

/// DataRow of text values; the same bytes serve the binary format, whose text is the text itself.
pub fn data_row<S: AsRef<str>>(buf: &mut BytesMut, values: &[S]) {
    let mut data = BytesMut::new();
    for value in values {
        let value = value.as_ref().as_bytes();
        data.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        data.put_slice(value);
    }
    put(
        buf,
        &DataRow::new(data, i16::try_from(values.len()).unwrap_or(i16::MAX)),
    );
}

/// NegotiateProtocolVersion: this is the newest minor version we speak, and these options we do
/// not know.
pub fn negotiate_protocol(buf: &mut BytesMut, minor: u32, unknown: &[&str]) {
    let mut body = BytesMut::new();
    body.put_u32((3 << 16) | minor);
    body.put_u32(u32::try_from(unknown.len()).unwrap_or(0));
    for name in unknown {
        body.put_slice(name.as_bytes());
        body.put_u8(0);
    }
    frame(buf, b'v', &body);
}

/// Query towards a server.
pub fn query(buf: &mut BytesMut, sql: &str) {
    buf.put_u8(b'Q');
    buf.put_u32(u32::try_from(sql.len() + 5).unwrap_or(u32::MAX));
    buf.put_slice(sql.as_bytes());
    buf.put_u8(0);
}

/// Describe of a prepared statement.
pub fn describe_statement(buf: &mut BytesMut, name: &[u8]) {
    let mut body = Vec::with_capacity(name.len() + 2);
    body.push(b'S');
    body.extend_from_slice(name);
    body.push(0);
    frame(buf, b'D', &body);
}

/// Close of a prepared statement towards a server.
pub fn close_statement(buf: &mut BytesMut, name: &[u8]) {
    buf.put_u8(b'C');
    buf.put_u32(u32::try_from(name.len() + 6).unwrap_or(u32::MAX));
    buf.put_u8(b'S');
    buf.put_slice(name);
    buf.put_u8(0);
}

/// A password message towards a server: clear text or MD5, with its final NUL.
pub fn password(buf: &mut BytesMut, password: &str) {
    let mut body = password.as_bytes().to_vec();
    body.push(0);
    frame(buf, b'p', &body);
}

/// SASLInitialResponse towards a server.
pub fn sasl_initial(buf: &mut BytesMut, mechanism: &str, data: &[u8]) {
    let mut body = BytesMut::new();
    body.put_slice(mechanism.as_bytes());
    body.put_u8(0);
    body.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    body.put_slice(data);
    frame(buf, b'p', &body);
}

/// SASLResponse towards a server.
pub fn sasl_response(buf: &mut BytesMut, data: &[u8]) {
    frame(buf, b'p', data);
}
