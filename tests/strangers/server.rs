//! A server that speaks just enough of the protocol to be taken for one, or does what it is told.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::deeds::{Deed, Piece, Stage};
use crate::wire::msg;

type Order = Arc<Mutex<Option<Deed>>>;

pub(crate) struct Server {
    port: u16,
    order: Order,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let order = Order::default();
        let orders = Arc::clone(&order);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let order = Arc::clone(&orders);
                // What goes wrong is that the proxy has left.
                std::thread::spawn(move || drop(serve(stream, &order)));
            }
        });
        Self { port, order }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn misbehave(&self, deed: Deed) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(deed);
    }

    pub(crate) fn behave(&self) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The deed, if it belongs to this stage.
fn due(order: &Order, stage: Stage) -> Option<Deed> {
    let order = order.lock().unwrap_or_else(PoisonError::into_inner);
    order.clone().filter(|deed| deed.stage == stage)
}

fn serve(mut stream: TcpStream, order: &Order) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    read_body(&mut stream, length)?;
    if let Some(deed) = due(order, Stage::Startup) {
        return commit(&mut stream, &deed);
    }
    if let Some(deed) = due(order, Stage::Password) {
        stream.write_all(&msg::frame(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
        let (_, body) = read(&mut stream)?;
        return scram(&mut stream, &body, &deed);
    }
    let mut hello = msg::frame(b'R', &[0; 4]);
    for text in ["server_version\x0015.0\0", "client_encoding\0UTF8\0"] {
        hello.extend(msg::frame(b'S', text.as_bytes()));
    }
    hello.extend(msg::frame(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
    hello.extend(msg::frame(b'Z', b"I"));
    stream.write_all(&hello)?;
    loop {
        let (tag, body) = read(&mut stream)?;
        let is_asked = body.windows(5).any(|part| part == b"hello");
        if let Some(deed) = due(order, Stage::Query)
            && is_asked
        {
            return commit(&mut stream, &deed);
        }
        stream.write_all(&answer(tag, is_asked))?;
    }
}

fn answer(tag: u8, is_asked: bool) -> Vec<u8> {
    let complete = msg::frame(b'C', b"SELECT 1\0");
    let ready = msg::frame(b'Z', b"I");
    match tag {
        b'Q' if is_asked => {
            let row = msg::frame(b'D', b"\0\x01\0\0\0\x05hello");
            let columns = b"\0\x01x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
            [msg::frame(b'T', columns), row, complete, ready].concat()
        }
        b'Q' => [complete, ready].concat(),
        b'S' => ready,
        b'P' => msg::frame(b'1', b""),
        b'B' => msg::frame(b'2', b""),
        b'D' => msg::frame(b'n', b""),
        b'E' => complete,
        b'C' => msg::frame(b'3', b""),
        _ => Vec::new(),
    }
}

/// Sends what the deed says, with the client's nonce where it asks for it.
fn scram(stream: &mut TcpStream, first: &[u8], deed: &Deed) -> io::Result<()> {
    let text = String::from_utf8_lossy(first);
    let nonce = text.rsplit("r=").next().unwrap_or_default();
    for piece in &deed.pieces {
        let piece = match piece {
            Piece::Challenge(text) => {
                let text = text.replace("{nonce}", nonce);
                let body = [&11_u32.to_be_bytes()[..], text.as_bytes()].concat();
                Piece::Bytes(msg::frame(b'R', &body))
            }
            other => other.clone(),
        };
        put(stream, &piece)?;
    }
    linger(stream, deed)
}

fn commit(stream: &mut TcpStream, deed: &Deed) -> io::Result<()> {
    for piece in &deed.pieces {
        put(stream, piece)?;
    }
    linger(stream, deed)
}

/// Stays, if it is to stay, until the other side leaves.
fn linger(stream: &mut TcpStream, deed: &Deed) -> io::Result<()> {
    while deed.stays && stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

fn put(stream: &mut TcpStream, piece: &Piece) -> io::Result<()> {
    match piece {
        Piece::Bytes(bytes) => stream.write_all(bytes),
        Piece::Challenge(text) => stream.write_all(text.as_bytes()),
        Piece::OverUnread(bytes) => {
            stream.peek(&mut [0])?;
            stream.write_all(bytes)
        }
        Piece::Forever(bytes) => {
            let many = bytes.repeat(65536_usize.div_ceil(bytes.len()));
            loop {
                stream.write_all(&many)?;
            }
        }
    }
}

fn read(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let [tag, length @ ..] = header;
    Ok((tag, read_body(stream, length)?))
}

fn read_body(stream: &mut TcpStream, length: [u8; 4]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(u32::from_be_bytes(length)).expect("fits");
    let mut body = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut body)?;
    Ok(body)
}
