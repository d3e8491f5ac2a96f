//! Asks a plugin about everything that one question is for, hook by hook, with what it cost.

use std::time::Duration;

use pgsteer_core::policy::{
    Admission, Admitted, Decision, Fallback, Hooks, PolicyError, Rejection, Reuse, Rewriting,
    Rewritten, fresh,
};
use pgsteer_core::settings::PluginLimits;
use pgsteer_plugin_host::tool::{Asked, Specimen};
use serde_json::{Value, json};

use super::check::micros;
use super::expected::{self, Expected};
use super::question::Question;
use super::shown;

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
}

impl Cost {
    /// In a line, against the limits.
    pub(crate) fn words(&self, limits: &PluginLimits) -> String {
        let (memory, memory_max) = (self.memory_bytes, limits.memory_bytes_max);
        let (time, time_max) = (self.time, limits.decision_timeout);
        let mark = |over: bool, share: String| if over { "OVER".to_owned() } else { share };
        let of_memory = mark(
            memory > memory_max,
            shown::share(memory as f64, memory_max as f64),
        );
        let of_time = mark(
            time > time_max,
            shown::share(time.as_secs_f64(), time_max.as_secs_f64()),
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
        said("session", specimen.ask(|policy| policy.admit(&session)), |answer| {
            admitted(answer)
        })
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
        if said.words.as_ref().is_ok_and(|words| words.starts_with("balanced")) {
            let named = candidates.iter().map(|c| format!("node {} ({})", c.node, c.weight));
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

/// An answer: words, details, JSON.
type Told = (String, Vec<String>, Value);

fn said<T>(hook: &'static str, asked: Asked<T>, tell: impl FnOnce(T) -> Told) -> Said {
    let cost = Cost {
        fuel: asked.fuel,
        time: asked.time,
        memory_bytes: asked.memory_bytes,
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

fn admitted(answer: Admitted) -> Told {
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
                let pairs = pairs.iter().map(|(name, value)| format!("{name} = {value}"));
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

fn rewriting(answer: &Rewriting) -> Told {
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

fn decided(decision: &Decision) -> Told {
    let words = expected::route(&decision.route);
    if let pgsteer_core::policy::Route::Reject(rejection) = &decision.route {
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
        let keys: Vec<_> = decision.keys.iter().map(|key| format!("{key:#x}")).collect();
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
    use pgsteer_core::policy::{Limits, Route, Spread, Taint};
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
        };
        assert_eq!(
            cost.words(&limits),
            "fuel 1,234, memory 4.0 MiB of 16.0 MiB (25%), time 500.0 µs of 50.0 ms (1.0%)"
        );
        cost.time = Duration::from_millis(60);
        assert!(cost.words(&limits).ends_with("(OVER)"));
    }

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
        assert_eq!((&*words, details.join("; ")), ("refuse 42501", "no; hint: ask".to_owned()));
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
