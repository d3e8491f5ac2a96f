//! The words of the settings.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

/// When TLS is used and how much is asked of the peer's certificate: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Never.
    #[default]
    Disable,
    /// Clients: if they ask for it. Servers: if one insists on it.
    Allow,
    /// Clients: if they ask for it. Servers: if one can.
    Prefer,
    /// Always.
    Require,
    /// Always, and the certificate of the peer must be signed by one of ours.
    VerifyCa,
    /// As before, and the certificate of a server must be for its host name.
    VerifyFull,
}

impl Mode {
    /// The words, from the weakest to the strongest.
    pub const WORDS: &'static [&'static str] = &[
        "disable",
        "allow",
        "prefer",
        "require",
        "verify-ca",
        "verify-full",
    ];

    /// The mode of this name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Disable,
            Self::Allow,
            Self::Prefer,
            Self::Require,
            Self::VerifyCa,
            Self::VerifyFull,
        ];
        let at = Self::WORDS.iter().position(|known| *known == word)?;
        all.get(at).copied()
    }
}

/// The oldest version of TLS that is spoken; older ones than these are not known at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Protocol {
    /// The words, as PostgreSQL's `ssl_min_protocol_version` has them.
    pub const WORDS: &'static [&'static str] = &["TLSv1.2", "TLSv1.3"];

    /// The version of this name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "TLSv1.2" => Some(Self::Tls12),
            "TLSv1.3" => Some(Self::Tls13),
            _ => None,
        }
    }

    pub(crate) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => BOTH,
            Self::Tls13 => NEWEST,
        }
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];

/// How TLS is begun with a server: libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Negotiation {
    /// The server is asked first, in PostgreSQL's own protocol.
    #[default]
    Postgres,
    /// At once, which spares a round trip; PostgreSQL 17 and newer.
    Direct,
}

impl Negotiation {
    /// The words.
    pub const WORDS: &'static [&'static str] = &["postgres", "direct"];
}
