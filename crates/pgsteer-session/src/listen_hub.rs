//! The connection that listens for all sessions of a database, on its primary, and tells each what it
//! wants to hear. It runs on the worker whose session asked first.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use pgsteer_core::NodeId;
use pgsteer_pool::{Connection, Credential, PoolKey, ServerLost, Target};
use pgsteer_wire::backend::tag;
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::frame::cstr;
use pgsteer_wire::{ErrorReply, HEADER_LEN, SqlState, frame};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::journal::quote_identifier;
use crate::listen_inbox::{Doom, Inbox, Notification};
use crate::notifiers::{put_as, sender};
use crate::worker::{Shared, Worker};

/// How long the connection stays when nobody listens any more: less than the 5 s that PostgreSQL waits
/// for others to leave a database that is to be dropped.
const LINGER: Duration = Duration::from_secs(3);

/// What a session asks of the connection.
pub(crate) enum Request {
    /// To listen to a channel, and to say when it does.
    Listen {
        channel: Box<str>,
        inbox: Arc<Inbox>,
        done: oneshot::Sender<Result<(), ErrorReply>>,
    },
    /// To say when everything has arrived that was sent up to now.
    CatchUp { done: oneshot::Sender<()> },
    /// Not to tell it of these channels any more.
    Unlisten {
        channels: Vec<Box<str>>,
        inbox: Arc<Inbox>,
    },
}

pub(crate) type Sender = mpsc::Sender<Request>;

/// Requests of sessions that may wait for the connection of their database; one more is dropped, and
/// whoever waits for its answer told so.
const REQUESTS_MAX: usize = 16 * 1024;

/// The connections that listen, by database.
#[derive(Debug, Default)]
pub(crate) struct Hubs(Mutex<HashMap<Box<str>, Sender>>);

impl Hubs {
    fn map(&self) -> MutexGuard<'_, HashMap<Box<str>, Sender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the connection of a database, which is opened if there is none.
    pub(crate) fn send(
        &self,
        worker: &Rc<Worker>,
        (key, credential): (PoolKey, Credential),
        request: Request,
    ) -> Sender {
        let mut map = self.map();
        let request = match map.get(&*key.database) {
            Some(known) => match known.try_send(request) {
                Ok(()) | Err(TrySendError::Full(_)) => return known.clone(),
                // It has just ended.
                Err(TrySendError::Closed(back)) => back,
            },
            None => request,
        };
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        map.insert((*key.database).into(), sender.clone());
        // Cannot fail: the receiver is here.
        let _ = sender.try_send(request);
        tokio::task::spawn_local(serve(Rc::clone(worker), (key, credential), requests));
        sender
    }

    /// Takes the connection of a database off the list, unless it was asked for something meanwhile.
    fn retire(&self, database: &str, requests: &mpsc::Receiver<Request>) -> bool {
        let mut map = self.map();
        if requests.is_empty() {
            map.remove(database);
        }
        requests.is_empty()
    }
}

async fn serve(
    worker: Rc<Worker>,
    (key, credential): (PoolKey, Credential),
    mut requests: mpsc::Receiver<Request>,
) {
    let hub = match open(&worker, &key, &credential).await {
        Ok(connection) => Hub {
            shared: Arc::clone(&worker.shared),
            connection,
            channels: HashMap::new(),
        },
        Err(reply) => {
            worker.shared.hubs.map().remove(&*key.database);
            while let Ok(request) = requests.try_recv() {
                if let Request::Listen { done, .. } = request {
                    let _ = done.send(Err(reply.clone()));
                }
            }
            return;
        }
    };
    // Whatever ends it, also that this task is dropped, is told to those who listen.
    let mut hub = hub;
    let why = hub.run(&worker, &key, &mut requests).await;
    if let Err(error) = why {
        worker.shared.hubs.map().remove(&*key.database);
        tracing::warn!(database = &*key.database, %error, "the connection that listens for notifications was lost");
    }
}

/// A connection to the primary.
async fn open(
    worker: &Worker,
    key: &PoolKey,
    credential: &Credential,
) -> Result<Connection, ErrorReply> {
    let snapshot = worker.snapshot();
    let known = snapshot.topology.node(key.node);
    let Some(known) = known else {
        return Err(crate::hold::no_node());
    };
    let target = Target::from(known);
    let opened = worker.pools.extra(key, &target, credential).await;
    opened.map_err(|error| {
        let text = "no connection that listens for notifications could be opened";
        ErrorReply::error(SqlState::CANNOT_CONNECT_NOW, text).with_detail(error.to_string())
    })
}

struct Hub {
    shared: Arc<Shared>,
    connection: Connection,
    channels: HashMap<Box<str>, Vec<Arc<Inbox>>>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        for inbox in self.channels.values().flatten() {
            inbox.end(Doom::Lost);
        }
    }
}

