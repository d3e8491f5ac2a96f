//! A client that speaks frames: it sends what a test wrote, right or wrong, and shows what came.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use pgsteer_testkit::DEFAULT_PASSWORD;
use pgsteer_wire::md5;
use pgsteer_wire::scram::{ClientExchange, MECHANISM, SaltedPassword};

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// A field of an error or a notice.
    pub(crate) fn field(&self, kind: u8) -> Option<String> {
        let mut fields = self.body.split(|b| *b == 0);
        let found = fields.find(|field| field.first() == Some(&kind))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    }

    /// SQLSTATE and text of an error or a notice.
    pub(crate) fn error(&self) -> (String, String) {
        let field = |kind| self.field(kind).unwrap_or_default();
        (field(b'C'), field(b'M'))
    }

    /// One line without what differs between two servers or two runs: process ids, oids of
    /// relations, and where in PostgreSQL's source an error comes from.
    pub(crate) fn shown(&self) -> String {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => {
                let fields = self.body.split(|b| *b == 0).filter(|field| {
                    !field.is_empty() && !matches!(field.first(), Some(b'F' | b'L' | b'R'))
                });
                let fields: Vec<String> = fields.map(escaped).collect();
                format!("{tag} {}", fields.join(" | "))
            }
            b'A' => format!("{tag} {}", escaped(self.body.get(4..).unwrap_or_default())),
            b'T' => format!("{tag} {}", self.columns().join(", ")),
            // A long value is shown by its length and a sum.
            _ if self.body.len() > 300 => {
                let sum = self.body.iter().fold(0_u64, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                });
                format!("{tag} {} bytes, sum {sum:x}", self.body.len())
            }
            _ => format!("{tag} {}", escaped(&self.body)),
        }
    }

    /// Name, table and type of each column.
    pub(crate) fn columns(&self) -> Vec<String> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some(end) = rest.iter().position(|b| *b == 0) {
            let name = escaped(&rest[..end]);
            let fields = &rest[end + 1..end + 19];
            let table = if fields[..4] == [0; 4] { "-" } else { "table" };
            columns.push(format!("{name}:{table}:{}", escaped(&fields[4..])));
            rest = &rest[end + 19..];
        }
        columns
    }

    /// Name of each column.
    pub(crate) fn column_names(&self) -> Vec<String> {
        let all = self.columns().into_iter();
        let name = |column: String| column.split(':').next().unwrap_or_default().to_owned();
        all.map(name).collect()
    }

    /// Values of a row as text; null is `None`.
    pub(crate) fn values(&self) -> Vec<Option<String>> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut values = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = i32::from_be_bytes(*len);
            let Ok(len) = usize::try_from(len) else {
                values.push(None);
                rest = after;
                continue;
            };
            values.push(Some(String::from_utf8_lossy(&after[..len]).into_owned()));
            rest = &after[len..];
        }
        values
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Who logs in, and with what.
#[derive(Clone)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) parameters: &'a [(&'a str, &'a str)],
}

impl Default for Login<'_> {
    fn default() -> Self {
        Self {
            user: "postgres",
            password: DEFAULT_PASSWORD,
            parameters: &[],
        }
    }
}

/// A connection to a server or a proxy.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    /// What the server said about itself at the start.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Body of BackendKeyData: process id and secret key.
    pub(crate) key: Vec<u8>,
    /// What was noticed at login.
    pub(crate) notices: Vec<Frame>,
}

impl Wire {
    /// Opens a connection and says nothing yet.
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream: BufReader::new(stream),
            parameters: BTreeMap::new(),
            key: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Connects and logs in as `postgres`; an error when the other side is gone, and its refusal as
    /// another one.
    pub(crate) fn try_connect(port: u16, database: &str, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        let mut wire = Self {
            stream: BufReader::new(stream),
            parameters: BTreeMap::new(),
            key: Vec::new(),
            notices: Vec::new(),
        };
        match wire.try_log_in(&Login::default(), database)? {
            None => Ok(wire),
            Some(refusal) => Err(io::Error::other(refusal.shown())),
        }
    }

    /// How long the other side may be silent from now on.
    pub(crate) fn set_patience(&self, patience: Duration) {
        let set = self.stream.get_ref().set_read_timeout(Some(patience));
        set.expect("a timeout");
    }

