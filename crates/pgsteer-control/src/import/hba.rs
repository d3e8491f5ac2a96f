//! `pool_hba.conf`: its rules become `[[hba]]`, in their order, and a word about each.

use std::collections::HashMap;
use std::io;

use super::items::{Answer, Items};
use super::report::Line;
use super::report::Verdict::{self, CarriedOver, NotNeeded, NotThere, OtherMeaning};
use super::{FileKind, InputFile, Work, mistake};
use crate::config::ConfigError;
use crate::config::hba::{Entry, World, lines};

/// One rule.
pub(crate) struct Rule {
    place: String,
    entry: Entry,
}

/// Reads all rules and notes every line that is none; `None` if there is no such file.
pub(crate) fn read(files: &[InputFile], mistakes: &mut Vec<ConfigError>) -> Option<Vec<Rule>> {
    let mut rules = None;
    for file in files.iter().filter(|file| file.kind == FileKind::Hba) {
        let rules = rules.get_or_insert_with(Vec::new);
        let (lines, problems) = lines::lines(&file.text);
        for (number, problem) in problems {
            mistakes.push(mistake(&file.name, number, problem, ADVICE));
        }
        for line in lines {
            let place = format!("{}:{}", file.name, line.number);
            match Entry::from_fields(line.fields) {
                Ok(entry) => rules.push(Rule { place, entry }),
                Err(_) => {
                    mistakes.push(mistake(&file.name, line.number, "is not a rule", ADVICE));
                }
            }
        }
    }
    rules
}

const ADVICE: &str = "write type, database, user, address (not for local) and method";

/// What a rule of Pgpool-II becomes.
enum Fate {
    /// The same.
    Same,
    /// The same clients, who must answer SCRAM.
    OtherMethod,
    /// Nobody knows here whom it is for: nobody gets further than this.
    Rejects(String),
}

impl Rule {
    fn fate(&self) -> Fate {
        let names_file = |word: &lines::Word| !word.is_quoted && word.text.starts_with('@');
        let mut names = self.entry.databases.iter().chain(&self.entry.users);
        if names.any(names_file) {
            return Fate::Rejects("names come from a file that was not read".to_owned());
        }
        // The import reads no files, and networks of another machine mean nothing here.
        let no_files =
            |_: &std::path::Path| -> io::Result<String> { Err(io::ErrorKind::NotFound.into()) };
        let world = World {
            read_file: &no_files,
            maps: &HashMap::new(),
            map_file: None,
        };
        match self.entry.rule(&self.place, &world) {
            Ok(_) => Fate::Same,
            Err((problem, _)) => match self.with_scram().rule(&self.place, &world) {
                Ok(_) => Fate::OtherMethod,
                Err(_) => Fate::Rejects(format!("it {problem}")),
            },
        }
    }

    fn with_scram(&self) -> Entry {
        Entry {
            method: "scram-sha-256".to_owned(),
            options: Vec::new(),
            ..self.entry.clone()
        }
    }

    /// The rule without its options, which may hold secrets.
    fn subject(&self) -> String {
        let names = |words: &[lines::Word]| {
            let texts = words.iter().map(|word| word.text.as_str());
            texts.collect::<Vec<_>>().join(",")
        };
        let Entry {
            kind,
            databases,
            users,
            address,
            mask,
            method,
            ..
        } = &self.entry;
        let (databases, users) = (names(databases), names(users));
        let fields = [kind, &databases, &users, address, mask, method];
        let fields = fields.into_iter().filter(|field| !field.is_empty());
        let clean = |field: &String| field.replace(char::is_control, "?");
        fields.map(clean).collect::<Vec<_>>().join(" ")
    }
}

/// Rules that let nobody any further, over whatever they came.
fn rejections() -> [Entry; 2] {
    let all = || {
        vec![lines::Word {
            text: "all".to_owned(),
            is_quoted: false,
        }]
    };
    ["local", "host"].map(|kind| Entry {
        kind: kind.to_owned(),
        databases: all(),
        users: all(),
        method: "reject".to_owned(),
        ..Entry::default()
    })
}

/// Takes the rules over, and answers each of them and `enable_pool_hba`.
pub(crate) fn answer(items: &Items, rules: Option<Vec<Rule>>, work: &mut Work) {
    let is_on = items.is_on("enable_pool_hba");
    let given = items.get("enable_pool_hba").map(|(index, _)| index);
    let switch = match (&rules, is_on) {
        (_, false) => Answer::new(
            NotNeeded,
            "it is off; here the proxy always asks clients for their password (auth.method)",
        ),
        (None, true) => Answer::new(
            NotThere,
            "give pool_hba.conf to the import as well: its rules are missing, everybody in [[users]] \
             may log in from everywhere",
        )
        .warn(),
        (Some(rules), true) => {
            Answer::new(CarriedOver, format!("[[hba]], {} of them", rules.len()))
        }
    };
    if let Some(index) = given {
        work.answers.insert(index, switch);
    }
    for rule in rules.unwrap_or_default() {
        let (verdict, text, is_warning) = match is_on {
            true => carry_over(&rule, work),
            false => (
                NotNeeded,
                "enable_pool_hba is not on, so it is not in force".to_owned(),
                false,
            ),
        };
        work.report.lines.push(Line {
            place: rule.place.clone(),
            subject: rule.subject(),
            verdict,
            text,
            is_warning,
        });
    }
}

fn carry_over(rule: &Rule, work: &mut Work) -> (Verdict, String, bool) {
    let rules = &mut work.draft.rules;
    match rule.fate() {
        Fate::Same => {
            rules.push(rule.entry.clone());
            let needs = match rule.entry.kind.as_str() {
                "local" => "; it takes listen.unix_socket_dir",
                "hostssl" => "; it takes [tls]",
                _ => "",
            };
            (CarriedOver, format!("[[hba]]{needs}"), false)
        }
        Fate::OtherMethod => {
            rules.push(rule.with_scram());
            let method = rule.entry.method.replace(char::is_control, "?");
            let text = format!(
                "the method {method} with these options is not there: these clients must answer \
                 scram-sha-256 now"
            );
            (OtherMeaning, text, true)
        }
        Fate::Rejects(why) => {
            rules.extend(rejections());
            let text = format!(
                "{why}: rules that reject everybody stand in its place, and nobody gets to those \
                 behind them until you have written it anew"
            );
            (NotThere, text, true)
        }
    }
}
