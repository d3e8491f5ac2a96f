//! One client from its login to its end: the outer loop, and what both protocols share.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::{Ready, poll_fn, ready};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;
use pgsteer_core::settings::PoolMode;
use pgsteer_core::{Generation, NodeId};
use pgsteer_pool::{Channel, ServerLost};
use pgsteer_sql::{Analysis, Class, Effect};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::{self, tag};
use pgsteer_wire::malformed::{check_len, is_known};
use pgsteer_wire::{ErrorReply, HEADER_LEN, Header, Severity, SqlState, encode, frame};
use tokio::time::{Instant, timeout_at};

use crate::batch::Unfinished;
use crate::cancel::{Registered, cancel_abandoned};
use crate::console::{Extended, Options};
use crate::end::{End, server_lost, unknown_message, with_severity};
use crate::ending::Why;
use crate::flow::Flow;
use crate::hold::{Attempts, Denied, no_node};
use crate::journal::Settings;
use crate::leg::Leg;
use crate::listen::Listening;
use crate::meter::Meter;
use crate::portals::Portals;
use crate::relay::{Forward, Relay, RelayError, Stop, Until};
use crate::sql_prepared::SqlPrepared;
use crate::statements::{Context, ParseParameters};
use crate::steering::{Placement, Situation, Statement, Steering, Unplaced, Values};
use crate::transaction::Transaction;
use crate::worker::Control;

/// A statement a client prepared.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// Number of the Parse, unique in the worker.
    pub(crate) id: u64,
    /// What the client calls it.
    pub(crate) client_name: Box<[u8]>,
    /// Its name on servers.
    pub(crate) name: Rc<[u8]>,
    /// The Parse message under that name, to be repeated on other servers.
    pub(crate) frame: Rc<[u8]>,
    /// Where its text stands in that.
    pub(crate) text_at: Range<usize>,
    /// For how many values it asks.
    pub(crate) parameter_count: u16,
    /// What it was parsed under.
    pub(crate) context: Context,
    /// Other sessions may use it under the same name.
    pub(crate) is_shared: bool,
    pub(crate) analysis: Rc<Analysis>,
    /// A plugin put the text in the place of the client's, and its parameters are others: for each
    /// the client's, from 1.
    pub(crate) map: Option<Rc<[u16]>>,
    /// The plugins that had their say about it.
    pub(crate) chain: Cell<Generation>,
    /// It may run as [`frontend::Run`]: it changes nothing of the session, and its values are passed on as
    /// they come.
    pub(crate) runs: bool,
    /// Stands for the description of its rows that the client was given, if it was.
    pub(crate) described: Cell<Option<u64>>,
}

impl Prepared {
    /// The statement.
    pub(crate) fn text(&self) -> &[u8] {
        self.frame.get(self.text_at.clone()).unwrap_or_default()
    }

    /// The number of parameter types that were given, and the types, as they stand in the message.
    pub(crate) fn types(&self) -> &[u8] {
        let body = self.frame.get(HEADER_LEN..).unwrap_or_default();
        frontend::parse(body).map_or(&[0, 0], |parse| parse.types)
    }

    /// Checks the numbers of formats and values of a Bind, as far as they are known.
    ///
    /// # Errors
    /// They do not fit: PostgreSQL's words for it.
    pub(crate) fn check_count(
        &self,
        name: &[u8],
        counts: Option<(u16, u16)>,
    ) -> Result<(), ErrorReply> {
        let Some((formats, values)) = counts else {
            return Ok(());
        };
        if counts_in_doubt(&self.analysis) || self.map.is_some() {
            return Ok(());
        }
        let requires = self.parameter_count;
        let text = if formats > 1 && formats != values {
            format!("bind message has {formats} parameter formats but {values} parameters")
        } else if values != requires {
            let name = String::from_utf8_lossy(name);
            format!(
                "bind message supplies {values} parameters, but prepared statement \"{name}\" \
                 requires {requires}"
            )
        } else {
            return Ok(());
        };
        Err(ErrorReply::error(SqlState::PROTOCOL_VIOLATION, text))
    }
}

