//! Tests of the steps: what is in force after files came, time went by and plugins did well or badly.

use std::time::Duration;

use super::super::state::State;
use super::super::world::World;
use super::*;
use crate::testing;

const MINUTE: Duration = Duration::from_secs(60);

fn trap(world: &World, name: &str) {
    let plugin = world.plugin(name);
    let counters = plugin.counters(0);
    counters.calls.add(5);
    counters.failures[0].add(5);
}

fn work(world: &World, name: &str) {
    world.plugin(name).counters(0).calls.add(10_000);
}

#[test]
fn a_version_settles() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1?", "90-router=built-in"]);
    work(&world, "10-a");
    world.after(MINUTE / 2);
    world.check(&["10-a=1?", "90-router=built-in"]);
    assert_eq!(
        world.reports[0].reason,
        "watched for 30 of 60 s, 10000 of 10000 decisions, 0 failures, 0 refusals; nothing before it"
    );
    let generation = world.set.generation;
    world.after(MINUTE / 2);
    world.check(&["10-a=1", "90-router=built-in"]);
    assert_eq!(
        world.set.generation, generation,
        "nothing changed for the workers"
    );
    trap(&world, "10-a");
    world.after(MINUTE);
    world.check(&["10-a=1", "90-router=built-in"]);
}

#[test]
fn a_version_that_fails_goes_back_to_the_last_that_has_proven_itself() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    let first = world.plugin("10-a");
    world.after(10 * MINUTE);
    world.write(&[("10-a", "2", "")]);
    world.write(&[("10-a", "3", "")]);
    world.check(&["10-a=3?", "90-router=built-in"]);
    trap(&world, "10-a");
    world.advance();
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage probation: it failed 5 times in 5 questions (5 trap), after 5 \
         decisions in 0 us; version 1 (6b86b273ff34) decides again",
    ]);
    assert!(
        Arc::ptr_eq(&first, &world.plugin("10-a")),
        "it was still built"
    );
    let loads = world.loader.loads().len();
    world.write(&[("10-a", "3", "")]);
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage probation...",
    ]);
    assert_eq!(world.loader.loads().len(), loads, "it is not tried again");
    world.write(&[("10-a", "4", "")]);
    world.check(&["10-a=4?", "90-router=built-in"]);
}

#[test]
fn a_first_version_that_fails_is_taken_out() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", ""), ("50-router", "own", "")]);
    world.check(&["10-a=1?", "50-router=own?"]);
    trap(&world, "10-a");
    trap(&world, "50-router");
    world.advance();
    world.check(&[
        "90-router=built-in",
        "!10-a: refused at stage probation: ...",
        "!50-router: refused at stage probation: ...",
    ]);
}

#[test]
fn a_first_version_that_nothing_may_pass_without_stays() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "[limits]\non_failure = \"reject\"")]);
    world.check(&["10-a=1?", "90-router=built-in"]);
    trap(&world, "10-a");
    world.advance();
    world.check(&["10-a=1", "90-router=built-in"]);
}

#[test]
fn a_first_version_may_refuse_as_much_as_it_likes() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    work(&world, "10-a");
    world.plugin("10-a").counters(0).refusals.add(10_000);
    world.advance();
    world.check(&["10-a=1?", "90-router=built-in"]);
}

#[test]
fn what_the_proxy_starts_with_is_not_watched() {
    let files = [("10-a", "1", "")];
    let mut world = World::with(testing::settings(), State::default(), &files);
    world.check(&["10-a=1", "90-router=built-in"]);
    world.write(&[("10-a", "2", "[rollout]\nprobation = \"0s\"")]);
    world.check(&["10-a=2", "90-router=built-in"]);
}

#[test]
fn a_renamed_file_goes_back_to_what_it_was() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    world.after(10 * MINUTE);
    world.files.remove("10-a");
    world.write(&[("30-a", "2", "")]);
    world.check(&["30-a=2?", "90-router=built-in"]);
    trap(&world, "30-a");
    world.advance();
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!30-a: refused at stage probation: ...",
    ]);
}

#[test]
fn a_set_is_loaded_whole_or_not_at_all() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    world.after(10 * MINUTE);
    let generation = world.set.generation;
    world.write_set(&[("10-a", "2", ""), ("20-b", "bad", ""), ("30-c", "1", "")]);
    let others = "refused at stage set: 20-b of the same set was refused at stage compile: bad...";
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        &format!("!10-a: {others}"),
        "!20-b: refused at stage compile: bad",
        &format!("!30-c: {others}"),
    ]);
    assert_eq!(
        world.set.generation, generation,
        "nothing was published for the workers"
    );
    world.write(&[("20-b", "1", "")]);
    world.check(&["10-a=2?", "20-b=1?", "30-c=1?", "90-router=built-in"]);
    assert_eq!(world.set.generation.0, generation.0 + 1, "one swap");
}

