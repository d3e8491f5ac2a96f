//! Opening a server connection: TCP or Unix socket, startup, authentication.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

use pgsteer_core::NodeId;
use pgsteer_core::settings::TcpSettings;
use pgsteer_tls::{Attempt, ServerTls};
use pgsteer_wire::backend::{self, AuthenticationRequest, TransactionStatus, tag};
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::scram::{self, Challenge, ChannelBinding, ClientExchange, SaltedPassword};
use pgsteer_wire::{ErrorReply, HEADER_LEN, SqlState, encode, frame, md5, startup};
use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};

use crate::open::{OpenError, open};
use crate::{Channel, Connection, ServerKey, Stream, Told, tune};

/// Longest message during a login, in bytes; ours.
const LOGIN_MESSAGE_LEN_MAX: usize = 64 * 1024;

/// Parameters a server may report during a login; ours. PostgreSQL reports some fifteen.
const PARAMETERS_MAX: usize = 128;

/// Derived passwords kept per worker.
const SALTED_MAX: usize = 256;

/// Where to connect to and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// Its host name, address, or socket directory.
    pub host: std::sync::Arc<str>,
    /// Its port.
    pub port: u16,
}

/// A server connection could not be opened.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody answered, or the socket failed.
    #[error("cannot connect to {host}:{port}: {source}")]
    Io {
        /// Host of the node.
        host: String,
        /// Port of the node.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server answered, but TLS with it did not come about.
    #[error("TLS with {host}:{port} failed: {source}")]
    Tls {
        /// Host of the node.
        host: String,
        /// Port of the node.
        port: u16,
        /// What was wrong.
        source: io::Error,
    },
    /// The server refused, with this ErrorResponse body.
    #[error("server refused the login: {}", backend_message(.0))]
    Refused(Vec<u8>),
    /// The server wants something the proxy cannot give.
    #[error("{0}")]
    Unsupported(ErrorReply),
    /// It took longer than allowed.
    #[error("timed out")]
    Timeout,
    /// The node left service meanwhile, or all connections to it were to be closed.
    #[error("the node was taken out of service")]
    Withdrawn,
}

fn backend_message(body: &[u8]) -> String {
    ErrorFields::new(body).message().to_owned()
}

impl ConnectError {
    /// Whether the same might succeed with TLS, or without. A wrong password is not tried twice.
    fn is_about_encryption(&self) -> bool {
        match self {
            Self::Tls { .. } => true,
            Self::Refused(body) => {
                ErrorFields::new(body).sqlstate() == SqlState::INVALID_AUTHORIZATION.as_str()
            }
            _ => false,
        }
    }
}

/// Opens a socket to a node.
///
/// # Errors
/// What the operating system said.
pub(crate) async fn open_stream(host: &str, port: u16) -> io::Result<Stream> {
    if host.starts_with('/') {
        let path = format!("{host}/.s.PGSQL.{port}");
        return Ok(Stream::Unix(UnixStream::connect(path).await?));
    }
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

type SaltedKey = (Rc<str>, Vec<u8>, u32);

/// Logs in to servers; remembers derived passwords, since deriving costs milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    salted: RefCell<HashMap<SaltedKey, SaltedPassword>>,
    /// For connections that are opened from now on.
    pub(crate) tcp: Cell<TcpSettings>,
}

/// User, database and password of a login.
#[derive(Clone, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a Rc<str>,
    pub(crate) database: &'a str,
    pub(crate) password: Option<&'a str>,
    /// Further parameters of the startup packet.
    pub(crate) parameters: &'a [(&'a str, &'a str)],
}

struct LoggingIn<'a> {
    channel: Channel,
    login: Login<'a>,
    exchange: Option<ClientExchange>,
}

