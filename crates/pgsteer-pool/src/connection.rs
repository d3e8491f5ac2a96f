//! One logged-in connection to a server.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_core::servers::{EnteredServer, ServerCard, ServerState};
use pgsteer_wire::backend::{self, TransactionStatus, tag};
use pgsteer_wire::{HEADER_LEN, encode, frame};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::gates::Handle;
use crate::quotas::Quota;
use crate::{Channel, Told};

/// What a cancel request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// Process id of the backend.
    pub pid: u32,
    /// Its secret.
    pub key: Arc<[u8]>,
}

/// The server went away, or broke the protocol, which comes to the same.
#[derive(Debug, Error)]
pub enum ServerLost {
    /// The socket failed.
    #[error("connection to the server failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("server closed the connection unexpectedly")]
    Closed,
    /// No answer to one of the proxy's own statements came in time.
    #[error("server did not answer in time")]
    Silent,
    /// Something that is no message, or no message that may come here.
    #[error("server sent an invalid message")]
    Protocol,
}

/// A connection that finished its login. Its transaction status is what the last ReadyForQuery
/// said.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub channel: Channel,
    /// The node it goes to.
    pub node: NodeId,
    /// For cancel requests.
    pub key: ServerKey,
    /// What the server reported at login, or since, in answer to [`Connection::run`].
    pub parameters: Rc<Vec<(String, String)>>,
    /// As the last ReadyForQuery said.
    pub status: TransactionStatus,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// Sessions that have had it, the present one among them.
    pub uses: u64,
    /// Notifications that came while [`Connection::run`] read answers: whole messages.
    pub asides: Vec<u8>,
    /// What those who had it told it.
    pub told: Told,
    /// What it can be closed with from outside, and its place among those that are counted.
    pub(crate) handle: Option<Handle>,
    /// What others see of it.
    pub(crate) entered: Option<EnteredServer>,
    /// Number of the last order about traffic when it was opened.
    pub(crate) opened_after: u64,
    /// Its place in the quotas.
    pub(crate) quota: Option<Quota>,
    /// When it is too old to be used again.
    pub(crate) old_at: Option<Instant>,
}

/// Columns as text; none for NULL.
pub type Row = Vec<Option<String>>;

/// How long the proxy's own statements (SET, BEGIN, ROLLBACK, the reset query) may take.
const RUN_MAX: Duration = Duration::from_secs(30);

/// Longest message that [`Connection::run`] reads whole, in bytes; ours.
const MESSAGE_LEN_MAX: usize = 1 << 20;

impl Connection {
    /// What others see of it.
    #[must_use]
    pub fn card(&self) -> Option<&ServerCard> {
        self.entered.as_ref().map(|entered| &*entered.card)
    }

    /// Whether it is too old to be used again.
    pub(crate) fn is_old(&self) -> bool {
        self.old_at.is_some_and(|at| Instant::now() >= at)
    }

    /// It does this from now on.
    pub(crate) fn note(&self, state: ServerState) {
        if let Some(card) = self.card() {
            card.set(state);
        }
    }

    /// Runs a simple query and gives the columns of its last row; none after an error.
    ///
    /// # Errors
    /// The connection is lost; it must not be used again.
    ///
    /// # Cancel safety
    /// As [`Connection::run`].
    pub async fn ask(&mut self, query: &str) -> Result<Option<Row>, ServerLost> {
        encode::query(&mut self.channel.output, query);
        let answer = async {
            self.channel.flush().await?;
            let mut row = Row::new();
            let error = self.read_until_ready(&mut row).await?;
            Ok(error.is_none().then_some(row))
        };
        let answered = timeout(RUN_MAX, answer).await;
        answered.map_err(|_| ServerLost::Silent)?
    }

    /// Sends a message of the extended protocol and Sync, and throws the answers away. Gives the body
    /// of the ErrorResponse, if there was one.
    ///
    /// # Errors
    /// The connection is lost; it must not be used again.
    ///
    /// # Cancel safety
    /// As [`Connection::run`].
    pub async fn run_message(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, ServerLost> {
        self.channel.output.extend_from_slice(message);
        encode::frame(
            &mut self.channel.output,
            pgsteer_wire::frontend::tag::SYNC,
            b"",
        );
        let answers = async {
            self.channel.flush().await?;
            self.read_until_ready(&mut Row::new()).await
        };
        let answered = timeout(RUN_MAX, answers).await;
        answered.map_err(|_| ServerLost::Silent)?
    }

    /// Runs simple queries, one message each, in one round trip, and throws their answers away.
    /// Gives the body of the first ErrorResponse, if there was one.
    ///
    /// # Errors
    /// The connection is lost; it must not be used again.
    ///
    /// # Cancel safety
    /// Not cancel safe: a connection whose `run` was dropped must not be used again.
    pub async fn run(&mut self, queries: &[&str]) -> Result<Option<Vec<u8>>, ServerLost> {
        for query in queries {
            encode::query(&mut self.channel.output, query);
        }
        let answers = async {
            self.channel.flush().await?;
            let mut error = None;
            for _ in queries {
                let failed = self.read_until_ready(&mut Row::new()).await?;
                error = error.or(failed);
            }
            Ok(error)
        };
        timeout(RUN_MAX, answers)
            .await
            .map_err(|_| ServerLost::Silent)?
    }

    async fn read_until_ready(&mut self, row: &mut Row) -> Result<Option<Vec<u8>>, ServerLost> {
        let mut error = None;
        loop {
            let bytes = self.channel.input.bytes();
            let header = frame::header(bytes).map_err(|_| ServerLost::Protocol)?;
            let Some(header) = header.filter(|h| bytes.len() >= h.frame_len()) else {
                if header.is_some_and(|h| h.body_len > MESSAGE_LEN_MAX) {
                    return Err(ServerLost::Protocol);
                }
                if self.channel.fill().await? == 0 {
                    return Err(ServerLost::Closed);
                }
                continue;
            };
            let body = bytes
                .get(HEADER_LEN..header.frame_len())
                .unwrap_or_default();
            match header.tag {
                tag::NOTIFICATION => {
                    let message = bytes.get(..header.frame_len()).unwrap_or_default();
                    self.asides.extend_from_slice(message);
                }
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = backend::parameter_status(body) {
                        note(Rc::make_mut(&mut self.parameters), name, value);
                    }
                }
                tag::DATA_ROW => *row = backend::data_row(body).ok_or(ServerLost::Protocol)?,
                tag::ERROR if error.is_none() => error = Some(body.to_vec()),
                tag::READY => {
                    self.status = TransactionStatus::from_body(body).ok_or(ServerLost::Protocol)?;
                    self.channel.input.consume(header.frame_len());
                    return Ok(error);
                }
                // Nobody is there who could send data.
                tag::COPY_IN | tag::COPY_BOTH => return Err(ServerLost::Protocol),
                _ => {}
            }
            self.channel.input.consume(header.frame_len());
        }
    }
}

/// A parameter has this value now.
fn note(parameters: &mut Vec<(String, String)>, name: &str, value: &str) {
    match parameters.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => parameters.push((name.to_owned(), value.to_owned())),
    }
}
