//! The extended protocol in the console, for drivers that speak nothing else. PgBouncer's console
//! refuses it. A statement is its text; there are no parameters.

use std::collections::HashMap;

use bytes::BytesMut;
use pgsteer_sql::TEXT_LEN_MAX;
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::{self, Target, tag};
use pgsteer_wire::{ErrorReply, HEADER_LEN, Header, SqlState, encode};

use super::table::{Formats, put_columns};
use super::{described, put_reply};
use crate::end::End;
use crate::session::Session;

/// Statements and portals that a client may keep, each; ours.
const KEPT_MAX: usize = 1000;

/// What a client of the console prepared.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    statements: HashMap<Box<[u8]>, String>,
    portals: HashMap<Box<[u8]>, (String, Formats)>,
    /// An error came: everything up to Sync is thrown away.
    failed: bool,
}

impl Session {
    fn prepared_in_console(&mut self) -> &mut Extended {
        self.console.get_or_insert_default()
    }

    /// Serves a frame that is no Query.
    pub(super) async fn extended_console(&mut self, header: Header) -> Result<(), End> {
        if header.frame_len() > TEXT_LEN_MAX {
            let text = "the message is too long for the console";
            let reply = ErrorReply::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, text);
            return Err(End::Fatal(reply));
        }
        self.complete(header, TEXT_LEN_MAX).await?;
        let input = self.client.input.bytes();
        let body = input
            .get(HEADER_LEN..header.frame_len())
            .unwrap_or_default();
        let body = body.to_vec();
        self.client.input.consume(header.frame_len());
        match header.tag {
            tag::SYNC => {
                self.prepared_in_console().failed = false;
                encode::ready(&mut self.client.output, TransactionStatus::Idle);
                return Ok(self.client.flush().await?);
            }
            tag::FLUSH => return Ok(self.client.flush().await?),
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => return Ok(()),
            _ if self.prepared_in_console().failed => return Ok(()),
            _ => {}
        }
        let mut out = BytesMut::new();
        if let Err(reply) = self.console_message(header.tag, &body, &mut out).await? {
            out.clear();
            encode::error(&mut out, &reply);
            self.prepared_in_console().failed = true;
        }
        self.client.output.extend_from_slice(&out);
        Ok(())
    }

    async fn console_message(
        &mut self,
        tag: u8,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<Result<(), ErrorReply>, End> {
        let done = match tag {
            tag::PARSE => {
                let parse = frontend::parse(body)?;
                let text = String::from_utf8_lossy(parse.text).into_owned();
                self.console_parse(parse.name.into(), text)
                    .map(|()| encode::frame(out, b'1', b""))
            }
            tag::BIND => {
                let bind = frontend::bind(body)?;
                let formats = result_formats(body).unwrap_or_default();
                self.console_bind(bind.portal.into(), bind.statement, formats)
                    .map(|()| encode::frame(out, b'2', b""))
            }
            tag::DESCRIBE => self.console_describe(&frontend::target(tag, body)?, out),
            tag::CLOSE => {
                match frontend::target(tag, body)? {
                    Target::Statement(name) => {
                        drop(self.prepared_in_console().statements.remove(name))
                    }
                    Target::Portal(name) => drop(self.prepared_in_console().portals.remove(name)),
                }
                encode::frame(out, b'3', b"");
                Ok(())
            }
            tag::EXECUTE => {
                let name = frontend::execute(body)?;
                let Some((text, formats)) = self.prepared_in_console().portals.get(name).cloned()
                else {
                    return Ok(Err(unknown("portal", name)));
                };
                let reply = self.answer_console(&text).await;
                reply.map(|reply| put_reply(out, &reply, &formats))
            }
            other => {
                let text = format!("unsupported packet type for admin console: {other}");
                let reply = ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, text);
                return Err(End::Fatal(reply));
            }
        };
        Ok(done)
    }

    fn console_parse(&mut self, name: Box<[u8]>, text: String) -> Result<(), ErrorReply> {
        let statements = &mut self.prepared_in_console().statements;
        if statements.len() >= KEPT_MAX && !statements.contains_key(&name) {
            let text = "too many prepared statements in the console";
            return Err(ErrorReply::error(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        statements.insert(name, text);
        Ok(())
    }

    fn console_bind(
        &mut self,
        portal: Box<[u8]>,
        statement: &[u8],
        formats: Vec<bool>,
    ) -> Result<(), ErrorReply> {
        let Some(text) = self.prepared_in_console().statements.get(statement) else {
            return Err(unknown("prepared statement", statement));
        };
        let bound = (text.clone(), Formats::Extended(formats));
        let portals = &mut self.prepared_in_console().portals;
        if portals.len() >= KEPT_MAX {
            portals.clear();
        }
        portals.insert(portal, bound);
        Ok(())
    }

    fn console_describe(
        &mut self,
        target: &Target<'_>,
        out: &mut BytesMut,
    ) -> Result<(), ErrorReply> {
        let (text, formats) = match target {
            Target::Statement(name) => {
                let text = self.prepared_in_console().statements.get(*name);
                let text = text.ok_or_else(|| unknown("prepared statement", name))?;
                // It has no parameters.
                encode::frame(out, b't', &[0, 0]);
                (text, &Formats::Extended(Vec::new()))
            }
            Target::Portal(name) => {
                let found = self.prepared_in_console().portals.get(*name);
                let (text, formats) = found.ok_or_else(|| unknown("portal", name))?;
                (text, formats)
            }
        };
        match described(text).filter(|columns| !columns.is_empty()) {
            Some(columns) => put_columns(out, &columns, formats),
            None => encode::frame(out, b'n', b""),
        }
        Ok(())
    }
}

fn unknown(what: &str, name: &[u8]) -> ErrorReply {
    let name = String::from_utf8_lossy(name);
    let state = match what {
        "portal" => SqlState::INVALID_CURSOR_NAME,
        _ => SqlState::INVALID_SQL_STATEMENT_NAME,
    };
    ErrorReply::error(state, format!("{what} \"{name}\" does not exist"))
}

/// The formats of results that a Bind asks for.
fn result_formats(body: &[u8]) -> Option<Vec<bool>> {
    let mut rest = body;
    for _ in 0..2 {
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest = rest.get(end + 1..)?;
    }
    let formats = number(&mut rest)?;
    rest = rest.get(2 * formats..)?;
    for _ in 0..number(&mut rest)? {
        let (len, more) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
        rest = more.get(len..)?;
    }
    let formats = number(&mut rest)?;
    (0..formats)
        .map(|_| Some(number(&mut rest)? == 1))
        .collect()
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (number, more) = rest.split_first_chunk::<2>()?;
    *rest = more;
    Some(usize::from(u16::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_stand_at_the_end_of_a_bind() {
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x02\0\x01\0\0";
        assert_eq!(result_formats(body), Some(vec![true, false]));
        assert_eq!(result_formats(b"\0\0\0\0\0\0\0\0"), Some(Vec::new()));
        for len in 0..body.len() {
            let _ = result_formats(&body[..len]);
        }
    }
}
