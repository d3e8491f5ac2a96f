//! What happens when the primary fails, is replaced, or comes back.
//!
//! The machine ([`step`]) is pure: it sees the nodes as probes do, is told what the policy answers,
//! what became of tasks and what operators order, and says what is to be done. The conductor does
//! it. Which replica takes over is decided by a plugin; [`safety`] has the rules it cannot break.

mod advice;
mod ask;
mod audit;
mod commands;
mod conductor;
mod conninfo;
mod execute;
mod followers;
mod memory;
mod orders;
mod reign;
mod remedies;
mod safety;
mod scribe;
mod sight;
mod state;
mod step;
mod switchover;

#[cfg(test)]
mod orders_tests;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod step_tests;

pub(crate) use conductor::Conductor;
pub(crate) use sight::Sight;
