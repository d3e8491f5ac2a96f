//! Goes through a scenario with a plugin: asks, obeys, and compares what it said with what was
//! expected.

use pgsteer_core::policy::{Crisis, Occasion, PolicyError, Remedy};
use serde_json::{Value, json};

use super::scenario::{Scenario, Step};
use super::stage::Stage;

/// What became of a scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) steps: Vec<StepOutcome>,
}

/// What became of a step.
#[derive(Debug)]
pub(crate) struct StepOutcome {
    at_ms: u64,
    expected: Vec<String>,
    got: Vec<String>,
    asked: Vec<Asked>,
    failure: Option<String>,
}

/// A question and its answer.
#[derive(Debug)]
struct Asked {
    at_ms: u64,
    question: String,
    answer: String,
    refused: Option<String>,
}

/// Asks it through all steps; after a failure of the plugin there are no more.
pub(crate) fn run(
    scenario: &Scenario,
    mut ask: impl FnMut(&Crisis) -> Result<Remedy, PolicyError>,
) -> Outcome {
    let mut stage = Stage::new(&scenario.nodes);
    let mut steps = Vec::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        let next = scenario.steps.get(index + 1).map(|next| next.at_ms);
        let until_ms = next.unwrap_or(step.at_ms + LAST_STEP_MS);
        let outcome = go_through(step, until_ms, &mut stage, &mut ask);
        let failed = outcome.failure.is_some();
        steps.push(outcome);
        if failed {
            break;
        }
    }
    Outcome {
        name: scenario.name.clone(),
        steps,
    }
}

fn go_through(
    step: &Step,
    until_ms: u64,
    stage: &mut Stage,
    ask: &mut impl FnMut(&Crisis) -> Result<Remedy, PolicyError>,
) -> StepOutcome {
    let mut outcome = StepOutcome {
        at_ms: step.at_ms,
        expected: step.expected.clone(),
        got: Vec::new(),
        asked: Vec::new(),
        failure: None,
    };
    stage.now_ms = step.at_ms;
    stage.change(&step.changes);
    while stage.now_ms < until_ms {
        let Some(crisis) = stage.question() else {
            match stage.next_ms().filter(|next| *next < until_ms) {
                Some(next) => stage.now_ms = stage.now_ms.max(next),
                None => break,
            }
            continue;
        };
        if outcome.asked.len() >= QUESTIONS_MAX {
            let endless = format!("it was asked {QUESTIONS_MAX} times and comes to no end");
            outcome.failure = Some(endless);
            break;
        }
        let remedy = match ask(&crisis) {
            Ok(remedy) => remedy,
            Err(error) => {
                outcome.failure =
                    Some(format!("it failed when it was {}: {error}", about(&crisis)));
                break;
            }
        };
        let answer = words(&remedy);
        let is = |listed: &String| matches(listed, &answer);
        if step.refuses.iter().any(is) {
            stage.refuse("the scenario refuses it");
        } else if step.fails.iter().any(is) {
            stage.fail(&remedy);
        } else {
            stage.take(&remedy);
        }
        outcome.note(stage.now_ms, &crisis, answer);
    }
    outcome
}

impl StepOutcome {
    fn note(&mut self, at_ms: u64, crisis: &Crisis, answer: String) {
        if self.got.last() != Some(&answer) {
            self.got.push(answer.clone());
        }
        let refused = Some(crisis.refused.clone()).filter(|refused| !refused.is_empty());
        self.asked.push(Asked {
            at_ms,
            question: about(crisis),
            answer,
            refused,
        });
    }

    fn is_as_expected(&self) -> bool {
        let alike = |(expected, got): (&String, &String)| matches(expected, got);
        let same = self.expected.len() == self.got.len();
        same && self.failure.is_none() && self.expected.iter().zip(&self.got).all(alike)
    }
}

impl Outcome {
    /// Whether every answer was one that was expected.
    pub(crate) fn is_good(&self) -> bool {
        self.steps.iter().all(StepOutcome::is_as_expected)
    }

