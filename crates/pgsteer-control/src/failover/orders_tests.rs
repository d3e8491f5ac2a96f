//! What operators order of the failover machine, scene by scene.

use pgsteer_core::admin::NodeOrder;
use pgsteer_core::policy::{Occasion, Receiver, Remedy};
use pgsteer_core::topology::{Activity, Standing};
use pgsteer_core::{NodeId, Role};

use super::sight::Sight;
use super::state::{CommandKind, Event, Outcome, Phase, State, Work};
use super::step_tests::{MB, Scene};

use Standing::{Closing, Detached, Fenced, InService};

#[test]
fn nobody_lifts_the_fence_of_the_old_primary_during_a_promotion() {
    let mut scene = Scene::promoting();
    scene.primary(0, 1, 100 * MB);
    let attach = NodeOrder::Attach(NodeId(0));
    scene.event(Event::Order(5, attach, "alice".to_owned()));
    assert_eq!(scene.standings()[0], Fenced);
    assert!(scene.replies()[0].is_err());
}

#[test]
fn an_operator_chooses_from_what_is_left() {
    let mut scene = Scene::promoting();
    scene.primary(1, 2, 100 * MB);
    scene.look();
    // The new primary is gone for good; what is left is on the timeline before.
    scene.kill(1);
    scene.kill(2);
    scene.primary(0, 1, 100 * MB);
    scene.wait(1);
    scene.order(7, NodeOrder::Promote(NodeId(0)));
    assert_eq!(scene.reigning(), Some(NodeId(0)));
    assert_eq!(scene.standings()[0], InService);
}

#[test]
fn an_order_to_promote_is_answered_where_no_primary_was_known() {
    let mut scene = Scene::new();
    scene.state = State::new(3);
    scene.kill(0);
    scene.look();
    assert_eq!(scene.reigning(), None);
    scene.order(3, NodeOrder::Promote(NodeId(1)));
    assert_eq!(scene.works(), [Work::Promote(NodeId(1))]);
    scene.primary(1, 2, 100 * MB);
    scene.look();
    assert_eq!(scene.reigning(), Some(NodeId(1)));
    assert!(scene.replies()[0].is_ok());
    assert!(scene.works().contains(&Work::Repoint(NodeId(2), NodeId(1))));
}

#[test]
fn an_order_to_promote_is_refused_while_a_replica_hears_from_a_primary_nobody_knows() {
    let mut scene = Scene::new();
    scene.state = State::new(3);
    let sight = &mut scene.sights[0];
    (sight.up, sight.down, sight.failures, sight.role) = (false, true, 3, Role::Unknown);
    scene.look();
    scene.order(3, NodeOrder::Promote(NodeId(1)));
    assert!(scene.works().is_empty());
    assert!(scene.replies()[0].is_err());
}

#[test]
fn what_an_operator_took_out_only_an_operator_brings_back() {
    let mut scene = Scene::new();
    scene.order(1, NodeOrder::Detach(NodeId(1)));
    assert_eq!(scene.standings(), [InService, Detached, InService]);
    scene.wait(100);
    assert_eq!(scene.state.question, None);
    scene.order(2, NodeOrder::Attach(NodeId(1)));
    assert_eq!(scene.standings(), [InService; 3]);
    scene.order(3, NodeOrder::Attach(NodeId(7)));
    assert!(scene.replies()[2].is_err());
}

#[test]
fn a_policy_does_not_bring_back_what_an_operator_took_out() {
    let mut scene = Scene::new();
    scene.order(1, NodeOrder::Detach(NodeId(2)));
    scene.kill(1);
    scene.look();
    scene.answer(Occasion::NodeLost, Remedy::Reattach(NodeId(2)));
    assert_eq!(scene.standings()[2], Detached);
    assert!(scene.state.refused.contains("operator"));
}

#[test]
fn a_switchover_does_not_begin_while_a_node_is_unknown() {
    let mut scene = Scene::new();
    scene.sights[2] = Sight::new(2);
    scene.order(1, NodeOrder::Switchover(NodeId(1)));
    let why = scene.replies()[0].clone().expect_err("it is refused");
    assert!(why.contains("node 2 has not answered yet"), "{why}");
    assert_eq!(scene.works(), []);
}

