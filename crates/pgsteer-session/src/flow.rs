//! The outstanding queue: requests sent to a server whose answers are still due, and what to do
//! with each answer. Hot: runs for every frame a server sends. No I/O.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

use bytes::BytesMut;
use pgsteer_sql::Analysis;
use pgsteer_wire::backend::{self, TransactionStatus, tag};
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::{HEADER_LEN, encode, frame, parameters};

use crate::events::{Ended, Tally, Watched};
use crate::lost::Sent;
use crate::reports::{Heard, Reports};
use crate::requests::Expected;
pub(crate) use crate::requests::{Lost, Request};

/// What the server sent is not what the protocol allows here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// What to do next with the bytes that came from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Forward so many bytes; then, if `ready`, the exchange is over.
    Forward {
        len: usize,
        ready: Option<TransactionStatus>,
    },
    /// Throw so many bytes away; `ready` as above.
    Drop {
        len: usize,
        ready: Option<TransactionStatus>,
    },
    /// Throw so many bytes away and pass [`Flow::substitute`] on in their place.
    Replace { len: usize },
    /// Pass on a notification of so many bytes under the process id the client is to know.
    Notification { len: usize },
    /// Throw so many bytes away that belong to a query of the proxy's own.
    Skip { len: usize },
    /// The server refused such a query, in this message of so many bytes: what was sent behind it
    /// does not run.
    Refused { len: usize },
    /// Not enough bytes yet.
    Wait,
    /// The server goes away and says so in this message of so many bytes.
    Leaving { len: usize },
}

impl Next {
    fn forward(len: usize) -> Self {
        Self::Forward { len, ready: None }
    }
}

/// Bytes of an error that are enough to read its severity and code.
const ERROR_PEEK_LEN: usize = 512;

/// Longest message in answer to a query of the proxy's own, in bytes; ours.
const PROLOGUE_LEN_MAX: usize = 1 << 20;

/// Longest message that is looked at whole, in bytes; ours. PostgreSQL has 1,600 columns and 65,535
/// parameters at most.
const SPECIAL_LEN_MAX: usize = 1 << 20;

/// Longest command tag that matters to us (`ROLLBACK PREPARED`).
const TAG_LEN: usize = 24;

/// How many errors of which severity came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    pub(crate) panics: u32,
    pub(crate) fatals: u32,
    pub(crate) errors: u32,
}

impl Errors {
    /// One more of this severity.
    pub(crate) fn add(&mut self, severity: &str) {
        match severity {
            "PANIC" => self.panics += 1,
            "FATAL" => self.fatals += 1,
            _ => self.errors += 1,
        }
    }
}

/// State of one exchange with a server.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    expected: VecDeque<Expected>,
    // How many of them may change what the session is to know.
    changes: usize,
    // Bytes of a frame whose beginning was dealt with already.
    body_left: usize,
    /// The server takes copy data.
    pub(crate) copy_in: bool,
    /// The client sent Sync while the server took copied data.
    pub(crate) held_syncs: bool,
    /// A Flush must follow what is being passed on.
    pub(crate) owes_flush: bool,
    /// A Sync of the client that was held back must be sent after all.
    pub(crate) owes_sync: bool,
    /// Bytes of a client's frame that are still to be passed on to the server.
    pub(crate) up_left: usize,
    /// The transaction had failed before what runs now.
    pub(crate) began_failed: bool,
    /// An error came since the last ReadyForQuery.
    pub(crate) error: bool,
    /// The server said that it ends the connection, and the client was told.
    pub(crate) fatal: bool,
    /// Errors that came and were not counted yet, by severity.
    pub(crate) errors: Errors,
    /// The server said COMMIT; whoever moves the bytes takes it back.
    pub(crate) committed: bool,
    /// Bytes were forwarded since the exchange began.
    pub(crate) answered: bool,
    /// Executed statements that succeeded and have effects, and whether the tag was ROLLBACK.
    pub(crate) succeeded: Vec<(Rc<Analysis>, bool)>,
    /// Requests that an error swept away.
    pub(crate) lost: Vec<Lost>,
    /// Stands for the description of rows that was asked for by the proxy.
    pub(crate) description: Option<u64>,
    /// What the client is told of its parameters.
    pub(crate) reports: Reports,
    /// What goes to the client in the place of a message of the server.
    pub(crate) substitute: BytesMut,
    /// What came back since the exchange began, or since the last statement of it ended. Counted
    /// only if somebody wants to know.
    pub(crate) tally: Tally,
    /// Watched statements that have ended.
    pub(crate) ended: Vec<Ended>,
    /// Who says ReadyForQuery.
    pub(crate) last_word: LastWord,
    tag: [u8; TAG_LEN],
    tag_len: usize,
}