impl Connector {
    /// Connects and logs in, with TLS or without, as the settings and the server want it.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        login: Login<'_>,
        tls: &ServerTls,
    ) -> Result<Connection, ConnectError> {
        let mut first = None;
        for attempt in tls.attempts(&target.host) {
            match self.attempt(target, login.clone(), tls, *attempt).await {
                Err(error) if error.is_about_encryption() => first = first.or(Some(error)),
                done => return done,
            }
        }
        Err(first.unwrap_or(ConnectError::Withdrawn))
    }

    async fn attempt(
        &self,
        target: &Target,
        login: Login<'_>,
        tls: &ServerTls,
        way: Attempt,
    ) -> Result<Connection, ConnectError> {
        let failed = |source| ConnectError::Io {
            host: target.host.to_string(),
            port: target.port,
            source,
        };
        let opened = open(&target.host, target.port, tls, way).await;
        let channel = opened.map_err(|error| match error {
            OpenError::Socket(source) => failed(source),
            OpenError::Tls(source) => ConnectError::Tls {
                host: target.host.to_string(),
                port: target.port,
                source,
            },
        })?;
        // A server whose machine went away must not hold a session for ever.
        if let Stream::Tcp(socket) = channel.stream() {
            tune(&SockRef::from(socket), &self.tcp.get()).map_err(failed)?;
        }
        let mut attempt = LoggingIn {
            channel,
            login: login.clone(),
            exchange: None,
        };
        let fixed = [
            ("user", &**attempt.login.user),
            ("database", attempt.login.database),
        ];
        let parameters: Vec<_> = fixed.iter().chain(login.parameters).copied().collect();
        // Not 3.2, although its keys are longer: nobody but the proxy ever sees a server's key.
        startup::put_startup(&mut attempt.channel.output, 0, &parameters);
        let mut key = ServerKey {
            pid: 0,
            key: Rc::from([].as_slice()),
        };
        let mut parameters = Vec::new();
        loop {
            attempt.channel.flush().await.map_err(failed)?;
            let (tag, body) = message(&mut attempt.channel).await.map_err(failed)?;
            match tag {
                tag::AUTHENTICATION => self.authenticate(&mut attempt, &body)?,
                tag::ERROR => return Err(ConnectError::Refused(body)),
                tag::PARAMETER_STATUS => note(&mut parameters, &body)?,
                tag::BACKEND_KEY_DATA => {
                    if let Some((pid, secret)) = backend::backend_key(&body) {
                        key = ServerKey {
                            pid,
                            key: secret.into(),
                        };
                    }
                }
                tag::READY => break,
                tag::NOTICE | tag::NEGOTIATE_PROTOCOL => {}
                _ => return Err(failed(io::ErrorKind::InvalidData.into())),
            }
        }
        Ok(Connection {
            channel: attempt.channel,
            node: target.node,
            key,
            parameters: Rc::new(parameters),
            status: TransactionStatus::Idle,
            opened_at: SystemTime::now(),
            uses: 0,
            asides: Vec::new(),
            told: Told::default(),
            handle: None,
            entered: None,
            opened_after: 0,
            quota: None,
            old_at: None,
        })
    }

    fn authenticate(&self, attempt: &mut LoggingIn<'_>, body: &[u8]) -> Result<(), ConnectError> {
        let request = backend::authentication(body);
        let request =
            request.ok_or_else(|| unsupported("server sent a malformed login message"))?;
        let user = Rc::clone(attempt.login.user);
        let password = || {
            let missing = || {
                let text = format!("no password is configured for user \"{user}\"");
                let reply = ErrorReply::fatal(SqlState::INVALID_PASSWORD, text);
                ConnectError::Unsupported(reply.with_hint("Add the user to the proxy's users."))
            };
            attempt.login.password.ok_or_else(missing)
        };
        let out = &mut attempt.channel.output;
        match request {
            AuthenticationRequest::Ok => {}
            AuthenticationRequest::Cleartext => encode::password(out, password()?),
            AuthenticationRequest::Md5(salt) => {
                encode::password(out, &md5::hash(&user, password()?, salt));
            }
            AuthenticationRequest::Sasl(mechanisms) => {
                if !mechanisms.contains(&scram::MECHANISM) {
                    return Err(unsupported(
                        "server offers no SASL mechanism the proxy speaks",
                    ));
                }
                password()?;
                let end_point = attempt
                    .channel
                    .tls()
                    .and_then(|tls| tls.end_point.as_deref());
                let binding = ChannelBinding::choose(end_point, &mechanisms);
                let mechanism = binding.mechanism();
                let exchange = ClientExchange::bound(binding);
                let exchange = exchange.map_err(|e| unsupported(&e.to_string()))?;
                let first = exchange.first();
                encode::sasl_initial(&mut attempt.channel.output, mechanism, first.as_bytes());
                attempt.exchange = Some(exchange);
            }
            AuthenticationRequest::SaslContinue(data) => {
                let password = password()?;
                let exchange = attempt.exchange.as_mut();
                let exchange = exchange.ok_or_else(|| unsupported("unexpected SASL message"))?;
                let challenge = exchange
                    .challenge(data)
                    .map_err(|e| unsupported(&e.to_string()))?;
                let salted = self.salted(&user, password, &challenge);
                encode::sasl_response(out, exchange.last(&salted, &challenge).as_bytes());
            }
            AuthenticationRequest::SaslFinal(data) => {
                let exchange = attempt.exchange.as_ref();
                let exchange = exchange.ok_or_else(|| unsupported("unexpected SASL message"))?;
                exchange
                    .verify(data)
                    .map_err(|e| unsupported(&e.to_string()))?;
            }
            AuthenticationRequest::Unsupported(code) => {
                let text = format!("server asks for authentication method {code}");
                return Err(unsupported(&text));
            }
        }
        Ok(())
    }

    fn salted(&self, user: &Rc<str>, password: &str, challenge: &Challenge) -> SaltedPassword {
        let key = (
            Rc::clone(user),
            challenge.salt.clone(),
            challenge.iterations,
        );
        if let Some(known) = self.salted.borrow().get(&key) {
            return known.clone();
        }
        let derived = SaltedPassword::derive(password, &challenge.salt, challenge.iterations);
        let mut salted = self.salted.borrow_mut();
        if salted.len() >= SALTED_MAX {
            salted.clear();
        }
        salted.insert(key, derived.clone());
        derived
    }

    /// Forgets derived passwords, after one was refused or changed.
    pub(crate) fn forget(&self) {
        self.salted.borrow_mut().clear();
    }
}

/// Keeps what a server says about one of its parameters.
fn note(parameters: &mut Vec<(String, String)>, body: &[u8]) -> Result<(), ConnectError> {
    if parameters.len() >= PARAMETERS_MAX {
        return Err(unsupported("server reports parameters without end"));
    }
    let known = backend::parameter_status(body);
    parameters.extend(known.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(())
}

fn unsupported(text: &str) -> ConnectError {
    let reply = ErrorReply::fatal(SqlState::CANNOT_CONNECT, text);
    ConnectError::Unsupported(reply.with_hint("The login to the server failed, not yours."))
}

/// The next message, whole.
async fn message(channel: &mut Channel) -> io::Result<(u8, Vec<u8>)> {
    loop {
        let bytes = channel.input.bytes();
        let header = frame::header(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        if let Some(header) = header {
            if header.body_len > LOGIN_MESSAGE_LEN_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Some(body) = bytes.get(HEADER_LEN..header.frame_len()) {
                let body = body.to_vec();
                channel.input.consume(header.frame_len());
                return Ok((header.tag, body));
            }
        }
        if channel.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
