//! Turns the configuration of PgBouncer into one of pgsteer. It fronts one cluster, where PgBouncer
//! fronts any number of servers: what goes to others is said, and left out.

mod databases;
mod ini;
pub(crate) mod keys;

use toml::Value;

use super::foreign::{Form, Found, Key, Rule, answer, is_known, set_rule, value};
use super::report::Verdict::{CarriedOver, NotNeeded, NotThere, OtherMeaning, Unknown};
use super::{FileKind, Import, InputFile, Work, complaints, mistake};
use crate::config::ConfigErrors;
use crate::config::userlist::{self, Stored};

/// The setting that PgBouncer has under this name and its value here, or why there is none; `None` if
/// it has nothing of that name. The error is for an operator.
pub(crate) fn known_setting(name: &str, text: &str) -> Option<Result<(String, Value), String>> {
    let key = keys::KEYS.iter().find(|key| key.name == name)?;
    Some(match key.rule {
        Rule::To(setting, form) => match value(setting, form, text) {
            Ok(Some(Value::Integer(n))) if text.trim().parse() != Ok(n) => Err(format!(
                "\"{text}\" is out of range: {setting} would be {n}"
            )),
            Ok(Some(value)) => Ok((setting.to_owned(), value)),
            // A time that asks for nothing takes the place of one that asks for something.
            Ok(None) => Ok((setting.to_owned(), "0s".into())),
            Err(wanted) => Err(format!("\"{text}\" is not {wanted}")),
        },
        Rule::Special(_, settings) => Err(format!("it is {settings} here: name that")),
        Rule::NotNeeded | Rule::Missing(_) | Rule::Danger(_) => {
            Err(format!("there is no such setting here: {}", key.note))
        }
    })
}

/// What stands in the files, in order.
struct Input {
    /// With the section each stands in.
    entries: Vec<(String, Found)>,
}

impl Input {
    fn read(files: &[InputFile], work: &mut Work) -> Self {
        let mut entries = Vec::new();
        let mut section = String::new();
        for file in files.iter().filter(|f| f.kind == FileKind::PgbouncerIni) {
            let (found, problems) = ini::parse(&file.text, &mut section);
            for (line, problem) in problems {
                let advice = "write `key = value`, or remove the line";
                work.mistakes
                    .push(mistake(&file.name, line, problem, advice));
            }
            entries.extend(found.into_iter().map(|entry| {
                let found = Found {
                    place: format!("{}:{}", file.name, entry.line),
                    subject: entry.name,
                    value: entry.value,
                };
                (entry.section, found)
            }));
        }
        Self { entries }
    }

    /// What stands in a section; the last of those that repeat each other counts.
    fn section<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Found> {
        let inside = self
            .entries
            .iter()
            .filter(move |(section, _)| section == name);
        inside.map(|(_, found)| found)
    }

