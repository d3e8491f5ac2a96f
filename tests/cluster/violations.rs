//! What breaks the protocol, or is odd, is answered by the proxy as by a server: the same bytes to
//! both give the same messages.

use crate::support::{Options, Wire, cluster, msg};

/// Messages, each as a client could write it.
type Case = (&'static str, Vec<u8>);

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    msg::frame(tag, body)
}

/// A header with a length that is not that of the body.
fn lying(tag: u8, len: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &len.to_be_bytes(), body].concat()
}

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// With Sync behind it.
fn batch(messages: &[&[u8]]) -> Vec<u8> {
    [messages.concat(), msg::sync()].concat()
}

fn function_call(oid: u32, rest: &[u8]) -> Vec<u8> {
    frame(b'F', &[&oid.to_be_bytes()[..], rest].concat())
}

fn simple() -> Vec<Case> {
    let q = |body: &[u8]| frame(b'Q', body);
    vec![
        ("nothing", vec![]),
        ("a query without its end", q(b"SELECT 1")),
        ("a query with something behind its end", q(b"SELECT 1\0x")),
        ("a query of two texts", q(b"SELECT 1\0SELECT 2\0")),
        ("a query without a text", q(b"")),
        ("an empty query", q(b"\0")),
        ("a query that is not UTF-8", q(b"SELECT '\xff'\0")),
        ("a comment that is not UTF-8", q(b"SELECT 1 -- \xc3\x28\0")),
        (
            "BEGIN, and then not UTF-8",
            cat(&[&q(b"BEGIN\0"), &q(b"SELECT '\xff'\0"), &q(b"SELECT 1\0")]),
        ),
        ("an unknown type", frame(b'y', b"abc")),
        ("type zero", frame(0, b"")),
        ("a type of the other direction", frame(b'Z', b"I")),
        ("a password out of place", frame(b'p', b"secret\0")),
        ("copied data out of place", frame(b'd', b"1\n")),
        ("the end of a copy out of place", frame(b'c', b"")),
        ("the failure of a copy out of place", frame(b'f', b"no\0")),
        ("length 0", lying(b'Q', 0, b"")),
        ("length 3", lying(b'Q', 3, b"")),
        ("a huge length", lying(b'Q', 0x7fff_ffff, b"SELECT 1\0")),
        ("a negative length", lying(b'Q', u32::MAX, b"SELECT 1\0")),
        ("Sync of length 0", lying(b'S', 0, b"")),
        ("a Sync too long", frame(b'S', &[b'x'; 10_001])),
        ("a Describe too long", frame(b'D', &[b'x'; 10_001])),
        ("an Execute too long", frame(b'E', &[b'x'; 10_001])),
        ("a Close too long", frame(b'C', &[b'x'; 10_001])),
        ("a Flush too long", frame(b'H', &[b'x'; 10_001])),
        ("a Terminate too long", frame(b'X', &[b'x'; 10_001])),
        ("a Terminate with a body", frame(b'X', b"x")),
        ("an unknown type with length 0", lying(b'y', 0, b"")),
    ]
}

