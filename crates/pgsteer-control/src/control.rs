//! Starts the tasks of the control plane, hands out its snapshots, applies new settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::policy::{PluginLoader, PolicySet};
use pgsteer_core::{Facts, Generation, NodeId, Publisher, Settings, Snapshot, Subscription};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::doors::{Doors, House};
use crate::failover::Conductor;
use crate::freshness::{self, Patience, Watch};
use crate::plugins::{Embedded, Supervisor};
use crate::topology::Nodes;
use crate::{admin, catalog, certificates, export, metrics, pcp, probe, topology, users};

/// Why the control plane did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A plugin that is part of the program does not load; often its configuration is wrong.
    #[error("the built-in plugin {name} was {reason}")]
    Embedded {
        /// Its name.
        name: String,
        /// Stage and reason.
        reason: String,
    },
    /// What is kept about nodes is there and cannot be read.
    #[error(
        "the state of nodes: {reason}; mend the file, or move it away and which nodes were taken \
         out is forgotten"
    )]
    Nodes {
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// What operators said about plugins is there and cannot be read.
    #[error(
        "the state of plugins: {reason}; mend the file, or move it away and what operators said \
         (disabled, pinned, rolled back) is forgotten"
    )]
    State {
        /// Which file, and what is wrong with it.
        reason: String,
    },
}

/// The running control plane. Dropping it ends its tasks; readers keep the last snapshot.
#[derive(Debug)]
pub struct Control {
    publisher: Arc<Publisher>,
    settings: watch::Sender<Arc<Settings>>,
    facts: Arc<Facts>,
    ready: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    /// Tasks that serve operators.
    doors: JoinSet<()>,
    /// True when the proxy ends.
    closing: watch::Sender<bool>,
}

impl Control {
    /// Loads the plugins, then begins to probe and to watch. Every snapshot handed out afterwards
    /// holds the plugins; the nodes are unknown until [`Control::wait_ready`]. Must be called on
    /// the tokio runtime its tasks shall run on; a current-thread one is enough. `workers` is the
    /// number of instances each plugin gets; `facts` is filled with what is found out.
    ///
    /// # Errors
    /// An embedded plugin was refused, or the state of plugins cannot be read.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing goes on.
    pub async fn start(
        settings: Settings,
        embedded: Vec<Embedded>,
        loader: Arc<dyn PluginLoader>,
        workers: usize,
        facts: Arc<Facts>,
    ) -> Result<Self, StartError> {
        let patience = Patience::default();
        Self::start_with(settings, embedded, loader, workers, facts, patience).await
    }

