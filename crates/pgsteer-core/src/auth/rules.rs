//! Rules of access: who from where with what method, as in PostgreSQL's `pg_hba.conf`.

use std::net::IpAddr;
use std::sync::Arc;

use super::AuthMethod;
use super::names::{DatabaseName, IdentMap, UserName};

/// How a client is connected, in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Unix socket.
    Local,
    /// TCP, encrypted or not.
    Host,
    /// TCP with TLS.
    HostSsl,
    /// TCP without TLS.
    HostNoSsl,
    /// TCP with GSSAPI encryption, which the proxy has not: nobody.
    HostGss,
}

impl Transport {
    fn fits(self, claim: &Claim<'_>) -> bool {
        let is_encrypted = claim.certificate.is_encrypted();
        match (self, claim.address) {
            (Self::Local, address) => address.is_none(),
            (_, None) | (Self::HostGss, _) => false,
            (Self::Host, Some(_)) => true,
            (Self::HostSsl, Some(_)) => is_encrypted,
            (Self::HostNoSsl, Some(_)) => !is_encrypted,
        }
    }
}

/// Addresses of one family that agree in the bits of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Address and mask.
    V4(u32, u32),
    /// Address and mask.
    V6(u128, u128),
}

impl Network {
    /// An address with a mask; `None` if they are of two families.
    #[must_use]
    pub fn with_mask(address: IpAddr, mask: IpAddr) -> Option<Self> {
        match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => {
                Some(Self::V4(address.to_bits(), mask.to_bits()))
            }
            (IpAddr::V6(address), IpAddr::V6(mask)) => {
                Some(Self::V6(address.to_bits(), mask.to_bits()))
            }
            _ => None,
        }
    }

    /// An address with the length of its prefix; `None` if that is too long.
    #[must_use]
    pub fn with_prefix(address: IpAddr, prefix: u8) -> Option<Self> {
        let prefix = u32::from(prefix);
        match address {
            IpAddr::V4(address) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                Some(Self::V4(address.to_bits(), mask))
            }
            IpAddr::V6(address) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                Some(Self::V6(address.to_bits(), mask))
            }
            _ => None,
        }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (*self, address) {
            (Self::V4(own, mask), IpAddr::V4(other)) => own & mask == other.to_bits() & mask,
            (Self::V6(own, mask), IpAddr::V6(other)) => own & mask == other.to_bits() & mask,
            _ => false,
        }
    }
}

/// Where a client may come from, in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Anywhere.
    All,
    /// One of these networks.
    Networks(Vec<Network>),
}

impl Addresses {
    fn fits(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::All, _) => true,
            (Self::Networks(_), None) => false,
            (Self::Networks(networks), Some(address)) => {
                networks.iter().any(|network| network.contains(address))
            }
        }
    }
}

/// What certificate a rule wants besides its method, and what a client showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// None is needed.
    NotNeeded,
    /// One that is trusted (`clientcert=verify-ca`).
    Trusted,
    /// One that is trusted and for this very user (`clientcert=verify-full`, method `cert`).
    OfUser,
}

/// What a client showed of itself in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// There is no TLS.
    Plain,
    /// TLS without a certificate.
    Nothing,
    /// A trusted certificate with this common name.
    Name(&'a str),
}

impl Shown<'_> {
    fn is_encrypted(self) -> bool {
        self != Self::Plain
    }
}

/// Who a client says it is, and what is known about the way it came.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The user it wants to be.
    pub user: &'a str,
    /// The database it wants; of no meaning for physical replication.
    pub database: &'a str,
    /// Whether it wants physical replication.
    pub is_physical_replication: bool,
    /// Its address; none on a Unix socket.
    pub address: Option<IpAddr>,
    /// What it showed in TLS.
    pub certificate: Shown<'a>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands: file and line, or position in the configuration.
    pub place: Arc<str>,
    /// How the client is connected.
    pub transport: Transport,
    /// Databases; one that fits is enough.
    pub databases: Vec<DatabaseName>,
    /// Users; one that fits is enough.
    pub users: Vec<UserName>,
    /// Where the client is.
    pub addresses: Addresses,
    /// How it proves who it is.
    pub method: AuthMethod,
    /// What certificate it must show.
    pub certificate: Certificate,
    /// Which certificates are for which users; without it the name must be the user's.
    pub map: Option<Arc<IdentMap>>,
}

impl Rule {
    fn fits(&self, claim: &Claim<'_>) -> bool {
        let database = |name: &DatabaseName| match claim.is_physical_replication {
            true => matches!(name, DatabaseName::Replication),
            false => name.fits(claim.database, claim.user),
        };
        self.transport.fits(claim)
            && self.addresses.fits(claim.address)
            && self.databases.iter().any(database)
            && self.users.iter().any(|name| name.fits(claim.user))
    }

    /// Whether a certificate with this name is one of this user.
    #[must_use]
    pub fn allows(&self, name: &str, user: &str) -> bool {
        match &self.map {
            Some(map) => map.allows(name, user),
            None => name == user,
        }
    }
}

/// All rules. The first that fits counts.
#[derive(Clone, Debug, Default)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// The rule for this client.
    #[must_use]
    pub fn find(&self, claim: &Claim<'_>) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.fits(claim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_contain_what_their_mask_says() {
        for (network, prefix, inside, outside) in [
            ("10.1.2.3", 8, "10.255.0.1", "11.0.0.1"),
            ("127.0.0.1", 32, "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0", 0, "255.255.255.255", "::1"),
            ("fe80::1", 64, "fe80::2", "fe81::1"),
            ("::", 0, "::1", "0.0.0.0"),
            ("::1", 128, "::1", "::2"),
        ] {
            let network = Network::with_prefix(address(network), prefix).expect("fits");
            assert!(network.contains(address(inside)), "{network:?} {inside}");
            assert!(!network.contains(address(outside)), "{network:?} {outside}");
        }
        assert_eq!(Network::with_prefix(address("1.2.3.4"), 33), None);
        assert_eq!(Network::with_prefix(address("::1"), 129), None);
        let odd = Network::with_mask(address("10.0.7.0"), address("255.0.255.0")).expect("one");
        assert!(odd.contains(address("10.9.7.9")));
        assert!(!odd.contains(address("10.9.8.9")));
        assert_eq!(Network::with_mask(address("1.2.3.4"), address("::1")), None);
    }
}
