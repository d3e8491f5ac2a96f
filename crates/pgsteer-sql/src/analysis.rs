//! The answer: class, what is read and written, and what the session must remember.

use crate::{Console, TEXT_LEN_MAX, classify, normalize};

/// What kind of statement it is; the numbers are those of `wit/v0.1/plugin.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(
    missing_docs,
    reason = "the names say it; the meaning is in wit/v0.1/plugin.wit"
)]
pub enum Class {
    Unknown = 0,
    Select = 1,
    Insert = 2,
    Update = 3,
    Delete = 4,
    Merge = 5,
    SchemaChange = 6,
    Copy = 7,
    Transaction = 8,
    Setting = 9,
    Utility = 10,
    Call = 11,
    Explain = 12,
    Show = 13,
    Cursor = 14,
    Prepare = 15,
    Execute = 16,
    Deallocate = 17,
    Notify = 18,
    Lock = 19,
    Empty = 20,
}

/// Isolation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// READ COMMITTED, or READ UNCOMMITTED, which is the same.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

/// Options of BEGIN and SET TRANSACTION; `None` means not mentioned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionMode {
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// ISOLATION LEVEL.
    pub isolation: Option<Isolation>,
}

impl TransactionMode {
    /// Whether anything was mentioned.
    #[must_use]
    pub fn says_something(self) -> bool {
        self != Self::default()
    }
}

/// State that a server connection has and no other can take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinReason {
    /// A temporary table, view or sequence.
    TemporaryRelation,
    /// LISTEN.
    Listen,
    /// PREPARE in SQL, of more than can be remembered.
    SqlPrepare,
    /// An advisory lock of the session.
    AdvisoryLock,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// LOAD of a library.
    Load,
    /// `set_config` for longer than a transaction: what it set is known to that server only.
    SetByFunction,
    /// It asks for the values that sequences gave it.
    Sequence,
    /// Code that may leave something behind, by its text.
    Code,
    /// A text that was not looked at, because it is too long or not understood.
    Unknown,
}

impl PinReason {
    /// In a few words, for those who wonder why a session keeps its server.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TemporaryRelation => "temporary relation",
            Self::Listen => "LISTEN",
            Self::SqlPrepare => "PREPARE of more than is remembered",
            Self::AdvisoryLock => "advisory lock of the session",
            Self::HoldCursor => "cursor WITH HOLD",
            Self::Load => "LOAD",
            Self::SetByFunction => "parameter set by a function",
            Self::Sequence => "values of sequences, which it asks for",
            Self::Code => "code that may leave something in the session",
            Self::Unknown => "text that was not understood",
        }
    }
}

/// What a statement does to the session, if it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// BEGIN or START TRANSACTION.
    Begin {
        /// Its options.
        mode: TransactionMode,
        /// The statement as it was written, to be run on a server later.
        text: Box<str>,
    },
    /// COMMIT or END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// SAVEPOINT.
    Savepoint(Box<str>),
    /// RELEASE.
    Release(Box<str>),
    /// ROLLBACK TO.
    RollbackTo(Box<str>),
    /// SET TRANSACTION, or SET of one of its parameters.
    SetTransaction {
        /// What it sets.
        mode: TransactionMode,
        /// The statement as it was written, to be run on another server.
        text: Box<str>,
    },
    /// SET or RESET of a parameter, SET ROLE, SET SESSION AUTHORIZATION, SET TIME ZONE. SET SESSION
    /// CHARACTERISTICS sets one parameter for each of its options.
    Set {
        /// Name in lower case.
        name: Box<str>,
        /// Until the end of the transaction only.
        local: bool,
        /// A statement that does it on another server: as it was written, if it is about one parameter.
        text: Box<str>,
    },
    /// `set_config()`, whose values may be known to the server only.
    SetByFunction {
        /// Until the end of the transaction only, as far as the text tells.
        local: bool,
    },
    /// RESET ALL.
    ResetAll,
    /// DISCARD ALL.
    DiscardAll,
    /// Creates a temporary relation of this name.
    CreateTemporary(Box<str>),
    /// State that ties the session to its server connection.
    Pin(PinReason),
    /// PREPARE in SQL.
    Prepare {
        /// Name of the statement.
        name: Box<str>,
        /// The whole PREPARE.
        text: Box<str>,
    },
    /// DEALLOCATE of one statement.
    Deallocate(Box<str>),
    /// DEALLOCATE ALL.
    DeallocateAll,
    /// LISTEN to a channel.
    Listen(Box<str>),
    /// UNLISTEN of a channel, or of all.
    Unlisten(Option<Box<str>>),
}

