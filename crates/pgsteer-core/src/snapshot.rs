//! The published state, and how it gets from the control plane to the workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::policy::{PluginReport, PolicySet};
use crate::{Generation, Settings, Topology};

/// What should be true and what was seen, at one moment. Immutable; a reader that holds one never
/// sees half a change.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Number of this snapshot.
    pub generation: Generation,
    /// What the operator wants.
    pub settings: Arc<Settings>,
    /// What the probes saw.
    pub topology: Arc<Topology>,
    /// The plugins that decide.
    pub policies: Arc<PolicySet>,
    /// All plugin files, those refused too, for `SHOW pool_plugins`.
    pub plugin_reports: Arc<Vec<PluginReport>>,
    /// Whether the proxy is shutting down: sessions end after their transaction.
    pub draining: bool,
}

#[derive(Debug)]
struct Shared {
    generation: AtomicU64,
    current: RwLock<Arc<Snapshot>>,
    changed: watch::Sender<Generation>,
}

/// The writing end, held by the control plane alone.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    /// Starts with this snapshot.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        let generation = first.generation;
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(generation.0),
            current: RwLock::new(Arc::new(first)),
            changed: watch::Sender::new(generation),
        });
        Self { shared }
    }

    /// The latest snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.load()
    }

    /// Publishes what `change` made of a copy of the latest snapshot, with the next generation.
    pub fn publish(&self, change: impl FnOnce(&mut Snapshot)) -> Generation {
        let generation = {
            let mut current = self
                .shared
                .current
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let mut next = Snapshot::clone(&current);
            change(&mut next);
            next.generation = Generation(current.generation.0 + 1);
            let generation = next.generation;
            *current = Arc::new(next);
            generation
        };
        self.shared
            .generation
            .store(generation.0, Ordering::Release);
        self.shared.changed.send_replace(generation);
        generation
    }

    /// A new reading end.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let changed = self.shared.changed.subscribe();
        Subscription {
            held: self.shared.load(),
            shared: Arc::clone(&self.shared),
            changed,
        }
    }
}

impl Shared {
    fn load(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A reading end. [`Subscription::get`] costs one atomic load while nothing has changed.
#[derive(Debug, Clone)]
pub struct Subscription {
    shared: Arc<Shared>,
    held: Arc<Snapshot>,
    changed: watch::Receiver<Generation>,
}

impl Subscription {
    /// The latest snapshot.
    pub fn get(&mut self) -> &Arc<Snapshot> {
        if self.shared.generation.load(Ordering::Acquire) != self.held.generation.0 {
            self.held = self.shared.load();
        }
        &self.held
    }

    /// Takes everything published so far for known to [`Subscription::changed`].
    pub fn mark_seen(&mut self) {
        self.changed.mark_unchanged();
    }

    /// Waits until a snapshot newer than the last one waited for was published; `false` if the
    /// control plane is gone.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that nobody saw is reported by the next call.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}