/// Of some statements not all that looks like a parameter is one, for instance in PREPARE.
pub(crate) fn counts_in_doubt(analysis: &Analysis) -> bool {
    matches!(
        analysis.class,
        Class::Unknown
            | Class::Prepare
            | Class::SchemaChange
            | Class::Copy
            | Class::Cursor
            | Class::Explain
    )
}

/// The future of something that few statements need. It is made when it is needed: a session that
/// waits for its client would keep a place for it else.
pub(crate) type Rare<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The future of something that nearly always is there at once.
pub(crate) type Soon<'a, T> = Either<Ready<T>, Rare<'a, T>>;

/// It is.
pub(crate) fn at_once<'a, T>(value: T) -> Soon<'a, T> {
    Either::Left(ready(value))
}

/// It must be waited for.
pub(crate) fn later<'a, T>(work: impl Future<Output = T> + 'a) -> Soon<'a, T> {
    Either::Right(Box::pin(work))
}

/// Makes room for one in what nearly always holds one at most: a vector would begin with room for four,
/// and sessions that wait for their clients are many.
pub(crate) fn reserve_first<T>(few: &mut Vec<T>) {
    if few.capacity() == 0 {
        few.reserve_exact(1);
    }
}

pub(crate) type ByName<T> = HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// What became of a statement that was to be placed.
pub(crate) enum Placed {
    There(Placement),
    /// There is no node now, and it may wait for one.
    Nowhere,
    /// A moment later more is known.
    Later,
}

/// A client that is logged in.
pub(crate) struct Session {
    pub(crate) client: Channel,
    pub(crate) steering: Steering,
    pub(crate) legs: Vec<Leg>,
    pub(crate) flow: Flow,
    pub(crate) transaction: Transaction,
    pub(crate) settings: Settings,
    /// Parameters of the startup packet, with the statements that set them.
    pub(crate) startup: Vec<(Box<str>, Box<str>)>,
    pub(crate) prepared: ByName<Rc<Prepared>>,
    pub(crate) prepared_bytes: usize,
    pub(crate) sql_prepared: SqlPrepared,
    pub(crate) portals: Portals,
    /// What its texts are parsed under.
    pub(crate) parse_parameters: ParseParameters,
    /// The beginning of the statement that was placed last, if it may pin the session.
    pub(crate) last_text: String,
    /// A server refused to be given the parameters of the session.
    pub(crate) is_refused: bool,
    /// It asks for the values sequences gave it, so it stays where it wrote.
    pub(crate) follows_sequences: bool,
    /// Parameters that a function has just set; what to, its server is asked.
    pub(crate) learns: Vec<String>,
    /// How long it keeps a server.
    pub(crate) mode: PoolMode,
    pub(crate) cancel: Registered,
    /// What it hears through the proxy.
    pub(crate) listening: Option<Box<Listening>>,
    pub(crate) control: Rc<Control>,
    /// Something was sent to a server and its ReadyForQuery has not come: if the session ends
    /// now, nobody may use its servers any more.
    pub(crate) busy: bool,
    /// What it adds to the counters of its database and user.
    pub(crate) meter: Meter,
    /// What it prepared, if it is one of the console.
    pub(crate) console: Option<Box<Extended>>,
    /// What PGPOOL SET set.
    pub(crate) options: Options,
    /// It set `pgsteer.notice_route` at some time.
    pub(crate) knows_notice_route: bool,
    /// When a client that stays idle is disconnected.
    pub(crate) idle_deadline: Option<Instant>,
    /// The transaction ended on one leg, and this ends it on the others.
    pub(crate) ended_with: Option<&'static str>,
    /// What came before the next simple query in one transaction with it.
    pub(crate) unfinished: Option<Box<Unfinished>>,
    /// Statements that set what a plugin wants set at the beginning of each transaction.
    pub(crate) enforced: Option<Rc<str>>,
}

impl Session {
    /// Serves the client to the end. Boxed, because a future keeps a place for what it was given
    /// besides the one it works with.
    pub(crate) async fn run(mut self: Box<Self>) {
        let ended = self.served().await;
        // Its place would be kept all the time.
        Box::pin(self.leave(ended)).await;
    }

