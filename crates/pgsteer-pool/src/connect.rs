//! Opening a server connection: TCP or Unix socket, startup; `login` proves who we are.

use std::io;
use std::rc::Rc;
use std::time::Duration;
use std::time::SystemTime;

use pgsteer_core::NodeId;
use pgsteer_wire::backend::{self, TransactionStatus, tag};
use pgsteer_wire::{ErrorReply, HEADER_LEN, frame, startup};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};

use crate::login::{Attempt, Login, Prover};
use crate::{Channel, Connection, ServerKey, Stream, Told};

/// Longest message during a login, in bytes; ours.
const LOGIN_MESSAGE_LEN_MAX: usize = 64 * 1024;

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
    pgsteer_wire::error_response::ErrorFields::new(body)
        .message()
        .to_owned()
}

/// Opens a socket to a node.
///
/// # Errors
/// What the operating system said.
pub async fn open_stream(host: &str, port: u16) -> io::Result<Stream> {
    if host.starts_with('/') {
        let path = format!("{host}/.s.PGSQL.{port}");
        return Ok(Stream::Unix(UnixStream::connect(path).await?));
    }
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // A server whose machine went away must not hold a session for ever.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10));
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(Stream::Tcp(stream))
}

/// Logs in to servers.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    prover: Prover,
}

impl Connector {
    /// Connects and logs in.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        login: Login<'_>,
    ) -> Result<Connection, ConnectError> {
        let failed = |source| ConnectError::Io {
            host: target.host.to_string(),
            port: target.port,
            source,
        };
        let stream = open_stream(&target.host, target.port)
            .await
            .map_err(failed)?;
        let mut channel = Channel::new(stream);
        let mut attempt = Attempt::new(login);
        let parameters = [("user", &**login.user), ("database", login.database)];
        startup::put_startup(&mut channel.output, &parameters);
        let mut key = ServerKey {
            pid: 0,
            key: Rc::from([].as_slice()),
        };
        let mut parameters = Vec::new();
        loop {
            channel.flush().await.map_err(failed)?;
            let (tag, body) = message(&mut channel).await.map_err(failed)?;
            match tag {
                tag::AUTHENTICATION => {
                    let out = &mut channel.output;
                    self.prover.answer(&mut attempt, &body, out).await?;
                }
                tag::ERROR => return Err(ConnectError::Refused(body)),
                tag::PARAMETER_STATUS => {
                    let known = backend::parameter_status(&body);
                    parameters.extend(known.map(|(n, v)| (n.to_owned(), v.to_owned())));
                }
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
        })
    }

    /// Forgets derived passwords, after one was refused or changed.
    pub(crate) fn forget(&self) {
        self.prover.forget();
    }
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
