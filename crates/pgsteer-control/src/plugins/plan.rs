//! What has to be loaded so that what should be in force is.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgsteer_core::Settings;
use pgsteer_core::policy::{LoadError, Plugin, PluginSource};

use super::Section;
use super::directory::{Component, stem_without_number};
use super::registry::{Entry, Id, Origin, Refusal, Registry, is_sibling};
use super::rollout::{Build, Version};
use super::state::Kept;

/// Something to load.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) id: Id,
    pub(crate) source: PluginSource,
    /// All of a set or none.
    pub(crate) set: Option<u64>,
    /// Not what the file holds, but what decided before a restart.
    pub(crate) is_kept: bool,
    /// The version that decides until then.
    pub(crate) previous: Option<Arc<Plugin>>,
}

impl Registry {
    /// What has to be loaded for everything wanted to be in force.
    pub(crate) fn plan(&mut self, settings: &Settings) -> Vec<Work> {
        self.remember_rolled_back(settings);
        let mut works = self.outstanding(settings);
        let allow = &settings.plugins.allow;
        let mut broken = self.broken_sets.clone();
        for work in &works {
            let (name, origin) = &work.id;
            let allowed = *origin == Origin::Embedded
                || allow.is_empty()
                || allow.contains(&work.source.sha256);
            if !allowed {
                let hash = &work.source.sha256;
                let reason = format!("its SHA-256 {hash} is not in plugins.allow: add it there");
                if let Some(set) = work.set {
                    let told = format!("{name} of the same set was refused at stage verify");
                    broken.entry(set).or_insert(told);
                }
                let stage = "verify";
                self.refuse_work(work, LoadError { stage, reason });
            }
        }
        works.retain(|work| {
            let of_set = work.set.and_then(|set| broken.get(&set));
            let error = of_set.map(|reason| LoadError {
                stage: "set",
                reason: reason.clone(),
            });
            let is_refused = self.is_refused(&work.id, &Version::of(&work.source));
            match error {
                Some(error) if !is_refused => {
                    self.refuse_work(work, error);
                    false
                }
                _ => !is_refused,
            }
        });
        works
    }

    fn is_refused(&self, id: &Id, version: &Version) -> bool {
        self.entries.get(id).is_some_and(|entry| {
            let mut refused = entry.refused.iter().chain(&entry.refused_kept);
            refused.any(|refusal| refusal.version.as_ref() == Some(version))
        })
    }

    /// What is wanted and neither in force nor on its way.
    pub(super) fn outstanding(&self, settings: &Settings) -> Vec<Work> {
        let wanted = |(id, entry): (&Id, &Entry)| {
            let (source, is_kept) = self.wanted(id, entry, settings)?;
            let version = Version::of(&source);
            let is = |build: &Build| build.version == version;
            let known = entry.force.deciding().is_some_and(is)
                || entry.candidate.as_ref().is_some_and(|c| is(&c.build))
                || self.is_refused(id, &version);
            (!known).then(|| Work {
                id: id.clone(),
                source,
                set: entry.set.filter(|_| !is_kept),
                is_kept,
                previous: self.previous(id).map(|build| Arc::clone(&build.plugin)),
            })
        };
        self.entries.iter().filter_map(wanted).collect()
    }

    /// What should be in force: what the file holds, or after a restart (`true`) what was.
    fn wanted(&self, id: &Id, entry: &Entry, settings: &Settings) -> Option<(PluginSource, bool)> {
        if entry.is_switched_off() || entry.words.disabled || self.is_replaced(id) {
            return None;
        }
        let in_force = self.previous(id).is_some();
        if entry.words.pinned && in_force {
            return None;
        }
        let file = entry.component.as_ref();
        let file = file.map(|component| source(id, component, settings, &self.sections));
        let went_back =
            |source: &PluginSource| entry.words.rolled_back.contains(&Version::of(source).key());
        let file = file.filter(|source| !went_back(source));
        if file.is_some() && !entry.words.pinned {
            return file.map(|source| (source, false));
        }
        let kept = entry.words.kept.as_ref().filter(|_| !in_force);
        // Its file may be gone or broken: what decided is in the state directory.
        let kept = kept.filter(|_| entry.present || !self.is_renamed(id));
        let kept = kept.and_then(|kept| self.kept_source(id, kept, settings));
        let kept = kept.filter(|source| !self.is_refused(id, &Version::of(source)));
        kept.map(|source| (source, true))
            .or_else(|| file.map(|source| (source, false)))
    }

