//! What plugins answer, in the words of the interface.

use crate::bindings::host::pgsteer::plugin::types;
use crate::bindings::rewriter::exports::pgsteer::plugin::rewriter;
use crate::bindings::router::exports::pgsteer::plugin::router;
use crate::bindings::session::exports::pgsteer::plugin::session;
use crate::{
    Admitted, Fallback, Limits, NodeId, Opening, Rejection, Reuse, Rewriting, Rewritten, Route,
    Routed, Spread,
};

impl From<Opening> for router::Opening {
    fn from(opening: Opening) -> Self {
        let candidates = opening.candidates.iter();
        let candidates = candidates
            .map(|c| router::Candidate {
                node: c.node.0,
                weight: c.weight,
            })
            .collect();
        Self {
            class: opening.class,
            candidates,
        }
    }
}

impl From<Routed> for router::Routed {
    fn from(routed: Routed) -> Self {
        let route = match routed.route {
            Route::Abstain => router::Route::Abstain,
            Route::Primary => router::Route::Primary,
            Route::Balanced(Spread::Session) => router::Route::Balanced(router::Spread::Session),
            Route::Balanced(Spread::Statement) => {
                router::Route::Balanced(router::Spread::Statement)
            }
            Route::Node(NodeId(id)) => router::Route::Node(id),
            Route::Everywhere => router::Route::Everywhere,
            Route::Reject(rejection) => router::Route::Reject(rejection.into()),
        };
        let reuse = match routed.reuse {
            Reuse::Never => router::Reuse::Never,
            Reuse::Statement => router::Reuse::Statement,
        };
        let Limits {
            fresh,
            otherwise,
            lag_bytes,
            lag_ms,
            wait_ms,
        } = routed.limits;
        Self {
            route,
            reuse,
            marks: router::Marks {
                transaction: routed.marks.transaction,
                session: routed.marks.session,
                clear_transaction: routed.marks.clear_transaction,
            },
            also_writes: routed.also_writes,
            keys: routed.keys,
            reason: routed.reason,
            limits: router::Limits {
                fresh: fresh.0,
                otherwise: match otherwise {
                    Fallback::Primary => router::Fallback::Primary,
                    Fallback::Another => router::Fallback::Another,
                    Fallback::LeastLag => router::Fallback::LeastLag,
                },
                lag_bytes,
                lag_ms,
                wait_ms,
            },
            trusts_functions: routed.trusts_functions,
        }
    }
}

impl From<Rejection> for types::Rejection {
    fn from(rejection: Rejection) -> Self {
        let Rejection {
            sqlstate,
            message,
            hint,
        } = rejection;
        Self {
            sqlstate,
            message,
            hint,
        }
    }
}

impl From<Admitted> for session::Admitted {
    fn from(admitted: Admitted) -> Self {
        match admitted {
            Admitted::Admit(admission) => Self::Admit(session::Admission {
                pool: admission.pool,
                role: admission.role,
                parameters: admission.parameters,
                enforced: admission.enforced,
            }),
            Admitted::Refuse(rejection) => Self::Refuse(rejection.into()),
        }
    }
}

impl From<Rewriting> for rewriter::Answer {
    fn from(answer: Rewriting) -> Self {
        let rewritten = match answer.rewritten {
            Rewritten::Keep => rewriter::Rewritten::Keep,
            Rewritten::Replace { sql, parameters } => {
                rewriter::Rewritten::Replace(rewriter::Replacement { sql, parameters })
            }
            Rewritten::Reject(rejection) => rewriter::Rewritten::Reject(rejection.into()),
        };
        let reuse = match answer.reuse {
            Reuse::Never => rewriter::Reuse::Never,
            Reuse::Statement => rewriter::Reuse::Statement,
        };
        Self { rewritten, reuse }
    }
}