/// Who tells a client that its request is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LastWord {
    /// The server.
    #[default]
    Server,
    /// The proxy, if no transaction is open then.
    ProxyOutside,
    /// The proxy: the server has said it, and it was not passed on.
    Proxy,
}

impl Flow {
    /// A request was sent.
    pub(crate) fn expect(&mut self, request: Request) {
        self.expect_watched(request, None);
    }

    /// A request was sent, and somebody wants to know what becomes of it.
    pub(crate) fn expect_watched(&mut self, request: Request, watched: Option<Box<Watched>>) {
        self.changes += usize::from(request.may_change_session());
        self.expected.push_back(Expected {
            request,
            hidden: false,
            watched,
        });
    }

    /// A request was sent that the client knows nothing of.
    pub(crate) fn expect_hidden(&mut self, request: Request) {
        self.expected.push_back(Expected {
            request,
            hidden: true,
            watched: None,
        });
    }

    /// Whether every answer has come.
    pub(crate) fn is_drained(&self) -> bool {
        self.expected.is_empty()
    }

    /// Whether a request is outstanding that may make the server take copied data.
    pub(crate) fn may_copy(&self) -> bool {
        let copies = |e: &Expected| matches!(e.request, Request::Execute { copies: true, .. });
        self.expected.iter().any(copies)
    }

    /// Whether a request is outstanding that may change what the session is to know.
    pub(crate) fn may_change_session(&self) -> bool {
        self.changes > 0
    }

