//! What the tests have in common: servers, proxies in front of them, and clients.

mod databases;
mod plane;
pub(crate) mod plugins;
#[path = "../../support/proxy.rs"]
mod proxy;
#[path = "../../support/shared.rs"]
mod shared;
mod site;
#[path = "../../support/wire.rs"]
mod wire;

use std::time::Duration;

pub(crate) use databases::{database, marked_nodes, wait_for_catalog};
pub(crate) use plane::Plane;
pub(crate) use proxy::{Options, Running};
pub(crate) use shared::runtime;
pub(crate) use site::cluster;
pub(crate) use wire::{Frame, Login, Wire, msg, shown};

/// How long a test waits for something that must happen. Generous: it is spent only by a test that
/// fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