fn parsing() -> Vec<Case> {
    let p = |body: &[u8]| batch(&[&frame(b'P', body)]);
    let d = |body: &[u8]| batch(&[&frame(b'D', body)]);
    let c = |body: &[u8]| batch(&[&frame(b'C', body)]);
    vec![
        ("Parse without anything", p(b"")),
        ("Parse without the end of its name", p(b"name")),
        ("Parse without a text", p(b"name\0")),
        ("Parse without the end of its text", p(b"\0SELECT 1")),
        ("Parse without a count", p(b"\0SELECT 1\0")),
        ("Parse with half a count", p(b"\0SELECT 1\0\0")),
        (
            "Parse with a type too few",
            p(b"\0SELECT $1\0\0\x02\0\0\0\x17"),
        ),
        (
            "Parse with a type too many",
            p(b"\0SELECT $1\0\0\x01\0\0\0\x17\0\0\0\x17"),
        ),
        (
            "Parse of an unknown type",
            p(b"\0SELECT $1\0\0\x01\0\0\xff\xff"),
        ),
        ("Parse with negative count", p(b"\0SELECT $1\0\xff\xff")),
        ("Parse that is not UTF-8", p(b"\0SELECT '\xff'\0\0\0")),
        (
            "Parse of a name that is not UTF-8",
            p(b"\xff\0SELECT 1\0\0\0"),
        ),
        ("Parse of two statements", p(b"\0SELECT 1; SELECT 2\0\0\0")),
        ("Parse of nothing", p(b"\0\0\0\0")),
        ("Parse of a mistake", p(b"\0SELEC\0\0\0")),
        (
            "Parse twice under a name",
            batch(&[&msg::parse("n", "SELECT 1"), &msg::parse("n", "SELECT 2")]),
        ),
        ("Describe of nothing", d(b"")),
        ("Describe of a kind without a name", d(b"S")),
        ("Describe without the end of the name", d(b"Sname")),
        ("Describe of an unknown kind", d(b"Xname\0")),
        ("Describe with more", d(b"Sname\0more")),
        ("Describe of an unknown statement", d(b"Sname\0")),
        ("Describe of no unnamed statement", d(b"S\0")),
        ("Describe of an unknown portal", d(b"Pname\0")),
        ("Describe of no unnamed portal", d(b"P\0")),
        ("Close of nothing", c(b"")),
        ("Close of an unknown kind", c(b"Xname\0")),
        ("Close without the end of the name", c(b"Sname")),
        ("Close with more", c(b"Sname\0more")),
        ("Close of an unknown statement", c(b"Sname\0")),
        ("Close of an unknown portal", c(b"Pname\0")),
        (
            "Close of the unnamed",
            batch(&[&msg::close(b'S', ""), &msg::close(b'P', "")]),
        ),
        (
            "Close and Describe",
            batch(&[
                &msg::parse("", "SELECT 1"),
                &msg::close(b'S', ""),
                &msg::describe(b'S', ""),
            ]),
        ),
        ("a name not UTF-8 in Describe", d(b"S\xff\0")),
        ("a name not UTF-8 in Close", c(b"S\xff\0")),
    ]
}