    /// A file that is there has the words of this one.
    fn is_renamed(&self, id: &Id) -> bool {
        let is_it = |(other, entry): (&Id, &Entry)| {
            is_sibling(other, id) && other.1 == Origin::File && entry.present
        };
        self.entries.iter().any(is_it)
    }

    fn kept_source(&self, id: &Id, kept: &Kept, settings: &Settings) -> Option<PluginSource> {
        let plugins = &settings.plugins;
        let limits = kept.limits.as_ref();
        Some(PluginSource {
            name: id.0.clone(),
            bytes: Arc::clone(self.kept.get(&kept.sha256)?),
            sha256: kept.sha256.clone(),
            config: kept.config.clone(),
            limits: limits.map_or_else(|| plugins.limits.clone(), |limits| limits.0.clone()),
            grants: kept.grants().unwrap_or(plugins.grants),
        })
    }

    /// Notes for people that a file holds a version that went back before.
    fn remember_rolled_back(&mut self, settings: &Settings) {
        let mut found = Vec::new();
        for (id, entry) in &self.entries {
            let Some(component) = entry.component.as_ref().filter(|c| c.beside.enabled) else {
                continue;
            };
            let version = Version::of(&source(id, component, settings, &self.sections));
            let went_back = entry.words.rolled_back.contains(&version.key());
            let known = entry.refused.as_ref().and_then(|r| r.version.as_ref());
            let decides = entry.force.deciding().is_some_and(|b| b.version == version);
            if went_back && !decides && known != Some(&version) && !entry.words.disabled {
                found.push((id.clone(), version));
            }
        }
        for (id, version) in found {
            let error = LoadError {
                stage: "probation",
                reason: "it went back before; put another version there, or ENABLE it to try it \
                         again"
                    .to_owned(),
            };
            let sha256 = version.sha256.clone();
            self.refuse(&id, Some(version), sha256, error);
        }
    }

    /// Forgets the refusal of a version that is no longer in the file, and stops its shadow: the
    /// operator put back what is live.
    pub(crate) fn forgive(&mut self, settings: &Settings) {
        for (id, entry) in &mut self.entries {
            let (Some(component), Some(live)) = (&entry.component, entry.force.deciding()) else {
                continue;
            };
            let version = Version::of(&source(id, component, settings, &self.sections));
            if live.version != version {
                continue;
            }
            let of_other =
                |refusal: &mut Refusal| refusal.version.as_ref().is_some_and(|v| *v != version);
            let other = entry.candidate.take_if(|c| c.build.version != version);
            if entry.refused.take_if(of_other).is_some() || other.is_some() {
                self.news.reports = true;
            }
        }
    }

    /// Components may be allowed now that were not, or the other way round.
    pub(crate) fn forget_allowed(&mut self) {
        for entry in self.entries.values_mut() {
            let by_list = |refusal: &mut Refusal| {
                refusal.version.is_some() && matches!(refusal.stage, "verify" | "set")
            };
            let kept = entry.refused_kept.take_if(by_list).is_some();
            self.news.reports |= entry.refused.take_if(by_list).is_some() || kept;
        }
    }
}

/// A file named like an embedded plugin, `NN-` aside, has its configuration too, unless the file
/// beside it has a `[config]` of its own.
fn source(
    (name, origin): &Id,
    component: &Component,
    settings: &Settings,
    sections: &BTreeMap<String, Section>,
) -> PluginSource {
    let mut limits = component.beside.limits.over(&settings.plugins.limits);
    if *origin == Origin::Embedded {
        limits.file_bytes_max = limits.file_bytes_max.max(component.bytes.len());
    }
    let section = sections.get(stem_without_number(name));
    let default_config = section.map_or("{}", |section| section(settings));
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
