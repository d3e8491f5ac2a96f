//! Which plugins are in force, which should be, and what became of each file. Pure: it neither
//! reads files nor loads anything itself, and is told the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use pgsteer_core::policy::LoadError;
use pgsteer_core::settings::Rollout;
use pgsteer_core::{Generation, Settings};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::beside::Beside;
use super::directory::{Component, Scan, stem_without_number};
use super::plan::Work;
use super::rollout::{Build, Candidate, Force, Version};
use super::state::{State, Words};
use super::{Embedded, Section, sha256};

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
    pub(super) entries: BTreeMap<Id, Entry>,
    pub(super) generation: Generation,
    pub(super) news: News,
    // Number of the latest set.
    sets: u64,
    // Sets of which a file could not be read, and why.
    pub(super) broken_sets: BTreeMap<u64, String>,
    // Told of each failure of a plugin.
    pub(super) trouble: Arc<Notify>,
    // New versions are watched: not those that the proxy starts with.
    pub(super) watches: bool,
    // What configures the embedded plugins, by their names without `NN-`.
    pub(super) sections: BTreeMap<String, Section>,
    // Components that are kept in the state directory.
    pub(super) kept: BTreeMap<String, Arc<[u8]>>,
}

/// What changed since it was asked for last.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What is in force.
    pub(super) set: bool,
    /// What is reported.
    pub(super) reports: bool,
    /// What is kept over restarts.
    pub(super) words: bool,
    /// When reports were made last, and of how many plugins that are left alone.
    pub(super) reported: Option<(Instant, usize)>,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The file is there (always true for an embedded one).
    pub(super) present: bool,
    /// What it holds.
    pub(super) component: Option<Component>,
    /// What is in force.
    pub(super) force: Force,
    /// A newer version on its way.
    pub(super) candidate: Option<Candidate>,
    /// The latest version that was refused.
    pub(super) refused: Option<Refusal>,
    /// The version that decided before a restart, if it was refused after it.
    pub(super) refused_kept: Option<Refusal>,
    /// Versions that decided, the latest last.
    pub(super) history: VecDeque<Build>,
    /// What is kept over restarts.
    pub(super) words: Words,
    /// The set it came with.
    pub(super) set: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Refusal {
    /// `None` if the file could not even be read.
    pub(super) version: Option<Version>,
    pub(super) sha256: String,
    pub(super) stage: &'static str,
    pub(super) reason: String,
}

impl Entry {
    /// How its next version gets into force.
    pub(super) fn rollout(&self, settings: &Settings) -> Rollout {
        let base = &settings.plugins.rollout;
        let own = self.component.as_ref().map(|c| c.beside.rollout.over(base));
        own.unwrap_or_else(|| base.clone())
    }

    /// The file beside it says that it is out of force.
    pub(super) fn is_switched_off(&self) -> bool {
        self.component.as_ref().is_some_and(|c| !c.beside.enabled)
    }

    /// A version decides again, wherever it went back before.
    pub(super) fn bring_back(&mut self, build: Build) {
        let key = build.version.key();
        self.words.rolled_back.retain(|other| *other != key);
        self.force = Force::Live(build);
    }

    fn is_kept(&self) -> bool {
        let disabled = matches!(self.force, Force::Disabled(..));
        self.present
            || disabled
            || self.force.deciding().is_some()
            || self.words != Words::default()
    }
}

impl Registry {
    /// Only the embedded plugins, not loaded yet, and what was kept over the restart.
    pub(crate) fn new(embedded: Vec<Embedded>, state: State, trouble: Arc<Notify>) -> Self {
        let section = |own: &Embedded| (stem_without_number(&own.name).to_owned(), own.config);
        let mut registry = Self {
            sections: embedded.iter().map(section).collect(),
            kept: state.components,
            trouble,
            ..Self::default()
        };
        for (key, words) in state.words {
            let id = match key.strip_suffix(BUILT_IN) {
                Some(name) => (name.to_owned(), Origin::Embedded),
                None => (key, Origin::File),
            };
            registry.entries.entry(id).or_default().words = words;
        }
        for Embedded { name, bytes, .. } in embedded {
            let id = (name, Origin::Embedded);
            let entry = registry.entries.entry(id).or_default();
            entry.present = true;
            entry.component = Some(Component {
                sha256: sha256(&bytes),
                bytes,
                beside: Beside::default(),
            });
        }
        registry
    }

