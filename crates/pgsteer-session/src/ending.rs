//! Sessions that end although neither client nor server wants it: because an operator says so, or
//! because something took too long. Times are compared twice a second, so a query pays for none.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use pgsteer_core::Settings;
use pgsteer_core::facts::Ending;
use pgsteer_core::quotas::Timeouts;
use pgsteer_wire::{ErrorReply, SqlState};
use tokio::time::timeout;

use crate::cancel::{CancelRegistry, CancelSlot};
use crate::end::End;
use crate::session::{Rare, Session};
use crate::whereabouts::Doing;
use crate::worker::{Control, Worker};

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// An operator said so.
    Killed = 1,
    ClientIdle,
    IdleInTransaction,
    Transaction,
    Query,
}

impl Why {
    const ALL: [Self; 5] = [
        Self::Killed,
        Self::ClientIdle,
        Self::IdleInTransaction,
        Self::Transaction,
        Self::Query,
    ];

    /// What the client is told, in PostgreSQL's words where it has them.
    fn reply(self) -> ErrorReply {
        let (state, text, hint) = match self {
            Self::Killed => {
                let text = "terminating connection due to administrator command";
                return ErrorReply::fatal(SqlState::ADMIN_SHUTDOWN, text)
                    .with_detail("An operator ended this session in the proxy's console.");
            }
            Self::ClientIdle => (
                SqlState::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
                "timeouts.client_idle",
            ),
            Self::IdleInTransaction => (
                SqlState::IDLE_IN_TRANSACTION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
                "timeouts.idle_in_transaction",
            ),
            Self::Transaction => (
                SqlState::TRANSACTION_TIMEOUT,
                "terminating connection due to transaction timeout",
                "timeouts.transaction",
            ),
            Self::Query => (
                SqlState::QUERY_CANCELED,
                "terminating connection due to query timeout",
                "timeouts.query",
            ),
        };
        ErrorReply::fatal(state, text).with_hint(format!(
            "It is {hint} in the proxy's configuration, or a rule in [[pools]]."
        ))
    }
}

/// Said to a session from any thread: that it is to end, and why.
#[derive(Debug, Default)]
pub(crate) struct Said(AtomicU8);

impl Said {
    fn set(&self, why: Why) {
        self.0.store(why as u8, Ordering::Release);
    }

    fn get(&self) -> Option<Why> {
        let said = self.0.load(Ordering::Acquire);
        Why::ALL.into_iter().find(|why| *why as u8 == said)
    }
}

impl CancelRegistry {
    /// Says to sessions that they are to end; their workers see it when they look. The number of
    /// those.
    pub(crate) fn end(&self, which: &Ending) -> usize {
        let fits = |slot: &CancelSlot| match which {
            Ending::Session(id) => slot.about.session == *id,
            Ending::Database(name) => *slot.about.database == **name && !slot.about.is_console,
            Ending::All => !slot.about.is_console,
        };
        let sessions = self.list();
        let said = sessions.iter().filter(|(_, slot)| fits(slot));
        said.map(|(_, slot)| slot.said.set(Why::Killed)).count()
    }

    /// Waits until no session runs anything.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn none_active(&self) {
        let active = |slot: &CancelSlot| slot.is_active() && !slot.about.is_console;
        while self.list().iter().any(|(_, slot)| active(slot)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Worker {
    /// Passes on to its sessions what operators said.
    pub(crate) fn end_sessions(&self) {
        for (control, slot) in self.controls.borrow().values() {
            if let Some(why) = slot.said.get() {
                control.end(why);
            }
        }
    }

    /// Ends sessions that have taken too long. To be called a few times a second.
    pub(crate) fn look_at_times(&self) {
        let settings = self.settings();
        if settings.timeouts.is_none() && settings.pool.rules.is_empty() {
            return;
        }
        for (control, slot) in self.controls.borrow().values() {
            if slot.about.is_console {
                continue;
            }
            let limits = limits(&settings, slot);
            if let Some(why) = too_long(slot, &limits) {
                control.end(why);
            }
        }
    }
}

fn limits(settings: &Settings, slot: &CancelSlot) -> Timeouts {
    let about = &slot.about;
    settings
        .pool
        .timeouts_of(&about.database, &about.user, &settings.timeouts)
}

/// What a session has taken too long for.
fn too_long(slot: &CancelSlot, limits: &Timeouts) -> Option<Why> {
    let over = |time: Duration, limit: Duration| !limit.is_zero() && time >= limit;
    let (doing, time) = slot.now.get();
    let transaction = slot.now.transaction();
    if transaction.is_some_and(|time| over(time, limits.transaction)) {
        return Some(Why::Transaction);
    }
    // Of a replication connection nobody knows what it does.
    let idle = doing == Doing::Idle;
    if idle && slot.is_active() {
        return None;
    }
    match (doing, transaction) {
        (Doing::Idle, Some(_)) if over(time, limits.idle_in_transaction) => {
            Some(Why::IdleInTransaction)
        }
        (Doing::Idle, None) if over(time, limits.client_idle) => Some(Why::ClientIdle),
        (Doing::Active | Doing::Waiting, _) if over(slot.now.query(), limits.query) => {
            Some(Why::Query)
        }
        _ => None,
    }
}

impl Control {
    /// The session is to end.
    fn end(&self, why: Why) {
        self.ending.set(Some(why));
        self.wake();
    }

    /// Resolves when the session is to end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn ended(&self) -> Why {
        poll_fn(|cx| self.poll_ended(cx)).await
    }

    /// The same as a poll.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Why> {
        match self.ending.get() {
            Some(why) => Poll::Ready(why),
            None => {
                self.wake_by(cx);
                Poll::Pending
            }
        }
    }
}

impl Session {
    /// Ends what a server runs for the session, whatever the session was at, and says what the
    /// client is told.
    pub(crate) fn end_because<'a>(&'a mut self, why: Why) -> Rare<'a, End> {
        Box::pin(async move {
            let runs = self.cancel.slot.is_active();
            if runs {
                let tls = self.steering.snapshot.settings.pool.tls.clone();
                let _ = timeout(CANCEL_MAX, self.cancel.slot.cancel_statement(&tls)).await;
            }
            // A message that has begun cannot be finished, and nobody knows where it ends.
            let inside = self.flow.is_inside_frame() || runs && self.flow.answered;
            match inside {
                true => End::Broken,
                false => End::Fatal(why.reply()),
            }
        })
    }
}

/// Time between two looks at sessions that are to have nothing under way.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a cancel request may take before the session ends without.
const CANCEL_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_state_of_its_own() {
        let mut states: Vec<_> = Why::ALL
            .map(|why| why.reply().sqlstate.as_str().to_owned())
            .into();
        states.sort();
        states.dedup();
        assert_eq!(states.len(), Why::ALL.len());
        let said = Said::default();
        assert_eq!(said.get(), None);
        said.set(Why::Query);
        assert_eq!(said.get(), Some(Why::Query));
    }
}
