//! Connections that are opened ahead of sessions: a pool that has served somebody has as many as
//! `pool.min_size` says, on every node in service.

use std::rc::Rc;

use pgsteer_core::Snapshot;
use pgsteer_core::topology::Node;
use pgsteer_pool::{PoolKey, Target};
use tracing::debug;

use crate::steering::Identity;
use crate::worker::Worker;

/// Pools that are kept filled, per worker; ours.
const POOLS_MAX: usize = 1024;

/// Name, user and database of a pool.
pub(crate) type KnownPool = (Option<Rc<str>>, Rc<str>, Rc<str>);

impl Worker {
    /// A session of this pool begins.
    pub(crate) fn note_pool(&self, identity: &Identity) {
        let (user, database) = (&identity.user, &identity.database);
        let quota = self.snapshot().settings.pool.quota_of(database, user);
        let mut known = self.known_pools.borrow_mut();
        if quota.size_min > 0 && known.len() < POOLS_MAX {
            known.insert((identity.pool.clone(), Rc::clone(user), Rc::clone(database)));
        }
    }

    /// Opens what pools lack, one connection after the other. To be called about once a second.
    pub(crate) fn fill_pools(self: &Rc<Self>) {
        if self.known_pools.borrow().is_empty() || self.fills.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        // Tracked by nothing: each connection has its own deadline.
        tokio::task::spawn_local(async move {
            let snapshot = worker.snapshot();
            let known: Vec<KnownPool> = worker.known_pools.borrow().iter().cloned().collect();
            for pool in &known {
                // Somebody wants the database for himself.
                if worker.traffic.borrow_mut().get().emptied(&pool.2) > 0 {
                    continue;
                }
                for node in snapshot.topology.nodes.iter().filter(|n| n.is_usable()) {
                    worker.fill(pool, node, &snapshot).await;
                }
            }
            worker.fills.set(false);
        });
    }

    async fn fill(&self, (pool, user, database): &KnownPool, node: &Node, snapshot: &Snapshot) {
        let key = PoolKey {
            pool: pool.clone(),
            user: Rc::clone(user),
            database: Rc::clone(database),
            node: node.id,
        };
        let target = Target::from(node);
        let credential = self.keyring.borrow().newest(&snapshot.settings, user);
        loop {
            match self.pools.fill(&key, &target, &credential).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // Sessions say so when they need one; the next second it is tried again.
                    debug!(node = node.id.0, %error, "a pool could not be filled");
                    return;
                }
            }
        }
    }
}
