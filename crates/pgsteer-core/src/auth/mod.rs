//! Who may log in and how that is proven: users, rules, and the way to the control plane for users
//! that only the servers know.

mod lookups;
mod names;
mod rules;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pgsteer_wire::md5;
use pgsteer_wire::scram::{self, ScramError, Verifier};

pub use lookups::{Found, Lookup, Lookups};
pub use names::{DatabaseName, Ident, IdentMap, Pattern, UserName};
pub use rules::{Addresses, Certificate, Claim, Network, Rule, Rules, Shown, Transport};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Nobody is asked.
    Trust,
    /// Nobody gets in.
    Reject,
    /// The password in clear text.
    Password,
    /// Salted MD5, or SCRAM where a SCRAM verifier is what is known of the user.
    Md5,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// A certificate for this very user.
    Cert,
}

impl AuthMethod {
    /// All of them, as `pg_hba.conf` calls them.
    pub const ALL: [(&'static str, Self); 6] = [
        ("scram-sha-256", Self::ScramSha256),
        ("md5", Self::Md5),
        ("password", Self::Password),
        ("trust", Self::Trust),
        ("reject", Self::Reject),
        ("cert", Self::Cert),
    ];

    /// The one that `pg_hba.conf` calls so.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, method)| *method)
    }

    /// What `pg_hba.conf` calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, method)| *method == self);
        found.map_or("", |(name, _)| name)
    }
}

/// What is known of a user's password.
#[derive(Clone)]
pub enum Secret {
    /// The password in clear text.
    Password(Arc<str>),
    /// Its MD5 as PostgreSQL stores it (`md5...`); as good as the password where a server wants MD5.
    Md5(Arc<str>),
    /// A SCRAM verifier: checks a password without knowing it.
    Scram(Arc<Verifier>),
}

impl Secret {
    /// Reads a password as PostgreSQL stores it, or as it is.
    ///
    /// # Errors
    /// It says that it is a SCRAM verifier and is none.
    pub fn from_stored(text: &str) -> Result<Self, ScramError> {
        if md5::is_stored(text) {
            return Ok(Self::Md5(text.into()));
        }
        let prefix = text.strip_prefix(scram::MECHANISM);
        if prefix.is_some_and(|rest| rest.starts_with('$')) {
            return Ok(Self::Scram(Arc::new(text.parse()?)));
        }
        Ok(Self::Password(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(<hidden>)",
            Self::Md5(_) => "Md5(<hidden>)",
            Self::Scram(_) => "Scram(<hidden>)",
        })
    }
}

/// A user that may log in, and as which the proxy logs in to the nodes.
#[derive(Clone, Debug)]
pub struct User {
    /// What is known of the password.
    pub secret: Secret,
    // Made of the password at its first login; gone with the settings.
    verifier: Arc<OnceLock<Arc<Verifier>>>,
}

impl User {
    /// A user of whom this is known.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            verifier: Arc::default(),
        }
    }

    /// The password in clear text, if it is known.
    #[must_use]
    pub fn password(&self) -> Option<&Arc<str>> {
        match &self.secret {
            Secret::Password(password) => Some(password),
            Secret::Md5(_) | Secret::Scram(_) => None,
        }
    }

    /// What a password is checked with in SCRAM, once it was made.
    #[must_use]
    pub fn verifier(&self) -> Option<&Arc<Verifier>> {
        match &self.secret {
            Secret::Scram(verifier) => Some(verifier),
            Secret::Md5(_) => None,
            Secret::Password(_) => self.verifier.get(),
        }
    }

    /// Keeps what was made of the password. The first one stays.
    pub fn keep_verifier(&self, made: Arc<Verifier>) -> &Arc<Verifier> {
        self.verifier.get_or_init(|| made)
    }
}

/// How a user that is not in the settings is looked up.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthQuery {
    /// With the name as `$1`; the second column of its first row is what is stored of the password.
    pub query: Arc<str>,
    /// Role that asks.
    pub user: Arc<str>,
    /// Its password.
    pub password: Arc<str>,
    /// Database it asks.
    pub database: Arc<str>,
    /// How long an answer is remembered.
    pub cache: Duration,
}

impl fmt::Debug for AuthQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            query,
            user,
            database,
            cache,
            ..
        } = self;
        write!(
            f,
            "AuthQuery {{ {query:?}, {user:?}, {database:?}, {cache:?} }}"
        )
    }
}

/// How clients prove who they are.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// For everybody, where there are no rules.
    pub method: AuthMethod,
    /// The first that fits counts; none: `method` is for all.
    pub rules: Option<Rules>,
    /// How users that are not in the settings are looked up, if they are.
    pub query: Option<AuthQuery>,
    /// Failed logins from one address after which more are refused; 0 for any number.
    pub failures_max: u32,
    /// For how long they count.
    pub failures_window: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_secrets_are_told_apart_and_not_shown() {
        let verifier = Verifier::from_salt("secret", b"salt").to_string();
        for (text, shown) in [
            ("secret", "Password(<hidden>)"),
            ("md5secret", "Password(<hidden>)"),
            ("md532e12f215ba27cb750c9e093ce4b5127", "Md5(<hidden>)"),
            (verifier.as_str(), "Scram(<hidden>)"),
        ] {
            let secret = Secret::from_stored(text).expect("well-formed");
            assert_eq!(format!("{secret:?}"), shown);
        }
        assert!(Secret::from_stored("SCRAM-SHA-256$broken").is_err());
    }

    #[test]
    fn methods_have_names() {
        for (name, method) in AuthMethod::ALL {
            assert_eq!(AuthMethod::from_text(name), Some(method));
            assert_eq!(method.as_str(), name);
        }
        assert_eq!(AuthMethod::from_text("ldap"), None);
    }
}