    /// What was not, for people.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for step in self.steps.iter().filter(|step| !step.is_as_expected()) {
            let at = shown(step.at_ms);
            match &step.failure {
                Some(failure) => lines.push(format!("at {at}: {failure}")),
                None => {
                    let (expected, got) = (listed(&step.expected), listed(&step.got));
                    lines.push(format!("at {at}: expected {expected}, got {got}"));
                }
            }
            for asked in step.asked.iter().take(SHOWN_MAX) {
                lines.push(format!("  ({}: {})", asked.question, asked.answer));
                let refused = asked.refused.iter();
                lines.extend(refused.map(|why| format!("  (before that was refused: {why})")));
            }
        }
        lines
    }

    /// All of it, for programs.
    pub(crate) fn json(&self) -> Value {
        let asked = |asked: &Asked| {
            json!({
                "at_ms": asked.at_ms,
                "asked": asked.question,
                "answer": asked.answer,
                "refused_before": asked.refused,
            })
        };
        let step = |step: &StepOutcome| {
            json!({
                "at_ms": step.at_ms,
                "passed": step.is_as_expected(),
                "expected": step.expected,
                "got": step.got,
                "failure": step.failure,
                "questions": step.asked.iter().map(asked).collect::<Vec<_>>(),
            })
        };
        json!({
            "name": self.name,
            "passed": self.is_good(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

/// An expected answer stands for one with its words.
fn matches(expected: &str, got: &str) -> bool {
    match expected.strip_prefix("give up") {
        Some("") => got.starts_with("give up"),
        Some(rest) => {
            let wanted = rest.trim_start_matches(": ");
            got.starts_with("give up") && got.contains(wanted)
        }
        None => expected == got,
    }
}

fn words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Abstain => "abstain".to_owned(),
        Remedy::Wait(_) => "wait".to_owned(),
        Remedy::Promote(id) => format!("promote {id}"),
        Remedy::Follow(id) => format!("follow {id}"),
        Remedy::Detach(id) => format!("detach {id}"),
        Remedy::Reattach(id) => format!("reattach {id}"),
        Remedy::GiveUp(reason) => format!("give up: {reason}"),
    }
}

fn about(crisis: &Crisis) -> String {
    let what = match crisis.occasion {
        Occasion::PrimaryLost => "the lost primary",
        Occasion::OtherPrimary => "another primary",
        Occasion::NodeLost => "a lost node",
        Occasion::NodeBack => "a node that is back",
    };
    let node = crisis.subject.map(|id| format!(", node {id}"));
    format!("asked about {what}{}", node.unwrap_or_default())
}

fn listed(answers: &[String]) -> String {
    if answers.is_empty() {
        return "nothing".to_owned();
    }
    answers.join(", then ")
}

fn shown(ms: u64) -> String {
    if ms.is_multiple_of(1_000) {
        return format!("{}s", ms / 1_000);
    }
    format!("{ms}ms")
}

/// How long it goes on after the last step.
const LAST_STEP_MS: u64 = 300_000;

/// Questions of one step (ours: twice what one each second comes to in the longest).
const QUESTIONS_MAX: usize = 10_000;

/// Questions that are shown of a step that went wrong.
const SHOWN_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use pgsteer_core::NodeId;
    use pgsteer_core::policy::FailureClass;

    use super::super::scenario::tests::scenario;
    use super::*;

    /// Promotes the second node, and takes out and in whatever it is asked about.
    fn simple(crisis: &Crisis) -> Result<Remedy, PolicyError> {
        let subject = crisis.subject.unwrap_or(NodeId(0));
        Ok(match crisis.occasion {
            Occasion::PrimaryLost if crisis.refused.is_empty() => Remedy::Promote(NodeId(1)),
            Occasion::PrimaryLost => Remedy::Wait(100),
            Occasion::OtherPrimary => Remedy::Abstain,
            Occasion::NodeLost => Remedy::Detach(subject),
            Occasion::NodeBack => Remedy::Reattach(subject),
        })
    }

    #[track_caller]
    fn check(text: &str) {
        let outcome = run(&scenario(text), simple);
        assert!(outcome.is_good(), "{:#?}", outcome.differences());
    }

    #[test]
    fn a_primary_dies_and_comes_back_as_a_replica() {
        check(
            r#"
            [[step]]
            at = "0s"
            expect = "nothing"
            [[step]]
            at = "10s"
            node.0 = { up = false }
            expect = "promote 1"
            [[step]]
            at = "20s"
            node.0 = { up = true }
            expect = "abstain"
            [[step]]
            at = "30s"
            node.0 = { role = "replica", follows = 1 }
            expect = "reattach 0"
            [[step]]
            at = "40s"
            node.2 = { up = false }
            expect = "detach 2"
            "#,
        );
    }

    #[test]
    fn what_is_refused_or_fails_comes_again() {
        let text = r#"
            [[step]]
            at = "0s"
            node.0 = { up = false }
            refuse = "promote 1"
            expect = ["promote 1", "wait", "promote 1", "wait"]
            [[step]]
            at = "2200ms"
            fail = "promote 1"
            expect = ["promote 1", "wait"]
            [[step]]
            at = "3300ms"
            expect = "promote 1"
            "#;
        let mut failed = 0;
        let outcome = run(&scenario(text), |crisis| {
            let events = crisis.history.iter();
            failed = events
                .filter(|event| event.what == "promotion-failed")
                .count();
            simple(crisis)
        });
        assert!(outcome.is_good(), "{:#?}", outcome.differences());
        assert_eq!(failed, 1);
    }

    #[test]
    fn differences_say_what_was_asked() {
        let text = r#"
            [[step]]
            at = "1500ms"
            node.0 = { up = false }
            expect = ["wait", "promote 2"]
            "#;
        let outcome = run(&scenario(text), simple);
        assert!(!outcome.is_good());
        assert_eq!(
            outcome.differences(),
            [
                "at 1500ms: expected wait, then promote 2, got promote 1",
                "  (asked about the lost primary, node 0: promote 1)"
            ]
        );
        assert_eq!(outcome.json()["steps"][0]["questions"][0]["at_ms"], 1500);
    }

    #[test]
    fn a_failure_and_endless_waiting_end_it() {
        let text = "[[step]]\nat = \"0s\"\nnode.0 = { up = false }\nexpect = \"wait\"";
        let failed = run(&scenario(text), |_| {
            Err(PolicyError {
                class: FailureClass::Trap,
                reason: "unreachable".to_owned(),
            })
        });
        assert!(!failed.is_good());
        assert!(
            failed.differences()[0].contains("unreachable"),
            "{failed:?}"
        );
        let endless = run(&scenario(text), |_| Ok(Remedy::Wait(0)));
        assert!(endless.differences()[0].contains("comes to no end"));
    }

    #[test]
    fn reasons_are_compared_by_their_words() {
        assert!(matches("give up", "give up: no node"));
        assert!(matches("give up: no", "give up: there is no node"));
        assert!(!matches("give up: some", "give up: no node"));
        assert!(!matches("wait", "give up: wait"));
    }
}
