//! What servers do wrong.

use crate::wire::msg;

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In answer to the startup packet.
    Startup,
    /// In answer to the first message of SCRAM.
    Password,
    /// In answer to a query.
    Query,
}

/// What a client must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// An error with a SQLSTATE and a message.
    InError,
    /// Anything but silence.
    InAnything,
}

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// Over and over until the other side leaves.
    Forever(Vec<u8>),
    /// A challenge of SCRAM; `{nonce}` is the client's.
    Challenge(String),
    /// Once something more has come, which stays unread: closing then resets the connection.
    OverUnread(Vec<u8>),
}

/// One thing a server does.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) what: &'static str,
    pub(crate) stage: Stage,
    pub(crate) pieces: Vec<Piece>,
    /// It keeps the connection open afterwards.
    pub(crate) stays: bool,
    pub(crate) ends: Ends,
    /// The server's own error, which is passed on as it is.
    pub(crate) is_untouched: bool,
}

impl Deed {
    fn new(what: &'static str, stage: Stage, pieces: Vec<Piece>) -> Self {
        Self {
            what,
            stage,
            pieces,
            stays: false,
            ends: Ends::InError,
            is_untouched: false,
        }
    }

    fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    fn in_anything(mut self) -> Self {
        self.ends = Ends::InAnything;
        self
    }

    fn untouched(mut self) -> Self {
        self.is_untouched = true;
        self
    }
}

fn bytes(bytes: &[u8]) -> Vec<Piece> {
    vec![Piece::Bytes(bytes.to_vec())]
}

fn forever(bytes: Vec<u8>) -> Vec<Piece> {
    vec![Piece::Forever(bytes)]
}

/// A header that announces a body of this length.
fn header(tag: u8, length: u32) -> Vec<u8> {
    [&[tag], &length.to_be_bytes()[..]].concat()
}

fn garbage() -> Vec<u8> {
    let mut state = 7_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).expect("a byte")
    };
    (0..4096).map(byte).collect()
}

const GIB: u32 = 1 << 30;

pub(crate) fn at_login() -> Vec<Deed> {
    let mut deeds = at_startup();
    deeds.extend(after_ok());
    deeds.extend(at_password());
    deeds
}

fn at_startup() -> Vec<Deed> {
    let deed = |what, pieces| Deed::new(what, Stage::Startup, pieces);
    let mechanisms = |count: usize| {
        let list = "SCRAM-SHA-NONE\0".repeat(count);
        msg::frame(b'R', &[b"\0\0\0\x0a", list.as_bytes(), b"\0"].concat())
    };
    vec![
        deed("leaves at once", Vec::new()),
        deed("says nothing", Vec::new()).staying(),
        deed("garbage", bytes(&garbage())),
        deed("garbage, and stays", bytes(&garbage())).staying(),
        deed("a login message of 1 GiB", bytes(&header(b'R', GIB))).staying(),
        deed("a login message of 4 GiB", bytes(&header(b'R', u32::MAX))).staying(),
        deed("a length of 0", bytes(&header(b'R', 0))).staying(),
        deed("a length of 3", bytes(&header(b'R', 3))).staying(),
        deed("half a message", bytes(b"R\0\0\0\x08\0\0")),
        deed("half a message, and stays", bytes(b"R\0\0\0\x08\0\0")).staying(),
        deed(
            "an authentication request without a kind",
            bytes(&msg::frame(b'R', b"")),
        )
        .staying(),
        deed(
            "an unknown authentication request",
            bytes(&msg::frame(b'R', b"\0\0\0\x63")),
        )
        .staying(),
        deed(
            "MD5 with half a salt",
            bytes(&msg::frame(b'R', b"\0\0\0\x05\x01\x02")),
        )
        .staying(),
        deed("mechanisms we do not know", bytes(&mechanisms(4000))).staying(),
        deed("more mechanisms than fit", bytes(&mechanisms(40_000))).staying(),
        deed("an error without fields", bytes(&msg::frame(b'E', b"\0"))).untouched(),
        deed("an error of nothing", bytes(&msg::frame(b'E', b""))).untouched(),
        deed(
            "an error without SQLSTATE",
            bytes(&msg::frame(b'E', b"SFATAL\0Mno\0\0")),
        )
        .untouched(),
        deed(
            "an error of 1 MB",
            bytes(&msg::frame(
                b'E',
                &[&b"SFATAL\0CXX000\0M"[..], &[b'm'; 1 << 20], b"\0\0"].concat(),
            )),
        ),
        deed(
            "the answer to a query before the login",
            bytes(&msg::frame(b'D', b"\0\0")),
        )
        .staying(),
    ]
}

