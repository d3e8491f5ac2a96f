//! Statements that no node can take now: they wait for one, so many at most and so long at most.
//!
//! Only what no server has seen anything of may wait: it is placed anew when something has changed.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use pgsteer_core::{NodeId, Subscription};
use pgsteer_wire::{ErrorReply, SqlState};
use tokio::time::{Instant, timeout_at};

use crate::cancel::cancelled;
use crate::end::{End, administrator};
use crate::meter::Waits;
use crate::session::{Rare, Session};
use crate::steering::is_unseen;
use crate::worker::Shared;

/// Nodes that may fail one after the other before a read waits like everything else.
const ATTEMPTS_MAX: usize = 4;

/// Times a node may leave between being chosen and being asked before the statement waits.
const MOVES_MAX: u32 = 4;

/// Time before a node that failed is tried again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bytes of a waiting client that are read, so that its end is seen behind them.
const READ_AHEAD_MAX: usize = 64 * 1024;

/// What became of one statement's attempts to find a node.
#[derive(Default)]
pub(crate) struct Attempts {
    /// Nodes that have just failed.
    pub(crate) avoid: Vec<NodeId>,
    /// The pipeline it is part of has written there: it goes nowhere else, and does not wait.
    pub(crate) tied: Option<NodeId>,
    /// Servers that were lost while they ran it.
    lost: usize,
    moves: u32,
    // Of those that wait.
    hold: Option<Box<Hold>>,
}

impl Attempts {
    /// Whether a read that fails on this node may be tried elsewhere at once.
    pub(crate) fn may_avoid(&self, node: NodeId) -> bool {
        !self.avoid.contains(&node) && self.avoid.len() < ATTEMPTS_MAX
    }

    /// Whether a read may be repeated that was lost with this node: not for ever, for it may be what
    /// kills them.
    pub(crate) fn may_repeat(&self, node: NodeId) -> bool {
        self.may_avoid(node) && self.lost < ATTEMPTS_MAX
    }

    /// A server was lost that ran it, and it is repeated.
    pub(crate) fn note_lost(&mut self, node: NodeId) {
        self.lost += 1;
        self.avoid.push(node);
    }

    /// A node was found: its place in the queue is free for another.
    pub(crate) fn note_found(&mut self) {
        self.hold = None;
    }
}

/// A statement that waits.
struct Hold {
    deadline: Instant,
    pause: Duration,
    subscription: Subscription,
    _place: Place,
}

/// One of the places for those that wait; free again when dropped.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>, max: usize) -> Option<Self> {
        let below = |n: usize| (n < max).then_some(n + 1);
        let held = &shared.held;
        held.fetch_update(Ordering::AcqRel, Ordering::Relaxed, below)
            .ok()?;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }
}

/// No node for a statement.
pub(crate) enum Denied {
    /// The client is told, and the session goes on.
    Reply(ErrorReply),
    /// The session ends.
    End(End),
}

/// What ended a wait.
pub(crate) enum Woken {
    Changed,
    Leave,
    Cancelled,
    End(End),
}

impl Session {
    /// Whether nothing of the transaction has reached a server, or there is none: what comes next
    /// may go anywhere.
    pub(crate) fn is_unseen(&self) -> bool {
        is_unseen(&self.transaction, &self.legs)
    }

