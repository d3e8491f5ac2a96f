//! Tests of orders: what an operator says, what is answered, what is in force then.

use std::time::Duration;

use pgsteer_core::admin::Order;

use super::super::state::State;
use super::super::world::World;
use crate::testing;

const MINUTE: Duration = Duration::from_secs(60);

fn obey(world: &mut World, order: Order) -> String {
    let answer = world
        .registry
        .obey(&order, "alice", &world.settings, world.now);
    world.advance();
    match answer {
        Ok(lines) => lines.join("\n"),
        Err(reason) => format!("ERROR {reason}"),
    }
}

fn name() -> String {
    "a".to_owned()
}

/// Versions 1 and 2 have proven themselves, 3 is watched.
fn world() -> World {
    let mut world = World::watched();
    for text in ["1", "2", "3"] {
        world.after(10 * MINUTE);
        world.write(&[("10-a", text, "")]);
    }
    world.check(&["10-a=3?", "90-router=built-in"]);
    world
}

#[test]
fn a_rollback_pins() {
    let mut world = world();
    assert_eq!(
        obey(&mut world, Order::Rollback(name())),
        "10-a: version 2 (d4735e3a265e) decides again, in the place of version 3 (4e07408562be)\n\
         it is pinned: newer files wait for PGSTEER PLUGIN 10-a UNPIN"
    );
    world.check(&[
        "10-a=2",
        "90-router=built-in",
        "!10-a: refused at stage probation: alice rolled it back; version 2 (d4735e3a265e)...",
    ]);
    assert!(world.reports[0].pinned);
    world.write(&[("10-a", "4", "")]);
    world.check(&["10-a=2", "90-router=built-in", "!10-a: refused..."]);
    let answer = obey(&mut world, Order::Rollback(name()));
    assert!(
        answer.starts_with("10-a: version 1 (6b86b273ff34) decides again"),
        "{answer}"
    );
    let answer = obey(&mut world, Order::Rollback(name()));
    assert!(
        answer.starts_with("ERROR 10-a: there is no version to go back to"),
        "{answer}"
    );
    let answer = obey(&mut world, Order::Unpin(name()));
    assert!(
        answer.starts_with("10-a: newer files are taken again"),
        "{answer}"
    );
    world.check(&["10-a=4?", "90-router=built-in"]);
    world.write(&[("10-a", "3", "")]);
    world.check(&[
        "10-a=4?",
        "90-router=built-in",
        "!10-a: refused at stage probation: it went back...",
    ]);
    obey(&mut world, Order::Enable(name()));
    world.check(&["10-a=3?", "90-router=built-in"]);
}

#[test]
fn a_pinned_plugin_stays() {
    let mut world = world();
    obey(&mut world, Order::Pin("10-a".to_owned()));
    world.write(&[("10-a", "4", "")]);
    world.settings.plugins.limits.memory_bytes_max += 1;
    world.advance();
    world.check(&["10-a=3?", "90-router=built-in?"]);
    world.files.remove("10-a");
    world.write(&[("20-a", "5", "")]);
    world.check(&["10-a=3?", "90-router=built-in?"]);
    let answer = obey(&mut world, Order::Shadow("20-a".to_owned(), 1.0));
    assert!(
        answer.contains("its next version is asked beside it"),
        "{answer}"
    );
    obey(&mut world, Order::Shadow("20-a".to_owned(), 0.0));
    let answer = obey(&mut world, Order::Unpin("20-a".to_owned()));
    assert_eq!(answer, "20-a: newer files are taken again");
    world.check(&["20-a=5?", "90-router=built-in?"]);
}

#[test]
fn a_plugin_is_disabled_and_enabled() {
    let mut world = world();
    let before = world.plugin("10-a");
    obey(&mut world, Order::Disable(name()));
    world.check(&["90-router=built-in", "-10-a=3"]);
    assert_eq!(
        obey(&mut world, Order::Disable(name())),
        "10-a is out of force already"
    );
    world.write(&[("10-a", "4", "")]);
    world.check(&["90-router=built-in", "-10-a=3"]);
    world.write(&[("10-a", "3", "")]);
    let answer = obey(&mut world, Order::Enable(name()));
    assert_eq!(answer, "10-a: version 3 (4e07408562be) is in force again");
    world.check(&["10-a=3?", "90-router=built-in"]);
    world.after(10 * MINUTE);
    world.check(&["10-a=3", "90-router=built-in"]);
    assert!(std::sync::Arc::ptr_eq(&before, &world.plugin("10-a")));
    for second in 0..3 {
        before.note_rest(world.now + Duration::from_secs(second));
    }
    world.after(MINUTE);
    assert!(
        world.reports[0].reason.starts_with("left alone"),
        "{:?}",
        world.reports
    );
    assert_eq!(
        obey(&mut world, Order::Enable(name())),
        "10-a is asked again"
    );
    world.check(&["10-a=3", "90-router=built-in"]);
    assert_eq!(world.reports[0].reason, "");
}

