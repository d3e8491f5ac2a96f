//! What operators order, done to the registry. Every answer is lines for people.

use std::time::Instant;

use pgsteer_core::Settings;
use pgsteer_core::admin::Order;
use tracing::info;

use super::directory::stem_without_number;
use super::registry::{Entry, Id, Origin, Refusal, Registry, is_sibling};
use super::rollout::{Build, Candidate, Force, Waits, percent};
use super::shadow::{self, Shadow};
use super::state::Kept;

/// Lines for the operator, or why it was not done.
pub(crate) type Answer = Result<Vec<String>, String>;

impl Registry {
    /// Carries an order out. `Record` is not for the registry.
    pub(crate) fn obey(
        &mut self,
        order: &Order,
        user: &str,
        settings: &Settings,
        now: Instant,
    ) -> Answer {
        let (name, verb) = match order {
            Order::Rollback(name) => (name, "rollback"),
            Order::Pin(name) => (name, "pin"),
            Order::Unpin(name) => (name, "unpin"),
            Order::Disable(name) => (name, "disable"),
            Order::Enable(name) => (name, "enable"),
            Order::Shadow(name, _) => (name, "shadow"),
            Order::Promote(name) => (name, "promote"),
            Order::Record(..) => return Err("RECORD is about no plugin".to_owned()),
        };
        let id = self.find(name)?;
        let answer = match order {
            Order::Rollback(_) => self.roll_back_by(&id, user),
            Order::Pin(_) => self.pin(&id),
            Order::Unpin(_) => self.unpin(&id),
            Order::Disable(_) => self.disable(&id, now),
            Order::Enable(_) => self.enable(&id, now),
            Order::Shadow(_, share) => self.shadow(&id, *share, settings, now),
            Order::Promote(_) | Order::Record(..) => self.promote_by(&id),
        };
        if let Ok(lines) = &answer {
            let result = lines.join("; ");
            info!(
                plugin = id.0,
                order = verb,
                user,
                result,
                "order carried out"
            );
            self.news.reports = true;
        }
        answer
    }