#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn binding() -> Vec<Case> {
    let parse = msg::parse("", "SELECT $1::text");
    let b = |body: &[u8]| {
        let bind = frame(b'B', body);
        batch(&[&parse, &bind, &msg::execute("", 0)])
    };
    let e = |body: &[u8]| {
        let good = frame(b'B', b"\0\0\0\0\0\x01\0\0\0\x01a\0\0");
        batch(&[&parse, &good, &frame(b'E', body)])
    };
    vec![
        ("Bind of nothing", b(b"")),
        ("Bind without the end of the portal", b(b"portal")),
        ("Bind without a statement", b(b"portal\0")),
        ("Bind without formats", b(b"\0\0")),
        ("Bind without values", b(b"\0\0\0\0")),
        (
            "Bind without result formats",
            b(b"\0\0\0\0\0\x01\0\0\0\x01a"),
        ),
        ("Bind with half a value", b(b"\0\0\0\0\0\x01\0\0\0\x05a")),
        (
            "Bind with a value too long",
            b(b"\0\0\0\0\0\x01\x7f\xff\xff\xffa\0\0"),
        ),
        (
            "Bind with a negative length",
            b(b"\0\0\0\0\0\x01\xff\xff\xff\xfea\0\0"),
        ),
        ("Bind with more", b(b"\0\0\0\0\0\x01\0\0\0\x01a\0\0more")),
        ("Bind with too few values", b(b"\0\0\0\0\0\0\0\0")),
        (
            "Bind with too many values",
            b(b"\0\0\0\0\0\x02\0\0\0\x01a\0\0\0\x01b\0\0"),
        ),
        (
            "Bind with two formats for one",
            b(b"\0\0\0\x02\0\0\0\0\0\x01\0\0\0\x01a\0\0"),
        ),
        (
            "Bind with format 7",
            b(b"\0\0\0\x01\0\x07\0\x01\0\0\0\x01a\0\0"),
        ),
        (
            "Bind with result format 7",
            b(b"\0\0\0\0\0\x01\0\0\0\x01a\0\x01\0\x07"),
        ),
        (
            "Bind with too many result formats",
            b(b"\0\0\0\0\0\x01\0\0\0\x01a\0\x02\0\0\0\0"),
        ),
        (
            "Bind of a value that is not UTF-8",
            b(b"\0\0\0\0\0\x01\0\0\0\x01\xff\0\0"),
        ),
        (
            "Bind of a value with a zero",
            b(b"\0\0\0\0\0\x01\0\0\0\x01\0\0\0"),
        ),
        (
            "Bind of a binary value that is not UTF-8",
            b(b"\0\0\0\x01\0\x01\0\x01\0\0\0\x01\xff\0\0"),
        ),
        ("Bind of NULL", b(b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\0")),
        (
            "Bind of an unknown statement",
            batch(&[&msg::bind("", "nothing", &[])]),
        ),
        (
            "Bind without a statement parsed",
            batch(&[&msg::bind("", "", &[])]),
        ),
        (
            "Bind twice to a portal",
            batch(&[
                &msg::parse("", "SELECT 1"),
                &msg::bind("p", "", &[]),
                &msg::bind("p", "", &[]),
            ]),
        ),
        (
            "Bind to a portal that is not UTF-8",
            b(b"\xff\0\0\0\0\0\x01\0\0\0\x01a\0\0"),
        ),
        ("Execute of nothing", e(b"")),
        ("Execute without a limit", e(b"\0")),
        ("Execute without the end of the name", e(b"portal")),
        ("Execute with half a limit", e(b"\0\0\0")),
        ("Execute with more", e(b"\0\0\0\0\0more")),
        ("Execute with a negative limit", e(b"\0\xff\xff\xff\xff")),
        ("Execute of an unknown portal", e(b"nothing\0\0\0\0\0")),
        ("Execute without a portal", batch(&[&msg::execute("", 0)])),
        (
            "Execute twice",
            batch(&[&msg::statement("SELECT 1", &[]), &msg::execute("", 0)]),
        ),
        (
            "Execute by pieces",
            batch(&[
                &msg::parse("", "SELECT generate_series(1, 5)"),
                &msg::bind("", "", &[]),
                &msg::execute("", 2),
                &msg::execute("", 2),
                &msg::execute("", 2),
                &msg::execute("", 2),
            ]),
        ),
        (
            "Execute by pieces over two batches",
            cat(&[
                &batch(&[
                    &msg::parse("", "SELECT generate_series(1, 5)"),
                    &msg::bind("", "", &[]),
                    &msg::execute("", 2),
                ]),
                &batch(&[&msg::execute("", 2)]),
            ]),
        ),
        (
            "Execute of an empty statement",
            batch(&[&msg::statement("", &[])]),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn order() -> Vec<Case> {
    let bad = msg::parse("", "SELEC");
    let good = msg::statement("SELECT 1", &[]);
    vec![
        ("Sync alone", msg::sync()),
        (
            "three times Sync",
            cat(&[&msg::sync(), &msg::sync(), &msg::sync()]),
        ),
        ("Flush alone", msg::flush()),
        ("Sync with a body", frame(b'S', b"abc")),
        (
            "Flush with a body",
            cat(&[&frame(b'H', b"abc"), &msg::sync()]),
        ),
        (
            "what follows an error is skipped",
            batch(&[&bad, &good, &msg::flush(), &good]),
        ),
        (
            "a query behind an error is skipped",
            batch(&[&bad, &msg::query("SELECT 'skipped'")]),
        ),
        (
            "an unknown type behind an error",
            batch(&[&bad, &frame(b'y', b"")]),
        ),
        (
            "a function call behind an error",
            batch(&[&bad, &function_call(177, b"")]),
        ),
        (
            "a broken message behind an error",
            batch(&[&bad, &frame(b'B', b"")]),
        ),
        (
            "a length 0 behind an error",
            batch(&[&bad, &lying(b'B', 0, b"")]),
        ),
        ("Terminate behind an error", cat(&[&bad, &msg::terminate()])),
        (
            "a query in a batch without Sync",
            cat(&[&good, &msg::query("SELECT 2")]),
        ),
        (
            "a query between Parse and Bind",
            cat(&[
                &msg::parse("", "SELECT 1"),
                &msg::query("SELECT 2"),
                &batch(&[&msg::bind("", "", &[])]),
            ]),
        ),
        (
            "batches in one piece",
            cat(&[&batch(&[&good]), &batch(&[&bad, &good]), &batch(&[&good])]),
        ),
        (
            "an error in the middle of a pipeline",
            batch(&[&good, &msg::statement("SELECT 1/0", &[]), &good]),
        ),
        (
            "BEGIN in a pipeline with an error",
            cat(&[
                &batch(&[
                    &msg::statement("BEGIN", &[]),
                    &msg::statement("SELECT 1/0", &[]),
                    &good,
                ]),
                &batch(&[&good]),
                &batch(&[&msg::statement("ROLLBACK", &[])]),
            ]),
        ),
        (
            "in a failed transaction",
            cat(&[
                &msg::query("BEGIN; SELECT 1/0"),
                &batch(&[&good]),
                &batch(&[&msg::describe(b'S', "x")]),
                &batch(&[&msg::close(b'S', "x")]),
                &function_call(177, b"\0\0\0\0\0\0"),
                &batch(&[&msg::statement("", &[])]),
                &msg::query("ROLLBACK"),
            ]),
        ),
        (
            "COPY, and a query inside it",
            cat(&[&msg::query("COPY t FROM STDIN"), &msg::query("SELECT 1")]),
        ),
        (
            "COPY, and an unknown type inside it",
            cat(&[&msg::query("COPY t FROM STDIN"), &frame(b'y', b"")]),
        ),
        (
            "COPY, and Terminate inside it",
            cat(&[&msg::query("COPY t FROM STDIN"), &msg::terminate()]),
        ),
        (
            "COPY, and Flush and Sync inside it",
            cat(&[
                &msg::query("COPY t FROM STDIN"),
                &msg::flush(),
                &msg::sync(),
                &msg::copy_done(),
            ]),
        ),
        (
            "COPY that fails without a word",
            cat(&[&msg::query("COPY t FROM STDIN"), &frame(b'f', b"")]),
        ),
        (
            "COPY of what is not UTF-8",
            cat(&[
                &msg::query("COPY t FROM STDIN"),
                &msg::copy_data(b"1\t\xff\n"),
                &msg::copy_done(),
            ]),
        ),
        (
            "COPY of a length 0",
            cat(&[&msg::query("COPY t FROM STDIN"), &lying(b'd', 0, b"")]),
        ),
        (
            "COPY by the extended protocol with an Execute inside",
            batch(&[
                &msg::statement("COPY t FROM STDIN", &[]),
                &msg::execute("", 0),
            ]),
        ),
        (
            "COPY by the extended protocol",
            batch(&[
                &msg::statement("COPY t FROM STDIN", &[]),
                &msg::copy_data(b"7\tseven\n"),
                &msg::copy_done(),
            ]),
        ),
        (
            "data of a failed COPY",
            cat(&[
                &msg::query("COPY t FROM STDIN"),
                &msg::copy_data(b"x\n"),
                &msg::copy_data(b"1\tb\n"),
                &msg::copy_done(),
            ]),
        ),
    ]
}

fn calls() -> Vec<Case> {
    // int4pl(5, 7), upper('a') and what is wrong with calls of them.
    let int4pl = 177;
    let numbers = b"\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x05\0\0\0\x04\0\0\0\x07";
    let texts = b"\0\0\0\x02\0\0\0\x015\0\0\0\x017";
    let call = |rest: &[&[u8]]| function_call(int4pl, &rest.concat());
    vec![
        ("a call in binary", call(&[numbers, b"\0\x01"])),
        (
            "a call in binary with a text result",
            call(&[numbers, b"\0\0"]),
        ),
        ("a call in text", call(&[texts, b"\0\0"])),
        (
            "a call in text with a binary result",
            call(&[texts, b"\0\x01"]),
        ),
        (
            "a call with a null",
            call(&[b"\0\0\0\x02\0\0\0\x015\xff\xff\xff\xff\0\0"]),
        ),
        (
            "a call with a value too few",
            call(&[b"\0\0\0\x01\0\0\0\x015\0\0"]),
        ),
        (
            "a call with a value too many",
            call(&[b"\0\0\0\x03\0\0\0\x015\0\0\0\x015\0\0\0\x015\0\0"]),
        ),
        (
            "a call with bad text",
            call(&[b"\0\0\0\x02\0\0\0\x01x\0\0\0\x017\0\0"]),
        ),
        ("a call with result format 7", call(&[texts, b"\0\x07"])),
        (
            "a call with format 7",
            call(&[b"\0\x01\0\x07\0\x02\0\0\0\x015\0\0\0\x017\0\0"]),
        ),
        ("a call of nothing", frame(b'F', b"")),
        ("a call without values", function_call(int4pl, b"")),
        ("a call with half a value", call(&[b"\0\0\0\x02\0\0\0\x09"])),
        ("a call with more", call(&[texts, b"\0\0more"])),
        (
            "a call of no function",
            function_call(4_000_000_000, b"\0\0\0\0\0\0"),
        ),
        (
            "a call in a transaction",
            cat(&[
                &msg::query("BEGIN"),
                &call(&[texts, b"\0\0"]),
                &msg::query("COMMIT"),
            ]),
        ),
        (
            "a call in a batch",
            batch(&[&msg::parse("", "SELECT 1"), &call(&[texts, b"\0\0"])]),
        ),
        ("a call too long", lying(b'F', 0x7fff_ffff, b"")),
    ]
}

/// What is answered in another way, and why that is as well.
const DIFFERENT: [&str; 3] = [
    // The proxy closes names, whatever is in them; there is no statement of that name.
    "a name not UTF-8 in Close",
    // The server is not told, and its connection is closed; to the client it is the same end.
    "COPY of a length 0",
    // The unnamed statement stays on the server until the next Parse, and Describe asks there.
    "Close and Describe",
];

/// Everything a connection answers to these bytes and to one more query.
fn answers(port: u16, bytes: &[u8]) -> String {
    let mut wire = Wire::connect(port, "violations");
    wire.set_patience(std::time::Duration::from_secs(5));
    wire.send(
        &[
            bytes,
            &msg::query("SELECT 'still there'"),
            &msg::terminate(),
        ]
        .concat(),
    );
    let mut lines = String::new();
    loop {
        match wire.read() {
            Ok(frame) => {
                lines.push_str(&frame.shown());
                lines.push('\n');
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return lines + "and then nothing\n";
            }
            Err(_) => return lines + "the end\n",
        }
    }
}

fn compare(cases: &[Case]) {
    let proxy = Options::weights([1, 0, 0]).start();
    let primary = cluster().primary().port();
    let mut differences = String::new();
    for (name, bytes) in cases.iter().filter(|(name, _)| !DIFFERENT.contains(name)) {
        let (direct, proxied) = (answers(primary, bytes), answers(proxy.port(), bytes));
        if direct != proxied {
            differences += &format!("== {name}\ndirect:\n{direct}proxied:\n{proxied}");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[test]
fn violations_are_answered_as_by_a_server() -> anyhow::Result<()> {
    let setup = "CREATE TABLE t (a int, b text)";
    crate::support::runtime().block_on(crate::support::database("violations", setup))?;
    let all = [simple(), parsing(), binding(), order(), calls()];
    compare(&all.concat());
    Ok(())
}

/// First packets that are none.
#[test]
fn bad_first_packets_are_answered_as_by_a_server() {
    let proxy = Options::weights([1, 0, 0]).start();
    let startup = |version: u32| msg::startup(version, &[("user", "postgres")]);
    let cases: Vec<Case> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("ones", vec![0xff; 100]),
        ("zeros", vec![0; 100]),
        ("too long", vec![0, 1, 0, 0]),
        ("too short", vec![0, 0, 0, 7, 0, 0, 0]),
        ("no terminator", msg::first(&[0, 3, 0, 0, b'u'])),
        ("no value", msg::first(b"\0\x03\0\0user\0")),
        ("no user", msg::first(b"\0\x03\0\0database\0postgres\0\0")),
        ("an empty user", msg::startup(3 << 16, &[("user", "")])),
        ("nothing in it", msg::first(&[0, 3, 0, 0])),
        ("nothing but a terminator", msg::first(&[0, 3, 0, 0, 0])),
        (
            "something behind the terminator",
            msg::first(b"\0\x03\0\0user\0postgres\0\0more\0"),
        ),
        ("version 1", startup(1 << 16)),
        ("version 4", startup(4 << 16)),
        (
            "a cancel request without a key",
            msg::first(b"\x04\xd2\x16\x2e\0\0\0\x01"),
        ),
        (
            "a cancel request for nobody",
            msg::first(b"\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x01"),
        ),
    ];
    let answer = |port: u16, bytes: &[u8]| {
        let mut wire = Wire::open(port);
        wire.send(bytes);
        wire.finish();
        let mut all = Vec::new();
        while let Some(byte) = wire.read_byte() {
            all.push(byte);
        }
        // Where in PostgreSQL's source it comes from, and what this server's latest version is.
        let text = all.escape_ascii().to_string();
        let fields: Vec<_> = text
            .split("\\x00")
            .filter(|f| !f.starts_with(['F', 'L', 'R']))
            .collect();
        let fields = fields.join("\n");
        let lengths_differ = |text: &str| text.replacen(|c: char| !c.is_ascii_graphic(), "", 5);
        lengths_differ(&fields).replace("3.0 to 3.0", "3.0 to 3.2")
    };
    let mut differences = String::new();
    for (name, bytes) in &cases {
        let (direct, proxied) = (
            answer(cluster().primary().port(), bytes),
            answer(proxy.port(), bytes),
        );
        let essence = |text: &str| text.split_once('S').map(|(_, rest)| rest.to_owned());
        if essence(&direct) != essence(&proxied) {
            differences += &format!("== {name}\ndirect:\n{direct}\nproxied:\n{proxied}\n");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}
