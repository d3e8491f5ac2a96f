//! The state of the failover machine, what happens to it, and what it wants done.

use std::collections::VecDeque;
use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::admin::NodeOrder;
use pgsteer_core::policy::{Crisis, Remedy};
use pgsteer_core::topology::{Activity, Standing};

use super::sight::Sight;

/// The node that counts as the primary, and what was known of it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) node: NodeId,
    pub(crate) system_identifier: Option<u64>,
    pub(crate) timeline: Option<u32>,
    /// The furthest position it was seen at.
    pub(crate) lsn: Option<u64>,
}

impl Reign {
    /// That of a node as it is seen. What was flushed counts, which is all that replicas can have.
    pub(crate) fn of(sight: &Sight) -> Self {
        Self {
            node: sight.id,
            system_identifier: sight.system_identifier,
            timeline: sight.timeline,
            lsn: sight.received.or(sight.lsn),
        }
    }
}

/// Who took a node out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Operator,
    Policy,
}

/// What is kept about a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tenure {
    pub(crate) standing: Standing,
    /// Who took it out, if it is detached.
    pub(crate) by: Option<By>,
    /// How often its connections were to be closed at once.
    pub(crate) severances: u64,
    /// When the policy may be asked about it again.
    pub(crate) ask_at: Duration,
    /// It is to follow the present primary and does not yet; kept over restarts.
    pub(crate) owed: bool,
    /// It, or the operator's command, was told so.
    pub(crate) told: bool,
    /// Until when it may take to follow the new primary, before a command is run for it.
    pub(crate) repoint_until: Option<Duration>,
    /// It was asked to become the primary, and nobody knows what became of that.
    pub(crate) abandoned: bool,
    /// It was abandoned, and the primary has served since: what it has lacks things.
    pub(crate) outdated: bool,
    /// The policy was asked since it looks as it does.
    pub(crate) judged: bool,
    /// What it looked like: up, a primary, timeline.
    pub(crate) looked: (bool, bool, Option<u32>),
    /// What was said last about why it cannot be what it says.
    pub(crate) said: String,
}

/// A node on its way to become the primary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Promotion {
    pub(crate) node: NodeId,
    pub(crate) since: Duration,
    pub(crate) deadline: Duration,
    /// The order, if an operator wants it.
    pub(crate) order: Option<u64>,
    /// How long there has been no primary.
    pub(crate) lost_since: Duration,
}

/// How far a switchover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The old primary writes a checkpoint, so that its shutdown is short. Writes go on.
    Checkpointing,
    /// New writes wait, those that run may end.
    Draining { severed: bool },
    /// It is asked how far it has written.
    Positioning,
    /// The command that demotes it runs.
    Demoting,
    /// It is to be gone, and the new one to have everything it wrote.
    Settling { deadline: Duration },
}

/// The work of one node is handed to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Switchover {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) order: u64,
    pub(crate) stage: Stage,
    pub(crate) since: Duration,
    /// Until when what runs may go on.
    pub(crate) drain_until: Duration,
    /// Up to where the old primary had written when nothing wrote any more.
    pub(crate) position: Option<u64>,
}

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Phase {
    /// Nothing.
    #[default]
    Calm,
    /// There is no primary; the policy is asked.
    Lost {
        since: Duration,
        ask_at: Duration,
        /// The operator's command was run for it.
        commanded: bool,
    },
    /// One is on its way.
    Promoting(Promotion),
    /// A planned change.
    Switching(Switchover),
}

/// Everything the machine knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) reign: Option<Reign>,
    /// The primary was seen to be one since the start, and nobody knew of a later one.
    pub(crate) confirmed: bool,
    pub(crate) nodes: Vec<Tenure>,
    pub(crate) phase: Phase,
    /// When, which node, what; the latest last.
    pub(crate) history: VecDeque<(Duration, NodeId, &'static str)>,
    /// Why the last answer of the policy was not followed.
    pub(crate) refused: String,
    /// When the position of the primary is to be kept again.
    pub(crate) remember_at: Duration,
    /// Promotions in a row that came to nothing.
    pub(crate) failed_promotions: u32,
    /// Failed probes of the primary when the others were last asked about it.
    pub(crate) alarm: u32,
    /// The question the policy was asked and has not answered.
    pub(crate) question: Option<Question>,
    pub(crate) last_id: u64,
}

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) occasion: pgsteer_core::policy::Occasion,
    pub(crate) subject: Option<NodeId>,
}

/// What happens to the machine.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node was probed, or time went by.
    Look,
    /// The policy answered, or could not.
    Advice(u64, Result<Remedy, String>),
    /// A task ended.
    Done(Work, Outcome),
    /// An operator wants something; the number is for the reply.
    Order(u64, NodeOrder, String),
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// A position that was asked for.
    Position(u64),
    /// It did not happen, and why.
    Failed(String),
    /// Nobody knows whether it happened.
    Unknown(String),
}

/// Something to be done on servers, or by a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// `pg_promote()`.
    Promote(NodeId),
    /// Make the first follow the second.
    Repoint(NodeId, NodeId),
    /// `CHECKPOINT`.
    Checkpoint(NodeId),
    /// How far it has written.
    Position(NodeId),
    /// One of the operator's commands.
    Command(Command),
}

/// Which of the operator's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandKind {
    Failover,
    Failback,
    FollowPrimary,
    Demote,
}

impl CommandKind {
    /// The setting that holds it.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Failover => "failover_command",
            Self::Failback => "failback_command",
            Self::FollowPrimary => "follow_primary_command",
            Self::Demote => "demote_command",
        }
    }
}

/// A command with what its placeholders stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) kind: CommandKind,
    /// The node it is about.
    pub(crate) node: NodeId,
    /// The primary from now on.
    pub(crate) new_main: Option<NodeId>,
    /// The primary until now.
    pub(crate) old_primary: Option<NodeId>,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Ask the policy.
    Ask(u64, Box<Crisis>),
    /// Do this.
    Run(Work),
    /// Probe it at once.
    Probe(NodeId),
    /// Write down that something was decided, and on what.
    Note {
        what: &'static str,
        node: Option<NodeId>,
        text: String,
    },
    /// Tell the operator.
    Reply(u64, Result<Vec<String>, String>),
    /// Keep what must outlive a restart.
    Remember,
}

impl State {
    /// Nothing is known of so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![Tenure::default(); nodes],
            ..Self::default()
        }
    }

    /// What is published about it.
    pub(crate) fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Calm => Activity::None,
            Phase::Lost { .. } => Activity::Deciding,
            Phase::Promoting(promotion) => Activity::Promoting(promotion.node),
            Phase::Switching(switchover) => Activity::Switchover(switchover.from, switchover.to),
        }
    }

    pub(crate) fn tenure(&mut self, node: NodeId) -> Option<&mut Tenure> {
        self.nodes.get_mut(node.index())
    }

    pub(crate) fn standing(&self, node: NodeId) -> Standing {
        let tenure = self.nodes.get(node.index());
        tenure.map_or(Standing::InService, |tenure| tenure.standing)
    }

    pub(crate) fn is_reigning(&self, node: NodeId) -> bool {
        self.reign.is_some_and(|reign| reign.node == node)
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn note_past(&mut self, now: Duration, node: NodeId, what: &'static str) {
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back((now, node, what));
    }
}

/// Events that a policy is shown (ours).
const HISTORY_MAX: usize = 32;