    /// The plugin an operator means: by file name, with or without the number in front.
    fn find(&self, name: &str) -> Result<Id, String> {
        let name = name.strip_suffix(".wasm").unwrap_or(name);
        let exact = self.entries.keys().find(|(other, _)| other == name);
        if let Some(id) = exact {
            return Ok(id.clone());
        }
        let is_meant = |id: &&Id| stem_without_number(&id.0) == name;
        let meant: Vec<&Id> = self.entries.keys().filter(is_meant).collect();
        let files: Vec<&Id> = meant
            .iter()
            .copied()
            .filter(|id| id.1 == Origin::File)
            .collect();
        // A file stands in for the embedded plugin of its name.
        let meant = if files.is_empty() { meant } else { files };
        match meant.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let all: Vec<_> = self.entries.keys().map(|(name, _)| name.as_str()).collect();
                let all = all.join(", ");
                Err(format!("there is no plugin named {name}; there are: {all}"))
            }
            several => {
                let all: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
                Err(format!("{name} may be {}: say which", all.join(" or ")))
            }
        }
    }

    fn entry(&mut self, id: &Id) -> Result<&mut Entry, String> {
        let gone = || format!("there is no plugin named {}", id.0);
        self.entries.get_mut(id).ok_or_else(gone)
    }

    fn roll_back_by(&mut self, id: &Id, user: &str) -> Answer {
        let name = &id.0;
        let entry = self.entry(id)?;
        let nothing =
            || format!("{name}: there is no version to go back to; DISABLE takes it out of force");
        let from = match &entry.force {
            Force::Probation(build, probation) => {
                probation.before.as_ref().ok_or_else(nothing)?;
                build.clone()
            }
            Force::Live(build) => build.clone(),
            Force::Disabled(..) | Force::Out => return Err(format!("{name} is out of force")),
        };
        if matches!(entry.force, Force::Probation(..)) {
            self.roll_back(id, &format!("{user} rolled it back"));
        } else {
            let gone = &entry.words.rolled_back;
            let mut earlier = entry.history.iter().rev();
            let other = earlier.find(|build| {
                build.version != from.version && !gone.contains(&build.version.key())
            });
            let before = other.cloned().ok_or_else(nothing)?;
            entry.refused = Some(Refusal {
                version: Some(from.version.clone()),
                sha256: from.version.sha256.clone(),
                stage: "probation",
                reason: format!("{user} rolled it back; {} decides again", before.name()),
            });
            entry.history.retain(|old| old.version != from.version);
            entry.bring_back(before);
            self.note_went_back(id, &from);
            self.news.set = true;
        }
        let entry = self.entry(id)?;
        entry.candidate = None;
        entry.words.pinned = true;
        let now = entry.force.deciding().map_or_else(String::new, Build::name);
        self.news.words = true;
        Ok(vec![
            format!(
                "{name}: {now} decides again, in the place of {}",
                from.name()
            ),
            format!("it is pinned: newer files wait for PGSTEER PLUGIN {name} UNPIN"),
        ])
    }

    fn pin(&mut self, id: &Id) -> Answer {
        let entry = self.entry(id)?;
        let Some(build) = entry.force.deciding() else {
            return Err(format!("{} is out of force: there is nothing to pin", id.0));
        };
        let name = build.name();
        let kept = Kept::of(&build.version);
        entry.refused_kept = None;
        entry.words.kept = (id.1 == Origin::File).then_some(kept);
        entry.words.pinned = true;
        entry.candidate = None;
        self.news.words = true;
        Ok(vec![format!(
            "{}: {name} is pinned: newer files and settings wait for UNPIN",
            id.0
        )])
    }

    fn unpin(&mut self, id: &Id) -> Answer {
        let entry = self.entry(id)?;
        if !entry.words.pinned {
            return Ok(vec![format!("{} is not pinned", id.0)]);
        }
        entry.words.pinned = false;
        let before_renaming = self.entries.iter_mut().filter(|(other, entry)| {
            is_sibling(other, id) && other.1 == Origin::File && !entry.present
        });
        before_renaming.for_each(|(_, entry)| entry.words.pinned = false);
        let entry = self.entry(id)?;
        let mut lines = vec![format!("{}: newer files are taken again", id.0)];
        if entry.words.rolled_back.is_empty() {
            entry.words.kept = None;
        } else {
            lines.push("a version that went back is taken only after ENABLE".to_owned());
        }
        self.news.words = true;
        Ok(lines)
    }

    fn disable(&mut self, id: &Id, now: Instant) -> Answer {
        let replaced = self.is_replaced(id);
        let name = &id.0;
        let entry = self.entry(id)?;
        if entry.words.disabled {
            return Ok(vec![format!("{name} is out of force already")]);
        }
        if replaced {
            return Err(format!(
                "{name} is not in force: a file of its name stands in for it"
            ));
        }
        entry.words.disabled = true;
        entry.candidate = None;
        let line = match std::mem::take(&mut entry.force) {
            Force::Out => format!("{name} stays out of force"),
            force => {
                let chosen = force.chosen().map_or_else(String::new, Build::name);
                entry.force = match force {
                    Force::Probation(build, mut probation) => {
                        probation.pause(now);
                        Force::Disabled(build, Some(probation))
                    }
                    Force::Live(build) => Force::Disabled(build, None),
                    other => other,
                };
                format!("{name}: {chosen} is out of force")
            }
        };
        self.news.words = true;
        self.news.set = true;
        let back = format!("PGSTEER PLUGIN {name} ENABLE brings it back");
        Ok(vec![line, back])
    }

    fn enable(&mut self, id: &Id, now: Instant) -> Answer {
        let name = &id.0;
        let entry = self.entry(id)?;
        if entry.is_switched_off() {
            return Err(format!(
                "{name} stays out of force: {name}.toml says enabled = false; change it there"
            ));
        }
        let was_disabled = std::mem::take(&mut entry.words.disabled);
        let forgotten = !std::mem::take(&mut entry.words.rolled_back).is_empty();
        let refused = entry.refused.take_if(|refusal| refusal.version.is_some());
        let refused = refused.or(entry.refused_kept.take());
        let mut lines = Vec::new();
        match std::mem::take(&mut entry.force) {
            Force::Disabled(build, probation) => {
                build.plugin.release();
                lines.push(format!("{name}: {} is in force again", build.name()));
                entry.force = match probation {
                    Some(mut probation) => {
                        probation.resume(now);
                        Force::Probation(build, probation)
                    }
                    None => Force::Live(build),
                };
                self.news.set = true;
            }
            Force::Out => lines.push(format!("{name}: its file is tried now")),
            other => {
                let plugin = other.deciding().map(|build| &build.plugin);
                if let Some(plugin) = plugin.filter(|plugin| plugin.is_quarantined()) {
                    plugin.release();
                    lines.push(format!("{name} is asked again"));
                } else if !was_disabled && refused.is_none() {
                    lines.push(format!("{name} is in force"));
                }
                entry.force = other;
            }
        }
        if refused.is_some() || forgotten {
            lines.push("versions that were refused or went back are tried again".to_owned());
        }
        self.news.words = true;
        Ok(lines)
    }

    fn shadow(&mut self, id: &Id, share: f64, settings: &Settings, now: Instant) -> Answer {
        let name = &id.0;
        let old = self.previous(id).map(|build| build.plugin.hooks);
        let entry = self.entry(id)?;
        entry.words.shadow = (share > 0.0).then_some(share);
        self.news.words = true;
        let entry = self.entry(id)?;
        let shadowed = entry
            .candidate
            .as_ref()
            .filter(|candidate| matches!(candidate.waits, Waits::Shadow(_)))
            .map(|candidate| candidate.build.name());
        if share <= 0.0 {
            let usual = percent(entry.rollout(settings).shadow_share);
            let mut lines = vec![format!("{name}: shadow is {usual}, as configured")];
            if let Some(version) = shadowed {
                self.refuse_candidate(id, "shadow", "an operator stopped its shadow");
                lines.push(format!("{version} is not compared any more, and not taken"));
            }
            return Ok(lines);
        }
        let share_in_words = percent(share);
        if let Some(version) = shadowed {
            if let Some(Candidate {
                waits: Waits::Shadow(shadow),
                ..
            }) = &mut entry.candidate
            {
                shadow.share = share;
            }
            return Ok(vec![format!(
                "{name}: {version} is asked about {share_in_words}"
            )]);
        }
        let is_comparable = |build: &Build, before: &Build| {
            !shadow::common(build.plugin.hooks, before.plugin.hooks).is_empty()
        };
        match std::mem::take(&mut entry.force) {
            // Of a pinned version nothing is changed but by name.
            Force::Probation(build, mut probation) if !entry.words.pinned => {
                let before = probation
                    .before
                    .take_if(|before| is_comparable(&build, before));
                if let Some(before) = before {
                    let line = format!(
                        "{name}: {} decides again, {} is asked beside it about {share_in_words}",
                        before.name(),
                        build.name()
                    );
                    entry.bring_back(before);
                    let waits = Waits::Shadow(Shadow::new(share, now));
                    entry.candidate = Some(Candidate { build, waits });
                    self.news.set = true;
                    return Ok(vec![line]);
                }
                entry.force = Force::Probation(build, probation);
            }
            other => entry.force = other,
        }
        let speaks = old.is_some_and(|old| !shadow::common(old, old).is_empty());
        let line = if speaks {
            "its next version is asked beside it about"
        } else {
            "nothing in force to compare with yet; later versions are asked about"
        };
        Ok(vec![format!(
            "{name}: {line} {share_in_words} of the statements"
        )])
    }

    fn promote_by(&mut self, id: &Id) -> Answer {
        let entry = self.entry(id)?;
        let Some(candidate) = &mut entry.candidate else {
            return Err(format!("{}: there is no shadow to promote", id.0));
        };
        let tally = match &candidate.waits {
            Waits::Shadow(shadow) => shadow.tally(),
            Waits::Others => return Err(format!("{}: it waits for the others of its set", id.0)),
        };
        candidate.waits = Waits::Others;
        let when = match entry.set {
            Some(_) => "decides as soon as the others of its set are ready",
            None => "decides now",
        };
        Ok(vec![format!(
            "{}: {} {when} and is watched; {} statements were compared, {} answered in another way",
            id.0,
            candidate.build.name(),
            tally.asked,
            tally.different
        )])
    }
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;