    /// Serves the client until it ends by itself, or somebody ends it.
    async fn served(&mut self) -> Result<End, Why> {
        let control = Rc::clone(&self.control);
        let mut steps = pin!(self.steps());
        // Cancel safe as far as it matters: what a session was at when it is ended is not used again.
        poll_fn(|cx| match control.poll_ended(cx) {
            Poll::Ready(why) => Poll::Ready(Err(why)),
            Poll::Pending => steps.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    /// Says the last words, and lets go of everything.
    async fn leave(mut self: Box<Self>, ended: Result<End, Why>) {
        let end = match ended {
            Ok(end) => end,
            Err(why) => self.end_because(why).await,
        };
        self.cancel.slot.stop();
        match end {
            End::Fatal(reply) => encode::error(&mut self.client.output, &reply),
            End::Message(message) => self.client.output.extend_from_slice(&message),
            End::Terminated | End::ClientGone | End::Broken => {}
        }
        // A client that does not read its last words is not waited for.
        let _ = timeout_at(Instant::now() + LAST_WORDS, self.client.close()).await;
        for leg in std::mem::take(&mut self.legs) {
            if leg.busy || self.busy {
                self.stop(leg);
            } else {
                self.let_go(leg);
            }
        }
    }

    /// Nobody waits for what runs there: it is cancelled, and the connection closed.
    fn stop(&self, leg: Leg) {
        let node = leg.node;
        let mut servers = self.cancel.slot.servers().into_iter();
        let target = servers.find(|server| server.node == node);
        self.cancel.slot.remove(node);
        let tls = self.steering.snapshot.settings.pool.tls.clone();
        if let Some(target) = target {
            // Tracked by nothing: it has a deadline, and holds only its connection.
            tokio::task::spawn_local(async move {
                cancel_abandoned(&target, &tls).await;
                drop(leg);
            });
        }
    }

    /// Serves the client until it ends by itself.
    async fn steps(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    /// Whether what it holds goes to others between its transactions.
    pub(crate) fn shares(&self) -> bool {
        self.mode != PoolMode::Session
    }

    /// Gives its servers back when it is outside a transaction, but those it is pinned to.
    fn park_legs(&mut self) {
        let rests = !self.busy && self.transaction.is_none();
        if self.shares() && rests {
            let mut at = 0;
            while let Some(leg) = self.legs.get(at) {
                if leg.may_be_parked() {
                    let leg = self.legs.remove(at);
                    self.let_go(leg);
                } else {
                    at += 1;
                }
            }
        }
    }

    /// Waits for something to do and does it.
    async fn step(&mut self) -> Result<(), End> {
        if self.control.leave.get() {
            self.leave_nodes();
        }
        let header = self.client_frame()?;
        if !self.legs.is_empty() {
            self.park_legs();
        }
        if self.mode == PoolMode::Statement && !self.transaction.is_none() {
            // Begun by something that nobody could know beforehand.
            return Err(End::Fatal(no_transactions(Severity::Fatal)));
        }
        self.tell_notifications()?;
        let Some(header) = header else {
            self.flush_idle().await?;
            return self.wait().await;
        };
        let is_query = header.tag != tag::TERMINATE;
        if is_query {
            self.suspended().await?;
            self.begin_query();
        }
        let mut served = self.serve(header).await;
        // A batch leaves it behind for what comes next.
        let behind = matches!(header.tag, tag::QUERY | tag::FUNCTION_CALL);
        if behind
            && served.is_ok()
            && let Some(unfinished) = self.unfinished.take()
        {
            served = self.finish(*unfinished).await;
        }
        if is_query {
            self.end_query();
        }
        served
    }

    /// Serves what begins with this frame.
    async fn serve(&mut self, header: Header) -> Result<(), End> {
        if self.steering.identity.access.is_some() {
            if header.tag == tag::TERMINATE {
                return Err(End::Terminated);
            }
            return self.serve_console(header).await;
        }
        match header.tag {
            tag::QUERY => self.simple_query(header).await,
            tag::PARSE
            | tag::BIND
            | tag::DESCRIBE
            | tag::EXECUTE
            | tag::CLOSE
            | tag::FLUSH
            | tag::SYNC => self.extended().await,
            tag::FUNCTION_CALL => self.function_call(header).await,
            tag::TERMINATE => Err(End::Terminated),
            // Copied data that was on its way when the copy had failed already.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => self.skip(header).await,
            other => Err(unknown_message(other)),
        }
    }

    /// The header of the client's next frame, if it is there.
    pub(crate) fn client_frame(&self) -> Result<Option<Header>, End> {
        let bytes = self.client.input.bytes();
        let header = frame::header(bytes).map_err(|error| match bytes.first() {
            Some(tag) if !is_known(*tag) => unknown_message(*tag),
            _ => End::from(error),
        })?;
        header.map_or(Ok(()), check_len)?;
        Ok(header)
    }

    /// Reads until a frame is there whole, or `len_max` bytes of it.
    pub(crate) async fn complete(&mut self, header: Header, len_max: usize) -> Result<(), End> {
        while self.client.input.len() < header.frame_len().min(len_max) {
            if self.fill().await? == 0 {
                return Err(End::ClientGone);
            }
        }
        Ok(())
    }

    /// Throws a frame away, however long it is.
    pub(crate) async fn skip(&mut self, header: Header) -> Result<(), End> {
        self.skip_bytes(header.frame_len()).await
    }

    /// Throws so many bytes of the client away.
    pub(crate) async fn skip_bytes(&mut self, mut left: usize) -> Result<(), End> {
        loop {
            let len = left.min(self.client.input.len());
            self.client.input.consume(len);
            left -= len;
            if left == 0 {
                return Ok(());
            }
            if self.fill().await? == 0 {
                return Err(End::ClientGone);
            }
        }
    }

    /// Reads something from the client; meanwhile legs at rest leave nodes that leave service.
    pub(crate) async fn fill(&mut self) -> std::io::Result<usize> {
        poll_fn(|cx| {
            if self.control.leave.get() {
                self.leave_nodes();
            }
            self.control.wake_by(cx);
            self.client.poll_fill(cx)
        })
        .await
    }

    /// Gives a leg back, or closes it if it must not be used again.
    pub(crate) fn let_go(&self, leg: Leg) {
        let parks = self.shares() && leg.may_be_parked();
        let hand_over = move |leg: Leg| if parks { leg.park() } else { leg.release() };
        let landing = self.cancel.slot.remove(leg.node);
        if landing.is_over() {
            return hand_over(leg);
        }
        // Tracked by nothing: a cancel request has a deadline, and this holds only the leg.
        tokio::task::spawn_local(async move {
            if landing.over().await {
                hand_over(leg);
            }
        });
    }

    /// Moves bytes between the client and a leg.
    pub(crate) async fn relay(&mut self, node: NodeId, until: Until) -> Result<Stop, RelayError> {
        let mut forward = Forward::default();
        let mut leaves = false;
        self.cancel.slot.start(node);
        let began = self.traced_now();
        let ran = loop {
            let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
                break Err(RelayError::ServerLost(ServerLost::Closed));
            };
            let relay = Relay {
                client: &mut self.client,
                server: leg.connection(),
                flow: &mut self.flow,
                writes: &self.steering.writes,
                node,
                control: &self.control,
                notifiers: &self.steering.worker.shared.notifiers,
                own_pid: self.cancel.pid,
            };
            let ran = relay.run(until, &mut forward).await;
            if !matches!(ran, Ok(Stop::Leave)) {
                break ran;
            }
            self.leave_nodes();
            self.control.leave.set(false);
            leaves = true;
        };
        if leaves {
            // What is in use now is left later.
            self.control.leave.set(true);
        }
        self.cancel.slot.stop();
        self.trace_node(node, began);
        self.count_errors(node, ran.as_ref().err());
        match ran {
            Err(RelayError::ServerLost(ServerLost::Io(_))) if forward.is_answered() => {
                self.end_answered().await
            }
            ran => ran,
        }
    }

    /// A server was lost that had answered everything. What it would have been sent, the rest of a
    /// frame, is thrown away.
    fn end_answered<'a>(&'a mut self) -> Rare<'a, Result<Stop, RelayError>> {
        Box::pin(async move {
            let left = std::mem::take(&mut self.flow.up_left);
            self.flow.owes_flush = false;
            let skipped = self.skip_bytes(left).await;
            skipped.map_err(|_| RelayError::ClientGone)?;
            Ok(Stop::ReadyAndGone)
        })
    }

    /// The leg on a node, if it is held.
    pub(crate) fn held(&mut self, node: NodeId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.node == node)
    }