    /// [`Control::start`] with another patience with replicas that do not follow.
    pub(crate) async fn start_with(
        settings: Settings,
        embedded: Vec<Embedded>,
        loader: Arc<dyn PluginLoader>,
        workers: usize,
        facts: Arc<Facts>,
        patience: Patience,
    ) -> Result<Self, StartError> {
        let nodes = Nodes::new(&settings.nodes, SystemTime::now());
        let settings = Arc::new(settings);
        let publisher = Arc::new(Publisher::new(Snapshot {
            generation: Generation::default(),
            settings: Arc::clone(&settings),
            topology: Arc::new(nodes.topology(0, &topology::View::default())),
            policies: Arc::new(PolicySet::default()),
            plugin_reports: Arc::default(),
            draining: false,
        }));
        let (sender, receiver) = watch::channel(settings);
        let mut supervisor = Supervisor::new(
            embedded,
            loader,
            workers,
            receiver,
            Arc::clone(&publisher),
            &facts,
        )
        .map_err(|reason| StartError::State { reason })?;
        let refused = |(name, reason)| StartError::Embedded { name, reason };
        supervisor.first_round().await.map_err(refused)?;

        let (ready_sender, ready) = watch::channel(false);
        let mut control = Self {
            publisher,
            settings: sender,
            facts,
            ready,
            tasks: JoinSet::new(),
            doors: JoinSet::new(),
            closing: watch::Sender::new(false),
        };
        control.tasks.spawn(supervisor.run());
        let follows = watch::Sender::new(vec![true; control.settings.borrow().nodes.len()]);
        control
            .spawn_probes(nodes, follows.subscribe(), ready_sender)
            .map_err(|reason| StartError::Nodes { reason })?;
        control.tasks.spawn(freshness::run(Watch {
            facts: Arc::clone(&control.facts),
            subscription: control.publisher.subscribe(),
            settings: control.settings.subscribe(),
            follows,
            patience,
        }));
        let own = control.settings.subscribe();
        let (facts, subscription) = (Arc::clone(&control.facts), control.publisher.subscribe());
        control.tasks.spawn(catalog::run(facts, subscription, own));
        let (facts, own) = (Arc::clone(&control.facts), control.settings.subscribe());
        control.tasks.spawn(export::run(facts, own));
        let own = control.settings.subscribe();
        let (facts, subscription) = (Arc::clone(&control.facts), control.publisher.subscribe());
        control.tasks.spawn(users::run(facts, subscription, own));
        let publisher = Arc::clone(&control.publisher);
        let settings = control.settings.clone();
        control.tasks.spawn(certificates::run(publisher, settings));
        Ok(control)
    }

    fn spawn_probes(
        &mut self,
        nodes: Nodes,
        follows: watch::Receiver<Vec<bool>>,
        ready: watch::Sender<bool>,
    ) -> Result<(), String> {
        let settings = Arc::clone(&self.settings.borrow());
        // Two probes of each node may wait; a probe waits for room.
        let (sender, receiver) = mpsc::channel(settings.nodes.len().max(1) * 2);
        let hurry = Arc::new(probe::Hurry::new(settings.nodes.len()));
        let conductor = Conductor::new(
            Arc::clone(&settings),
            Arc::clone(&self.publisher),
            &self.facts,
            Arc::clone(&hurry),
        )?;
        let ends = topology::Ends {
            observations: receiver,
            settings: self.settings.subscribe(),
            follows,
            publisher: Arc::clone(&self.publisher),
            facts: Arc::clone(&self.facts),
            ready,
        };
        self.tasks.spawn(topology::run(nodes, conductor, ends));
        for (index, node) in (0..).zip(&settings.nodes) {
            self.tasks.spawn(probe::run(
                NodeId(index),
                node.clone(),
                self.settings.subscribe(),
                sender.clone(),
                Arc::clone(&self.facts),
                Arc::clone(&hurry),
            ));
        }
        Ok(())
    }

    /// Serves operators at these doors, on the runtime this is called on.
    pub fn serve(&mut self, doors: Doors) {
        let house = House {
            facts: Arc::clone(&self.facts),
            publisher: Arc::clone(&self.publisher),
            closing: self.closing.subscribe(),
        };
        if let Some(socket) = doors.admin {
            self.doors.spawn(admin::run(socket, house.clone()));
        }
        let page = metrics::Page::default();
        for (_, listener) in doors.metrics {
            let (house, page) = (house.clone(), page.clone());
            self.doors.spawn(metrics::run(listener, house, page));
        }
        let common = pcp::Common::new();
        for (_, listener) in doors.pcp {
            let (house, common) = (house.clone(), common.clone());
            self.doors.spawn(pcp::run(listener, house, common));
        }
    }

