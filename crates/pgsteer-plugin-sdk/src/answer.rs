//! What a plugin answers. The meaning of each answer is in `wit/plugin.wit`.

use crate::NodeId;

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

/// Why a statement is refused, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Five characters. 42501, 53000, 57P03, 0A000, 25006 and the classes P0 and 58 are passed on,
    /// anything else arrives as 58000.
    pub sqlstate: String,
    /// One sentence, at most 1 KiB.
    pub message: String,
    /// What to do about it, at most 1 KiB.
    pub hint: Option<String>,
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
}

impl Routed {
    /// This route, not to be remembered, without marks.
    #[must_use]
    pub fn new(route: Route) -> Self {
        Self {
            route,
            reuse: Reuse::default(),
            marks: Marks::default(),
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
    pub fn reject(sqlstate: &str, message: &str) -> Self {
        let (sqlstate, message) = (sqlstate.to_owned(), message.to_owned());
        Self::new(Route::Reject(Rejection {
            sqlstate,
            message,
            hint: None,
        }))
    }

    /// The answer may be remembered for the same statement with the same facts.
    #[must_use]
    pub fn reusable(mut self) -> Self {
        self.reuse = Reuse::Statement;
        self
    }

    /// Sets bits until the end of the transaction, if the statement succeeds.
    #[must_use]
    pub fn mark_transaction(mut self, bits: u32) -> Self {
        self.marks.transaction |= bits;
        self
    }

    /// Sets bits until the end of the session, if the statement succeeds.
    #[must_use]
    pub fn mark_session(mut self, bits: u32) -> Self {
        self.marks.session |= bits;
        self
    }
}
