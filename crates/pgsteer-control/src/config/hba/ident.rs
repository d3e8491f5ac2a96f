//! `pg_ident.conf`: maps from names in certificates to users.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use pgsteer_core::auth::{Ident, IdentMap, UserName};

use super::entry::{Wrong, user};
use super::lines::{self, Word};
use super::{IDENT_FILE, error_in};
use crate::config::check::Checker;

/// Reads all maps of a file.
pub(super) fn maps(path: &Path, checker: &mut Checker<'_>) -> HashMap<String, Arc<IdentMap>> {
    let Some(text) = checker.file(IDENT_FILE, path) else {
        return HashMap::new();
    };
    let mut maps: HashMap<String, IdentMap> = HashMap::new();
    let (lines, problems) = lines::lines(&text);
    for (number, problem) in problems {
        checker
            .errors
            .push(error_in(path, number, problem, ADVICE.to_owned()));
    }
    for line in lines {
        match ident(&line.fields) {
            Ok((name, ident)) => maps.entry(name).or_default().lines.push(ident),
            Err((problem, advice)) => {
                let error = error_in(path, line.number, problem, advice);
                checker.errors.push(error);
            }
        }
    }
    let shared = |(name, map)| (name, Arc::new(map));
    maps.into_iter().map(shared).collect()
}

fn ident(fields: &[Vec<Word>]) -> Result<(String, Ident), Wrong> {
    let [name, system, role] = fields else {
        return Err(("is no line of a map".to_owned(), ADVICE.to_owned()));
    };
    let ([name], [system], [role]) = (&**name, &**system, &**role) else {
        let problem = "has several values in one column".to_owned();
        return Err((problem, ADVICE.to_owned()));
    };
    // `all` and `+` mean nothing in the name of a certificate.
    let system = match system.text.starts_with('/') {
        true => user(system)?,
        false => UserName::Exact(system.text.as_str().into()),
    };
    let user = user(role)?;
    Ok((name.text.clone(), Ident { system, user }))
}

const ADVICE: &str = "write the name of the map, the name in the certificate, and the user";
