//! `pool_hba.conf`: one method for all clients comes out of its rules, and a word about each.

use super::items::{Answer, Items};
use super::report::Line;
use super::report::Verdict::{self, CarriedOver, NotNeeded, NotThere, OtherMeaning};
use super::{FileKind, InputFile, Work, listen, mistake};
use crate::config::ConfigError;

/// One rule.
pub(crate) struct Rule {
    place: String,
    kind: String,
    database: String,
    user: String,
    /// Empty for `local`.
    address: String,
    method: String,
}

/// Reads all rules and notes every line that is none; `None` if there is no such file.
pub(crate) fn read(files: &[InputFile], mistakes: &mut Vec<ConfigError>) -> Option<Vec<Rule>> {
    let mut rules = None;
    for file in files.iter().filter(|file| file.kind == FileKind::Hba) {
        let rules = rules.get_or_insert_with(Vec::new);
        for (index, line) in file.text.lines().enumerate() {
            let fields = fields(line);
            if fields.is_empty() {
                continue;
            }
            match rule(&fields, format!("{}:{}", file.name, index + 1)) {
                Some(rule) => rules.push(rule),
                None => mistakes.push(mistake(
                    &file.name,
                    index + 1,
                    "is not a rule",
                    "write type, database, user, address (not for local) and method",
                )),
            }
        }
    }
    rules
}

/// Words, in double quotes or not, up to a comment.
fn fields(line: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    let (mut is_quoted, mut is_inside) = (false, false);
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => break,
            c if c.is_whitespace() && !is_quoted => {
                is_inside = false;
                continue;
            }
            _ => {}
        }
        if !is_inside {
            fields.push(String::new());
            is_inside = true;
        }
        if let Some(field) = fields.last_mut().filter(|_| c != '"') {
            field.push(c);
        }
    }
    fields
}

fn rule(fields: &[String], place: String) -> Option<Rule> {
    let mut fields = fields.iter().map(String::as_str);
    let kind = fields.next()?.to_ascii_lowercase();
    let (database, user) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let mut address = String::new();
    match kind.as_str() {
        "local" => {}
        "host" | "hostssl" | "hostnossl" => fields.next()?.clone_into(&mut address),
        _ => return None,
    }
    let mut method = fields.next()?;
    // A mask may stand in a column of its own.
    if !address.is_empty() && method.parse::<std::net::IpAddr>().is_ok() {
        address = format!("{address} {method}");
        method = fields.next()?;
    }
    let method = method.to_ascii_lowercase();
    Some(Rule {
        place,
        kind,
        database,
        user,
        address,
        method,
    })
}

impl Rule {
    fn accepts(&self) -> bool {
        self.method != "reject"
    }

    fn is_loopback(&self) -> bool {
        let address = self.address.as_str();
        address.is_empty()
            || address.starts_with("127.")
            || address.starts_with("::1")
            || ["localhost", "samehost"].contains(&address)
    }

    /// Whether it is for some clients only. `is_local`: the proxy serves this machine alone.
    fn is_restricted(&self, is_local: bool) -> bool {
        let everywhere = ["all", "0.0.0.0/0", "0.0.0.0 0.0.0.0", "::/0", "::0/0"];
        let everybody = self.database == "all" && self.user == "all";
        let from_anywhere = everywhere.contains(&self.address.as_str());
        !(everybody && (from_anywhere || is_local && self.is_loopback()))
    }

    fn subject(&self) -> String {
        let fields = [
            &self.kind,
            &self.database,
            &self.user,
            &self.address,
            &self.method,
        ];
        let fields = fields.into_iter().filter(|field| !field.is_empty());
        fields
            .map(|field| field.replace(char::is_control, "?"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// From the weakest to the strictest.
const METHODS: [&str; 4] = ["trust", "password", "md5", "scram-sha-256"];

/// The strictest method of the accepting rules. Nobody is trusted whom some rule did not trust.
fn method(rules: &[Rule], is_local: bool) -> &'static str {
    let rank = |rule: &Rule| METHODS.iter().position(|method| *method == rule.method);
    let strictest = METHODS.len() - 1;
    let accepting = rules.iter().filter(|rule| rule.accepts());
    // What is not known here, such as certificates, was meant to be strict.
    let chosen = accepting.map(|rule| rank(rule).unwrap_or(strictest)).max();
    let not_for_all = rules
        .iter()
        .any(|rule| !rule.accepts() || rule.is_restricted(is_local));
    match chosen {
        Some(0) if not_for_all => METHODS[strictest],
        Some(chosen) => METHODS[chosen],
        None => METHODS[strictest],
    }
}

/// Chooses `auth.method`, and answers every rule and `enable_pool_hba`.
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
        (Some(_), true) => Answer::to(OtherMeaning, METHOD, "one method for all clients"),
    };
    if let Some(index) = given {
        work.answers.insert(index, switch);
    }
    let rules = rules.unwrap_or_default();
    let is_local = listen::is_local(items);
    let chosen = method(&rules, is_local);
    if is_on && !rules.is_empty() {
        work.draft.set(METHOD, chosen);
    }
    for rule in &rules {
        let (verdict, text, is_warning) = match is_on {
            true => judge(rule, chosen, is_local),
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

const METHOD: &str = "auth.method";

fn judge(rule: &Rule, chosen: &str, is_local: bool) -> (Verdict, String, bool) {
    if !rule.accepts() {
        let text = "nobody is rejected here; keep these clients away with a firewall, or leave their \
                    users out of [[users]]";
        return (NotThere, text.to_owned(), true);
    }
    if !METHODS.contains(&rule.method.as_str()) {
        let text =
            format!("this method is not there; auth.method = {chosen:?} asks for a password");
        return (NotThere, text, true);
    }
    if rule.kind.starts_with("hosts") || rule.kind.starts_with("hostn") {
        let text = format!(
            "clients are not told apart by TLS; auth.method = {chosen:?} is for all, and `tls.mode` says whether they must use it"
        );
        return (NotThere, text, true);
    }
    let change = match rule.method == chosen {
        true => String::new(),
        false => format!("; these clients must answer {chosen} now"),
    };
    if rule.kind == "local" {
        let text = format!("there is no Unix socket; auth.method = {chosen:?} over TCP{change}");
        return (OtherMeaning, text, false);
    }
    if rule.is_restricted(is_local) {
        let text = format!(
            "auth.method = {chosen:?} is for every user, database and address{change}; restrict \
             addresses with a firewall, databases in the nodes' pg_hba.conf"
        );
        return (OtherMeaning, text, true);
    }
    match change.is_empty() {
        true => (CarriedOver, format!("auth.method = {chosen:?}"), false),
        false => (
            OtherMeaning,
            format!("auth.method = {chosen:?}{change}"),
            false,
        ),
    }
}
