//! TLS for the connections of the control plane, whose driver wants to be given it.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pgsteer_tls::{Attempt, Mode, ServerSpec, ServerTls, end_point};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{Config, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

/// Has a connection made in one way.
pub(crate) fn configure(config: &mut Config, tls: &ServerTls, attempt: Attempt) {
    config.ssl_mode(match attempt {
        Attempt::Plain => SslMode::Disable,
        Attempt::TlsIfOffered => SslMode::Prefer,
        Attempt::Tls => SslMode::Require,
    });
    if tls.is_direct() && attempt != Attempt::Plain {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
}

/// TLS to a proxy of which only its address is known: if it can, whatever it shows. For commands of
/// the program, which ask with a password that is not given away by SCRAM.
pub(crate) fn if_offered() -> MakeTls {
    let spec = ServerSpec {
        mode: Mode::Prefer,
        ..ServerSpec::default()
    };
    let no_files = |_: &Path| Err(io::ErrorKind::NotFound.into());
    MakeTls(ServerTls::load(spec, &no_files).unwrap_or_default())
}

/// TLS did not come about.
#[derive(Debug)]
pub(crate) struct HandshakeError(pub(crate) io::Error);

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS failed: {}", self.0)
    }
}

impl std::error::Error for HandshakeError {}

/// Gives the driver TLS as the settings want it.
#[derive(Clone)]
pub(crate) struct MakeTls(pub(crate) ServerTls);

pub(crate) struct Connect {
    config: Option<Arc<ClientConfig>>,
    name: tokio_rustls::rustls::pki_types::ServerName<'static>,
}

impl<S> MakeTlsConnect<S> for MakeTls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Connect;
    type Error = HandshakeError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, HandshakeError> {
        Ok(Connect {
            config: self.0.config(),
            name: self.0.name(host),
        })
    }
}

type Handshake<S> = Pin<Box<dyn Future<Output = Result<Encrypted<S>, HandshakeError>> + Send>>;

impl<S> TlsConnect<S> for Connect
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = HandshakeError;
    type Future = Handshake<S>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or(io::ErrorKind::Unsupported);
            let config = config.map_err(|kind| HandshakeError(kind.into()))?;
            let connector = tokio_rustls::TlsConnector::from(config);
            let shaken = connector.connect(self.name, stream).await;
            Ok(Encrypted(shaken.map_err(HandshakeError)?))
        })
    }
}

/// An encrypted connection.
pub(crate) struct Encrypted<S>(TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, connection) = self.0.get_ref();
        let first = connection.peer_certificates().and_then(<[_]>::first);
        match first.and_then(|der| end_point(der)) {
            Some(bound) => ChannelBinding::tls_server_end_point(bound.into_vec()),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Whether the same might succeed with TLS, or without.
pub(crate) fn is_about_encryption(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    let refused = tokio_postgres::error::SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
    error.code() == Some(&refused)
        || error
            .source()
            .is_some_and(|source| source.is::<HandshakeError>())
}
