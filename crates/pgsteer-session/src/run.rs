//! What drivers send nearly always: Bind, perhaps Describe, Execute and Sync of a statement they have
//! prepared, before or by a Parse in front, in one piece. It is sent on in one piece, and answered like
//! a simple query.
//!
//! What is out of the ordinary in any way is left to [`extended`](crate::extended), message by message.

use std::rc::Rc;

use pgsteer_sql::{Analysis, Class};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::{self, Run};

use crate::batch::Batch;
use crate::end::End;
use crate::extended::may_bind;
use crate::flow::Request;
use crate::portals::Portal;
use crate::session::{Prepared, Session, counts_in_doubt};
use crate::steering::Values;

/// Whether statements like this one may be served in this way: they change nothing of the session, it is
/// a server that answers them, and nothing is awaited between their messages.
pub(crate) fn may_run(analysis: &Analysis) -> bool {
    !analysis.may_change_session()
        && !analysis.may_copy_in()
        && !counts_in_doubt(analysis)
        && !analysis.notifies
        && !matches!(analysis.class, Class::Transaction | Class::Empty)
        && analysis.console.is_none()
        && analysis.executes.is_none()
}

/// Such messages at the front of the client's input.
pub(crate) struct FrontRun {
    prepared: Rc<Prepared>,
    bind_len: usize,
    len: usize,
}

impl Session {
    /// What stands at the front, if it can be served in one piece. The batch is new, or nothing was sent
    /// in it but the Parse of that very statement.
    pub(crate) fn front_run(&mut self, batch: &Batch) -> Option<FrontRun> {
        let Run {
            statement,
            counts,
            bind_len,
            len,
        } = frontend::run(self.client.input.bytes())?;
        let known = self.prepared.get(statement).filter(|known| known.runs)?;
        let expects = known.parameter_count;
        if !counts.is_some_and(|(formats, values)| {
            values == expects && (formats <= 1 || formats == values)
        }) {
            return None;
        }
        let prepared = Rc::clone(known);
        let prepared = self.as_of_now(prepared);
        let fits = batch.is_at(prepared.id) && self.runs_now(&prepared);
        fits.then_some(FrontRun {
            prepared,
            bind_len,
            len,
        })
    }

    /// Whether nothing about the session or its plugins asks for a look at the single messages.
    fn runs_now(&self, prepared: &Prepared) -> bool {
        let policies = self.policies_now();
        let wanted = policies.wanted();
        let sees_values = wanted.values && may_bind(&prepared.analysis);
        policies.chain() == prepared.chain.get()
            && !wanted.events
            && !sees_values
            && self.unfinished.is_none()
            && self.status() != TransactionStatus::Failed
            && !self.is_observed()
    }

    /// Serves it to the end; `false` if it failed before it was sent, and the rest of the batch is to be
    /// thrown away.
    pub(crate) async fn serve_run(
        &mut self,
        run: FrontRun,
        batch: &mut Batch,
    ) -> Result<bool, End> {
        self.meter.pool.binds.add(1);
        let prepared = run.prepared;
        let chosen = self.choose_prepared(batch, Some(&prepared), Values::None);
        let Some(node) = chosen.await? else {
            self.skip_bytes(run.bind_len).await?;
            return Ok(false);
        };
        // Not before: much may have changed while a node was waited for.
        if !self.check_description(batch, node, &prepared).await? {
            self.skip_bytes(run.bind_len).await?;
            return Ok(false);
        }
        self.put_preparation(node, &prepared);
        if !self.transaction.is_none() {
            // It outlives the batch there.
            let traits = batch.last_traits(node, &prepared.analysis);
            let analysis = Rc::clone(&prepared.analysis);
            let portal = Portal::on(node, Some(analysis), traits, None);
            self.portals.insert(Box::default(), portal);
        }
        self.count(node, &prepared.analysis);
        let renamed = Some(prepared).filter(|p| *p.name != *p.client_name);
        let own = renamed.as_ref().map(|p| Rc::clone(&p.name));
        self.put_front(node, run.bind_len, own.as_deref(), 0);
        self.put_front(node, run.len - run.bind_len, None, 0);
        self.flow.last_word = self.last_word();
        self.flow.expect(Request::Run { renamed });
        let synced = self.await_ready(batch, node).await?;
        self.conclude(batch, (Some(node), synced), false).await?;
        Ok(true)
    }
}