    /// A node was chosen for a statement and could not be had; nothing was sent. Returns when the
    /// statement is to be placed again.
    pub(crate) fn after_failure<'a>(
        &'a mut self,
        attempts: &'a mut Attempts,
        node: NodeId,
        reply: ErrorReply,
        is_read: bool,
    ) -> Rare<'a, Result<(), Denied>> {
        Box::pin(async move {
            if !self.is_unseen() || attempts.tied.is_some() {
                return Err(Denied::Reply(reply));
            }
            if is_read && attempts.may_avoid(node) {
                attempts.avoid.push(node);
                return Ok(());
            }
            if reply.sqlstate == SqlState::TOO_MANY_CONNECTIONS {
                // It is there and works; that it has no room is for the operator to know.
                return Err(Denied::Reply(reply));
            }
            attempts.avoid.clear();
            self.hold(attempts, Some(reply)).await
        })
    }

    /// A node was chosen for a statement and left service before anything was sent.
    pub(crate) fn after_move<'a>(
        &'a mut self,
        attempts: &'a mut Attempts,
    ) -> Rare<'a, Result<(), Denied>> {
        Box::pin(async move {
            attempts.moves += 1;
            if attempts.moves <= MOVES_MAX {
                return Ok(());
            }
            attempts.moves = 0;
            self.hold(attempts, Some(no_node())).await
        })
    }

    /// Waits until it is worth to look for a node again: something was published, or, after a
    /// failure, some time has passed.
    pub(crate) fn hold<'a>(
        &'a mut self,
        attempts: &'a mut Attempts,
        failed: Option<ErrorReply>,
    ) -> Rare<'a, Result<(), Denied>> {
        Box::pin(async move {
            let mut hold = match attempts.hold.take() {
                Some(hold) => hold,
                None => Box::new(self.begin_hold(failed.as_ref()).map_err(Denied::Reply)?),
            };
            if Instant::now() >= hold.deadline {
                return Err(Denied::Reply(waited_in_vain(failed)));
            }
            let until = match &failed {
                Some(_) => hold.deadline.min(Instant::now() + hold.pause),
                None => hold.deadline,
            };
            let _waits = Waits::begin(&self.meter.pool, &self.cancel.slot);
            let began = self.traced_now();
            // Before the look, so that what is published meanwhile is noticed.
            hold.subscription.mark_seen();
            while !self.steering.worker.has_newer(&self.steering.snapshot) {
                if self.control.leave.get() {
                    self.leave_nodes();
                }
                match timeout_at(until, self.woken_in_hold(&mut hold.subscription)).await {
                    Ok(Woken::Changed) => break,
                    Ok(Woken::Leave) => {}
                    Ok(Woken::Cancelled) => return Err(Denied::Reply(cancelled())),
                    Ok(Woken::End(end)) => return Err(Denied::End(end)),
                    Err(_) if Instant::now() < hold.deadline => break,
                    Err(_) => return Err(Denied::Reply(waited_in_vain(failed))),
                }
            }
            self.trace_wait(began);
            if self.steering.worker.snapshot().draining {
                return Err(Denied::End(End::Fatal(administrator())));
            }
            hold.pause = (hold.pause * 2).min(PAUSE_MAX);
            attempts.hold = Some(hold);
            Ok(())
        })
    }

    fn begin_hold(&self, failed: Option<&ErrorReply>) -> Result<Hold, ErrorReply> {
        let worker = &self.steering.worker;
        let settings = &self.steering.snapshot.settings.failover;
        let place = Place::take(&worker.shared, settings.hold_max);
        Ok(Hold {
            deadline: Instant::now() + settings.hold_timeout,
            pause: PAUSE_MIN,
            subscription: worker.subscription.borrow().clone(),
            _place: place.ok_or_else(|| too_many(failed))?,
        })
    }

    async fn woken_in_hold(&mut self, subscription: &mut Subscription) -> Woken {
        let slot = Arc::clone(&self.cancel.slot);
        let unwanted = slot.unwanted();
        tokio::select! {
            // All branches are cancel safe: what was read of the client is in its input.
            alive = subscription.changed() => match alive {
                true => Woken::Changed,
                false => Woken::End(End::Fatal(administrator())),
            },
            () = unwanted => Woken::Cancelled,
            woken = poll_fn(|cx| self.poll_aside(cx)) => woken,
        }
    }

    /// Ready when something ends the wait that has nothing to do with nodes.
    pub(crate) fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        if self.control.drain.get() {
            return Poll::Ready(Woken::End(End::Fatal(administrator())));
        }
        if self.control.leave.get() && self.can_leave() {
            return Poll::Ready(Woken::Leave);
        }
        while let Poll::Ready(heard) = self.poll_legs(cx) {
            if let Err(end) = self.heard(heard) {
                return Poll::Ready(Woken::End(end));
            }
        }
        self.control.wake_by(cx);
        self.poll_gone(cx).map(|()| Woken::End(End::ClientGone))
    }

    /// Ready when a client that waits for an answer has gone away.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Answers that are due already do not wait with the statement.
        if let Poll::Ready(Err(_)) = self.client.poll_flush(cx) {
            return Poll::Ready(());
        }
        while self.client.input.len() < READ_AHEAD_MAX {
            match self.client.poll_fill(cx) {
                Poll::Ready(Ok(len)) if len > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

/// No node can take a statement.
pub(crate) fn no_node() -> ErrorReply {
    let text = "no node of the cluster can run this statement now";
    ErrorReply::error(SqlState::CANNOT_CONNECT_NOW, text)
        .with_hint("See SHOW pool_nodes: a write needs a primary that is up.")
}

fn waited_in_vain(failed: Option<ErrorReply>) -> ErrorReply {
    failed.unwrap_or_else(no_node).with_hint(
        "The statement waited for failover.hold_timeout and was not sent. See SHOW pool_nodes: a \
         write needs a primary that is up.",
    )
}

fn too_many(failed: Option<&ErrorReply>) -> ErrorReply {
    let text = "too many statements wait for a node already";
    let reply = ErrorReply::error(SqlState::CANNOT_CONNECT_NOW, text).with_hint(
        "Repeat it later: it was not sent. See SHOW pool_nodes; failover.hold_max is how many may \
         wait.",
    );
    match failed {
        Some(failed) => reply.with_detail(failed.message.clone()),
        None => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_kills_its_servers_is_not_repeated_for_ever() {
        let mut attempts = Attempts::default();
        let mut ran = 1;
        while attempts.may_repeat(NodeId(0)) {
            attempts.note_lost(NodeId(0));
            // As it does while it waits for them to come back.
            attempts.avoid.clear();
            ran += 1;
        }
        assert_eq!(ran, 1 + ATTEMPTS_MAX);
    }
}
