//! Replication connections: a server connection of their own, opened with the client's startup
//! parameters, and bytes both ways until one side ends.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_core::topology::Node;
use pgsteer_pool::{
    Channel, CheckoutError, ConnectError, Connection, PoolKey, Target as ServerAddress,
};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::{ErrorReply, HEADER_LEN, Severity, SqlState, encode};
use tokio::time::timeout;

use crate::cancel::{Registered, ServerTarget};
use crate::end::{End, administrator, with_severity};
use crate::lease::checkout_failed;
use crate::login::parse_options;
use crate::need::LegError;
use crate::steering::Steering;
use crate::worker::{Control, Worker};

/// What a client asked for.
pub(crate) struct Wanted {
    /// Value of `replication` for the server.
    kind: &'static str,
    /// The rest of its startup packet but user and database.
    parameters: BTreeMap<String, String>,
}

impl Wanted {
    /// Takes `replication` out of a startup packet, and reads it as PostgreSQL does.
    pub(crate) fn take_from(
        parameters: &mut BTreeMap<String, String>,
    ) -> Result<Option<Self>, ErrorReply> {
        let Some(value) = parameters.remove("replication") else {
            return Ok(None);
        };
        let kind = match (&*value, truth(&value)) {
            ("database", _) => "database",
            (_, Some(true)) => "true",
            (_, Some(false)) => return Ok(None),
            (_, None) => {
                let text = format!("invalid value for parameter \"replication\": \"{value}\"");
                let reply = ErrorReply::fatal(SqlState::INVALID_PARAMETER_VALUE, text);
                let hint = "Valid values are: \"false\", 0, \"true\", 1, \"database\".";
                return Err(reply.with_hint(hint));
            }
        };
        let parameters = BTreeMap::new();
        Ok(Some(Self { kind, parameters }))
    }

    /// Whether it is about no database.
    pub(crate) fn is_physical(&self) -> bool {
        self.kind == "true"
    }

    /// With the rest of the startup packet.
    pub(crate) fn with(self, mut parameters: BTreeMap<String, String>) -> Self {
        parameters.retain(|name, _| !name.starts_with("_pq_."));
        Self { parameters, ..self }
    }

    /// The node it names with `pgsteer.node`, if it does.
    fn node(&self) -> Option<String> {
        let options = self.parameters.get("options");
        let options = parse_options(options.map_or("", String::as_str));
        let named = options.into_iter().rfind(|(name, _)| name == NODE);
        let own = || self.parameters.get(NODE).cloned();
        named.map(|(_, value)| value).or_else(own)
    }
}

/// The parameter that names a node by its number.
const NODE: &str = "pgsteer.node";

/// A truth value as PostgreSQL's `parse_bool` reads it: prefixes do.
fn truth(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&*text);
    if text == "1" || begins("true", 1) || begins("yes", 1) || begins("on", 2) {
        Some(true)
    } else if text == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2) {
        Some(false)
    } else {
        None
    }
}

/// A replication connection that is logged in on both sides.
pub(crate) struct Replication {
    steering: Steering,
    client: Channel,
    server: Connection,
    cancel: Registered,
    control: Rc<Control>,
    frames: Frames,
}

/// Why nothing more is moved.
enum Over {
    Closed,
    Ended,
}

/// Time a client gets to read its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Turns per wake-up before other sessions of the worker get theirs.
const TURNS_MAX: u32 = 64;

impl Replication {
    /// Opens the server connection and tells the client what the server said.
    pub(crate) async fn begin(
        steering: Steering,
        mut client: Channel,
        cancel: Registered,
        wanted: Wanted,
    ) -> Result<Self, (Channel, End)> {
        let (server, target) = match open(&steering, &wanted).await {
            Ok(opened) => opened,
            Err(end) => return Err((client, end)),
        };
        for (name, value) in &*server.parameters {
            encode::parameter_status(&mut client.output, name, value);
        }
        encode::backend_key(&mut client.output, cancel.pid, &cancel.key());
        encode::ready(&mut client.output, TransactionStatus::Idle);
        if client.flush().await.is_err() {
            return Err((client, End::ClientGone));
        }
        let node = target.node;
        cancel.slot.add(target);
        // Something runs there always, as far as anybody knows.
        cancel.slot.start(node);
        Ok(Self {
            steering,
            client,
            server,
            cancel,
            control: Rc::default(),
            frames: Frames::default(),
        })
    }

