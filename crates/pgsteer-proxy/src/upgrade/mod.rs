//! Another process takes over from this one, and no client notices: the listening sockets are handed
//! over, so there is no moment without a listener, and the sessions of the old process go on in it.
//!
//! The two talk over a pair of sockets, one end of which is the standard input of the new process.
//! [`link`] says what they say: first the listening sockets, then `ready`, then `yours`; from then on
//! cancel requests for sessions of the old process. [`heir`] is the new process seen by the old one,
//! [`elder`] the other way round, [`retired`] the rest of the old one's life, [`command`] the order.

pub(crate) mod command;
mod elder;
mod heir;
mod link;
mod notify;
mod retired;

pub(crate) use elder::{Elder, elder};
pub(crate) use heir::{Heir, Program};
pub(crate) use notify::{Notice, notify};
pub(crate) use retired::{Heard, retire};

/// Process id of the one before, in the environment of the new one.
const VARIABLE: &str = "PGSTEER_UPGRADE_FROM";
