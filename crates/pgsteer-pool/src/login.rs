//! The proxy proves to a server that it is a user: clear text, MD5, SCRAM.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use pgsteer_wire::backend::{self, AuthenticationRequest};
use pgsteer_wire::scram::{
    self, Challenge, ChannelBinding, ClientExchange, SaltedPassword, ScramError,
};
use pgsteer_wire::{ErrorReply, SqlState, encode, md5};
use tokio::sync::Semaphore;

use crate::{Channel, ConnectError, Credential};

/// Derived passwords kept per worker.
const SALTED_MAX: usize = 256;

/// Passwords that are derived at one time, per worker.
const DERIVING_MAX: usize = 1;

/// User, database and what is known of the password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a Rc<str>,
    pub(crate) database: &'a str,
    pub(crate) credential: &'a Credential,
    /// Further parameters of the startup packet.
    pub(crate) parameters: &'a [(&'a str, &'a str)],
}

/// One login.
pub(crate) struct LoggingIn<'a> {
    login: Login<'a>,
    exchange: Option<ClientExchange>,
}

impl<'a> LoggingIn<'a> {
    pub(crate) fn new(login: Login<'a>) -> Self {
        Self {
            login,
            exchange: None,
        }
    }

    fn exchange(&mut self) -> Result<&mut ClientExchange, ConnectError> {
        let exchange = self.exchange.as_mut();
        exchange.ok_or_else(|| unsupported("unexpected SASL message"))
    }

    /// What is known does not do for what the server asks.
    fn missing(&self, asked: &str) -> ConnectError {
        let Login {
            user, credential, ..
        } = self.login;
        let text = match credential {
            Credential::Nothing => format!("no password is known for user \"{user}\""),
            other => {
                let kind = other.kind();
                format!(
                    "the server asks for {asked}, and all that is known of user \"{user}\" is {kind}"
                )
            }
        };
        let hint = "Add the user with its password to the proxy's users, or let the server ask for \
                    scram-sha-256 and the proxy's clients as well.";
        let reply = ErrorReply::fatal(SqlState::INVALID_PASSWORD, text);
        ConnectError::Unsupported(reply.with_hint(hint))
    }
}

type SaltedKey = (Rc<str>, Vec<u8>, u32);

/// Answers what servers ask; remembers derived passwords, since deriving costs milliseconds, and
/// derives them on another thread, for the same reason.
#[derive(Debug)]
pub(crate) struct Prover {
    salted: RefCell<HashMap<SaltedKey, SaltedPassword>>,
    deriving: Semaphore,
}

impl Default for Prover {
    fn default() -> Self {
        Self {
            salted: RefCell::default(),
            deriving: Semaphore::new(DERIVING_MAX),
        }
    }
}

impl Prover {
    /// Answers one Authentication message.
    pub(crate) async fn answer(
        &self,
        attempt: &mut LoggingIn<'_>,
        body: &[u8],
        channel: &mut Channel,
    ) -> Result<(), ConnectError> {
        let request = backend::authentication(body);
        let request =
            request.ok_or_else(|| unsupported("server sent a malformed login message"))?;
        let Login {
            user, credential, ..
        } = attempt.login;
        match request {
            AuthenticationRequest::Ok => {}
            AuthenticationRequest::Cleartext => match credential {
                Credential::Password(password) => encode::password(&mut channel.output, password),
                _ => return Err(attempt.missing("the password in clear text")),
            },
            AuthenticationRequest::Md5(salt) => match credential {
                Credential::Password(password) => {
                    let answer = md5::hash(user, password, salt);
                    encode::password(&mut channel.output, &answer);
                }
                Credential::Md5(stored) => {
                    encode::password(&mut channel.output, &md5::answer(stored, salt));
                }
                _ => return Err(attempt.missing("MD5")),
            },
            AuthenticationRequest::Sasl(mechanisms) => {
                if !mechanisms.contains(&scram::MECHANISM) {
                    let text = "server offers no SASL mechanism the proxy speaks";
                    return Err(unsupported(text));
                }
                if matches!(credential, Credential::Nothing | Credential::Md5(_)) {
                    return Err(attempt.missing("SCRAM-SHA-256"));
                }
                let end_point = channel.tls().and_then(|tls| tls.end_point.as_deref());
                let binding = ChannelBinding::choose(end_point, &mechanisms);
                let mechanism = binding.mechanism();
                let exchange = ClientExchange::bound(binding).map_err(malformed)?;
                let first = exchange.first();
                encode::sasl_initial(&mut channel.output, mechanism, first.as_bytes());
                attempt.exchange = Some(exchange);
            }
            AuthenticationRequest::SaslContinue(data) => {
                let response = self.response(attempt, data).await?;
                encode::sasl_response(&mut channel.output, response.as_bytes());
            }
            AuthenticationRequest::SaslFinal(data) => {
                attempt.exchange()?.verify(data).map_err(malformed)?;
            }
            AuthenticationRequest::Unsupported(code) => {
                let text = format!("server asks for authentication method {code}");
                return Err(unsupported(&text));
            }
        }
        Ok(())
    }

