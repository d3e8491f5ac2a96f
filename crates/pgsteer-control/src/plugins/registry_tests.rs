//! Tests of the registry: every step a table of files in, plugins in force out.

use pgsteer_core::Topology;
use pgsteer_core::policy::PluginLoader as _;

use super::super::beside::Beside;
use super::*;
use crate::testing::{self, FakeLoader};

/// A directory in memory with the registry that follows it.
struct World {
    registry: Registry,
    settings: Settings,
    loader: FakeLoader,
    topology: Topology,
    files: BTreeMap<String, String>,
    set: PolicySet,
    reports: Vec<PluginReport>,
}

fn component(text: &str, beside: &str) -> Component {
    Component {
        bytes: text.as_bytes().into(),
        sha256: super::super::sha256(text.as_bytes()),
        beside: Beside::parse(beside, "beside").expect("valid"),
    }
}

impl World {
    fn new() -> Self {
        let settings = testing::settings();
        let mut world = Self {
            registry: Registry::new("90-router", component("built-in", "")),
            topology: crate::topology::Nodes::new(&settings.nodes, std::time::UNIX_EPOCH)
                .topology(0),
            settings,
            loader: FakeLoader::default(),
            files: BTreeMap::new(),
            set: PolicySet::default(),
            reports: Vec::new(),
        };
        world.round(Vec::new());
        world
    }

    fn round(&mut self, changed: Vec<(String, Result<Component, String>)>) {
        let present = self.files.keys().cloned().collect();
        self.registry.take_in(Scan {
            present,
            changed,
            ..Scan::default()
        });
        for (id, source) in self.registry.pending(&self.settings) {
            let result = self.loader.load(&source, &testing::context(&self.topology));
            self.registry.loaded(&id, &source, result);
        }
        self.registry.forgive(&self.settings);
        if let Some((set, reports)) = self.registry.take_changes() {
            (self.set, self.reports) = (set, reports);
        }
    }

    /// Writes files (`name`, text, text of the file beside) and looks.
    fn write(&mut self, files: &[(&str, &str, &str)]) {
        let mut changed = Vec::new();
        for (name, text, beside) in files {
            self.files.insert((*name).to_owned(), (*text).to_owned());
            changed.push(((*name).to_owned(), Ok(component(text, beside))));
        }
        self.round(changed);
    }

    fn delete(&mut self, name: &str) {
        self.files.remove(name);
        self.round(Vec::new());
    }

    /// What is in force, and after a `!` what was refused.
    fn check(&self, expected: &[&str]) {
        let live = self
            .set
            .plugins
            .iter()
            .map(|p| format!("{}={}", p.file_name, p.version));
        let refused = self
            .reports
            .iter()
            .filter(|r| r.state == PluginState::Refused);
        let refused = refused.map(|r| format!("!{}: {}", r.file_name, r.reason));
        let seen: Vec<_> = live.chain(refused).collect();
        assert_eq!(seen, expected);
        let live_reports = self.reports.iter().filter(|r| r.state == PluginState::Live);
        assert_eq!(
            live_reports.count(),
            self.set.plugins.len(),
            "each is reported"
        );
    }
}

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
        Err("10-a.wasm is too large".to_owned()),
    )]);
    world.check(&[
        "10-a=1",
        "90-router=built-in",
        "!10-a: 10-a.wasm is too large",
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
    assert!(world.registry.take_changes().is_none());
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
    world.check(&["90-router=built-in"]);
    world.write(&[("90-router", "same name", "")]);
    world.check(&["90-router=same name"]);
}

#[test]
fn a_file_can_be_disabled() {
    let mut world = World::new();
    world.write(&[("10-a", "1", "")]);
    world.write(&[("10-a", "1", "enabled = false")]);
    world.check(&["90-router=built-in"]);
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