    /// Whether the end of a message cannot be told apart from the beginning of another, so that
    /// nothing of our own may be written to the client.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.body_left > 0
    }

    /// The last command tag.
    pub(crate) fn command_tag(&self) -> &[u8] {
        self.tag.get(..self.tag_len).unwrap_or_default()
    }

    /// A new exchange begins.
    pub(crate) fn begin(&mut self) {
        (self.error, self.began_failed) = (false, false);
        (self.held_syncs, self.owes_sync) = (false, false);
        if self.expected.capacity() == 0 {
            // Nearly always there is one, and clients that wait for their next idea are many.
            self.expected.reserve_exact(1);
        }
        self.last_word = LastWord::Server;
        self.answered = false;
        self.tag_len = 0;
        self.succeeded.clear();
        self.lost.clear();
        self.tally.clear();
    }

    /// What requests that are due may have done to a transaction.
    pub(crate) fn sent(&self) -> Sent {
        let ends = |e: &Expected| match &e.request {
            Request::Execute { sent, .. } => *sent == Sent::MayEnd,
            _ => false,
        };
        if self.expected.iter().any(ends) {
            Sent::MayEnd
        } else {
            Sent::Inside
        }
    }

    /// Bytes of a message that was passed on cannot follow any more.
    pub(crate) fn cut_off(&mut self) {
        self.body_left = self.body_left.max(1);
    }

    /// The connection is gone; nothing is due any more. Statements the client asked for and was not
    /// given are lost.
    pub(crate) fn abandon(&mut self) {
        for expected in self.expected.drain(..) {
            self.lost.extend(expected.into_lost());
        }
        self.changes = 0;
        (self.body_left, self.up_left, self.copy_in) = (0, 0, false);
        (self.held_syncs, self.owes_sync) = (false, false);
    }

    /// Looks at what came from the server.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Next, Violation> {
        // The rest of a frame goes with the whole ones behind it.
        let mut done = self.body_left.min(input.len());
        self.body_left -= done;
        if self.is_prologue() || self.body_left > 0 {
            return match done {
                0 if self.body_left > 0 => Ok(Next::Wait),
                0 => self.next_of_prologue(input),
                len => Ok(Next::forward(len)),
            };
        }
        while let Some(header) =
            frame::header(input.get(done..).unwrap_or_default()).map_err(|_| Violation)?
        {
            let rest = input.get(done..).unwrap_or_default();
            let (len, have) = (header.frame_len(), rest.len());
            match header.tag {
                tag if self.is_special(tag, rest, len) => {
                    if done > 0 || have < len {
                        // What comes before it goes first, and it is looked at whole.
                        break;
                    }
                    if let Some(next) = self.special(tag, rest, len)? {
                        return Ok(next);
                    }
                }
                // Rows, copied data, their descriptions, notices: passed on as they come.
                tag::ROW_DESCRIPTION | tag::NO_DATA => self.described(),
                b'D' | b'd' | b't' | b'N' | b'A' | b'H' | b'c' => {}
                _ if have < len && (header.tag != tag::ERROR || have < ERROR_PEEK_LEN) => break,
                tag => {
                    let body = rest.get(HEADER_LEN..len.min(have)).unwrap_or_default();
                    let step = self.open(tag, body)?;
                    if done > 0 && step.wants_clean_start() {
                        // What comes before it goes first; then it is opened again, which is
                        // why such steps change nothing yet.
                        return Ok(Next::forward(done));
                    }
                    if let Some(next) = self.after(&step, done, len) {
                        return Ok(next);
                    }
                }
            }
            self.tally.add_bytes(len);
            if have < len {
                self.body_left = len - have;
                return Ok(Next::Forward {
                    len: input.len(),
                    ready: None,
                });
            }
            done += len;
        }
        Ok(if done == 0 {
            Next::Wait
        } else {
            Next::Forward {
                len: done,
                ready: None,
            }
        })
    }

    fn is_in_place_of_parse(&self) -> bool {
        let front = self.expected.front();
        front.is_some_and(|e| matches!(e.request, Request::InPlaceOfParse { .. }))
    }

    /// A report of a parameter, which may not be what the client is to know.
    fn report(&mut self, rest: &[u8], len: usize) -> Next {
        let body = rest.get(HEADER_LEN..len).unwrap_or_default();
        let Some((name, value)) = backend::parameter_status(body) else {
            return Next::forward(len);
        };
        match self.reports.heard(name, value) {
            Heard::Told => Next::forward(len),
            Heard::Known => Next::Skip { len },
            Heard::Startup(value) => {
                self.substitute.clear();
                encode::parameter_status(&mut self.substitute, name, value);
                Next::Replace { len }
            }
        }
    }

    /// Whether an error about a Bind says what servers call its statement.
    fn names_statement(&self, rest: &[u8], len: usize) -> bool {
        let front = self.expected.front();
        let Some(names) = front.and_then(|e| e.request.renamed()) else {
            return false;
        };
        let message = rest.get(..len).unwrap_or_default();
        let own = &*names.name;
        message.windows(own.len()).any(|part| part == own)
    }

    /// An error about a Bind with the client's name for its statement.
    fn rename_error(&mut self, rest: &[u8], len: usize) -> Result<Next, Violation> {
        let body = rest.get(HEADER_LEN..len).ok_or(Violation)?;
        if let Some(names) = self.expected.front().and_then(|e| e.request.renamed()) {
            let mut renamed = Vec::with_capacity(body.len());
            let mut left = body;
            while let Some((first, rest)) = left.split_first() {
                if let Some(behind) = left.strip_prefix(&*names.name) {
                    renamed.extend_from_slice(&names.client_name);
                    left = behind;
                } else {
                    renamed.push(*first);
                    left = rest;
                }
            }
            self.substitute.clear();
            encode::frame(&mut self.substitute, tag::ERROR, &renamed);
        }
        match self.failed(body) {
            Step::Leaving => Ok(Next::Leaving { len }),
            _ => Ok(Next::Replace { len }),
        }
    }

    /// The statement of a [`Request::Run`] was found: what else is said names no statement.
    fn bound(&mut self) {
        if let Some(Request::Run { renamed }) = self.expected.front_mut().map(|e| &mut e.request) {
            *renamed = None;
        }
    }

    /// Whether what comes next is a part of the answer to [`Request::Run`].
    fn is_run(&self) -> bool {
        let front = self.expected.front();
        front.is_some_and(|e| matches!(e.request, Request::Run { .. }))
    }

    /// Whether what comes next answers a query of the proxy's own.
    fn is_prologue(&self) -> bool {
        let front = self.expected.front();
        front.is_some_and(|e| matches!(e.request, Request::Prologue))
    }

    /// Looks at an answer to a query of the proxy's own. The client knows the parameters that are
    /// reported there, and is told of notifications only.
    fn next_of_prologue(&mut self, input: &[u8]) -> Result<Next, Violation> {
        let Some(header) = frame::header(input).map_err(|_| Violation)? else {
            return Ok(Next::Wait);
        };
        let len = header.frame_len();
        if len > PROLOGUE_LEN_MAX {
            return Err(Violation);
        }
        let Some(body) = input.get(HEADER_LEN..len) else {
            return Ok(Next::Wait);
        };
        match header.tag {
            tag::NOTIFICATION => Ok(Next::Notification { len }),
            tag::ERROR if ErrorFields::new(body).is_server_leaving() => Ok(Next::Leaving { len }),
            tag::ERROR => Ok(Next::Refused { len }),
            tag::READY => {
                self.pop();
                Ok(Next::Skip { len })
            }
            tag::COPY_IN | tag::COPY_BOTH => Err(Violation),
            _ => Ok(Next::Skip { len }),
        }
    }

    /// What to do after a step that is not just forwarding.
    fn after(&mut self, step: &Step, done: usize, len: usize) -> Option<Next> {
        Some(match *step {
            Step::Forward => return None,
            Step::Parsed => {
                self.pop();
                self.substitute.clear();
                encode::frame(&mut self.substitute, tag::PARSE_COMPLETE, b"");
                Next::Replace { len }
            }
            Step::Drop => Next::Drop { len, ready: None },
            Step::DropReady(status) => Next::Drop {
                len,
                ready: Some(status),
            },
            Step::Ready(status) => Next::Forward {
                len: done + len,
                ready: Some(status),
            },
            Step::Leaving => Next::Leaving { len },
        })
    }

    /// Whether a message is not passed on as it is, or tells the proxy something. Longer ones than are
    /// ever looked at do neither.
    fn is_special(&self, tag: u8, rest: &[u8], len: usize) -> bool {
        let is = match tag {
            tag::PARAMETER_DESCRIPTION => self.is_about_description() || self.is_mapped(),
            tag::ROW_DESCRIPTION | tag::NO_DATA => self.is_about_description(),
            tag::PARAMETER_STATUS => self.reports.matter(),
            tag::ERROR => self.names_statement(rest, len),
            tag::NOTIFICATION => true,
            _ => false,
        };
        is && len <= SPECIAL_LEN_MAX
    }

    /// Deals with such a message, which is there whole and first; none: it is passed on.
    fn special(&mut self, tag: u8, rest: &[u8], len: usize) -> Result<Option<Next>, Violation> {
        match tag {
            tag::PARAMETER_DESCRIPTION if self.is_mapped() => {
                self.map_description(rest, len).map(Some)
            }
            tag::PARAMETER_STATUS => Ok(Some(self.report(rest, len))),
            tag::NOTIFICATION => Ok(Some(Next::Notification { len })),
            tag::ERROR => self.rename_error(rest, len).map(Some),
            tag => Ok(self.note_description(tag, rest, len)),
        }
    }

    /// Whether what is described next is of interest to the proxy itself.
    fn is_about_description(&self) -> bool {
        self.expected.front().is_some_and(|e| match &e.request {
            Request::Describe { map: None, of } => e.hidden || of.is_some(),
            _ => false,
        })
    }

    /// Takes note of a description; what the client has not asked for is thrown away.
    fn note_description(&mut self, tag: u8, rest: &[u8], len: usize) -> Option<Next> {
        let front = self.expected.front()?;
        let hidden = front.hidden;
        if tag != tag::PARAMETER_DESCRIPTION {
            let mut hasher = DefaultHasher::new();
            hasher.write(rest.get(..len).unwrap_or_default());
            let described = Some(hasher.finish());
            match &front.request {
                Request::Describe { of: Some(of), .. } => of.described.set(described),
                _ => self.description = described,
            }
            self.pop();
        }
        hidden.then_some(Next::Skip { len })
    }

    /// Whether the parameters that are described next are those of a text the client does not know.
    fn is_mapped(&self) -> bool {
        let mapped = |e: &Expected| matches!(e.request, Request::Describe { map: Some(_), .. });
        self.expected.front().is_some_and(mapped)
    }

    /// A ParameterDescription as the client is to see it.
    fn map_description(&mut self, rest: &[u8], len: usize) -> Result<Next, Violation> {
        let body = rest.get(HEADER_LEN..len).ok_or(Violation)?;
        if let Some(Expected {
            request: Request::Describe { map: Some(map), .. },
            ..
        }) = self.expected.front()
        {
            self.substitute.clear();
            let put = parameters::put_description(&mut self.substitute, body, map);
            put.map_err(|_| Violation)?;
        }
        Ok(Next::Replace { len })
    }

    /// Deals with a frame that concerns the queue.
    fn open(&mut self, tag: u8, body: &[u8]) -> Result<Step, Violation> {
        match tag {
            tag::PARSE_COMPLETE => self.answer(|r| matches!(r, Request::Parse { .. })),
            tag::BIND_COMPLETE if self.is_run() => {
                self.bound();
                Ok(Step::Forward)
            }
            tag::BIND_COMPLETE => self.answer(|r| matches!(r, Request::Bind { .. })),
            tag::CLOSE_COMPLETE if self.is_in_place_of_parse() => Ok(Step::Parsed),
            tag::CLOSE_COMPLETE => self.answer(|r| matches!(r, Request::Close { .. })),
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY => {
                self.complete(body);
                Ok(Step::Forward)
            }
            tag::PORTAL_SUSPENDED => {
                self.end_watched();
                if let Some(Request::Execute {
                    analysis: Some(analysis),
                    ..
                }) = self.expected.front().map(|e| &e.request)
                {
                    // What it did for the rows that came it has done.
                    self.succeeded.push((Rc::clone(analysis), false));
                }
                self.answer(|r| matches!(r, Request::Execute { .. }))
            }
            tag::COPY_IN | tag::COPY_BOTH => {
                self.copy_in = true;
                Ok(Step::Forward)
            }
            tag::ERROR => Ok(self.failed(body)),
            tag::READY => self.ready(body),
            tag::PARAMETER_STATUS | tag::FUNCTION_CALL | tag::BACKEND_KEY_DATA => Ok(Step::Forward),
            _ => Err(Violation),
        }
    }

    fn answer(&mut self, fits: impl Fn(&Request) -> bool) -> Result<Step, Violation> {
        match self.expected.front() {
            Some(front) if fits(&front.request) => {
                let hidden = front.hidden;
                // A frame to be dropped is opened twice if others stand before it.
                if !hidden {
                    self.pop();
                }
                Ok(if hidden { Step::Drop } else { Step::Forward })
            }
            _ => Err(Violation),
        }
    }

    /// RowDescription or NoData ends the answer to Describe.
    fn described(&mut self) {
        if self
            .expected
            .front()
            .is_some_and(|e| matches!(e.request, Request::Describe { .. }))
        {
            self.pop();
        }
    }

    fn complete(&mut self, body: &[u8]) {
        let tag = backend::command_tag(body);
        self.tag_len = tag.len().min(TAG_LEN);
        if let (Some(to), Some(from)) = (self.tag.get_mut(..self.tag_len), tag.get(..self.tag_len))
        {
            to.copy_from_slice(from);
        }
        self.committed |= self.command_tag() == b"COMMIT";
        self.tally
            .add_rows(self.tag.get(..self.tag_len).unwrap_or_default());
        (self.copy_in, self.held_syncs) = (false, false);
        self.end_watched();
        let executed = |e: &Expected| matches!(e.request, Request::Execute { .. });
        if self.expected.front().is_some_and(executed)
            && let Some(Expected {
                request: Request::Execute { analysis, .. },
                ..
            }) = self.pop()
        {
            if let Some(analysis) = &analysis {
                self.reports.begin(analysis);
            }
            let rolled_back = self.command_tag() == b"ROLLBACK";
            self.succeeded
                .extend(analysis.map(|analysis| (analysis, rolled_back)));
        }
    }

    fn failed(&mut self, body: &[u8]) -> Step {
        if ErrorFields::new(body).is_server_leaving() {
            return Step::Leaving;
        }
        if self
            .expected
            .front()
            .is_some_and(|e| matches!(e.request, Request::Abort))
        {
            return Step::Drop;
        }
        self.error = true;
        self.errors.add(ErrorFields::new(body).severity());
        self.tally.set_error(ErrorFields::new(body).sqlstate());
        self.end_watched();
        self.fatal |= ErrorFields::new(body).is_fatal();
        // The server failed before the client said that its data was over, so the Sync it would
        // have ignored while it copied is one it waits for.
        self.owes_sync = self.copy_in && self.held_syncs;
        (self.copy_in, self.held_syncs) = (false, false);
        if let Some(Request::Parse { before, .. }) =
            self.expected.front_mut().map(|e| &mut e.request)
        {
            // The server has looked at this one, and dropped what was there before.
            *before = None;
        }
        // After an error the server skips everything up to Sync; a simple query ends by itself.
        let goes_on = |e: &Expected| !e.request.ends_with_ready();
        while self.expected.front().is_some_and(goes_on) {
            let swept = self.pop();
            self.lost.extend(swept.and_then(Expected::into_lost));
        }
        Step::Forward
    }

    fn ready(&mut self, body: &[u8]) -> Result<Step, Violation> {
        let status = TransactionStatus::from_body(body).ok_or(Violation)?;
        self.copy_in = false;
        let front = self.expected.front().ok_or(Violation)?;
        if !front.request.ends_with_ready() {
            return Err(Violation);
        }
        if !front.hidden {
            self.reports.end();
        }
        if front.hidden {
            return Ok(Step::DropReady(status));
        }
        if self.last_word != LastWord::Server && status == TransactionStatus::Idle {
            self.last_word = LastWord::Proxy;
            return Ok(Step::DropReady(status));
        }
        self.pop();
        Ok(Step::Ready(status))
    }

    /// Nothing more is due of the first.
    fn pop(&mut self) -> Option<Expected> {
        let first = self.expected.pop_front()?;
        self.changes -= usize::from(first.request.may_change_session());
        Some(first)
    }

    /// The statement whose answer is due has ended.
    fn end_watched(&mut self) {
        if let Some(front) = self.expected.front_mut()
            && let Some(watched) = front.watched.take()
        {
            let tally = std::mem::take(&mut self.tally);
            self.tally.counts = tally.counts;
            self.ended.push(Ended { watched, tally });
        }
    }

    /// A frame to be dropped was dropped.
    pub(crate) fn dropped(&mut self) {
        self.pop();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Forward,
    Drop,
    DropReady(TransactionStatus),
    Parsed,
    Ready(TransactionStatus),
    Leaving,
}

impl Step {
    /// Whether the frame must be first in what is handed out.
    fn wants_clean_start(&self) -> bool {
        matches!(
            self,
            Self::Drop | Self::DropReady(_) | Self::Parsed | Self::Leaving
        )
    }
}

#[cfg(test)]
mod tests;