    /// What must outlive a restart, if it changed since it was asked for last.
    pub(crate) fn take_state(&mut self) -> Option<State> {
        if !std::mem::take(&mut self.news.words) {
            return None;
        }
        let mut state = State::default();
        for ((name, origin), entry) in &self.entries {
            let key = match origin {
                Origin::File => name.clone(),
                Origin::Embedded => format!("{name}{BUILT_IN}"),
            };
            if let Some(kept) = &entry.words.kept {
                let built = entry
                    .history
                    .iter()
                    .find(|b| b.version.sha256 == kept.sha256);
                let bytes = built.map(|build| &build.bytes);
                if let Some(bytes) = bytes.or_else(|| self.kept.get(&kept.sha256)) {
                    state
                        .components
                        .insert(kept.sha256.clone(), Arc::clone(bytes));
                }
            }
            state.words.insert(key, entry.words.clone());
        }
        Some(state)
    }

    /// From now on new versions are watched.
    pub(crate) fn watch(&mut self) {
        self.watches = true;
    }

    /// Takes in what the directory holds. A file that is gone leaves its plugin in force: a lost
    /// mount must not switch off a policy.
    pub(crate) fn take_in(&mut self, scan: Scan) {
        if scan.unreadable.is_some() || scan.held {
            return;
        }
        for ((name, origin), entry) in &mut self.entries {
            let gone = *origin == Origin::File && entry.present && !scan.present.contains(name);
            if gone && entry.force.deciding().is_some() {
                let advice = "DISABLE takes it out of force";
                warn!(
                    plugin = name,
                    advice, "plugin file is gone, plugin stays in force"
                );
            }
            entry.present = *origin == Origin::Embedded || scan.present.contains(name);
            if gone {
                entry.component = None;
                let shadow = entry.candidate.take().is_some();
                self.news.reports |= entry.refused.take().is_some() || shadow;
            }
        }
        let set = (scan.is_set && scan.changed.len() > 1).then(|| {
            self.sets += 1;
            self.sets
        });
        for (name, found) in scan.changed {
            self.take_in_one(name, found, set);
        }
        self.switch_off();
        self.entries.retain(|_, entry| entry.is_kept());
        let sets: BTreeSet<u64> = self.entries.values().filter_map(|e| e.set).collect();
        self.broken_sets.retain(|set, _| sets.contains(set));
    }

    fn take_in_one(&mut self, name: String, found: Result<Component, LoadError>, set: Option<u64>) {
        let id = (name, Origin::File);
        self.inherit_words(&id);
        // A set that was refused is tried again as one when something of it is mended.
        let old = self.entries.get(&id).and_then(|entry| entry.set);
        let refused = |set: &u64| {
            let members = self.entries.values().filter(|e| e.set == Some(*set));
            members.into_iter().any(|entry| entry.refused.is_some())
        };
        let mended = old.filter(refused);
        if let Some(set) = mended {
            self.broken_sets.remove(&set);
            for entry in self.entries.values_mut().filter(|e| e.set == Some(set)) {
                self.news.reports |= entry.refused.take().is_some();
            }
        }
        let entry = self.entries.entry(id.clone()).or_default();
        entry.present = true;
        entry.set = set.or(mended);
        self.news.reports = true;
        match found {
            Ok(component) => {
                entry.component = Some(component);
                // If there was one of the file as such, it is mended.
                entry.refused.take_if(|refusal| refusal.version.is_none());
            }
            Err(error) => {
                if let Some(set) = entry.set {
                    let reason = format!("{} of the same set was {error}", id.0);
                    self.broken_sets.insert(set, reason);
                }
                self.refuse(&id, None, String::new(), error);
            }
        }
    }

    /// A file that was renamed is still the one that an operator spoke about.
    fn inherit_words(&mut self, id: &Id) {
        if self.entries.contains_key(id) {
            return;
        }
        let renamed = |(other, entry): &(&Id, &Entry)| is_sibling(other, id) && !entry.present;
        let words = self.entries.iter().find(renamed);
        if let Some(words) = words.map(|(_, entry)| entry.words.clone()) {
            self.entries.entry(id.clone()).or_default().words = words;
        }
    }

