//! Decisions without clients and servers, for benchmarks and for the test that counts allocations.
//! Not part of the interface.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use pgsteer_core::{NodeId, Subscription};

use crate::journal::Settings;
use crate::policies::SessionPolicies;
use crate::search_path::NameSpace;
use crate::steering::{Identity, Situation, Statement, Steering};
use crate::transaction::Transaction;
use crate::worker::{Shared, Worker};
use crate::writes::Writes;

/// A session that decides and does nothing else.
pub struct Decider {
    steering: Steering,
    settings: Settings,
    transaction: Transaction,
}

impl std::fmt::Debug for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decider")
    }
}

impl Decider {
    /// A session of this user on this database, on a worker of its own.
    #[must_use]
    pub fn new(shared: &Arc<Shared>, subscription: Subscription, user: &str, on: &str) -> Self {
        let worker = Rc::new(Worker::new(0, Arc::clone(shared), subscription));
        let database = shared.facts.catalogs.enter(on);
        let writes = Writes::new(
            Arc::clone(&shared.facts),
            Arc::clone(&shared.relation_writes),
            Arc::clone(&database),
        );
        let steering = Steering {
            snapshot: worker.snapshot(),
            worker,
            identity: Identity {
                user: user.into(),
                database: on.into(),
                application_name: String::new(),
                client_address: String::new(),
            },
            policies: SessionPolicies::default(),
            balance_node: None,
            temporary: HashSet::new(),
            tied_to_primary: false,
            overridden: Vec::new(),
            names: NameSpace::new(database),
            writes,
        };
        Self {
            steering,
            settings: Settings::default(),
            transaction: Transaction::None,
        }
    }

    /// The node of a statement, from its text to the end of the decision.
    pub fn decide(&mut self, text: &[u8]) -> Option<NodeId> {
        let analysis = self.steering.worker.analyses.borrow_mut().analyze(text);
        let statement = Statement {
            analysis: &analysis,
            executed: None,
            text,
            extended: false,
        };
        let now = Situation {
            settings: &self.settings,
            transaction: &self.transaction,
            legs: &[],
            avoid: &[],
        };
        let placed = self.steering.place(&statement, now);
        placed.ok().map(|placement| placement.node)
    }
}