    /// Moves bytes until one side ends, or the proxy or the node is to end.
    pub(crate) async fn run(mut self, worker: &Worker) {
        let id = self.steering.identity.session;
        let controls = &worker.controls;
        controls.borrow_mut().insert(
            id,
            (Rc::clone(&self.control), Arc::clone(&self.cancel.slot)),
        );
        // Published while the client logged in: nobody told this one.
        self.control.drain.set(worker.snapshot().draining);
        let control = Rc::clone(&self.control);
        // Both branches are cancel safe: what is over is not used again.
        let over = tokio::select! {
            over = poll_fn(|cx| self.poll(cx)) => over,
            _ = control.ended() => Over::Ended,
        };
        if matches!(over, Over::Ended) {
            encode::error(&mut self.client.output, &administrator());
        }
        let _ = timeout(LAST_WORDS, self.client.flush()).await;
        // Nobody else will use the server's connection, so what is on its way there hits nobody.
        let _ = self.cancel.slot.remove(self.server.node);
        controls.borrow_mut().remove(&id);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.control.wake_by(cx);
        let node = self.server.node;
        let ends = self.control.drain.get() || self.steering.worker.is_withdrawn(node);
        for _ in 0..TURNS_MAX {
            if ends && self.frames.is_between() {
                return Poll::Ready(Over::Ended);
            }
            let up = pump(cx, &mut self.client, &mut self.server.channel, None, ends);
            let frames = Some(&mut self.frames);
            let down = pump(cx, &mut self.server.channel, &mut self.client, frames, ends);
            match (up, down) {
                (Moved::Closed, _) | (_, Moved::Closed) => return Poll::Ready(Over::Closed),
                (Moved::Nothing, Moved::Nothing) => return Poll::Pending,
                _ => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Opens the connection to the node that was named, or else to the primary.
async fn open(steering: &Steering, wanted: &Wanted) -> Result<(Connection, ServerTarget), End> {
    let Steering {
        worker,
        snapshot,
        identity,
        ..
    } = steering;
    let known = node(steering, wanted).map_err(End::Fatal)?;
    let target = ServerAddress {
        node: known.id,
        host: known.host.clone(),
        port: known.port,
    };
    let key = PoolKey {
        pool: identity.pool.clone(),
        user: Rc::clone(&identity.user),
        database: Rc::clone(&identity.database),
        node: known.id,
    };
    let credential = identity.keys.newest(&snapshot.settings, &identity.user);
    let all = wanted.parameters.iter();
    let mut parameters: Vec<_> = all.map(|(n, v)| (n.as_str(), v.as_str())).collect();
    parameters.push(("replication", wanted.kind));
    let opening = worker
        .pools
        .dedicated(&key, &target, &credential, &parameters);
    let server = opening.await.map_err(refused)?;
    let target = ServerTarget {
        node: known.id,
        host: target.host,
        port: target.port,
        pid: server.key.pid,
        key: Arc::clone(&server.key.key),
        opened_at: server.opened_at,
        leased_at: SystemTime::now(),
        uses: 1,
    };
    Ok((server, target))
}

fn node<'a>(steering: &'a Steering, wanted: &Wanted) -> Result<&'a Node, ErrorReply> {
    let topology = &steering.snapshot.topology;
    let Some(name) = wanted.node() else {
        let none = || {
            let text = "there is no primary a replication connection could go to now";
            ErrorReply::fatal(SqlState::CANNOT_CONNECT_NOW, text).with_hint(
                "Name a node: options='-c pgsteer.node=1', with a number of SHOW pool_nodes.",
            )
        };
        return topology.primary().ok_or_else(none);
    };
    let known = name.parse().ok().and_then(|id| topology.node(NodeId(id)));
    known.ok_or_else(|| {
        let text = format!("invalid value for parameter \"{NODE}\": \"{name}\"");
        ErrorReply::fatal(SqlState::INVALID_PARAMETER_VALUE, text)
            .with_hint("It is the number of a node in SHOW pool_nodes.")
    })
}

/// What the client is told when its server connection could not be opened.
fn refused(error: CheckoutError) -> End {
    if let CheckoutError::Connect(ConnectError::Refused(body)) = error {
        return End::Message(with_severity(&body, Severity::Fatal));
    }
    match checkout_failed(error) {
        LegError::Reply(reply) | LegError::NodeFailed(reply) => End::Fatal(ErrorReply {
            severity: Severity::Fatal,
            ..reply
        }),
        LegError::Refused(body) => End::Message(with_severity(&body, Severity::Fatal)),
        LegError::Ended(end) => end,
        LegError::Moved => {
            let text = "the node for this replication connection is not in service";
            End::Fatal(ErrorReply::fatal(SqlState::CANNOT_CONNECT_NOW, text))
        }
    }
}

#[derive(Clone, Copy)]
enum Moved {
    Something,
    Nothing,
    Closed,
}

/// One turn in one direction; `frames` is told what passed, and where `ends` is set no more passes
/// than the rest of the frame that has begun.
fn pump(
    cx: &mut Context<'_>,
    from: &mut Channel,
    to: &mut Channel,
    frames: Option<&mut Frames>,
    ends: bool,
) -> Moved {
    match to.poll_flush(cx) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(_)) => return Moved::Closed,
        Poll::Pending => return Moved::Nothing,
    }
    if from.input.is_empty() {
        match from.poll_fill(cx) {
            Poll::Ready(Ok(len)) if len > 0 => {}
            Poll::Ready(_) => return Moved::Closed,
            Poll::Pending => return Moved::Nothing,
        }
    }
    let mut bytes = from.input.bytes();
    if let Some(frames) = frames.as_ref().filter(|_| ends) {
        bytes = bytes.get(..frames.rest()).unwrap_or(bytes);
    }
    match to.poll_write(cx, bytes) {
        Poll::Ready(Ok(len)) => {
            if let Some(frames) = frames {
                frames.passed(bytes.get(..len).unwrap_or_default());
            }
            from.input.consume(len);
            Moved::Something
        }
        Poll::Ready(Err(_)) => Moved::Closed,
        Poll::Pending => Moved::Nothing,
    }
}

