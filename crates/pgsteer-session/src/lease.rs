//! From a node to a leg on it: a server connection from the pool, as long as the node stays what it
//! was when it was chosen.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use pgsteer_core::{NodeId, Role, Snapshot};
use pgsteer_pool::{
    Channel, CheckoutError, ConnectError, Connection, Credential, Lease, PoolKey, Target, Wanted,
};
use pgsteer_wire::error_response::ErrorFields;
use pgsteer_wire::{ErrorReply, Severity, SqlState, encode};
use tokio::time::timeout;
use tracing::warn;

use crate::cancel::{CancelSlot, ServerTarget, cancelled};
use crate::hold::no_node;
use crate::leg::Leg;
use crate::lost::node_withdrawn;
use crate::meter::Waits;
use crate::need::LegError;
use crate::session::{Rare, Session, reserve_first};
use crate::steering::Steering;
use crate::worker::Worker;

impl Session {
    /// Takes a server connection of a node from the pool.
    pub(crate) async fn lease(&mut self, node: NodeId) -> Result<(), LegError> {
        self.paused().await?;
        if self.lease_idle(node) {
            return Ok(());
        }
        let (key, target) = self.pool_of(node).ok_or(LegError::Reply(no_node()))?;
        let wanted = self.wanted();
        let lease = self.await_lease(key, &target, &wanted).await?;
        self.take(target, lease);
        Ok(())
    }

    /// Takes one that nobody uses, if there is such a one and nothing is to be waited for.
    pub(crate) fn lease_idle(&mut self, node: NodeId) -> bool {
        if self.is_paused() {
            return false;
        }
        let Some((key, target)) = self.pool_of(node) else {
            return false;
        };
        let wanted = self.wanted();
        let found = self.steering.worker.pools.checkout_idle(&key, &wanted);
        let Some(lease) = found else {
            return false;
        };
        self.take(target, lease);
        true
    }

    /// Where its connections to a node are, and what they are connected to.
    fn pool_of(&self, node: NodeId) -> Option<(PoolKey, Target)> {
        let Steering {
            snapshot, identity, ..
        } = &self.steering;
        let target = Target::from(snapshot.topology.node(node)?);
        let key = PoolKey {
            pool: identity.pool.clone(),
            user: Rc::clone(&identity.user),
            database: Rc::clone(&identity.database),
            node,
        };
        Some((key, target))
    }

    /// What a connection should be like.
    fn wanted(&self) -> Wanted {
        let sets = &self.steering.worker.parameter_sets;
        let session = self.steering.identity.session;
        Wanted {
            parameters: self.settings.parameters(sets),
            written_by: self.follows_sequences.then_some(session),
        }
    }

    /// A connection is the session's.
    fn take(&mut self, target: Target, lease: Lease) {
        self.meter.pool.assignments.add(1);
        if let Some(card) = lease.peek().card() {
            card.link(
                self.cancel.slot.about.session,
                self.steering.worker.second(),
            );
        }
        reserve_first(&mut self.legs);
        self.legs.push(Leg::new(target.node, lease));
        if let Some(leg) = self.legs.last() {
            let target = server_target(target, leg.peek());
            self.cancel.slot.add(target);
        }
    }

