//! What a plugin answers when a client has proven who it is.

use crate::Rejection;

/// What a session begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Name of a pool: server connections of its own, shared by the sessions that name it.
    pub pool: Option<String>,
    /// What the session may do is what this role may do.
    pub role: Option<String>,
    /// Parameters as if the client had asked for them when it connected.
    pub parameters: Vec<(String, String)>,
    /// Parameters that are set again at the beginning of each transaction.
    pub enforced: Vec<(String, String)>,
}

impl Admission {
    /// Server connections of this name, and no others.
    #[must_use]
    pub fn in_pool(mut self, name: impl Into<String>) -> Self {
        self.pool = Some(name.into());
        self
    }

    /// With what this role may do (SET ROLE).
    #[must_use]
    pub fn as_role(mut self, name: impl Into<String>) -> Self {
        self.role = Some(name.into());
        self
    }

    /// With a parameter that the client may change.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// With a parameter that is set again at the beginning of each transaction, whatever the client
    /// does in between.
    #[must_use]
    pub fn enforcing(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.enforced.push((name.into(), value.into()));
        self
    }
}

/// Whether a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It does.
    Admit(Admission),
    /// It does not; the client gets this error.
    Refuse(Rejection),
}

impl Admitted {
    /// The session begins as it is.
    #[must_use]
    pub fn admit() -> Self {
        Self::Admit(Admission::default())
    }
}

impl From<Admission> for Admitted {
    fn from(admission: Admission) -> Self {
        Self::Admit(admission)
    }
}

impl From<Rejection> for Admitted {
    fn from(rejection: Rejection) -> Self {
        Self::Refuse(rejection)
    }
}
