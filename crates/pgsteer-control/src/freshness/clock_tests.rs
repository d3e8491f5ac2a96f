//! Tests of the clock: tables, and a property against a model that knows the truth.

use proptest::prelude::*;

use super::*;

const PRIMARY: NodeId = NodeId(0);
const REPLICA: NodeId = NodeId(1);

fn clock() -> Clock {
    let mut clock = Clock::new(2, Patience::default());
    clock.set_roles(&[Role::Primary, Role::Replica], Some(PRIMARY));
    clock
}

fn sampled(clock: &mut Clock, moment: u64, position: u64) {
    let sample = Sample {
        moment: Moment(moment),
        position,
    };
    clock.sampled(sample, Some(1));
}

fn replayed(clock: &mut Clock, moment: u64, position: u64) {
    clock.replayed(REPLICA, Moment(moment), position);
}

/// `as_of`, lag in bytes, lag in microseconds.
fn reading(clock: &Clock, node: NodeId, now: u64) -> (u64, Option<u64>, Option<u128>) {
    let reading = clock.reading(node, Moment(now));
    let lag = reading.lag.map(|lag| lag.as_micros());
    (reading.as_of.0, reading.lag_bytes, lag)
}

#[test]
fn a_replica_is_fresh_as_of_what_it_replayed() {
    let mut clock = clock();
    assert_eq!(reading(&clock, REPLICA, 5), (0, None, None));
    sampled(&mut clock, 10, 100);
    replayed(&mut clock, 11, 50);
    assert_eq!(reading(&clock, REPLICA, 15), (0, Some(50), None));
    replayed(&mut clock, 20, 100);
    assert_eq!(reading(&clock, REPLICA, 25), (10, Some(0), Some(0)));
    sampled(&mut clock, 30, 100);
    assert_eq!(reading(&clock, REPLICA, 35), (30, Some(0), Some(0)));
    sampled(&mut clock, 40, 300);
    assert_eq!(reading(&clock, REPLICA, 45), (30, Some(200), Some(15)));
    assert_eq!(reading(&clock, PRIMARY, 45), (0, Some(0), Some(0)));
}

#[test]
fn whatever_makes_a_node_another_one_resets_it() {
    type Change = fn(&mut Clock);
    let cases: [(&str, Change); 6] = [
        ("connection lost", |clock| clock.lost(REPLICA)),
        ("down", |clock| {
            clock.set_roles(&[Role::Primary, Role::Unknown], Some(PRIMARY));
        }),
        ("promoted", |clock| {
            clock.set_roles(&[Role::Unknown, Role::Primary], Some(REPLICA));
        }),
        ("another primary", |clock| {
            clock.set_roles(&[Role::Primary, Role::Replica], Some(NodeId(2)));
        }),
        ("another timeline", |clock| {
            let sample = Sample {
                moment: Moment(20),
                position: 100,
            };
            clock.sampled(sample, Some(2));
        }),
        ("a primary that lost WAL", |clock| sampled(clock, 20, 90)),
    ];
    for (name, change) in cases {
        let mut clock = clock();
        sampled(&mut clock, 10, 100);
        replayed(&mut clock, 11, 100);
        assert_eq!(reading(&clock, REPLICA, 15).0, 10, "{name}");
        change(&mut clock);
        assert_eq!(reading(&clock, REPLICA, 25).0, 0, "{name}");
    }
}

#[test]
fn a_primary_that_is_away_changes_nothing() {
    let mut clock = clock();
    sampled(&mut clock, 10, 100);
    replayed(&mut clock, 11, 100);
    clock.set_roles(&[Role::Unknown, Role::Replica], None);
    clock.lost(PRIMARY);
    assert_eq!(reading(&clock, REPLICA, 25).0, 10);
    assert_eq!(reading(&clock, PRIMARY, 25), (0, None, None));
    clock.set_roles(&[Role::Primary, Role::Replica], Some(PRIMARY));
    assert_eq!(reading(&clock, REPLICA, 25).0, 10);
    // Behind for a minute, but nobody was there to follow: it gets its time.
    let later = 60_000_000;
    sampled(&mut clock, later, 200);
    clock.received(REPLICA, Receiver::Absent);
    replayed(&mut clock, later + 1, 100);
    assert_eq!(clock.judge(REPLICA, Moment(later + 2)), None);
}

#[test]
fn a_position_beyond_the_last_sample_waits_for_the_next_one() {
    let mut clock = clock();
    sampled(&mut clock, 10, 100);
    replayed(&mut clock, 11, 150);
    assert_eq!(reading(&clock, REPLICA, 15).0, 0, "not proven");
    sampled(&mut clock, 20, 200);
    assert_eq!(reading(&clock, REPLICA, 25).0, 10, "confirmed");

    clock.received(REPLICA, Receiver::Present(Some(1)));
    replayed(&mut clock, 26, 250);
    assert_eq!(reading(&clock, REPLICA, 27).0, 20, "streams from there");
}

