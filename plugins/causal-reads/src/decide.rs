//! Which statements are reads that a replica may serve, and what they must see.

use pgsteer_plugin_sdk::{Class, Fallback, Fresh, Limits, Routed, Spread, Statement, Traits};

use crate::settings::{Key, Settings, WithoutKey};

/// Why a statement runs where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The next plugin decides.
    NoOpinion,
    /// A read with a key.
    Keyed,
    /// A read without one, after the writes of its session.
    Session,
    /// A read without one, after all writes of the database.
    Database,
    /// A read without one, which is to see everything.
    Unkeyed,
    /// It may write.
    Writes,
}

impl Reason {
    const ALL: [(Self, &'static str); 6] = [
        (Self::NoOpinion, ""),
        (Self::Keyed, "a read after the writes under its key"),
        (
            Self::Session,
            "a read without a key, after the writes of its session",
        ),
        (
            Self::Database,
            "a read without a key, after all writes of the database",
        ),
        (
            Self::Unkeyed,
            "a read without a key (without_key = primary)",
        ),
        (
            Self::Writes,
            "no plain read, or not in a transaction that may be read elsewhere",
        ),
    ];

    fn code(self) -> u32 {
        self as u32
    }

    pub(crate) fn text(code: u32) -> &'static str {
        let found = Self::ALL.iter().find(|(reason, _)| reason.code() == code);
        found.map_or("", |(_, text)| text)
    }
}

/// The answer for a statement; it depends on nothing but the arguments.
pub(crate) fn decide(settings: &Settings, statement: &Statement, key: Option<u64>) -> Routed {
    // State of the session: the next plugin, in the end the built-in router, sees to that.
    if matches!(
        statement.class,
        Class::TransactionControl
            | Class::SessionSetting
            | Class::Deallocate
            | Class::Show
            | Class::Empty
    ) && !statement.traits.contains(Traits::SEVERAL)
    {
        return Routed::abstain();
    }
    if !is_plain_read(statement) {
        // What nobody signed must be seen by everybody.
        let noted = key.unwrap_or(UNSIGNED);
        return Routed::primary()
            .because(Reason::Writes.code())
            .under([noted]);
    }
    let Some(key) = key else {
        return unkeyed(settings, statement);
    };
    balanced(settings, statement, Fresh::KEYS, Reason::Keyed).under([key, UNSIGNED])
}

fn unkeyed(settings: &Settings, statement: &Statement) -> Routed {
    // Asked again with the values when they are there.
    let unknown = statement.traits.contains(Traits::VALUES_UNKNOWN);
    if unknown && matches!(settings.key, Key::Parameter(_)) {
        return Routed::abstain();
    }
    match settings.without_key {
        WithoutKey::Session => balanced(settings, statement, Fresh::SESSION, Reason::Session),
        WithoutKey::Database => balanced(settings, statement, Fresh::DATABASE, Reason::Database),
        WithoutKey::Primary => Routed::primary().because(Reason::Unkeyed.code()),
    }
}

fn balanced(settings: &Settings, statement: &Statement, fresh: Fresh, reason: Reason) -> Routed {
    // Two nodes have no common snapshot.
    let one_node = statement.traits.contains(Traits::REPEATABLE_READ);
    let spread = if one_node {
        Spread::Session
    } else {
        settings.spread
    };
    Routed::balanced(spread)
        .because(reason.code())
        .within(Limits {
            fresh,
            otherwise: Fallback::Another,
            lag_bytes: 0,
            lag_ms: 0,
            wait_ms: settings.wait_ms,
        })
}

/// Whether a replica may serve it at all.
fn is_plain_read(statement: &Statement) -> bool {
    let traits = statement.traits;
    let may_write = !traits.contains(Traits::TRANSACTION_READ_ONLY);
    matches!(statement.class, Class::Select | Class::Copy)
        && traits.contains(Traits::READS)
        && !traits.intersects(KEEPS_ON_PRIMARY)
        && !(traits.contains(Traits::REPEATABLE_READ) && may_write)
}

const KEEPS_ON_PRIMARY: Traits = Traits::WRITES
    .union(Traits::LOCKING)
    .union(Traits::SEVERAL)
    .union(Traits::VOLATILE_FUNCTION)
    .union(Traits::UNKNOWN_FUNCTION)
    .union(Traits::TEMPORARY)
    .union(Traits::UNLOGGED)
    .union(Traits::UNKNOWN_RELATION)
    .union(Traits::THROUGH_VIEW)
    .union(Traits::CATALOG)
    .union(Traits::SERIALIZABLE)
    .union(Traits::TRANSACTION_WROTE)
    .union(Traits::PINNED);

/// The key of writes without one. Names have other numbers, but for an accident that only makes
/// reads wait.
pub(crate) const UNSIGNED: u64 = u64::MAX;
