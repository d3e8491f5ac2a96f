//! The encrypted layer of a channel: ciphertext on its way in and out, and the handshake.
//!
//! The library is used without buffers of its own: ciphertext is in buffers that are lent for as long
//! as bytes are in flight, as everywhere, so that an idle encrypted connection holds none either.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pgsteer_tls::{ALPN, common_name, end_point};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};
use tokio::io::ReadBuf;

use crate::Buffer;
use crate::channel::{Stream, TlsInfo};

/// Most plaintext in a record, in bytes (RFC 8446, section 5.1).
const PLAINTEXT_LEN_MAX: usize = 16 * 1024;

/// Room for what encryption adds to a record, in bytes (RFC 8446, section 5.2: header and 256).
const OVERHEAD_LEN_MAX: usize = 5 + 256;

/// Ciphertext of a handshake that may wait to be understood, in bytes; ours. PostgreSQL's clients
/// send about 500, and some thousand with a chain of certificates.
const HANDSHAKE_LEN_MAX: usize = 64 * 1024;

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What encrypts a channel.
pub(crate) struct Tls {
    side: Side,
    // Ciphertext that was read: never a whole record, but during a handshake.
    incoming: Buffer,
    // Ciphertext to be written.
    outgoing: Buffer,
    // Nothing more comes from the peer.
    ended: bool,
    pub(crate) info: TlsInfo,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// How far what was read has brought us.
enum Step {
    /// Something was done; there may be more.
    On,
    /// All that was read is understood; application data may be written.
    Open,
    /// The handshake needs more from the peer.
    Blocked,
    /// The peer said goodbye.
    Closed,
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Does what a state asks for. Plaintext goes into `input`, ciphertext into `outgoing`.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Buffer,
    input: &mut Buffer,
) -> (usize, Result<Step, Error>) {
    let done = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => input.extend(record.payload),
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::On),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut record)) => {
            let room = outgoing.room(PLAINTEXT_LEN_MAX + OVERHEAD_LEN_MAX);
            match record.encode(room) {
                Ok(len) => {
                    outgoing.filled(len);
                    Ok(Step::On)
                }
                Err(EncodeError::InsufficientSize(_) | EncodeError::AlreadyEncoded) => {
                    Err(Error::General("a record is too long".to_owned()))
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            // It is in our own buffer, which is written before anything else.
            sent.done();
            Ok(Step::On)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Open),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        Ok(_) => Err(Error::General("unexpected early data".to_owned())),
        Err(error) => Err(error),
    };
    (status.discard, done)
}

