//! The steps of the state machine: loaded, shadow, probation, live, and back. Sets take every step
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use pgsteer_core::policy::{LoadError, LoadedPlugin, Plugin};
use pgsteer_core::settings::OnFailure;
use pgsteer_core::{Generation, Settings};
use tracing::{info, warn};

use super::plan::Work;
use super::probation::{Probation, Verdict};
use super::registry::{Entry, Id, Origin, Refusal, Registry, is_sibling};
use super::rollout::{Build, Candidate, Force, Version, Waits};
use super::shadow::{self, Outcome, Shadow};
use super::state::Kept;

/// What became of a load.
pub(crate) type Loaded = (Work, Result<LoadedPlugin, LoadError>);

impl Registry {
    /// Notes what became of loads. Of a set, one that was refused keeps back all.
    pub(crate) fn loaded(&mut self, results: Vec<Loaded>, settings: &Settings, now: Instant) {
        let mut broken = BTreeMap::new();
        for (work, result) in &results {
            if let (Some(set), Err(error)) = (work.set, result) {
                let name = &work.id.0;
                let told =
                    || format!("{name} of the same set was {error}; mend it and all are tried");
                broken.entry(set).or_insert_with(told);
            }
        }
        for (work, result) in results {
            let of_set = work.set.and_then(|set| broken.get(&set));
            match (result, of_set) {
                (Err(error), _) => self.refuse_work(&work, error),
                (Ok(_), Some(reason)) => {
                    let (stage, reason) = ("set", reason.clone());
                    self.refuse_work(&work, LoadError { stage, reason });
                }
                (Ok(loaded), None) => self.accept(&work, loaded, settings, now),
            }
        }
    }

    fn accept(&mut self, work: &Work, loaded: LoadedPlugin, settings: &Settings, now: Instant) {
        let next = Generation(self.generation.0 + 1);
        let old = self.previous(&work.id).map(|build| build.plugin.hooks);
        let trouble = Arc::clone(&self.trouble);
        let Some(entry) = self.entries.get_mut(&work.id) else {
            return;
        };
        // An operator may have spoken since it was begun.
        let version = Version::of(&work.source);
        let words = &entry.words;
        let went_back = words.rolled_back.contains(&version.key());
        let pinned = words.pinned && old.is_some();
        if words.disabled || pinned || went_back || entry.is_switched_off() {
            return;
        }
        let plugin = Arc::new(Plugin::new(&work.source, loaded, next, trouble));
        info!(
            plugin = work.id.0,
            version = plugin.version,
            sha256 = work.source.sha256,
            compiled = !plugin.report.was_compiled,
            golden_asked = plugin.report.golden_asked,
            golden_different = plugin.report.golden_different,
            "plugin loaded"
        );
        let share = entry.words.shadow;
        let share = share.unwrap_or(entry.rollout(settings).shadow_share);
        let comparable = old.is_some_and(|old| !shadow::common(old, plugin.hooks).is_empty());
        let waits = if share > 0.0 && comparable && self.watches {
            Waits::Shadow(Shadow::new(share, now))
        } else {
            Waits::Others
        };
        let build = Build {
            version,
            bytes: Arc::clone(&work.source.bytes),
            plugin,
        };
        entry.candidate = Some(Candidate { build, waits });
        // What a file holds may go on being refused while what was kept decides.
        entry.refused.take_if(|_| !work.is_kept);
        self.news.reports = true;
    }

    /// Takes every step that is due: candidates go live, versions that are watched settle or go
    /// back.
    pub(crate) fn step(&mut self, settings: &Settings, now: Instant) {
        self.judge_shadows(settings, now);
        self.promote_ready(settings, now);
        self.judge_probations(settings, now);
        self.drop_replaced();
    }

    fn judge_shadows(&mut self, settings: &Settings, now: Instant) {
        let mut refused = Vec::new();
        for (id, entry) in &mut self.entries {
            let rollout = entry.rollout(settings);
            let Some(candidate) = &mut entry.candidate else {
                continue;
            };
            let Waits::Shadow(shadow) = &candidate.waits else {
                continue;
            };
            match shadow.judge(&rollout, now) {
                Outcome::Going => {}
                Outcome::Passed(result) => {
                    let version = &candidate.build.plugin.version;
                    info!(plugin = id.0, version, result, "plugin passed its shadow");
                    candidate.waits = Waits::Others;
                }
                Outcome::Refused(reason) => refused.push((id.clone(), reason)),
            }
        }
        for (id, reason) in refused {
            self.refuse_candidate(&id, "shadow", &reason);
        }
    }

