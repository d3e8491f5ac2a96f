//! Which plugins are in force, which should be, and what became of each file. Pure: it neither
//! reads files nor loads anything itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgsteer_core::policy::{
    Grants, LoadError, LoadedPlugin, Plugin, PluginReport, PluginSource, PluginState, PolicySet,
};
use pgsteer_core::settings::PluginLimits;
use pgsteer_core::{Generation, Settings};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::directory::{Component, Scan, stem_without_number};

/// Where a plugin comes from. Of two of the same name the file comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    File,
    Embedded,
}

/// Name and origin, in the order in which plugins are asked.
pub(crate) type Id = (String, Origin);

/// All plugins by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: BTreeMap<Id, Entry>,
    generation: Generation,
    changed: bool,
    // Told of each failure of a plugin.
    trouble: Arc<Notify>,
    // Name of the embedded plugin without `NN-`.
    router: String,
}

#[derive(Debug, Default)]
struct Entry {
    // The file is there (always true for the embedded one).
    present: bool,
    component: Option<Component>,
    live: Option<(Version, Arc<Plugin>)>,
    refused: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    // `None` if the file could not even be read.
    version: Option<Version>,
    sha256: String,
    reason: String,
}

/// What makes a plugin behave as it does; equal versions need not be loaded again.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    sha256: String,
    config: String,
    limits: PluginLimits,
    grants: Grants,
}

impl Registry {
    /// Only the embedded plugin, not loaded yet.
    pub(crate) fn new(name: &str, component: Component) -> Self {
        let entry = Entry {
            present: true,
            component: Some(component),
            ..Entry::default()
        };
        let entries = BTreeMap::from([((name.to_owned(), Origin::Embedded), entry)]);
        Self {
            entries,
            router: stem_without_number(name).to_owned(),
            ..Self::default()
        }
    }

    /// Takes in what the directory holds. A file that is gone leaves its plugin in force: a lost
    /// mount must not switch off a policy.
    pub(crate) fn take_in(&mut self, scan: Scan) {
        if scan.unreadable.is_some() {
            return;
        }
        for ((name, origin), entry) in &mut self.entries {
            let gone = *origin == Origin::File && entry.present && !scan.present.contains(name);
            if gone && entry.live.is_some() {
                let advice = "restart to remove it, or put it back with enabled = false beside it";
                warn!(
                    plugin = name,
                    advice, "plugin file is gone, plugin stays in force"
                );
            }
            entry.present = *origin == Origin::Embedded || scan.present.contains(name);
            if gone {
                entry.component = None;
                self.changed |= entry.refused.take().is_some();
            }
        }
        for (name, found) in scan.changed {
            let entry = self
                .entries
                .entry((name.clone(), Origin::File))
                .or_default();
            entry.present = true;
            match found {
                Ok(component) => {
                    entry.component = Some(component);
                    // If there was one of the file as such, it is mended.
                    let unread = entry.refused.take_if(|refusal| refusal.version.is_none());
                    self.changed |= unread.is_some();
                }
                Err(reason) => {
                    let refusal = Refusal {
                        version: None,
                        sha256: String::new(),
                        reason,
                    };
                    self.changed = true;
                    refuse(&name, entry, refusal, "read");
                }
            }
        }
        self.entries
            .retain(|_, entry| entry.present || entry.live.is_some());
        self.disable();
    }

    /// What has to be loaded for everything wanted to be in force.
    pub(crate) fn pending(&self, settings: &Settings) -> Vec<(Id, PluginSource)> {
        let wanted = |(id, entry): (&Id, &Entry)| {
            let component = entry.component.as_ref().filter(|c| c.beside.enabled)?;
            if self.is_replaced(id) {
                return None;
            }
            let source = source(id, component, settings, &self.router);
            let version = Version::of(&source);
            let live = entry
                .live
                .as_ref()
                .is_some_and(|(live, _)| *live == version);
            let refused = entry
                .refused
                .as_ref()
                .and_then(|refusal| refusal.version.as_ref());
            (!live && refused != Some(&version)).then(|| (id.clone(), source))
        };
        self.entries.iter().filter_map(wanted).collect()
    }

    /// Forgets the refusal of a version that is no longer in the file: the operator put back what
    /// is live.
    pub(crate) fn forgive(&mut self, settings: &Settings) {
        for (id, entry) in &mut self.entries {
            let (Some(component), Some((live, _))) = (&entry.component, &entry.live) else {
                continue;
            };
            let version = Version::of(&source(id, component, settings, &self.router));
            let of_other =
                |refusal: &mut Refusal| refusal.version.as_ref().is_some_and(|v| *v != version);
            if *live == version && entry.refused.take_if(of_other).is_some() {
                self.changed = true;
            }
        }
    }

    /// Notes what became of a load.
    pub(crate) fn loaded(
        &mut self,
        id: &Id,
        source: &PluginSource,
        result: Result<LoadedPlugin, LoadError>,
    ) {
        let next = Generation(self.generation.0 + 1);
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        self.changed = true;
        let version = Version::of(source);
        match result {
            Ok(loaded) => {
                let plugin = Arc::new(Plugin::new(source, loaded, next, Arc::clone(&self.trouble)));
                info!(
                    plugin = source.name,
                    version = plugin.version,
                    sha256 = source.sha256,
                    generation = next.0,
                    "plugin loaded"
                );
                entry.live = Some((version, plugin));
                entry.refused = None;
            }
            Err(error) => {
                let refusal = Refusal {
                    version: Some(version),
                    sha256: source.sha256.clone(),
                    reason: error.to_string(),
                };
                refuse(&id.0, entry, refusal, error.stage);
            }
        }
    }

