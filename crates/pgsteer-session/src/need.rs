//! A leg for what comes next: it is held, and its server is what the session is, or becomes it in front
//! of the client's own message.

use pgsteer_core::NodeId;
use pgsteer_sql::{Analysis, Class, Effect, OwnState};
use pgsteer_wire::{ErrorReply, SqlState};

use crate::end::{End, server_lost_idle};
use crate::flow::Flow;
use crate::journal::Settings;
use crate::lease::has_left;
use crate::leg::{Books, Leg, PrologueError};
use crate::session::{Rare, Session};
use crate::sql_prepared::SqlPrepared;
use crate::steering::Steering;
use crate::transaction::Transaction;

/// A leg could not be had.
pub(crate) enum LegError {
    /// The client is told, and the session goes on.
    Reply(ErrorReply),
    /// The server's own words, as body of an ErrorResponse.
    Refused(Vec<u8>),
    /// The session cannot go on.
    Ended(End),
    /// The node does not answer; another one may.
    NodeFailed(ErrorReply),
    /// The node left service before anything was sent: the statement is to be placed again.
    Moved,
}

/// Whether what comes behind the proxy's own queries may be sent along with them: if one of them
/// fails it is refused, unless it ends the transaction that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// It may.
    Pipelined,
    /// Their answers are awaited first.
    Waits,
}

impl Haste {
    /// For what is known of a text.
    pub(crate) fn of(analysis: &Analysis) -> Self {
        let executes = analysis.executes.is_some();
        if executes || analysis.class == Class::Unknown || analysis.effects.iter().any(ends) {
            Self::Waits
        } else {
            Self::Pipelined
        }
    }
}

/// Whether it is accepted in a transaction that has failed, and ends that.
pub(crate) fn ends(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::RollbackTo(_)
            | Effect::PrepareTransaction
    )
}

/// What became of bringing a leg up to date.
enum Brought {
    /// Nothing was waited for.
    Ready,
    /// Something was; the node may have left meanwhile.
    Waited {
        took_part: bool,
        stays: bool,
        done: Result<(), PrologueError>,
    },
}

impl Session {
    /// Sees to it that the session holds a leg on a node, and that it is up to date before what is
    /// sent there next.
    pub(crate) async fn need(&mut self, node: NodeId, haste: Haste) -> Result<(), LegError> {
        let needed = self.need_leg(node, haste).await;
        if needed.is_err() && !self.busy && self.transaction.is_none() {
            self.steering.writes.forget();
        }
        needed
    }

    /// The same for a statement.
    pub(crate) async fn need_for(
        &mut self,
        node: NodeId,
        analysis: &Analysis,
        in_batch: bool,
    ) -> Result<(), LegError> {
        if self.has_ready(node, analysis) {
            return Ok(());
        }
        Box::pin(self.make_ready(node, analysis, in_batch)).await
    }

