//! LISTEN and UNLISTEN of sessions that share their servers: one connection per database listens for
//! all of them.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use pgsteer_pool::PoolKey;
use pgsteer_sql::{Effect, PinReason};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::{ErrorReply, SqlState, encode};
use tokio::sync::oneshot;

use crate::cancel::cancelled;
use crate::end::End;
use crate::flow::LastWord;
use crate::hold::no_node;
use crate::listen_hub::{Request, Sender};
use crate::listen_inbox::{Doom, Inbox};
use crate::listen_wishes::{Wish, Wishes};
use crate::session::{Rare, Session};

/// What a session hears, from its first LISTEN on.
pub(crate) struct Listening {
    inbox: Arc<Inbox>,
    hub: Sender,
    /// Something was sent since that notifies: the session may hear it itself.
    notified: bool,
    /// What others have sent through its servers has arrived, and what comes is its own.
    is_clear: bool,
    /// What was committed, and is in force before the client is told so.
    committed: Wishes,
}

impl Listening {
    /// A statement that notifies is being sent; whether what comes then is the session's own.
    pub(crate) fn note_notified(&mut self) -> bool {
        self.notified = true;
        std::mem::take(&mut self.is_clear)
    }

    /// What others have sent through its servers has arrived.
    pub(crate) fn note_clear(&mut self) {
        self.is_clear = true;
    }

    /// Whether something of its own may be on its way.
    pub(crate) fn has_notified(&self) -> bool {
        self.notified
    }

    /// Ready when there is something to tell the client, or the session must end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, may_tell: bool) -> Poll<()> {
        self.inbox.poll(cx, may_tell)
    }

    fn unlisten(&self, channels: Vec<Box<str>>) {
        if !channels.is_empty() {
            let inbox = Arc::clone(&self.inbox);
            // If it is gone there is nothing to be taken back.
            let _ = self.hub.try_send(Request::Unlisten { channels, inbox });
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.unlisten(self.inbox.drop_channels(None));
    }
}

impl Session {
    /// Whether LISTEN and UNLISTEN are the proxy's business now, and not a server's.
    pub(crate) fn hears_by_proxy(&self) -> bool {
        let by_server = |reason: Option<PinReason>| reason == Some(PinReason::Listen);
        let by_server = self.legs.iter().any(|leg| by_server(leg.pinned));
        let encoding = self.transaction.last_set(&self.settings, "client_encoding");
        // The connection that listens gets its messages in UTF-8.
        let utf8 = encoding.is_none_or(|text| {
            let text = text.to_ascii_lowercase();
            text.contains("utf8") || text.contains("utf-8") || text.contains("unicode")
        });
        let failed = self.status() == TransactionStatus::Failed;
        self.shares() && utf8 && !by_server && !failed
    }

    /// Carries out LISTEN or UNLISTEN. It is in force when the client is told, if there is no
    /// transaction; else from the commit on.
    pub(crate) fn listen<'a>(&'a mut self, effect: &'a Effect) -> Rare<'a, Result<(), ErrorReply>> {
        Box::pin(async move {
            let mut wishes = Wishes::default();
            self.listen_later(effect, &mut wishes).await?;
            self.hear(wishes);
            Ok(())
        })
    }

    /// The same in a batch, which is a transaction if no other is open: it is in force when that has
    /// succeeded.
    pub(crate) async fn listen_later(
        &mut self,
        effect: &Effect,
        wishes: &mut Wishes,
    ) -> Result<(), ErrorReply> {
        if let Effect::Listen(channel) = effect
            && let Err(reply) = self.subscribe(channel).await
        {
            self.refuse_transaction();
            return Err(reply);
        }
        match self.transaction.open_mut() {
            Some(open) => open.journal.note(effect),
            None => wishes.note(effect),
        }
        let tag = match effect {
            Effect::Listen(_) => "LISTEN",
            _ => "UNLISTEN",
        };
        encode::command_complete(&mut self.client.output, tag);
        Ok(())
    }

    /// Waits until the connection of the database listens to this channel.
    async fn subscribe(&mut self, channel: &str) -> Result<(), ErrorReply> {
        let snapshot = self.steering.worker.snapshot();
        let node = snapshot.topology.primary().ok_or_else(no_node)?.id;
        let identity = &self.steering.identity;
        let key = PoolKey {
            pool: None,
            user: Rc::clone(&identity.user),
            database: Rc::clone(&identity.database),
            node,
        };
        let inbox = match &self.listening {
            Some(listening) => Arc::clone(&listening.inbox),
            None => Arc::new(Inbox::new(Arc::clone(&self.cancel.slot), self.cancel.pid)),
        };
        inbox.wish(channel);
        let (done, confirmed) = oneshot::channel();
        let request = Request::Listen {
            channel: channel.into(),
            inbox: Arc::clone(&inbox),
            done,
        };
        let worker = &self.steering.worker;
        let identity = &self.steering.identity;
        let settings = &self.steering.snapshot.settings;
        let credential = identity.keys.newest(settings, &identity.user);
        let hub = worker.shared.hubs.send(worker, (key, credential), request);
        match &mut self.listening {
            Some(listening) => listening.hub = hub,
            none => {
                *none = Some(Box::new(Listening {
                    inbox,
                    hub,
                    notified: false,
                    is_clear: false,
                    committed: Wishes::default(),
                }));
            }
        }
        tokio::select! {
            // Both branches are cancel safe: nobody minds a channel that is listened to in vain.
            confirmed = confirmed => confirmed.unwrap_or_else(|_| Err(lost()))?,
            () = self.cancel.slot.unwanted() => return Err(cancelled()),
        }
        // Others' are not to be taken for its own, from a time when it did not listen. If something of its
        // own is on its way, that is waited for first.
        match (&mut self.listening, self.transaction.is_none()) {
            (Some(listening), false) => listening.notified = true,
            (Some(listening), true) if listening.notified => {}
            _ => self.end_notifying(),
        }
        Ok(())
    }