    /// The proof in SCRAM.
    async fn response(
        &self,
        attempt: &mut LoggingIn<'_>,
        data: &[u8],
    ) -> Result<String, ConnectError> {
        let Login {
            user, credential, ..
        } = attempt.login;
        let challenge = attempt.exchange()?.challenge(data).map_err(malformed)?;
        match credential {
            Credential::Scram(keys) if keys.fit(&challenge) => {
                Ok(attempt.exchange()?.last_with(keys, &challenge))
            }
            Credential::Scram(_) => Err(other_secret(user)),
            Credential::Password(password) => {
                let salted = self.salted(user, password, &challenge).await?;
                Ok(attempt.exchange()?.last(&salted, &challenge))
            }
            Credential::Nothing | Credential::Md5(_) => Err(attempt.missing("SCRAM-SHA-256")),
        }
    }

    async fn salted(
        &self,
        user: &Rc<str>,
        password: &Arc<str>,
        challenge: &Challenge,
    ) -> Result<SaltedPassword, ConnectError> {
        let (salt, iterations) = (challenge.salt.clone(), challenge.iterations);
        let key = (Rc::clone(user), salt.clone(), iterations);
        let known = || self.salted.borrow().get(&key).cloned();
        if let Some(known) = known() {
            return Ok(known);
        }
        // Never closed, so there is always a permit in the end.
        let _permit = self.deriving.acquire().await;
        // Whoever waited for the same password has it now.
        if let Some(known) = known() {
            return Ok(known);
        }
        let password = Arc::clone(password);
        let derive = move || SaltedPassword::derive(&password, &salt, iterations);
        let derived = tokio::task::spawn_blocking(derive).await;
        let derived = derived.map_err(|_| unsupported("the password could not be derived"))?;
        let mut salted = self.salted.borrow_mut();
        if salted.len() >= SALTED_MAX {
            salted.clear();
        }
        salted.insert(key, derived.clone());
        Ok(derived)
    }

    /// Forgets derived passwords.
    pub(crate) fn forget(&self) {
        self.salted.borrow_mut().clear();
    }
}

/// The keys of a client's login are of another salt.
fn other_secret(user: &str) -> ConnectError {
    let text = format!(
        "the server's SCRAM secret of user \"{user}\" is not the one that this login was checked with"
    );
    let hint = "The password was changed meanwhile, or the role was made on this node alone: log in \
                again. If the proxy knows the user from a file, copy pg_authid.rolpassword anew.";
    let reply = ErrorReply::fatal(SqlState::INVALID_PASSWORD, text);
    ConnectError::OtherSecret(reply.with_hint(hint))
}

fn malformed(error: ScramError) -> ConnectError {
    unsupported(&error.to_string())
}

pub(crate) fn unsupported(text: &str) -> ConnectError {
    let reply = ErrorReply::fatal(SqlState::CANNOT_CONNECT, text);
    ConnectError::Unsupported(reply.with_hint("The login to the server failed, not yours."))
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
