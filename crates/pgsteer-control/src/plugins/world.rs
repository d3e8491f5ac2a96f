//! A directory in memory with the registry that follows it, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::policy::{
    LoadError, Plugin, PluginLoader as _, PluginReport, PluginState, PolicySet,
};
use pgsteer_core::{Settings, Topology};

use super::beside::Beside;
use super::directory::{Component, Scan};
use super::plan::Work;
use super::registry::Registry;
use super::state::State;
use crate::testing::{self, FakeLoader};

/// The directory, the registry, and a clock.
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) loader: FakeLoader,
    pub(crate) topology: Topology,
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) set: PolicySet,
    pub(crate) reports: Vec<PluginReport>,
    pub(crate) now: Instant,
}

pub(crate) fn component(text: &str, beside: &str) -> Component {
    Component {
        bytes: text.as_bytes().into(),
        sha256: super::sha256(text.as_bytes()),
        beside: Beside::parse(beside, "beside").expect("valid"),
    }
}

impl World {
    /// Nothing is watched.
    pub(crate) fn new() -> Self {
        let mut settings = testing::settings();
        settings.plugins.rollout.probation_time = Duration::ZERO;
        Self::with(settings, State::default(), &[])
    }

    /// New versions are watched.
    pub(crate) fn watched() -> Self {
        Self::with(testing::settings(), State::default(), &[])
    }

    /// Starts with this directory and what was kept.
    pub(crate) fn with(settings: Settings, state: State, files: &[(&str, &str, &str)]) -> Self {
        let mut world = Self {
            registry: Registry::new(vec![testing::embedded(b"built-in")], state, Arc::default()),
            topology: crate::topology::Nodes::new(&settings.nodes, std::time::UNIX_EPOCH)
                .topology(0, &crate::topology::View::default()),
            settings,
            loader: FakeLoader::default(),
            files: BTreeMap::new(),
            set: PolicySet::default(),
            reports: Vec::new(),
            now: Instant::now(),
        };
        world.write(files);
        world.registry.watch();
        world
    }

    fn scan(&self, changed: Vec<(String, Result<Component, LoadError>)>) -> Scan {
        Scan {
            present: self.files.keys().cloned().collect(),
            changed,
            ..Scan::default()
        }
    }

    pub(crate) fn round(&mut self, changed: Vec<(String, Result<Component, LoadError>)>) {
        let scan = self.scan(changed);
        self.take(scan);
    }

    pub(crate) fn take(&mut self, scan: Scan) {
        self.registry.take_in(scan);
        self.advance();
    }

    /// What the supervisor does after something happened.
    pub(crate) fn advance(&mut self) {
        let context = testing::context(&self.topology);
        let load = |work: Work| {
            let result = self.loader.load(&work.source, &context);
            (work, result)
        };
        let works = self.registry.plan(&self.settings);
        let results = works.into_iter().map(load).collect();
        self.registry.loaded(results, &self.settings, self.now);
        self.registry.forgive(&self.settings);
        self.registry.step(&self.settings, self.now);
        if let Some(changes) = self.registry.take_changes(&self.settings, self.now) {
            self.set = changes.set.unwrap_or(std::mem::take(&mut self.set));
            self.reports = changes.reports;
        }
    }

    /// Time goes by, and the supervisor looks.
    pub(crate) fn after(&mut self, time: Duration) {
        self.now += time;
        self.advance();
    }

    fn changed(
        &mut self,
        files: &[(&str, &str, &str)],
    ) -> Vec<(String, Result<Component, LoadError>)> {
        let mut changed = Vec::new();
        for (name, text, beside) in files {
            self.files.insert((*name).to_owned(), (*text).to_owned());
            changed.push(((*name).to_owned(), Ok(component(text, beside))));
        }
        changed
    }

    /// Writes files (`name`, text, text of the file beside) and looks.
    pub(crate) fn write(&mut self, files: &[(&str, &str, &str)]) {
        let changed = self.changed(files);
        self.round(changed);
    }

    /// Writes files that are one set.
    pub(crate) fn write_set(&mut self, files: &[(&str, &str, &str)]) {
        let changed = self.changed(files);
        let scan = Scan {
            is_set: true,
            ..self.scan(changed)
        };
        self.take(scan);
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.files.remove(name);
        self.round(Vec::new());
    }

    /// The plugin in force from this file.
    pub(crate) fn plugin(&self, name: &str) -> Arc<Plugin> {
        let plugins = &self.set.plugins;
        let found = plugins.iter().find(|plugin| &*plugin.file_name == name);
        Arc::clone(found.expect("in force"))
    }

    fn in_force(&self) -> Vec<&PluginReport> {
        let deciding =
            |r: &&PluginReport| matches!(r.state, PluginState::Live | PluginState::Probation);
        self.reports.iter().filter(deciding).collect()
    }

    /// What is reported as in force is what is published.
    pub(crate) fn check_consistency(&self) {
        let reported = self.in_force().into_iter();
        let reported: Vec<_> = reported.map(|report| report.plugin.as_ref()).collect();
        let alike =
            |(a, b): (&Option<&Arc<Plugin>>, &Arc<Plugin>)| a.is_some_and(|a| Arc::ptr_eq(a, b));
        let same = reported.len() == self.set.plugins.len()
            && reported.iter().zip(&self.set.plugins).all(alike);
        assert!(
            same,
            "reported {:?}, published {:?}",
            self.reports, self.set
        );
    }

    /// What is in force (with a `?` if it is watched), after a `~` what is compared, after a `-` what
    /// is disabled, after a `!` what was refused.
    pub(crate) fn check(&self, expected: &[&str]) {
        self.check_consistency();
        let in_force = self.in_force();
        let with = |state: PluginState, mark: &'static str| {
            let reports = self.reports.iter().filter(move |r| r.state == state);
            reports.map(move |r| {
                let version = r.plugin.as_ref().map_or("", |p| p.version.as_str());
                let equals = if version.is_empty() { "" } else { "=" };
                format!("{mark}{}{equals}{version}", r.file_name)
            })
        };
        let lines = in_force.iter().map(|report| {
            let plugin = report.plugin.as_ref().expect("in force");
            let watched = if report.state == PluginState::Probation {
                "?"
            } else {
                ""
            };
            format!("{}={}{watched}", plugin.file_name, plugin.version)
        });
        let refused = self
            .reports
            .iter()
            .filter(|r| r.state == PluginState::Refused)
            .map(|r| format!("!{}: {}", r.file_name, r.reason));
        let seen: Vec<_> = lines
            .chain(with(PluginState::Shadow, "~"))
            .chain(with(PluginState::Disabled, "-"))
            .chain(refused)
            .collect();
        let alike = |(seen, expected): (&String, &&str)| match expected.strip_suffix("...") {
            Some(beginning) => seen.starts_with(beginning),
            None => seen == expected,
        };
        let same = seen.len() == expected.len() && seen.iter().zip(expected).all(alike);
        assert!(same, "seen {seen:#?}, expected {expected:#?}");
    }
}