    /// Whether a leg is ready for a statement, or can be made so without waiting.
    pub(crate) fn has_ready(&mut self, node: NodeId, analysis: &Analysis) -> bool {
        if analysis.looks_at.is_some() || analysis.executes.is_some() {
            return false;
        }
        if self.held(node).is_none() {
            let Steering {
                worker, snapshot, ..
            } = &self.steering;
            if has_left(worker, snapshot, node) || !self.lease_idle(node) {
                return false;
            }
        }
        let is_replica = self.steering.is_replica(node);
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) else {
            return false;
        };
        let books = books(
            &self.steering,
            (&self.settings, &self.transaction, &self.sql_prepared),
            self.enforced.as_deref(),
        );
        let haste = Haste::of(analysis);
        is_up_to_date(leg, &books, is_replica, haste, &mut self.flow)
    }

    async fn make_ready(
        &mut self,
        node: NodeId,
        analysis: &Analysis,
        in_batch: bool,
    ) -> Result<(), LegError> {
        if let Some(state) = analysis.looks_at.filter(|_| self.shares()) {
            self.prepare_to_look(node, state).await?;
        }
        self.need(node, Haste::of(analysis)).await?;
        let took_part = self.held(node).is_some_and(|leg| leg.took_part);
        let exposed = self.expose(node, analysis, in_batch).await;
        exposed.or_else(|lost| self.not_brought_up(node, took_part, PrologueError::Lost(lost)))
    }

    /// A statement looks at what its server keeps for the session.
    fn prepare_to_look<'a>(
        &'a mut self,
        node: NodeId,
        state: OwnState,
    ) -> Rare<'a, Result<(), LegError>> {
        Box::pin(async move {
            let session = self.steering.identity.session;
            if state == OwnState::Sequences && !self.follows_sequences {
                self.follows_sequences = true;
                let identity = &self.steering.identity;
                self.steering
                    .worker
                    .note_sequences(&identity.database, &identity.user);
            }
            self.hold_leg(node).await?;
            if let Some(leg) = self.held(node) {
                leg.forget_others(state, session);
            }
            Ok(())
        })
    }

    /// Sees to it that the session holds a leg on a node, whatever its server was told so far.
    async fn hold_leg(&mut self, node: NodeId) -> Result<(), LegError> {
        if self.held(node).is_none() {
            self.lease(node).await?;
            self.still_serves(node, false)?;
        }
        Ok(())
    }

    async fn need_leg(&mut self, node: NodeId, haste: Haste) -> Result<(), LegError> {
        self.hold_leg(node).await?;
        let replica = self.steering.is_replica(node);
        let Some(index) = self.legs.iter().position(|leg| leg.node == node) else {
            return Ok(());
        };
        let mut legs = std::mem::take(&mut self.legs);
        let brought = match legs.get_mut(index) {
            Some(leg) => self.bring_up(leg, replica, haste).await,
            None => Brought::Ready,
        };
        self.legs = legs;
        let (took_part, stays, done) = match brought {
            Brought::Ready => return Ok(()),
            Brought::Waited {
                took_part,
                stays,
                done,
            } => (took_part, stays, done),
        };
        let Err(error) = done else {
            return self.still_serves(node, stays);
        };
        self.not_brought_up(node, took_part, error)
    }

    /// Brings a leg up to date, if possible without waiting for it.
    async fn bring_up(&mut self, leg: &mut Leg, replica: bool, haste: Haste) -> Brought {
        let books = books(
            &self.steering,
            (&self.settings, &self.transaction, &self.sql_prepared),
            self.enforced.as_deref(),
        );
        let took_part = leg.in_transaction();
        let stays = took_part || leg.busy;
        if is_up_to_date(leg, &books, replica, haste, &mut self.flow) {
            return Brought::Ready;
        }
        let told = match needs_no_prepare(leg, &books, replica) {
            true => Ok(()),
            false => leg.prepare_in_sql(&books).await,
        };
        let done = match told {
            Ok(()) => leg.bring_up_to_date(&books, replica).await,
            Err(error) => Err(error),
        };
        // What the server said meanwhile that was meant for the client.
        let (asides, server) = leg.take_asides();
        self.tell_aside(&asides, server);
        Brought::Waited {
            took_part,
            stays,
            done,
        }
    }

    /// A leg could not be brought up to date.
    pub(crate) fn not_brought_up(
        &mut self,
        node: NodeId,
        took_part: bool,
        error: PrologueError,
    ) -> Result<(), LegError> {
        let pinned = self.held(node).is_some_and(|leg| leg.pinned.is_some());
        self.drop_leg(node);
        if took_part {
            // What the transaction did there is gone: it must not go on as if nothing had been.
            self.lose_transaction(node);
        }
        if pinned {
            return Err(LegError::Ended(End::Fatal(server_lost_idle())));
        }
        Err(match error {
            PrologueError::Refused(body) => {
                self.is_refused = true;
                LegError::Refused(body)
            }
            PrologueError::Lost(_) if took_part => {
                self.suspect(node);
                LegError::Reply(self.tell_loss())
            }
            PrologueError::Lost(lost) => {
                self.suspect(node);
                LegError::NodeFailed(ErrorReply::error(
                    SqlState::CONNECTION_FAILURE,
                    format!("connection to node {node} was lost: {lost}"),
                ))
            }
        })
    }
}

/// EXECUTE goes to the primary, so only that has to know what was prepared in SQL.
fn needs_no_prepare(leg: &Leg, books: &Books<'_>, is_replica: bool) -> bool {
    is_replica || leg.in_transaction() || books.prepared.is_empty()
}

/// Whether a leg is what the session is, or becomes it in front of what is sent next.
fn is_up_to_date(
    leg: &mut Leg,
    books: &Books<'_>,
    is_replica: bool,
    haste: Haste,
    flow: &mut Flow,
) -> bool {
    let knows_prepared = needs_no_prepare(leg, books, is_replica) || leg.knows_prepared(books);
    if knows_prepared && leg.is_up_to_date(books) {
        return true;
    }
    let hurries = haste == Haste::Pipelined && knows_prepared && !leg.busy;
    hurries && leg.put_up_to_date(books, is_replica, flow)
}

fn books<'a>(
    steering: &'a Steering,
    (settings, transaction, prepared): (&'a Settings, &'a Transaction, &'a SqlPrepared),
    enforced: Option<&'a str>,
) -> Books<'a> {
    Books {
        session: steering.identity.session,
        settings,
        sets: &steering.worker.parameter_sets,
        transaction,
        prepared,
        enforced,
    }
}
