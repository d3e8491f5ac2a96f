//! Keeps the state of the failover machine and does what it wants done.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgsteer_core::admin::{NodeOrder, Request};
use pgsteer_core::policy::{Crisis, Remedy};
use pgsteer_core::settings::FailoverSettings;
use pgsteer_core::topology::{Activity, Standing};
use pgsteer_core::{Facts, NodeId, Publisher, Settings};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::advice::Advisers;
use super::ask::witness;
use super::scribe::{Note, Scribe};
use super::sight::Sight;
use super::state::{Action, Event, Outcome, State, Work};
use super::step::step;
use super::{audit, execute, memory};

type Reply = oneshot::Sender<Result<Vec<String>, String>>;

/// A task that has ended.
enum Ended {
    Work(Work, Outcome),
    Advice(u64, Result<Remedy, String>, Box<Advisers>),
}

/// Something that has happened to the machine, to be handed to [`Conductor::take`].
pub(crate) struct Happened(Kind);

enum Kind {
    Ended(Ended),
    Order(Request<NodeOrder>),
}

/// The state of the machine, and everything that is under way.
pub(crate) struct Conductor {
    state: State,
    start: Instant,
    settings: Arc<Settings>,
    publisher: Arc<Publisher>,
    tasks: JoinSet<Ended>,
    // Away while a question is under way.
    advisers: Option<Box<Advisers>>,
    replies: HashMap<u64, Reply>,
    orders: Option<mpsc::Receiver<Request<NodeOrder>>>,
    state_dir: Option<PathBuf>,
    hurry: Arc<crate::probe::Hurry>,
    scribe: Scribe,
    // Of two processes one does something.
    facts: Arc<Facts>,
    // By task: what it does, to know what is unknown if it fails.
    works: HashMap<tokio::task::Id, Work>,
    // One command of a kind at a time.
    commands: [Arc<Semaphore>; 4],
}