    /// Waits for a connection, or for one to be opened.
    fn await_lease<'a>(
        &'a mut self,
        key: PoolKey,
        target: &'a Target,
        wanted: &'a Wanted,
    ) -> Rare<'a, Result<Lease, LegError>> {
        Box::pin(async move {
            let node = target.node;
            let Steering {
                snapshot, identity, ..
            } = &self.steering;
            let credential = identity.keys.newest(&snapshot.settings, &key.user);
            let began = self.traced_now();
            let found = {
                let found = check_out(
                    &self.steering,
                    &self.cancel.slot,
                    key,
                    target,
                    (&credential, wanted),
                );
                let mut found = std::pin::pin!(found);
                // What can be had at once costs no look at the clock.
                let first = poll_fn(|cx| Poll::Ready(found.as_mut().poll(cx))).await;
                match first {
                    Poll::Ready(found) => found,
                    Poll::Pending => {
                        let _waits = Waits::begin(&self.meter.pool, &self.cancel.slot);
                        let notice = self.steering.snapshot.settings.pool.limits.wait_notice;
                        told(&mut self.client, notice, found).await
                    }
                }
            };
            self.trace_wait(began);
            found.map_err(|failed| self.not_leased(node, failed))
        })
    }

    /// Why there is no lease, as the session takes it.
    fn not_leased(&mut self, node: NodeId, failed: NotLeased) -> LegError {
        let failed = match failed {
            NotLeased::Left => return self.moved(node),
            NotLeased::Cancelled => return LegError::Reply(cancelled()),
            NotLeased::Failed(CheckoutError::Connect(error))
                if self.knows_less(node, &error) && self.steering.leave_replicas() =>
            {
                if self.steering.worker.warns_now() {
                    let identity = &self.steering.identity;
                    let (database, user) = (&identity.database, &identity.user);
                    warn!(
                        %node, %database, %user, %error,
                        "a replica does not know, perhaps not yet, what this login needs: the session \
                         leaves replicas alone for a moment"
                    );
                }
                return LegError::Moved;
            }
            NotLeased::Failed(error) => checkout_failed(error),
        };
        match failed {
            LegError::Moved => self.moved(node),
            LegError::NodeFailed(reply) => {
                self.suspect_for_refusal(node, &reply);
                LegError::NodeFailed(reply)
            }
            failed => failed,
        }
    }

    /// Whether a replica refused what the primary may know of: a database, a user, a password or a right
    /// that is new, and that the replica has not replayed yet. `28000` is not among them: it is what
    /// `pg_hba.conf` says, too, which is the server's own and for the operator to see.
    fn knows_less(&self, node: NodeId, error: &ConnectError) -> bool {
        let is_replayed = match error {
            ConnectError::OtherSecret(_) => true,
            ConnectError::Refused(body) => {
                let state = ErrorFields::new(body).sqlstate();
                matches!(state, "3D000" | "28P01" | "42501" | "55000")
            }
            _ => false,
        };
        let primary = self.steering.snapshot.topology.primary();
        is_replayed && primary.is_some_and(|primary| primary.id != node && primary.is_usable())
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

/// No connection was to be had.
enum NotLeased {
    /// The node left meanwhile.
    Left,
    /// The client does not want it any more.
    Cancelled,
    Failed(CheckoutError),
}

/// Waits for a connection, unless the node leaves meanwhile.
async fn check_out(
    steering: &Steering,
    slot: &CancelSlot,
    key: PoolKey,
    target: &Target,
    (credential, wanted): (&Credential, &Wanted),
) -> Result<Lease, NotLeased> {
    let (node, worker, seen) = (key.node, &steering.worker, &steering.snapshot);
    tokio::select! {
        biased;
        // All branches are cancel safe: a connection that was not taken is closed.
        found = worker.pools.checkout(key, target, credential, wanted) => {
            found.map_err(NotLeased::Failed)
        }
        () = left(worker, seen, node) => Err(NotLeased::Left),
        () = slot.unwanted() => Err(NotLeased::Cancelled),
    }
}

/// Waits, and tells the client that it does if that takes longer (PgBouncer's `query_wait_notify`).
async fn told<T>(client: &mut Channel, limit: Duration, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if !limit.is_zero() {
        if let Ok(done) = timeout(limit, work.as_mut()).await {
            return done;
        }
        let text = "no server connection is available, the session waits for one";
        encode::error(&mut client.output, &ErrorReply::notice(text));
        // As far as the client takes it now; the rest goes with the answer.
        let _ = poll_fn(|cx| Poll::Ready(client.poll_flush(cx))).await;
    }
    work.await
}

/// What a cancel request needs, and the console shows.
fn server_target(target: Target, connection: &Connection) -> ServerTarget {
    ServerTarget {
        node: target.node,
        host: target.host,
        port: target.port,
        pid: connection.key.pid,
        key: Arc::clone(&connection.key.key),
        opened_at: connection.opened_at,
        leased_at: SystemTime::now(),
        uses: connection.uses,
    }
}

/// Whether a node has changed so much since a session looked that nothing must be sent there.
pub(crate) fn has_left(worker: &Worker, seen: &Snapshot, node: NodeId) -> bool {
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
        CheckoutError::Connect(
            ConnectError::Unsupported(reply) | ConnectError::OtherSecret(reply),
        ) => LegError::Reply(ErrorReply {
            severity: Severity::Error,
            ..reply
        }),
        CheckoutError::Connect(failed) => LegError::NodeFailed(ErrorReply::error(
            SqlState::CANNOT_CONNECT,
            failed.to_string(),
        )),
        full @ (CheckoutError::QueueFull(_) | CheckoutError::Timeout(_)) => LegError::Reply(
            ErrorReply::error(SqlState::TOO_MANY_CONNECTIONS, full.to_string())
                .with_hint("See pool.connections_per_node_max, pool.size and the other limits of [pool] and [[pools]], and pool.checkout_timeout."),
        ),
    }
}
