//! Opening a server connection: TCP or Unix socket, startup; `login` proves who we are.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use pgsteer_core::NodeId;
use pgsteer_core::settings::TcpSettings;
use pgsteer_core::topology::Node;
use pgsteer_tls::{Attempt, ServerTls};
use pgsteer_wire::backend::{self, TransactionStatus, tag};
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::{ErrorReply, HEADER_LEN, SqlState, frame, startup};
use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};

use crate::login::{LoggingIn, Login, Prover};
use crate::open::{OpenError, open};
use crate::{Channel, Connection, ServerKey, Stream, Told, tune};

/// Longest message during a login, in bytes; ours.
const LOGIN_MESSAGE_LEN_MAX: usize = 64 * 1024;

/// Parameters a server may report during a login; ours. PostgreSQL reports some fifteen.
const PARAMETERS_MAX: usize = 128;

/// Where to connect to and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// Its host name, address, or socket directory.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
}

impl From<&Node> for Target {
    fn from(node: &Node) -> Self {
        Self {
            node: node.id,
            host: Arc::clone(&node.host),
            port: node.port,
        }
    }
}

impl Target {
    fn failed(&self, source: io::Error) -> ConnectError {
        ConnectError::Io {
            host: self.host.to_string(),
            port: self.port,
            source,
        }
    }
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
    /// What the proxy knows of the user's password is not what this server knows.
    #[error("{0}")]
    OtherSecret(ErrorReply),
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

/// Logs in to servers.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    prover: Prover,
    /// For connections that are opened from now on.
    pub(crate) tcp: Cell<TcpSettings>,
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
            match self.attempt(target, login, tls, *attempt).await {
                Err(error) if error.is_about_encryption() => first = first.or(Some(error)),
                done => return done,
            }
        }
        Err(first.unwrap_or(ConnectError::Withdrawn))
    }

    /// A connection on which nothing was said yet.
    async fn open(
        &self,
        target: &Target,
        tls: &ServerTls,
        way: Attempt,
    ) -> Result<Channel, ConnectError> {
        let opened = open(&target.host, target.port, tls, way).await;
        let channel = opened.map_err(|error| match error {
            OpenError::Socket(source) => target.failed(source),
            OpenError::Tls(source) => ConnectError::Tls {
                host: target.host.to_string(),
                port: target.port,
                source,
            },
        })?;
        // A server whose machine went away must not hold a session for ever.
        if let Stream::Tcp(socket) = channel.stream() {
            let tuned = tune(&SockRef::from(socket), &self.tcp.get());
            tuned.map_err(|source| target.failed(source))?;
        }
        Ok(channel)
    }

    async fn attempt(
        &self,
        target: &Target,
        login: Login<'_>,
        tls: &ServerTls,
        way: Attempt,
    ) -> Result<Connection, ConnectError> {
        let failed = |source| target.failed(source);
        let mut channel = self.open(target, tls, way).await?;
        let mut attempt = LoggingIn::new(login);
        let fixed = [("user", &**login.user), ("database", login.database)];
        let parameters: Vec<_> = fixed.iter().chain(login.parameters).copied().collect();
        // Not 3.2, although its keys are longer: nobody but the proxy ever sees a server's key.
        startup::put_startup(&mut channel.output, 0, &parameters);
        let mut key = ServerKey {
            pid: 0,
            key: Arc::from([].as_slice()),
        };
        let mut parameters = Vec::new();
        loop {
            channel.flush().await.map_err(failed)?;
            let (tag, body) = message(&mut channel).await.map_err(failed)?;
            match tag {
                tag::AUTHENTICATION => {
                    self.prover
                        .answer(&mut attempt, &body, &mut channel)
                        .await?;
                }
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
            channel,
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

    /// Forgets derived passwords, after one was refused or changed.
    pub(crate) fn forget(&self) {
        self.prover.forget();
    }
}

/// Keeps what a server says about one of its parameters.
fn note(parameters: &mut Vec<(String, String)>, body: &[u8]) -> Result<(), ConnectError> {
    if parameters.len() >= PARAMETERS_MAX {
        return Err(crate::login::unsupported(
            "server reports parameters without end",
        ));
    }
    let known = backend::parameter_status(body);
    parameters.extend(known.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(())
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