#[test]
fn a_set_goes_back_together() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", ""), ("40-d", "1", "")]);
    world.after(10 * MINUTE);
    world.write_set(&[("10-a", "2", ""), ("20-b", "1", "")]);
    world.write(&[("40-d", "2", "")]);
    work(&world, "10-a");
    world.after(MINUTE);
    world.check(&["10-a=2?", "20-b=1?", "40-d=2?", "90-router=built-in"]);
    let generation = world.set.generation;
    trap(&world, "20-b");
    world.advance();
    world.check(&[
        "10-a=1",
        "40-d=2?",
        "90-router=built-in",
        "!10-a: refused at stage probation: 20-b of the same set went back: it failed 5 times...",
        "!20-b: refused at stage probation: it failed 5 times...",
    ]);
    assert_eq!(world.set.generation.0, generation.0 + 1, "one swap");
}

#[test]
fn a_set_settles_together() {
    let mut world = World::watched();
    world.write_set(&[("10-a", "1", ""), ("20-b", "1", "")]);
    work(&world, "10-a");
    world.after(MINUTE);
    world.check(&["10-a=1?", "20-b=1?", "90-router=built-in"]);
    work(&world, "20-b");
    world.advance();
    world.check(&["10-a=1", "20-b=1", "90-router=built-in"]);
}

#[test]
fn a_set_waits_for_the_shadow_of_one() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "")]);
    world.after(10 * MINUTE);
    let shadow = "[rollout]\nshadow = \"10%\"\nshadow_time = \"1m\"";
    world.write_set(&[("10-a", "2", shadow), ("20-b", "1", "")]);
    world.check(&["10-a=1", "90-router=built-in", "~10-a=2", "~20-b=1"]);
    assert_eq!(
        world.reports[1].reason,
        "asked about 10% of the statements for 0 of 60 s: 0 of 1000, 0 answered in another way \
         (0%), no failures"
    );
    world.after(MINUTE);
    world.check(&["10-a=2?", "20-b=1?", "90-router=built-in"]);
}

#[test]
fn putting_back_what_is_live_ends_a_shadow() {
    let mut world = World::watched();
    world.settings.plugins.rollout.shadow_share = 0.5;
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1?", "90-router=built-in"]);
    world.write(&[("10-a", "2", "")]);
    world.check(&["10-a=1?", "90-router=built-in", "~10-a=2"]);
    assert_eq!(world.registry.shadows().len(), 1);
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1?", "90-router=built-in"]);
    assert!(world.registry.shadows().is_empty());
}

#[test]
fn only_components_of_the_list_are_loaded() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    world.settings.plugins.allow = vec![super::super::sha256(b"2")];
    world.write(&[("10-a", "2", ""), ("20-b", "3", "")]);
    world.check(&[
        "10-a=2",
        "90-router=built-in",
        "!20-b: refused at stage verify: its SHA-256 4e07408562be...",
    ]);
    assert!(
        !world.loader.loads().contains(&"20-b=3".to_owned()),
        "it was not even loaded"
    );
    world.settings.plugins.allow.clear();
    world.registry.forget_allowed();
    world.advance();
    world.check(&["10-a=2", "20-b=3", "90-router=built-in"]);
}

#[test]
fn what_went_back_stays_away_after_a_restart() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", "[config]\nx = 1")]);
    world.after(10 * MINUTE);
    world.write(&[("10-a", "1", "[config]\nx = 2")]);
    trap(&world, "10-a");
    world.advance();
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage probation: ...",
    ]);
    let state = world.registry.take_state().expect("something to keep");
    assert!(world.registry.take_state().is_none(), "nothing new");
    let bad = [("10-a", "1", "[config]\nx = 2")];
    let world = World::with(testing::settings(), state, &bad);
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage probation: it went back before...",
    ]);
    let loads = world.loader.loads.lock().expect("not poisoned");
    assert_eq!(
        loads
            .iter()
            .map(|(.., config)| config.as_str())
            .collect::<Vec<_>>(),
        ["{\"x\":1}", "{}"]
    );
}

#[test]
fn what_stays_though_it_failed_is_told_once() {
    let mut world = World::watched();
    let strict = "[limits]\non_failure = \"reject\"";
    world.write_set(&[("10-a", "1", strict), ("20-b", "1", "")]);
    world.check(&["10-a=1?", "20-b=1?", "90-router=built-in"]);
    let plugin = world.plugin("10-a");
    let counters = plugin.counters(0);
    counters.calls.add(10);
    counters.failures[0].add(10);
    world.advance();
    // Not judged, so not told, again while the other is watched.
    world.check(&["10-a=1", "20-b=1?", "90-router=built-in"]);
}
