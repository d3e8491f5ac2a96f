//! A session's hold on one node: the lease, and what that server was told already.

use std::rc::Rc;
use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_pool::{Connection, Lease, Parameters, ServerLost, Told, Writer};
use pgsteer_sql::{OwnState, PinReason};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::encode;
use tokio::time::timeout;

use crate::catch_up::{self, Forget, ParameterSets};
use crate::flow::{Flow, Request};
use crate::journal::{Settings, push_statement};
use crate::session::Prepared;
use crate::sql_prepared::SqlPrepared;
use crate::transaction::{Open, Transaction};

/// Bytes of the texts of shared statements that one server has; ours. What it makes of them takes
/// some hundred times as much memory there.
const SHARED_BYTES_MAX: usize = 256 << 10;

/// How long a server may take to end a transaction in which nothing is to be kept, before the session
/// goes on without it.
const END_READ_MAX: Duration = Duration::from_secs(1);

/// A lease on one node.
pub(crate) struct Leg {
    /// The node.
    pub(crate) node: NodeId,
    lease: Lease,
    /// Number of the latest parameter it was told of; none: it may have others than the session.
    settings_seen: Option<u64>,
    journal_seen: u64,
    /// It took part in the session's transaction when it was last used.
    pub(crate) took_part: bool,
    /// The session has used it: what is left there it has left itself.
    is_own: bool,
    /// Parameters may be others than the books say; the session lives with it, others must not.
    pub(crate) doubted: bool,
    /// BEGIN was sent along with what runs there now.
    pub(crate) begins: bool,
    /// Something was sent there, and its ReadyForQuery has not come.
    pub(crate) busy: bool,
    /// State on this server that no other could take over.
    pub(crate) pinned: Option<PinReason>,
    /// What a plugin wants set in each transaction was set, and no transaction has ended since.
    assured: bool,
}

/// What a session is, as far as its servers must be told.
#[derive(Clone, Copy)]
pub(crate) struct Books<'a> {
    /// Number of the session.
    pub(crate) session: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) sets: &'a ParameterSets,
    pub(crate) transaction: &'a Transaction,
    pub(crate) prepared: &'a SqlPrepared,
    /// Statements that every transaction begins with, whatever was set before.
    pub(crate) enforced: Option<&'a str>,
}

/// A server refused to be brought up to date, with this ErrorResponse body, or is gone.
pub(crate) enum PrologueError {
    Refused(Vec<u8>),
    Lost(ServerLost),
}

