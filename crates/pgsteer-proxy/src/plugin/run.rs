//! `pgsteer plugin run`: one statement, and what a plugin makes of it.

use anyhow::{Result, bail};
use pgsteer_core::policy::{Hooks, OwnedValue, PluginSource};
use serde_json::{Map, Value, json};

use super::args::{MomentArgs, RunArgs};
use super::ask::{self, Said};
use super::question::{Moment, NODES, Question, Transaction, topology};
use super::shown::Sheet;
use super::{Report, Verdict, source};

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Result<Report> {
    let source = source::read(&args.plugin)?;
    let workbench = source::workbench()?;
    let mut specimen = source::load(&workbench, &source, &topology(&NODES))?;
    let file = source.name.as_str();
    let mut question = question(&args.sql, &args.moment);
    let mut said: Vec<Said> = Vec::new();
    said.extend(ask::admit(&mut specimen, &question, file));
    let rewritten = ask::rewrite(&mut specimen, &question, file);
    if let Some(text) = rewritten.as_ref().and_then(|said| said.new_text.clone()) {
        // As in the proxy: where it runs is asked about the new text.
        question.sql = text;
    }
    let is_rejected = rewritten.as_ref().is_some_and(is_refused);
    said.extend(rewritten);
    if !is_rejected {
        said.extend(ask::decide(&mut specimen, &question, file));
    }
    if said.is_empty() {
        let hooks = specimen.summary().inspection.hooks;
        let advice = if hooks.has(Hooks::FAILOVER) {
            "; pgsteer plugin test asks it about failovers"
        } else {
            ""
        };
        bail!(
            "{file}.wasm has no hook that is asked about statements or sessions, only \
             {hooks}{advice}"
        );
    }
    Ok(report(&args.sql, &question, &source, &said))
}

/// The question that the options describe.
pub(crate) fn question(sql: &str, moment: &MomentArgs) -> Question {
    let value = |text: &String| OwnedValue::Text(text.clone());
    Question {
        sql: sql.to_owned(),
        user: moment.user.clone(),
        database: moment.database.clone(),
        application_name: moment.application_name.clone(),
        client_address: moment.client_address.clone(),
        moment: Moment {
            transaction: Transaction::new(moment.in_transaction, moment.read_only),
            extended: moment.extended,
        },
        values: moment.value.iter().map(value).collect(),
        ..Question::default()
    }
}

fn is_refused(said: &Said) -> bool {
    said.words
        .as_ref()
        .is_ok_and(|words| words.starts_with("refuse "))
}

fn report(sql: &str, question: &Question, source: &PluginSource, said: &[Said]) -> Report {
    let mut sheet = Sheet::default();
    let asked = Question {
        sql: sql.to_owned(),
        ..question.clone()
    };
    sheet.line("statement", asked.words());
    sheet.line("fingerprint", asked.sample("").fingerprint.to_string());
    for said in said {
        let mut lines = vec![match &said.words {
            Ok(words) => words.clone(),
            Err(failure) => format!("FAILED: {failure}"),
        }];
        lines.extend(said.details.iter().cloned());
        lines.push(said.cost.words(&source.limits));
        sheet.line(said.hook, lines.join("\n"));
    }
    let is_routed = said.iter().any(|said| said.hook == "router");
    if is_routed && question.sql != sql {
        let note = "the router was asked about the new text, as in the proxy";
        sheet.line("note", note);
    }
    let mut json = Map::new();
    json.insert("statement".to_owned(), asked.json());
    for said in said {
        let mut value = said.json.clone();
        value["cost"] = said.cost.json(&source.limits);
        json.insert(said.hook.to_owned(), value);
    }
    Report {
        verdict: Verdict::when(said.iter().all(|said| said.words.is_ok())),
        text: sheet.to_string(),
        json: Value::Object(json),
    }
}

impl Question {
    /// What the statement is, for people.
    fn words(&self) -> String {
        let sample = self.sample("");
        let mut words = vec![self.class()];
        words.extend(super::question::trait_names(sample.traits).map(str::to_owned));
        words.join(", ")
    }

    /// The same for programs.
    fn json(&self) -> Value {
        let sample = self.sample("");
        json!({
            "sql": self.sql,
            "class": self.class(),
            "traits": super::question::trait_names(sample.traits).collect::<Vec<_>>(),
            "fingerprint": sample.fingerprint.to_string(),
        })
    }
}
