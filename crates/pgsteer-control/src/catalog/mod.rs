//! Loads the catalogs of the databases that sessions use, and loads them again after a statement
//! that may have changed the schema, or when they have aged.
//!
//! One task decides what is due and owns all state; each load is a task of its own, so that a
//! database that hangs holds up nobody. Sessions never wait for a catalog: where there is none,
//! statements that name relations go to the primary.

mod load;
mod question;
mod rows;
mod schedule;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::settings::{NodeSettings, ProbeSettings};
use pgsteer_core::traffic::TrafficState;
use pgsteer_core::{Catalog, Database, Facts, NodeId, Role, Settings, Subscription, Topology};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::connection::Connection;
use crate::probe::Fault;
use load::Trouble;
use schedule::Schedule;

/// Loads what is wanted until the control plane ends.
pub(crate) async fn run(
    facts: Arc<Facts>,
    mut subscription: Subscription,
    mut settings: watch::Receiver<Arc<Settings>>,
) {
    let mut loader = Loader {
        facts: Arc::clone(&facts),
        entries: HashMap::new(),
        loads: JoinSet::new(),
        names: HashMap::new(),
    };
    let mut epoch = 0;
    let mut traffic = facts.traffic.subscribe();
    loop {
        let current = Arc::clone(&settings.borrow_and_update());
        let topology = Arc::clone(&subscription.get().topology);
        let now = Instant::now();
        if topology.epoch != epoch {
            epoch = topology.epoch;
            loader.retry(now);
        }
        let next = loader.begin_due(now, &current, &topology);
        tokio::select! {
            // Cancel safe: a wish that nobody waited for is kept.
            () = facts.catalogs.wanted() => {}
            // Cancel safe, as its documentation says.
            () = traffic.changed() => {}
            // Cancel safe: a task that ended stays in the set until it is returned.
            Some(ended) = loader.loads.join_next_with_id() => loader.take(ended, &current),
            // Cancel safe: a timer.
            () = until(next) => {}
            // Cancel safe: a change that nobody saw is reported again.
            open = subscription.changed() => {
                if !open {
                    return;
                }
            }
            // Cancel safe: a change that nobody saw is reported again.
            changed = settings.changed() => {
                if changed.is_err() {
                    return;
                }
                loader.retry(Instant::now());
            }
        }
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Loader {
    facts: Arc<Facts>,
    entries: HashMap<Arc<str>, Entry>,
    loads: JoinSet<Done>,
    // Databases of the running loads.
    names: HashMap<Id, Arc<str>>,
}

/// One database.
struct Entry {
    database: Arc<Database>,
    schedule: Schedule,
    kept: Option<Kept>,
    // Kinds of trouble the log was told of since the last success; a few at most.
    said: Vec<String>,
    loaded_ever: bool,
}

/// A connection that waits for the next load.
struct Kept {
    connection: Connection,
    node: NodeId,
    until: Instant,
}

/// What a load needs.
struct Order {
    database: Arc<str>,
    epoch: u64,
    node: Option<(NodeId, NodeSettings)>,
    probe: ProbeSettings,
    rows_max: usize,
    kept: Option<Connection>,
}

/// What came of a load.
struct Done {
    began: Instant,
    node: Option<(NodeId, NodeSettings)>,
    result: Result<(Catalog, Connection), Trouble>,
}

impl Loader {
    /// Begins the loads that are due, lets go of what is not needed any more, and says when to look
    /// again.
    fn begin_due(
        &mut self,
        now: Instant,
        settings: &Settings,
        topology: &Topology,
    ) -> Option<Instant> {
        let refresh_interval = settings.catalog.refresh_interval;
        let traffic = self.facts.traffic.now();
        let mut next: Option<Instant> = None;
        let mut look_at = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        let databases = self.facts.catalogs.all();
        self.keep_only(&databases);
        for database in databases {
            let entry = self.entries.entry(Arc::clone(database.name()));
            let entry = entry.or_insert_with(|| Entry::new(Arc::clone(&database), now));
            let is_known = database.catalog().is_some();
            let due = entry
                .schedule
                .due(database.is_in_use(), is_known, refresh_interval);
            match due {
                Some(at) if at <= now && self.loads.len() < LOADS_MAX => {
                    let order = entry.order(settings, topology);
                    let task = self.loads.spawn(order.run());
                    self.names.insert(task.id(), Arc::clone(database.name()));
                    continue;
                }
                // The end of a load makes room.
                Some(at) if at <= now => {}
                Some(at) => look_at(at),
                None => {}
            }
            if let Some(at) = entry.kept.as_ref().map(|kept| kept.until) {
                if at <= now || is_wanted_alone(&traffic, database.name()) {
                    entry.kept = None;
                } else {
                    look_at(at);
                }
            }
            if is_known && let Some(at) = entry.schedule.stale_at(refresh_interval) {
                if at <= now {
                    database.withdraw();
                } else {
                    look_at(at);
                }
            }
        }
        next
    }

    /// Forgets databases that the registry forgot, perhaps to begin again under the same name.
    fn keep_only(&mut self, databases: &[Arc<Database>]) {
        let is_known = |entry: &Entry| databases.iter().any(|d| Arc::ptr_eq(d, &entry.database));
        self.entries.retain(|_, entry| is_known(entry));
    }

    /// Whatever made loads fail may be gone.
    fn retry(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.schedule.retry(now);
        }
    }

    /// Takes in what came of a load.
    fn take(&mut self, ended: Result<(Id, Done), JoinError>, settings: &Settings) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let kept = self.entries.values().filter(|e| e.kept.is_some()).count();
        let entry = self.names.remove(&id);
        let Some(entry) = entry.and_then(|name| self.entries.get_mut(&name)) else {
            return;
        };
        let now = Instant::now();
        let traffic = self.facts.traffic.now();
        match ended {
            Ok((_, done)) => match done.result {
                Ok((catalog, connection)) => {
                    entry.loaded(catalog, done.began, now);
                    let name = entry.database.name();
                    let keeps = kept < KEPT_MAX && !is_wanted_alone(&traffic, name);
                    entry.kept = done.node.filter(|_| keeps).map(|(node, _)| Kept {
                        connection,
                        node,
                        until: now + KEPT_FOR,
                    });
                }
                Err(trouble) => entry.failed(&trouble, done.node.as_ref(), settings, now),
            },
            // It panicked, which the log shows.
            Err(_) => entry.schedule.failed(now),
        }
    }
}

