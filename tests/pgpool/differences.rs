//! What may differ, and why. Anything else is a defect of one side.

use crate::compare::{Case, What};

/// An expected difference. A test names the ones it must meet.
pub(crate) struct Difference {
    /// A defect of Pgpool-II by its number, or a word of our own.
    pub(crate) id: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) applies: fn(&Case<'_>) -> bool,
}

/// The difference with this id.
pub(crate) fn find(id: &str) -> &'static Difference {
    let found = ALL.iter().find(|difference| difference.id == id);
    found.unwrap_or_else(|| panic!("no difference {id}"))
}

pub(crate) const ALL: &[Difference] = &[];
