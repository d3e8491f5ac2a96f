//! The failover machine, scene by scene: three nodes, node 0 the primary at first.

use std::time::Duration;

use pgsteer_core::admin::NodeOrder;
use pgsteer_core::policy::{Occasion, Receiver, Remedy};
use pgsteer_core::settings::{FailoverSettings, NodeFlag};
use pgsteer_core::topology::{Activity, Standing};
use pgsteer_core::{NodeId, Role};

use super::sight::Sight;
use super::state::{Action, CommandKind, Event, Outcome, Phase, State, Work};
use super::step::step;

pub(super) const MB: u64 = 1 << 20;

/// The machine, what it sees, and what it wanted since that was last looked at.
pub(super) struct Scene {
    pub(super) state: State,
    pub(super) sights: Vec<Sight>,
    pub(super) rules: FailoverSettings,
    pub(super) now: Duration,
    pub(super) actions: Vec<Action>,
}

impl Scene {
    /// A primary and two replicas that stream from it; all is well.
    pub(super) fn new() -> Self {
        let mut rules = crate::testing::settings().failover;
        rules.demote_command = "demote %d".to_owned();
        rules.follow_primary_command = "follow %d %m".to_owned();
        let mut scene = Self {
            state: State::new(3),
            sights: (0..3).map(Sight::new).collect(),
            rules,
            now: Duration::from_secs(100),
            actions: Vec::new(),
        };
        scene.primary(0, 1, 100 * MB);
        scene.replica(1, 0, 100 * MB);
        scene.replica(2, 0, 100 * MB);
        scene.look();
        assert_eq!(scene.reigning(), Some(NodeId(0)));
        scene.actions.clear();
        scene
    }

    pub(super) fn primary(&mut self, node: u16, timeline: u32, lsn: u64) {
        let sight = &mut self.sights[usize::from(node)];
        *sight = Sight {
            observed: true,
            up: true,
            role: Role::Primary,
            system_identifier: Some(7),
            timeline: Some(timeline),
            lsn: Some(lsn),
            receiver: Receiver::None,
            flag: sight.flag,
            ..Sight::new(node)
        };
    }

    pub(super) fn replica(&mut self, node: u16, of: u16, lsn: u64) {
        let timeline = self.sights[usize::from(of)].timeline;
        let sight = &mut self.sights[usize::from(node)];
        *sight = Sight {
            observed: true,
            up: true,
            role: Role::Replica,
            system_identifier: Some(7),
            timeline,
            lsn: Some(lsn),
            received: Some(lsn),
            receiver: Receiver::Streaming,
            silent: Some(Duration::ZERO),
            receiver_timeout: Some(Duration::from_secs(5)),
            follows: Some(NodeId(of)),
            flag: sight.flag,
            ..Sight::new(node)
        };
    }