    /// An embedded plugin that is not in force although nothing replaces it, and why.
    pub(crate) fn embedded_refusal(&self) -> Option<(&str, &str)> {
        let mut entries = self.entries.iter();
        entries.find_map(|((name, origin), entry)| {
            let refused = entry.refused.as_ref();
            let refused = refused.filter(|_| *origin == Origin::Embedded)?;
            Some((name.as_str(), refused.reason.as_str()))
        })
    }

    /// Takes plugins out of force whose file says so.
    fn switch_off(&mut self) {
        for ((name, _), entry) in &mut self.entries {
            if !entry.is_switched_off() {
                continue;
            }
            let force = std::mem::take(&mut entry.force);
            let decided = force.deciding().is_some();
            if decided || entry.candidate.take().is_some() | entry.refused.take().is_some() {
                info!(plugin = name, "plugin disabled by its configuration");
                self.news.set |= decided;
                self.news.reports = true;
            }
        }
    }

    /// Whether a file in force stands in for this plugin: for the embedded one any of the same name
    /// without `NN-`, for one whose file is gone any such whose file is there (it was renamed).
    pub(super) fn is_replaced(&self, id: &Id) -> bool {
        let Some(own) = self.entries.get(id) else {
            return false;
        };
        // What an operator pinned stays, renamed or not.
        let is_weak = id.1 == Origin::Embedded || !(own.present || own.words.pinned);
        is_weak
            && self.entries.iter().any(|(other_id, other)| {
                is_sibling(other_id, id)
                    && other_id.1 == Origin::File
                    && other.force.deciding().is_some()
                    && (id.1 == Origin::Embedded || other.present)
            })
    }

    /// The version that decides in the place of this plugin now: its own, that of the file it was
    /// before it was renamed, or the embedded one it is to replace.
    pub(super) fn previous(&self, id: &Id) -> Option<&Build> {
        let own = self
            .entries
            .get(id)
            .and_then(|entry| entry.force.deciding());
        own.or_else(|| {
            let siblings = self.entries.iter().filter(|(other, entry)| {
                is_sibling(other, id) && (other.1 == Origin::Embedded || !entry.present)
            });
            siblings
                .filter_map(|(_, entry)| entry.force.deciding())
                .next()
        })
    }

    /// Removes plugins of files that were renamed.
    pub(super) fn drop_replaced(&mut self) {
        let gone = |id: &&Id| id.1 == Origin::File && self.is_replaced(id);
        let replaced: BTreeSet<Id> = self.entries.keys().filter(gone).cloned().collect();
        for id in replaced {
            self.entries.remove(&id);
            self.news.set = true;
        }
    }

    /// Notes that what was to be loaded was refused.
    pub(super) fn refuse_work(&mut self, work: &Work, error: LoadError) {
        let version = Version::of(&work.source);
        let refused = |registry: &mut Self| {
            let entry = registry.entries.get_mut(&work.id);
            entry.and_then(|entry| entry.refused.take())
        };
        let of_file = refused(self).filter(|_| work.is_kept);
        self.refuse(&work.id, Some(version), work.source.sha256.clone(), error);
        if let Some(entry) = self.entries.get_mut(&work.id).filter(|_| work.is_kept) {
            entry.refused_kept = std::mem::replace(&mut entry.refused, of_file);
        }
    }

    /// What was kept could not be written: it is handed out again.
    pub(crate) fn keep_again(&mut self) {
        self.news.words = true;
    }

    pub(super) fn refuse(
        &mut self,
        id: &Id,
        version: Option<Version>,
        sha256: String,
        error: LoadError,
    ) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let in_force = entry.force.deciding();
        let stays = in_force.map_or("none", |build| build.plugin.version.as_str());
        let (stage, reason) = (error.stage, error.to_string());
        warn!(
            plugin = id.0,
            stage,
            reason,
            sha256,
            version_in_force = stays,
            "plugin refused"
        );
        entry.refused = Some(Refusal {
            version,
            sha256,
            stage,
            reason,
        });
        self.news.reports = true;
    }
}

/// Whether both are the same plugin apart from the number in front.
pub(super) fn is_sibling(one: &Id, other: &Id) -> bool {
    one != other && stem_without_number(&one.0) == stem_without_number(&other.0)
}

/// Tells an embedded plugin from a file of the same name in what is kept.
const BUILT_IN: &str = " (built in)";

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
