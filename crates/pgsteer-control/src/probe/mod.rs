//! Asks every node, on its own schedule, what it is and how far it is. One task per node; what it
//! finds goes to the topology task through a bounded channel.

mod fault;
mod question;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pgsteer_core::probes::ProbeEnd;
use pgsteer_core::settings::{NodeSettings, ProbeSettings};
use pgsteer_core::{Facts, NodeId, Role, Settings};
use tokio::sync::{Notify, mpsc, watch};
use tokio_postgres::SimpleQueryMessage;
use tracing::{debug, info, warn};

use crate::connection::Connection;
pub(crate) use fault::Fault;
#[cfg(test)]
pub(crate) use question::Names;
pub(crate) use question::{Answer, Standby, Upstream};

/// What came of one probe of one node.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) node: NodeId,
    pub(crate) result: Result<Answer, Fault>,
}

/// Nodes that are to be probed at once, whatever patience is configured.
#[derive(Debug)]
pub(crate) struct Hurry(Box<[Notify]>);

impl Hurry {
    /// None, of so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Notify::new()).collect())
    }

    /// It is probed at once, or as soon as the probe under way has ended.
    pub(crate) fn now(&self, id: NodeId) {
        if let Some(node) = self.0.get(id.index()) {
            node.notify_one();
        }
    }

    async fn wanted(&self, id: NodeId) {
        match self.0.get(id.index()) {
            Some(node) => node.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// Probes one node until the receiver of observations is gone. New settings apply from the next
/// probe on.
pub(crate) async fn run(
    id: NodeId,
    node: NodeSettings,
    mut settings: watch::Receiver<Arc<Settings>>,
    observations: mpsc::Sender<Observation>,
    facts: Arc<Facts>,
    hurry: Arc<Hurry>,
) {
    let mut probe = Probe {
        id,
        node,
        connection: None,
        timeline: None,
        known: Known::default(),
    };
    let mut failures = 0;
    loop {
        let current = settings.borrow_and_update().probe_of(id).clone();
        let started = Instant::now();
        let result = probe.once(&current).await;
        let early = retries(&current, failures);
        note(&facts, id, started, result.is_ok(), early);
        probe.log_change(&result, &current);
        failures = if result.is_ok() { 0 } else { failures + 1 };
        if observations
            .send(Observation { node: id, result })
            .await
            .is_err()
        {
            return;
        }
        tokio::select! {
            // Cancel safe: a timer.
            () = tokio::time::sleep(pause(&current, failures)) => {}
            // Cancel safe: a suspicion that was not taken is taken next time. While a node is being
            // judged it gets the patience that was configured, however many suspect it.
            () = facts.suspicions.raised(id), if failures == 0 => {
                tokio::time::sleep(PAUSE_MIN).await;
            }
            // Cancel safe: the same.
            () = hurry.wanted(id) => tokio::time::sleep(PAUSE_MIN).await,
            // Cancel safe: an end that nobody saw is seen by the next probe.
            () = lost(&mut probe.connection) => {}
            // Cancel safe: a change that nobody saw is reported again.
            changed = settings.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Early probes in a row, the one now made among them, if so many have failed before it.
fn retries(settings: &ProbeSettings, failures: u32) -> u64 {
    let judging = failures > 0 && failures < settings.failures_max;
    if judging { u64::from(failures) } else { 0 }
}

/// Counts a probe for the console.
fn note(facts: &Facts, id: NodeId, started: Instant, answered: bool, retries: u64) {
    if let Some(node) = facts.probes.node(id) {
        node.note(ProbeEnd {
            answered,
            took: started.elapsed(),
            at: SystemTime::now(),
            retries,
        });
    }
}

/// While a node is being judged, probes come faster, so that the judgement takes one interval.
fn pause(settings: &ProbeSettings, failures: u32) -> Duration {
    let judging = failures > 0 && failures < settings.failures_max.max(FAILURES_MIN);
    if !judging {
        return settings.interval;
    }
    if settings.retry_delay > Duration::ZERO {
        settings.retry_delay
    } else {
        settings.interval / settings.failures_max
    }
}

/// Waits until the server closes the kept connection: it may have died, so it is asked at once.
async fn lost(connection: &mut Option<Connection>) {
    if let Some(kept) = connection {
        kept.ended().await;
        *connection = None;
    } else {
        std::future::pending().await
    }
}

struct Probe {
    id: NodeId,
    node: NodeSettings,
    connection: Option<Connection>,
    // Of its WAL, since it has no WAL receiver; none inside: it does not say.
    timeline: Option<Option<u32>>,
    known: Known,
}

/// What the log has said about a node, so that it says it once.
#[derive(Debug, Default)]
struct Known {
    answers: bool,
    answered_ever: bool,
    // What was said since the node answered last; a few at most.
    faults: Vec<String>,
}

impl Probe {
    /// One probe, bounded by the timeout. A connection that failed is not used again.
    async fn once(&mut self, settings: &ProbeSettings) -> Result<Answer, Fault> {
        // Taken out while in use: whatever ends this early also closes the connection.
        let kept = self.connection.take();
        let kept = kept.filter(|kept| kept.fits(settings, &settings.database));
        let work = async {
            let connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&self.node, settings, &settings.database, NAME).await?,
            };
            let messages = ask(&connection, question::SQL).await?;
            let answer = question::read(&messages)?;
            Ok((answer, connection))
        };
        match tokio::time::timeout(settings.timeout, work).await {
            Ok(Ok((mut answer, connection))) => {
                self.connection = self.find_timeline(&mut answer, connection, settings).await;
                Ok(answer)
            }
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::Timeout(settings.timeout)),
        }
    }

    /// Asks a replica that has no WAL receiver for the timeline of its WAL, once for as long as that is
    /// so. It takes `pg_monitor`; without an answer it is what the control file says.
    async fn find_timeline(
        &mut self,
        answer: &mut Answer,
        connection: Connection,
        settings: &ProbeSettings,
    ) -> Option<Connection> {
        if !answer.is_in_doubt_of_its_timeline() {
            self.timeline = None;
            return Some(connection);
        }
        if let Some(known) = self.timeline {
            answer.timeline = answer.timeline.max(known);
            return Some(connection);
        }
        let asked = ask(&connection, question::TIMELINE_SQL);
        let found = match tokio::time::timeout(settings.timeout, asked).await {
            Ok(Ok(messages)) => question::timeline(&messages),
            Ok(Err(Fault::Refused { .. })) => None,
            Ok(Err(_)) | Err(_) => return None,
        };
        self.timeline = Some(found);
        answer.timeline = answer.timeline.max(found);
        Some(connection)
    }

    /// One line when a node begins to answer and one when it stops. A node that never answered gets
    /// a line for every kind of trouble, because the last kind is often the one to mend.
    fn log_change(&mut self, result: &Result<Answer, Fault>, settings: &ProbeSettings) {
        let (node, host, port) = (self.id.0, &*self.node.host, self.node.port);
        let fault = match result {
            Ok(answer) => {
                if !self.known.answers {
                    info!(
                        node,
                        host,
                        port,
                        role = role_word(answer.role),
                        "node answers"
                    );
                }
                self.known = Known {
                    answers: true,
                    answered_ever: true,
                    faults: Vec::new(),
                };
                return;
            }
            Err(fault) => fault,
        };
        self.known.answers = false;
        let text = fault.to_string();
        let first = self.known.faults.is_empty();
        let news = !self.known.faults.contains(&text) && self.known.faults.len() < FAULTS_SAID_MAX;
        if news && (first || !self.known.answered_ever || !fault.is_passing()) {
            let advice = fault.advice(&self.node, settings, self.known.answered_ever);
            warn!(node, host, port, error = text, advice, "probe failed");
            self.known.faults.push(text);
        } else {
            debug!(node, host, port, error = text, "probe still fails");
        }
    }
}

async fn ask(connection: &Connection, text: &str) -> Result<Vec<SimpleQueryMessage>, Fault> {
    let answered = connection.client.simple_query(text).await;
    answered.map_err(|error| Fault::from_postgres(&error))
}

/// The role in words of the log.
pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Unknown => "unknown",
        Role::Primary => "primary",
        Role::Replica => "replica",
    }
}

/// Before a probe that somebody asked for (ours): a node may be asked for many times in a row.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Failed probes in a row without which nothing is decided about a primary (ours).
pub(crate) const FAILURES_MIN: u32 = 2;
/// `application_name` of its connections.
const NAME: &str = "pgsteer probe";
/// Different faults in a row that get a line of their own (ours).
const FAULTS_SAID_MAX: usize = 8;

#[cfg(test)]
mod tests;
