//! What the control plane finds out and the data plane looks at per statement, shared for the life
//! of the proxy. Everything in it is read without waiting.

use std::time::Instant;

use crate::probes::Probes;
use crate::{Catalogs, Freshness};

/// Facts about nodes and databases.
#[derive(Debug)]
pub struct Facts {
    /// How far each node has replayed.
    pub freshness: Freshness,
    /// What is in the databases.
    pub catalogs: Catalogs,
    /// What became of the probes.
    pub probes: Probes,
}

impl Facts {
    /// Nothing is known yet, of so many nodes. `start` is the beginning of the freshness clock.
    #[must_use]
    pub fn new(start: Instant, nodes: usize) -> Self {
        Self {
            freshness: Freshness::new(start, nodes),
            catalogs: Catalogs::default(),
            probes: Probes::new(nodes),
        }
    }
}
