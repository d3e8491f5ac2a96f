//! Asks one node whenever a round begins. Each node has a task of its own, so that one that hangs
//! holds up nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::settings::NodeSettings;
use pgsteer_core::{Facts, Moment, NodeId, Settings};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::question::{Answer, Questions};
use crate::connection::Connection;
use crate::probe::Fault;

/// What came of a question.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) node: NodeId,
    /// `None` if the node was lost sight of.
    pub(super) answer: Option<Timed>,
}

/// An answer with the moments around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) asked: Moment,
    pub(super) answered: Moment,
    pub(super) answer: Answer,
}

/// One node and the way to it.
pub(super) struct Asker {
    id: NodeId,
    node: NodeSettings,
    settings: watch::Receiver<Arc<Settings>>,
    facts: Arc<Facts>,
    kept: Option<Kept>,
    // After a failure.
    rests_until: Option<Instant>,
}

struct Kept {
    connection: Connection,
    questions: Questions,
    details_at: Option<Instant>,
}

impl Asker {
    /// Nobody is asked yet.
    pub(super) fn new(
        id: NodeId,
        node: NodeSettings,
        settings: watch::Receiver<Arc<Settings>>,
        facts: Arc<Facts>,
    ) -> Self {
        Self {
            id,
            node,
            settings,
            facts,
            kept: None,
            rests_until: None,
        }
    }

    /// Asks once per change of `rounds`, until nobody changes it any more. A round that begins while
    /// the last question is out is asked after it.
    pub(super) async fn run(mut self, mut rounds: watch::Receiver<u64>, to: mpsc::Sender<Report>) {
        loop {
            let answer = tokio::select! {
                // Cancel safe: a change that nobody saw is reported again.
                changed = rounds.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if self.rests_until.is_some_and(|until| Instant::now() < until) {
                        continue;
                    }
                    self.ask().await
                }
                // Cancel safe: an end that nobody saw is seen by the next question.
                () = lost(&mut self.kept) => None,
            };
            let node = self.id;
            if to.send(Report { node, answer }).await.is_err() {
                return;
            }
        }
    }

    /// One question, bounded by the timeout of the probes. After a failure the connection is closed.
    async fn ask(&mut self) -> Option<Timed> {
        let settings = Arc::clone(&self.settings.borrow());
        let timeout = settings.probe_of(self.id).timeout;
        let work = tokio::time::timeout(timeout, self.ask_patiently(&settings)).await;
        match work.unwrap_or(Err(Fault::Timeout(timeout))) {
            Ok(timed) => Some(timed),
            Err(fault) => {
                // The probes say so aloud, with advice.
                debug!(node = self.id.0, error = %fault, "the clock could not ask a node");
                self.kept = None;
                self.rests_until = Some(Instant::now() + REST);
                None
            }
        }
    }

    async fn ask_patiently(&mut self, settings: &Settings) -> Result<Timed, Fault> {
        let probe = settings.probe_of(self.id);
        // Taken out while in use: whatever ends this early also closes the connection.
        let kept = self.kept.take();
        let kept = kept.filter(|kept| kept.connection.fits(probe, &probe.database));
        let mut kept = match kept {
            Some(kept) => kept,
            None => {
                let connection = Connection::open(&self.node, probe, &probe.database, NAME).await?;
                Kept {
                    questions: Questions::prepare(&connection.client).await?,
                    connection,
                    details_at: None,
                }
            }
        };
        let now = Instant::now();
        let with_details = kept.details_at.is_none_or(|at| at <= now);
        if with_details {
            kept.details_at = Some(now + DETAILS_INTERVAL);
        }
        let asked = self.facts.freshness.moment(Instant::now());
        let client = &kept.connection.client;
        let answer = kept.questions.ask(client, with_details).await?;
        let answered = self.facts.freshness.moment(Instant::now());
        self.kept = Some(kept);
        Ok(Timed {
            asked,
            answered,
            answer,
        })
    }
}

/// Waits until the server closes the kept connection.
async fn lost(kept: &mut Option<Kept>) {
    match kept {
        Some(connected) => {
            connected.connection.ended().await;
            *kept = None;
        }
        None => std::future::pending().await,
    }
}

/// `application_name` of its connections.
const NAME: &str = "pgsteer clock";
/// After a failure a node is left alone for so long (ours).
const REST: Duration = Duration::from_millis(500);
/// Timeline and WAL receiver are asked for so often (ours): they change by hand or by accident.
const DETAILS_INTERVAL: Duration = Duration::from_secs(1);
