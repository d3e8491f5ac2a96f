//! What plugins can be asked about, and what they may be granted.

use std::fmt;

/// A set of hooks: interfaces a plugin implements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks(u8);

impl Hooks {
    /// Who may begin a session.
    pub const SESSION: Self = Self(1 << 0);
    /// Whether a statement runs as it is.
    pub const REWRITER: Self = Self(1 << 1);
    /// Where a statement runs.
    pub const ROUTER: Self = Self(1 << 2);
    /// What happened.
    pub const OBSERVER: Self = Self(1 << 3);
    /// The nodes changed.
    pub const TOPOLOGY_LISTENER: Self = Self(1 << 4);
    /// Commands of operators.
    pub const OPERATOR: Self = Self(1 << 5);
    /// What happens when a primary fails.
    pub const FAILOVER: Self = Self(1 << 6);

    const NAMED: [(Self, &'static str); 7] = [
        (Self::SESSION, "session"),
        (Self::REWRITER, "rewriter"),
        (Self::ROUTER, "router"),
        (Self::OBSERVER, "observer"),
        (Self::TOPOLOGY_LISTENER, "topology-listener"),
        (Self::OPERATOR, "operator"),
        (Self::FAILOVER, "failover"),
    ];

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The hook of this name in `wit/`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let named = Self::NAMED.iter().find(|(_, known)| *known == name);
        named.map(|(hook, _)| *hook)
    }

    /// Their names in `wit/`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let mine = Self::NAMED.iter().filter(move |(hook, _)| self.has(*hook));
        mine.map(|(_, name)| *name)
    }
}

impl fmt::Display for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

/// A set of things a plugin may do that it could not do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants(u8);

impl Grants {
    /// Write lines to the log.
    pub const LOG: Self = Self(1 << 0);
    /// Keep series that the console shows.
    pub const METRICS: Self = Self(1 << 1);
    /// Look at a coarse clock.
    pub const CLOCK: Self = Self(1 << 2);
    /// Look names up in the catalogs.
    pub const CATALOG: Self = Self(1 << 3);
    /// Use a key-value store of its own.
    pub const KV: Self = Self(1 << 4);
    /// See the values of parameters.
    pub const VALUES: Self = Self(1 << 5);
    /// Make reads into writes, and anything into a schema change.
    pub const REWRITE_ANY: Self = Self(1 << 6);
    /// Import WASI, of which nothing works.
    pub const WASI_STUBS: Self = Self(1 << 7);

    /// All there are, by name.
    pub const NAMED: [(Self, &'static str); 8] = [
        (Self::LOG, "log"),
        (Self::METRICS, "metrics"),
        (Self::CLOCK, "clock"),
        (Self::CATALOG, "catalog"),
        (Self::KV, "kv"),
        (Self::VALUES, "values"),
        (Self::REWRITE_ANY, "rewrite-any"),
        (Self::WASI_STUBS, "wasi-stubs"),
    ];

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The grant of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let named = Self::NAMED.iter().find(|(_, known)| *known == name);
        named.map(|(grant, _)| *grant)
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let mine = Self::NAMED
            .iter()
            .filter(move |(grant, _)| self.has(*grant));
        mine.map(|(_, name)| *name)
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::{Grants, Hooks};

    #[test]
    fn names_lead_back() {
        for (hook, name) in Hooks::NAMED {
            assert_eq!(Hooks::from_name(name), Some(hook));
        }
        for (grant, name) in Grants::NAMED {
            assert_eq!(Grants::from_name(name), Some(grant));
        }
        let both = Hooks::ROUTER.with(Hooks::SESSION);
        assert_eq!(both.to_string(), "session,router");
        assert!(both.has(Hooks::ROUTER) && !both.has(Hooks::OBSERVER));
        assert!(Hooks::default().is_empty());
    }
}
