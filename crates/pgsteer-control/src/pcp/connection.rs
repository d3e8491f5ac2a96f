//! One connection of a tool: login, requests, the end.

use std::net::SocketAddr;
use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::admin::{NodeOrder, ProcessOrder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::frame::{COMPLETE, Frame, decode, put, put_error, put_strings};
use super::request::Request;
use super::{Common, login, rows};
use crate::doors::{House, Outcome};

/// Serves it to its end.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, house: House, common: Common) {
    let mut connection = Connection {
        stream,
        peer,
        input: Vec::new(),
        house,
        common,
    };
    let user = timeout(LOGIN_TIMEOUT, connection.login()).await;
    let Ok(Some(user)) = user else { return };
    connection.requests(&user).await;
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    input: Vec<u8>,
    house: House,
    common: Common,
}

/// A message that was taken out of the input.
struct Message {
    tag: u8,
    body: Vec<u8>,
}

impl Connection {
    /// The next message; none at the end, for one that cannot be, and when the proxy ends.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((frame, length)) = decode(&self.input).ok()? {
                let (tag, body) = (frame.tag, frame.body.to_vec());
                self.input.drain(..length);
                return Some(Message { tag, body });
            }
            let mut chunk = [0; 512];
            let read = tokio::select! {
                read = self.stream.read(&mut chunk) => read,
                () = self.house.closed() => return None,
            };
            let read = read.ok().filter(|read| *read > 0)?;
            self.input.extend_from_slice(chunk.get(..read)?);
        }
    }

    async fn send(&mut self, out: &[u8]) -> Option<()> {
        let sent = timeout(SEND_TIMEOUT, self.stream.write_all(out)).await;
        sent.ok()?.ok()
    }

    async fn refuse(&mut self, message: &str, detail: &str) {
        let mut out = Vec::new();
        put_error(&mut out, "FATAL", message, detail);
        let _ = self.send(&out).await;
        let _ = self.stream.shutdown().await;
    }

    /// Who it is; none if nobody.
    async fn login(&mut self) -> Option<String> {
        let mut salt = None;
        loop {
            let message = self.next().await?;
            match (message.tag, salt.take()) {
                (b'M', None) => {
                    let mut bytes = [0; 4];
                    getrandom::fill(&mut bytes).ok()?;
                    let mut out = Vec::new();
                    put(&mut out, b'm', &bytes);
                    self.send(&out).await?;
                    salt = Some(bytes);
                }
                (b'R', Some(salt)) => return self.answer(&message.body, salt).await,
                (b'X', _) => return None,
                _ => {
                    self.refuse("authentication failed", "a password is needed")
                        .await;
                    return None;
                }
            }
        }
    }

    async fn answer(&mut self, body: &[u8], salt: [u8; 4]) -> Option<String> {
        let frame = Frame { tag: b'R', body };
        let mut strings = frame.strings();
        let (name, answer) = (strings.next()?, strings.next().unwrap_or_default());
        let snapshot = self.house.now();
        let name_shown = String::from_utf8_lossy(name).into_owned();
        if login::is_right(&snapshot.settings.pcp.users, name, answer, salt) {
            let mut out = Vec::new();
            put_strings(&mut out, b'r', ["AuthenticationOK"]);
            self.send(&out).await?;
            return Some(name_shown);
        }
        warn!(peer = %self.peer, user = ?name_shown, "a tool of Pgpool-II could not log in");
        // One after the other, so that many connections do not guess faster than few.
        let guesses = self.common.guesses.clone();
        let Ok(_turn) = guesses.acquire().await else {
            return None;
        };
        sleep(GUESS_DELAY).await;
        let message = format!("authentication failed for user \"{name_shown}\"");
        self.refuse(&message, "username and/or password does not match")
            .await;
        None
    }

    async fn requests(&mut self, user: &str) -> Option<()> {
        loop {
            let message = timeout(IDLE_TIMEOUT, self.next()).await.ok()??;
            let mut out = Vec::new();
            let frame = Frame {
                tag: message.tag,
                body: &message.body,
            };
            match Request::read(&frame) {
                Ok(Request::Disconnect) => return None,
                Ok(request) => self.carry_out(request, user, &mut out).await,
                Err(why) => put_error(&mut out, "ERROR", "could not process the request", why),
            }
            self.send(&out).await?;
        }
    }

    async fn carry_out(&self, request: Request, user: &str, out: &mut Vec<u8>) {
        let snapshot = self.house.now();
        let topology = &snapshot.topology;
        let node = |number: i64| {
            usize::try_from(number)
                .ok()
                .and_then(|n| topology.nodes.get(n))
        };
        match request {
            Request::NodeCount => {
                let count = topology.nodes.len().to_string();
                put_strings(out, b'l', [COMPLETE, &count]);
            }
            Request::NodeInfo(None) => rows::put_nodes(out, topology, &topology.nodes),
            Request::NodeInfo(Some(number)) => match node(number) {
                Some(node) => rows::put_nodes(out, topology, std::slice::from_ref(node)),
                None => {
                    let detail = format!("invalid node ID : {number}");
                    put_error(out, "ERROR", "informing node info failed", &detail);
                }
            },
            Request::HealthCheckStats(number) => match node(number) {
                Some(node) => rows::put_health(out, node, &self.house.facts),
                None => {
                    let what = "informing health check stats info failed";
                    put_error(out, "ERROR", what, &format!("invalid node ID {number}"));
                }
            },
            Request::ProcessCount => {
                let pid = std::process::id().to_string();
                put_strings(out, b'n', [COMPLETE, "1", &pid]);
            }
            Request::ProcessInfo(process) => self.processes(process, out),
            Request::Watchdog => {
                let what = "PCP: informing watchdog info failed";
                put_error(out, "ERROR", what, "watchdog is not enabled");
            }
            order => self.order(order, user, out).await,
        }
    }

    /// The proxy's own process stands for all of its sessions.
    fn processes(&self, process: Option<i64>, out: &mut Vec<u8>) {
        let mut sessions = self.house.facts.sessions();
        let own = std::process::id();
        if let Some(process) = process.filter(|process| *process != i64::from(own)) {
            let text = process.to_string();
            sessions.retain(|row| row.first() == Some(&text));
            if sessions.is_empty() {
                let detail = format!("invalid process ID : {process}");
                return put_error(out, "ERROR", "informing process info failed", &detail);
            }
        }
        if sessions.is_empty() {
            sessions.push(rows::idle(own, self.common.started));
        }
        rows::put_processes(out, sessions);
    }

    async fn order(&self, request: Request, user: &str, out: &mut Vec<u8>) {
        info!(?request, user, peer = %self.peer, "an operator orders");
        let by = format!("PCP user {user}");
        let (verb, done, outcome) = match request {
            Request::Attach(n) => ("attach", b'c', self.about(n, NodeOrder::Attach, &by).await),
            Request::Detach(n) => ("detach", b'd', self.about(n, NodeOrder::Detach, &by).await),
            Request::Promote(n) if self.is_primary(n) => {
                let detail =
                    format!("specified node is already primary node, can't promote node id {n}");
                return put_error(out, "FATAL", "invalid promote request", &detail);
            }
            Request::Promote(n) => (
                "promote",
                b'd',
                self.about(n, NodeOrder::Promote, &by).await,
            ),
            Request::Switchover(n) => {
                let outcome = self.about(n, NodeOrder::Switchover, &by).await;
                ("promote", b'd', outcome)
            }
            Request::Reload => {
                let outcome = self.house.process_order(ProcessOrder::Reload, &by).await;
                ("reload", b'z', outcome)
            }
            Request::Stop { now } => {
                let order = if now {
                    ProcessOrder::StopNow
                } else {
                    ProcessOrder::Stop
                };
                ("shutdown", b't', self.house.process_order(order, &by).await)
            }
            _ => return,
        };
        match outcome {
            Outcome::Done(_) => put_strings(out, done, [COMPLETE]),
            Outcome::Refused(why) | Outcome::Unknown(why) => {
                let what = format!("could not process {verb} request");
                put_error(out, "ERROR", &what, &why);
            }
        }
    }

    fn is_primary(&self, number: i64) -> bool {
        let snapshot = self.house.now();
        let primary = snapshot.topology.primary();
        primary.is_some_and(|node| i64::from(node.id.0) == number)
    }

    async fn about(&self, number: i64, order: fn(NodeId) -> NodeOrder, by: &str) -> Outcome {
        let nodes = self.house.now().topology.nodes.len();
        let known = u16::try_from(number).ok();
        match known.filter(|known| usize::from(*known) < nodes) {
            Some(known) => self.house.node_order(order(NodeId(known)), by).await,
            None => Outcome::Refused(format!("node id {number} is not valid")),
        }
    }
}

/// From connecting to being logged in, the delay of a wrong password included.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Between requests; the tools make one each.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a wrong password takes to be answered.
const GUESS_DELAY: Duration = Duration::from_secs(1);
