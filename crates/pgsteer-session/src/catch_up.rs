//! What a server must be told to be to a session what the last one was: parameters that differ,
//! BEGIN, savepoints. Pure text; `leg` sends it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgsteer_pool::Parameters;

use crate::journal::{USER_PARAMETERS, is_reset, push_statement, quote_identifier};

/// Sets of parameters that sessions of one worker have, each kept once, so that equal ones can be
/// told by their address.
#[derive(Debug, Default)]
pub(crate) struct ParameterSets(RefCell<HashMap<Rc<Parameters>, (), foldhash::fast::RandomState>>);

/// Sets that are kept although no session has them.
const SETS_MAX: usize = 1024;

impl ParameterSets {
    /// The one that is equal to this.
    pub(crate) fn shared(&self, parameters: Parameters) -> Rc<Parameters> {
        let mut sets = self.0.borrow_mut();
        if let Some((known, ())) = sets.get_key_value(&parameters) {
            return Rc::clone(known);
        }
        if sets.len() >= SETS_MAX {
            sets.retain(|set, ()| Rc::strong_count(set) > 1);
        }
        let set = Rc::new(parameters);
        sets.insert(Rc::clone(&set), ());
        set
    }
}

/// Ends everything that code may have left on a connection but its prepared statements: the rest of
/// `DISCARD ALL`, which takes a third of the time, but them along.
const CLEAN: &str = "CLOSE ALL;RESET SESSION AUTHORIZATION;RESET ALL;UNLISTEN *;\
                     SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES";

/// What a connection is to forget before it is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forget {
    /// Parameters alone, which are known.
    Known,
    /// Parameters, which are not known.
    Parameters,
    /// Whatever code that nobody knows has left there.
    Stains,
    /// Everything: it is discarded first.
    Everything,
}

/// Statements that make a connection with the parameters `from` one with the parameters `to`, as one
/// string; empty if there is nothing to do.
pub(crate) fn change(from: &Parameters, to: &Parameters, forget: Forget) -> String {
    let mut texts = String::new();
    let mut tell = |text: &str| push_statement(&mut texts, text);
    let from = match forget {
        Forget::Known => from.as_slice(),
        Forget::Stains => {
            tell(CLEAN);
            &[]
        }
        Forget::Parameters => {
            tell("RESET SESSION AUTHORIZATION;RESET ALL");
            &[]
        }
        Forget::Everything => &[],
    };
    // As another user it might not be allowed to change the rest.
    let users = USER_PARAMETERS.iter();
    let switches = users.clone().any(|name| find(from, name) != find(to, name));
    if switches {
        let set = users.filter(|name| find(from, name).is_some());
        set.for_each(|name| tell(&undo(name)));
    }
    let is_user = |name: &str| USER_PARAMETERS.contains(&name);
    for (name, _) in from.iter().filter(|(name, _)| !is_user(name)) {
        if find(to, name).is_none() {
            tell(&undo(name));
        }
    }
    for (name, text) in to {
        let again = switches && is_user(name);
        if again || find(from, name) != Some(&**text) {
            tell(text);
        }
    }
    texts
}

/// The text that set a parameter.
fn find<'a>(all: &'a [(Box<str>, Box<str>)], name: &str) -> Option<&'a str> {
    let found = all.iter().find(|(known, _)| **known == *name);
    found.map(|(_, text)| &**text)
}

/// The statement that takes a parameter back to what a fresh connection has.
fn undo(name: &str) -> String {
    match name {
        "session_authorization" => "RESET SESSION AUTHORIZATION".to_owned(),
        _ => format!("RESET {}", quote_identifier(name)),
    }
}

/// Statements that run as one: if one fails the connection is left in a failed transaction, so that
/// whatever was sent behind them is refused.
pub(crate) fn all_or_nothing(texts: &str) -> String {
    format!("BEGIN;{texts}\n;COMMIT")
}

/// The parameters that are left of statements that set them, in the order they were run.
pub(crate) fn left<'a>(set: impl Iterator<Item = (&'a str, &'a str)>) -> Parameters {
    let kept = set.filter(|(_, text)| !is_reset(text));
    kept.map(|(name, text)| (name.into(), text.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(all: &[(&str, &str)]) -> Parameters {
        left(all.iter().copied())
    }

    #[test]
    fn a_connection_is_told_what_differs() {
        let a = parameters(&[("a", "SET a = 1"), ("b", "SET b = 1"), ("c", "RESET c")]);
        let b = parameters(&[("b", "SET b = 2"), ("d", "SET d = 1")]);
        assert_eq!(change(&a, &a, Forget::Known), "");
        assert_eq!(
            change(&a, &b, Forget::Known),
            "RESET \"a\"\n;SET b = 2\n;SET d = 1"
        );
        let nothing = Parameters::default();
        assert_eq!(
            change(&a, &nothing, Forget::Known),
            "RESET \"a\"\n;RESET \"b\""
        );
        assert_eq!(change(&a, &nothing, Forget::Stains), CLEAN);
        let all = change(&a, &b, Forget::Everything);
        assert_eq!(all, "SET b = 2\n;SET d = 1");
    }

    #[test]
    fn another_user_is_not_left_to_change_the_rest() {
        let a = parameters(&[("role", "SET ROLE r"), ("a", "SET a = 1")]);
        let b = parameters(&[("a", "SET a = 2"), ("role", "SET ROLE s")]);
        assert_eq!(
            change(&a, &b, Forget::Known),
            "RESET \"role\"\n;SET a = 2\n;SET ROLE s"
        );
        let c = parameters(&[("role", "SET ROLE r"), ("a", "SET a = 3")]);
        assert_eq!(change(&a, &c, Forget::Known), "SET a = 3");
    }

    #[test]
    fn equal_sets_are_the_same() {
        let sets = ParameterSets::default();
        let one = sets.shared(parameters(&[("a", "SET a = 1")]));
        let other = sets.shared(parameters(&[("a", "SET a = 1")]));
        assert!(Rc::ptr_eq(&one, &other));
    }
}
