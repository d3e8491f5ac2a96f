//! Plugins that were built for released versions of the interface load today, as they are.

use std::path::{Path, PathBuf};

use pgsteer_core::policy::{
    Grants, Hooks, LoadError, LoadedPlugin, PluginLoader as _, PluginSource, Policy, Route,
};
use pgsteer_plugin_host::Options;
use pgsteer_plugin_host::tool::Workbench;

use support::{Guest, all_grants, context, loader, session, source, statement, topology};

mod support;

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/released")
}

fn paths_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

/// Directories of the released versions, the oldest first.
fn versions() -> Vec<(Vec<u32>, PathBuf)> {
    let directories = paths_in(&released())
        .into_iter()
        .filter(|path| path.is_dir());
    let numbered = directories.map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        let numbers = name.split('.').map(str::parse);
        let numbers: Result<Vec<u32>, _> = numbers.collect();
        (numbers.expect("the name is a version"), path)
    });
    let mut versions: Vec<_> = numbered.collect();
    versions.sort();
    versions
}

fn name_of(path: &Path) -> String {
    path.file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

/// Loads a component with the grants it needs and no others.
///
/// # Errors
/// It does not load any more: which, and why.
fn load(path: &Path) -> Result<LoadedPlugin, String> {
    let at = |error: LoadError| format!("{}: {error}", path.display());
    let mut source = PluginSource {
        name: format!("10-{}", name_of(path)),
        grants: all_grants(),
        ..source(std::fs::read(path).expect("it can be read"))
    };
    let bench = Workbench::new(Options::default()).expect("the engine can be set up");
    let inspection = bench.inspect(&source).map_err(at)?;
    source.grants = inspection.grants;
    if inspection.logs {
        source.grants = source.grants.with(Grants::LOG);
    }
    // All stages: the canary asks every hook.
    loader().load(&source, &context(&topology(), 2)).map_err(at)
}

/// An instance of a component of the first release.
fn first(name: &str) -> Box<dyn Policy> {
    let path = released().join("0.1.0").join(format!("{name}.wasm"));
    load(&path).expect("it loads").instances.remove(0)
}

#[test]
fn every_released_component_loads_today() {
    let mut hooks = Hooks::default();
    for (_, dir) in versions() {
        let components = paths_in(&dir).into_iter();
        let is_component = |path: &PathBuf| path.extension().is_some_and(|e| e == "wasm");
        for path in components.filter(is_component) {
            let loaded = load(&path).expect("it loads");
            assert_eq!(loaded.name, name_of(&path), "{}", path.display());
            assert_eq!(loaded.instances.len(), 2, "{}", path.display());
            hooks = hooks.with(loaded.hooks);
        }
    }
    let all = [
        Hooks::SESSION,
        Hooks::REWRITER,
        Hooks::ROUTER,
        Hooks::OBSERVER,
        Hooks::TOPOLOGY_LISTENER,
        Hooks::OPERATOR,
    ];
    for hook in all {
        assert!(hooks.has(hook), "no released component implements {hook}");
    }
}

#[test]
fn released_components_answer_as_they_did() {
    let mut plugin = first("primary-only");
    assert!(plugin.open(&session()).is_ok());
    let answer = plugin.decide(&statement(1, "SELECT 1"));
    assert_eq!(answer.map(|d| d.route).ok(), Some(Route::Primary));
    let mut plugin = first("pgpool-router");
    assert!(plugin.topology_changed(&topology()).is_ok());
    let opening = plugin.open(&session()).expect("an opening");
    assert_eq!(opening.candidates.len(), 2);
    let answer = plugin.decide(&statement(1, "SELECT 1"));
    let route = answer.expect("an answer").route;
    assert!(matches!(route, Route::Balanced(_)), "{route}");
}

#[test]
fn every_hook_of_every_released_interface_is_still_asked() {
    for (_, dir) in versions() {
        let path = dir.join("plugin.wit");
        let wit = std::fs::read_to_string(&path).expect("the interface as it was released");
        let everything = Guest {
            wit,
            world: "everything".to_owned(),
            ..Guest::default()
        };
        let loaded = support::load(everything.build());
        let loaded = loaded.expect("a guest that behaves, for that interface");
        assert_eq!(loaded.hooks.names().count(), 6, "{}", path.display());
    }
}

#[test]
fn what_was_released_last_is_what_the_proxy_offers() {
    let table = include_str!("../../../tests/tidy/wit.rs");
    if table.contains("RELEASED: &[Released] = &[];") {
        // Nothing is released yet: the interface may still change.
        return;
    }
    let (numbers, dir) = versions().pop().expect("a released version");
    let then = std::fs::read_to_string(dir.join("plugin.wit")).expect("it is there");
    let (major, minor) = (numbers[0], numbers[1]);
    let now = released().join(format!("../../wit/v{major}.{minor}/plugin.wit"));
    let now = std::fs::read_to_string(now).expect("it is there");
    assert!(
        then == now,
        "wit/v{major}.{minor}/plugin.wit is not what was released as {numbers:?}: components that \
         are in use would not load. Take the change back and put what is new into a new interface \
         (a file of its own in the directory), or into a new version beside this one. If nothing \
         but comments changed, copy the file to {} and enter its hash in tests/tidy/wit.rs.",
        dir.display()
    );
}
