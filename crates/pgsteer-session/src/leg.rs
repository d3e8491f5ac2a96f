//! A session's hold on one node: the lease, and what that server was told already.

use std::collections::HashMap;
use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_pool::{Connection, Lease, ServerLost};
use pgsteer_sql::PinReason;
use pgsteer_wire::backend::TransactionStatus;
use tokio::time::timeout;

use crate::journal::Settings;
use crate::sql_prepared::SqlPrepared;
use crate::transaction::Transaction;

/// Prepared statements by name, with the number of the Parse they come from.
pub(crate) type Names = HashMap<Box<[u8]>, u64, foldhash::fast::RandomState>;

/// How long a server may take to end a transaction in which nothing is to be kept, before the session
/// goes on without it.
const END_READ_MAX: Duration = Duration::from_secs(1);

/// A lease on one node.
pub(crate) struct Leg {
    /// The node.
    pub(crate) node: NodeId,
    lease: Lease,
    settings_seen: u64,
    journal_seen: u64,
    /// It took part in the session's transaction when it was last used.
    pub(crate) took_part: bool,
    /// Something was sent there, and its ReadyForQuery has not come.
    pub(crate) busy: bool,
    /// Prepared statements this server has.
    pub(crate) prepared: Names,
    /// Prepared statements the session closed and this server still has.
    pub(crate) stale: Vec<Box<[u8]>>,
    /// Number of the latest statement prepared in SQL that it was told.
    pub(crate) sql_seen: u64,
    /// State on this server that no other could take over.
    pub(crate) pinned: Option<PinReason>,
    /// What a plugin wants set in each transaction was set, and no transaction has ended since.
    assured: bool,
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
            settings_seen: 0,
            journal_seen: 0,
            took_part: false,
            busy: false,
            prepared: Names::default(),
            stale: Vec::new(),
            sql_seen: 0,
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

    /// Transaction status of the server.
    pub(crate) fn status(&self) -> TransactionStatus {
        self.lease.peek().status
    }

    /// Whether the server is inside a transaction.
    pub(crate) fn in_transaction(&self) -> bool {
        self.status() != TransactionStatus::Idle
    }

    /// Tells the server which statements were prepared in SQL: behind the parameters, which say what
    /// their names mean, and before a transaction, which an error would spoil. One that cannot be
    /// prepared any more will be missed when it is executed. A replica is told when it has become
    /// the primary.
    pub(crate) async fn prepare_in_sql(
        &mut self,
        settings: &Settings,
        prepared: &SqlPrepared,
    ) -> Result<(), PrologueError> {
        if self.in_transaction() {
            return Ok(());
        }
        let missing = prepared.missing(self.sql_seen);
        self.sql_seen = prepared.latest();
        if missing.is_empty() {
            return Ok(());
        }
        self.bring_up_to_date(settings, &Transaction::None, false, None)
            .await?;
        self.prepared.remove(b"".as_slice());
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        let ran = self.lease.connection().run(&missing).await;
        ran.map(|_| ()).map_err(PrologueError::Lost)
    }

    /// Tells the server what it does not know yet: parameters, BEGIN, savepoints. Costs a round
    /// trip only if there is something to tell. Each message runs by itself, because BEGIN in one
    /// string with parameters would make those part of the transaction. `replica`: the node is one.
    /// `enforced`: statements that every transaction begins with, whatever was set before.
    pub(crate) async fn bring_up_to_date(
        &mut self,
        settings: &Settings,
        transaction: &Transaction,
        replica: bool,
        enforced: Option<&str>,
    ) -> Result<(), PrologueError> {
        let began = self.in_transaction();
        let set = if began {
            String::new()
        } else {
            settings.missing(self.settings_seen)
        };
        let assured = enforced.filter(|_| !began && !self.assured);
        let mut begin = String::new();
        if let Transaction::Open(open) = transaction {
            if !began {
                self.journal_seen = 0;
                begin.push_str(open.begin_on(replica));
            }
            let modes = !(replica && open.says_read_write());
            let notes = open.journal.missing(self.journal_seen, modes);
            if !notes.is_empty() {
                begin.push_str(if begin.is_empty() { "" } else { "\n;" });
                begin.push_str(&notes);
            }
        }
        let all = [set.as_str(), assured.unwrap_or_default(), begin.as_str()];
        let queries: Vec<&str> = all.into_iter().filter(|q| !q.is_empty()).collect();
        if !queries.is_empty() {
            // A simple query destroys the unnamed statement.
            self.prepared.remove(b"".as_slice());
            match self.lease.connection().run(&queries).await {
                Ok(None) => {}
                Ok(Some(error)) => return Err(PrologueError::Refused(error)),
                Err(lost) => return Err(PrologueError::Lost(lost)),
            }
        }
        self.assured |= assured.is_some();
        self.note_up_to_date(settings, transaction);
        Ok(())
    }

    /// A transaction ended there: what it, or the client after it, did to parameters is not known.
    pub(crate) fn note_transaction_end(&mut self) {
        self.assured = false;
    }

    /// The server itself ran the statement that changed settings or journal.
    pub(crate) fn note_up_to_date(&mut self, settings: &Settings, transaction: &Transaction) {
        self.took_part = self.in_transaction();
        self.settings_seen = settings.latest();
        self.journal_seen = transaction.open().map_or(0, |open| open.journal.latest());
    }

    /// Whether the server was told everything.
    pub(crate) fn is_up_to_date(
        &self,
        settings: &Settings,
        transaction: &Transaction,
        enforces: bool,
    ) -> bool {
        if enforces && !self.assured && !self.in_transaction() {
            return false;
        }
        match transaction {
            Transaction::Open(open) => {
                self.in_transaction() && open.journal.is_known(self.journal_seen)
            }
            _ => self.in_transaction() || self.settings_seen == settings.latest(),
        }
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

    /// Gives the server back.
    pub(crate) fn release(self) {
        self.lease.release();
    }
}