/// A relation a text names, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationRef {
    /// Its schema, if it is qualified.
    pub schema: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// It is the target of the statement, or of one in a WITH list.
    pub written: bool,
}

/// A function a text calls, as it is written. What the grammar turns into a call, such as
/// `substring(a FROM 1)`, is qualified with `pg_catalog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRef {
    /// Its schema, if it is qualified.
    pub schema: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Number of arguments; `None` if the text does not tell (VARIADIC).
    pub arguments: Option<u16>,
}

/// What a server keeps for a session, and a text may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnState {
    /// The values sequences gave it: `lastval`, `currval`.
    Sequences,
    /// What it prepared: `pg_prepared_statements`.
    Statements,
}

/// What is known about a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Unique among the analyses of a [`crate::Cache`], from 1; 0 if it is in none.
    pub id: u64,
    /// Class of the first statement.
    pub class: Class,
    /// Text-level bits, numbered as in `wit/v0.1/plugin.wit`.
    pub traits: u64,
    /// Equal for texts that differ only in literals.
    pub fingerprint: u64,
    /// Statements in the text.
    pub statement_count: usize,
    /// Highest parameter number.
    pub parameter_count: u16,
    /// What the statements do to the session, in order.
    pub effects: Vec<Effect>,
    /// Relations it names, those of WITH queries left out.
    pub relations: Vec<RelationRef>,
    /// Functions it calls.
    pub functions: Vec<FunctionRef>,
    /// What it looks at of what its server keeps for the session.
    pub looks_at: Option<OwnState>,
    /// The statement that EXECUTE runs, also inside EXPLAIN and CREATE TABLE AS.
    pub executes: Option<Box<str>>,
    /// The database to which nobody else may be connected while it runs.
    pub needs_alone: Option<Box<str>>,
    /// It sends notifications: `NOTIFY`, `pg_notify`.
    pub notifies: bool,
    /// It may change what names mean to other statements.
    pub changes_schema: bool,
    /// Of the utilities, those that Pgpool-II counts among the schema changes.
    pub counts_as_ddl: bool,
    /// It copies from or to a file or a program on the server.
    pub reaches_outside: bool,
    /// The command, if the proxy answers it.
    pub console: Option<Console>,
}

/// Bits of [`Analysis::traits`] that depend on the text alone.
pub(crate) mod bits {
    pub(crate) const READS: u64 = 1 << 0;
    pub(crate) const WRITES: u64 = 1 << 1;
    pub(crate) const LOCKING: u64 = 1 << 2;
    pub(crate) const VOLATILE_FUNCTION: u64 = 1 << 3;
    pub(crate) const SEVERAL: u64 = 1 << 4;
    pub(crate) const PARAMETERS: u64 = 1 << 5;
    pub(crate) const CATALOG: u64 = 1 << 12;
    pub(crate) const UNKNOWN_FUNCTION: u64 = 1 << 13;
    pub(crate) const LEADING_SPACE: u64 = 1 << 14;
    pub(crate) const LEADING_COMMENT: u64 = 1 << 15;
    pub(crate) const NOT_LIKE_A_READ: u64 = 1 << 16;
    pub(crate) const TEXT_WITHHELD: u64 = 1 << 19;
    pub(crate) const SAVEPOINT: u64 = 1 << 20;
    pub(crate) const ROLLBACK_TO: u64 = 1 << 27;
    pub(crate) const SETS_READ_ONLY: u64 = 1 << 28;
}

