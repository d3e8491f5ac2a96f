//! The questions a new plugin must survive before a worker asks it anything.
//!
//! The answers are checked like all answers, and otherwise not judged: a policy may answer as it
//! likes.

use pgsteer_core::NodeId;
use pgsteer_core::policy::{
    Event, Hooks, Policy, PolicyError, SessionFacts, StatementFacts, Value, traits,
};
use pgsteer_sql::{FunctionRef, RelationRef};

use crate::crises;

/// Asks the golden set about every hook; the error says which question it was.
pub(crate) fn ask_golden_set(policy: &mut dyn Policy, hooks: Hooks) -> Result<(), PolicyError> {
    if hooks.has(Hooks::SESSION) {
        for session in sessions() {
            let admitted = policy.admit(&session);
            admitted.map_err(|error| at(error, "admitting a session"))?;
        }
    }
    if hooks.has(Hooks::REWRITER) {
        ask_about_statements(policy, Statements::Rewritten)?;
    }
    if hooks.has(Hooks::ROUTER) {
        ask_about_statements(policy, Statements::Routed)?;
        for reason in [0, 1, u32::MAX] {
            let explained = policy.explain(reason);
            explained.map_err(|error| at(error, "a reason"))?;
        }
    }
    if hooks.has(Hooks::OBSERVER) {
        for events in [&events()[..], &[]] {
            let told = policy.observe(events, 7);
            told.map_err(|error| at(error, "a batch of events"))?;
        }
    }
    if hooks.has(Hooks::OPERATOR) {
        for text in ["", "help", "\u{1f418}"] {
            let answer = policy.command(text);
            // The inner error is an answer like any other.
            let _ = answer.map_err(|error| at(error, "a command"))?;
        }
    }
    if hooks.has(Hooks::FAILOVER) {
        for (question, crisis) in crises::all() {
            let answer = policy.remedy(&crisis);
            answer.map_err(|error| at(error, question))?;
        }
    }
    Ok(())
}

/// Which hook is asked about statements.
#[derive(Clone, Copy)]
enum Statements {
    Rewritten,
    Routed,
}

impl Statements {
    /// Class of the session, and a node drawn for it.
    fn open(
        self,
        policy: &mut dyn Policy,
        session: &SessionFacts<'_>,
    ) -> Result<(u32, Option<NodeId>), PolicyError> {
        match self {
            Self::Rewritten => Ok((policy.open_rewriter(session)?, None)),
            Self::Routed => {
                let opening = policy.open(session)?;
                let candidate = opening.candidates.first();
                Ok((opening.class, candidate.map(|candidate| candidate.node)))
            }
        }
    }

    fn ask(
        self,
        policy: &mut dyn Policy,
        statement: &StatementFacts<'_>,
    ) -> Result<(), PolicyError> {
        match self {
            Self::Rewritten => policy.rewrite(statement).map(drop),
            Self::Routed => policy.decide(statement).map(drop),
        }
    }
}

fn ask_about_statements(policy: &mut dyn Policy, hook: Statements) -> Result<(), PolicyError> {
    let (relations, functions) = names();
    for session in sessions() {
        let opened = hook.open(policy, &session);
        let (session_class, balance_node) = opened.map_err(|error| at(error, "a session"))?;
        for (class, traits) in statements() {
            for marks in [0, u32::MAX] {
                let asked = StatementFacts {
                    fingerprint: u64::from(class) << 32 | traits,
                    class,
                    traits,
                    session_class,
                    balance_node,
                    transaction_marks: marks,
                    session_marks: marks,
                    sql: TEXTS[usize::from(class) % TEXTS.len()],
                    relations: &relations,
                    functions: &functions,
                    values: VALUES,
                };
                hook.ask(policy, &asked)
                    .map_err(|error| at(error, &describe(class, traits)))?;
            }
        }
    }
    ask_extremes(policy, hook)
}

/// Texts of unusual length and no node at all.
fn ask_extremes(policy: &mut dyn Policy, hook: Statements) -> Result<(), PolicyError> {
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
            sql,
            relations: &[],
            functions: &[],
            values: &[],
        };
        let question = format!("a statement of {} bytes", sql.len());
        hook.ask(policy, &asked)
            .map_err(|error| at(error, &question))?;
    }
    Ok(())
}

fn sessions() -> impl Iterator<Item = SessionFacts<'static>> {
    let session = |user, database, application_name, client_address| SessionFacts {
        id: 0,
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

fn events() -> [Event<'static>; 2] {
    let good = Event {
        session: 1,
        user: "alice",
        database: "shop",
        fingerprint: 1,
        class: 1,
        traits: traits::READS,
        node: Some(NodeId(0)),
        rows: 1,
        bytes: 100,
        microseconds: 350,
        error: None,
    };
    let bad = Event {
        user: "",
        database: "größe",
        class: 999,
        traits: u64::MAX,
        node: None,
        rows: u64::MAX,
        microseconds: u64::MAX,
        error: Some("42P01"),
        ..good
    };
    [good, bad]
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

const VALUES: &[Value<'_>] = &[
    Value::Null,
    Value::Text("größe"),
    Value::Binary(&[0, 0xff]),
    Value::Text(""),
];
