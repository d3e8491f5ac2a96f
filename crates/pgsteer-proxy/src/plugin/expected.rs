//! What a case expects, and whether an answer is that, both in the same few words.

use anyhow::{Result, bail};
use pgsteer_core::policy::{Admitted, Rewritten, Route};

/// Expected answers, in words; `None` for what a case says nothing about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) route: Option<String>,
    pub(crate) rewrite: Option<String>,
    pub(crate) admit: Option<String>,
}

impl Expected {
    /// Checks that these are words that an answer can be put in.
    ///
    /// # Errors
    /// One of them is not, or there is none.
    pub(crate) fn parse(
        route: Option<&str>,
        rewrite: Option<&str>,
        admit: Option<&str>,
    ) -> Result<Self> {
        if route.is_none() && rewrite.is_none() && admit.is_none() {
            bail!("it expects nothing: add route, rewrite or admit");
        }
        let owned = |text: &str| text.to_owned();
        if let Some(text) = route.filter(|text| !is_route(text)) {
            bail!("route = \"{text}\" is no answer; {ROUTES}");
        }
        if let Some(text) = rewrite.filter(|text| !is_rewriting(text)) {
            bail!("rewrite = \"{text}\" is no answer; {REWRITINGS}");
        }
        if let Some(text) = admit.filter(|text| *text != "admit" && !is_refusal(text)) {
            bail!("admit = \"{text}\" is no answer; {ADMISSIONS}");
        }
        Ok(Self {
            route: route.map(owned),
            rewrite: rewrite.map(owned),
            admit: admit.map(owned),
        })
    }

    /// Whether a statement is needed.
    pub(crate) fn is_about_statement(&self) -> bool {
        self.route.is_some() || self.rewrite.is_some()
    }

    /// Differences from these answers, one line each; an answer that is missing was not given
    /// because the plugin has no such hook.
    pub(crate) fn differences(&self, got: &Self) -> Vec<String> {
        let pairs = [
            ("route", &self.route, &got.route, "router"),
            ("rewrite", &self.rewrite, &got.rewrite, "rewriter"),
            ("admit", &self.admit, &got.admit, "session"),
        ];
        let mut lines = Vec::new();
        for (name, expected, got, hook) in pairs {
            let Some(expected) = expected else { continue };
            match got {
                Some(got) if got == expected => {}
                Some(got) => lines.push(format!("{name}: expected {expected}, got {got}")),
                None => lines.push(format!(
                    "{name}: expected {expected}, but the plugin has no hook `{hook}`"
                )),
            }
        }
        lines
    }
}

fn is_route(text: &str) -> bool {
    let fixed = [
        "primary",
        "balanced",
        "balanced for each statement",
        "everywhere",
        "abstain",
    ];
    let is_node = |node: &str| node.parse::<u16>().is_ok_and(|n| n.to_string() == node);
    fixed.contains(&text) || text.strip_prefix("node ").is_some_and(is_node) || is_refusal(text)
}

fn is_rewriting(text: &str) -> bool {
    text == "keep" || text.starts_with("replace: ") || is_refusal(text)
}

fn is_refusal(text: &str) -> bool {
    text.strip_prefix("refuse ").is_some_and(|state| {
        let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        state.len() == 5 && state.bytes().all(fits)
    })
}

const ROUTES: &str = "use primary, balanced, balanced for each statement, node 1, everywhere, \
    abstain, or refuse 42501";
const REWRITINGS: &str = "use keep, replace: SELECT ..., or refuse 42501";
const ADMISSIONS: &str = "use admit, or refuse 28000";

/// A route in the words of a case.
pub(crate) fn route(route: &Route) -> String {
    match route {
        Route::Reject(rejection) => format!("refuse {}", rejection.sqlstate),
        other => other.to_string(),
    }
}

/// A rewriting in the words of a case.
pub(crate) fn rewrite(rewritten: &Rewritten) -> String {
    match rewritten {
        Rewritten::Keep => "keep".to_owned(),
        Rewritten::Replace { sql, .. } => format!("replace: {sql}"),
        Rewritten::Reject(rejection) => format!("refuse {}", rejection.sqlstate),
    }
}

/// An admission in the words of a case.
pub(crate) fn admit(admitted: &Admitted) -> String {
    match admitted {
        Admitted::Admit(_) => "admit".to_owned(),
        Admitted::Refuse(rejection) => format!("refuse {}", rejection.sqlstate),
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;
    use pgsteer_core::policy::{Rejection, Spread};

    use super::*;

    fn rejection() -> Rejection {
        Rejection {
            sqlstate: "42501".to_owned(),
            message: "no".to_owned(),
            hint: None,
        }
    }

    #[test]
    fn every_answer_can_be_expected() {
        for answer in [
            Route::Abstain,
            Route::Primary,
            Route::Balanced(Spread::Session),
            Route::Balanced(Spread::Statement),
            Route::Node(NodeId(12)),
            Route::Everywhere,
            Route::Reject(rejection()),
        ] {
            assert!(is_route(&route(&answer)), "{answer:?}");
        }
        let replace = Rewritten::Replace {
            sql: "SELECT 1".to_owned(),
            parameters: None,
        };
        for answer in [Rewritten::Keep, replace, Rewritten::Reject(rejection())] {
            assert!(is_rewriting(&rewrite(&answer)), "{answer:?}");
        }
        assert_eq!(admit(&Admitted::Admit(Default::default())), "admit");
        assert!(is_refusal(&admit(&Admitted::Refuse(rejection()))));
    }

    #[test]
    fn nonsense_cannot() {
        for text in ["", "node x", "node 01", "refuse", "refuse 4250", "Primary"] {
            assert!(Expected::parse(Some(text), None, None).is_err(), "{text}");
        }
        assert!(Expected::parse(None, Some("replace:"), None).is_err());
        assert!(Expected::parse(None, None, Some("yes")).is_err());
        assert!(Expected::parse(None, None, None).is_err());
    }

    #[test]
    fn differences_are_lines() {
        let expected = Expected::parse(Some("primary"), Some("keep"), Some("admit"));
        let expected = expected.expect("valid");
        let got = Expected::parse(Some("node 1"), Some("keep"), None).expect("valid");
        assert_eq!(
            expected.differences(&got),
            [
                "route: expected primary, got node 1",
                "admit: expected admit, but the plugin has no hook `session`"
            ]
        );
    }
}