#[test]
fn a_replica_that_is_ahead_is_astray_until_it_was_mended() {
    let mut clock = clock();
    replayed(&mut clock, 5, 500);
    sampled(&mut clock, 10, 100);
    let verdict = clock.judge(REPLICA, Moment(11));
    assert!(matches!(verdict, Some(Verdict::Astray(_))), "{verdict:?}");
    assert_eq!(clock.follows(), [true, false]);
    // The primary writes on and passes it.
    sampled(&mut clock, 20, 600);
    replayed(&mut clock, 25, 500);
    assert_eq!(clock.judge(REPLICA, Moment(30)), None);
    assert_eq!(reading(&clock, REPLICA, 30), (0, None, None));
    // It is restored and streams again.
    clock.lost(REPLICA);
    clock.received(REPLICA, Receiver::Present(Some(1)));
    replayed(&mut clock, 40, 610);
    assert_eq!(clock.judge(REPLICA, Moment(41)), Some(Verdict::Follows));
    assert_eq!(reading(&clock, REPLICA, 41).0, 20);
}

#[test]
fn rounds_come_faster_while_a_replica_is_about_to_arrive() {
    let mut clock = clock();
    sampled(&mut clock, 1_000_000, 100);
    replayed(&mut clock, 1_000_001, 100);
    let pace = |latest_write, now| clock.pace(Moment(latest_write), Moment(now)).as_millis();
    assert_eq!(pace(0, 1_100_000), 200, "nobody writes");
    assert_eq!(pace(1_050_000, 1_100_000), 5);
    assert_eq!(pace(1_050_000, 2_600_000), 40);
    assert_eq!(pace(1_050_000, 60_000_000), 200, "far behind");
}

#[derive(Clone, Debug)]
enum Event {
    Write(u64),
    // Written between the note of the moment and the answer.
    Sample(u64),
    // Replays so many percent of what is missing.
    Replay(u64),
    Report,
    Receiver(bool),
    Lost,
    Promote,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u64..500).prop_map(Event::Write),
        4 => (0_u64..100).prop_map(Event::Sample),
        3 => (0_u64..=100).prop_map(Event::Replay),
        4 => Just(Event::Report),
        1 => any::<bool>().prop_map(Event::Receiver),
        1 => Just(Event::Lost),
        1 => Just(Event::Promote),
    ]
}

/// The truth: where the primary was at each moment, and how far the replica is.
struct Model {
    clock: Clock,
    now: u64,
    history: Vec<(u64, u64)>,
    position: u64,
    replayed: u64,
    timeline: u32,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        self.now += 10;
        match event {
            Event::Write(bytes) => self.position += bytes,
            Event::Sample(between) => {
                let moment = Moment(self.now);
                self.history.push((self.now, self.position));
                self.position += between;
                let position = self.position;
                self.clock
                    .sampled(Sample { moment, position }, Some(self.timeline));
            }
            Event::Replay(percent) => {
                self.replayed += (self.position - self.replayed) * percent / 100;
            }
            Event::Report => {
                self.clock
                    .replayed(REPLICA, Moment(self.now), self.replayed);
            }
            Event::Receiver(there) => {
                let receiver = if *there {
                    Receiver::Present(Some(self.timeline))
                } else {
                    Receiver::Absent
                };
                self.clock.received(REPLICA, receiver);
            }
            Event::Lost => self.clock.lost(REPLICA),
            Event::Promote => {
                // Another history from where the replica is; the next sample tells of it.
                self.timeline += 1;
                self.position = self.replayed;
                self.history.clear();
                self.history.push((self.now, self.position));
                let moment = Moment(self.now);
                let position = self.position;
                self.clock
                    .sampled(Sample { moment, position }, Some(self.timeline));
            }
        }
    }

    /// Everything acknowledged before `as_of` is replayed.
    fn is_true(&self, as_of: u64) -> bool {
        let mut at = self.history.iter().rev();
        let at = at.find(|(moment, _)| *moment <= as_of);
        as_of == 0 || at.is_some_and(|(_, position)| *position <= self.replayed)
    }
}

proptest! {
    #[test]
    fn never_too_fresh_and_never_backward(events in proptest::collection::vec(event(), 1..200)) {
        let mut model = Model {
            clock: clock(),
            now: 0,
            history: Vec::new(),
            position: 1000,
            replayed: 0,
            timeline: 1,
        };
        let mut before = 0;
        for event in &events {
            model.apply(event);
            model.clock.judge(REPLICA, Moment(model.now));
            let as_of = model.clock.reading(REPLICA, Moment(model.now)).as_of.0;
            prop_assert!(model.is_true(as_of), "{event:?}: as of {as_of}");
            let resets = matches!(event, Event::Lost | Event::Promote);
            prop_assert!(as_of >= before || resets, "{event:?}: {before} then {as_of}");
            before = as_of;
        }
        prop_assert!(model.clock.follows()[1]);
    }
}