    /// The value of a key of `[pgbouncer]`.
    fn text(&self, name: &str) -> Option<&str> {
        let last = self
            .section("pgbouncer")
            .filter(|f| f.subject == name)
            .last();
        last.map(|found| found.value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// Files that the configuration names, with what they are: those it includes, users and rules.
pub(super) fn references(text: &str) -> Vec<(String, FileKind)> {
    let (entries, _) = ini::parse(text, &mut String::new());
    let kind = |name: &str| match name {
        "%include" => Some(FileKind::PgbouncerIni),
        "auth_file" => Some(FileKind::Userlist),
        _ => None,
    };
    let named = entries.into_iter().filter(|entry| !entry.value.is_empty());
    named
        .filter_map(|entry| Some((entry.value, kind(&entry.name)?)))
        .collect()
}

/// Imports the files.
///
/// # Errors
/// Every line that cannot be understood.
pub(super) fn import(files: &[InputFile]) -> Result<Import, ConfigErrors> {
    let mut work = Work::default();
    work.draft.origin = "PgBouncer";
    let input = Input::read(files, &mut work);
    defaults(&input, &mut work);
    let given: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    for (section, found) in &input.entries {
        entry(section, found, &input, &given, &mut work);
    }
    databases::answer(&input, &mut work);
    users(files, &mut work);
    work.draft.set("failover.promote", false);
    if !work.mistakes.is_empty() {
        return Err(ConfigErrors(work.mistakes));
    }
    let toml = work.draft.toml();
    work.report.to_do.extend(complaints(&toml));
    notes(&mut work);
    Ok(Import {
        toml,
        report: work.report,
    })
}

/// What PgBouncer does without being told is written down where pgsteer does something else.
fn defaults(input: &Input, work: &mut Work) {
    for (name, default) in [
        ("pool_mode", "session"),
        ("default_pool_size", "20"),
        ("max_client_conn", "100"),
        ("query_wait_timeout", "120"),
        ("server_connect_timeout", "15"),
    ] {
        let key = keys::KEYS.iter().find(|key| key.name == name);
        if input.text(name).is_none()
            && let Some(Rule::To(setting, form)) = key.map(|key| key.rule)
            && let Ok(Some(value)) = value(setting, form, default)
        {
            let text = format!("{name} is not given, which is {default}: {setting} = {value}");
            work.report.notes.push(text);
            work.draft.set(setting, value);
        }
    }
}

fn entry(section: &str, found: &Found, input: &Input, given: &[&str], work: &mut Work) {
    if found.subject == "%include" {
        let is_given = given.iter().any(|name| name.ends_with(&found.value));
        let line = match is_given {
            true => found.line(NotNeeded, "the file was read as well"),
            false => {
                let text = "the file was not read: give it to the import as well, with --pgbouncer";
                found.warning(NotThere, text)
            }
        };
        work.report.lines.push(line);
        return;
    }
    match section {
        "pgbouncer" => setting(found, input, work),
        "users" => rules_of_user(found, work),
        "peers" => {
            let text = "workers of one proxy share cancel requests; several proxies behind one \
                        address do not";
            work.report.lines.push(found.line(NotNeeded, text));
        }
        // Worked out together.
        "databases" => {}
        other => {
            let text = format!("PgBouncer has no section [{other}]");
            work.report.lines.push(found.line(Unknown, text));
        }
    }
}

fn setting(found: &Found, input: &Input, work: &mut Work) {
    let Some(key) = keys::KEYS.iter().find(|key| key.name == found.subject) else {
        let text = "no PgBouncer from 1.7 to 1.25 has this key; look for a typing error";
        work.report.lines.push(found.line(Unknown, text));
        return;
    };
    let line = match answer(key, found, work) {
        Some(line) => line,
        None => special(key, found, input, work),
    };
    work.report.lines.push(line);
}

fn special(key: &Key, found: &Found, input: &Input, work: &mut Work) -> super::Line {
    match key.name {
        "listen_addr" | "listen_port" => {
            let addresses = addresses(input);
            let shown = format!("listen.address = {addresses:?}");
            let addresses: Vec<_> = addresses.into_iter().map(Value::from).collect();
            work.draft.set("listen.address", Value::Array(addresses));
            found.line(CarriedOver, shown)
        }
        "unix_socket_dir" if found.value.starts_with('@') => {
            found.line(NotThere, "there are no sockets in the abstract namespace")
        }
        "unix_socket_dir" => match is_known("listen.unix_socket_dir") && !found.value.is_empty() {
            true => {
                work.draft
                    .set("listen.unix_socket_dir", found.value.as_str());
                found.line(
                    CarriedOver,
                    format!("listen.unix_socket_dir = {:?}", found.value),
                )
            }
            false => found.line(NotNeeded, "there is no socket"),
        },
        "auth_type" => auth_type(found, work),
        "auth_file" => auth_file(found, work),
        _ => protocols(key, found, work),
    }
}

/// Addresses with ports; only this machine's if none is given.
fn addresses(input: &Input) -> Vec<String> {
    let port = input.text("listen_port").unwrap_or("6432");
    let named = input.text("listen_addr").unwrap_or("127.0.0.1");
    let each = named
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let mut all = Vec::new();
    for name in each {
        match name {
            "*" => all.extend([format!("0.0.0.0:{port}")]),
            "localhost" => all.push(format!("127.0.0.1:{port}")),
            v6 if v6.contains(':') => all.push(format!("[{v6}]:{port}")),
            other => all.push(format!("{other}:{port}")),
        }
    }
    all
}

fn auth_type(found: &Found, work: &mut Work) -> super::Line {
    let method = match found.value.to_ascii_lowercase().as_str() {
        "trust" | "any" => "trust",
        "plain" => "password",
        "md5" => "md5",
        "scram-sha-256" => "scram-sha-256",
        "hba" if is_known("auth.hba_file") => {
            return found.line(CarriedOver, "the rules of auth_hba_file decide");
        }
        other => {
            let text = format!(
                "{other} is not there; `auth.method` is scram-sha-256, and no rule of auth_hba_file counts"
            );
            return found.warning(NotThere, text);
        }
    };
    work.draft.set("auth.method", method);
    let text = format!("auth.method = \"{method}\"");
    match (found.value.as_str(), method) {
        ("any", _) => found.warning(OtherMeaning, format!("{text}; clients keep their names")),
        (_, "trust") => found.warning(
            CarriedOver,
            format!("{text}; everybody is let in as anybody"),
        ),
        _ => found.line(CarriedOver, text),
    }
}

fn auth_file(found: &Found, work: &mut Work) -> super::Line {
    if found.value.is_empty() {
        return found.line(NotNeeded, "it is empty");
    }
    if is_known("auth.users_file") {
        work.draft.set("auth.users_file", found.value.as_str());
        let text = format!("auth.users_file = {:?}; it is read as it is", found.value);
        return found.line(CarriedOver, text);
    }
    found.line(
        OtherMeaning,
        "its users are in [[users]]; give the file to the import as well",
    )
}

fn protocols(key: &Key, found: &Found, work: &mut Work) -> super::Line {
    let setting = match key.name {
        "client_tls_protocols" => "tls.min_protocol",
        _ => "server_tls.min_protocol",
    };
    let value = found.value.to_ascii_lowercase();
    let old = ["tlsv1.0", "tlsv1.1", "all", "legacy"];
    let names: Vec<_> = value.split([',', ' ']).collect();
    if names.iter().any(|name| old.contains(name)) {
        return found.line(NotThere, "versions of TLS before 1.2 are not there");
    }
    let only_new = !names.is_empty() && names.iter().all(|name| *name == "tlsv1.3");
    if !is_known(setting) || !only_new {
        return found.line(NotNeeded, "TLS 1.2 and 1.3 is what there is");
    }
    work.draft.set(setting, "TLSv1.3");
    found.line(OtherMeaning, format!("{setting} = \"TLSv1.3\""))
}

/// A line of `[users]`: a rule for the user.
fn rules_of_user(found: &Found, work: &mut Work) {
    let user = found.subject.clone();
    let pairs = pairs_of(found, keys::USER_KEYS, (None, Some(&user)), work);
    if pairs.is_empty() {
        let line = found.line(NotNeeded, "nothing is said about this user");
        work.report.lines.push(line);
    }
}

/// What the pairs of a line say, one line of the report for each.
fn pairs_of(
    found: &Found,
    keys: &[Key],
    who: (Option<&str>, Option<&str>),
    work: &mut Work,
) -> Vec<(String, String)> {
    let Some(pairs) = ini::pairs(&found.value) else {
        let text = "what follows is no list of key=value, so it was left out";
        work.report.lines.push(found.warning(NotThere, text));
        return Vec::new();
    };
    for (name, value) in &pairs {
        let part = Found {
            subject: format!("{} {name}", found.subject),
            value: value.clone(),
            ..found.clone()
        };
        let line = match keys.iter().find(|key| key.name == name) {
            None => part.line(Unknown, "PgBouncer has no such key here"),
            Some(key) => match key.rule {
                Rule::To(setting, form) => rule_value((key, setting, form), &part, who, work),
                Rule::Special(..) => continue,
                _ => match answer(key, &part, work) {
                    Some(line) => line,
                    None => continue,
                },
            },
        };
        work.report.lines.push(line);
    }
    pairs
}

fn rule_value(
    (key, setting, form): (&Key, &'static str, Form),
    part: &Found,
    who: (Option<&str>, Option<&str>),
    work: &mut Work,
) -> super::Line {
    match value(setting, form, &part.value) {
        Ok(Some(value)) => {
            let name = setting.rsplit('.').next().unwrap_or_default();
            let text = format!("[[pools]] {name} = {value}");
            if who == (None, None) {
                let text = "a rule for every database is what [pool] is for";
                return part.line(OtherMeaning, text);
            }
            set_rule(&mut work.draft, who, name, value);
            match key.note {
                "" => part.line(CarriedOver, text),
                note => part.line(CarriedOver, format!("{text}; {note}")),
            }
        }
        Ok(None) => part.line(NotNeeded, "0 asks for nothing"),
        Err(wanted) => part.warning(NotThere, format!("the value is not {wanted}")),
    }
}

/// The users of `userlist.txt`, unless it is read as it is.
fn users(files: &[InputFile], work: &mut Work) {
    let read_as_it_is = work.draft.shown("auth.users_file").is_some();
    for file in files.iter().filter(|file| file.kind == FileKind::Userlist) {
        let (users, problems) = ini::userlist(&file.text);
        for (line, problem) in problems {
            let advice = "correct it, or remove the line";
            work.mistakes
                .push(mistake(&file.name, line, problem, advice));
        }
        if read_as_it_is {
            continue;
        }
        for (line, name, password) in users {
            let found = Found {
                place: format!("{}:{line}", file.name),
                subject: format!("user {name}"),
                value: String::new(),
            };
            let stored = userlist::pgbouncer(&password);
            let how = stored.how();
            let line = match stored {
                Stored::Plain(password) => {
                    work.draft.users.push((name, password));
                    found.line(CarriedOver, "[[users]] with name and password")
                }
                Stored::Md5(stored) | Stored::Scram(stored) => {
                    work.draft.users_stored.push((name, stored));
                    found.line(
                        CarriedOver,
                        format!("[[users]] with name and verifier, {how}"),
                    )
                }
                Stored::Aes | Stored::Nothing => {
                    work.draft.users_without.push((name, how));
                    let text = format!("the password is {how}: fill it in in [[users]]");
                    found.warning(NotThere, text)
                }
            };
            work.report.lines.push(line);
        }
    }
}

fn notes(work: &mut Work) {
    for text in [
        "every database of the nodes can be connected to, those that are not listed too; rules of \
         who may connect to what are in [[hba]]",
        "reads are spread over replicas by default: give a replica `weight = 0` to keep them off it",
        "`failover.promote` is false: PgBouncer promoted nobody, so something else may",
        "the console is the database `pgbouncer` as before, for admin_users and stats_users",
        "the nodes are probed as `probe.user`, which needs the role pg_monitor and a password",
    ] {
        work.report.notes.push(text.to_owned());
    }
}
