//! What the tests of this binary have in common with others: servers, proxies, frames.

#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod proxy;
#[path = "../support/shared.rs"]
mod shared;
#[path = "../cluster/support/site.rs"]
mod site;
#[path = "../support/wire.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod wire;

pub(crate) use proxy::{Options, Running};
pub(crate) use shared::runtime;
pub(crate) use site::cluster;
pub(crate) use wire::{Frame, Login, Wire, msg};
