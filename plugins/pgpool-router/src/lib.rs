//! The default router: Pgpool-II's load balancing in streaming-replication mode.
//!
//! `parameters` reads the configuration with the help of `lists`, `redirect` and `relationships`.
//! `open` names the nodes a session's reads are drawn from, `decide` answers for statements with
//! the help of `functions`, `writing` is the flag of `disable_load_balance_on_write`, `reason` puts
//! the rules in words, `variants` is for sessions with settings of their own. With
//! `compatibility = "exact"` the defects of Pgpool-II that only change where a read goes are
//! reproduced.

use pgsteer_plugin_sdk::{
    Manifest, Needs, Opening, Plugin, Routed, Router, Session, Statement, Topology, export,
    manifest,
};

mod decide;
mod functions;
mod lists;
mod open;
mod parameters;
mod reason;
mod redirect;
mod relationships;
mod variants;
mod writing;

pub use parameters::{CheckTempTable, DisableOnWrite, KEYS, Parameters, ReadYourWrites};
use variants::Variants;

/// The plugin.
pub struct PgpoolRouter {
    variants: Variants,
    topology: Topology,
}

impl Plugin for PgpoolRouter {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            variants: Variants::new(&Parameters::from_json(json)?),
            topology: Topology::default(),
        })
    }

    fn needs(&self) -> Needs {
        let parameters = self.variants.configured();
        let relationships = &parameters.dml_adaptive_object_relationship_list;
        let by_function = !parameters.read_only_function_list.is_empty()
            || !parameters.write_function_list.is_empty()
            || relationships.name_functions();
        let mut needs = Needs::none();
        if !parameters.primary_routing_query_pattern_list.is_empty() {
            needs = needs.sql();
        }
        if by_function {
            needs = needs.functions();
        }
        if !relationships.is_empty() {
            needs = needs.relations();
        }
        needs
    }

    fn topology_changed(&mut self, topology: &Topology) {
        self.topology = topology.clone();
    }
}

impl Router for PgpoolRouter {
    fn open(&mut self, session: &Session) -> Opening {
        let class = self.variants.class(session);
        open::open(self.variants.of(class), class, &self.topology, session)
    }

    fn decide(&mut self, statement: &Statement) -> Routed {
        decide::decide(self.variants.of(statement.session_class), statement)
    }

    fn explain(&self, reason: u32) -> String {
        reason::Reason::text(reason).to_owned()
    }
}

export!(PgpoolRouter: Router);

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod tests;
