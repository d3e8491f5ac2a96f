//! A client that sends messages and knows how far to read for each, whatever the server makes of
//! them.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::message::Message;
use crate::support::{Frame, Login, Wire};

/// How long an answer may take: none of the statements takes long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection, and what came by it.
pub(crate) struct Conversation {
    wire: Wire,
    /// Sent and not yet answered, because nothing made the server send.
    unread: VecDeque<Message>,
    state: State,
    frames: Vec<Frame>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Normal,
    /// After an error in the extended protocol everything up to Sync is ignored.
    Ignoring,
    /// CopyInResponse came, in answer to Query or to Execute.
    CopyBySimple,
    CopyByExtended,
    /// The connection is gone, or silent where it should say something.
    Ended,
}

impl Conversation {
    pub(crate) fn open(port: u16, database: &str, options: &str) -> Self {
        let mut wire = Wire::open(port);
        let login = Login {
            parameters: &[("options", options), ("application_name", "differential")],
            ..Login::default()
        };
        let refused = wire.log_in(&login, database);
        assert!(refused.is_none(), "refused: {refused:?}");
        wire.set_patience(PATIENCE);
        Self {
            wire,
            unread: VecDeque::new(),
            state: State::Normal,
            frames: Vec::new(),
        }
    }

    /// Sends these in one piece and reads what must come now.
    pub(crate) fn step(&mut self, messages: &[Message]) {
        if self.state == State::Ended {
            return;
        }
        let bytes: Vec<Vec<u8>> = messages.iter().map(Message::bytes).collect();
        self.wire.send(&bytes.concat());
        self.unread.extend(messages.iter().cloned());
        let ends_copy = |m: &Message| matches!(m, Message::CopyDone | Message::CopyFail(_));
        let flushes = |m: &Message| m.flushes() || ends_copy(m) && self.state != State::Normal;
        let last = self.unread.iter().rposition(flushes);
        let count = last.map_or(0, |last| last + 1);
        for message in self.unread.drain(..count).collect::<Vec<_>>() {
            self.answer(&message);
        }
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.wire.set_patience(patience);
    }

    /// The values of parameters that were reported last.
    pub(crate) fn reported(&self) -> Vec<String> {
        let parameters = self.wire.parameters.iter();
        let line = |(name, value)| format!("{name}={value}");
        parameters.map(line).collect()
    }

    /// What came since the last time this was asked.
    pub(crate) fn take(&mut self) -> Vec<Frame> {
        let own = self.wire.key.get(..4).unwrap_or_default();
        for frame in self.frames.iter_mut().filter(|f| f.tag == b'A') {
            // No two runs have the same process ids, but both know their own.
            let is_own = frame.body.starts_with(own);
            frame.body.splice(..4, [0, 0, 0, u8::from(is_own)]);
        }
        std::mem::take(&mut self.frames)
    }

    fn answer(&mut self, message: &Message) {
        let (before, is_sync) = (self.state, matches!(message, Message::Sync));
        match before {
            State::Ended => {}
            State::Ignoring if is_sync => {
                self.state = State::Normal;
                self.until(b"Z");
            }
            State::Ignoring => {}
            State::CopyBySimple | State::CopyByExtended => self.answer_in_copy(message),
            State::Normal => self.answer_normally(message),
        }
    }

    fn answer_in_copy(&mut self, message: &Message) {
        match message {
            Message::CopyData(_) | Message::Flush | Message::Sync => {}
            _ if self.state == State::CopyBySimple => {
                self.state = State::Normal;
                self.simple();
            }
            _ => {
                self.state = State::Normal;
                self.extended(b"CE");
            }
        }
    }

    fn answer_normally(&mut self, message: &Message) {
        match message {
            Message::Query(_) => self.simple(),
            Message::Call(..) | Message::Sync => {
                self.until(b"Z");
            }
            Message::Parse { .. } => self.extended(b"1E"),
            Message::Bind { .. } => self.extended(b"2E"),
            Message::Describe(..) => self.extended(b"TnE"),
            Message::Execute(..) => self.extended(b"CIsGE"),
            Message::Close(..) => self.extended(b"3E"),
            Message::Flush | Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => {}
        }
    }

    fn simple(&mut self) {
        if self.until(b"ZG") == Some(b'G') {
            self.state = State::CopyBySimple;
        }
    }

    fn extended(&mut self, tags: &[u8]) {
        match self.until(tags) {
            Some(b'E') => self.state = State::Ignoring,
            Some(b'G') => self.state = State::CopyByExtended,
            _ => {}
        }
    }

    /// Whether this reports a parameter with the value that was reported last. Takes note of it.
    fn knows(&mut self, frame: &Frame) -> bool {
        let mut fields = frame.body.split(|b| *b == 0).map(String::from_utf8_lossy);
        match (frame.tag, fields.next(), fields.next()) {
            (b'S', Some(name), Some(value)) => {
                let value = value.into_owned();
                let parameters = &mut self.wire.parameters;
                parameters.insert(name.into_owned(), value.clone()) == Some(value)
            }
            _ => false,
        }
    }

    /// Reads up to a message of one of these kinds.
    fn until(&mut self, tags: &[u8]) -> Option<u8> {
        loop {
            match self.wire.read() {
                Ok(frame) => {
                    let tag = frame.tag;
                    if self.knows(&frame) {
                        // A server that was told something by the proxy takes it back.
                        continue;
                    }
                    self.frames.push(frame);
                    if tags.contains(&tag) {
                        return Some(tag);
                    }
                }
                Err(error) => {
                    self.frames.push(ended(&error));
                    self.state = State::Ended;
                    return None;
                }
            }
        }
    }
}

/// Stands in a stream for its end.
fn ended(error: &io::Error) -> Frame {
    let silent = error.kind() == io::ErrorKind::WouldBlock;
    let what = if silent {
        "silence"
    } else {
        "end of the stream"
    };
    Frame {
        tag: b'!',
        body: what.as_bytes().to_vec(),
    }
}
