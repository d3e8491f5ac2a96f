//! What both planes share for the life of the proxy besides snapshots: what the control plane finds
//! out and the data plane looks at per statement, read without waiting; and what sessions hand over
//! to the control plane.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::admin::{Desk, NodeOrder, Order, ProcessOrder};
use crate::auth::Lookups;
use crate::counters::Counters;
use crate::policy::Tap;
use crate::pool_counters::AllPools;
use crate::probes::{Probes, Suspicions};
use crate::servers::Servers;
use crate::spans::Spans;
use crate::traffic::Traffic;
use crate::{Applied, Catalogs, Connections, Freshness, Succession};

/// Facts about nodes and databases, and the ways to the control plane.
#[derive(Debug)]
pub struct Facts {
    /// How far each node has replayed.
    pub freshness: Freshness,
    /// What is in the databases.
    pub catalogs: Catalogs,
    /// What became of the probes.
    pub probes: Probes,
    /// Questions to plugins, for whoever wants to ask them again.
    pub tap: Tap,
    /// Nodes that sessions could not reach.
    pub suspicions: Suspicions,
    /// Connections of the data plane to each node.
    pub connections: Arc<Connections>,
    /// What was done for each database and user.
    pub pools: AllPools,
    /// The server connections there are.
    pub servers: Arc<Servers>,
    /// What operators said about traffic.
    pub traffic: Arc<Traffic>,
    /// How far the workers are with what was published.
    pub applied: Applied,
    /// Users that are not in the settings, for whoever asks the servers.
    pub lookups: Lookups,
    /// Orders of operators about plugins.
    pub desk: Desk<Order>,
    /// Orders of operators about nodes.
    pub node_desk: Desk<NodeOrder>,
    /// Orders of operators about the program.
    pub process_desk: Desk<ProcessOrder>,
    /// Whoever knows the sessions, once there is one.
    pub session_list: OnceLock<Arc<dyn SessionList>>,
    /// What the workers count, once there are workers.
    pub counters: OnceLock<Arc<Counters>>,
    /// What statements did that belong to somebody's trace.
    pub spans: Spans,
    /// Whether another process takes over from this one, or this one from another.
    pub succession: Succession,
}

/// Knows which sessions there are.
pub trait SessionList: fmt::Debug + Send + Sync {
    /// One row for each server connection that a session holds, as `SHOW pool_pools` has them.
    fn rows(&self) -> Vec<Vec<String>>;

    /// How many sessions do what, once for each database and user.
    fn counts(&self) -> Vec<SessionCount>;

    /// Says to sessions that they are to end; the number of those.
    fn end(&self, which: &Ending) -> usize;
}

/// How many sessions of one database and user do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCount {
    /// The database.
    pub database: Box<str>,
    /// The user.
    pub user: Box<str>,
    /// They wait for their clients.
    pub idle: u64,
    /// A query is under way.
    pub active: u64,
    /// A query is under way and waits for a server.
    pub waiting: u64,
}

/// Sessions that are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The one of this number.
    Session(u64),
    /// Those of a database.
    Database(Box<str>),
    /// All but those of the console.
    All,
}

impl Facts {
    /// Ends sessions; the number of those. That they have ended is not waited for.
    pub fn end_sessions(&self, which: &Ending) -> usize {
        let ends = self.session_list.get().map_or(0, |list| list.end(which));
        self.traffic.nudge();
        ends
    }

    /// Nothing is known yet, of so many nodes. `start` is the beginning of the freshness clock.
    #[must_use]
    pub fn new(start: Instant, nodes: usize) -> Self {
        Self {
            freshness: Freshness::new(start, nodes),
            catalogs: Catalogs::default(),
            probes: Probes::new(nodes),
            tap: Tap::default(),
            suspicions: Suspicions::new(nodes),
            connections: Arc::new(Connections::new(nodes)),
            pools: AllPools::new(start),
            servers: Arc::default(),
            traffic: Arc::default(),
            applied: Applied::default(),
            lookups: Lookups::default(),
            desk: Desk::default(),
            node_desk: Desk::default(),
            process_desk: Desk::default(),
            session_list: OnceLock::new(),
            counters: OnceLock::new(),
            spans: Spans::default(),
            succession: Succession::default(),
        }
    }

    /// From now on orders about plugins and nodes are refused with this reason; without one they are
    /// taken again.
    pub fn refuse_orders(&self, why: Option<&'static str>) {
        self.desk.refuse(why);
        self.node_desk.refuse(why);
    }

    /// How many sessions do what; none while nobody serves any.
    #[must_use]
    pub fn session_counts(&self) -> Vec<SessionCount> {
        self.session_list
            .get()
            .map_or_else(Vec::new, |list| list.counts())
    }

    /// The sessions, as `SHOW pool_pools` has them; none while nobody serves any.
    #[must_use]
    pub fn sessions(&self) -> Vec<Vec<String>> {
        self.session_list
            .get()
            .map_or_else(Vec::new, |list| list.rows())
    }
}