    /// A new reading end for a worker.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.publisher.subscribe()
    }

    /// The latest snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    /// Waits until every node was asked once; `false` if that takes longer than `deadline`. Nodes
    /// that do not answer count as asked.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_ready(&self, deadline: Duration) -> bool {
        let mut ready = self.ready.clone();
        let asked = ready.wait_for(|ready| *ready);
        matches!(tokio::time::timeout(deadline, asked).await, Ok(Ok(_)))
    }

    /// Applies new settings as far as a running proxy can. Returns the keys of those that wait for
    /// a restart; for them the old values stay. The same is logged.
    ///
    /// Plugins whose limits or configuration changed are loaded anew in the background; if one is
    /// refused, it stays as it was.
    pub fn reload(&self, settings: Settings) -> Vec<&'static str> {
        let current = Arc::clone(&self.settings.borrow());
        let (settings, waiting) = merge(&current, settings);
        for setting in &waiting {
            warn!(setting, "setting takes a restart, the old value stays");
        }
        let settings = Arc::new(settings);
        let published = Arc::clone(&settings);
        let generation = self
            .publisher
            .publish(|snapshot| snapshot.settings = published);
        self.settings.send_replace(settings);
        info!(generation = generation.0, "settings reloaded");
        waiting
    }

    /// Closes the doors: whoever waits for an answer gets it, nobody else comes in. What they were
    /// opened for may be served by another process then.
    pub async fn close_doors(&mut self) {
        self.closing.send_replace(true);
        while self.doors.join_next().await.is_some() {}
    }

    /// Publishes that the proxy shuts down: sessions end after their transaction.
    pub fn drain(&self) {
        self.publisher.publish(|snapshot| snapshot.draining = true);
    }

    /// Waits for the end of a task that should not end. A proxy whose control plane has failed
    /// should stop, because it would serve from a state that ages.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&mut self) {
        tokio::select! {
            _ended = self.tasks.join_next() => {}
            Some(_ended) = self.doors.join_next() => {}
        }
    }

    /// Ends all tasks and closes the connections of the probes. Readers keep the last snapshot.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        while self.doors.join_next().await.is_some() {}
        self.tasks.shutdown().await;
    }
}

/// The new settings with the old values where a restart is needed, and the keys of those.
fn merge(current: &Settings, mut new: Settings) -> (Settings, Vec<&'static str>) {
    let mut waiting = Vec::new();
    let mut keep = |key, same: bool| {
        if !same {
            waiting.push(key);
        }
        !same
    };
    if keep("listen.address", new.listen == current.listen) {
        new.listen.clone_from(&current.listen);
    }
    let same = new.unix_socket == current.unix_socket;
    if keep("listen.unix_socket_dir", same) {
        new.unix_socket.clone_from(&current.unix_socket);
    }
    if keep("listen.workers", new.workers == current.workers) {
        new.workers = current.workers;
    }
    if keep("listen.clients_max", new.clients_max == current.clients_max) {
        new.clients_max = current.clients_max;
    }
    if keep("admin.socket", new.admin == current.admin) {
        new.admin.clone_from(&current.admin);
    }
    if keep("pcp.listen", new.pcp.listen == current.pcp.listen) {
        new.pcp.listen.clone_from(&current.pcp.listen);
    }
    if keep(
        "metrics.listen",
        new.metrics.listen == current.metrics.listen,
    ) {
        new.metrics.listen.clone_from(&current.metrics.listen);
    }
    let (plugins, own) = (&mut new.plugins, &current.plugins);
    if keep("plugins.dir", plugins.dir == own.dir) {
        plugins.dir.clone_from(&own.dir);
    }
    if keep("plugins.state_dir", plugins.state_dir == own.state_dir) {
        plugins.state_dir.clone_from(&own.state_dir);
    }
    let same = plugins.stack_bytes_max == own.stack_bytes_max;
    if keep("plugins.stack_max", same) {
        plugins.stack_bytes_max = own.stack_bytes_max;
    }
    let places = |settings: &Settings| -> Vec<(Arc<str>, u16)> {
        settings
            .nodes
            .iter()
            .map(|node| (Arc::clone(&node.host), node.port))
            .collect()
    };
    if keep("nodes", places(&new) == places(current)) {
        new.nodes.clone_from(&current.nodes);
    }
    (new, waiting)
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