/// The password was not asked for, or was right.
fn after_ok() -> Vec<Deed> {
    let deed = |what, pieces| Deed::new(what, Stage::Startup, pieces);
    let ok = msg::frame(b'R', &[0; 4]);
    let after_ok = |rest: Vec<u8>| vec![Piece::Bytes(ok.clone()), Piece::Forever(rest)];
    let status = msg::frame(b'S', &[&b"name\0"[..], &[b'v'; 1000], b"\0"].concat());
    let notice = msg::frame(b'N', b"SNOTICE\0C00000\0Mmore\0\0");
    vec![
        deed(
            "ReadyForQuery without a state",
            [ok.clone(), msg::frame(b'Z', b"")].map(Piece::Bytes).into(),
        )
        .in_anything(),
        deed(
            "an unknown state",
            [ok.clone(), msg::frame(b'Z', b"?")]
                .map(Piece::Bytes)
                .into(),
        )
        .in_anything(),
        deed("parameters without end", after_ok(status)),
        deed("notices without end", after_ok(notice)),
        deed("keys without end", after_ok(msg::frame(b'K', &[7; 60_000]))),
        deed("leaves after letting us in", bytes(&ok)),
        deed("says nothing after letting us in", bytes(&ok)).staying(),
    ]
}

fn at_password() -> Vec<Deed> {
    let deed = |what, text: &str| {
        Deed::new(
            what,
            Stage::Password,
            vec![Piece::Challenge(text.to_owned())],
        )
        .staying()
    };
    let salt = "c2FsdCBvZiAxNiBieXRlcw==";
    let long_salt = format!("r={{nonce}}abc,s={},i=4096", "QUFB".repeat(10_000));
    let long_nonce = format!("r={{nonce}}{},s={salt},i=4096", "n".repeat(60_000));
    let good = format!("r={{nonce}}abc,s={salt},i=4096");
    let after = |what, body: &[u8]| {
        let pieces = vec![
            Piece::Challenge(good.clone()),
            Piece::Bytes(msg::frame(b'R', body)),
        ];
        Deed::new(what, Stage::Password, pieces).staying()
    };
    vec![
        deed("no challenge", ""),
        deed(
            "a nonce that is not ours",
            &format!("r=theirs,s={salt},i=4096"),
        ),
        deed("no iterations", &format!("r={{nonce}}abc,s={salt},i=0")),
        deed(
            "iterations without end",
            &format!("r={{nonce}}abc,s={salt},i=2147483647"),
        ),
        deed(
            "more iterations than a number holds",
            &format!("r={{nonce}}abc,s={salt},i=99999999999999"),
        ),
        deed("a salt that is none", "r={nonce}abc,s=!!!,i=4096"),
        deed("a salt of 30 KB", &long_salt),
        deed("a nonce of 60 KB", &long_nonce),
        after("a proof that is none", b"\0\0\0\x0cv=nonsense"),
        after(
            "a wrong proof",
            b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        after("an error as proof", b"\0\0\0\x0ce=other-error"),
        after("a second challenge", b"\0\0\0\x0br=again"),
        after("lets us in without a proof", b"\0\0\0\0"),
    ]
}

pub(crate) fn at_query() -> Vec<Deed> {
    let mut deeds = in_answer();
    deeds.extend(without_end());
    deeds
}

/// Asks for data, and goes away over them with these words.
pub(crate) fn resets_over_data(words: Vec<u8>) -> Deed {
    let copy_in = Piece::Bytes(msg::frame(b'G', b"\0\0\0"));
    let pieces = vec![copy_in, Piece::OverUnread(words)];
    Deed::new("resets over data", Stage::Query, pieces)
}

/// Until the client has had enough.
fn without_end() -> Vec<Deed> {
    let deed = |what, pieces| Deed::new(what, Stage::Query, pieces);
    let row = msg::frame(b'D', b"\0\x01\0\0\0\x05hello");
    let notice = msg::frame(b'N', b"SNOTICE\0C00000\0Mmore\0\0");
    vec![
        deed("rows without end", forever(row)).in_anything(),
        deed("notices without end", forever(notice)).in_anything(),
        deed(
            "notifications without end",
            forever(msg::frame(b'A', b"\0\0\0\x01ch\0text\0")),
        )
        .in_anything(),
        deed(
            "parameters without end",
            forever(msg::frame(b'S', b"TimeZone\0UTC\0")),
        )
        .in_anything(),
        deed(
            "new parameters without end",
            forever(msg::frame(
                b'S',
                &[&b"name\0"[..], &[b'v'; 60_000], b"\0"].concat(),
            )),
        )
        .in_anything(),
    ]
}

fn in_answer() -> Vec<Deed> {
    let deed = |what, pieces| Deed::new(what, Stage::Query, pieces);
    let row = msg::frame(b'D', b"\0\x01\0\0\0\x05hello");
    let ready = |bytes: Vec<u8>| bytes_and_ready(bytes);
    vec![
        deed("leaves at once", Vec::new()),
        deed("garbage", bytes(&garbage())),
        deed("garbage, and stays", bytes(&garbage())).staying(),
        deed("a length of 0", bytes(&header(b'D', 0))).staying(),
        deed("a length of 3", bytes(&header(b'T', 3))).staying(),
        deed("a length of 4 GiB", bytes(&header(b'D', u32::MAX))).staying(),
        deed("a row of 1 GB, and leaves", bytes(&header(b'D', GIB - 2))).in_anything(),
        deed(
            "an error of 1 GB, and leaves",
            bytes(&header(b'E', GIB - 2)),
        )
        .in_anything(),
        deed("a state of 1 GB, and leaves", bytes(&header(b'Z', GIB - 2))).in_anything(),
        deed("half a row", bytes(&row[..8])).in_anything(),
        deed("rows, and leaves", bytes(&row.repeat(3))).in_anything(),
        deed("an error without fields", ready(msg::frame(b'E', b"\0"))).untouched(),
        deed("an error of nothing", ready(msg::frame(b'E', b""))).untouched(),
        deed(
            "an error without SQLSTATE",
            ready(msg::frame(b'E', b"SERROR\0Mno\0\0")),
        )
        .untouched(),
        deed(
            "a parameter without a value",
            ready(msg::frame(b'S', b"name")),
        )
        .in_anything(),
        deed("a state of nothing", bytes(&msg::frame(b'Z', b"")))
            .staying()
            .in_anything(),
        deed("an unknown state", bytes(&msg::frame(b'Z', b"?")))
            .staying()
            .in_anything(),
        deed("a tag without end", ready(msg::frame(b'C', b"SELECT 1"))).in_anything(),
        deed("two answers for one", ready(bytes_and_ready_plain(&row))).in_anything(),
        deed("an unknown message", ready(msg::frame(b'?', b"what"))).in_anything(),
        deed(
            "asks for a password again",
            bytes(&msg::frame(b'R', b"\0\0\0\x03")),
        )
        .staying()
        .in_anything(),
    ]
}

fn bytes_and_ready(bytes: Vec<u8>) -> Vec<Piece> {
    vec![Piece::Bytes(bytes), Piece::Bytes(msg::frame(b'Z', b"I"))]
}

fn bytes_and_ready_plain(row: &[u8]) -> Vec<u8> {
    let complete = msg::frame(b'C', b"SELECT 1\0");
    [row, &complete, &msg::frame(b'Z', b"I"), row, &complete].concat()
}
