//! What was done for each database and user.

use pgsteer_core::Facts;

use super::text::Text;

/// Writes the families of pools: as many as are told apart, and one for all others.
pub(super) fn collect(facts: &Facts, told_apart: usize, text: &mut Text) {
    let _ = (facts, told_apart, text);
}
