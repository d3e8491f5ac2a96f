//! Sessions that want a server of a database that operators paused: they wait, in the order in which
//! they came, as long as a session waits for a server in any case.

use std::future::poll_fn;
use std::sync::Arc;

use pgsteer_core::traffic::TrafficWatch;
use pgsteer_wire::{ErrorReply, SqlState};
use tokio::time::{Instant, timeout_at};

use crate::cancel::cancelled;
use crate::end::End;
use crate::hold::Woken;
use crate::meter::Waits;
use crate::need::LegError;
use crate::session::Session;
use crate::worker::Worker;

impl Session {
    /// Whether the database is paused, unless the session takes part in a transaction, which is to
    /// come to its end.
    pub(crate) fn is_paused(&self) -> bool {
        let worker = &self.steering.worker;
        worker.traffic_of(&self.steering.identity.database).paused && self.is_unseen()
    }

    /// Waits while it is.
    pub(crate) async fn paused(&mut self) -> Result<(), LegError> {
        if !self.is_paused() {
            return Ok(());
        }
        let worker = &self.steering.worker;
        let _waits = Waits::begin(&self.meter.pool, &self.cancel.slot);
        let limit = worker.settings().pool.checkout_timeout;
        let mut watch = worker.traffic.borrow().clone();
        let deadline = Instant::now() + limit;
        loop {
            let database = &self.steering.identity.database;
            if !watch.get().of(database).paused {
                return Ok(());
            }
            let slot = Arc::clone(&self.cancel.slot);
            let news = async {
                tokio::select! {
                    // Both branches are cancel safe.
                    news = self.news(&mut watch) => Some(news),
                    () = slot.unwanted() => None,
                }
            };
            match timeout_at(deadline, news).await {
                Ok(Some(Some(end))) => return Err(LegError::Ended(end)),
                Ok(Some(None)) => {}
                Ok(None) => return Err(LegError::Reply(cancelled())),
                Err(_) => {
                    let text =
                        format!("database \"{}\" is paused", self.steering.identity.database);
                    let reply = ErrorReply::error(SqlState::CANNOT_CONNECT_NOW, text);
                    return Err(LegError::Reply(reply.with_hint(
                        "The statement waited for pool.checkout_timeout and was not sent. RESUME in \
                         the proxy's console lets it through.",
                    )));
                }
            }
        }
    }

    /// Waits while nothing is to begin in any session.
    pub(crate) async fn suspended(&mut self) -> Result<(), End> {
        let is_console = self.steering.identity.access.is_some();
        if is_console || !self.steering.worker.is_suspended() {
            return Ok(());
        }
        Box::pin(self.set_free()).await
    }

    async fn set_free(&mut self) -> Result<(), End> {
        let mut watch = self.steering.worker.traffic.borrow().clone();
        while self.steering.worker.is_suspended() {
            if let Some(end) = self.news(&mut watch).await {
                return Err(end);
            }
        }
        Ok(())
    }

    /// Waits until operators said something, or the session is to end, or its client is gone.
    async fn news(&mut self, watch: &mut TrafficWatch) -> Option<End> {
        loop {
            tokio::select! {
                // Both branches are cancel safe: what was read of the client is in its input.
                () = watch.changed() => return None,
                woken = poll_fn(|cx| self.poll_aside(cx)) => match woken {
                    Woken::End(end) => return Some(end),
                    Woken::Leave => self.leave_nodes(),
                    Woken::Changed | Woken::Cancelled => return None,
                },
            }
        }
    }

    /// Refuses clients that may not come now.
    pub(crate) fn check_traffic(worker: &Worker, database: &str) -> Result<(), End> {
        if worker.traffic.borrow_mut().get().closing {
            let text = "the proxy is shutting down";
            return Err(End::Fatal(ErrorReply::fatal(
                SqlState::CANNOT_CONNECT_NOW,
                text,
            )));
        }
        if worker.traffic_of(database).disabled {
            let text = format!("database \"{database}\" is disabled");
            let reply = ErrorReply::fatal(SqlState::CANNOT_CONNECT_NOW, text);
            return Err(End::Fatal(
                reply.with_hint("ENABLE in the proxy's console lets clients in."),
            ));
        }
        Ok(())
    }
}