    /// It does not answer any more; those that were connected to it notice.
    pub(super) fn kill(&mut self, node: u16) {
        let sight = &mut self.sights[usize::from(node)];
        (sight.up, sight.down, sight.failures) = (false, true, 3);
        for sight in &mut self.sights {
            if sight.follows == Some(NodeId(node)) && sight.up {
                (sight.receiver, sight.follows, sight.silent) = (Receiver::None, None, None);
            }
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        let state = std::mem::take(&mut self.state);
        let (state, actions) = step(state, &self.sights, event, self.now, &self.rules);
        self.state = state;
        self.actions.extend(actions);
    }

    pub(super) fn order(&mut self, id: u64, order: NodeOrder) {
        self.event(Event::Order(id, order, "alice".to_owned()));
    }

    pub(super) fn look(&mut self) {
        self.now += Duration::from_millis(10);
        self.event(Event::Look);
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.look();
    }

    /// The policy is asked about this, and answers.
    pub(super) fn answer(&mut self, occasion: Occasion, remedy: Remedy) {
        let question = self.state.question.expect("the policy is asked");
        assert_eq!(question.occasion, occasion);
        self.event(Event::Advice(question.id, Ok(remedy)));
    }

    pub(super) fn reigning(&self) -> Option<NodeId> {
        self.state.reign.map(|reign| reign.node)
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.state
            .nodes
            .iter()
            .map(|tenure| tenure.standing)
            .collect()
    }

    pub(super) fn works(&self) -> Vec<Work> {
        let work = |action: &Action| match action {
            Action::Run(work) => Some(work.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(work).collect()
    }

    pub(super) fn commands(&self) -> Vec<(CommandKind, u16, Option<u16>)> {
        let command = |work| match work {
            Work::Command(command) => Some((
                command.kind,
                command.node.0,
                command.new_main.map(|node| node.0),
            )),
            _ => None,
        };
        self.works().into_iter().filter_map(command).collect()
    }

    pub(super) fn replies(&self) -> Vec<Result<Vec<String>, String>> {
        let reply = |action: &Action| match action {
            Action::Reply(_, reply) => Some(reply.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(reply).collect()
    }

    /// Up to the promotion of node 1 being under way.
    pub(super) fn promoting() -> Self {
        let mut scene = Self::new();
        scene.kill(0);
        scene.look();
        scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
        scene
    }
}

use Standing::{Detached, Fenced, InService};

#[test]
fn a_lost_primary_is_fenced_before_a_replica_is_promoted() {
    let mut scene = Scene::promoting();
    assert_eq!(scene.works(), [Work::Promote(NodeId(1))]);
    assert_eq!(scene.standings(), [Fenced, InService, InService]);
    assert_eq!(scene.state.nodes[0].severances, 1);
    assert_eq!(scene.state.activity(), Activity::Promoting(NodeId(1)));
    assert_eq!(scene.reigning(), Some(NodeId(0)), "not before it says so");

    scene.actions.clear();
    scene.event(Event::Done(Work::Promote(NodeId(1)), Outcome::Done));
    assert!(scene.actions.contains(&Action::Probe(NodeId(1))));
    scene.primary(1, 2, 100 * MB);
    scene.look();
    assert_eq!(scene.reigning(), Some(NodeId(1)));
    assert_eq!(scene.state.phase, Phase::Calm);
    assert_eq!(scene.standings(), [Fenced, InService, InService]);
    assert!(scene.works().contains(&Work::Repoint(NodeId(2), NodeId(1))));
    let follow = CommandKind::FollowPrimary;
    assert_eq!(
        scene.commands(),
        [(follow, 0, Some(1))],
        "it cannot be told by SQL"
    );
}

/// The proxy ended when it had promoted a node, and nobody told the others.
#[test]
fn a_restart_does_not_forget_who_is_to_follow() {
    let mut scene = Scene::promoting();
    scene.primary(1, 2, 100 * MB);
    scene.look();
    assert!(scene.state.nodes[2].owed && scene.state.nodes[0].owed);
    let mut after = Scene::new();
    after.state = State::new(3);
    after.state.reign = scene.state.reign;
    for (tenure, before) in after.state.nodes.iter_mut().zip(&scene.state.nodes) {
        tenure.owed = before.owed;
    }
    after.kill(0);
    after.replica(2, 0, 100 * MB);
    after.sights[2].receiver = Receiver::None;
    after.primary(1, 2, 100 * MB);
    after.look();
    let repoint = Work::Repoint(NodeId(2), NodeId(1));
    assert!(after.works().contains(&repoint), "{:?}", after.works());
    assert_eq!(after.commands(), [(CommandKind::FollowPrimary, 0, Some(1))]);
    after.replica(2, 1, 100 * MB);
    after.wait(1);
    assert!(!after.state.nodes[2].owed);
    assert_eq!(
        after
            .works()
            .iter()
            .filter(|work| **work == repoint)
            .count(),
        1
    );
}

#[test]
fn one_failed_probe_decides_nothing() {
    let mut scene = Scene::new();
    for node in [1, 2] {
        scene.sights[node].receiver = Receiver::None;
    }
    for failures in 1..=2 {
        scene.sights[0].failures = failures;
        scene.look();
        assert_eq!(scene.state.phase, Phase::Calm);
    }
    // An operator who is satisfied with one failure gets two all the same.
    let sight = &mut scene.sights[0];
    (sight.up, sight.down, sight.failures) = (false, true, 1);
    scene.look();
    assert_eq!(scene.state.phase, Phase::Calm);
    scene.sights[0].failures = 2;
    scene.look();
    assert!(matches!(scene.state.phase, Phase::Lost { .. }));
}

#[test]
fn nothing_is_promoted_while_a_replica_hears_the_primary() {
    let mut scene = Scene::new();
    scene.kill(0);
    // Both are connected still; one of them heard something a second ago.
    for (node, silent) in [(1, 1), (2, 60)] {
        scene.sights[node].receiver = Receiver::Streaming;
        scene.sights[node].silent = Some(Duration::from_secs(silent));
        scene.sights[node].follows = Some(NodeId(0));
    }
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    assert!(scene.works().is_empty());
    assert!(
        scene.state.refused.contains("node 1 heard"),
        "{}",
        scene.state.refused
    );
    assert_eq!(scene.standings(), [InService; 3]);
    // An operator cannot make two primaries either.
    scene.order(9, NodeOrder::Promote(NodeId(2)));
    assert!(scene.works().is_empty());
    // Half of wal_receiver_timeout and two seconds later it is as cut off as we are.
    scene.sights[1].silent = Some(Duration::from_millis(4501));
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    assert_eq!(scene.works(), [Work::Promote(NodeId(2))]);
}

#[test]
fn a_replica_of_another_replica_is_no_sign_of_life() {
    let mut scene = Scene::new();
    scene.replica(2, 1, 100 * MB);
    scene.kill(0);
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert_eq!(scene.works(), [Work::Promote(NodeId(1))]);
}

#[test]
fn rules_that_no_policy_can_break() {
    type Change = fn(&mut Scene);
    let cases: [(&str, Change, &str); 9] = [
        ("lag", |s| s.sights[1].received = Some(98 * MB), "lag_max"),
        (
            "no position",
            |s| (s.sights[1].received, s.sights[1].lsn) = (None, None),
            "how far",
        ),
        (
            "other cluster",
            |s| s.sights[1].system_identifier = Some(8),
            "another cluster",
        ),
        (
            "old timeline",
            |s| s.sights[1].timeline = Some(0),
            "timeline",
        ),
        ("witnesses", |s| s.rules.witnesses_min = 3, "witnesses_min"),
        (
            "flag",
            |s| s.sights[1].flag = NodeFlag::DisallowToFailover,
            "DISALLOW",
        ),
        (
            "flag of the primary",
            |s| s.sights[0].flag = NodeFlag::DisallowToFailover,
            "DISALLOW",
        ),
        (
            "detached",
            |s| s.state.nodes[1].standing = Detached,
            "detached",
        ),
        (
            "hidden receiver",
            |s| s.sights[2].receiver = Receiver::Unknown,
            "pg_monitor",
        ),
    ];
    for (name, change, why) in cases {
        let mut scene = Scene::new();
        scene.sights[1].lsn = Some(90 * MB);
        scene.kill(0);
        change(&mut scene);
        scene.look();
        scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
        assert!(scene.works().is_empty(), "{name}");
        assert!(
            scene.state.refused.contains(why),
            "{name}: {}",
            scene.state.refused
        );
    }
}

#[test]
fn where_something_else_promotes_it_is_only_followed() {
    let mut scene = Scene::new();
    scene.rules.promote = false;
    scene.kill(0);
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert!(scene.works().is_empty());
    scene.primary(1, 2, 100 * MB);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Follow(NodeId(1)));
    assert_eq!(scene.reigning(), Some(NodeId(1)));
    let repoints = |work: &Work| matches!(work, Work::Repoint(..));
    assert!(
        !scene.works().iter().any(repoints),
        "that is the other's business too"
    );
}

#[test]
fn a_failover_command_promotes_once_where_we_do_not() {
    let mut scene = Scene::new();
    scene.rules.promote = false;
    scene.rules.failover_command = "promote %H".to_owned();
    scene.kill(0);
    for _ in 0..3 {
        scene.wait(2);
        scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    }
    assert_eq!(scene.commands(), [(CommandKind::Failover, 0, Some(2))]);
}

#[test]
fn a_promotion_by_hand_is_followed_and_the_old_primary_fenced() {
    let mut scene = Scene::new();
    scene.primary(2, 2, 101 * MB);
    scene.look();
    assert_eq!(
        scene.standings(),
        [InService; 3],
        "not before the policy was asked"
    );
    scene.answer(Occasion::OtherPrimary, Remedy::Follow(NodeId(2)));
    assert_eq!(scene.reigning(), Some(NodeId(2)));
    assert_eq!(scene.standings(), [Fenced, InService, InService]);
    assert_eq!(
        scene.state.nodes[2].severances, 0,
        "its readers notice nothing"
    );
    assert_eq!(scene.state.nodes[0].severances, 1);
}

#[test]
fn a_primary_that_nobody_follows_is_fenced() {
    for (timeline, remedy) in [(2, Remedy::Abstain), (1, Remedy::Follow(NodeId(2)))] {
        let mut scene = Scene::new();
        scene.primary(2, timeline, 101 * MB);
        scene.look();
        scene.answer(Occasion::OtherPrimary, remedy);
        assert_eq!(scene.reigning(), Some(NodeId(0)));
        assert_eq!(scene.standings(), [InService, InService, Fenced]);
        // It becomes a replica, and serves again when the policy says so.
        scene.replica(2, 0, 100 * MB);
        scene.look();
        scene.answer(Occasion::NodeBack, Remedy::Reattach(NodeId(2)));
        assert_eq!(scene.standings(), [InService; 3]);
    }
}

#[test]
fn a_former_primary_stays_fenced_until_it_follows() {
    let mut scene = Scene::promoting();
    scene.primary(1, 2, 100 * MB);
    scene.look();
    scene.primary(0, 1, 100 * MB);
    scene.wait(1);
    scene.answer(Occasion::OtherPrimary, Remedy::Follow(NodeId(0)));
    assert_eq!(scene.reigning(), Some(NodeId(1)), "its timeline is older");
    let attach = Event::Order(5, NodeOrder::Attach(NodeId(0)), "alice".to_owned());
    scene.event(attach.clone());
    assert_eq!(scene.standings()[0], Fenced);
    assert!(scene.replies().last().expect("an answer").is_err());
    // On the old timeline it does not follow, whatever it says.
    scene.replica(0, 1, 100 * MB);
    scene.sights[0].timeline = Some(1);
    scene.event(attach.clone());
    assert_eq!(scene.standings()[0], Fenced);
    scene.sights[0].timeline = Some(2);
    scene.event(attach);
    assert_eq!(scene.standings()[0], InService);
}

#[test]
fn a_primary_that_comes_back_in_time_goes_on() {
    let mut scene = Scene::new();
    scene.kill(0);
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Wait(500));
    assert_eq!(scene.state.activity(), Activity::Deciding);
    scene.primary(0, 1, 100 * MB);
    scene.look();
    assert_eq!(scene.state.phase, Phase::Calm);
    assert_eq!(scene.standings(), [InService; 3]);
    assert!(scene.works().is_empty());
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let mut scene = Scene::new();
    scene.kill(0);
    scene.look();
    let question = scene.state.question.expect("asked");
    scene.primary(0, 1, 100 * MB);
    scene.look();
    scene.event(Event::Advice(question.id, Ok(Remedy::Promote(NodeId(1)))));
    assert!(scene.works().is_empty());
    scene.event(Event::Advice(question.id, Ok(Remedy::Promote(NodeId(1)))));
    assert!(scene.works().is_empty());
}

#[test]
fn a_promotion_that_failed_is_followed_by_another_question() {
    let mut scene = Scene::promoting();
    let failed = Outcome::Failed("permission denied".to_owned());
    scene.event(Event::Done(Work::Promote(NodeId(1)), failed));
    assert!(matches!(scene.state.phase, Phase::Lost { .. }));
    assert_eq!(scene.standings()[1], InService);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    assert_eq!(scene.works().last(), Some(&Work::Promote(NodeId(2))));
}

#[test]
fn a_promotion_without_an_outcome_is_not_followed_after_the_next() {
    let mut scene = Scene::promoting();
    let unknown = Outcome::Unknown("connection lost".to_owned());
    scene.event(Event::Done(Work::Promote(NodeId(1)), unknown));
    assert!(
        matches!(scene.state.phase, Phase::Promoting(_)),
        "it may happen yet"
    );
    scene.wait(61);
    assert_eq!(scene.standings()[1], InService, "a replica as yet");
    scene.kill(1);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    scene.primary(2, 2, 100 * MB);
    scene.look();
    assert_eq!(scene.reigning(), Some(NodeId(2)));
    scene.answer(Occasion::NodeLost, Remedy::Abstain);
    // The first one was promoted after all, from the same point.
    scene.primary(1, 2, 100 * MB);
    scene.wait(1);
    scene.answer(Occasion::OtherPrimary, Remedy::Follow(NodeId(1)));
    assert_eq!(scene.reigning(), Some(NodeId(2)));
    assert_eq!(scene.standings()[1], Fenced);
}

#[test]
fn a_promotion_that_comes_true_after_the_primary_went_on_is_not_followed() {
    let mut scene = Scene::promoting();
    scene.wait(61);
    assert!(matches!(scene.state.phase, Phase::Lost { .. }));
    // It was frozen and is back, and takes writes.
    scene.primary(0, 1, 100 * MB);
    scene.replica(2, 0, 100 * MB);
    scene.look();
    assert_eq!(scene.standings(), [InService; 3]);
    scene.primary(1, 2, 100 * MB);
    scene.wait(2);
    let question = scene.state.question.expect("asked");
    scene.event(Event::Advice(question.id, Ok(Remedy::Follow(NodeId(1)))));
    scene.look();
    if let Some(question) = scene.state.question {
        scene.event(Event::Advice(question.id, Ok(Remedy::Follow(NodeId(1)))));
    }
    assert_eq!(scene.reigning(), Some(NodeId(0)));
    assert!(
        scene.state.refused.contains("late"),
        "{}",
        scene.state.refused
    );
    assert_eq!(scene.standings()[1], Fenced);
}

#[test]
fn the_next_replica_is_tried_at_once_when_the_one_being_promoted_dies() {
    let mut scene = Scene::promoting();
    scene.kill(1);
    scene.look();
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    assert_eq!(scene.works().last(), Some(&Work::Promote(NodeId(2))));
}

#[test]
fn a_primary_that_was_replaced_behind_its_back_does_not_return() {
    let mut scene = Scene::new();
    scene.kill(0);
    scene.look();
    // Patroni was faster than the policy, and the old primary thaws.
    scene.primary(2, 2, 100 * MB);
    scene.primary(0, 1, 100 * MB);
    scene.look();
    assert!(
        matches!(scene.state.phase, Phase::Lost { .. }),
        "it gets no writes"
    );
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Follow(NodeId(2)));
    assert_eq!(scene.reigning(), Some(NodeId(2)));
}

#[test]
fn a_replica_that_does_not_answer_is_no_witness() {
    let mut scene = Scene::new();
    scene.rules.witnesses_min = 2;
    scene.kill(0);
    scene.sights[2].failures = 1;
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert!(scene.works().is_empty());
    assert!(
        scene.state.refused.contains("does not answer"),
        "{}",
        scene.state.refused
    );
    scene.kill(2);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert!(
        scene.state.refused.contains("witnesses_min"),
        "{}",
        scene.state.refused
    );
}

#[test]
fn a_replica_that_has_not_answered_since_the_start_may_have_more() {
    let mut scene = Scene::new();
    scene.sights[2] = Sight::new(2);
    scene.kill(0);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert_eq!(scene.works(), []);
    let why = &scene.state.refused;
    assert!(why.contains("node 2 has not answered yet"), "{why}");
    // It does not answer at all: that was all there was to wait for.
    scene.kill(2);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert_eq!(scene.works(), [Work::Promote(NodeId(1))]);
}

#[test]
fn a_server_that_refuses_the_probes_lives() {
    let mut scene = Scene::new();
    scene.kill(0);
    scene.sights[0].refuses = true;
    scene.look();
    assert_eq!(scene.state.phase, Phase::Calm);
}

#[test]
fn a_primary_of_another_cluster_is_no_reason_not_to_promote() {
    let mut scene = Scene::new();
    scene.primary(2, 1, 5);
    scene.sights[2].system_identifier = Some(99);
    scene.look();
    scene.answer(Occasion::OtherPrimary, Remedy::Abstain);
    scene.kill(0);
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(1)));
    assert_eq!(scene.works(), [Work::Promote(NodeId(1))]);
    scene.primary(1, 2, 100 * MB);
    scene.look();
    assert!(
        !scene.commands().iter().any(|(_, node, _)| *node == 2),
        "it is none of ours"
    );
}