    /// The end that follows from an exchange that could not go on.
    pub(crate) fn end_of(&mut self, error: RelayError) -> End {
        if self.flow.is_inside_frame() || self.flow.fatal {
            return End::Broken;
        }
        match error {
            RelayError::ClientGone => End::ClientGone,
            RelayError::ServerLost(_) => End::Fatal(ErrorReply {
                severity: Severity::Fatal,
                ..server_lost()
            }),
            RelayError::ServerLeaving(message) => End::Message(message),
            RelayError::Refused(message) => {
                let body = message.get(HEADER_LEN..).unwrap_or_default();
                End::Message(with_severity(body, Severity::Fatal))
            }
            RelayError::ClientProtocol => {
                let text = "invalid message during COPY";
                End::Fatal(ErrorReply::fatal(SqlState::PROTOCOL_VIOLATION, text))
            }
        }
    }

    /// Places a statement that is worth a wait: until something is known, or a replica has caught up.
    pub(crate) async fn place_later(
        &mut self,
        analysis: &Analysis,
        text: Option<&[u8]>,
        values: Values<'_>,
        attempts: &Attempts,
    ) -> Result<Placed, Denied> {
        let start = Instant::now();
        loop {
            tokio::time::sleep(LATE_LOOK).await;
            match self.place(analysis, text, values, attempts, start.elapsed())? {
                Placed::Later => {}
                placed => return Ok(placed),
            }
        }
    }

