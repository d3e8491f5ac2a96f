//! Asks a plugin about everything that one question is for, hook by hook, with what it cost.

use std::time::Duration;

use pgsteer_core::policy::{FailureClass, Hooks, PolicyError};
use pgsteer_core::settings::PluginLimits;
use pgsteer_plugin_host::tool::{Asked, Specimen};
use serde_json::{Value, json};

use super::check::micros;
use super::expected::Expected;
use super::question::Question;
use super::shown;
use super::told::{Told, admitted, decided, rewriting};

/// What one hook said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Name of the hook in `wit/`.
    pub(crate) hook: &'static str,
    /// The words of a case, or how the plugin failed.
    pub(crate) words: Result<String, String>,
    /// What else there is to say, for people.
    pub(crate) details: Vec<String>,
    /// The text that runs in place of the one asked about.
    pub(crate) new_text: Option<String>,
    /// The answer, for programs.
    pub(crate) json: Value,
    pub(crate) cost: Cost,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) fuel: u64,
    pub(crate) time: Duration,
    pub(crate) memory_bytes: usize,
    /// The limit it ran into, if it failed by one.
    pub(crate) over: Option<FailureClass>,
}

impl Cost {
    /// In a line, against the limits.
    pub(crate) fn words(&self, limits: &PluginLimits) -> String {
        let (memory, memory_max) = (self.memory_bytes, limits.memory_bytes_max);
        let (time, time_max) = (self.time, limits.decision_timeout);
        let mark = |limit: FailureClass, part: f64, whole: f64| {
            let is_over = self.over == Some(limit);
            let share = || shown::share(part, whole);
            if is_over { "OVER".to_owned() } else { share() }
        };
        let of_memory = mark(FailureClass::Memory, memory as f64, memory_max as f64);
        let of_time = mark(
            FailureClass::Deadline,
            time.as_secs_f64(),
            time_max.as_secs_f64(),
        );
        format!(
            "fuel {}, memory {} of {} ({of_memory}), time {} of {} ({of_time})",
            shown::count(self.fuel),
            shown::bytes(memory),
            shown::bytes(memory_max),
            shown::time(time),
            shown::time(time_max),
        )
    }

    /// For programs.
    pub(crate) fn json(&self, limits: &PluginLimits) -> Value {
        json!({
            "fuel": self.fuel,
            "memory_bytes": self.memory_bytes,
            "memory_bytes_max": limits.memory_bytes_max,
            "microseconds": micros(self.time),
            "microseconds_max": micros(limits.decision_timeout),
        })
    }
}

/// Whether a session may begin; `None`: it has no such hook.
pub(crate) fn admit(specimen: &mut Specimen, question: &Question, file: &str) -> Option<Said> {
    has(specimen, Hooks::SESSION).then(|| {
        let sample = question.sample(file);
        let mut settings = Vec::new();
        let session = sample.session(&mut settings);
        said(
            "session",
            specimen.ask(|policy| policy.admit(&session)),
            admitted,
        )
    })
}

/// What becomes of the text.
pub(crate) fn rewrite(specimen: &mut Specimen, question: &Question, file: &str) -> Option<Said> {
    has(specimen, Hooks::REWRITER).then(|| {
        let sample = question.sample(file);
        let (mut settings, mut values) = (Vec::new(), Vec::new());
        let session = sample.session(&mut settings);
        let opened = specimen.ask(|policy| policy.open_rewriter(&session));
        let asked = after(opened, |class| {
            let statement = sample.statement(file, class, &mut values);
            specimen.ask(|policy| policy.rewrite(&statement))
        });
        let mut said = said("rewriter", asked, |answer| rewriting(&answer));
        if let Ok(words) = &said.words {
            said.new_text = words.strip_prefix("replace: ").map(str::to_owned);
        }
        said
    })
}