    /// What a transaction wished was committed.
    pub(crate) fn hear_later(&mut self, wishes: Wishes) {
        if let Some(listening) = &mut self.listening {
            listening.committed.append(wishes);
        }
    }

    /// Waits until everything has arrived that was sent up to now: what was sent before a LISTEN was
    /// committed is not heard, and what a session has sent itself is.
    pub(crate) async fn catch_up_with_hub(&mut self) {
        let Some(listening) = &mut self.listening else {
            return;
        };
        let notified = std::mem::take(&mut listening.notified);
        let (done, arrived) = oneshot::channel();
        // If the connection is lost, that is told next.
        if listening.hub.send(Request::CatchUp { done }).await.is_ok() {
            let _ = arrived.await;
        }
        if notified {
            self.end_notifying();
        }
    }

    /// What a transaction wished is in force from now on.
    pub(crate) fn hear(&mut self, wishes: Wishes) {
        let Some(listening) = &self.listening else {
            return;
        };
        let mut gone = Vec::new();
        for wish in wishes.into_iter() {
            match wish {
                Wish::Savepoint(_) => {}
                Wish::Listen(channel) => listening.inbox.hear(&channel),
                Wish::Unlisten(channel) => {
                    gone.extend(listening.inbox.drop_channels(channel.as_deref()));
                }
            }
        }
        // One that was dropped and is heard again is listened to all the time.
        gone.retain(|channel| !listening.inbox.hears(channel));
        listening.unlisten(gone);
    }

    /// Puts notifications where the client reads them, outside a transaction.
    pub(crate) fn tell_notifications(&mut self) -> Result<(), End> {
        let Some(listening) = &self.listening else {
            return Ok(());
        };
        match listening.inbox.doom() {
            Some(Doom::Full) => return Err(End::Fatal(not_read())),
            Some(Doom::Lost) => return Err(End::Fatal(lost_fatally())),
            None => {}
        }
        if self.transaction.is_none() {
            listening.unlisten(listening.inbox.settle());
            listening.inbox.take(&mut self.client.output);
        }
        Ok(())
    }

    /// Who says ReadyForQuery to what is about to be sent: PostgreSQL tells a session its own
    /// notifications before it, and LISTEN is in force before a commit is answered.
    pub(crate) fn last_word(&self) -> LastWord {
        let listens = self
            .transaction
            .open()
            .is_some_and(|open| open.journal.listens());
        match &self.listening {
            Some(listening) if listening.notified || listens => LastWord::ProxyOutside,
            _ => LastWord::Server,
        }
    }

    /// Says it, if it is the proxy's to say, when what the session has sent itself is there.
    pub(crate) async fn tell_own(&mut self) -> Result<(), End> {
        let withheld = self.flow.last_word == LastWord::Proxy;
        self.flow.last_word = LastWord::Server;
        if withheld {
            self.catch_up_with_hub().await;
        }
        if let Some(listening) = &mut self.listening {
            let committed = std::mem::take(&mut listening.committed);
            self.hear(committed);
        }
        if !withheld {
            return Ok(());
        }
        self.tell_notifications()?;
        let status = self.status();
        encode::ready(&mut self.client.output, status);
        Ok(self.client.flush().await?)
    }

    /// Sends what is due to a client that nothing is expected of; ends if too much waits for it.
    pub(crate) async fn flush_idle(&mut self) -> Result<(), End> {
        let Some(listening) = &self.listening else {
            return Ok(self.client.flush().await?);
        };
        let (inbox, client) = (&listening.inbox, &mut self.client);
        let doomed = std::future::poll_fn(|cx| match client.poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map(|()| false)),
            Poll::Pending => inbox.poll(cx, false).map(|()| Ok(true)),
        });
        if doomed.await? {
            // Part of a message may be sent: nothing else can be said behind it.
            let reply = match inbox.doom() {
                Some(Doom::Lost) => lost_fatally(),
                _ => not_read(),
            };
            return Err(End::Fatal(reply));
        }
        Ok(())
    }
}

fn not_read() -> ErrorReply {
    let text = "terminating connection because the client does not read its notifications";
    ErrorReply::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, text)
        .with_detail("More than 16 MiB of them wait for it.")
}

fn lost_fatally() -> ErrorReply {
    let text = "terminating connection because notifications may have been missed";
    ErrorReply::fatal(SqlState::ADMIN_SHUTDOWN, text)
        .with_detail("The server connection that listens for this session was lost.")
        .with_hint("Connect again, LISTEN, and look at what may have changed meanwhile.")
}

fn lost() -> ErrorReply {
    let text = "the server connection that listens for notifications was lost";
    ErrorReply::error(SqlState::CONNECTION_FAILURE, text)
}