    /// The set and the reports, if they changed since they were taken last.
    pub(crate) fn take_changes(&mut self) -> Option<(PolicySet, Vec<PluginReport>)> {
        self.drop_replaced();
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.generation = Generation(self.generation.0 + 1);
        let live = |entry: &Entry| entry.live.as_ref().map(|(_, plugin)| Arc::clone(plugin));
        let plugins = self.entries.values().filter_map(live).collect();
        let set = PolicySet {
            generation: self.generation,
            plugins,
        };
        let reports = self
            .entries
            .iter()
            .flat_map(|(id, entry)| reports(id, entry))
            .collect();
        Some((set, reports))
    }

    /// Why the embedded plugin is not in force although nothing replaces it.
    pub(crate) fn embedded_refusal(&self) -> Option<&str> {
        let embedded = self.entries.iter().find(|(id, _)| id.1 == Origin::Embedded);
        embedded
            .and_then(|(_, entry)| entry.refused.as_ref())
            .map(|r| r.reason.as_str())
    }

    /// Takes plugins out of force whose file says so.
    fn disable(&mut self) {
        for ((name, _), entry) in &mut self.entries {
            let disabled = entry.component.as_ref().is_some_and(|c| !c.beside.enabled);
            if disabled && (entry.live.take().is_some() | entry.refused.take().is_some()) {
                info!(plugin = name, "plugin disabled by its configuration");
                self.changed = true;
            }
        }
    }

    /// Whether a live file stands in for this plugin: for the embedded one any of the same name
    /// without `NN-`, for one whose file is gone any such whose file is there (it was renamed).
    fn is_replaced(&self, id: &Id) -> bool {
        let Some(own) = self.entries.get(id) else {
            return false;
        };
        let is_weak = id.1 == Origin::Embedded || !own.present;
        let stem = stem_without_number(&id.0);
        is_weak
            && self.entries.iter().any(|(other_id, other)| {
                other_id != id
                    && other_id.1 == Origin::File
                    && other.live.is_some()
                    && (id.1 == Origin::Embedded || other.present)
                    && stem_without_number(&other_id.0) == stem
            })
    }

    fn drop_replaced(&mut self) {
        let replaced: Vec<Id> = self
            .entries
            .keys()
            .filter(|id| self.is_replaced(id))
            .cloned()
            .collect();
        for id in replaced {
            if id.1 == Origin::File {
                self.entries.remove(&id);
                self.changed = true;
            } else if let Some(entry) = self.entries.get_mut(&id) {
                self.changed |= entry.live.take().is_some();
            }
        }
    }
}

impl Version {
    fn of(source: &PluginSource) -> Self {
        Self {
            sha256: source.sha256.clone(),
            config: source.config.clone(),
            limits: source.limits.clone(),
            grants: source.grants,
        }
    }
}

/// A file named like the built-in router, `NN-` aside, is configured by `[router]` too, unless the
/// file beside it has a `[config]` of its own.
fn source(
    (name, origin): &Id,
    component: &Component,
    settings: &Settings,
    router: &str,
) -> PluginSource {
    let mut limits = component.beside.limits.over(&settings.plugins.limits);
    let is_router = *origin == Origin::Embedded || stem_without_number(name) == router;
    if *origin == Origin::Embedded {
        limits.file_bytes_max = limits.file_bytes_max.max(component.bytes.len());
    }
    let default_config = if is_router {
        settings.router_config.as_str()
    } else {
        "{}"
    };
    let config = component.beside.config.as_deref().unwrap_or(default_config);
    PluginSource {
        name: name.clone(),
        bytes: Arc::clone(&component.bytes),
        sha256: component.sha256.clone(),
        config: config.to_owned(),
        limits,
        grants: component.beside.grants.unwrap_or(settings.plugins.grants),
    }
}

fn refuse(name: &str, entry: &mut Entry, refusal: Refusal, stage: &str) {
    let stays = entry
        .live
        .as_ref()
        .map_or("none", |(_, plugin)| &plugin.version);
    let (sha256, reason) = (&refusal.sha256, &refusal.reason);
    warn!(
        plugin = name,
        stage,
        reason,
        sha256,
        version_in_force = stays,
        "plugin refused"
    );
    entry.refused = Some(refusal);
}

fn reports((name, _): &Id, entry: &Entry) -> Vec<PluginReport> {
    let live = entry.live.as_ref().map(|(version, plugin)| PluginReport {
        file_name: name.clone(),
        sha256: version.sha256.clone(),
        state: PluginState::Live,
        pinned: false,
        reason: String::new(),
        plugin: Some(Arc::clone(plugin)),
    });
    let refused = entry.refused.as_ref().map(|refusal| PluginReport {
        file_name: name.clone(),
        sha256: refusal.sha256.clone(),
        state: PluginState::Refused,
        pinned: false,
        reason: refusal.reason.clone(),
        plugin: None,
    });
    live.into_iter().chain(refused).collect()
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
