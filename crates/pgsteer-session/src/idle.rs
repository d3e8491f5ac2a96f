//! A session that waits: for its client, and for what servers say of themselves.

use std::future::poll_fn;
use std::task::{self, Poll};
use std::time::Duration;

use pgsteer_wire::backend::tag as backend_tag;
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::{ErrorReply, HEADER_LEN, Header, SqlState, frame};
use tokio::time::{Instant, timeout_at};

use crate::end::{End, administrator};
use crate::leg::Leg;
use crate::session::Session;
use crate::whereabouts::Rest;

/// What woke an idle session.
enum Woken {
    Client(std::io::Result<usize>),
    Leg(Heard),
    Notified,
    Leave,
    Drain,
}

/// What came from a leg at rest, by its index.
pub(crate) enum Heard {
    Message(usize),
    Gone(usize),
}
impl Session {
    /// Waits while nothing is going on; holds no buffer.
    pub(crate) async fn wait(&mut self) -> Result<(), End> {
        self.cancel.slot.last_rest.set(Rest {
            in_transaction: !self.transaction.is_none(),
            balance_node: self.steering.balance_node,
            since: self.steering.worker.second(),
        });
        match self.woken_in_time().await? {
            Woken::Client(Ok(len)) if len > 0 => {
                self.idle_deadline = None;
                Ok(())
            }
            Woken::Client(_) => Err(End::ClientGone),
            Woken::Leg(heard) => self.heard(heard),
            // What is to be left is left before the next wait, and what is to be told is told.
            Woken::Leave | Woken::Notified => Ok(()),
            Woken::Drain => Err(End::Fatal(administrator())),
        }
    }

    /// Waits no longer than a client may be idle.
    async fn woken_in_time(&mut self) -> Result<Woken, End> {
        let limit = self.options.client_idle_limit;
        if limit == 0 {
            return Ok(self.woken().await);
        }
        let first = || Instant::now() + Duration::from_secs(u64::from(limit));
        let deadline = *self.idle_deadline.get_or_insert_with(first);
        let woken = timeout_at(deadline, self.woken()).await;
        woken.map_err(|_| End::Fatal(idle_too_long(limit)))
    }

    /// Polls the client and all servers at once: to wait for one of them alone would be to be deaf
    /// to the others.
    async fn woken(&mut self) -> Woken {
        let idle = self.transaction.is_none();
        poll_fn(|cx| {
            if self.control.drain.get() && idle {
                return Poll::Ready(Woken::Drain);
            }
            if self.control.leave.get() && self.can_leave() {
                return Poll::Ready(Woken::Leave);
            }
            // Servers first: what the client says next must not go to one that is gone.
            if let Poll::Ready(heard) = self.poll_legs(cx) {
                return Poll::Ready(Woken::Leg(heard));
            }
            if let Some(listening) = &self.listening
                && listening.poll(cx, idle).is_ready()
            {
                return Poll::Ready(Woken::Notified);
            }
            if let Poll::Ready(filled) = self.client.poll_fill(cx) {
                return Poll::Ready(Woken::Client(filled));
            }
            self.control.wake_by(cx);
            Poll::Pending
        })
        .await
    }

    /// Ready when a server said something, or went away, of which nothing was asked.
    pub(crate) fn poll_legs(&mut self, cx: &mut task::Context<'_>) -> Poll<Heard> {
        let at_rest = |(_, leg): &(usize, &mut Leg)| !leg.busy;
        for (index, leg) in self.legs.iter_mut().enumerate().filter(at_rest) {
            let channel = &mut leg.connection().channel;
            let bytes = channel.input.bytes();
            let header = frame::header(bytes);
            let whole = |h: Option<Header>| h.is_some_and(|h| bytes.len() >= h.frame_len());
            if header.map_or(true, whole) {
                return Poll::Ready(Heard::Message(index));
            }
            match channel.poll_fill(cx) {
                Poll::Ready(Ok(len)) if len > 0 => return Poll::Ready(Heard::Message(index)),
                Poll::Ready(_) => return Poll::Ready(Heard::Gone(index)),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Takes note of it.
    pub(crate) fn heard(&mut self, heard: Heard) -> Result<(), End> {
        match heard {
            Heard::Message(leg) => self.idle_message(leg),
            Heard::Gone(leg) => self.leg_is_gone(leg, None),
        }
    }

    /// A server said something while nothing was going on: notices and notifications are passed
    /// on; if it goes away the session goes on without, unless it had state there.
    fn idle_message(&mut self, index: usize) -> Result<(), End> {
        let Some(leg) = self.legs.get_mut(index) else {
            return Ok(());
        };
        let server = leg.peek().key.pid;
        let channel = &mut leg.connection().channel;
        let bytes = channel.input.bytes();
        let Ok(header) = frame::header(bytes) else {
            return self.leg_is_gone(index, None);
        };
        let Some(header) = header.filter(|h| bytes.len() >= h.frame_len()) else {
            return Ok(());
        };
        let message = bytes.get(..header.frame_len()).unwrap_or_default();
        if header.tag == backend_tag::ERROR {
            let message = message.to_vec();
            let (node, body) = (leg.node, message.get(HEADER_LEN..).unwrap_or_default());
            self.count_error(node, ErrorFields::new(body).severity());
            return self.leg_is_gone(index, Some(message));
        }
        let message = message.to_vec();
        channel.input.consume(header.frame_len());
        self.tell_aside(&message, server);
        Ok(())
    }
}

/// Pgpool-II's words for it.
fn idle_too_long(limit: u32) -> ErrorReply {
    let detail =
        format!("child connection forced to terminate due to client_idle_limit:{limit} is reached");
    ErrorReply::fatal(SqlState::OPERATOR_INTERVENTION, "unable to read data").with_detail(detail)
}
