//! From a node to a leg on it: a server connection from the pool, as long as the node stays what it
//! was when it was chosen.

use std::rc::Rc;
use std::time::SystemTime;

use pgsteer_core::{NodeId, Role, Snapshot};
use pgsteer_pool::{CheckoutError, ConnectError, Credential, Lease, PoolKey, Target, Wanted};
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::{ErrorReply, Severity, SqlState};

use crate::cancel::{ServerTarget, cancelled};
use crate::hold::no_node;
use crate::leg::Leg;
use crate::lost::node_withdrawn;
use crate::session::{LegError, Session};
use crate::steering::Steering;
use crate::worker::Worker;

impl Session {
    /// Takes a server connection of a node from the pool.
    pub(crate) async fn lease(&mut self, node: NodeId) -> Result<(), LegError> {
        let Steering {
            snapshot, identity, ..
        } = &self.steering;
        let Some(known) = snapshot.topology.node(node) else {
            return Err(LegError::Reply(no_node()));
        };
        let target = Target {
            node,
            host: known.host.clone(),
            port: known.port,
        };
        let (user, database) = (Rc::clone(&identity.user), Rc::clone(&identity.database));
        let credential = identity.keys.newest(&snapshot.settings, &user);
        let key = PoolKey {
            pool: identity.pool.clone(),
            user,
            database,
            node,
        };
        let wanted = Wanted {
            parameters: self
                .settings
                .parameters(&self.steering.worker.parameter_sets),
            written_by: self
                .follows_sequences
                .then_some(self.steering.identity.session),
        };
        let lease = self.check_out(key, &target, (&credential, &wanted)).await?;
        let server = &lease.peek().key;
        self.cancel.slot.add(ServerTarget {
            node,
            host: target.host,
            port: target.port,
            pid: server.pid,
            key: server.key.to_vec(),
            opened_at: lease.peek().opened_at,
            leased_at: SystemTime::now(),
            uses: lease.peek().uses,
        });
        self.legs.push(Leg::new(node, lease));
        Ok(())
    }

    /// Waits for a connection, unless the node leaves meanwhile.
    async fn check_out(
        &self,
        key: PoolKey,
        target: &Target,
        (credential, wanted): (&Credential, &Wanted),
    ) -> Result<Lease, LegError> {
        let node = key.node;
        let (worker, seen) = (&self.steering.worker, &self.steering.snapshot);
        let checked_out = tokio::select! {
            biased;
            // All branches are cancel safe: a connection that was not taken is closed.
            checked_out = worker.pools.checkout(key, target, credential, wanted) => checked_out,
            () = left(worker, seen, node) => return Err(self.moved(node)),
            () = self.cancel.slot.unwanted() => return Err(LegError::Reply(cancelled())),
        };
        checked_out.map_err(|error| match checkout_failed(error) {
            LegError::Moved => self.moved(node),
            LegError::NodeFailed(reply) => {
                self.suspect_for_refusal(node, &reply);
                LegError::NodeFailed(reply)
            }
            failed => failed,
        })
    }

    /// A leg was waited for. Nothing is sent to a node that has left meanwhile, unless the
    /// transaction is there already.
    pub(crate) fn still_serves(&mut self, node: NodeId, took_part: bool) -> Result<(), LegError> {
        let pinned = self.held(node).is_some_and(|leg| leg.pinned.is_some());
        if took_part || pinned || !has_left(&self.steering.worker, &self.steering.snapshot, node) {
            return Ok(());
        }
        self.drop_leg(node);
        Err(self.moved(node))
    }

    /// A node that was chosen has left.
    fn moved(&self, node: NodeId) -> LegError {
        if self.is_unseen() {
            LegError::Moved
        } else {
            LegError::Reply(node_withdrawn(node))
        }
    }
}

/// Whether a node has changed so much since a session looked that nothing must be sent there.
fn has_left(worker: &Worker, seen: &Snapshot, node: NodeId) -> bool {
    let latest = worker.snapshot();
    let (seen, now) = (seen.topology.node(node), latest.topology.node(node));
    let (Some(seen), Some(now)) = (seen, now) else {
        return false;
    };
    let demoted = seen.role == Role::Primary && now.role != Role::Primary;
    demoted || (seen.is_usable() && !now.is_usable())
}

/// Resolves when a node has left.
async fn left(worker: &Worker, seen: &Snapshot, node: NodeId) {
    let mut subscription = worker.subscription.borrow().clone();
    subscription.mark_seen();
    while !has_left(worker, seen, node) {
        if !subscription.changed().await {
            std::future::pending::<()>().await;
        }
    }
}

/// A server that is full or on its way up or down may be no obstacle: another node may do.
fn refused(body: Vec<u8>) -> LegError {
    let fields = ErrorFields::new(&body);
    match SqlState::from_text(fields.sqlstate()) {
        Some(state) if matches!(fields.sqlstate(), "57P01" | "57P02" | "57P03" | "53300") => {
            LegError::NodeFailed(ErrorReply::error(state, fields.message()))
        }
        _ => LegError::Refused(body),
    }
}

pub(crate) fn checkout_failed(error: CheckoutError) -> LegError {
    match error {
        CheckoutError::Closed(_) | CheckoutError::Connect(ConnectError::Withdrawn) => {
            LegError::Moved
        }
        CheckoutError::Connect(ConnectError::Refused(body)) => refused(body),
        CheckoutError::Connect(ConnectError::Unsupported(reply)) => LegError::Reply(ErrorReply {
            severity: Severity::Error,
            ..reply
        }),
        CheckoutError::Connect(failed) => LegError::NodeFailed(ErrorReply::error(
            SqlState::CANNOT_CONNECT,
            failed.to_string(),
        )),
        full @ (CheckoutError::QueueFull(_) | CheckoutError::Timeout(_)) => LegError::Reply(
            ErrorReply::error(SqlState::TOO_MANY_CONNECTIONS, full.to_string())
                .with_hint("Raise pool.connections_per_node_max, or pool.checkout_timeout."),
        ),
    }
}