impl Tls {
    /// Towards a client. `input` is ciphertext that was read already.
    pub(crate) fn accept(config: Arc<ServerConfig>, input: Buffer) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Ok(Self::new(Side::Server(connection), input))
    }

    /// Towards a server.
    pub(crate) fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        Ok(Self::new(Side::Client(connection), Buffer::default()))
    }

    fn new(side: Side, incoming: Buffer) -> Self {
        Self {
            side,
            incoming,
            outgoing: Buffer::default(),
            ended: false,
            info: TlsInfo::default(),
        }
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    /// Whether the peer named PostgreSQL's protocol.
    pub(crate) fn is_named(&self) -> bool {
        self.state().alpn_protocol() == Some(ALPN)
    }

    /// Whether something is to be had without reading from the socket.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether all ciphertext was written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Understands what was read, as far as possible.
    fn advance(&mut self, input: &mut Buffer) -> Result<Step, Error> {
        loop {
            let bytes = self.incoming.bytes_mut();
            let (discard, done) = match &mut self.side {
                Side::Client(connection) => {
                    let status = connection.process_tls_records(bytes);
                    step(status, &mut self.outgoing, input)
                }
                Side::Server(connection) => {
                    let status = connection.process_tls_records(bytes);
                    step(status, &mut self.outgoing, input)
                }
            };
            self.incoming.consume(discard);
            match done? {
                Step::On => {}
                Step::Closed => {
                    self.ended = true;
                    return Ok(Step::Closed);
                }
                end => return Ok(end),
            }
        }
    }

    /// Lets the library say goodbye to a peer that broke the protocol.
    fn alert(&mut self) {
        self.incoming = Buffer::default();
        let mut nothing = Buffer::default();
        // Ends at the latest when all that it has to say was encoded.
        let _ = self.advance(&mut nothing);
    }

    /// Shakes hands. Plaintext that comes right behind goes into `input`.
    pub(crate) fn poll_handshake(
        &mut self,
        stream: &mut Stream,
        input: &mut Buffer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let step = match self.advance(input) {
                Ok(step) => step,
                Err(error) => {
                    self.alert();
                    // As much as the socket takes: nobody waits for such a peer.
                    let _ = self.poll_drain(stream, cx);
                    return Poll::Ready(Err(invalid(error)));
                }
            };
            ready!(self.poll_drain(stream, cx))?;
            match step {
                Step::Closed => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Step::Open if !self.state().is_handshaking() => {
                    self.meet();
                    return Poll::Ready(Ok(()));
                }
                _ => {}
            }
            if self.incoming.len() > HANDSHAKE_LEN_MAX {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if ready!(self.poll_receive(stream, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Remembers who the peer is.
    fn meet(&mut self) {
        let peer = self.state().peer_certificates().and_then(<[_]>::first);
        self.info = match &self.side {
            Side::Client(_) => TlsInfo {
                peer_name: None,
                end_point: peer.and_then(|der| end_point(der)),
            },
            Side::Server(_) => TlsInfo {
                peer_name: peer.and_then(|der| common_name(der)).map(Into::into),
                end_point: None,
            },
        };
    }

    fn poll_receive(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.incoming.is_empty() {
            // A buffer is taken only once there is something to put into it.
            ready!(stream.poll_read_ready(cx))?;
        }
        let room = self
            .incoming
            .room(PLAINTEXT_LEN_MAX.saturating_sub(self.incoming.len()) + OVERHEAD_LEN_MAX);
        let mut space = ReadBuf::new(room);
        let result = stream.poll_read(cx, &mut space);
        let len = space.filled().len();
        self.incoming.filled(len);
        // Gives the buffer back if nothing came.
        self.incoming.consume(0);
        result.map_ok(|()| len)
    }

    /// Reads what is there into `input`; 0 means that the peer closed the connection.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut Stream,
        input: &mut Buffer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Whoever waits for an answer may not have written the question whole yet.
        let _ = self.poll_drain(stream, cx)?;
        loop {
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            if ready!(self.poll_receive(stream, cx))? == 0 {
                self.ended = true;
                return Poll::Ready(Ok(0));
            }
            let before = input.len();
            if let Err(error) = self.advance(input) {
                self.ended = true;
                self.alert();
                let _ = self.poll_drain(stream, cx);
                return Poll::Ready(Err(invalid(error)));
            }
            // What the library itself has to answer, to a change of keys for instance.
            let _ = self.poll_drain(stream, cx)?;
            if input.len() > before {
                return Poll::Ready(Ok(input.len() - before));
            }
        }
    }

    /// Encrypts some of `bytes` and begins to write it.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(stream, cx))?;
        let len = bytes.len().min(PLAINTEXT_LEN_MAX);
        self.encrypt(bytes.get(..len).unwrap_or_default())?;
        // What the socket does not take now is written before anything else.
        let _ = self.poll_drain(stream, cx)?;
        Poll::Ready(Ok(len))
    }

    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.outgoing.room(bytes.len() + OVERHEAD_LEN_MAX);
        let incoming = self.incoming.bytes_mut();
        let written = match &mut self.side {
            Side::Client(connection) => {
                let state = connection.process_tls_records(incoming).state;
                encrypt(state, bytes, room)
            }
            Side::Server(connection) => {
                let state = connection.process_tls_records(incoming).state;
                encrypt(state, bytes, room)
            }
        };
        let result = written.map(|len| self.outgoing.filled(len));
        // Gives the buffer back if nothing came.
        self.outgoing.consume(0);
        result
    }

    /// Says goodbye; what is left of it is to be written.
    pub(crate) fn goodbye(&mut self) {
        let room = self.outgoing.room(OVERHEAD_LEN_MAX);
        let incoming = self.incoming.bytes_mut();
        let written = match &mut self.side {
            Side::Client(connection) => close(connection.process_tls_records(incoming).state, room),
            Side::Server(connection) => close(connection.process_tls_records(incoming).state, room),
        };
        self.outgoing.filled(written);
        self.outgoing.consume(0);
    }

    /// Writes ciphertext until there is none.
    pub(crate) fn poll_drain(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let len = ready!(stream.poll_write(cx, self.outgoing.bytes()))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.consume(len);
        }
        Poll::Ready(Ok(()))
    }
}

fn encrypt<Data>(
    state: Result<ConnectionState<'_, '_, Data>, Error>,
    bytes: &[u8],
    room: &mut [u8],
) -> io::Result<usize> {
    match state.map_err(invalid)? {
        ConnectionState::WriteTraffic(mut traffic) => {
            let written = traffic.encrypt(bytes, room);
            written.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        // Said goodbye already.
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn close<Data>(state: Result<ConnectionState<'_, '_, Data>, Error>, room: &mut [u8]) -> usize {
    match state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            traffic.queue_close_notify(room).unwrap_or(0)
        }
        _ => 0,
    }
}
