//! The questions a new plugin must survive before a worker asks it anything.
//!
//! The answers are checked like all answers, and otherwise not judged: a policy may route as it
//! likes.

use pgsteer_core::NodeId;
use pgsteer_core::policy::{PolicyError, Router, SessionFacts, StatementFacts, traits};
use pgsteer_sql::{FunctionRef, RelationRef};

/// Asks the golden set; the error says which question it was.
pub(crate) fn ask_golden_set(router: &mut dyn Router) -> Result<(), PolicyError> {
    let (relations, functions) = names();
    for facts in sessions() {
        let opening = router
            .open(&facts)
            .map_err(|error| at(error, "a session"))?;
        for (class, traits) in statements() {
            for marks in [0, u32::MAX] {
                let asked = StatementFacts {
                    fingerprint: u64::from(class) << 32 | traits,
                    class,
                    traits,
                    session_class: opening.class,
                    balance_node: opening.candidates.first().map(|candidate| candidate.node),
                    transaction_marks: marks,
                    session_marks: marks,
                    parameter_count: u16::from(traits & traits::PARAMETERS != 0),
                    sql: TEXTS[usize::from(class) % TEXTS.len()],
                    relations: &relations,
                    functions: &functions,
                };
                router
                    .decide(&asked)
                    .map_err(|error| at(error, &describe(class, traits)))?;
            }
        }
    }
    ask_extremes(router)
}

/// Texts of unusual length and no node at all.
fn ask_extremes(router: &mut dyn Router) -> Result<(), PolicyError> {
    let long = "SELECT '".to_owned() + &"ä".repeat(100_000) + "'";
    for (sql, balance_node) in [("", None), (&*long, Some(NodeId(0)))] {
        let asked = StatementFacts {
            fingerprint: u64::MAX,
            class: 1,
            traits: traits::READS,
            session_class: 0,
            balance_node,
            transaction_marks: 0,
            session_marks: 0,
            parameter_count: u16::MAX,
            sql,
            relations: &[],
            functions: &[],
        };
        let question = format!("a statement of {} bytes", sql.len());
        router
            .decide(&asked)
            .map_err(|error| at(error, &question))?;
    }
    Ok(())
}

fn sessions() -> impl Iterator<Item = SessionFacts<'static>> {
    let session = |user, database, application_name, client_address| SessionFacts {
        user,
        database,
        application_name,
        client_address,
        settings: &[],
    };
    let set = SessionFacts {
        settings: &[("allow_sql_comments", "on"), ("", "\u{1f418}")],
        ..session("alice", "shop", "psql", "")
    };
    [
        session("alice", "shop", "psql", "192.0.2.17"),
        session("", "", "", ""),
        session("jörg", "größe", "\u{1f418}", "2001:db8::1"),
        set,
    ]
    .into_iter()
}

fn names() -> (Vec<RelationRef>, Vec<FunctionRef>) {
    let relation = |schema: Option<&str>, name: &str, written| RelationRef {
        schema: schema.map(Into::into),
        name: name.into(),
        written,
    };
    let function = |schema: Option<&str>, name: &str| FunctionRef {
        schema: schema.map(Into::into),
        name: name.into(),
        arguments: None,
    };
    (
        vec![
            relation(None, "t", true),
            relation(Some("größe"), "", false),
        ],
        vec![function(None, "now"), function(Some("s"), "\u{1f418}")],
    )
}

/// Every class, known or not, with the traits that matter most.
fn statements() -> impl Iterator<Item = (u16, u64)> {
    let plain = (0..=CLASS_MAX).chain([999]).map(|class| (class, 0));
    let reading = (0..=CLASS_MAX).map(|class| (class, traits::READS));
    let selects = (0..traits::COUNT).map(|bit| (1, traits::READS | 1 << bit));
    let all = [(1, u64::MAX), (2, traits::WRITES | traits::IN_TRANSACTION)];
    plain.chain(reading).chain(selects).chain(all)
}

fn describe(class: u16, traits: u64) -> String {
    format!("a statement of class {class} with traits {traits:#x}")
}

fn at(mut error: PolicyError, question: &str) -> PolicyError {
    error.reason = format!("{} (asked about {question})", error.reason);
    error
}

/// The highest class code there is today.
const CLASS_MAX: u16 = 20;

const TEXTS: [&str; 4] = [
    "SELECT 1",
    "",
    "/* \u{1f418} */ INSERT INTO t VALUES ('ä')",
    "SET search_path = a\n\t;",
];