    /// A candidate goes, and those of its set with it.
    pub(super) fn refuse_candidate(&mut self, id: &Id, stage: &'static str, reason: &str) {
        let set = self.entries.get(id).and_then(|entry| entry.set);
        let of_set = |(other, entry): (&Id, &Entry)| {
            let together = set.is_some() && entry.set == set;
            (other == id || together).then(|| other.clone())
        };
        let all: Vec<Id> = self.entries.iter().filter_map(of_set).collect();
        for other in all {
            let entry = self.entries.get_mut(&other);
            let Some(candidate) = entry.and_then(|entry| entry.candidate.take()) else {
                continue;
            };
            let error = if other == *id {
                let reason = reason.to_owned();
                LoadError { stage, reason }
            } else {
                let reason = format!("{} of the same set was refused at stage {stage}", id.0);
                let stage = "set";
                LoadError { stage, reason }
            };
            let version = candidate.build.version;
            let sha256 = version.sha256.clone();
            self.refuse(&other, Some(version), sha256, error);
        }
    }

    /// Candidates that wait for nothing go into force; those of a set when all of it is ready.
    fn promote_ready(&mut self, settings: &Settings, now: Instant) {
        let outstanding = self.outstanding(settings);
        let mut held: BTreeSet<u64> = outstanding.iter().filter_map(|work| work.set).collect();
        let mut ready = Vec::new();
        for (id, entry) in &self.entries {
            match entry.candidate.as_ref().map(|candidate| &candidate.waits) {
                Some(Waits::Shadow(_)) => held.extend(entry.set),
                Some(Waits::Others) => ready.push((id.clone(), entry.set)),
                None => {}
            }
        }
        for (id, set) in ready {
            if set.is_none_or(|set| !held.contains(&set)) {
                self.promote(&id, settings, now);
            }
        }
    }

    fn promote(&mut self, id: &Id, settings: &Settings, now: Instant) {
        let renamed = self.take_renamed(id);
        let watches = self.watches;
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Some(Candidate { build, .. }) = entry.candidate.take() else {
            return;
        };
        let before = std::mem::take(&mut entry.force).into_proven().or(renamed);
        entry.history.push_back(build.clone());
        if entry.history.len() > HISTORY_MAX {
            entry.history.pop_front();
        }
        let watched = watches && !entry.rollout(settings).probation_time.is_zero();
        info!(
            plugin = id.0,
            version = build.plugin.version,
            sha256 = build.version.sha256,
            before = before
                .as_ref()
                .map_or("none", |b| b.plugin.version.as_str()),
            watched,
            "plugin in force"
        );
        entry.force = if watched {
            let probation = Probation::new(&build, before, now);
            Force::Probation(build, Box::new(probation))
        } else {
            entry.set = None;
            Force::Live(build)
        };
        self.news.set = true;
    }

    /// Takes the place of the file this one was before it was renamed, if it was.
    fn take_renamed(&mut self, id: &Id) -> Option<Build> {
        let present = self.entries.get(id).is_some_and(|entry| entry.present);
        let gone = |(other, entry): &(&Id, &Entry)| {
            let is_file = other.1 == Origin::File && id.1 == Origin::File;
            let gone = !entry.present && !entry.words.pinned;
            is_file && is_sibling(other, id) && gone && entry.force.deciding().is_some()
        };
        let other = self.entries.iter().find(gone).filter(|_| present);
        let other = other.map(|(other, _)| other.clone())?;
        let old = self.entries.remove(&other)?;
        if let Some(entry) = self.entries.get_mut(id) {
            entry.history = old.history;
        }
        old.force.into_proven()
    }

    fn judge_probations(&mut self, settings: &Settings, now: Instant) {
        let mut settled = Vec::new();
        let mut staying = Vec::new();
        let mut watched = BTreeSet::new();
        let mut failed = Vec::new();
        for (id, entry) in &mut self.entries {
            let (rollout, set) = (entry.rollout(settings), entry.set);
            let Force::Probation(build, probation) = &mut entry.force else {
                continue;
            };
            match probation.judge(&build.plugin, &rollout, now) {
                // Without it everything would pass that must not pass without it.
                Verdict::Failed(reason) if probation.before.is_none() && must_stay(build) => {
                    let advice = "drop a better version, or PGSTEER PLUGIN name DISABLE";
                    warn!(
                        plugin = id.0,
                        reason,
                        advice,
                        "plugin failed its probation and stays: nothing was before it, and \
                         on_failure is reject"
                    );
                    staying.push(id.clone());
                }
                Verdict::Watched => watched.extend(set),
                Verdict::Settled => settled.push((id.clone(), set)),
                Verdict::Failed(reason) => failed.push((id.clone(), reason)),
            }
        }
        // It would not go back with its set either.
        for id in staying {
            self.settle(&id);
        }
        for (id, reason) in failed {
            self.roll_back(&id, &reason);
        }
        for (id, set) in settled {
            // Those of a set settle together, so that they can go back together until then.
            if set.is_none_or(|set| !watched.contains(&set)) {
                self.settle(&id);
            }
        }
    }

