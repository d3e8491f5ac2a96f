//! Why a probe failed, and what an operator can do about it.

use std::error::Error as _;
use std::time::Duration;

use pgsteer_core::settings::{NodeSettings, ProbeSettings};
use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::tls::HandshakeError;

/// Why a probe failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Fault {
    /// PostgreSQL said so.
    #[error("{message} (SQLSTATE {sqlstate})")]
    Refused { sqlstate: String, message: String },
    /// The operating system said so.
    #[error("{message}")]
    Io {
        kind: std::io::ErrorKind,
        message: String,
    },
    /// Nobody said anything in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// TLS did not come about.
    #[error("{0}")]
    Tls(String),
    /// The driver gave up for a reason of its own.
    #[error("{0}")]
    Other(String),
    /// The answer is not one to the question.
    #[error("the answer is not one PostgreSQL gives")]
    Nonsense,
}

impl Fault {
    /// The innermost reason of a driver's error.
    pub(crate) fn from_postgres(error: &tokio_postgres::Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            return Self::Refused {
                sqlstate: refusal.code().code().to_owned(),
                message: refusal.message().to_owned(),
            };
        }
        let source = error.source();
        let shaking = source.and_then(|source| source.downcast_ref::<HandshakeError>());
        let io = match shaking {
            Some(HandshakeError(error)) => Some(error),
            None => source.and_then(|source| source.downcast_ref::<std::io::Error>()),
        };
        // What the other side says is wrong about TLS is invalid data to it; else it is the socket.
        if shaking.is_some() && io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData) {
            return Self::Tls(error.to_string());
        }
        if let Some(io) = io {
            return Self::Io {
                kind: io.kind(),
                message: io.to_string(),
            };
        }
        if error.is_closed() {
            return Self::Io {
                kind: std::io::ErrorKind::ConnectionReset,
                message: "the connection was closed".to_owned(),
            };
        }
        Self::Other(error.to_string())
    }

    /// Whether it is about reaching the node and not about what the node says.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Timeout(_) => true,
            Self::Refused { sqlstate, .. } => sqlstate.starts_with("57"),
            Self::Tls(_) | Self::Other(_) | Self::Nonsense => false,
        }
    }

    /// Whether a server said so, and not that it is on its way up or down: whatever is wrong, it
    /// lives.
    pub(crate) fn is_sign_of_life(&self) -> bool {
        matches!(self, Self::Refused { sqlstate, .. } if !sqlstate.starts_with("57"))
    }

    /// What an operator can do about it. `answered` says whether the node ever answered: then its
    /// address is right.
    pub(crate) fn advice(
        &self,
        node: &NodeSettings,
        settings: &ProbeSettings,
        answered: bool,
    ) -> String {
        use std::io::ErrorKind;
        match self {
            Self::Refused { sqlstate, .. } => refused(sqlstate, settings),
            Self::Io {
                kind: ErrorKind::ConnectionRefused,
                ..
            } if node.port != 5432 && !answered => format!(
                "is PostgreSQL running and listening on port {}? Inside a container network it \
                 listens on 5432, whatever port the host maps to it",
                node.port
            ),
            Self::Io {
                kind: ErrorKind::ConnectionRefused,
                ..
            } => {
                "is PostgreSQL running, and does listen_addresses include this address?".to_owned()
            }
            Self::Io {
                kind: ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof,
                ..
            } => "the server may have stopped; it is asked again".to_owned(),
            Self::Io { .. } => "check that the host name is spelled as on this network".to_owned(),
            Self::Timeout(_) => {
                "is the host up, and does a firewall drop packets? probe.timeout sets the limit"
                    .to_owned()
            }
            Self::Tls(_) => "check server_tls.mode, server_tls.ca_file and the certificate of the \
                             node; docs/tls.md says what is asked of it"
                .to_owned(),
            Self::Other(_) => {
                "check probe.user, its password and the node's pg_hba.conf".to_owned()
            }
            Self::Nonsense => "is it PostgreSQL 12 or later that listens there?".to_owned(),
        }
    }
}

fn refused(sqlstate: &str, settings: &ProbeSettings) -> String {
    let user = &settings.user;
    if sqlstate == SqlState::INVALID_PASSWORD.code() {
        return format!(
            "set probe.password for user {user} (PGPOOL_SR_CHECK_USER and PGPOOL_SR_CHECK_PASSWORD)"
        );
    }
    if sqlstate == SqlState::INVALID_AUTHORIZATION_SPECIFICATION.code() {
        return format!("let user {user} in: the role must exist and pg_hba.conf must allow it");
    }
    if sqlstate == SqlState::INVALID_CATALOG_NAME.code() {
        return format!(
            "probe.database names {}, which is not there",
            settings.database
        );
    }
    if sqlstate == SqlState::INSUFFICIENT_PRIVILEGE.code() {
        return format!("let user {user} connect to this database and read pg_catalog");
    }
    if sqlstate == SqlState::TOO_MANY_CONNECTIONS.code() {
        return "raise max_connections, or lower pool.connections_per_node_max".to_owned();
    }
    if sqlstate.starts_with("57") {
        return "the server is starting or stopping; it is asked again".to_owned();
    }
    "see the log of that PostgreSQL server".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(fault: &Fault, port: u16, answered: bool) -> String {
        let node = NodeSettings::new("pg-1", port);
        let settings = ProbeSettings {
            user: "watcher".to_owned(),
            password: "secret".into(),
            database: "nowhere".to_owned(),
            ..ProbeSettings::default()
        };
        let advice = fault.advice(&node, &settings, answered);
        assert!(!advice.contains("secret"));
        advice
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let refused = |sqlstate: &str| Fault::Refused {
            sqlstate: sqlstate.to_owned(),
            message: String::new(),
        };
        let io = |kind| Fault::Io {
            kind,
            message: String::new(),
        };
        let cases = [
            (
                refused("28P01"),
                5432,
                "set probe.password for user watcher",
            ),
            (refused("28000"), 5432, "pg_hba.conf must allow it"),
            (refused("3D000"), 5432, "probe.database names nowhere"),
            (refused("42501"), 5432, "let user watcher connect"),
            (refused("53300"), 5432, "raise max_connections"),
            (refused("57P03"), 5432, "starting or stopping"),
            (refused("XX000"), 5432, "see the log"),
            (
                io(std::io::ErrorKind::ConnectionRefused),
                5433,
                "listens on 5432",
            ),
            (
                io(std::io::ErrorKind::ConnectionRefused),
                5432,
                "is PostgreSQL running",
            ),
            (
                io(std::io::ErrorKind::ConnectionReset),
                5432,
                "may have stopped",
            ),
            (io(std::io::ErrorKind::Other), 5432, "host name"),
            (Fault::Timeout(Duration::from_secs(1)), 5432, "firewall"),
            (Fault::Tls(String::new()), 5432, "check server_tls.mode"),
            (Fault::Other(String::new()), 5432, "check probe.user"),
            (Fault::Nonsense, 5432, "is it PostgreSQL"),
        ];
        for (fault, port, expected) in cases {
            let advice = advice(&fault, port, false);
            assert!(advice.contains(expected), "{fault:?}: {advice}");
        }
        let refused = io(std::io::ErrorKind::ConnectionRefused);
        assert!(
            !advice(&refused, 5433, true).contains("5432"),
            "its port is right"
        );
    }
}