fn switchover(scene: &mut Scene) {
    scene.order(1, NodeOrder::Switchover(NodeId(1)));
    assert_eq!(scene.works(), [Work::Checkpoint(NodeId(0))]);
    scene.sights[0].connections = 2;
    scene.event(Event::Done(Work::Checkpoint(NodeId(0)), Outcome::Done));
    assert_eq!(scene.standings(), [Closing, InService, InService]);
    assert_eq!(
        scene.state.activity(),
        Activity::Switchover(NodeId(0), NodeId(1))
    );
}

/// Nothing runs there any more: the command that stops the old primary is under way.
fn demoting(scene: &mut Scene) -> Work {
    scene.sights[0].connections = 0;
    scene.look();
    let position = Outcome::Position(100 * MB);
    scene.event(Event::Done(Work::Position(NodeId(0)), position));
    scene.works().pop().expect("a command")
}

#[test]
fn a_switchover_waits_stops_promotes_and_releases() {
    let mut scene = Scene::new();
    switchover(&mut scene);
    scene.wait(1);
    assert_eq!(scene.works().len(), 1, "two transactions run");
    scene.sights[0].connections = 0;
    scene.look();
    assert_eq!(scene.works()[1..], [Work::Position(NodeId(0))]);
    let position = Outcome::Position(100 * MB + 5);
    scene.event(Event::Done(Work::Position(NodeId(0)), position));
    assert_eq!(scene.commands(), [(CommandKind::Demote, 0, Some(1))]);
    let demote = scene.works().pop().expect("a command");
    scene.kill(0);
    scene.event(Event::Done(demote, Outcome::Done));
    scene.look();
    assert_eq!(scene.works().len(), 3, "the last bytes are missing");
    scene.sights[1].received = Some(100 * MB + 5);
    scene.look();
    assert_eq!(scene.works()[3..], [Work::Promote(NodeId(1))]);
    scene.primary(1, 2, 100 * MB + 5);
    scene.look();
    assert_eq!(scene.standings(), [Fenced, InService, InService]);
    assert_eq!(scene.reigning(), Some(NodeId(1)));
    assert!(scene.replies()[0].is_ok());
}

#[test]
fn a_switchover_ends_what_takes_too_long() {
    let mut scene = Scene::new();
    switchover(&mut scene);
    scene.wait(11);
    assert_eq!(scene.state.nodes[0].severances, 1);
    scene.sights[0].connections = 0;
    scene.look();
    assert_eq!(scene.works()[1..], [Work::Position(NodeId(0))]);
}

#[test]
fn a_switchover_does_not_promote_while_the_old_primary_is_heard() {
    let mut scene = Scene::new();
    switchover(&mut scene);
    let demote = demoting(&mut scene);
    // The command did not reach it, nor do we; the replicas do.
    let sight = &mut scene.sights[0];
    (sight.up, sight.down, sight.failures) = (false, true, 3);
    scene.event(Event::Done(demote, Outcome::Failed("no route".to_owned())));
    scene.wait(31);
    assert!(!scene.works().contains(&Work::Promote(NodeId(1))));
    assert!(scene.replies()[0].is_err());
}

#[test]
fn a_switchover_whose_primary_is_not_demoted_is_taken_back() {
    let mut scene = Scene::new();
    switchover(&mut scene);
    let demote = demoting(&mut scene);
    scene.event(Event::Done(demote, Outcome::Failed("exit 1".to_owned())));
    scene.wait(31);
    assert_eq!(scene.standings(), [InService; 3]);
    assert_eq!(scene.state.phase, Phase::Calm);
    let answer = scene.replies().pop().expect("an answer");
    assert!(answer.expect_err("failed").contains("still up"));
    let promoted = scene.works().contains(&Work::Promote(NodeId(1)));
    assert!(!promoted);
}

#[test]
fn switchovers_that_cannot_be_are_refused_with_a_reason() {
    type Change = fn(&mut Scene);
    let cases: [(u16, Change, &str); 6] = [
        (0, |_| {}, "already"),
        (9, |_| {}, "no node 9"),
        (1, |s| s.rules.demote_command.clear(), "demote_command"),
        (1, |s| s.kill(1), "not a replica"),
        (1, |s| s.kill(0), "pgsteer node promote 1"),
        (1, |s| s.sights[1].receiver = Receiver::None, "stream"),
    ];
    for (to, change, why) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.order(1, NodeOrder::Switchover(NodeId(to)));
        let refusal = scene
            .replies()
            .pop()
            .expect("an answer")
            .expect_err("refused");
        assert!(refusal.contains(why), "{refusal}");
        assert!(scene.works().is_empty());
    }
}