/// Where the statement runs.
pub(crate) fn decide(specimen: &mut Specimen, question: &Question, file: &str) -> Option<Said> {
    has(specimen, Hooks::ROUTER).then(|| {
        let sample = question.sample(file);
        let (mut settings, mut values) = (Vec::new(), Vec::new());
        let session = sample.session(&mut settings);
        let opened = specimen.ask(|policy| policy.open(&session));
        let mut candidates = Vec::new();
        let asked = after(opened, |opening| {
            candidates = opening.candidates;
            let statement = sample.statement(file, opening.class, &mut values);
            specimen.ask(|policy| policy.decide(&statement))
        });
        let reason = asked.answer.as_ref().map_or(0, |decision| decision.reason);
        let mut said = said("router", asked, |decision| decided(&decision));
        if said
            .words
            .as_ref()
            .is_ok_and(|words| words.starts_with("balanced"))
        {
            let named = candidates
                .iter()
                .map(|c| format!("node {} ({})", c.node, c.weight));
            let named: Vec<_> = named.collect();
            said.details.push(if named.is_empty() {
                "among no nodes: it names none when a session begins, so the primary".to_owned()
            } else {
                format!("among {}", named.join(", "))
            });
        }
        if said.words.is_ok() {
            explain(specimen, reason, &mut said);
        }
        said
    })
}

fn explain(specimen: &mut Specimen, reason: u32, said: &mut Said) {
    let rule = specimen.ask(|policy| policy.explain(reason)).answer;
    if let Some(rule) = rule.ok().filter(|rule| !rule.is_empty()) {
        said.details.push(format!("because: {rule}"));
        said.json["because"] = rule.into();
    }
}

/// The words of all of them, to be compared with what a case expects.
pub(crate) fn answers<'a>(said: impl IntoIterator<Item = &'a Said>) -> Expected {
    let mut answers = Expected::default();
    for said in said {
        let failed = |reason: &String| format!("a failure: {reason}");
        let words = said.words.as_ref().map_or_else(failed, String::clone);
        match said.hook {
            "session" => answers.admit = Some(words),
            "rewriter" => answers.rewrite = Some(words),
            _ => answers.route = Some(words),
        }
    }
    answers
}

fn has(specimen: &Specimen, hook: Hooks) -> bool {
    specimen.summary().inspection.hooks.has(hook)
}

/// The second question, if the first was answered.
fn after<A, B>(first: Asked<A>, second: impl FnOnce(A) -> Asked<B>) -> Asked<B> {
    match first.answer {
        Ok(answer) => second(answer),
        Err(error) => Asked {
            answer: Err(error),
            fuel: first.fuel,
            time: first.time,
            memory_bytes: first.memory_bytes,
        },
    }
}

fn said<T>(hook: &'static str, asked: Asked<T>, tell: impl FnOnce(T) -> Told) -> Said {
    let cost = Cost {
        fuel: asked.fuel,
        time: asked.time,
        memory_bytes: asked.memory_bytes,
        over: asked.answer.as_ref().err().map(|error| error.class),
    };
    let failed = |PolicyError { class, reason }: PolicyError| {
        let json = json!({ "failure": format!("{class:?}").to_lowercase(), "reason": reason });
        (Err(format!("{class:?}: {reason}")), Vec::new(), json)
    };
    let (words, details, json) = asked.answer.map_or_else(failed, |answer| {
        let (words, details, json) = tell(answer);
        (Ok(words), details, json)
    });
    Said {
        hook,
        words,
        details,
        new_text: None,
        json,
        cost,
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::settings::OnFailure;

    use super::*;

    #[test]
    fn costs_are_shown_against_the_limits() {
        let limits = PluginLimits {
            results_bytes_max: 1,
            log_lines_max: 1,
            functions_max: 1,
            decision_timeout: Duration::from_millis(50),
            configure_timeout: Duration::from_secs(1),
            memory_bytes_max: 16 << 20,
            file_bytes_max: 1,
            on_failure: OnFailure::Skip,
        };
        let mut cost = Cost {
            fuel: 1_234,
            time: Duration::from_micros(500),
            memory_bytes: 4 << 20,
            over: None,
        };
        assert_eq!(
            cost.words(&limits),
            "fuel 1,234, memory 4.0 MiB of 16.0 MiB (25%), time 500.0 µs of 50.0 ms (1.0%)"
        );
        cost.over = Some(FailureClass::Deadline);
        assert!(cost.words(&limits).ends_with("(OVER)"));
    }
}
