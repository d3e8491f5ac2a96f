//! One rule as it is written, and what it becomes.

use std::path::Path;
use std::sync::Arc;

use pgsteer_core::auth::{
    Addresses, AuthMethod, Certificate, DatabaseName, IdentMap, Network, Pattern, Rule, Transport,
    UserName,
};

use toml::Value;

use super::lines::Word;
use super::networks;
use crate::config::check::ReadFile;

/// A rule as it is written: the columns of `pg_hba.conf`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) databases: Vec<Word>,
    pub(crate) users: Vec<Word>,
    /// Empty for `local`.
    pub(crate) address: String,
    /// In a column of its own, or empty.
    pub(crate) mask: String,
    pub(crate) method: String,
    /// `name=value` each.
    pub(crate) options: Vec<String>,
}

/// What is wrong with a rule, and what to do about it.
pub(crate) type Wrong = (String, String);

fn wrong<T>(problem: impl Into<String>, advice: impl Into<String>) -> Result<T, Wrong> {
    Err((problem.into(), advice.into()))
}

impl Entry {
    /// Puts the fields of a line into their columns.
    ///
    /// # Errors
    /// Some are missing.
    pub(crate) fn from_fields(fields: Vec<Vec<Word>>) -> Result<Self, Wrong> {
        let mut fields = fields.into_iter();
        let kind = single(fields.next(), "type")?;
        let databases = fields.next().unwrap_or_default();
        let users = fields.next().unwrap_or_default();
        let mut entry = Self {
            kind,
            databases,
            users,
            ..Self::default()
        };
        if entry.kind != "local" {
            entry.address = single(fields.next(), "address")?;
        }
        entry.method = single(fields.next(), "method")?;
        // A mask may stand in a column of its own.
        if !entry.address.is_empty() && entry.method.parse::<std::net::IpAddr>().is_ok() {
            entry.mask = std::mem::take(&mut entry.method);
            entry.method = single(fields.next(), "method")?;
        }
        // A value with commas is one option all the same.
        let texts = |field: Vec<Word>| field.into_iter().map(|word| word.text);
        entry.options = fields
            .map(|field| texts(field).collect::<Vec<_>>().join(","))
            .collect();
        Ok(entry)
    }

    /// The keys of a section `[[hba]]` that says the same.
    pub(crate) fn settings(&self) -> Vec<(&'static str, Value)> {
        let names = |words: &[Word]| match words {
            [word] => Value::String(word.written()),
            words => Value::Array(words.iter().map(|w| Value::String(w.written())).collect()),
        };
        let mut settings = vec![
            ("type", Value::String(self.kind.clone())),
            ("database", names(&self.databases)),
            ("user", names(&self.users)),
        ];
        let address = format!("{} {}", self.address, self.mask);
        if !self.address.is_empty() {
            settings.push(("address", Value::String(address.trim().to_owned())));
        }
        settings.push(("method", Value::String(self.method.clone())));
        if !self.options.is_empty() {
            let options = self.options.iter().cloned().map(Value::String);
            settings.push(("options", Value::Array(options.collect())));
        }
        settings
    }

    /// The rule, if nothing is wrong with it.
    ///
    /// # Errors
    /// The first thing that is.
    pub(crate) fn rule(&self, place: &str, world: &World<'_>) -> Result<Rule, Wrong> {
        let transport = transport(&self.kind)?;
        let databases = all(&self.databases, "database", database)?;
        let users = all(&self.users, "user", user)?;
        let method = method(&self.method)?;
        let (certificate, map) = self.options(transport, method, world)?;
        Ok(Rule {
            place: place.into(),
            transport,
            databases,
            users,
            addresses: self.addresses(transport, world)?,
            method,
            certificate,
            map,
        })
    }

