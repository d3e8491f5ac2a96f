//! A client that speaks frames over TLS.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_tls::{ClientSpec, Files, Mode, ServerSpec, ServerTls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::support::{Frame, Login, msg};

/// The request for TLS.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];

/// A connection with TLS.
pub(crate) struct Secure(StreamOwned<ClientConnection, TcpStream>);

/// A socket to a port of this machine that does not wait for ever.
pub(crate) fn socket(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// What to shake hands with; it takes any certificate.
pub(crate) fn config(alpn: bool) -> ClientConfig {
    let spec = ServerSpec {
        mode: Mode::Require,
        ..ServerSpec::default()
    };
    let tls = ServerTls::load(spec, &|_| unreachable!("no file is named")).expect("no files");
    let mut config = ClientConfig::clone(&tls.config().expect("TLS"));
    if !alpn {
        config.alpn_protocols.clear();
    }
    config
}

impl Secure {
    /// Shakes hands without a word before.
    pub(crate) fn direct(port: u16, config: ClientConfig) -> io::Result<Self> {
        Self::shake_hands(socket(port), config)
    }

    /// Asks for TLS first.
    pub(crate) fn asked(port: u16) -> io::Result<Self> {
        let mut stream = socket(port);
        stream.write_all(&SSL_REQUEST)?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, *b"S");
        Self::shake_hands(stream, config(true))
    }

    fn shake_hands(stream: TcpStream, config: ClientConfig) -> io::Result<Self> {
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    /// Begins a session as `postgres`, who is trusted.
    pub(crate) fn log_in(mut self, database: &str) -> Self {
        let parameters = [("user", Login::default().user), ("database", database)];
        self.send(&msg::startup(3 << 16, &parameters));
        self.until(b'Z');
        self
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The other side may have closed already; what it said before is still to be read.
        let _ = self.0.write_all(bytes).and_then(|()| self.0.flush());
    }

    /// Sends bytes past TLS.
    pub(crate) fn send_in_clear(&mut self, bytes: &[u8]) {
        self.0.sock.write_all(bytes).expect("the socket takes it");
    }

    pub(crate) fn read(&mut self) -> io::Result<Frame> {
        let mut header = [0; 5];
        self.0.read_exact(&mut header)?;
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; usize::try_from(len).expect("fits") - 4];
        self.0.read_exact(&mut body)?;
        Ok(Frame {
            tag: header[0],
            body,
        })
    }

    /// Everything up to and including a message of this kind.
    pub(crate) fn until(&mut self, tag: u8) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        while frames.last().is_none_or(|frame| frame.tag != tag) {
            let shown = || frames.iter().map(Frame::shown).collect::<Vec<_>>();
            let frame = self
                .read()
                .unwrap_or_else(|error| panic!("{error} after {:?}", shown()));
            frames.push(frame);
        }
        frames
    }

    /// The first value of the first row of a query.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        self.send(&msg::query(sql));
        let frames = self.until(b'Z');
        let row = frames
            .iter()
            .find(|frame| frame.tag == b'D')
            .expect("a row");
        row.values().swap_remove(0).unwrap_or_default()
    }

    /// Whether the other side said goodbye, as TLS has it, and nothing else.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }

    /// The certificate the other side showed.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let chain = self.0.conn.peer_certificates().expect("certificates");
        chain[0].to_vec()
    }
}

/// Whether these files could be used for clients; why not.
pub(crate) fn check_files(files: Files) -> Result<(), String> {
    let spec = ClientSpec {
        mode: Mode::Allow,
        files,
        ..ClientSpec::default()
    };
    let read = |path: &std::path::Path| std::fs::read_to_string(path);
    let loaded = pgsteer_tls::ClientTls::load(spec, &read);
    loaded.map(|_| ()).map_err(|error| error.to_string())
}
