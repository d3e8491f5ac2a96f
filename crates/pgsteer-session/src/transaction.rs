//! The transaction of a session, which may have legs on several nodes.

use std::collections::HashSet;

use pgsteer_core::NodeId;
use pgsteer_sql::{Isolation, TransactionMode};

use crate::journal::{Journal, Settings};

/// Where a session stands between BEGIN and COMMIT.
#[derive(Debug, Default)]
pub(crate) enum Transaction {
    /// Outside.
    #[default]
    None,
    /// Inside. BEGIN was answered; each node is told when the first statement goes there.
    Open(Open),
}

/// Whether a transaction lost a node that took part in it, and with it what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It did not.
    #[default]
    None,
    /// It lost this one; the client does not know yet.
    Untold(NodeId),
    /// It did, and the client was told.
    Told,
}

/// A transaction that began with BEGIN.
#[derive(Debug)]
pub(crate) struct Open {
    /// The statement that begins it on a node.
    pub(crate) begin: Box<str>,
    /// That statement says READ WRITE, whatever was said later.
    begins_read_write: bool,
    /// What it is.
    pub(crate) mode: TransactionMode,
    /// What its nodes must be told besides.
    pub(crate) journal: Journal,
    /// A statement of it wrote, or could have.
    pub(crate) wrote: bool,
    /// It was opened by a string of several statements and stays on that node.
    pub(crate) pinned: Option<NodeId>,
    /// The proxy itself refused a statement of it: as after any error, only its end is accepted.
    pub(crate) refused: bool,
    /// Whether it is lost, which is one way to be refused.
    pub(crate) loss: Loss,
    /// It called `set_config`: only the primary knows what it set.
    pub(crate) tied_to_primary: bool,
    /// Parameters of the session as they were before a batch set some and began the transaction.
    pub(crate) settings_before: Option<Box<Settings>>,
    /// Relations that statements named which may have written, by their names without schema.
    written: HashSet<Box<str>, foldhash::fast::RandomState>,
    /// It named more of them than are remembered.
    wrote_many: bool,
}

/// Names of written relations that are remembered for a transaction.
const WRITTEN_MAX: usize = 1024;

impl Open {
    /// A transaction that has just begun.
    pub(crate) fn new(begin: &str, mode: TransactionMode) -> Self {
        Self {
            begin: begin.into(),
            begins_read_write: mode.read_only == Some(false),
            mode,
            journal: Journal::default(),
            wrote: false,
            pinned: None,
            refused: false,
            loss: Loss::None,
            tied_to_primary: false,
            settings_before: None,
            written: HashSet::default(),
            wrote_many: false,
        }
    }

    /// A transaction that a server opened by itself.
    pub(crate) fn on_server(node: NodeId) -> Self {
        let unknown = TransactionMode::default();
        Self {
            wrote: true,
            pinned: Some(node),
            ..Self::new("BEGIN", unknown)
        }
    }

    /// The statement that begins it on a node. A replica refuses READ WRITE, and can do without.
    pub(crate) fn begin_on(&self, replica: bool) -> &str {
        if replica && self.begins_read_write {
            "BEGIN"
        } else {
            &self.begin
        }
    }

    /// Whether a server may refuse to begin it: a replica does if it is to write, or serializable.
    pub(crate) fn may_not_begin(&self) -> bool {
        self.begins_read_write || self.mode.isolation == Some(Isolation::Serializable)
    }

    /// A statement named these relations and may write.
    pub(crate) fn note_written<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            self.wrote_many |= self.written.len() >= WRITTEN_MAX;
            if !self.wrote_many && !self.written.contains(name) {
                self.written.insert(name.into());
            }
        }
    }

    /// Whether a statement that may have written named this relation.
    pub(crate) fn has_written(&self, name: &str) -> bool {
        self.wrote_many || self.written.contains(name)
    }

    /// Whether it says READ WRITE.
    pub(crate) fn says_read_write(&self) -> bool {
        self.mode.read_only == Some(false)
    }

    /// SET TRANSACTION changes what is mentioned.
    pub(crate) fn set_mode(&mut self, mode: TransactionMode) {
        self.mode.read_only = mode.read_only.or(self.mode.read_only);
        // What began as serializable is refused by a replica, whatever is said later.
        if self.mode.isolation != Some(Isolation::Serializable) {
            self.mode.isolation = mode.isolation.or(self.mode.isolation);
        }
    }

    /// Whether all its statements must see one snapshot, which two nodes do not have in common.
    pub(crate) fn needs_one_snapshot(&self) -> bool {
        matches!(
            self.mode.isolation,
            Some(Isolation::RepeatableRead | Isolation::Serializable)
        )
    }

    /// Whether it can go on after it has failed, and must see the snapshot it has then.
    pub(crate) fn keeps_snapshot(&self) -> bool {
        self.needs_one_snapshot() && self.journal.has_savepoints()
    }

    /// Whether it is READ ONLY.
    pub(crate) fn is_read_only(&self) -> bool {
        self.mode.read_only == Some(true)
    }
}

impl Transaction {
    /// The open transaction, if it is one that began with BEGIN.
    pub(crate) fn open(&self) -> Option<&Open> {
        match self {
            Self::Open(open) => Some(open),
            Self::None => None,
        }
    }

    /// The statement that set a parameter last, in the transaction or before it, if it is set.
    pub(crate) fn last_set<'a>(&'a self, settings: &'a Settings, name: &str) -> Option<&'a str> {
        let noted = self.open().and_then(|open| open.journal.last_set(name));
        noted.unwrap_or_else(|| settings.last_set(name))
    }

    /// Where the books stand on what was set: another value whenever something was, or was taken back.
    pub(crate) fn books_stand(&self, settings: &Settings) -> (u64, u64, usize) {
        let journal = self.open().map(|open| &open.journal);
        let (noted, kept) = journal.map_or((0, 0), |j| (j.latest(), j.len()));
        (settings.latest(), noted, kept)
    }

    /// The transaction, if one is open, to change it.
    pub(crate) fn open_mut(&mut self) -> Option<&mut Open> {
        match self {
            Self::Open(open) => Some(open),
            Self::None => None,
        }
    }

    /// Whether the proxy refused a statement of it.
    pub(crate) fn is_refused(&self) -> bool {
        self.open().is_some_and(|open| open.refused)
    }

    /// Whether a server opened it, or runs it by itself.
    pub(crate) fn is_on_server(&self) -> bool {
        self.open().is_some_and(|open| open.pinned.is_some())
    }

    /// Whether the session is outside a transaction.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}
