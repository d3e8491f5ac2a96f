//! Moves bytes between a client and a server until an exchange has got where it should. Hot.
//!
//! Both directions are polled: a server's answer flows down while copied data flows up, and a
//! client that does not read stops us reading from its server.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_pool::{BUFFER_LEN, Channel, Connection, ServerLost};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::{HEADER_LEN, frame};
use thiserror::Error;
use tokio::time::{Sleep, sleep};

use crate::flow::{Flow, Next};
use crate::notifiers::Notifiers;
use crate::worker::Control;
use crate::writes::Writes;

/// When to stop. When no answer is due any more, it stops in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After the next ReadyForQuery.
    Ready,
    /// When no answer is due.
    Drained,
    /// When the client sent something.
    ClientInput,
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// ReadyForQuery came.
    Ready,
    /// ReadyForQuery came, and then the server went away.
    ReadyAndGone,
    /// No answer is due.
    Drained,
    /// The client sent something.
    ClientInput,
    /// The session holds a leg, perhaps, on a node that is to be left.
    Leave,
}

/// An exchange could not go on.
#[derive(Debug, Error)]
pub(crate) enum RelayError {
    /// The client went away.
    #[error("client went away")]
    ClientGone,
    /// The server went away.
    #[error(transparent)]
    ServerLost(ServerLost),
    /// The server goes away and said so; nothing of this message was forwarded.
    #[error("server is going away")]
    ServerLeaving(Vec<u8>),
    /// The server refused to become what the session is, with this ErrorResponse; what was sent
    /// behind it does not run.
    #[error("server refused what the session needs")]
    Refused(Vec<u8>),
    /// The client sent something that is no message.
    #[error("client sent an invalid message")]
    ClientProtocol,
}

/// Turns per wake-up before other sessions of the worker get theirs. At 16 KiB a turn this is
/// about half a millisecond of copying.
const TURNS_MAX: u32 = 64;

/// How long the answer may take for a client that has closed its side of the connection.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// Bytes of a client that waits for an answer that are read ahead.
const READ_AHEAD_MAX: usize = BUFFER_LEN;

/// A Flush message.
const FLUSH: &[u8] = &[tag::FLUSH, 0, 0, 0, 4];

/// Bytes for the server that may wait in memory.
const UP_PENDING_MAX: usize = 4 * BUFFER_LEN;

pub(crate) struct Relay<'a> {
    pub(crate) client: &'a mut Channel,
    pub(crate) server: &'a mut Connection,
    pub(crate) flow: &'a mut Flow,
    pub(crate) writes: &'a Writes,
    pub(crate) node: NodeId,
    pub(crate) control: &'a Control,
    pub(crate) notifiers: &'a Notifiers,
    /// The process id the client was given.
    pub(crate) own_pid: u32,
}

/// What a turn in one direction came to.
#[derive(PartialEq, Eq)]
enum Turn {
    Moved,
    Blocked,
    Done(Stop),
}

