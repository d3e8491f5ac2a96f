//! What the registry publishes: the plugins in force, and what became of each file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::policy::{PluginReport, PluginState, PolicySet};
use pgsteer_core::{Generation, Settings};

use super::registry::{Entry, Id, Registry};
use super::rollout::{Build, Force, Waits};

/// What is to be published.
#[derive(Debug)]
pub(crate) struct Changes {
    /// What is in force, if that changed.
    pub(crate) set: Option<PolicySet>,
    pub(crate) reports: Vec<PluginReport>,
}

impl Registry {
    /// What changed since it was asked for last; the progress of what is watched once a second.
    pub(crate) fn take_changes(&mut self, settings: &Settings, now: Instant) -> Option<Changes> {
        let resting = self
            .deciding()
            .filter(|b| b.plugin.is_quarantined())
            .count();
        let told = self.news.reported;
        let old = told.is_none_or(|(at, _)| now.saturating_duration_since(at) >= PROGRESS);
        let stale = told.is_some_and(|(_, before)| before != resting);
        let progressed = old && self.is_watching();
        if !(self.news.set || self.news.reports || stale || progressed) {
            return None;
        }
        self.news.reports = false;
        self.news.reported = Some((now, resting));
        let set = std::mem::take(&mut self.news.set).then(|| {
            self.generation = Generation(self.generation.0 + 1);
            PolicySet {
                generation: self.generation,
                plugins: self
                    .deciding()
                    .map(|build| Arc::clone(&build.plugin))
                    .collect(),
            }
        });
        let reports = |(id, entry): (&Id, &Entry)| self.reports(id, entry, settings, now);
        let reports = self.entries.iter().flat_map(reports).collect();
        Some(Changes { set, reports })
    }

    /// Whether something is on its way that time alone moves on.
    pub(crate) fn is_watching(&self) -> bool {
        self.entries
            .values()
            .any(|entry| matches!(entry.force, Force::Probation(..)) || entry.candidate.is_some())
    }

    /// The versions in force, in the order they are asked.
    fn deciding(&self) -> impl Iterator<Item = &Build> {
        let stays = self.entries.iter().filter(|(id, _)| !self.is_replaced(id));
        stays.filter_map(|(_, entry)| entry.force.deciding())
    }

    fn reports(
        &self,
        id: &Id,
        entry: &Entry,
        settings: &Settings,
        now: Instant,
    ) -> Vec<PluginReport> {
        let rollout = entry.rollout(settings);
        let line = |state, sha256: &str, reason: String, build: Option<&Build>| PluginReport {
            file_name: id.0.clone(),
            sha256: sha256.to_owned(),
            state,
            pinned: entry.words.pinned,
            reason,
            plugin: build.map(|build| Arc::clone(&build.plugin)),
        };
        let of =
            |state, reason, build: &Build| line(state, &build.version.sha256, reason, Some(build));
        let mut lines = Vec::new();
        match &entry.force {
            _ if self.is_replaced(id) => return lines,
            Force::Live(build) => lines.push(of(PluginState::Live, rest(id, build), build)),
            Force::Probation(build, probation) => {
                let progress = probation.progress(&build.plugin, &rollout, now);
                lines.push(of(PluginState::Probation, progress, build));
            }
            Force::Disabled(build, _) => {
                let reason = format!("an operator disabled it; PGSTEER PLUGIN {} ENABLE", id.0);
                lines.push(of(PluginState::Disabled, reason, build));
            }
            Force::Out if entry.words.disabled && entry.present => {
                let reason = format!("an operator disabled it; PGSTEER PLUGIN {} ENABLE", id.0);
                let sha256 = entry.component.as_ref().map_or("", |c| c.sha256.as_str());
                lines.push(line(PluginState::Disabled, sha256, reason, None));
            }
            Force::Out if entry.is_switched_off() => {
                let reason = format!("{}.toml says enabled = false", id.0);
                let sha256 = entry.component.as_ref().map_or("", |c| c.sha256.as_str());
                lines.push(line(PluginState::Disabled, sha256, reason, None));
            }
            Force::Out => {}
        }
        if let Some(candidate) = &entry.candidate {
            let progress = match &candidate.waits {
                Waits::Shadow(shadow) => shadow.progress(&rollout, now),
                Waits::Others => "ready, waits for the others of its set".to_owned(),
            };
            lines.push(of(PluginState::Shadow, progress, &candidate.build));
        }
        for refusal in entry.refused.iter().chain(&entry.refused_kept) {
            let reason = refusal.reason.clone();
            lines.push(line(PluginState::Refused, &refusal.sha256, reason, None));
        }
        lines
    }
}

/// What there is to say about a plugin in force.
fn rest((name, _): &Id, build: &Build) -> String {
    if !build.plugin.is_quarantined() {
        return String::new();
    }
    format!(
        "left alone for its failures; drop a new version, or PGSTEER PLUGIN {name} ENABLE asks it \
         again"
    )
}

/// How often progress is published.
const PROGRESS: Duration = Duration::from_secs(1);
