//! What a rewriter answers.

use crate::{Rejection, Reuse};

/// What becomes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// It runs as it is.
    Keep,
    /// Another runs in its place.
    Replace {
        /// The text. It must hold as many statements.
        sql: String,
        /// For each of its parameters the number, from 1, of the client's parameter that it takes;
        /// all of the client's must be used. `None`: the same as before.
        parameters: Option<Vec<u16>>,
    },
    /// It does not run.
    Reject(Rejection),
}

/// Answer to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// What becomes of it.
    pub rewritten: Rewritten,
    /// Whether the answer may be remembered, for the same text with the same facts.
    pub reuse: Reuse,
}

impl Rewriting {
    /// This, not to be remembered.
    #[must_use]
    pub fn new(rewritten: Rewritten) -> Self {
        Self {
            rewritten,
            reuse: Reuse::Never,
        }
    }

    /// It runs as it is.
    #[must_use]
    pub fn keep() -> Self {
        Self::new(Rewritten::Keep)
    }

    /// This text runs in its place, with the same parameters.
    #[must_use]
    pub fn replace(sql: impl Into<String>) -> Self {
        Self::new(Rewritten::Replace {
            sql: sql.into(),
            parameters: None,
        })
    }

    /// This text runs in its place; its parameters are the client's with these numbers, from 1.
    #[must_use]
    pub fn replace_with(sql: impl Into<String>, parameters: Vec<u16>) -> Self {
        Self::new(Rewritten::Replace {
            sql: sql.into(),
            parameters: Some(parameters),
        })
    }

    /// It does not run: the client gets this error.
    #[must_use]
    pub fn reject(rejection: Rejection) -> Self {
        Self::new(Rewritten::Reject(rejection))
    }

    /// The answer may be remembered for the same text with the same facts.
    #[must_use]
    pub fn reusable(mut self) -> Self {
        self.reuse = Reuse::Statement;
        self
    }
}