    fn addresses(&self, transport: Transport, world: &World<'_>) -> Result<Addresses, Wrong> {
        let (address, mask) = (self.address.as_str(), self.mask.as_str());
        if transport == Transport::Local {
            return match address {
                "" => Ok(Addresses::All),
                _ => wrong("has an address although it is local", "remove the address"),
            };
        }
        let networks = match (address, mask) {
            ("" | "all", "") => return Ok(Addresses::All),
            ("samehost", "") => networks::same_host(world.read_file),
            ("samenet", "") => networks::same_net(world.read_file),
            ("localhost", "") => networks::localhost(),
            (text, "") if text.contains('/') => match networks::cidr(text) {
                Some(network) => vec![network],
                None => {
                    let problem = format!("has the address \"{text}\"");
                    return wrong(problem, "write a network such as 10.0.0.0/8 or fe80::/10");
                }
            },
            (text, "") if text.parse::<std::net::IpAddr>().is_ok() => {
                let problem = format!("has the address \"{text}\" without a mask");
                return wrong(
                    problem,
                    format!("write {text}/32 (IPv6: /128) for one host"),
                );
            }
            (text, "") => {
                let problem = format!("has the host name \"{text}\"");
                let advice = "write its address, such as 10.0.0.7/32: names are not looked up";
                return wrong(problem, advice);
            }
            (text, mask) => {
                let (address, mask) = (text.parse().ok(), mask.parse().ok());
                let both = address.zip(mask);
                match both.and_then(|(address, mask)| Network::with_mask(address, mask)) {
                    Some(network) => vec![network],
                    None => {
                        let problem = "has an address and a mask that do not fit together";
                        return wrong(problem, "write a network such as 10.0.0.0/8");
                    }
                }
            }
        };
        Ok(Addresses::Networks(networks))
    }

    fn options(
        &self,
        transport: Transport,
        method: AuthMethod,
        world: &World<'_>,
    ) -> Result<(Certificate, Option<Arc<IdentMap>>), Wrong> {
        let is_cert = method == AuthMethod::Cert;
        if is_cert && transport != Transport::HostSsl {
            return wrong("has the method cert without TLS", "write hostssl");
        }
        let mut certificate = match is_cert {
            true => Certificate::OfUser,
            false => Certificate::NotNeeded,
        };
        let mut map = None;
        for option in &self.options {
            let Some((name, value)) = option.split_once('=') else {
                let problem = format!("has the option \"{option}\"");
                return wrong(problem, "write options as name=value");
            };
            match (name, value) {
                ("clientcert", _) if transport != Transport::HostSsl => {
                    return wrong("has clientcert without TLS", "write hostssl");
                }
                ("clientcert", "verify-full") => certificate = Certificate::OfUser,
                ("clientcert", "verify-ca") if !is_cert => certificate = Certificate::Trusted,
                ("clientcert", _) => {
                    let problem = format!("has clientcert={value}");
                    let advice = "use verify-full, or verify-ca where the method is not cert";
                    return wrong(problem, advice);
                }
                ("map", name) if is_cert => map = Some(world.map(name)?),
                ("map", _) => {
                    let problem = format!("has a map although the method is {}", method.as_str());
                    return wrong(problem, "remove it: maps are for certificates");
                }
                ("clientname", "CN") => {}
                ("clientname", _) => {
                    let problem = format!("has clientname={value}");
                    return wrong(problem, "use CN: other names are not looked at");
                }
                _ => {
                    let problem = format!("has the option {name}");
                    return wrong(problem, "use map, clientcert and clientname alone");
                }
            }
        }
        Ok((certificate, map))
    }
}

/// What rules refer to.
pub(crate) struct World<'a> {
    pub(crate) read_file: ReadFile<'a>,
    /// Maps by name, and the file they are in.
    pub(crate) maps: &'a std::collections::HashMap<String, Arc<IdentMap>>,
    pub(crate) map_file: Option<&'a Path>,
}

