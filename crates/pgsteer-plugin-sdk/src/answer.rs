//! What a plugin answers. The meaning of each answer is in `wit/v0.1/plugin.wit`.

use crate::{NodeId, Rejection};

/// A node with its share of balanced reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its share; finite, `0 <= weight`.
    pub weight: f64,
}

/// Answer to the beginning of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opening {
    /// Comes back with every statement. Give sessions that you treat alike the same number:
    /// remembered answers are shared among them.
    pub class: u32,
    /// Nodes among which balanced reads of this session are drawn.
    pub candidates: Vec<Candidate>,
}

/// How often a node is drawn for balanced reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Once for the session.
    Session,
    /// For every statement.
    Statement,
}

/// Where a statement runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// No opinion: the next plugin decides, in the end the host (primary).
    Abstain,
    /// The primary.
    Primary,
    /// One of the opening's candidates.
    Balanced(Spread),
    /// This node.
    Node(NodeId),
    /// Every node the session uses must know it.
    Everywhere,
    /// Nowhere.
    Reject(Rejection),
}

/// What a copy of an answer may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing.
    #[default]
    Never,
    /// The same statement with the same facts.
    Statement,
}

/// Bits the host keeps for the plugin and sets when the statement has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Until the transaction ends.
    pub transaction: u32,
    /// Until the session ends.
    pub session: u32,
    /// Those of the transaction that are taken back.
    pub clear_transaction: u32,
}

/// Whose acknowledged writes a replica must have replayed to serve a balanced read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fresh(pub(crate) u32);

impl Fresh {
    /// Nobody's.
    pub const ANY: Self = Self(0);
    /// Those of the session, and those of the database before it began.
    pub const SESSION: Self = Self(1 << 0);
    /// All of the database.
    pub const DATABASE: Self = Self(1 << 1);
    /// Those to relations that the statement names.
    pub const RELATIONS: Self = Self(1 << 2);
    /// Those noted under one of the answer's [`keys`](Routed::keys).
    pub const KEYS: Self = Self(1 << 3);

    /// Both conditions.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where a balanced read goes if the node drawn for it does not keep the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The primary.
    #[default]
    Primary,
    /// Another candidate that keeps them, drawn by weight; else the primary.
    Another,
    /// The replica among the candidates that keeps them and lags least; else the primary.
    LeastLag,
}

/// What a replica must keep to serve a balanced read; the primary always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What it must have replayed.
    pub fresh: Fresh,
    /// If the node drawn does not keep them.
    pub otherwise: Fallback,
    /// Most bytes of WAL behind; 0 for no limit.
    pub lag_bytes: u64,
    /// Longest time behind in milliseconds; 0 for no limit.
    pub lag_ms: u64,
    /// How long it may wait for a candidate to keep them before it goes elsewhere, in milliseconds;
    /// at most 10,000.
    pub wait_ms: u32,
}

/// Answer to a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Where it runs.
    pub route: Route,
    /// Whether the answer may be remembered.
    pub reuse: Reuse,
    /// Bits to set when it has succeeded.
    pub marks: Marks,
    /// Relations that count as written along with those the statement writes, by name.
    pub also_writes: Vec<String>,
    /// Numbers of the plugin's own choice, at most 16, for example [`key`] of a tenant's name. What
    /// the statement writes is noted under each, and [`Fresh::KEYS`] is about writes noted so.
    pub keys: Vec<u64>,
    /// Why, for [`Router::explain`](crate::Router::explain).
    pub reason: u32,
    /// For balanced reads.
    pub limits: Limits,
    /// The functions it calls only read, whatever the catalog says. Without it a statement that
    /// calls a volatile function, or one that nobody knows, goes to the primary.
    pub trusts_functions: bool,
}

impl Routed {
    /// This route, not to be remembered, without marks.
    #[must_use]
    pub fn new(route: Route) -> Self {
        Self {
            route,
            reuse: Reuse::default(),
            marks: Marks::default(),
            also_writes: Vec::new(),
            keys: Vec::new(),
            reason: 0,
            limits: Limits::default(),
            trusts_functions: false,
        }
    }

    /// No opinion.
    #[must_use]
    pub fn abstain() -> Self {
        Self::new(Route::Abstain)
    }

    /// To the primary.
    #[must_use]
    pub fn primary() -> Self {
        Self::new(Route::Primary)
    }

    /// To one of the opening's candidates.
    #[must_use]
    pub fn balanced(spread: Spread) -> Self {
        Self::new(Route::Balanced(spread))
    }

    /// To this node.
    #[must_use]
    pub fn node(node: NodeId) -> Self {
        Self::new(Route::Node(node))
    }

    /// To every node the session uses.
    #[must_use]
    pub fn everywhere() -> Self {
        Self::new(Route::Everywhere)
    }

    /// Nowhere: the client gets this error.
    #[must_use]
    pub fn reject(rejection: Rejection) -> Self {
        Self::new(Route::Reject(rejection))
    }

    /// The answer may be remembered for the same statement with the same facts.
    #[must_use]
    pub fn reusable(mut self) -> Self {
        self.reuse = Reuse::Statement;
        self
    }

    /// Why it is so; [`Router::explain`](crate::Router::explain) puts the number in words.
    #[must_use]
    pub fn because(mut self, reason: u32) -> Self {
        self.reason = reason;
        self
    }

    /// A replica must keep these limits to serve the read.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Notes what it writes under these, and makes [`Fresh::KEYS`] about them.
    #[must_use]
    pub fn under(mut self, keys: impl IntoIterator<Item = u64>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// The functions it calls only read, whatever the catalog says.
    #[must_use]
    pub fn trusting_functions(mut self, trusts: bool) -> Self {
        self.trusts_functions = trusts;
        self
    }

    /// Sets bits until the end of the transaction, if the statement succeeds.
    #[must_use]
    pub fn mark_transaction(mut self, bits: u32) -> Self {
        self.marks.transaction |= bits;
        self
    }

    /// Takes bits of the transaction back, if the statement succeeds.
    #[must_use]
    pub fn clear_transaction(mut self, bits: u32) -> Self {
        self.marks.clear_transaction |= bits;
        self
    }

    /// Sets bits until the end of the session, if the statement succeeds.
    #[must_use]
    pub fn mark_session(mut self, bits: u32) -> Self {
        self.marks.session |= bits;
        self
    }
}

/// A number for a name, for [`Routed::keys`]: the same in every instance and every version.
#[must_use]
pub fn key(name: &str) -> u64 {
    // FNV-1a.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
