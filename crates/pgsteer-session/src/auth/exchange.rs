//! The messages of a login, as PostgreSQL asks for passwords.

use pgsteer_pool::Channel;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::scram::{ScramError, ScramKeys, ServerExchange, Verifier};
use pgsteer_wire::{ErrorReply, HEADER_LEN, SqlState, encode, frame};

use crate::end::End;

/// Longest password message, in bytes; PostgreSQL's own limit for it is 65,535.
const PASSWORD_LEN_MAX: usize = 4096;

/// Asks for the password in clear text.
pub(super) async fn cleartext(client: &mut Channel) -> Result<Vec<u8>, End> {
    encode::authentication_cleartext(&mut client.output);
    Ok(text(password_message(client).await?))
}

/// Asks for the password's MD5; answers the salt that was used and what came.
pub(super) async fn md5(client: &mut Channel) -> Result<([u8; 4], Vec<u8>), End> {
    let mut salt = [0; 4];
    if getrandom::fill(&mut salt).is_err() {
        let text = "no random numbers from the operating system";
        return Err(fatal(SqlState::INTERNAL_ERROR, text));
    }
    encode::authentication_md5(&mut client.output, salt);
    Ok((salt, text(password_message(client).await?)))
}

/// Goes through SCRAM; answers the keys of the password if the client knows it.
pub(super) async fn scram(
    client: &mut Channel,
    verifier: &Verifier,
) -> Result<Option<ScramKeys>, End> {
    // What is wrong with the binding is worth saying: somebody may sit in between.
    let wrong = |error: ScramError| fatal(SqlState::PROTOCOL_VIOLATION, &error.to_string());
    let end_point = client.tls().and_then(|tls| tls.end_point.as_deref());
    let mut exchange = ServerExchange::new(verifier).offering(end_point);
    encode::authentication_sasl_of(&mut client.output, exchange.mechanisms());
    let initial = password_message(client).await?;
    let (mechanism, first) = initial_response(&initial)
        .ok_or(ScramError::Malformed)
        .map_err(wrong)?;
    exchange.choose(mechanism).map_err(wrong)?;
    let challenge = exchange.first(first).map_err(wrong)?;
    encode::authentication_sasl_continue(&mut client.output, challenge.as_bytes());
    let response = password_message(client).await?;
    match exchange.last(&response) {
        Ok(accepted) => {
            let message = accepted.message.as_bytes();
            encode::authentication_sasl_final(&mut client.output, message);
            Ok(Some(accepted.keys))
        }
        Err(ScramError::WrongPassword) => Ok(None),
        Err(error) => Err(wrong(error)),
    }
}

/// The mechanism and its data in a SASLInitialResponse.
fn initial_response(body: &[u8]) -> Option<(&str, &[u8])> {
    let (mechanism, rest) = frame::cstr(body)?;
    let (len, data) = rest.split_first_chunk::<4>()?;
    let right_len = usize::try_from(u32::from_be_bytes(*len)).ok()? == data.len();
    let mechanism = std::str::from_utf8(mechanism).ok()?;
    right_len.then_some((mechanism, data))
}

/// A password without its final NUL.
fn text(mut body: Vec<u8>) -> Vec<u8> {
    if body.last() == Some(&0) {
        body.pop();
    }
    body
}

fn fatal(state: SqlState, text: &str) -> End {
    End::Fatal(ErrorReply::fatal(state, text))
}

/// Sends what is waiting and reads the next message, which must be one of the password family.
async fn password_message(client: &mut Channel) -> Result<Vec<u8>, End> {
    client.flush().await?;
    loop {
        let bytes = client.input.bytes();
        if let Some(header) = frame::header(bytes)? {
            if header.tag != tag::PASSWORD || header.body_len > PASSWORD_LEN_MAX {
                let text = format!(
                    "expected password response, got message type {}",
                    header.tag
                );
                return Err(fatal(SqlState::PROTOCOL_VIOLATION, &text));
            }
            if let Some(body) = bytes.get(HEADER_LEN..header.frame_len()) {
                let body = body.to_vec();
                client.input.consume(header.frame_len());
                return Ok(body);
            }
        }
        if client.fill().await? == 0 {
            return Err(End::ClientGone);
        }
    }
}