impl Entry {
    fn new(database: Arc<Database>, now: Instant) -> Self {
        Self {
            database,
            schedule: Schedule::new(now),
            kept: None,
            said: Vec::new(),
            loaded_ever: false,
        }
    }

    fn order(&mut self, settings: &Settings, topology: &Topology) -> Order {
        self.schedule.begin();
        let node = source(topology, self.schedule.failures());
        let kept = self.kept.take().filter(|kept| Some(kept.node) == node);
        let named = |id: NodeId| Some((id, settings.nodes.get(id.index())?.clone()));
        Order {
            database: Arc::clone(self.database.name()),
            epoch: self.database.schema_epoch(),
            node: node.and_then(named),
            probe: node
                .map_or(&settings.probe, |id| settings.probe_of(id))
                .clone(),
            rows_max: settings.catalog.relations_max,
            kept: kept.map(|kept| kept.connection),
        }
    }

    fn loaded(&mut self, catalog: Catalog, began: Instant, now: Instant) {
        self.schedule.succeeded(began, now);
        let database = &**self.database.name();
        let relations = catalog.relation_count();
        let took_ms = now.saturating_duration_since(began).as_millis();
        self.database.publish(catalog);
        if !self.loaded_ever {
            info!(database, relations, took_ms, "catalog loaded");
        } else if !self.said.is_empty() {
            info!(database, relations, took_ms, "catalog loaded again");
        } else {
            debug!(database, relations, took_ms, "catalog reloaded");
        }
        self.loaded_ever = true;
        self.said.clear();
    }

    fn failed(
        &mut self,
        trouble: &Trouble,
        node: Option<&(NodeId, NodeSettings)>,
        settings: &Settings,
        now: Instant,
    ) {
        if let Trouble::TooMany(..) = trouble {
            let refresh_interval = settings.catalog.refresh_interval;
            self.schedule.refused(now, refresh_interval);
            self.database.withdraw();
        } else {
            self.schedule.failed(now);
        }
        let database = &**self.database.name();
        let error = trouble.to_string();
        let is_early = trouble.is_passing() && self.schedule.failures() < PASSING_MAX;
        let is_news = !self.said.contains(&error) && self.said.len() < TROUBLES_SAID_MAX;
        if is_early || !is_news {
            debug!(database, error, "catalog could not be loaded");
            return;
        }
        let probe = node.map_or(&settings.probe, |(id, _)| settings.probe_of(*id));
        let advice = trouble.advice(node.map(|(_, node)| node), probe);
        let node = node.map(|(id, _)| id.0);
        warn!(
            database,
            node,
            error,
            advice,
            "catalog could not be loaded, without it statements that name relations go to the primary"
        );
        self.said.push(error);
    }
}

/// Whom to ask: the primary, or without one a usable replica, another after each failure.
fn source(topology: &Topology, failures: u32) -> Option<NodeId> {
    if let Some(primary) = topology.primary() {
        return Some(primary.id);
    }
    let is_fit = |node: &&pgsteer_core::Node| node.is_usable() && node.role == Role::Replica;
    let replicas: Vec<_> = topology.nodes.iter().filter(is_fit).collect();
    let turn = usize::try_from(failures).unwrap_or_default();
    let turn = turn.checked_rem(replicas.len())?;
    replicas.get(turn).map(|node| node.id)
}

impl Order {
    async fn run(self) -> Done {
        let began = Instant::now();
        let node = self.node.clone();
        let work = tokio::time::timeout(LOAD_TIMEOUT, self.load());
        let late = |_| Err(Trouble::Node(Fault::Timeout(LOAD_TIMEOUT)));
        Done {
            began,
            node,
            result: work.await.unwrap_or_else(late),
        }
    }

    async fn load(self) -> Result<(Catalog, Connection), Trouble> {
        let (_, node) = self.node.ok_or(Trouble::Nobody)?;
        let kept = self.kept.filter(|c| c.fits(&self.probe, &self.database));
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&node, &self.probe, &self.database, NAME).await?,
        };
        let catalog = load::load(&connection.client, self.epoch, self.rows_max).await?;
        Ok((catalog, connection))
    }
}

/// Whether a statement has come that needs a database for itself.
fn is_wanted_alone(traffic: &TrafficState, database: &str) -> bool {
    traffic.emptied(database) > 0
}

/// `application_name` of its connections.
const NAME: &str = "pgsteer catalog";
/// Databases whose catalogs are loaded at the same time (ours).
const LOADS_MAX: usize = 4;
/// How long one load may take, the login included (ours).
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that wait for the next load, of all databases (ours).
const KEPT_MAX: usize = 8;
/// How long one waits (ours): after a change of the schema, another one often follows.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Different troubles in a row that get a line in the log (ours).
const TROUBLES_SAID_MAX: usize = 8;
/// Failures in a row after which one that passes by itself gets a line too (ours).
const PASSING_MAX: u32 = 4;

#[cfg(test)]
mod cluster_tests;
