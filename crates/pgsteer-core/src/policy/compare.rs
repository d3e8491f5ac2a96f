//! What a plugin answers to a question of the past, and whether two versions agree about it.

use super::{Decision, Hooks, Policy, PolicyError, Reuse, Rewritten, Sample, Taint};

/// The answers of one instance to one sample; `None` where it implements no such hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    rewritten: Option<Rewritten>,
    decision: Option<Decision>,
}

impl Answers {
    /// Asks an instance of the plugin with this file name. The session is opened anew.
    ///
    /// # Errors
    /// The plugin failed.
    pub fn ask(
        policy: &mut dyn Policy,
        hooks: Hooks,
        sample: &Sample,
        file: &str,
    ) -> Result<Self, PolicyError> {
        let mut settings = Vec::new();
        let session = sample.session(&mut settings);
        let mut answers = Self {
            rewritten: None,
            decision: None,
        };
        if hooks.has(Hooks::REWRITER) {
            let class = policy.open_rewriter(&session)?;
            let mut values = Vec::new();
            let asked = sample.statement(file, class, &mut values);
            answers.rewritten = Some(policy.rewrite(&asked)?.rewritten);
        }
        if hooks.has(Hooks::ROUTER) {
            let class = policy.open(&session)?.class;
            let mut values = Vec::new();
            let asked = sample.statement(file, class, &mut values);
            let mut decision = policy.decide(&asked)?;
            // How an answer came about and how long it is good for is not what it says.
            (decision.reuse, decision.taint, decision.reason) = (Reuse::Never, Taint::default(), 0);
            answers.decision = Some(decision);
        }
        Ok(answers)
    }

    /// Whether a statement is refused.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let by_rewriter = matches!(self.rewritten, Some(Rewritten::Reject(_)));
        let by_router = self.decision.as_ref().map(|d| &d.route);
        by_rewriter || matches!(by_router, Some(super::Route::Reject(_)))
    }

    /// In a few words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        match &self.rewritten {
            Some(Rewritten::Keep) => words.push("keeps the text".to_owned()),
            Some(Rewritten::Replace { sql, .. }) => words.push(format!("rewrites to: {sql}")),
            Some(Rewritten::Reject(r)) => {
                words.push(format!("refuses: {} {}", r.sqlstate, r.message))
            }
            None => {}
        }
        if let Some(decision) = &self.decision {
            words.push(decision.route.to_string());
        }
        if words.is_empty() {
            return "has nothing to say about statements".to_owned();
        }
        words.join(", ")
    }
}
