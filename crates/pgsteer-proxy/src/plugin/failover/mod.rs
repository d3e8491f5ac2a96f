//! Failovers in a file of cases: nodes over time, a small proxy that asks and obeys, and whether
//! it was told what was expected.

mod drill;
mod scenario;
mod stage;

pub(crate) use drill::{Outcome, run};
pub(crate) use scenario::{RawScenario, Scenario};
