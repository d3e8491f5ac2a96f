//! Decisions without clients and servers, for benchmarks and for the test that counts allocations.
//! Not part of the interface.

use std::rc::Rc;
use std::sync::Arc;

use pgsteer_core::{NodeId, Subscription};

use crate::journal::Settings;
use crate::steering::{Identity, Situation, Statement, Steering, Values};
use crate::transaction::Transaction;
use crate::worker::{Shared, Worker};

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
        let identity = Identity {
            session: 1,
            user: user.into(),
            database: on.into(),
            application_name: "".into(),
            client_address: "".into(),
            pool: None,
            access: None,
            keys: Rc::default(),
        };
        let steering = Steering::new(worker, identity);
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
            values: Values::None,
        };
        let now = Situation {
            settings: &self.settings,
            transaction: &self.transaction,
            legs: &[],
            avoid: &[],
            tied: None,
        };
        let placed = self.steering.place(&statement, now);
        placed.ok().map(|placement| placement.node)
    }

    /// Hands over something that asks the plugins about a statement of this text, and nothing else:
    /// analysis and names are there already.
    pub fn question(&mut self, text: &[u8], work: impl FnOnce(&mut dyn FnMut() -> bool)) {
        let worker = Rc::clone(&self.steering.worker);
        let analysis = worker.analyses.borrow_mut().analyze(text);
        let statement = Statement {
            analysis: &analysis,
            executed: None,
            text,
            extended: false,
            values: Values::None,
        };
        self.decide(text);
        let meaning = self.steering.names.meaning(&worker, &analysis);
        let facts = self.steering.facts(&statement, None, &meaning);
        let policies = &self.steering.policies;
        work(&mut || {
            let verdict = worker.policies.borrow_mut().decide(policies, &facts);
            verdict.plugin < usize::MAX
        });
    }
}
