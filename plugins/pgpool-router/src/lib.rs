//! The default router: Pgpool-II's load balancing in streaming-replication mode.
//!
//! `parameters` reads the configuration, `decide` answers for statements, `writing` is the flag of
//! `disable_load_balance_on_write`, `open` names the nodes a session's reads are drawn from.

use pgsteer_plugin_sdk::{
    Manifest, Opening, Routed, Router, Session, Statement, Topology, export_router, manifest,
};

mod decide;
mod open;
mod parameters;
mod writing;

pub use parameters::{DisableOnWrite, Parameters};

/// The plugin.
pub struct PgpoolRouter {
    parameters: Parameters,
    topology: Topology,
}

impl Router for PgpoolRouter {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            parameters: Parameters::from_json(json)?,
            topology: Topology::default(),
        })
    }

    fn topology_changed(&mut self, topology: &Topology) {
        self.topology = topology.clone();
    }

    fn open(&mut self, session: &Session) -> Opening {
        open::open(&self.parameters, &self.topology, session)
    }

    fn decide(&mut self, statement: &Statement) -> Routed {
        decide::decide(&self.parameters, statement)
    }
}

export_router!(PgpoolRouter);

#[cfg(test)]
mod tests;