#[test]
fn the_file_beside_a_plugin_is_stronger_than_an_operator() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "enabled = false")]);
    let answer = obey(&mut world, Order::Enable(name()));
    assert!(
        answer.contains("10-a.toml says enabled = false"),
        "{answer}"
    );
    world.check(&["90-router=built-in", "-10-a"]);
    let pin = obey(&mut world, Order::Pin(name()));
    assert_eq!(pin, "ERROR 10-a is out of force: there is nothing to pin");
}

#[test]
fn a_shadow_is_ordered_stopped_and_promoted() {
    let mut world = world();
    assert_eq!(
        obey(&mut world, Order::Shadow(name(), 0.05)),
        "10-a: version 2 (d4735e3a265e) decides again, version 3 (4e07408562be) is asked beside it \
         about 5%"
    );
    world.check(&["10-a=2", "90-router=built-in", "~10-a=3"]);
    obey(&mut world, Order::Shadow(name(), 0.1));
    assert_eq!(world.registry.shadows()[0].0.share, 0.1);
    let answer = obey(&mut world, Order::Promote(name()));
    assert!(
        answer.starts_with("10-a: version 3 (4e07408562be) decides now"),
        "{answer}"
    );
    world.check(&["10-a=3?", "90-router=built-in"]);
    let answer = obey(&mut world, Order::Promote(name()));
    assert_eq!(answer, "ERROR 10-a: there is no shadow to promote");

    world.write(&[("10-a", "4", "")]);
    world.check(&["10-a=3?", "90-router=built-in", "~10-a=4"]);
    let answer = obey(&mut world, Order::Shadow(name(), 0.0));
    assert!(answer.contains("not compared any more"), "{answer}");
    world.check(&[
        "10-a=3?",
        "90-router=built-in",
        "!10-a: refused at stage shadow: an operator...",
    ]);
    world.write(&[("10-a", "5", "")]);
    world.check(&["10-a=5?", "90-router=built-in"]);
}

#[test]
fn names_are_found_and_missed() {
    let mut world = World::new();
    world.write(&[
        ("10-a", "1", ""),
        ("20-a", "1", ""),
        ("50-router", "own", ""),
    ]);
    let pin = |world: &mut World, name: &str| obey(world, Order::Pin(name.to_owned()));
    assert_eq!(
        pin(&mut world, "a"),
        "ERROR a may be 10-a or 20-a: say which"
    );
    assert!(pin(&mut world, "20-a").starts_with("20-a: version 1"));
    assert!(pin(&mut world, "router").starts_with("50-router: version own"));
    let unknown = pin(&mut world, "b");
    assert_eq!(
        unknown,
        "ERROR there is no plugin named b; there are: 10-a, 20-a, 50-router, 90-router"
    );
}

#[test]
fn orders_outlive_a_restart() {
    let mut world = world();
    world.write(&[("20-b", "1", ""), ("30-c", "1", "")]);
    obey(&mut world, Order::Pin(name()));
    obey(&mut world, Order::Disable("b".to_owned()));
    obey(&mut world, Order::Shadow("c".to_owned(), 0.25));
    obey(&mut world, Order::Disable("router".to_owned()));
    let state = world.registry.take_state().expect("something to keep");
    let files = [("10-a", "9", ""), ("20-b", "2", ""), ("30-c", "1", "")];
    let mut world = World::with(testing::settings(), state, &files);
    world.check(&["10-a=3", "30-c=1", "-20-b", "-90-router"]);
    world.write(&[("30-c", "2", "")]);
    assert_eq!(world.registry.shadows()[0].0.share, 0.25);
    let lost = World::with(testing::settings(), State::default(), &files);
    lost.check(&["10-a=9", "20-b=2", "30-c=1", "90-router=built-in"]);
}

