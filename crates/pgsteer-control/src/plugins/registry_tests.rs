//! Tests of the registry: every step a table of files in, plugins in force out.

use super::super::world::World;
use super::*;
use crate::testing;

#[test]
fn plugins_are_asked_in_the_order_of_their_names() {
    let mut world = World::new();
    world.check(&["90-router=built-in"]);
    world.write(&[("95-late", "l", ""), ("10-early", "e", "")]);
    world.check(&["10-early=e", "90-router=built-in", "95-late=l"]);
    assert_eq!(
        world.set.generation,
        Generation(2),
        "one publication for all that came together"
    );
}

#[test]
fn an_unchanged_plugin_is_kept_as_it_is() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    let before = Arc::clone(&world.set.plugins[0]);
    world.write(&[("20-b", "1", ""), ("10-a", "1", "")]);
    assert!(Arc::ptr_eq(&before, &world.set.plugins[0]));
    assert_eq!(
        world.loader.loads(),
        ["90-router=built-in", "10-a=1", "20-b=1"]
    );
}

#[test]
fn a_replaced_file_goes_live() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    world.write(&[("10-a", "2", "")]);
    world.check(&["10-a=2", "90-router=built-in"]);
    assert_eq!(world.set.plugins[0].generation, Generation(3));
    assert_eq!(world.set.plugins[1].generation, Generation(1));
}

#[test]
fn a_broken_file_changes_nothing_and_is_not_tried_again() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    world.write(&[("10-a", "bad", ""), ("20-new", "bad", "")]);
    let refused = "refused at stage compile: bad";
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        &format!("!10-a: {refused}"),
        &format!("!20-new: {refused}"),
    ]);
    let generation = world.set.generation;
    world.write(&[("10-a", "bad", "")]);
    assert_eq!(
        world
            .loader
            .loads()
            .iter()
            .filter(|load| *load == "10-a=bad")
            .count(),
        1
    );
    assert_eq!(world.set.generation, generation, "nothing was published");
    world.delete("20-new");
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1", "90-router=built-in"]);
    assert_eq!(
        world
            .loader
            .loads()
            .iter()
            .filter(|load| *load == "10-a=1")
            .count(),
        1
    );
    world.write(&[("10-a", "3", "")]);
    world.check(&["10-a=3", "90-router=built-in"]);
}

#[test]
fn an_unreadable_file_is_reported_until_it_is_mended() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    world.round(vec![(
        "10-a".to_owned(),
        Err(LoadError {
            stage: "verify",
            reason: "10-a.wasm is too large".to_owned(),
        }),
    )]);
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage verify: 10-a.wasm is too large",
    ]);
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1", "90-router=built-in"]);
    assert_eq!(world.loader.loads(), ["90-router=built-in", "10-a=1"]);
}

#[test]
fn a_deleted_file_stays_in_force() {
    let mut world = World::new();
    world.write(&[("10-a", "1", ""), ("20-b", "1", "")]);
    world.delete("10-a");
    world.check(&["10-a=1", "20-b=1", "90-router=built-in"]);
    world.round(Vec::new());
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1", "20-b=1", "90-router=built-in"]);
    assert_eq!(
        world.loader.loads().len(),
        3,
        "it is the same, so it was not loaded again"
    );
}

#[test]
fn a_lost_directory_changes_nothing() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    let lost = Scan {
        unreadable: Some("gone".to_owned()),
        ..Scan::default()
    };
    world.registry.take_in(lost);
    let changes = world.registry.take_changes(&world.settings, world.now);
    assert!(changes.is_none());
}

#[test]
fn a_renamed_file_moves() {
    let mut world = World::new();
    world.write(&[("10-a", "1", ""), ("20-b", "1", "")]);
    world.files.remove("10-a");
    world.write(&[("30-a", "1", "")]);
    world.check(&["20-b=1", "30-a=1", "90-router=built-in"]);
}

#[test]
fn a_file_replaces_the_embedded_plugin_of_its_name() {
    let mut world = World::new();
    world.write(&[("50-router", "bad", "")]);
    world.check(&[
        "90-router=built-in",
        "!50-router: refused at stage compile: bad",
    ]);
    world.write(&[("50-router", "own", "")]);
    world.check(&["50-router=own"]);
    world.delete("50-router");
    world.check(&["50-router=own"]);
    world.write(&[("50-router", "own", "enabled = false")]);
    world.round(Vec::new());
    world.check(&["90-router=built-in", "-50-router"]);
    world.write(&[("90-router", "same name", "")]);
    world.check(&["90-router=same name", "-50-router"]);
}

#[test]
fn a_file_can_be_disabled() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    world.write(&[("10-a", "1", "enabled = false")]);
    world.check(&["90-router=built-in", "-10-a"]);
    world.write(&[("10-a", "1", "")]);
    world.check(&["10-a=1", "90-router=built-in"]);
}

#[test]
fn a_new_configuration_takes_the_same_road() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "[config]\nx = 1")]);
    world.write(&[("10-a", "1", "[config]\nx = \"wrong\"")]);
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: refused at stage configure: 1",
    ]);
    world.write(&[("10-a", "1", "[config]\nx = 2")]);
    world.check(&["10-a=1", "90-router=built-in"]);
    let configs = |world: &World| -> Vec<String> {
        let loads = world.loader.loads.lock().expect("not poisoned");
        loads
            .iter()
            .map(|(name, _, config)| format!("{name} {config}"))
            .collect()
    };
    assert_eq!(
        configs(&world),
        [
            "90-router {}",
            "10-a {\"x\":1}",
            "10-a {\"x\":\"wrong\"}",
            "10-a {\"x\":2}"
        ]
    );
    world.settings.router_config = "{\"y\":1}".to_owned();
    world.round(Vec::new());
    assert_eq!(
        configs(&world).last().map(String::as_str),
        Some("90-router {\"y\":1}")
    );
}

#[test]
fn each_embedded_plugin_has_its_own_section_and_its_own_replacement() {
    let mut world = World::new();
    world.settings.router_config = "{\"r\":1}".to_owned();
    world.settings.failover.rules = "{\"f\":1}".to_owned();
    let failover = Embedded {
        name: "90-failover".to_owned(),
        config: |settings| &settings.failover.rules,
        ..testing::embedded(b"second")
    };
    let embedded = vec![testing::embedded(b"first"), failover];
    world.registry = Registry::new(embedded, State::default(), Arc::default());
    world.write(&[("10-a", "1", ""), ("20-failover", "own", "")]);
    world.check(&["10-a=1", "20-failover=own", "90-router=first"]);
    let loads = world.loader.loads.lock().expect("not poisoned");
    let config = |name| {
        loads
            .iter()
            .rfind(|load| load.0 == name)
            .map(|load| &*load.2)
    };
    assert_eq!(config("10-a"), Some("{}"));
    assert_eq!(config("20-failover"), Some("{\"f\":1}"));
    assert_eq!(config("90-failover"), Some("{\"f\":1}"));
    assert_eq!(config("90-router"), Some("{\"r\":1}"));
}

#[test]
fn new_default_limits_load_anew() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "[limits]\nmemory_max = \"1MiB\"")]);
    world.settings.plugins.limits.memory_bytes_max += 1;
    world.round(Vec::new());
    assert_eq!(
        world.loader.loads(),
        ["90-router=built-in", "10-a=1", "90-router=built-in"]
    );
}
