//! A socket with what was read and not understood yet, and what is to be written.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use pgsteer_tls::{ClientTls, ServerTls};

use crate::Buffer;
use crate::tls::Tls;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain.
    Unix(UnixStream),
}

impl Stream {
    /// The address it has on this side; none for a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(s) => s.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => s.poll_read_ready(cx),
            Self::Unix(s) => s.poll_read_ready(cx),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Unix(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }
}

/// What is known of an encrypted connection since its handshake.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// Common name in the certificate of the peer, if it showed one that is trusted.
    pub peer_name: Option<Box<str>>,
    /// Our own or, on the way to a server, the peer's certificate as `tls-server-end-point` wants it
    /// (RFC 5929): what channel binding is about.
    pub end_point: Option<Box<[u8]>>,
}

/// A socket with its buffers. While both are empty it occupies no buffer memory.
#[derive(Debug)]
pub struct Channel {
    stream: Stream,
    /// What was read and not consumed yet.
    pub input: Buffer,
    /// What is to be written before anything else.
    pub output: BytesMut,
    read: u64,
    written: u64,
    // Apart, so that a connection without it has one word more to carry.
    tls: Option<Box<Tls>>,
}

impl Channel {
    /// A channel over a connected socket.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: Buffer::default(),
            output: BytesMut::new(),
            read: 0,
            written: 0,
            tls: None,
        }
    }

    /// The socket, below what encrypts it.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Bytes that were read and written so far, without what encryption adds.
    #[must_use]
    pub fn moved(&self) -> (u64, u64) {
        (self.read, self.written)
    }

    /// What encrypts it, if it is encrypted.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref().map(|tls| &tls.info)
    }

    /// Shakes hands with a client. What was read and not consumed is part of it; whoever asked for
    /// TLS in clear must have sent nothing more.
    ///
    /// # Errors
    /// The socket failed, the client broke the protocol, or its certificate is not to be trusted.
    ///
    /// # Cancel safety
    /// Not cancel safe: the channel must not be used again.
    pub async fn accept_tls(&mut self, tls: &ClientTls) -> io::Result<()> {
        let config = tls.config().ok_or(io::ErrorKind::Unsupported)?;
        let mut layer = Tls::accept(config, std::mem::take(&mut self.input))?;
        self.shake_hands(&mut layer).await?;
        layer.info.end_point = tls.end_point().map(Into::into);
        self.tls = Some(Box::new(layer));
        Ok(())
    }

    /// Shakes hands with a server.
    ///
    /// # Errors
    /// The socket failed, the server broke the protocol, or its certificate is not to be trusted.
    ///
    /// # Cancel safety
    /// Not cancel safe: the channel must not be used again.
    pub async fn connect_tls(&mut self, tls: &ServerTls, host: &str) -> io::Result<()> {
        let config = tls.config().ok_or(io::ErrorKind::Unsupported)?;
        let mut layer = Tls::connect(config, tls.name(host))?;
        self.shake_hands(&mut layer).await?;
        self.tls = Some(Box::new(layer));
        Ok(())
    }

    async fn shake_hands(&mut self, layer: &mut Tls) -> io::Result<()> {
        let Self { stream, input, .. } = self;
        std::future::poll_fn(|cx| layer.poll_handshake(stream, input, cx)).await
    }

    /// Whether the peer named PostgreSQL's protocol when it shook hands.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_named())
    }

    /// Whether nothing waits, neither to be consumed nor to be written.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let flushed = self.tls.as_ref().is_none_or(|tls| tls.is_flushed());
        self.input.is_empty() && self.output.is_empty() && flushed
    }

    /// Ready when something (bytes, the end, an error) can be read. Takes no buffer.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was decrypted is in `input`; between records nothing else waits in the layer.
        if self.tls.as_ref().is_some_and(|tls| tls.is_ended()) {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Reads what is there into `input`; 0 means the peer closed the connection.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(tls) = &mut self.tls {
            let len = ready!(tls.poll_fill(&mut self.stream, &mut self.input, cx))?;
            self.read += len as u64;
            return Poll::Ready(Ok(len));
        }
        if self.input.is_empty() {
            // A buffer is taken only once there is something to put into it.
            ready!(self.stream.poll_read_ready(cx))?;
        }
        let mut space = ReadBuf::new(self.input.space());
        let result = self.stream.poll_read(cx, &mut space);
        let len = space.filled().len();
        self.input.filled(len);
        self.read += len as u64;
        // Gives the buffer back if nothing came.
        self.input.consume(0);
        result.map_ok(|()| len)
    }

    /// Lends memory to `output`, which needs it soon. It is given back when all is written.
    pub fn lend_output(&mut self) {
        if self.output.capacity() == 0 {
            self.output = crate::buffer::lend_output();
        }
    }

    /// Writes `output` until it is empty.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // As nearly always.
        if self.output.capacity() == 0 && self.tls.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush_some(cx)
    }

    fn poll_flush_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let len = match &mut self.tls {
                None => ready!(self.stream.poll_write(cx, &self.output))?,
                Some(tls) => ready!(tls.poll_write(&mut self.stream, cx, &self.output))?,
            };
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += len as u64;
            if len == self.output.len() {
                // All of its memory can be used again.
                self.output.clear();
            } else {
                self.output.advance(len);
            }
        }
        crate::buffer::give_back_output(std::mem::take(&mut self.output));
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_drain(&mut self.stream, cx),
        }
    }

    /// Writes some of `bytes`, provided that `output` is empty. Over TLS a part of what was written
    /// may wait for the socket: [`Channel::poll_flush`] says when it went out.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.tls {
            None => self.stream.poll_write(cx, bytes),
            Some(tls) => tls.poll_write(&mut self.stream, cx, bytes),
        };
        match ready!(written)? {
            0 if !bytes.is_empty() => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            len => {
                self.written += len as u64;
                Poll::Ready(Ok(len))
            }
        }
    }

    /// Says goodbye to the peer, which over TLS takes a word of its own, after all else was written.
    pub async fn close(&mut self) {
        if self.flush().await.is_ok()
            && let Some(tls) = &mut self.tls
        {
            tls.goodbye();
            let _ = self.flush().await;
        }
    }

    /// Reads at least one byte into `input`; 0 means the peer closed the connection.
    ///
    /// # Errors
    /// The socket failed.
    ///
    /// # Cancel safety
    /// Cancel safe: what was read is in `input`.
    pub async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Writes `output` whole.
    ///
    /// # Errors
    /// The socket failed.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not written is still in `output`.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }
}
