//! ErrorResponse and NoticeResponse: the ones we write, and the few fields we read of others.

use std::fmt;

use crate::SqlState;
use crate::frame::cstr;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection goes on.
    Error,
    /// The connection ends.
    Fatal,
    /// Nothing failed.
    Warning,
    /// Something that was asked for.
    Notice,
}

impl Severity {
    /// PostgreSQL's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// An error that the proxy tells a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// How bad it is.
    pub severity: Severity,
    /// Its code.
    pub sqlstate: SqlState,
    /// One sentence, in PostgreSQL's style: lower case, no full stop.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl ErrorReply {
    /// The statement failed.
    #[must_use]
    pub fn error(sqlstate: SqlState, message: impl Into<String>) -> Self {
        let (severity, message) = (Severity::Error, message.into());
        Self {
            severity,
            sqlstate,
            message,
            detail: None,
            hint: None,
        }
    }

    /// The connection ends.
    #[must_use]
    pub fn fatal(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fatal,
            ..Self::error(sqlstate, message)
        }
    }

    /// Something to know; nothing failed.
    #[must_use]
    pub fn notice(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Notice,
            ..Self::error(SqlState::SUCCESSFUL_COMPLETION, message)
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.severity.as_str(),
            self.sqlstate,
            self.message
        )
    }
}

/// The body of an ErrorResponse or NoticeResponse that a server sent.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFields<'a>(&'a [u8]);

impl<'a> ErrorFields<'a> {
    /// A view of the body; fields are looked for when asked.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// The first field of this type (`S`, `V`, `C`, `M`, ...), if it is there and valid UTF-8.
    #[must_use]
    pub fn field(self, kind: u8) -> Option<&'a str> {
        let mut rest = self.0;
        while let Some((&found, after)) = rest.split_first() {
            if found == 0 {
                return None;
            }
            let (value, next) = cstr(after)?;
            if found == kind {
                return std::str::from_utf8(value).ok();
            }
            rest = next;
        }
        None
    }

    /// SQLSTATE, or empty: some servers send errors without.
    #[must_use]
    pub fn sqlstate(self) -> &'a str {
        self.field(b'C').unwrap_or_default()
    }

    /// The message, or empty.
    #[must_use]
    pub fn message(self) -> &'a str {
        self.field(b'M').unwrap_or_default()
    }

    /// Its severity in English, or empty.
    #[must_use]
    pub fn severity(self) -> &'a str {
        let severity = self.field(b'V').or_else(|| self.field(b'S'));
        severity.unwrap_or_default()
    }

    /// Whether the server ends the connection after this.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self.severity(), "FATAL" | "PANIC")
    }

    /// Whether the server ends the connection because it goes away itself: nothing was wrong with
    /// the statement.
    #[must_use]
    pub fn is_server_leaving(self) -> bool {
        self.is_fatal() && matches!(self.sqlstate(), "57P01" | "57P02" | "57P03")
    }
}
