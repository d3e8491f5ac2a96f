//! Answers of plugins, told to people and to programs.

use pgsteer_core::policy::{
    Admission, Admitted, Decision, Fallback, Rejection, Reuse, Rewriting, Rewritten, Route, fresh,
};
use serde_json::{Value, json};

use super::expected;

/// An answer in the words of a case, what else there is to say about it, and all of it as JSON.
pub(crate) type Told = (String, Vec<String>, Value);

/// Whether a session may begin.
pub(crate) fn admitted(answer: Admitted) -> Told {
    let words = expected::admit(&answer);
    match answer {
        Admitted::Refuse(rejection) => rejected(words, &rejection),
        Admitted::Admit(Admission {
            pool,
            role,
            parameters,
            enforced,
        }) => {
            let list = |pairs: &[(String, String)]| {
                let pairs = pairs
                    .iter()
                    .map(|(name, value)| format!("{name} = {value}"));
                pairs.collect::<Vec<_>>().join(", ")
            };
            let mut details = Vec::new();
            details.extend(pool.iter().map(|name| format!("pool {name}")));
            details.extend(role.iter().map(|name| format!("role {name}")));
            if !parameters.is_empty() {
                details.push(format!("with {}", list(&parameters)));
            }
            if !enforced.is_empty() {
                details.push(format!("in each transaction {}", list(&enforced)));
            }
            let json = json!({
                "answer": words,
                "pool": pool,
                "role": role,
                "parameters": parameters,
                "enforced": enforced,
            });
            (words, details, json)
        }
    }
}

/// What becomes of a text.
pub(crate) fn rewriting(answer: &Rewriting) -> Told {
    let words = expected::rewrite(&answer.rewritten);
    match &answer.rewritten {
        Rewritten::Reject(rejection) => rejected(words, rejection),
        Rewritten::Keep => {
            let json = json!({ "answer": words, "remembered": is_reusable(answer.reuse) });
            (words, vec![remembered(answer.reuse)], json)
        }
        Rewritten::Replace { sql, parameters } => {
            let mut details = Vec::new();
            if let Some(parameters) = parameters {
                let numbers = parameters.iter().map(|number| format!("${number}"));
                let numbers: Vec<_> = numbers.collect();
                details.push(format!("its parameters are {}", numbers.join(", ")));
            }
            details.push(remembered(answer.reuse));
            let json = json!({
                "answer": words,
                "sql": sql,
                "parameters": parameters,
                "remembered": is_reusable(answer.reuse),
            });
            (words, details, json)
        }
    }
}

/// Where a statement runs.
pub(crate) fn decided(decision: &Decision) -> Told {
    let words = expected::route(&decision.route);
    if let Route::Reject(rejection) = &decision.route {
        return rejected(words, rejection);
    }
    let mut details = Vec::new();
    let limits = limits(decision);
    if !limits.is_empty() {
        details.push(format!("a replica {}", limits.join(", ")));
    }
    let marks = decision.marks;
    if (marks.transaction, marks.session, marks.clear_transaction) != (0, 0, 0) {
        details.push(format!(
            "marks: transaction {:#x}, session {:#x}, cleared {:#x}",
            marks.transaction, marks.session, marks.clear_transaction
        ));
    }
    if !decision.also_writes.is_empty() {
        details.push(format!("also writes {}", decision.also_writes.join(", ")));
    }
    if !decision.keys.is_empty() {
        let keys: Vec<_> = decision
            .keys
            .iter()
            .map(|key| format!("{key:#x}"))
            .collect();
        details.push(format!("under the keys {}", keys.join(", ")));
    }
    if decision.trusts_functions {
        details.push("trusts the functions it calls".to_owned());
    }
    details.push(remembered(decision.reuse));
    let json = json!({
        "answer": words,
        "remembered": is_reusable(decision.reuse),
        "limits": limits,
        "marks": [marks.transaction, marks.session, marks.clear_transaction],
        "also_writes": decision.also_writes,
        "keys": decision.keys,
        "trusts_functions": decision.trusts_functions,
        "reason": decision.reason,
    });
    (words, details, json)
}

