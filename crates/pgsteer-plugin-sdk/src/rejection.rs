//! Why something is refused, as the client sees it.

/// Why something is refused, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Five characters. 42501, 53000, 57P03, 0A000, 25006 and the classes P0 and 58 are passed on,
    /// anything else arrives as 58000.
    pub sqlstate: String,
    /// One sentence, at most 1 KiB.
    pub message: String,
    /// What to do about it, at most 1 KiB.
    pub hint: Option<String>,
}

impl Rejection {
    /// With a code of your own; see [`Rejection::sqlstate`].
    #[must_use]
    pub fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        Self {
            sqlstate: sqlstate.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// It is not allowed (42501, `insufficient_privilege`).
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new("42501", message)
    }

    /// There is too much of it (53000, `insufficient_resources`).
    #[must_use]
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new("53000", message)
    }

    /// Not now; clients try again later (57P03, `cannot_connect_now`).
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new("57P03", message)
    }

    /// It does not work here (0A000, `feature_not_supported`).
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new("0A000", message)
    }

    /// Only reads are allowed (25006, `read_only_sql_transaction`).
    #[must_use]
    pub fn read_only(message: impl Into<String>) -> Self {
        Self::new("25006", message)
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