impl Relay<'_> {
    /// Moves bytes until `until`, or until [`Stop::Leave`], after which it is to be called again with
    /// the same `forward`.
    ///
    /// # Cancel safety
    /// Not cancel safe: a server connection whose exchange was dropped must be closed.
    pub(crate) async fn run(
        mut self,
        until: Until,
        forward: &mut Forward,
    ) -> Result<Stop, RelayError> {
        let ran = poll_fn(|cx| self.poll(cx, until, forward)).await;
        if ran.is_err() && forward.len > 0 {
            // The client has a part of it.
            self.flow.cut_off();
        }
        ran
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        until: Until,
        forward: &mut Forward,
    ) -> Poll<Result<Stop, RelayError>> {
        if self.control.leave.get() {
            return Poll::Ready(Ok(Stop::Leave));
        }
        self.control.wake_by(cx);
        for _ in 0..TURNS_MAX {
            let up = self.up_while_heard(cx, forward)?;
            match self.down(cx, forward)? {
                Turn::Done(stop) => return Poll::Ready(Ok(stop)),
                Turn::Moved => continue,
                Turn::Blocked if up == Turn::Moved => continue,
                Turn::Blocked => {}
            }
            let idle_client = !self.flow.copy_in && self.flow.up_left == 0;
            let room = self.server.channel.output.len() < UP_PENDING_MAX;
            let passed_on = forward.len == 0;
            if until == Until::ClientInput && idle_client && room && passed_on {
                // What came behind copied data is there already.
                if !matches!(frame::header(self.client.input.bytes()), Ok(None)) {
                    return Poll::Ready(Ok(Stop::ClientInput));
                }
                return match self.client.poll_fill(cx) {
                    Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Ok(Stop::ClientInput)),
                    Poll::Ready(_) => Poll::Ready(Err(RelayError::ClientGone)),
                    Poll::Pending => Poll::Pending,
                };
            }
            if self.client_has_left(cx, forward) {
                return Poll::Ready(Err(RelayError::ClientGone));
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the client has gone away while its server works. What it sends meanwhile is read, as far
    /// as it is not much, because its end comes behind it. One that has only said that it will say
    /// nothing more looks the same, and gets some time for its answer.
    fn client_has_left(&mut self, cx: &mut Context<'_>, forward: &mut Forward) -> bool {
        while self.client.input.len() < READ_AHEAD_MAX {
            match self.client.poll_fill(cx) {
                Poll::Ready(Ok(len)) if len > 0 => {}
                Poll::Ready(Ok(_)) => {
                    let patience = forward
                        .patience
                        .get_or_insert_with(|| Box::pin(sleep(LAST_ANSWER)));
                    return patience.as_mut().poll(cx).is_ready();
                }
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }

    /// One turn from the server to the client.
    fn down(&mut self, cx: &mut Context<'_>, forward: &mut Forward) -> Result<Turn, RelayError> {
        if self
            .client
            .poll_flush(cx)
            .map_err(|_| RelayError::ClientGone)?
            .is_pending()
        {
            return Ok(Turn::Blocked);
        }
        while forward.len > 0 {
            let bytes = self
                .server
                .channel
                .input
                .bytes()
                .get(..forward.len)
                .unwrap_or_default();
            match self
                .client
                .poll_write(cx, bytes)
                .map_err(|_| RelayError::ClientGone)?
            {
                Poll::Ready(len) => {
                    self.flow.answered = true;
                    self.server.channel.input.consume(len);
                    forward.len -= len;
                }
                Poll::Pending => return Ok(Turn::Blocked),
            }
        }
        // Over TLS a part may not have gone out yet, and nobody looks after it while the session waits
        // for something else.
        let flushed = self.client.poll_flush(cx);
        if flushed.map_err(|_| RelayError::ClientGone)?.is_pending() {
            return Ok(Turn::Blocked);
        }
        if forward.ready {
            // The rest of a frame the client is sending must not be taken for frames of its own.
            if self.flow.up_left > 0 {
                return match forward.deaf.take() {
                    Some(error) => Err(RelayError::ServerLost(ServerLost::Io(error))),
                    None => Ok(Turn::Blocked),
                };
            }
            forward.ready = false;
            return Ok(Turn::Done(Stop::Ready));
        }
        let flow = &self.flow;
        let copying = flow.copy_in || flow.up_left > 0;
        if flow.is_drained() && !flow.is_inside_frame() && !copying {
            return Ok(Turn::Done(Stop::Drained));
        }
        self.scan(cx, forward)
    }

    /// Looks at what the server sent, or reads more.
    fn scan(&mut self, cx: &mut Context<'_>, forward: &mut Forward) -> Result<Turn, RelayError> {
        let input = &mut self.server.channel.input;
        let violation = |_| RelayError::ServerLost(ServerLost::Protocol);
        let next = self.flow.next(input.bytes()).map_err(violation)?;
        if std::mem::take(&mut self.flow.committed) {
            self.writes.committed(self.node);
        }
        match next {
            Next::Forward { len, ready } => {
                // Before a byte of it reaches the client, who may tell others.
                if ready == Some(TransactionStatus::Idle) {
                    self.writes.acknowledged(self.node);
                }
                forward.len = len;
                forward.ready = ready.is_some();
                self.server.status = ready.unwrap_or(self.server.status);
            }
            Next::Drop { len, ready } => {
                if ready == Some(TransactionStatus::Idle) {
                    self.writes.acknowledged(self.node);
                }
                input.consume(len);
                self.flow.dropped();
                forward.ready = ready.is_some();
                self.server.status = ready.unwrap_or(self.server.status);
            }
            Next::Replace { len } => {
                input.consume(len);
                let substitute = self.flow.substitute.split();
                self.client.output.extend_from_slice(&substitute);
                self.flow.answered = true;
            }
            Next::Notification { len } => {
                let message = input.bytes().get(..len).unwrap_or_default();
                let ids = (self.server.key.pid, self.own_pid);
                self.notifiers
                    .pass_on(message, ids, &mut self.client.output);
                input.consume(len);
                self.flow.answered = true;
            }
            Next::Skip { len } => input.consume(len),
            Next::Refused { len } => {
                let message = input.bytes().get(..len).unwrap_or_default();
                return Err(RelayError::Refused(message.into()));
            }
            Next::Leaving { len } => {
                let message = input.bytes().get(..len).unwrap_or_default();
                return Err(RelayError::ServerLeaving(message.into()));
            }
            Next::Wait => return self.fill(cx),
        }
        Ok(Turn::Moved)
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Turn, RelayError> {
        let lost = |e| RelayError::ServerLost(ServerLost::Io(e));
        match self.server.channel.poll_fill(cx).map_err(lost)? {
            Poll::Ready(0) => Err(RelayError::ServerLost(ServerLost::Closed)),
            Poll::Ready(_) => Ok(Turn::Moved),
            Poll::Pending => Ok(Turn::Blocked),
        }
    }

    fn fill_from_client(&mut self, cx: &mut Context<'_>) -> Result<Turn, RelayError> {
        match self.client.poll_fill(cx) {
            Poll::Ready(Ok(n)) if n > 0 => Ok(Turn::Moved),
            Poll::Ready(_) => Err(RelayError::ClientGone),
            Poll::Pending => Ok(Turn::Blocked),
        }
    }

    /// [`Relay::up`], until the server has reset the connection. What it said before that is still to be
    /// read, and tells the client more than that it has gone; then reading fails as well.
    fn up_while_heard(
        &mut self,
        cx: &mut Context<'_>,
        forward: &mut Forward,
    ) -> Result<Turn, RelayError> {
        if forward.deaf.is_some() {
            return Ok(Turn::Blocked);
        }
        match self.up(cx) {
            Err(RelayError::ServerLost(ServerLost::Io(error))) if is_reset(&error) => {
                self.server.channel.output.clear();
                forward.deaf = Some(error);
                Ok(Turn::Blocked)
            }
            other => other,
        }
    }

    /// One turn from the client to the server: what is waiting, then copied data.
    fn up(&mut self, cx: &mut Context<'_>) -> Result<Turn, RelayError> {
        let lost = |e: io::Error| RelayError::ServerLost(ServerLost::Io(e));
        let flushed = self.server.channel.poll_flush(cx).map_err(lost)?;
        if self.flow.up_left == 0 && !self.flow.copy_in {
            return Ok(Turn::Blocked);
        }
        if flushed.is_pending() && self.server.channel.output.len() >= UP_PENDING_MAX {
            return Ok(Turn::Blocked);
        }
        if self.flow.up_left == 0 && !self.next_copy_frame()? {
            return self.fill_from_client(cx);
        }
        let input = &mut self.client.input;
        let len = self.flow.up_left.min(input.len());
        if len == 0 {
            return self.fill_from_client(cx);
        }
        let bytes = input.bytes().get(..len).unwrap_or_default();
        send(cx, &mut self.server.channel, bytes).map_err(lost)?;
        input.consume(len);
        self.flow.up_left -= len;
        if self.flow.owes_flush && self.flow.up_left == 0 {
            self.flow.owes_flush = false;
            send(cx, &mut self.server.channel, FLUSH).map_err(lost)?;
        }
        Ok(Turn::Moved)
    }

    /// Finds out what the client's next frame is while the server takes copied data; `false` if
    /// its header is not there yet.
    fn next_copy_frame(&mut self) -> Result<bool, RelayError> {
        loop {
            let header = frame::header(self.client.input.bytes());
            let header = header.map_err(|_| RelayError::ClientProtocol)?;
            let Some(header) = header else {
                return Ok(false);
            };
            match header.tag {
                // The server ignores these while it copies; so that it cannot see them later,
                // they are not passed on.
                tag::SYNC | tag::FLUSH => {
                    self.flow.held_syncs |= header.tag == tag::SYNC;
                    self.client.input.consume(HEADER_LEN);
                    continue;
                }
                // The server keeps its answer to itself until it is asked for it.
                tag::COPY_DONE | tag::COPY_FAIL => {
                    (self.flow.copy_in, self.flow.owes_flush) = (false, true);
                }
                _ => {}
            }
            self.flow.up_left = header.frame_len();
            return Ok(true);
        }
    }
}

/// Bytes of the server's input that go to the client next.
#[derive(Default)]
pub(crate) struct Forward {
    len: usize,
    ready: bool,
    /// Until when a client that says nothing more is waited for.
    patience: Option<Pin<Box<Sleep>>>,
    /// Why the server takes nothing more.
    deaf: Option<io::Error>,
}

impl Forward {
    /// Whether the client has its ReadyForQuery, and only the rest of a frame of its own keeps the
    /// exchange from being over.
    pub(crate) fn is_answered(&self) -> bool {
        self.ready && self.len == 0
    }
}

/// Whether a write failed because the other side has closed the connection.
fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), ConnectionReset | BrokenPipe)
}

/// Writes bytes to a server, or keeps those the socket does not take now.
pub(crate) fn send(cx: &mut Context<'_>, to: &mut Channel, mut bytes: &[u8]) -> io::Result<()> {
    if to.output.is_empty() {
        while !bytes.is_empty() {
            match to.poll_write(cx, bytes)? {
                Poll::Ready(len) => bytes = bytes.get(len..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
    }
    to.output.extend_from_slice(bytes);
    Ok(())
}
