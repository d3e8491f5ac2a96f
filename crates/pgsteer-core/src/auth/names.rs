//! Names in rules: words with a meaning, names, regular expressions; and maps from the name in a
//! certificate to a user.

use std::fmt;
use std::sync::Arc;

use regex_lite::Regex;

/// A regular expression that took effort to read: the text behind a slash.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        Regex::new(text)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.as_str())
    }
}

/// A database in a rule.
#[derive(Clone, Debug)]
pub enum DatabaseName {
    /// Any, but no physical replication.
    All,
    /// The one that is called as the user.
    SameUser,
    /// No database: physical replication.
    Replication,
    /// The one with this name.
    Exact(Arc<str>),
    /// Those whose name matches.
    Matching(Pattern),
}

impl DatabaseName {
    /// Whether it is this database, for this user.
    pub(super) fn fits(&self, database: &str, user: &str) -> bool {
        match self {
            Self::All => true,
            Self::SameUser => database == user,
            Self::Replication => false,
            Self::Exact(name) => **name == *database,
            Self::Matching(pattern) => pattern.is_match(database),
        }
    }
}

/// A user in a rule.
#[derive(Clone, Debug)]
pub enum UserName {
    /// Any.
    All,
    /// The one with this name.
    Exact(Arc<str>),
    /// Those whose name matches.
    Matching(Pattern),
}

impl UserName {
    pub(super) fn fits(&self, user: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(name) => **name == *user,
            Self::Matching(pattern) => pattern.is_match(user),
        }
    }
}

/// One line of a map: a name in a certificate, and a user it may log in as.
#[derive(Clone, Debug)]
pub struct Ident {
    /// The name in the certificate.
    pub system: UserName,
    /// The user; in an exact name `\1` stands for what the first parentheses of `system` matched.
    pub user: UserName,
}

impl Ident {
    fn allows(&self, system: &str, user: &str) -> bool {
        if !self.system.fits(system) {
            return false;
        }
        match (&self.system, &self.user) {
            (UserName::Matching(pattern), UserName::Exact(written)) if written.contains("\\1") => {
                let captures = pattern.0.captures(system);
                let part = captures.and_then(|captures| captures.get(1));
                part.is_some_and(|part| written.replacen("\\1", part.as_str(), 1) == user)
            }
            (_, name) => name.fits(user),
        }
    }
}

/// Which names in certificates may log in as which users (`pg_ident.conf`).
#[derive(Clone, Debug, Default)]
pub struct IdentMap {
    /// Its lines; one that allows it is enough.
    pub lines: Vec<Ident>,
}

impl IdentMap {
    /// Whether the owner of this certificate may log in as this user.
    #[must_use]
    pub fn allows(&self, system: &str, user: &str) -> bool {
        self.lines.iter().any(|line| line.allows(system, user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect("a pattern")
    }

    #[test]
    fn maps_replace_what_parentheses_matched() {
        let exact = |name: &str| UserName::Exact(name.into());
        let map = IdentMap {
            lines: vec![
                Ident {
                    system: UserName::Matching(pattern("^(.*)@example\\.com$")),
                    user: exact("\\1"),
                },
                Ident {
                    system: exact("root"),
                    user: UserName::All,
                },
                Ident {
                    system: exact("ann"),
                    user: UserName::Matching(pattern("^app_")),
                },
            ],
        };
        for (system, user, expected) in [
            ("bob@example.com", "bob", true),
            ("bob@example.com", "ann", false),
            ("bob@example.org", "bob", false),
            ("root", "anybody", true),
            ("ann", "app_one", true),
            ("ann", "ann", false),
            ("", "", false),
        ] {
            assert_eq!(map.allows(system, user), expected, "{system} as {user}");
        }
    }
}