/// Where in a stream of frames one is.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER_LEN],
    /// Bytes of the header that have passed; `have < HEADER_LEN`.
    have: usize,
    /// Bytes of the body that have not.
    left: usize,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Bytes that belong to the frame that has begun, as far as is known; at least one.
    fn rest(&self) -> usize {
        match self.left {
            0 => HEADER_LEN - self.have,
            left => left,
        }
    }

    fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let len = self.left.min(bytes.len());
                self.left -= len;
                bytes = bytes.get(len..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            if self.have == HEADER_LEN {
                let [_, a, b, c, d] = self.header;
                let len = usize::try_from(u32::from_be_bytes([a, b, c, d]));
                self.left = len.unwrap_or(usize::MAX).saturating_sub(4);
                self.have = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_is_found_wherever_the_bytes_are_cut() {
        let stream = b"d\0\0\0\x06abZ\0\0\0\x05Ic\0\0\0\x04";
        let ends = [7, 13, 18];
        for cut in 1..=stream.len() {
            let mut frames = Frames::default();
            let mut at = 0;
            for piece in stream.chunks(cut) {
                frames.passed(piece);
                at += piece.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{cut} {at}");
                if !frames.is_between() {
                    let end = ends.iter().find(|end| **end > at);
                    assert!(at + frames.rest() <= *end.unwrap(), "{cut} {at}");
                }
            }
        }
    }

    #[test]
    fn truth_is_read_as_postgresql_reads_it() {
        for text in ["1", "t", "TRUE", "on", "y", "yes"] {
            assert_eq!(truth(text), Some(true), "{text}");
        }
        for text in ["0", "f", "false", "off", "of", "n", "no"] {
            assert_eq!(truth(text), Some(false), "{text}");
        }
        for text in ["", "o", "2", "database", "truely"] {
            assert_eq!(truth(text), None, "{text}");
        }
    }
}