#[test]
fn what_is_remembered_gets_no_writes_before_it_is_confirmed() {
    let mut scene = Scene::new();
    scene.state.confirmed = false;
    scene.sights[2].timeline = Some(2);
    scene.look();
    assert!(!scene.state.confirmed, "a replica knows of a later primary");
    scene.sights[2].timeline = Some(1);
    scene.look();
    assert!(scene.state.confirmed);
}

#[test]
fn a_start_waits_for_those_who_may_know_better() {
    let mut scene = Scene::new();
    scene.state = State::new(3);
    scene.now = Duration::from_secs(1);
    scene.kill(1);
    scene.look();
    assert_eq!(scene.reigning(), None);
    scene.wait(10);
    assert_eq!(scene.reigning(), Some(NodeId(0)));
}

#[test]
fn a_failover_command_is_run_once_for_a_failover() {
    let mut scene = Scene::new();
    scene.rules.promote = false;
    scene.rules.failover_command = "promote %H".to_owned();
    scene.kill(0);
    scene.look();
    scene.answer(Occasion::PrimaryLost, Remedy::Promote(NodeId(2)));
    scene.primary(2, 2, 100 * MB);
    scene.wait(1);
    scene.answer(Occasion::PrimaryLost, Remedy::Follow(NodeId(2)));
    let runs = scene.commands();
    let failovers = runs
        .iter()
        .filter(|(kind, _, _)| *kind == CommandKind::Failover);
    assert_eq!(failovers.count(), 1, "{runs:?}");
}