    fn settle(&mut self, id: &Id) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        // Its set may have gone back since it was judged.
        let Force::Probation(build, _) = &entry.force else {
            return;
        };
        let build = build.clone();
        let (version, sha256) = (&build.plugin.version, &build.version.sha256);
        info!(plugin = id.0, version, sha256, "plugin settled");
        entry.force = Force::Live(build);
        entry.set = None;
        if !entry.words.pinned {
            self.news.words |= entry.words.kept.take().is_some();
        }
        self.news.reports = true;
    }

    /// A version that is watched goes, and those of its set with it; the versions before them come
    /// back.
    pub(super) fn roll_back(&mut self, id: &Id, reason: &str) {
        let set = self.entries.get(id).and_then(|entry| entry.set);
        let of_set = |(other, entry): (&Id, &Entry)| {
            let together = set.is_some() && entry.set == set;
            (other == id || together).then(|| other.clone())
        };
        let all: Vec<Id> = self.entries.iter().filter_map(of_set).collect();
        for other in all {
            let told = if other == *id {
                reason.to_owned()
            } else {
                format!("{} of the same set went back: {reason}", id.0)
            };
            self.roll_back_one(&other, &told);
        }
    }

    fn roll_back_one(&mut self, id: &Id, reason: &str) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let disabled = matches!(entry.force, Force::Disabled(..));
        let (build, before) = match std::mem::take(&mut entry.force) {
            Force::Probation(build, probation) | Force::Disabled(build, Some(probation)) => {
                (build, probation.before)
            }
            other => {
                entry.force = other;
                return;
            }
        };
        let stays = before.as_ref().map_or_else(
            || "nothing was before it, so it is out of force".to_owned(),
            |before| {
                let again = if disabled {
                    "is what ENABLE brings back"
                } else {
                    "decides again"
                };
                format!("{} {again}", before.name())
            },
        );
        let error = LoadError {
            stage: "probation",
            reason: format!("{reason}; {stays}"),
        };
        let (version, sha256) = (&build.plugin.version, &build.version.sha256);
        let told = &error.reason;
        warn!(
            plugin = id.0,
            version,
            sha256,
            reason = told,
            "plugin rolled back"
        );
        entry.refused = Some(Refusal {
            sha256: sha256.clone(),
            stage: error.stage,
            reason: error.to_string(),
            version: Some(build.version.clone()),
        });
        entry.history.retain(|old| old.version != build.version);
        if let Some(before) = before {
            entry.bring_back(before.clone());
            if disabled {
                entry.force = Force::Disabled(before, None);
            }
        }
        self.note_went_back(id, &build);
        self.news.set = true;
    }

    /// Remembers over restarts that a version went back, and which one decides in its place.
    pub(super) fn note_went_back(&mut self, id: &Id, build: &Build) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let key = build.version.key();
        let decides = entry.force.chosen();
        // The embedded plugin is always there; and what differs in limits alone has the same key.
        if id.1 == Origin::Embedded || decides.is_some_and(|build| build.version.key() == key) {
            return;
        }
        let kept = decides.map(|build| Kept::of(&build.version));
        entry.refused_kept = None;
        entry.words.note_rolled_back(key);
        entry.words.kept = kept;
        self.news.words = true;
    }

    /// What is being compared now.
    pub(crate) fn shadows(&self) -> Vec<(Shadow, Arc<Plugin>, Arc<Plugin>)> {
        let shadow = |(id, entry): (&Id, &Entry)| {
            let candidate = entry.candidate.as_ref()?;
            let Waits::Shadow(shadow) = &candidate.waits else {
                return None;
            };
            let old = Arc::clone(&self.previous(id)?.plugin);
            Some((shadow.clone(), old, Arc::clone(&candidate.build.plugin)))
        };
        self.entries.iter().filter_map(shadow).collect()
    }
}

/// Whether statements must not pass without this plugin, however badly it does.
fn must_stay(build: &Build) -> bool {
    build.plugin.on_failure == OnFailure::Reject
}

/// Versions of a plugin that are kept for going back (the design's five).
const HISTORY_MAX: usize = 5;

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