impl Conductor {
    /// Reads what was kept. Blocks.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn new(
        settings: Arc<Settings>,
        publisher: Arc<Publisher>,
        facts: &Arc<Facts>,
        hurry: Arc<crate::probe::Hurry>,
    ) -> Result<Self, String> {
        let own = settings.failover.state_dir.as_ref();
        let state_dir = own.or(settings.plugins.state_dir.as_ref()).cloned();
        let scribe = Scribe::start().map_err(|error| format!("no thread for files: {error}"))?;
        if state_dir.is_none() && settings.failover.promote && settings.nodes.len() > 1 {
            warn!(
                advice = "set failover.state_dir",
                "after a restart it will not be known which node was the primary"
            );
        }
        let state = match &state_dir {
            Some(directory) => memory::load(directory, &settings.nodes)?,
            None => State::new(settings.nodes.len()),
        };
        Ok(Self {
            state,
            start: Instant::now(),
            publisher,
            tasks: JoinSet::new(),
            advisers: Some(Box::default()),
            replies: HashMap::new(),
            orders: facts.node_desk.take(),
            settings,
            state_dir,
            hurry,
            scribe,
            facts: Arc::clone(facts),
            works: HashMap::new(),
            commands: std::array::from_fn(|_| Arc::new(Semaphore::new(1))),
        })
    }

    /// New settings count from now on.
    pub(crate) fn configure(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Waits for a task to end or an order to come.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not taken comes again.
    pub(crate) async fn happened(&mut self) -> Happened {
        tokio::select! {
            // Cancel safe: a message stays in the channel.
            Some(order) = next(&mut self.orders) => Happened(Kind::Order(order)),
            // Cancel safe, as its documentation says.
            Some(ended) = self.tasks.join_next_with_id() => match ended {
                Ok((id, ended)) => {
                    self.works.remove(&id);
                    Happened(Kind::Ended(ended))
                }
                Err(problem) => {
                    error!(%problem, "a task of the failover machine failed");
                    let why = "the task failed, see the log".to_owned();
                    Happened(Kind::Ended(match self.works.remove(&problem.id()) {
                        Some(work) => Ended::Work(work, Outcome::Unknown(why)),
                        // A policy that took its thread with it is made anew.
                        None => {
                            let id = self.state.question.map_or(0, |question| question.id);
                            Ended::Advice(id, Err(why), Box::default())
                        }
                    }))
                }
            },
            else => std::future::pending().await,
        }
    }

    /// Something has happened.
    pub(crate) fn take(&mut self, happened: Happened, sights: &[Sight]) {
        let event = match happened.0 {
            Kind::Ended(Ended::Work(work, outcome)) => Event::Done(work, outcome),
            Kind::Ended(Ended::Advice(id, remedy, advisers)) => {
                self.advisers = Some(advisers);
                Event::Advice(id, remedy)
            }
            Kind::Order(request) => {
                let id = self.state.next_id();
                self.replies.insert(id, request.reply);
                Event::Order(id, request.order, request.user)
            }
        };
        self.step(event, sights);
    }

    /// A node was probed, or time went by.
    pub(crate) fn look(&mut self, sights: &[Sight]) {
        self.step(Event::Look, sights);
    }

    fn step(&mut self, event: Event, sights: &[Sight]) {
        let state = std::mem::take(&mut self.state);
        let now = self.start.elapsed();
        let rules = &self.settings.failover;
        let (state, actions) = if self.facts.succession.is_in_charge() {
            step(state, sights, event, now, rules)
        } else {
            step(state, sights, event, now, &looking_on(rules))
        };
        self.state = state;
        for action in actions {
            self.act(action, sights);
        }
    }

    fn act(&mut self, action: Action, sights: &[Sight]) {
        match action {
            Action::Ask(id, crisis) => self.ask(id, *crisis),
            Action::Run(work) => self.run(work),
            Action::Probe(node) => self.hurry.now(node),
            Action::Note { what, node, text } => self.note(what, node, &text, sights),
            Action::Reply(id, result) => {
                if let Some(reply) = self.replies.remove(&id) {
                    // The operator may have gone.
                    let _unheard = reply.send(result);
                }
            }
            Action::Remember => self.remember(),
        }
    }

    fn run(&mut self, work: Work) {
        let turn = match &work {
            Work::Command(command) => self.commands.get(command.kind as usize).map(Arc::clone),
            _ => None,
        };
        if turn.is_some() && self.works.values().any(|other| *other == work) {
            warn!(?work, "the same command runs or waits already");
            return;
        }
        let (settings, own) = (Arc::clone(&self.settings), work.clone());
        let task = self.tasks.spawn(async move {
            let _turn = match turn {
                Some(turn) => turn.acquire_owned().await.ok(),
                None => None,
            };
            let outcome = execute::run(own.clone(), settings).await;
            Ended::Work(own, outcome)
        });
        self.works.insert(task.id(), work);
    }

    fn ask(&mut self, id: u64, crisis: Crisis) {
        let snapshot = self.publisher.current();
        // They are away only while a question is under way, and there is one at a time.
        let mut advisers = self.advisers.take().unwrap_or_default();
        self.tasks.spawn_blocking(move || {
            let remedy = advisers.ask(&snapshot, &crisis);
            Ended::Advice(id, remedy, advisers)
        });
    }

    fn note(&self, what: &'static str, node: Option<NodeId>, text: &str, sights: &[Sight]) {
        let id = node.map(|node| node.0);
        match what {
            "recognised" | "attached" | "repointed" | "primary back" | "ordered" => {
                info!(target: AUDIT, what, node = id, "{text}");
            }
            _ => warn!(target: AUDIT, what, node = id, "{text}"),
        }
        let Some(path) = &self.settings.failover.audit_log else {
            return;
        };
        if !self.facts.succession.is_in_charge() {
            return;
        }
        let nodes: Vec<_> = sights
            .iter()
            .map(|s| witness(&self.state, sights, s))
            .collect();
        let line = audit::line(SystemTime::now(), what, node, text, &nodes);
        if !self.scribe.put(Note::Audit(path.clone(), line)) {
            error!(
                what,
                text, "the audit log is not written fast enough, a line is missing"
            );
        }
    }

    fn remember(&self) {
        let Some(directory) = &self.state_dir else {
            return;
        };
        if !self.facts.succession.is_in_charge() {
            return;
        }
        let text = memory::text(&self.state, &self.settings.nodes);
        // If it is not taken, the next one will be: it is kept every few seconds.
        let _taken = self.scribe.put(Note::Memory(directory.clone(), text));
    }

    /// The node that counts as the primary, or did before a restart.
    pub(crate) fn reigning(&self) -> Option<NodeId> {
        self.state.reign.map(|reign| reign.node)
    }

    /// The node that writes may go to.
    pub(crate) fn primary(&self) -> Option<NodeId> {
        self.reigning().filter(|_| self.state.confirmed)
    }

    /// Whether a node may serve, and how often its connections were to be closed.
    pub(crate) fn standing(&self, node: NodeId) -> (Standing, u64) {
        let tenure = self.state.nodes.get(node.index());
        tenure.map_or((Standing::InService, 0), |tenure| {
            (tenure.standing, tenure.severances)
        })
    }

    /// What is being done about the primary.
    pub(crate) fn activity(&self) -> Activity {
        self.state.activity()
    }

    /// How soon it should look again even if nothing happens.
    pub(crate) fn patience(&self) -> Duration {
        match self.state.activity() {
            Activity::None => Duration::from_secs(1),
            _ => Duration::from_millis(20),
        }
    }
}

/// The rules of a process that sees what becomes of the primary and does nothing about it, because
/// another one does.
fn looking_on(rules: &FailoverSettings) -> FailoverSettings {
    FailoverSettings {
        promote: false,
        repoint: false,
        failover_command: String::new(),
        failback_command: String::new(),
        follow_primary_command: String::new(),
        demote_command: String::new(),
        ..rules.clone()
    }
}

/// The next order; none ever comes to a desk that somebody else has.
async fn next<T>(orders: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

/// Target of the lines about decisions.
const AUDIT: &str = "pgsteer::failover";