    /// Waits until there is something to read, and leaves it there.
    pub(crate) fn wait_for_answer(&mut self) {
        let peeked = self.stream.get_ref().peek(&mut [0]);
        assert_eq!(peeked.ok(), Some(1), "an answer begins");
    }

    /// Logs in as `postgres`.
    pub(crate) fn connect(port: u16, database: &str) -> Self {
        Self::try_connect(port, database, PATIENCE).expect("it lets us in")
    }

    /// Goes through the start-up up to the first ReadyForQuery; returns the refusal if there is one.
    pub(crate) fn log_in(&mut self, login: &Login<'_>, database: &str) -> Option<Frame> {
        let answered = self.try_log_in(login, database);
        answered.expect("an answer to the startup packet")
    }

    /// The same; an error when the other side leaves meanwhile.
    pub(crate) fn try_log_in(
        &mut self,
        login: &Login<'_>,
        database: &str,
    ) -> io::Result<Option<Frame>> {
        let fixed = [("user", login.user), ("database", database)];
        let parameters: Vec<_> = fixed.iter().chain(login.parameters).copied().collect();
        self.send(&msg::startup(3 << 16, &parameters));
        let mut exchange = ClientExchange::new().expect("random numbers");
        loop {
            let frame = self.read()?;
            match frame.tag {
                b'R' => self.authenticate(&mut exchange, login, &frame.body),
                b'S' => {
                    let mut texts = frame.body.split(|b| *b == 0).map(escaped);
                    let (name, value) = (texts.next(), texts.next());
                    let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
                    self.parameters.insert(name, value);
                }
                b'K' => self.key = frame.body,
                b'N' => self.notices.push(frame),
                b'Z' => return Ok(None),
                b'E' => return Ok(Some(frame)),
                _ => {}
            }
        }
    }

    fn authenticate(&mut self, exchange: &mut ClientExchange, login: &Login<'_>, body: &[u8]) {
        let (kind, data) = body.split_first_chunk::<4>().expect("a kind");
        let answer = match i32::from_be_bytes(*kind) {
            0 => return,
            3 => msg::cstr(login.password),
            5 => {
                let salt = data.try_into().expect("a salt of four bytes");
                msg::cstr(&md5::hash(login.user, login.password, salt))
            }
            10 => {
                let first = exchange.first();
                let len = i32::try_from(first.len()).expect("short");
                [
                    &msg::cstr(MECHANISM)[..],
                    &len.to_be_bytes(),
                    first.as_bytes(),
                ]
                .concat()
            }
            11 => {
                let challenge = exchange.challenge(data).expect("a challenge");
                let (salt, iterations) = (&challenge.salt, challenge.iterations);
                let salted = SaltedPassword::derive(login.password, salt, iterations);
                exchange.last(&salted, &challenge).into_bytes()
            }
            12 => return exchange.verify(data).expect("it knows the password too"),
            other => panic!("authentication request {other}"),
        };
        self.send(&msg::frame(b'p', &answer));
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The other side may have closed already; what it said before is still to be read.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// The next message; an error at the end of the stream.
    pub(crate) fn read(&mut self) -> io::Result<Frame> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; usize::try_from(len).expect("fits") - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Frame {
            tag: header[0],
            body,
        })
    }

    /// The next byte, which is no message; `None` at the end of the stream.
    pub(crate) fn read_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    /// Everything up to and including a message of this kind, or up to the end of the stream.
    pub(crate) fn until(&mut self, tag: u8) -> Vec<Frame> {
        let (frames, complete) = self.read_until(tag);
        let wanted = char::from(tag);
        assert!(complete, "no {wanted:?} came after:\n{}", shown(&frames));
        frames
    }

    /// The same; false if nothing more came for a long time.
    pub(crate) fn read_until(&mut self, tag: u8) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        loop {
            match self.read() {
                Ok(frame) => {
                    let last = frame.tag == tag;
                    frames.push(frame);
                    if last {
                        return (frames, true);
                    }
                }
                Err(error) => return (frames, error.kind() != io::ErrorKind::WouldBlock),
            }
        }
    }

    /// Whether the other side has closed the connection, having said nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.read() {
            Ok(frame) => panic!("something came: {}", frame.shown()),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Runs a simple query and returns all that came.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Frame> {
        self.send(&msg::query(sql));
        self.until(b'Z')
    }

    /// Runs a statement by the extended protocol, unnamed, and returns all that came.
    pub(crate) fn extended(&mut self, sql: &str) -> Vec<Frame> {
        self.send(&msg::statement(sql, &[]));
        self.send(&msg::sync());
        self.until(b'Z')
    }

    /// Waits until the proxy knows the catalog of this session's database, as it is now.
    pub(crate) fn wait_for_catalog(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let frames = self.query("EXPLAIN ROUTE TABLE pg_class");
            let rows = frames.iter().filter(|frame| frame.tag == b'D');
            let mut values = rows.flat_map(Frame::values).flatten();
            if values.any(|value| value.starts_with("loaded")) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the catalog is not loaded: {}",
                shown(&frames)
            );
            // A pause between two looks, so that the loader gets the processor.
            self.query("SELECT pg_catalog.pg_sleep(0.005)");
        }
    }

    /// The first value of the first row of a simple query.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        let frames = self.query(sql);
        let row = frames.iter().find(|frame| frame.tag == b'D');
        let Some(row) = row else {
            panic!("no row of {sql}:\n{}", shown(&frames));
        };
        row.values().swap_remove(0).unwrap_or_default()
    }
}