    /// Places a statement that has waited so long.
    pub(crate) fn place(
        &mut self,
        analysis: &Analysis,
        text: Option<&[u8]>,
        values: Values<'_>,
        attempts: &Attempts,
        waited: Duration,
    ) -> Result<Placed, Denied> {
        if self.transaction.is_refused() {
            return Err(Denied::Reply(self.tell_loss()));
        }
        if self.is_refused {
            self.give_up_parameters(analysis);
        }
        if let Some(name) = self.prepared_twice(analysis).filter(|_| text.is_none()) {
            return Err(Denied::Reply(already_prepared(name)));
        }
        if self.mode == PoolMode::Statement && begins_unseen(analysis) {
            return Err(Denied::Reply(no_transactions(Severity::Error)));
        }
        if self.enforced.is_some() && begins_unseen(analysis) {
            return Err(Denied::Reply(begins_unnoticed()));
        }
        let executed = self.executed(analysis);
        let extended = text.is_some();
        let text = text.unwrap_or_else(|| query_text(self.client.input.bytes()));
        let statement = Statement {
            analysis,
            executed: executed.as_deref(),
            text,
            extended,
            values,
        };
        let now = Situation {
            settings: &self.settings,
            transaction: &self.transaction,
            legs: &self.legs,
            avoid: &attempts.avoid,
            tied: attempts.tied,
        };
        let placement = match self.steering.place(&statement, now) {
            Ok(placement) => placement,
            Err(Unplaced::Late(placement, wait_ms)) => {
                if waited < Duration::from_millis(u64::from(wait_ms)) {
                    return Ok(Placed::Later);
                }
                *placement
            }
            Err(Unplaced::Refused(reply)) => {
                self.note_refusal(analysis, &reply, extended);
                return Err(Denied::Reply(reply));
            }
            Err(Unplaced::NoNode) if now.is_unseen() => return Ok(Placed::Nowhere),
            Err(Unplaced::NoNode) => return Err(Denied::Reply(no_node())),
        };
        if waited < CATALOG_WAIT && self.pins_for_want_of_a_catalog(&placement) {
            return Ok(Placed::Later);
        }
        let open = self.transaction.open_mut();
        self.steering.note_writes(&statement, &placement, open);
        Ok(Placed::There(placement))
    }