impl World<'_> {
    fn map(&self, name: &str) -> Result<Arc<IdentMap>, Wrong> {
        if let Some(map) = self.maps.get(name) {
            return Ok(Arc::clone(map));
        }
        let problem = format!("names the map \"{name}\", which is not there");
        match self.map_file {
            Some(file) => wrong(problem, format!("add it to {}", file.display())),
            None => wrong(problem, "name the file it is in with auth.ident_file"),
        }
    }
}

fn single(field: Option<Vec<Word>>, column: &str) -> Result<String, Wrong> {
    let advice = "write type, database, user, address (not for local) and method";
    match field.as_deref() {
        Some([word]) => Ok(word.text.clone()),
        Some(_) => wrong(format!("has several values as {column}"), "write one"),
        None => wrong(format!("has no {column}"), advice),
    }
}

fn transport(kind: &str) -> Result<Transport, Wrong> {
    match kind {
        "local" => Ok(Transport::Local),
        // There is no GSSAPI encryption, so nothing is excluded.
        "host" | "hostnogssenc" => Ok(Transport::Host),
        "hostssl" => Ok(Transport::HostSsl),
        "hostnossl" => Ok(Transport::HostNoSsl),
        "hostgssenc" => Ok(Transport::HostGss),
        _ => wrong(
            format!("begins with \"{kind}\""),
            "use one of: local, host, hostssl, hostnossl",
        ),
    }
}

fn method(word: &str) -> Result<AuthMethod, Wrong> {
    let names: Vec<_> = AuthMethod::ALL.iter().map(|(name, _)| *name).collect();
    let advice = format!("use one of: {}", names.join(", "));
    let found = AuthMethod::from_text(word);
    found.ok_or_else(|| {
        let problem = match ELSEWHERE.contains(&word) {
            true => format!("has the method {word}, which the proxy does not have"),
            false => format!("has the method \"{word}\""),
        };
        (problem, advice)
    })
}

/// Methods PostgreSQL and Pgpool-II know besides.
const ELSEWHERE: [&str; 10] = [
    "ident", "peer", "gss", "sspi", "pam", "bsd", "ldap", "radius", "krb5", "oauth",
];

fn all<T>(
    words: &[Word],
    column: &str,
    read: impl Fn(&Word) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    if words.is_empty() {
        let advice = "write type, database, user, address (not for local) and method";
        return wrong(format!("has no {column}"), advice);
    }
    words.iter().map(read).collect()
}

fn database(word: &Word) -> Result<DatabaseName, Wrong> {
    if word.is("samerole") || word.is("samegroup") {
        return wrong(
            format!(
                "names {}, and which role is in which only a server knows",
                word.text
            ),
            "name the databases",
        );
    }
    if word.is("all") {
        return Ok(DatabaseName::All);
    }
    if word.is("sameuser") {
        return Ok(DatabaseName::SameUser);
    }
    if word.is("replication") {
        return Ok(DatabaseName::Replication);
    }
    match word.text.strip_prefix('/') {
        Some(pattern) => Ok(DatabaseName::Matching(expression(pattern)?)),
        None => Ok(DatabaseName::Exact(word.text.as_str().into())),
    }
}

pub(super) fn user(word: &Word) -> Result<UserName, Wrong> {
    if !word.is_quoted && word.text.starts_with('+') {
        return wrong(
            format!(
                "names {}, and which role is in which only a server knows",
                word.text
            ),
            "name the users, separated by commas",
        );
    }
    if word.is("all") {
        return Ok(UserName::All);
    }
    match word.text.strip_prefix('/') {
        Some(pattern) => Ok(UserName::Matching(expression(pattern)?)),
        None => Ok(UserName::Exact(word.text.as_str().into())),
    }
}

fn expression(text: &str) -> Result<Pattern, Wrong> {
    Pattern::new(text).map_err(|problem| {
        let advice =
            "write a regular expression after the slash, quoted if it has commas or blanks";
        (
            format!("has the expression /{text}, which {problem}"),
            advice.to_owned(),
        )
    })
}
