//! Whether a client is who it says it is.

use pgsteer_core::Settings;
use pgsteer_core::settings::AuthMethod;
use pgsteer_pool::Channel;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::scram::{self, ServerExchange};
use pgsteer_wire::{ErrorReply, HEADER_LEN, SqlState, encode, frame, md5};

use crate::end::End;
use crate::worker::Worker;

/// Longest password message, in bytes; PostgreSQL's own limit for it is 65,535.
const PASSWORD_LEN_MAX: usize = 4096;

/// Lets the client prove that it is this user.
pub(crate) async fn authenticate(
    client: &mut Channel,
    worker: &Worker,
    settings: &Settings,
    user: &str,
) -> Result<(), End> {
    let known = settings.users.get(user).map(|u| &*u.password);
    let passed = match settings.auth_method {
        AuthMethod::Trust => true,
        AuthMethod::Password => {
            encode::authentication_cleartext(&mut client.output);
            let given = text(password_message(client).await?);
            known.is_some_and(|known| md5::equal(known.as_bytes(), &given))
        }
        AuthMethod::Md5 => {
            let mut salt = [0; 4];
            if getrandom::fill(&mut salt).is_err() {
                let text = "no random numbers from the operating system";
                return Err(End::Fatal(ErrorReply::fatal(
                    SqlState::INTERNAL_ERROR,
                    text,
                )));
            }
            encode::authentication_md5(&mut client.output, salt);
            let given = text(password_message(client).await?);
            known.is_some_and(|known| md5::equal(md5::hash(user, known, salt).as_bytes(), &given))
        }
        AuthMethod::ScramSha256 => scram(client, worker, settings, user).await?,
    };
    if passed {
        encode::authentication_ok(&mut client.output);
        return Ok(());
    }
    let message = format!("password authentication failed for user \"{user}\"");
    Err(End::Fatal(ErrorReply::fatal(
        SqlState::INVALID_PASSWORD,
        message,
    )))
}

async fn scram(
    client: &mut Channel,
    worker: &Worker,
    settings: &Settings,
    user: &str,
) -> Result<bool, End> {
    let malformed = |_| {
        let text = "malformed SCRAM message";
        End::Fatal(ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, text))
    };
    // What is wrong with the binding is worth saying: somebody may sit in between.
    let unbound = |error: scram::ScramError| {
        let reply = ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string());
        End::Fatal(reply)
    };
    let verifier = worker.verifier(user, settings);
    let end_point = client.tls().and_then(|tls| tls.end_point.as_deref());
    let mut exchange = ServerExchange::new(&verifier).offering(end_point);
    encode::authentication_sasl_of(&mut client.output, exchange.mechanisms());
    let initial = password_message(client).await?;
    let (mechanism, first) = initial_response(&initial).ok_or(()).map_err(malformed)?;
    exchange.choose(mechanism).map_err(|_| malformed(()))?;
    let challenge = exchange.first(first).map_err(unbound)?;
    encode::authentication_sasl_continue(&mut client.output, challenge.as_bytes());
    let response = password_message(client).await?;
    match exchange.last(&response) {
        Ok(last) => {
            encode::authentication_sasl_final(&mut client.output, last.as_bytes());
            Ok(true)
        }
        Err(scram::ScramError::WrongPassword) => Ok(false),
        Err(error) => Err(unbound(error)),
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
                return Err(End::Fatal(ErrorReply::fatal(
                    SqlState::PROTOCOL_VIOLATION,
                    text,
                )));
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