    /// Whether the session would keep its server only because it is not known yet what a function does.
    fn pins_for_want_of_a_catalog(&self, placement: &Placement) -> bool {
        let mut legs = self.legs.iter();
        self.shares()
            && placement.meaning.may_leave_something
            && self.steering.names.is_awaited()
            && !legs.any(|leg| leg.node == placement.node && leg.pinned.is_some())
    }

    /// The name that PREPARE gives a second time: servers would not notice, because they know what was
    /// prepared by the protocol under other names.
    pub(crate) fn prepared_twice<'a>(&self, analysis: &'a Analysis) -> Option<&'a str> {
        let mut names = analysis.effects.iter().filter_map(|effect| match effect {
            Effect::Prepare { name, .. } => Some(&**name),
            _ => None,
        });
        let known = |name: &&str| self.prepared.contains_key(name.as_bytes());
        names.find(known).filter(|_| self.shares())
    }

    /// The statement that EXECUTE runs, also inside others, if it is one the session prepared.
    pub(crate) fn executed(&self, analysis: &Analysis) -> Option<Rc<Analysis>> {
        let name = analysis.executes.as_ref()?;
        let by_protocol = || self.prepared.get(name.as_bytes()).map(|p| &p.analysis);
        let found = self.sql_prepared.get(name).or_else(by_protocol);
        found.map(Rc::clone)
    }

    /// Closes a leg whose connection must not be used again.
    pub(crate) fn drop_leg(&mut self, node: NodeId) {
        self.legs.retain(|leg| leg.node != node);
        self.cancel.slot.remove(node);
    }

    /// Transaction status as the client is to see it.
    pub(crate) fn status(&self) -> TransactionStatus {
        if self.transaction.is_refused() || self.legs.iter().any(Leg::has_failed) {
            TransactionStatus::Failed
        } else if self.transaction.is_none() {
            TransactionStatus::Idle
        } else {
            TransactionStatus::InTransaction
        }
    }
}

/// Time a client gets to read its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a read that waits for a replica to catch up looks again.
const LATE_LOOK: Duration = Duration::from_millis(1);

/// How long the first call of a function waits for the catalog of its database.
const CATALOG_WAIT: Duration = Duration::from_millis(500);

/// Text of a simple query at the front of a client's input, as far as it is there.
pub(crate) fn query_text(input: &[u8]) -> &[u8] {
    let body = input.get(HEADER_LEN..).unwrap_or_default();
    frame::cstr(body).map_or(body, |(text, _)| text)
}

/// PostgreSQL's words for it.
pub(crate) fn transaction_failed() -> ErrorReply {
    let text = "current transaction is aborted, commands ignored until end of transaction block";
    ErrorReply::error(SqlState::IN_FAILED_SQL_TRANSACTION, text)
}

/// Whether a transaction begins in it behind the back of what every transaction must begin with.
fn begins_unseen(analysis: &Analysis) -> bool {
    let several = analysis.statement_count > 1;
    analysis.effects.iter().any(|effect| match effect {
        Effect::Commit { chain } | Effect::Rollback { chain } => *chain || several,
        Effect::Begin { .. } => several,
        _ => false,
    })
}

/// PostgreSQL's words for it.
pub(crate) fn already_prepared(name: &str) -> ErrorReply {
    let text = format!("prepared statement \"{name}\" already exists");
    ErrorReply::error(SqlState::DUPLICATE_PREPARED_STATEMENT, text)
}

/// PgBouncer's words for it.
pub(crate) fn no_transactions(severity: Severity) -> ErrorReply {
    let text = "transaction blocks not allowed in statement pooling mode";
    let reply = ErrorReply::error(SqlState::FEATURE_NOT_SUPPORTED, text);
    let reply = reply.with_hint("Use pool.mode = \"transaction\", or a rule in [[pools]].");
    ErrorReply { severity, ..reply }
}

fn begins_unnoticed() -> ErrorReply {
    let text = "a transaction of this session cannot begin inside another statement";
    ErrorReply::error(SqlState::FEATURE_NOT_SUPPORTED, text).with_hint(
        "A plugin sets parameters at the beginning of each: send BEGIN, COMMIT and ROLLBACK by \
         themselves, without AND CHAIN.",
    )
}