/// All messages, one line each.
pub(crate) fn shown(frames: &[Frame]) -> String {
    frames.iter().fold(String::new(), |mut text, frame| {
        let _ = writeln!(text, "{}", frame.shown());
        text
    })
}

/// How long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages a client sends.
pub(crate) mod msg {
    pub(crate) fn cstr(text: &str) -> Vec<u8> {
        [text.as_bytes(), b"\0"].concat()
    }

    pub(crate) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len() + 4).expect("short enough");
        [&[tag], &len.to_be_bytes()[..], body].concat()
    }

    /// A first packet: it has no tag.
    pub(crate) fn first(body: &[u8]) -> Vec<u8> {
        frame(b' ', body).split_off(1)
    }

    pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend(cstr(name));
            body.extend(cstr(value));
        }
        body.push(0);
        first(&body)
    }

    pub(crate) fn query(sql: &str) -> Vec<u8> {
        frame(b'Q', &cstr(sql))
    }

    pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
        frame(b'P', &[cstr(name), cstr(sql), vec![0, 0]].concat())
    }

    /// Parameters and results in text.
    pub(crate) fn bind(portal: &str, name: &str, values: &[Option<&str>]) -> Vec<u8> {
        let mut body = [cstr(portal), cstr(name), vec![0, 0]].concat();
        let count = u16::try_from(values.len()).expect("few");
        body.extend(count.to_be_bytes());
        for value in values {
            let len = value.map_or(-1, |v| i32::try_from(v.len()).expect("short enough"));
            body.extend(len.to_be_bytes());
            body.extend(value.unwrap_or_default().as_bytes());
        }
        body.extend([0, 0]);
        frame(b'B', &body)
    }

    /// `kind` is `S` for a statement or `P` for a portal.
    pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
        frame(b'D', &[vec![kind], cstr(name)].concat())
    }

    pub(crate) fn close(kind: u8, name: &str) -> Vec<u8> {
        frame(b'C', &[vec![kind], cstr(name)].concat())
    }

    /// `rows` is the limit, 0 for none.
    pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
        frame(b'E', &[cstr(portal), rows.to_be_bytes().to_vec()].concat())
    }

    pub(crate) fn flush() -> Vec<u8> {
        frame(b'H', b"")
    }

    pub(crate) fn sync() -> Vec<u8> {
        frame(b'S', b"")
    }

    /// Parse, Bind, Describe and Execute of an unnamed statement.
    pub(crate) fn statement(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
        let describe = describe(b'P', "");
        [
            parse("", sql),
            bind("", "", values),
            describe,
            execute("", 0),
        ]
        .concat()
    }

    pub(crate) fn copy_data(data: &[u8]) -> Vec<u8> {
        frame(b'd', data)
    }

    pub(crate) fn copy_done() -> Vec<u8> {
        frame(b'c', b"")
    }

    pub(crate) fn copy_fail(reason: &str) -> Vec<u8> {
        frame(b'f', &cstr(reason))
    }

    pub(crate) fn terminate() -> Vec<u8> {
        frame(b'X', b"")
    }
}