/// What a replica must keep, in words.
fn limits(decision: &Decision) -> Vec<String> {
    let limits = &decision.limits;
    let whose = [
        (fresh::SESSION, "of the session"),
        (fresh::DATABASE, "of the database"),
        (fresh::RELATIONS, "to these relations"),
        (fresh::KEYS, "under these keys"),
    ];
    let asked = whose.iter().filter(|(bit, _)| limits.fresh & bit != 0);
    let asked: Vec<_> = asked.map(|(_, words)| *words).collect();
    let mut words = Vec::new();
    if !asked.is_empty() {
        words.push(format!("has replayed writes {}", asked.join(" and ")));
    }
    if limits.lag_bytes > 0 {
        words.push(format!("lags at most {} bytes", limits.lag_bytes));
    }
    if limits.lag_ms > 0 {
        words.push(format!("lags at most {} ms", limits.lag_ms));
    }
    if limits.wait_ms > 0 {
        words.push(format!("may take {} ms to get there", limits.wait_ms));
    }
    if !words.is_empty() {
        let otherwise = match limits.otherwise {
            Fallback::Primary => "the primary",
            Fallback::Another => "another node that does",
            Fallback::LeastLag => "the replica that does and lags least",
        };
        words.push(format!("otherwise {otherwise}"));
    }
    words
}

fn rejected(words: String, rejection: &Rejection) -> Told {
    let mut details = vec![rejection.message.clone()];
    details.extend(rejection.hint.iter().map(|hint| format!("hint: {hint}")));
    let json = json!({
        "answer": words,
        "sqlstate": rejection.sqlstate,
        "message": rejection.message,
        "hint": rejection.hint,
    });
    (words, details, json)
}

fn is_reusable(reuse: Reuse) -> bool {
    reuse == Reuse::Statement
}

fn remembered(reuse: Reuse) -> String {
    let words = match reuse {
        Reuse::Statement => "may be remembered",
        Reuse::Never => "is not remembered",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use pgsteer_core::policy::{Limits, Spread, Taint};

    use super::*;

    #[test]
    fn a_decision_is_told_with_its_conditions() {
        let mut decision = Decision::new(Route::Balanced(Spread::Session));
        decision.limits = Limits {
            fresh: fresh::SESSION,
            lag_ms: 10,
            ..Limits::default()
        };
        decision.marks.session = 4;
        let (words, details, json) = decided(&decision);
        assert_eq!(words, "balanced");
        assert_eq!(
            details,
            [
                "a replica has replayed writes of the session, lags at most 10 ms, otherwise the \
                 primary",
                "marks: transaction 0x0, session 0x4, cleared 0x0",
                "is not remembered"
            ]
        );
        assert_eq!(json["marks"], json!([0, 4, 0]));
    }

    #[test]
    fn refusals_and_replacements_are_told() {
        let rejection = Rejection {
            sqlstate: "42501".to_owned(),
            message: "no".to_owned(),
            hint: Some("ask".to_owned()),
        };
        let (words, details, _) = admitted(Admitted::Refuse(rejection));
        assert_eq!(
            (&*words, details.join("; ")),
            ("refuse 42501", "no; hint: ask".to_owned())
        );
        let (words, details, json) = rewriting(&Rewriting {
            rewritten: Rewritten::Replace {
                sql: "SELECT $1".to_owned(),
                parameters: Some(vec![2, 1]),
            },
            reuse: Reuse::Statement,
            taint: Taint::default(),
        });
        assert_eq!(words, "replace: SELECT $1");
        assert_eq!(details, ["its parameters are $2, $1", "may be remembered"]);
        assert_eq!(json["sql"], "SELECT $1");
    }
}
