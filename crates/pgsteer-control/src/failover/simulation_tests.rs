//! The failover machine against a world that does what it likes: nodes die, freeze, come back,
//! are promoted behind its back; the policy answers anything. Whatever happens, the rules hold.

use std::time::Duration;

use pgsteer_core::admin::NodeOrder;
use pgsteer_core::policy::{Receiver, Remedy};
use pgsteer_core::topology::Standing;
use pgsteer_core::{NodeId, Role};
use proptest::prelude::*;

use super::sight::Sight;
use super::state::{Action, Event, Outcome, Phase, Work};
use super::step_tests::Scene;

/// Something that happens.
#[derive(Clone, Debug)]
enum Twist {
    Kill(u16),
    /// It comes back as what it was, or as a replica of the one that counts as the primary.
    Return(u16, bool),
    PromoteByHand(u16),
    /// It is new to the proxy, and was not asked yet.
    Unknown(u16),
    /// The policy answers whatever it was asked.
    Answer(u8, u16),
    /// The oldest task ends well, badly, or nobody knows how.
    Finish(u8),
    Order(u8, u16),
    Write(u16),
    Time(u16),
}

fn twist() -> impl Strategy<Value = Twist> {
    let node = || 0u16..3;
    prop_oneof![
        node().prop_map(Twist::Kill),
        (node(), any::<bool>()).prop_map(|(node, follows)| Twist::Return(node, follows)),
        node().prop_map(Twist::PromoteByHand),
        node().prop_map(Twist::Unknown),
        (any::<u8>(), node()).prop_map(|(what, node)| Twist::Answer(what, node)),
        (any::<u8>(), node()).prop_map(|(what, node)| Twist::Answer(what, node)),
        any::<u8>().prop_map(Twist::Finish),
        (any::<u8>(), node()).prop_map(|(what, node)| Twist::Order(what, node)),
        (1u16..1000).prop_map(Twist::Write),
        (1u16..40_000).prop_map(Twist::Time),
    ]
}

struct World {
    scene: Scene,
    tasks: Vec<Work>,
    timeline: u32,
    lsn: u64,
    orders: u64,
    replies: u64,
}

impl World {
    fn new() -> Self {
        Self {
            scene: Scene::new(),
            tasks: Vec::new(),
            timeline: 1,
            lsn: 100 << 20,
            orders: 0,
            replies: 0,
        }
    }

    fn play(&mut self, twist: &Twist) {
        match twist {
            Twist::Kill(node) => self.scene.kill(*node),
            Twist::Return(node, follows) => self.come_back(*node, *follows),
            Twist::PromoteByHand(node) => self.promote(*node),
            Twist::Unknown(node) => self.scene.sights[usize::from(*node)] = Sight::new(*node),
            Twist::Answer(what, node) => self.answer(*what, NodeId(*node)),
            Twist::Finish(how) => self.finish(*how),
            Twist::Order(what, node) => self.order(*what, NodeId(*node)),
            Twist::Write(bytes) => self.lsn += u64::from(*bytes),
            Twist::Time(milliseconds) => {
                self.scene.now += Duration::from_millis(u64::from(*milliseconds));
            }
        }
        self.scene.look();
        self.check();
    }

    fn come_back(&mut self, node: u16, follows: bool) {
        let sight = &self.scene.sights[usize::from(node)];
        let reign = self.scene.state.reign.map(|reign| reign.node.0);
        match reign.filter(|reign| follows && *reign != node) {
            Some(primary) => self.scene.replica(node, primary, self.lsn),
            None if sight.role == Role::Primary => {
                let timeline = sight.timeline.unwrap_or(1);
                self.scene.primary(node, timeline, self.lsn);
            }
            None => {
                let timeline = sight.timeline;
                self.scene.replica(node, node, self.lsn);
                let sight = &mut self.scene.sights[usize::from(node)];
                (sight.receiver, sight.timeline) = (Receiver::None, timeline);
            }
        }
    }

    fn promote(&mut self, node: u16) {
        if self.scene.sights[usize::from(node)].is_replica() {
            self.timeline += 1;
            self.scene.primary(node, self.timeline, self.lsn);
        }
    }