impl Leg {
    pub(crate) fn new(node: NodeId, lease: Lease) -> Self {
        Self {
            node,
            lease,
            settings_seen: None,
            journal_seen: 0,
            took_part: false,
            is_own: false,
            doubted: false,
            begins: false,
            busy: false,
            pinned: None,
            assured: false,
        }
    }

    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.lease.connection()
    }

    /// The connection, to look at.
    pub(crate) fn peek(&self) -> &Connection {
        self.lease.peek()
    }

    /// What the server said meanwhile that was meant for the client, and its process id.
    pub(crate) fn take_asides(&mut self) -> (Vec<u8>, u32) {
        let connection = self.connection();
        let asides = std::mem::take(&mut connection.asides);
        (asides, connection.key.pid)
    }

    /// Transaction status of the server.
    pub(crate) fn status(&self) -> TransactionStatus {
        self.lease.peek().status
    }

    /// Whether the server is inside a transaction.
    pub(crate) fn in_transaction(&self) -> bool {
        self.status() != TransactionStatus::Idle
    }

    /// Whether its transaction has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.status() == TransactionStatus::Failed
    }

    /// Whether the server was told everything.
    pub(crate) fn is_up_to_date(&self, books: &Books<'_>) -> bool {
        let in_transaction = self.in_transaction();
        if books.enforced.is_some() && !self.assured && !in_transaction {
            return false;
        }
        match books.transaction {
            Transaction::Open(open) => in_transaction && open.journal.is_known(self.journal_seen),
            Transaction::None => {
                in_transaction || self.settings_seen == Some(books.settings.latest())
            }
        }
    }

    /// Whether it has all that the session prepared in SQL and still has, and nothing else.
    pub(crate) fn knows_prepared(&self, books: &Books<'_>) -> bool {
        let known = self.peek().told.sql;
        let latest = books.prepared.seen(books.session);
        known == latest || (books.prepared.is_empty() && known.is_none())
    }

    /// Tells the server which statements were prepared in SQL: behind the parameters, which say what
    /// their names mean, and before a transaction, which an error would spoil. One that cannot be
    /// prepared any more will be missed when it is executed.
    pub(crate) async fn prepare_in_sql(&mut self, books: &Books<'_>) -> Result<(), PrologueError> {
        let stays = self.knows_prepared(books) && self.forgets(books) != Some(Forget::Everything);
        if self.in_transaction() || stays {
            return Ok(());
        }
        let outside = Books {
            transaction: &Transaction::None,
            enforced: None,
            ..*books
        };
        self.bring_up_to_date(&outside, false).await?;
        let told = &mut self.lease.connection().told;
        let all = books.prepared.seen(books.session);
        let seen = told
            .sql
            .filter(|known| books.prepared.is_of(*known, books.session));
        let missing = books.prepared.missing(seen.map_or(0, |known| known.latest));
        told.sql = all;
        told.statements.remove(b"");
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        let ran = self.lease.connection().run(&missing).await;
        ran.map(|_| ()).map_err(PrologueError::Lost)
    }

    /// Tells the server what it does not know yet: parameters, BEGIN, savepoints. Costs a round
    /// trip only if there is something to tell. `replica`: the node is one.
    pub(crate) async fn bring_up_to_date(
        &mut self,
        books: &Books<'_>,
        replica: bool,
    ) -> Result<(), PrologueError> {
        let queries = self.prologue(books, replica).queries();
        if !queries.is_empty() {
            let texts: Vec<&str> = queries.iter().map(String::as_str).collect();
            match self.lease.connection().run(&texts).await {
                Ok(None) => {}
                Ok(Some(error)) => return Err(PrologueError::Refused(error)),
                Err(lost) => return Err(PrologueError::Lost(lost)),
            }
        }
        self.note_brought_up(books);
        Ok(())
    }

    /// The same without waiting: what the client's message needs is put in front of it. `false` if
    /// that is not safe, and nothing was put.
    pub(crate) fn put_up_to_date(
        &mut self,
        books: &Books<'_>,
        replica: bool,
        flow: &mut Flow,
    ) -> bool {
        let begins = books.transaction.open().filter(|_| !self.in_transaction());
        if begins.is_some_and(Open::may_not_begin) {
            // What comes behind it would run outside a transaction.
            return false;
        }
        if !self.in_transaction() && self.forgets(books) == Some(Forget::Everything) {
            // Nor does it keep anything from running if it fails.
            return false;
        }
        let prologue = self.prologue(books, replica);
        let connection = self.lease.connection();
        if prologue.begin.is_some() {
            connection.status = TransactionStatus::InTransaction;
            self.begins = true;
        }
        for query in prologue.queries() {
            encode::query(&mut connection.channel.output, &query);
            flow.expect_hidden(Request::Prologue);
        }
        self.note_brought_up(books);
        true
    }

    /// What the server is to be told.
    fn prologue(&mut self, books: &Books<'_>, replica: bool) -> Prologue {
        let began = self.in_transaction();
        let mut prologue = Prologue::default();
        if !began {
            (prologue.discards, prologue.state) = self.change(books);
            if let Some(enforced) = books.enforced.filter(|_| !self.assured) {
                push_statement(&mut prologue.state, enforced);
            }
        }
        if let Transaction::Open(open) = books.transaction {
            if !began {
                self.journal_seen = 0;
                prologue.begin = Some(open.begin_on(replica).to_owned());
            }
            let modes = !(replica && open.says_read_write());
            prologue.notes = open.journal.missing(self.journal_seen, modes);
        }
        if !prologue.is_empty() {
            // A simple query destroys the unnamed statement.
            self.lease.connection().told.statements.remove(b"");
        }
        prologue
    }

    /// What it is to forget before it is the session's; none if there is nothing to change.
    fn forgets(&self, books: &Books<'_>) -> Option<Forget> {
        if self.settings_seen == Some(books.settings.latest()) {
            return None;
        }
        let told = &self.peek().told;
        if self.is_own {
            // Whatever else is there the session itself has put there.
            let known = told.parameters.is_some();
            return Some(if known {
                Forget::Known
            } else {
                Forget::Parameters
            });
        }
        let others = |sql| !books.prepared.is_of(sql, books.session);
        let stained = told.stained_by.is_some_and(|by| by != books.session);
        let empty = told.statements.is_empty();
        if told.sql.is_some_and(others) || told.parameters.is_none() || (stained && empty) {
            Some(Forget::Everything)
        } else if stained {
            Some(Forget::Stains)
        } else {
            let to = books.settings.parameters(books.sets);
            (!told.has(&to)).then_some(Forget::Known)
        }
    }

    /// Statements that make its parameters the session's, and that end what others left; and whether
    /// everything is to be discarded first.
    fn change(&mut self, books: &Books<'_>) -> (bool, String) {
        let Some(forget) = self.forgets(books) else {
            return (false, String::new());
        };
        let to = books.settings.parameters(books.sets);
        let told = self.told();
        let from = told.parameters.take().unwrap_or_default();
        match forget {
            Forget::Everything => *told = Told::default(),
            Forget::Stains => (told.stained_by, told.wrote) = (None, Writer::Nobody),
            Forget::Known | Forget::Parameters => {}
        }
        told.parameters = Some(Rc::clone(&to));
        let discards = forget == Forget::Everything;
        (discards, catch_up::change(&from, &to, forget))
    }

    fn note_brought_up(&mut self, books: &Books<'_>) {
        self.assured |= books.enforced.is_some();
        self.is_own = true;
        self.note_up_to_date(books.settings, books.sets, books.transaction);
    }

    /// A transaction ended there: what it, or the client after it, did to parameters is not known.
    pub(crate) fn note_transaction_end(&mut self) {
        self.assured = false;
    }

    /// The server itself ran the statement that changed settings or journal.
    pub(crate) fn note_up_to_date(
        &mut self,
        settings: &Settings,
        sets: &ParameterSets,
        transaction: &Transaction,
    ) {
        self.took_part = self.in_transaction();
        if self.settings_seen != Some(settings.latest()) {
            self.settings_seen = Some(settings.latest());
            self.lease.connection().told.parameters = Some(settings.parameters(sets));
        }
        self.journal_seen = transaction.open().map_or(0, |open| open.journal.latest());
    }

    /// Its parameters are these, whatever they were: it was reset.
    pub(crate) fn note_parameters(&mut self, parameters: Option<Rc<Parameters>>) {
        self.settings_seen = None;
        self.lease.connection().told.parameters = parameters;
    }

    /// The session is about to look at what servers keep for it: if others have left something of the
    /// kind there, everything is discarded first.
    pub(crate) fn forget_others(&mut self, state: OwnState, session: u64) {
        let own_wrote = [Writer::Nobody, Writer::One(session)].contains(&self.peek().told.wrote);
        let told = &self.peek().told;
        let others = match state {
            OwnState::Sequences => !own_wrote,
            OwnState::Statements => !told.statements.is_empty(),
        };
        if others && !self.busy && !self.in_transaction() && self.pinned.is_none() {
            self.is_own = false;
            self.note_parameters(None);
        }
    }

    /// DISCARD ALL was run there.
    pub(crate) fn forget_all(&mut self) {
        self.settings_seen = None;
        (self.pinned, self.doubted) = (None, false);
        *self.told() = Told::default();
    }

    /// Whether the server knows the savepoint with this number.
    pub(crate) fn knows_savepoint(&self, number: u64) -> bool {
        self.in_transaction() && self.journal_seen >= number
    }

    /// Ends a transaction in which nothing is to be kept; `false` if the connection must not be used
    /// again.
    pub(crate) async fn ends_in_time(&mut self, sql: &str) -> bool {
        let texts = [sql];
        let ended = timeout(END_READ_MAX, self.connection().run(&texts)).await;
        ended.is_ok_and(|ended| ended.is_ok())
    }

    /// Gives the server back; it is reset.
    pub(crate) fn release(self) {
        self.lease.release();
    }

    /// Sends a Parse of a statement it does not have; what it has too much goes.
    pub(crate) fn put_parse(&mut self, prepared: &Prepared) {
        let connection = self.lease.connection();
        connection.channel.output.extend_from_slice(&prepared.frame);
        let told = &mut connection.told;
        told.statements
            .insert(&prepared.name, prepared.id, prepared.frame.len());
        if prepared.is_shared {
            while let Some(name) = told.statements.evict(SHARED_BYTES_MAX) {
                told.stale.push(name);
            }
        }
    }

    /// What those who had the server told it.
    pub(crate) fn told(&mut self) -> &mut Told {
        &mut self.lease.connection().told
    }

    /// Whether another session could use the server now as it is.
    pub(crate) fn may_be_parked(&self) -> bool {
        !self.busy && self.pinned.is_none() && !self.in_transaction()
    }

    /// Gives the server back as it is.
    pub(crate) fn park(mut self) {
        // Any simple query would destroy it, and none of them would be told.
        let doubted = self.doubted;
        let told = self.told();
        told.statements.remove(b"");
        if doubted {
            told.parameters = None;
        }
        self.lease.park();
    }
}

/// What a server is to be told before the client's own message.
#[derive(Default)]
struct Prologue {
    /// DISCARD ALL comes first.
    discards: bool,
    /// Parameters.
    state: String,
    begin: Option<String>,
    /// What happened in the transaction so far.
    notes: String,
}

impl Prologue {
    fn is_empty(&self) -> bool {
        !self.discards && self.state.is_empty() && self.begin.is_none() && self.notes.is_empty()
    }

    /// The messages. BEGIN has one of its own: in one string with parameters it would make those part
    /// of the transaction. If one fails, everything behind it is refused.
    fn queries(self) -> Vec<String> {
        let state = (!self.state.is_empty()).then(|| catch_up::all_or_nothing(&self.state));
        let notes = Some(self.notes).filter(|notes| !notes.is_empty());
        let discard = self.discards.then(|| "DISCARD ALL".to_owned());
        let set = discard.into_iter().chain(state);
        set.chain(self.begin).chain(notes).collect()
    }
}