#[test]
fn a_lost_replica_is_detached_and_comes_back() {
    let mut scene = Scene::new();
    scene.rules.failover_command = "x".to_owned();
    scene.rules.failback_command = "y".to_owned();
    scene.kill(2);
    scene.look();
    scene.answer(Occasion::NodeLost, Remedy::Detach(NodeId(2)));
    assert_eq!(scene.standings(), [InService, InService, Detached]);
    scene.replica(2, 0, 100 * MB);
    scene.look();
    scene.answer(Occasion::NodeBack, Remedy::Reattach(NodeId(2)));
    assert_eq!(scene.standings(), [InService; 3]);
    let (out, back) = (CommandKind::Failover, CommandKind::Failback);
    assert_eq!(scene.commands(), [(out, 2, Some(0)), (back, 2, Some(0))]);
}

#[test]
fn a_start_with_two_primaries_takes_the_later_timeline_or_none() {
    for (timelines, expected) in [((1, 2), Some(1)), ((3, 2), Some(0)), ((2, 2), None)] {
        let mut scene = Scene::new();
        scene.state = State::new(3);
        scene.primary(0, timelines.0, 5);
        scene.primary(1, timelines.1, 5);
        scene.look();
        assert_eq!(
            scene.reigning().map(|node| node.0),
            expected,
            "{timelines:?}"
        );
        if expected.is_none() {
            let order = NodeOrder::Promote(NodeId(1));
            scene.event(Event::Order(1, order, "alice".to_owned()));
            assert_eq!(scene.reigning(), Some(NodeId(1)));
        }
    }
}

