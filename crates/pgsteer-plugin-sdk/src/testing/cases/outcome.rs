//! Answers in the words of a file of cases.

use crate::{Admitted, NodeId, Rejection, Rewriting, Rewritten, Route, Routed, Spread};

/// An answer in words.
pub(super) struct Outcome {
    /// What is compared.
    pub(super) text: String,
    /// What helps to understand it.
    pub(super) detail: Option<String>,
}

impl Outcome {
    fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            detail: None,
        }
    }

    fn refused(rejection: Rejection) -> Self {
        Self {
            text: format!("refuse {}", rejection.sqlstate),
            detail: Some(rejection.message),
        }
    }

    pub(super) fn of_admitted(admitted: Admitted) -> Self {
        match admitted {
            Admitted::Admit(_) => Self::plain("admit"),
            Admitted::Refuse(rejection) => Self::refused(rejection),
        }
    }

    pub(super) fn of_rewriting(answer: Rewriting) -> Self {
        match answer.rewritten {
            Rewritten::Keep => Self::plain("keep"),
            Rewritten::Replace { sql, .. } => Self::plain(format!("replace: {sql}")),
            Rewritten::Reject(rejection) => Self::refused(rejection),
        }
    }

    pub(super) fn of_routed(answer: Routed) -> Self {
        match answer.route {
            Route::Abstain => Self::plain("abstain"),
            Route::Primary => Self::plain("primary"),
            Route::Balanced(Spread::Session) => Self::plain("balanced"),
            Route::Balanced(Spread::Statement) => Self::plain("balanced for each statement"),
            Route::Node(NodeId(node)) => Self::plain(format!("node {node}")),
            Route::Everywhere => Self::plain("everywhere"),
            Route::Reject(rejection) => Self::refused(rejection),
        }
    }
}
