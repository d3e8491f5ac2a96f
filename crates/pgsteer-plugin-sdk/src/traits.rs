//! What the host found out about a statement, as a set of named bits.

use std::ops::BitOr;

/// A set of findings. Bits this crate does not name are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traits(u64);

impl Traits {
    /// Reads only, as far as the host can prove.
    pub const READS: Self = Self(1 << 0);
    /// Writes.
    pub const WRITES: Self = Self(1 << 1);
    /// Has a locking clause.
    pub const LOCKING: Self = Self(1 << 2);
    /// Calls a volatile function.
    pub const VOLATILE_FUNCTION: Self = Self(1 << 3);
    /// One of several statements in a string.
    pub const SEVERAL: Self = Self(1 << 4);
    /// Has parameters.
    pub const PARAMETERS: Self = Self(1 << 5);
    /// Inside an explicit transaction.
    pub const IN_TRANSACTION: Self = Self(1 << 6);
    /// The transaction is read only.
    pub const TRANSACTION_READ_ONLY: Self = Self(1 << 7);
    /// The transaction is serializable.
    pub const SERIALIZABLE: Self = Self(1 << 8);
    /// The transaction is repeatable read.
    pub const REPEATABLE_READ: Self = Self(1 << 9);
    /// The session is pinned to a node.
    pub const PINNED: Self = Self(1 << 10);
    /// Refers to a temporary relation.
    pub const TEMPORARY: Self = Self(1 << 11);
    /// Refers to a system catalog.
    pub const CATALOG: Self = Self(1 << 12);
    /// Calls a function the host does not know.
    pub const UNKNOWN_FUNCTION: Self = Self(1 << 13);
    /// Text starts with white space.
    pub const LEADING_SPACE: Self = Self(1 << 14);
    /// Text starts with a comment.
    pub const LEADING_COMMENT: Self = Self(1 << 15);
    /// Text does not start like a read.
    pub const NOT_LIKE_A_READ: Self = Self(1 << 16);
    /// An earlier statement of this transaction wrote.
    pub const TRANSACTION_WROTE: Self = Self(1 << 17);
    /// Extended protocol.
    pub const EXTENDED: Self = Self(1 << 18);
    /// Text withheld, it is too long.
    pub const TEXT_WITHHELD: Self = Self(1 << 19);
    /// SAVEPOINT, RELEASE or ROLLBACK TO.
    pub const SAVEPOINT: Self = Self(1 << 20);
    /// Names an unlogged relation.
    pub const UNLOGGED: Self = Self(1 << 21);
    /// Names a relation of which the catalog facts are missing.
    pub const UNKNOWN_RELATION: Self = Self(1 << 22);
    /// Names a relation that an earlier statement of this transaction named while it wrote.
    pub const WRITTEN_RELATION: Self = Self(1 << 23);
    /// Names a view behind which there is something that makes it no plain read.
    pub const THROUGH_VIEW: Self = Self(1 << 24);
    /// A relation of a name in it is temporary in some other session.
    pub const TEMPORARY_NAME: Self = Self(1 << 25);
    /// A function of a name in it is declared volatile in some schema.
    pub const VOLATILE_NAME: Self = Self(1 << 26);
    /// ROLLBACK TO.
    pub const ROLLBACK_TO: Self = Self(1 << 27);
    /// SET or BEGIN that makes a transaction read only, and nothing else.
    pub const SETS_READ_ONLY: Self = Self(1 << 28);
    /// A relation of a name in it is a system catalog, whatever the name means here.
    pub const CATALOG_NAME: Self = Self(1 << 29);
    /// Asked at Parse: the values of its parameters are not known yet.
    pub const VALUES_UNKNOWN: Self = Self(1 << 30);
    /// Values withheld: they are too long, or not there for another reason.
    pub const VALUES_WITHHELD: Self = Self(1 << 31);

    /// No finding.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// The set with these bits of `wit/v0.1/plugin.wit`.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits in `wit/v0.1/plugin.wit`.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in the set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together; like `|`, for constants.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Traits {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}