#[test]
fn a_start_does_not_take_a_primary_that_was_replaced() {
    let mut scene = Scene::new();
    scene.state = State::new(3);
    scene.primary(0, 1, 5);
    scene.kill(1);
    scene.sights[1].observed = true;
    // It follows node 1, which took over from node 0 and does not answer.
    scene.sights[2].timeline = Some(2);
    scene.look();
    assert_eq!(scene.reigning(), None);
    scene.sights[2].timeline = Some(1);
    scene.look();
    assert_eq!(scene.reigning(), Some(NodeId(0)));
}

#[test]
fn a_cluster_that_was_set_up_anew_is_recognised() {
    let mut scene = Scene::new();
    // Another node is the primary of the new one, and not all have answered yet.
    scene.primary(1, 1, 5);
    scene.replica(0, 1, 5);
    scene.replica(2, 1, 5);
    for sight in &mut scene.sights {
        sight.system_identifier = Some(99);
    }
    scene.sights[2].system_identifier = None;
    scene.look();
    assert_eq!(
        scene.reigning(),
        Some(NodeId(0)),
        "node 2 may have the old one"
    );
    scene.sights[2].system_identifier = Some(99);
    scene.wait(1);
    let reign = scene.state.reign.expect("a primary");
    assert_eq!((reign.node, reign.system_identifier), (NodeId(1), Some(99)));
}

/// It stayed fenced for ever: the policy was not told the timeline of a primary that had not answered
/// since the start, and could not tell that another one came after it.
#[test]
fn a_primary_that_was_lost_before_the_start_has_the_timeline_it_is_remembered_with() {
    let mut scene = Scene::new();
    scene.sights[0] = Sight::new(0);
    scene.primary(1, 2, 101 * MB);
    let witness = super::ask::witness(&scene.state, &scene.sights, &scene.sights[0]);
    assert_eq!(witness.timeline, Some(1));
    assert_eq!(witness.system_identifier, Some(7));
}