impl Analysis {
    /// Of a text that cannot be understood: a write.
    #[must_use]
    pub fn opaque(fingerprint: u64) -> Self {
        Self {
            id: 0,
            class: Class::Unknown,
            traits: bits::WRITES,
            fingerprint,
            statement_count: 1,
            parameter_count: 0,
            effects: Vec::new(),
            relations: Vec::new(),
            functions: Vec::new(),
            looks_at: None,
            executes: None,
            needs_alone: None,
            notifies: false,
            changes_schema: false,
            counts_as_ddl: false,
            reaches_outside: false,
            console: None,
        }
    }

    /// The only effect of a text that is one statement with one effect.
    #[must_use]
    pub fn sole_effect(&self) -> Option<&Effect> {
        match self.effects.as_slice() {
            [effect] if self.statement_count == 1 => Some(effect),
            _ => None,
        }
    }

    /// Whether it only reads, as far as the text can prove: a replica would give the same answer
    /// and nothing would be missing afterwards. The functions of PostgreSQL are known here, others
    /// and relations are not.
    #[must_use]
    pub fn is_proven_read(&self) -> bool {
        is_proven_read(self.traits) && self.statement_count == 1
    }

    /// Whether it does something to the session, or nobody knows what it does.
    #[must_use]
    pub fn may_change_session(&self) -> bool {
        !self.effects.is_empty() || self.class == Class::Unknown
    }

    /// Whether it may make a server take copied data.
    #[must_use]
    pub fn may_copy_in(&self) -> bool {
        self.class == Class::Copy && self.traits & bits::READS == 0
    }

    /// Whether it controls transactions and nothing else.
    #[must_use]
    pub fn is_transaction_control(&self) -> bool {
        self.class == Class::Transaction && self.statement_count == 1
    }

    /// Bytes it occupies, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        let text = |schema: &Option<Box<str>>, name: &str| {
            name.len() + schema.as_ref().map_or(0, |s| s.len()) + 16
        };
        let relations = self.relations.iter().map(|r| text(&r.schema, &r.name));
        let functions = self.functions.iter().map(|f| text(&f.schema, &f.name));
        let prepared = self.effects.iter().map(|effect| match effect {
            Effect::Prepare { text, .. } => text.len(),
            _ => 0,
        });
        let texts: usize = relations.chain(functions).chain(prepared).sum();
        size_of::<Self>()
            + texts
            + self.console.as_ref().map_or(0, Console::text_len)
            + self.relations.len() * size_of::<RelationRef>()
            + self.functions.len() * size_of::<FunctionRef>()
            + self.effects.len() * size_of::<Effect>()
    }
}

/// Whether bits of [`Analysis::traits`], completed by what else is known, say that a statement only
/// reads.
#[must_use]
pub fn is_proven_read(traits: u64) -> bool {
    const NOT: u64 =
        bits::WRITES | bits::LOCKING | bits::VOLATILE_FUNCTION | bits::UNKNOWN_FUNCTION;
    traits & bits::READS != 0 && traits & NOT == 0
}

/// Analyses a text. Takes microseconds to milliseconds; see [`crate::Cache`].
#[must_use]
pub fn analyze(text: &[u8]) -> Analysis {
    let fingerprint = normalize::fingerprint(text);
    match std::str::from_utf8(text) {
        Ok(text) if text.len() <= TEXT_LEN_MAX => classify::classify(text, fingerprint),
        _ => {
            // It was not looked at, so it may be a migration.
            let mut opaque = Analysis::opaque(fingerprint);
            opaque.changes_schema = true;
            opaque.traits |= bits::TEXT_WITHHELD;
            opaque
        }
    }
}