    fn answer(&mut self, what: u8, node: NodeId) {
        let Some(question) = self.scene.state.question else {
            return;
        };
        let remedy = match what % 7 {
            0 => Ok(Remedy::Abstain),
            1 => Ok(Remedy::Wait(u32::from(what))),
            2 => Ok(Remedy::Follow(node)),
            3 => Ok(Remedy::Detach(node)),
            4 => Ok(Remedy::Reattach(node)),
            5 => Err("trapped".to_owned()),
            _ => Ok(Remedy::Promote(node)),
        };
        self.scene.event(Event::Advice(question.id, remedy));
    }

    fn finish(&mut self, how: u8) {
        if self.tasks.is_empty() {
            return;
        }
        let work = self.tasks.remove(0);
        let outcome = match how % 4 {
            0 => Outcome::Failed("no".to_owned()),
            1 => Outcome::Unknown("who knows".to_owned()),
            _ => match &work {
                Work::Position(_) => Outcome::Position(self.lsn),
                _ => Outcome::Done,
            },
        };
        if let (Work::Promote(node), true) = (&work, !how.is_multiple_of(4)) {
            self.promote(node.0);
        }
        if let (Work::Command(command), Outcome::Done) = (&work, &outcome)
            && command.kind == super::state::CommandKind::Demote
        {
            self.scene.kill(command.node.0);
        }
        self.scene.event(Event::Done(work, outcome));
    }

    fn order(&mut self, what: u8, node: NodeId) {
        let order = match what % 4 {
            0 => NodeOrder::Attach(node),
            1 => NodeOrder::Detach(node),
            2 => NodeOrder::Promote(node),
            _ => NodeOrder::Switchover(node),
        };
        self.orders += 1;
        self.scene
            .event(Event::Order(self.orders + 1_000_000, order, "x".to_owned()));
    }

    /// What must hold whatever happened.
    fn check(&mut self) {
        for action in std::mem::take(&mut self.scene.actions) {
            match action {
                Action::Run(work) => {
                    if let Work::Promote(node) = &work {
                        self.check_promotion(*node);
                    }
                    self.tasks.push(work);
                }
                Action::Reply(..) => self.replies += 1,
                _ => {}
            }
        }
        let state = &self.scene.state;
        // Nobody but the one that counts as the primary serves as one, once that was asked about.
        for (sight, tenure) in self.scene.sights.iter().zip(&state.nodes) {
            let pretends = sight.is_primary() && !state.is_reigning(sight.id);
            if pretends && state.reign.is_some() && tenure.judged {
                let is_promoting = matches!(&state.phase,
                    Phase::Promoting(promotion) if promotion.node == sight.id);
                assert!(
                    is_promoting || tenure.standing != Standing::InService,
                    "node {} is a second primary: {state:?}",
                    sight.id
                );
            }
        }
        // Every order is answered once, at the latest when what it began has ended.
        let waiting = matches!(&state.phase, Phase::Switching(_))
            || matches!(&state.phase, Phase::Promoting(p) if p.order.is_some());
        assert_eq!(self.orders, self.replies + u64::from(waiting), "{state:?}");
    }

    /// The old primary gets nothing any more when another node is promoted, and nobody else may have
    /// more without our knowledge.
    fn check_promotion(&self, node: NodeId) {
        let state = &self.scene.state;
        if let Some(reign) = state.reign.filter(|reign| reign.node != node) {
            let standing = state.nodes[reign.node.index()].standing;
            assert_eq!(standing, Standing::Fenced, "{state:?}");
            let old = &self.scene.sights[reign.node.index()];
            assert!(!old.is_primary(), "two primaries: {state:?}");
            let others = self.scene.sights.iter().filter(|s| s.id != reign.node);
            for other in others {
                assert!(other.up || other.down, "nobody knows {other:?}: {state:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_rules_hold_whatever_happens(twists in proptest::collection::vec(twist(), 1..120)) {
        let mut world = World::new();
        for twist in &twists {
            world.play(twist);
        }
    }
}
