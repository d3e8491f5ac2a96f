//! What the proxy proves to a server that it is a user.

use std::fmt;
use std::sync::Arc;

use pgsteer_wire::scram::ScramKeys;

/// What is known of a user's password, for logging in as it.
#[derive(Clone, Default)]
pub enum Credential {
    /// Nothing; good enough where the server trusts.
    #[default]
    Nothing,
    /// The password in clear text, which is good for every method.
    Password(Arc<str>),
    /// Its MD5 as the server stores it, for servers that ask for MD5.
    Md5(Arc<str>),
    /// The keys a client's own login gave away, for servers with the same SCRAM secret.
    Scram(Arc<ScramKeys>),
}

impl Credential {
    /// Whether it is none.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// What it is, without what it says.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Password(_) => "a password",
            Self::Md5(_) => "an MD5 hash",
            Self::Scram(_) => "SCRAM keys of the client's login",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}
