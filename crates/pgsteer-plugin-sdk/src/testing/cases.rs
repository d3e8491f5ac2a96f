//! Runs the cases that `pgsteer plugin test` has written down, natively.

mod outcome;
mod reader;

use outcome::Outcome;
use reader::Case;

use crate::{
    Admitted, Crisis, Event, Plugin, Remedy, Rewriter, Rewriting, Routed, Router, Session,
    Statement,
};

/// What a test can ask a plugin; made by [`export!`](crate::export) from the hooks named there.
pub trait Exported: Plugin {
    /// [`Gatekeeper::admit`](crate::Gatekeeper::admit), if it is exported.
    fn ask_gatekeeper(&mut self, session: &Session) -> Option<Admitted> {
        let _ = session;
        None
    }

    /// [`Rewriter::rewrite`] in a new session, if it is exported.
    fn ask_rewriter(&mut self, session: &Session, statement: &Statement) -> Option<Rewriting> {
        let _ = (session, statement);
        None
    }

    /// [`Router::decide`] in a new session, if it is exported.
    fn ask_router(&mut self, session: &Session, statement: &Statement) -> Option<Routed> {
        let _ = (session, statement);
        None
    }

    /// [`Observer::observe`](crate::Observer::observe); whether it is exported.
    fn ask_observer(&mut self, events: &[Event]) -> bool {
        let _ = events;
        false
    }

    /// [`Failover::decide`](crate::Failover::decide), if it is exported.
    fn ask_failover(&mut self, crisis: &Crisis) -> Option<Remedy> {
        let _ = crisis;
        None
    }

    /// [`Operator::command`](crate::Operator::command), if it is exported.
    fn ask_operator(&mut self, text: &str) -> Option<Result<String, String>> {
        let _ = text;
        None
    }
}

/// A session begins and a statement comes.
pub fn ask_router(plugin: &mut impl Router, session: &Session, statement: &Statement) -> Routed {
    let session_class = plugin.open(session).class;
    plugin.decide(&Statement {
        session_class,
        ..statement.clone()
    })
}

/// A session begins and a text comes.
pub fn ask_rewriter(
    plugin: &mut impl Rewriter,
    session: &Session,
    statement: &Statement,
) -> Rewriting {
    let session_class = plugin.classify(session);
    plugin.rewrite(&Statement {
        session_class,
        ..statement.clone()
    })
}

/// Runs the cases of a file that `pgsteer plugin test` writes (`cases.lock.json`), each with a new
/// instance and an empty store.
///
/// ```ignore
/// #[test]
/// fn cases() {
///     pgsteer_plugin_sdk::testing::cases::<MyPlugin>(include_str!("../cases.lock.json"));
/// }
/// ```
///
/// # Panics
/// With the name of each case that failed, what it expected and what it got; or if the file cannot
/// be read, or holds no case.
#[expect(clippy::panic, reason = "for tests, which fail by panicking")]
pub fn cases<P: Exported>(json: &str) {
    let cases = match reader::read(json) {
        Ok(cases) => cases,
        Err(error) => panic!("the file of cases cannot be read: {error}"),
    };
    assert!(!cases.is_empty(), "the file holds no case");
    let count = cases.len();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| run::<P>(case).err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {count} cases failed\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Runs one; an error tells what was wrong.
fn run<P: Exported>(case: &Case) -> Result<(), String> {
    let about = |wrong: String| format!("{} ({}): {wrong}", case.name, case.file);
    super::reset();
    let mut plugin = P::configure(&case.config)
        .map_err(|error| about(format!("its configuration is refused: {error}")))?;
    plugin.topology_changed(&case.topology);
    for (hook, expected) in &case.expect {
        let got = match hook.as_str() {
            "admit" => plugin
                .ask_gatekeeper(&case.session)
                .map(Outcome::of_admitted),
            "rewrite" => plugin
                .ask_rewriter(&case.session, &case.statement)
                .map(Outcome::of_rewriting),
            "route" => plugin
                .ask_router(&case.session, &case.statement)
                .map(Outcome::of_routed),
            other => return Err(about(format!("nobody knows what to expect of \"{other}\""))),
        };
        let got = got.ok_or_else(|| {
            about(format!(
                "it expects \"{hook}\", a hook that is not exported"
            ))
        })?;
        if got.text != *expected {
            let detail = got
                .detail
                .map_or(String::new(), |detail| format!(" ({detail})"));
            let sql = case.statement.sql.as_str();
            let sql = if sql.is_empty() {
                String::new()
            } else {
                format!("\n  statement {sql}")
            };
            return Err(about(format!(
                "{hook}{sql}\n  expected  {expected}\n  got       {}{detail}",
                got.text
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
