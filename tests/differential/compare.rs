//! What of two message streams must be the same, and the exceptions.

use std::fmt;

use crate::support::Frame;

/// A message as it is compared.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    text: String,
    /// File, line and routine of an error or a notice.
    source: String,
}

impl Line {
    pub(crate) fn new(text: String) -> Self {
        let source = String::new();
        Self { text, source }
    }

    /// Whether it is what a direct connection says. What the proxy says itself does not come from
    /// PostgreSQL's source.
    fn is_like(&self, direct: &Self) -> bool {
        // In a transaction that failed it is said to whatever comes first, and the proxy may prepare
        // a statement at a server before it binds it.
        let in_failed = self.text.contains(" C25P02 ");
        let same_source = self.source.is_empty() || self.source == direct.source || in_failed;
        self.text == direct.text && same_source
            || self.is_refused_early(direct)
            || self.is_about_another_schema(direct)
    }

    /// A server that once had temporary objects keeps its schema for them, also for those who never had
    /// any: what is not in it is missed in other words.
    fn is_about_another_schema(&self, direct: &Self) -> bool {
        let missing = direct
            .text
            .contains("schema \\\"pg_temp\\\" does not exist");
        missing && self.text.contains("does not exist") && self.text[..1] == direct.text[..1]
    }

    /// The proxy refuses a name that is taken, and statements of a transaction that failed, before a
    /// server has looked at the text, which may have mistakes of its own.
    fn is_refused_early(&self, direct: &Self) -> bool {
        let early = self.text.contains(" C42P05 ") || self.text.contains(" C25P02 ");
        early && self.source.is_empty() && direct.text.starts_with("E ")
    }

    /// Whether this stands for the end of the stream.
    pub(crate) fn is_end(&self) -> bool {
        self.text.starts_with("! end")
    }

    /// Whether the other side said why it ends the connection.
    pub(crate) fn is_fatal(&self) -> bool {
        self.text.starts_with("E SFATAL")
    }

    /// Whether this stands for an answer that did not come.
    pub(crate) fn is_silence(&self) -> bool {
        self.text.starts_with("! silence")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.source)
    }
}

/// Whether the messages are those of a direct connection.
pub(crate) fn are_like(proxied: &[Line], direct: &[Line]) -> bool {
    let mut pairs = proxied.iter().zip(direct);
    proxied.len() == direct.len() && pairs.all(|(proxied, direct)| proxied.is_like(direct))
}

/// Something that may differ.
struct Exception {
    what: &'static str,
    /// Why no proxy can or need make it the same.
    why: &'static str,
    /// Makes it the same in a message.
    hide: fn(&mut Frame),
}

/// All that may differ, beside the place in PostgreSQL's source that an error of the proxy itself has
/// not. Everything else is compared byte by byte.
const EXCEPTIONS: [Exception; 3] = [
    Exception {
        what: "oids of tables and of types of our own in RowDescription",
        why: "the two runs have two tables",
        hide: hide_oids,
    },
    Exception {
        what: "oids of types of our own in ParameterDescription",
        why: "the two runs have two types",
        hide: |frame| {
            if frame.tag == b't' {
                let types = frame.body.get_mut(2..).unwrap_or_default();
                types.chunks_exact_mut(4).for_each(hide_own);
            }
        },
    },
    Exception {
        what: "names of the two databases in texts",
        why: "the two runs have two databases",
        hide: |frame| {
            if matches!(frame.tag, b'E' | b'N' | b'D') {
                let text = String::from_utf8_lossy(&frame.body).replace("_proxied", "_direct");
                if text.contains("_direct") {
                    frame.body = text.into_bytes();
                }
            }
        },
    },
];

/// Oids from here on are given in the order of creation.
const FIRST_OWN_OID: u32 = 16384;

fn hide_own(oid: &mut [u8]) {
    let number = oid.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
    if number >= FIRST_OWN_OID {
        oid.copy_from_slice(&[0xff; 4]);
    }
}

fn hide_oids(frame: &mut Frame) {
    if frame.tag != b'T' {
        return;
    }
    let mut at = 2;
    while let Some(end) = frame
        .body
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == 0))
    {
        // After the name: table, number of the column, type, length, modifier, format.
        let fields = at + end + 1;
        for oid in [fields, fields + 6] {
            if let Some(oid) = frame.body.get_mut(oid..oid + 4) {
                hide_own(oid);
            }
        }
        at = fields + 18;
    }
}

/// The stream with each report of a parameter right before the next ReadyForQuery. DISCARD ALL makes
/// the proxy end a pipeline and begin another, and servers report at the end.
fn reported_at_the_end(frames: Vec<Frame>) -> Vec<Frame> {
    let (mut ordered, mut reports) = (Vec::with_capacity(frames.len()), Vec::new());
    for frame in frames {
        match frame.tag {
            b'S' => reports.push(frame),
            b'Z' => {
                ordered.append(&mut reports);
                ordered.push(frame);
            }
            _ => ordered.push(frame),
        }
    }
    ordered.append(&mut reports);
    ordered
}

/// The stream without what may differ.
pub(crate) fn normalised(frames: Vec<Frame>) -> Vec<Line> {
    let frames = reported_at_the_end(frames);
    let line = |mut frame: Frame| {
        for exception in &EXCEPTIONS {
            (exception.hide)(&mut frame);
        }
        let tag = char::from(frame.tag);
        if !matches!(frame.tag, b'E' | b'N') {
            return Line::new(format!("{tag} {}", frame.body.escape_ascii()));
        }
        let fields = frame.body.split(|b| *b == 0);
        let (source, text) = fields
            .partition::<Vec<_>, _>(|field| matches!(field.first(), Some(b'F' | b'L' | b'R')));
        let joined = |fields: Vec<&[u8]>| fields.join(&b' ').escape_ascii().to_string();
        Line {
            text: format!("{tag} {}", joined(text)),
            source: joined(source),
        }
    };
    frames.into_iter().map(line).collect()
}

/// Differences that are known and not mended, by a part of what is shown of them. Each is a corner
/// that no client is known to meet.
const KNOWN: &[(&str, &str)] = &[
    (
        "RESET ALL; ",
        "what comes behind it in one string runs before the startup packet's values are set again",
    ),
    (
        "cannot be executed within a pipeline",
        "what was executed before it in the pipeline was executed on another server",
    ),
    (
        "RESET search_path; ",
        "what comes behind it in one string runs before the startup packet's value is set again",
    ),
];

/// Why a difference is not counted, if it is not.
pub(crate) fn known(found: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(part, _)| found.contains(part));
    known.map(|(_, why)| *why)
}

/// What may differ and why, one line each.
pub(crate) fn exceptions() -> String {
    let line = |e: &Exception| format!("may differ: {}, since {}\n", e.what, e.why);
    EXCEPTIONS.iter().map(line).collect()
}