impl Hub {
    /// Serves until nobody listens any more.
    async fn run(
        &mut self,
        worker: &Worker,
        key: &PoolKey,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), ServerLost> {
        let mut subscription = worker.subscription.borrow().clone();
        subscription.mark_seen();
        loop {
            if !is_primary(worker, key.node) {
                return Err(ServerLost::Closed);
            }
            let nobody = self.channels.is_empty();
            tokio::select! {
                // All branches are cancel safe: what was read is in the input.
                request = timeout(LINGER, requests.recv()) => match request {
                    Ok(Some(first)) => self.serve(first, requests).await?,
                    Ok(None) => return Ok(()),
                    Err(_) if nobody && worker.shared.hubs.retire(&key.database, requests) => {
                        return Ok(());
                    }
                    Err(_) => {}
                },
                filled = self.connection.channel.fill() => {
                    if filled? == 0 {
                        return Err(ServerLost::Closed);
                    }
                    self.tell()?;
                    // In a flood the sessions of this worker get their turns, too.
                    tokio::task::yield_now().await;
                }
                _ = subscription.changed() => {}
            }
        }
    }

    /// Does what was asked, in one round trip for all that was asked so far.
    async fn serve(
        &mut self,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), ServerLost> {
        let mut texts = Vec::new();
        let (mut waiting, mut behind) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Listen {
                    channel,
                    inbox,
                    done,
                } => {
                    let known = self.channels.entry(channel.clone()).or_default();
                    if known.is_empty() {
                        texts.push(format!("LISTEN {}", quote_identifier(&channel)));
                    }
                    if !known.iter().any(|other| Arc::ptr_eq(other, &inbox)) {
                        known.push(inbox);
                    }
                    waiting.push(done);
                }
                Request::CatchUp { done } => {
                    // A server that has answered has told us what it was told before.
                    texts.push(String::new());
                    behind.push(done);
                }
                Request::Unlisten { channels, inbox } => {
                    for channel in channels {
                        if self.forget(&channel, &inbox) {
                            texts.push(format!("UNLISTEN {}", quote_identifier(&channel)));
                        }
                    }
                }
            }
            next = requests.try_recv().ok();
        }
        let refused = if texts.is_empty() {
            None
        } else {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            self.connection.run(&texts).await?
        };
        let asides = std::mem::take(&mut self.connection.asides);
        let mut rest = &asides[..];
        while let Some(header) = frame::header(rest).map_err(|_| ServerLost::Protocol)? {
            let (message, after) = rest.split_at(header.frame_len().min(rest.len()));
            self.notify(message);
            rest = after;
        }
        self.tell()?;
        // Not before: what was sent before a LISTEN is not heard by who asked for it.
        for done in waiting {
            let _ = done.send(match &refused {
                None => Ok(()),
                Some(body) => {
                    let fields = ErrorFields::new(body);
                    let state = SqlState::from_text(fields.sqlstate());
                    let state = state.unwrap_or(SqlState::INTERNAL_ERROR);
                    Err(ErrorReply::error(state, fields.message()))
                }
            });
        }
        for done in behind {
            let _ = done.send(());
        }
        Ok(())
    }

    /// One session less for a channel; `true` if it was the last.
    fn forget(&mut self, channel: &str, inbox: &Arc<Inbox>) -> bool {
        let Some(known) = self.channels.get_mut(channel) else {
            return false;
        };
        known.retain(|other| !Arc::ptr_eq(other, inbox));
        let last = known.is_empty();
        if last {
            self.channels.remove(channel);
        }
        last
    }

    /// Tells of what was read.
    fn tell(&mut self) -> Result<(), ServerLost> {
        loop {
            let bytes = self.connection.channel.input.bytes();
            let header = frame::header(bytes).map_err(|_| ServerLost::Protocol)?;
            let Some(header) = header.filter(|h| bytes.len() >= h.frame_len()) else {
                return Ok(());
            };
            match header.tag {
                tag::NOTIFICATION => {
                    let message = bytes.get(..header.frame_len()).unwrap_or_default();
                    self.notify(message);
                }
                tag::NOTICE | tag::PARAMETER_STATUS => {}
                tag::ERROR => return Err(ServerLost::Closed),
                _ => return Err(ServerLost::Protocol),
            }
            self.connection.channel.input.consume(header.frame_len());
        }
    }

    /// Hands a NotificationResponse to everybody who listens to its channel.
    fn notify(&self, message: &[u8]) {
        let Some(server) = sender(message) else {
            return;
        };
        let rest = message.get(HEADER_LEN + 4..).unwrap_or_default();
        let channel = cstr(rest).and_then(|(name, _)| std::str::from_utf8(name).ok());
        let Some((channel, inboxes)) =
            channel.and_then(|channel| Some((channel, self.channels.get(channel)?)))
        else {
            return;
        };
        let session = self.shared.notifiers.session(server);
        let mut told = BytesMut::with_capacity(message.len());
        put_as(message, session.unwrap_or(server), &mut told);
        let came = Notification {
            channel,
            server,
            session,
            message: told.freeze(),
            untold: message,
        };
        for inbox in inboxes {
            inbox.push(&came);
        }
    }
}

/// Whether this node is the primary still, and to be used.
fn is_primary(worker: &Worker, node: NodeId) -> bool {
    let snapshot = worker.snapshot();
    let primary = snapshot.topology.primary();
    primary.is_some_and(|primary| primary.id == node) && !worker.is_withdrawn(node)
}
