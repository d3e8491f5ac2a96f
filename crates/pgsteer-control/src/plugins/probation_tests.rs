//! Tests of the judge: counts in, verdict out.

use std::time::Duration;

use super::super::rollout::Force;
use super::super::world::World;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What a version did, after how many seconds.
struct Deeds {
    calls: u64,
    cached: u64,
    traps: u64,
    refusals: u64,
    time: Duration,
    seconds: u32,
}

const GOOD: Deeds = Deeds {
    calls: 20_000,
    cached: 0,
    traps: 0,
    refusals: 0,
    time: Duration::from_micros(1),
    seconds: 30,
};

fn do_deeds(plugin: &Plugin, deeds: &Deeds) {
    let counters = plugin.counters(0);
    counters.calls.add(deeds.calls);
    counters.cached.add(deeds.cached);
    counters.failures[0].add(deeds.traps);
    counters.refusals.add(deeds.refusals);
    for _ in 0..deeds.calls / 16 {
        counters.times.note(deeds.time);
    }
}

/// A version with another before it that refuses 1 % of all.
fn judged(deeds: &Deeds) -> Verdict {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    let old = world.plugin("10-a");
    do_deeds(
        &old,
        &Deeds {
            refusals: 200,
            ..GOOD
        },
    );
    world.after(61 * SECOND);
    world.write(&[("10-a", "2", "")]);
    world.check(&["10-a=2?", "90-router=built-in"]);
    let plugin = world.plugin("10-a");
    let entry = world.registry.entries.values_mut().next().expect("one");
    let rollout = &world.settings.plugins.rollout;
    let Force::Probation(_, probation) = &mut entry.force else {
        panic!("it is watched");
    };
    do_deeds(&plugin, deeds);
    probation.judge(&plugin, rollout, world.now + deeds.seconds * SECOND)
}

/// What the judge should say.
enum Expected {
    Watched,
    Settled,
    Failed(&'static str),
}

use Expected::{Failed, Settled, Watched};

#[rustfmt::skip]
const VERDICTS: &[(&str, Deeds, Expected)] = &[
    ("in the middle", GOOD, Watched),
    ("time and decisions", Deeds { seconds: 60, ..GOOD }, Settled),
    ("few decisions", Deeds { calls: 9_000, seconds: 60, ..GOOD }, Watched),
    ("cached ones count", Deeds { calls: 9_000, cached: 1_000, seconds: 60, ..GOOD }, Settled),
    ("few for long", Deeds { calls: 3, seconds: 599, ..GOOD }, Watched),
    ("few for too long", Deeds { calls: 3, seconds: 600, ..GOOD }, Settled),
    ("some failures", Deeds { calls: 50, traps: 4, ..GOOD }, Watched),
    ("few of very many", Deeds { traps: 4, ..GOOD }, Watched),
    ("failures from the start", Deeds { calls: 50, traps: 5, ..GOOD },
        Failed("it failed 5 times in 50 questions (5 trap), after 50 decisions in 30 s")),
    ("failures after many good answers", Deeds { traps: 7, ..GOOD },
        Failed("it failed 7 times in 20000 questions (7 trap), after 20000 decisions in 30 s")),
    ("few refusals", Deeds { refusals: 1_100, ..GOOD }, Watched),
    ("many more refusals", Deeds { refusals: 1_300, ..GOOD },
        Failed("it refused 1300 (6.5% of all), the version before it 1% (refusals_max is 5%), \
                after 20000 decisions in 30 s")),
    ("too few to judge refusals", Deeds { calls: 90, refusals: 90, ..GOOD }, Watched),
    ("slow", Deeds { time: Duration::from_millis(11), ..GOOD },
        Failed("one answer in a hundred took 12.6 ms or longer (slow_max is 10 ms), after 20000 \
                decisions in 30 s")),
    ("slow from the start", Deeds { calls: 160, time: Duration::from_millis(30), ..GOOD },
        Failed("every other answer took 33.6 ms or longer (slow_max is 10 ms), after 160 \
                decisions in 30 s")),
    ("slow, seldom asked", Deeds { calls: 100, time: Duration::from_millis(30), ..GOOD }, Watched),
];

#[test]
fn verdicts() {
    for (name, deeds, expected) in VERDICTS {
        let expected = match expected {
            Watched => Verdict::Watched,
            Settled => Verdict::Settled,
            Failed(reason) => Verdict::Failed((*reason).to_owned()),
        };
        assert_eq!(judged(deeds), expected, "{name}");
    }
}

#[test]
fn failures_that_trickle_are_forgiven() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    let plugin = world.plugin("10-a");
    for _ in 0..40 {
        do_deeds(
            &plugin,
            &Deeds {
                calls: 200,
                traps: 1,
                ..GOOD
            },
        );
        world.advance();
        world.check(&["10-a=1?", "90-router=built-in"]);
    }
}

#[test]
fn a_plugin_that_is_left_alone_for_good_goes_back() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    world.after(600 * SECOND);
    world.write(&[("10-a", "2", "")]);
    let plugin = world.plugin("10-a");
    for second in 0..3 {
        plugin.note_rest(world.now + second * SECOND);
    }
    world.advance();
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage probation: it was left alone three times within an hour...",
    ]);
}
