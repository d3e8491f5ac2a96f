//! Channel binding (RFC 5802, section 6): the proof of a password is bound to the encrypted connection
//! it travels over, so that it is worth nothing to somebody in between who has another one.

use super::{MECHANISM, MECHANISM_PLUS, ScramError, encode};

/// The kind of binding that PostgreSQL knows: to a hash of the server's certificate (RFC 5929).
const KIND: &str = "p=tls-server-end-point,,";

/// What the side that proves its password can bind to, and whether it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// There is nothing to bind to: the connection is not encrypted.
    #[default]
    Unsupported,
    /// There is, but the other side did not offer it. It is told so: if it did, somebody in between
    /// took the offer away.
    NotOffered,
    /// To this hash of the other side's certificate.
    EndPoint(Box<[u8]>),
}

impl ChannelBinding {
    /// What to do given what the connection could be bound to and what the server offered.
    #[must_use]
    pub fn choose(end_point: Option<&[u8]>, mechanisms: &[&str]) -> Self {
        match end_point {
            None => Self::Unsupported,
            Some(hash) if mechanisms.contains(&MECHANISM_PLUS) => Self::EndPoint(hash.into()),
            Some(_) => Self::NotOffered,
        }
    }

    /// The mechanism that goes with it.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::EndPoint(_) => MECHANISM_PLUS,
            Self::Unsupported | Self::NotOffered => MECHANISM,
        }
    }

    /// The header of a client-first message.
    pub(super) fn header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => KIND,
        }
    }

    /// The value of `c` in a client-final message.
    pub(super) fn proof(&self) -> String {
        let bound: &[u8] = match self {
            Self::EndPoint(hash) => hash,
            Self::Unsupported | Self::NotOffered => &[],
        };
        encode(&[self.header().as_bytes(), bound].concat())
    }
}

/// Takes the header off a client-first message. `offered` is what the connection can be bound to,
/// `plus` whether the client chose the mechanism that binds.
pub(super) fn read_header<'a>(
    message: &'a str,
    offered: Option<&[u8]>,
    plus: bool,
) -> Result<(ChannelBinding, &'a str), ScramError> {
    if let Some(bare) = message.strip_prefix(KIND) {
        return match offered {
            Some(hash) if plus => Ok((ChannelBinding::EndPoint(hash.into()), bare)),
            _ => Err(ScramError::ChannelBinding),
        };
    }
    match message.split_at_checked(3) {
        // The client could bind and believes that we cannot: somebody took our offer away.
        Some(("y,,", _)) if offered.is_some() => Err(ScramError::Downgrade),
        Some(("n,," | "y,,", _)) if plus => Err(ScramError::ChannelBinding),
        Some(("n,,", bare)) => Ok((ChannelBinding::Unsupported, bare)),
        Some(("y,,", bare)) => Ok((ChannelBinding::NotOffered, bare)),
        _ if message.starts_with("p=") => Err(ScramError::ChannelBinding),
        _ => Err(ScramError::Malformed),
    }
}