#[test]
fn what_is_enabled_again_is_watched_for_the_rest_of_its_probation() {
    let mut world = world();
    world.after(Duration::from_secs(1));
    obey(&mut world, Order::Disable(name()));
    world.after(60 * MINUTE);
    obey(&mut world, Order::Enable(name()));
    world.check(&["10-a=3?", "90-router=built-in"]);
    world.after(Duration::from_secs(1));
    world.check(&["10-a=3?", "90-router=built-in"]);
    let answer = obey(&mut world, Order::Rollback(name()));
    assert!(answer.starts_with("10-a: version 2 ("), "{answer}");
}

#[test]
fn what_is_disabled_goes_back_with_its_set() {
    let mut world = World::watched();
    world.write(&[("10-a", "1", ""), ("20-b", "1", "")]);
    world.after(10 * MINUTE);
    world.write_set(&[("10-a", "2", ""), ("20-b", "2", "")]);
    obey(&mut world, Order::Disable(name()));
    world.check(&["20-b=2?", "90-router=built-in", "-10-a=2"]);
    obey(&mut world, Order::Rollback("b".to_owned()));
    world.check(&[
        "20-b=1",
        "90-router=built-in",
        "-10-a=1",
        "!10-a: refused at stage probation: 20-b of the same set went back: alice...",
        "!20-b: refused at stage probation: alice rolled it back...",
    ]);
}

const STRICT: &str = "grants = [\"kv\"]\n[limits]\nmemory_max = \"3MiB\"\non_failure = \"reject\"";

/// Version 1 with its own grants and limits decides; 2, which has none, was rolled back. Through
/// the state directory.
fn rolled_back() -> State {
    let mut world = World::watched();
    world.write(&[("10-a", "1", STRICT)]);
    world.after(10 * MINUTE);
    world.write(&[("10-a", "2", "")]);
    obey(&mut world, Order::Rollback(name()));
    let state = world.registry.take_state().expect("something to keep");
    let directory = tempfile::tempdir().expect("a directory");
    state.save(directory.path()).expect("written");
    State::load(directory.path()).expect("readable")
}

#[test]
fn a_kept_version_comes_back_with_its_own_grants_and_limits() {
    let world = World::with(testing::settings(), rolled_back(), &[("10-a", "2", "")]);
    let plugin = world.plugin("10-a");
    assert_eq!(plugin.version, "1");
    assert_eq!(plugin.grants, pgsteer_core::policy::Grants::KV);
    assert_eq!(plugin.on_failure, pgsteer_core::settings::OnFailure::Reject);
    let entry = world.registry.entries.values().next().expect("there");
    let build = entry.force.deciding().expect("in force");
    assert_eq!(build.version.limits.memory_bytes_max, 3 << 20);
}

#[test]
fn a_kept_version_comes_back_without_its_file() {
    let world = World::with(testing::settings(), rolled_back(), &[]);
    world.check(&["10-a=1", "90-router=built-in"]);
    let mut world = World::with(testing::settings(), rolled_back(), &[("20-a", "2", "")]);
    assert_eq!(world.plugin("20-a").version, "1", "renamed, and once");
    assert_eq!(world.set.plugins.len(), 2);
    world.advance();
    assert_eq!(world.set.plugins.len(), 2);
}

#[test]
fn a_kept_version_comes_back_when_its_file_is_broken() {
    let mut world = World::with(testing::settings(), State::default(), &[]);
    let trouble = std::sync::Arc::default();
    let built_in = vec![testing::embedded(b"built-in")];
    world.registry = crate::plugins::registry::Registry::new(built_in, rolled_back(), trouble);
    world.files.insert("10-a".to_owned(), String::new());
    let error = pgsteer_core::policy::LoadError {
        stage: "read",
        reason: "10-a.toml: line 1".to_owned(),
    };
    world.round(vec![("10-a".to_owned(), Err(error))]);
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage read...",
    ]);
}

#[test]
fn a_kept_version_that_is_refused_is_loaded_once() {
    let mut state = rolled_back();
    let words = state.words.get_mut("10-a").expect("kept");
    words.kept.as_mut().expect("kept").config = "{\"x\":\"wrong\"}".to_owned();
    let mut world = World::with(testing::settings(), state, &[("10-a", "2", "")]);
    for _ in 0..5 {
        world.advance();
    }
    let loads = world.loader.loads();
    let of_it = loads.iter().filter(|load| *load == "10-a=1");
    assert_eq!(of_it.count(), 1, "{loads:?}");
    world.check(&[
        "90-router=built-in",
        "!10-a: refused at stage probation: it went back before...",
        "!10-a: refused at stage configure: 1",
    ]);
}
