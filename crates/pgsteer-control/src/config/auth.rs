//! `[auth]`, `[[hba]]` and `[[users]]`: who may log in and how that is proven.

use std::collections::HashMap;
use std::sync::Arc;

use pgsteer_core::auth::{AuthMethod, AuthQuery, AuthSettings, Secret, User};
use toml::Value;

use super::check::Checker;
use super::userlist::{self, Entry, Stored};
use super::{hba, raw};

const USERS_FILE: &str = "auth.users_file";

/// `[auth]` and `[[hba]]`
pub(super) fn settings(
    raw: raw::Auth,
    rules: Vec<raw::Hba>,
    users: &HashMap<String, User>,
    checker: &mut Checker<'_>,
) -> AuthSettings {
    let word = checker.choice("auth.method", raw.method.clone());
    let method = word.and_then(AuthMethod::from_text);
    let rules = hba::rules(rules, raw.hba_file.clone(), raw.ident_file.clone(), checker);
    let failures_max = checker.count("auth.failures_max", raw.failures_max.clone());
    let failures_window = checker.duration("auth.failures_window", raw.failures_window.clone());
    let query = query(raw, users, checker);
    let auth = AuthSettings {
        method: method.unwrap_or(AuthMethod::ScramSha256),
        rules,
        query,
        failures_max: u32::try_from(failures_max).unwrap_or(u32::MAX),
        failures_window,
    };
    if auth.rules.is_none() && auth.method == AuthMethod::Trust {
        checker.warning("auth.method", "trust lets everybody in as anybody");
    }
    auth
}

fn query(
    raw: raw::Auth,
    users: &HashMap<String, User>,
    checker: &mut Checker<'_>,
) -> Option<AuthQuery> {
    const USER: &str = "auth.query_user";
    let query = checker.text("auth.query", raw.query);
    let database = checker.text("auth.query_database", raw.query_database);
    let cache = checker.duration("auth.query_cache", raw.query_cache);
    let has_password = raw.query_password.is_some() || raw.query_password_file.is_some();
    let own = checker.secret("auth.query_", raw.query_password, raw.query_password_file);
    if raw.query_user.is_none() {
        if has_password {
            checker.error(USER, "is missing", "name the role that asks auth.query");
        }
        return None;
    }
    let user = checker.text(USER, raw.query_user)?;
    let own = own.map(Arc::from);
    let password = own.or_else(|| users.get(&user).and_then(|user| user.password().cloned()));
    if password.is_none() && !has_password {
        let problem =
            format!("is missing, and there is no user {user} whose password could be used");
        let advice = "add `query_password` or `query_password_file`";
        checker.error("auth.query_password", problem, advice);
    }
    Some(AuthQuery {
        query: query?.into(),
        user: user.into(),
        password: password.unwrap_or_default(),
        database: database?.into(),
        cache,
    })
}

/// `[[users]]` and `auth.users_file`
pub(super) fn users(
    raw: Vec<raw::User>,
    users_file: raw::Given,
    checker: &mut Checker<'_>,
) -> HashMap<String, User> {
    let mut users = HashMap::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let prefix = format!("users[{index}].");
        let name = checker.required(&format!("{prefix}name"), raw.name.clone());
        let secret = secret(&prefix, raw, checker);
        let Some(name) = name else { continue };
        if users.insert(name.clone(), User::new(secret)).is_some() {
            let problem = format!("repeats the user {name}");
            checker.error(&format!("{prefix}name"), problem, "remove one");
        }
    }
    if users_file.is_some()
        && let Some(path) = checker.path(USERS_FILE, users_file)
        && let Some(text) = checker.file(USERS_FILE, &path)
    {
        let mut listed = HashMap::new();
        let (entries, problems) = userlist::parse(&text);
        for (line, problem) in problems {
            let advice = "write \"name\" \"password\", or name:password";
            let error = hba::error_in(&path, line, problem, advice.to_owned());
            checker.errors.push(error);
        }
        for entry in entries {
            match entry.secret() {
                // Of several lines for one user the first counts, as in Pgpool-II.
                Ok(Some(secret)) => {
                    listed
                        .entry(entry.name)
                        .or_insert_with(|| User::new(secret));
                }
                // PgBouncer lists users so that have a password elsewhere.
                Ok(None) => {}
                Err((problem, advice)) => {
                    let error = hba::error_in(&path, entry.line, problem, advice);
                    checker.errors.push(error);
                }
            }
        }
        for (name, user) in listed {
            users.entry(name).or_insert(user);
        }
    }
    users
}

impl Entry {
    fn secret(&self) -> Result<Option<Secret>, (String, String)> {
        let hidden = |stored: &str| Secret::from_stored(stored).ok();
        match &self.password {
            Stored::Nothing => Ok(None),
            Stored::Plain(text) => Ok(Some(Secret::Password(text.as_str().into()))),
            Stored::Md5(text) => Ok(hidden(text)),
            Stored::Scram(text) => match hidden(text) {
                Some(secret) => Ok(Some(secret)),
                None => Err((
                    format!("has a SCRAM verifier for {} that is broken", self.name),
                    "copy it from pg_authid.rolpassword".to_owned(),
                )),
            },
            Stored::Aes => Err((
                format!(
                    "has a password for {} that is encrypted with AES",
                    self.name
                ),
                "write the verifier from pg_authid.rolpassword, or TEXT and the password"
                    .to_owned(),
            )),
        }
    }
}

/// What is known of a user's password, given in one of three ways.
fn secret(prefix: &str, raw: raw::User, checker: &mut Checker<'_>) -> Secret {
    let nothing = || Secret::Password("".into());
    let key = format!("{prefix}verifier");
    let has_password = raw.password.is_some() || raw.password_file.is_some();
    match (raw.verifier, has_password) {
        (None, false) => {
            let advice = "give it, the file it is in, or its `verifier`";
            checker.error(&format!("{prefix}password"), "is missing", advice);
            nothing()
        }
        (None, true) => {
            let password = checker.secret(prefix, raw.password, raw.password_file);
            Secret::Password(password.unwrap_or_default().into())
        }
        (Some(_), true) => {
            let problem = "is given together with a password";
            checker.error(&key, problem, "keep one of them");
            nothing()
        }
        (Some(given), false) => {
            let read = match &given {
                Value::String(text) => Secret::from_stored(text).ok(),
                _ => None,
            };
            let stored = read.filter(|secret| !matches!(secret, Secret::Password(_)));
            stored.unwrap_or_else(|| {
                let advice = "copy pg_authid.rolpassword: SCRAM-SHA-256$... or md5...";
                checker.error(&key, "is no verifier", advice);
                nothing()
            })
        }
    }
}
