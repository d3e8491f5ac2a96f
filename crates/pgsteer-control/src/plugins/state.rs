//! What operators said about plugins, and which versions went back, kept over restarts in
//! `plugins.toml` of the state directory; the components of versions that must outlive their file
//! are kept beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::policy::Grants;
use pgsteer_core::settings::{OnFailure, PluginLimits};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::rollout::Version;
use super::verify;
use crate::files::replace;

/// What is remembered about one plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Words {
    /// The version in force stays.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) pinned: bool,
    /// Out of force.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) disabled: bool,
    /// Share of the statements for the shadow of its next versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<f64>,
    /// Versions that went back ([`super::rollout::Version::key`]), the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rolled_back: Vec<String>,
    /// The version in force, if it is not the one in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Kept>,
}

/// A version whose component is kept in the state directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// SHA-256 of the component in hexadecimal.
    pub(crate) sha256: String,
    /// Its configuration, a JSON object.
    pub(crate) config: String,
    /// What it might do, by name; those of today if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grants: Option<Vec<String>>,
    /// Its limits; those of today if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
}

impl Kept {
    pub(crate) fn of(version: &Version) -> Self {
        Self {
            sha256: version.sha256.clone(),
            config: version.config.clone(),
            grants: Some(version.grants.names().map(str::to_owned).collect()),
            limits: Some(Limits(version.limits.clone())),
        }
    }

    /// What it might do.
    pub(crate) fn grants(&self) -> Option<Grants> {
        let names = self.grants.as_ref()?.iter();
        let known = names.filter_map(|name| Grants::from_name(name));
        Some(known.fold(Grants::default(), Grants::with))
    }
}

/// The limits of a version as they are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits(#[serde(with = "WrittenLimits")] pub(crate) PluginLimits);

#[derive(Serialize, Deserialize)]
#[serde(remote = "PluginLimits", deny_unknown_fields)]
struct WrittenLimits {
    results_bytes_max: usize,
    log_lines_max: u32,
    functions_max: u32,
    decision_timeout: Duration,
    configure_timeout: Duration,
    memory_bytes_max: usize,
    file_bytes_max: usize,
    #[serde(with = "WrittenOnFailure")]
    on_failure: OnFailure,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnFailure", rename_all = "kebab-case")]
enum WrittenOnFailure {
    Skip,
    Reject,
    LastGood,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Words {
    /// Notes that a version went back.
    pub(crate) fn note_rolled_back(&mut self, key: String) {
        self.rolled_back.retain(|other| *other != key);
        self.rolled_back.push(key);
        if self.rolled_back.len() > ROLLED_BACK_MAX {
            self.rolled_back.remove(0);
        }
    }
}

/// Everything that is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// By file name without extension.
    pub(crate) words: BTreeMap<String, Words>,
    /// Components by their SHA-256.
    pub(crate) components: BTreeMap<String, Arc<[u8]>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    plugins: BTreeMap<String, Words>,
}

impl State {
    /// Reads what was kept; nothing if nothing was. Blocks.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn load(directory: &Path) -> Result<Self, String> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        verify::file(&path.display().to_string(), &metadata)?;
        let written: Written = toml::from_str(&text).map_err(|error| {
            let problem = error.message();
            format!("{} is not as it was written: {problem}", path.display())
        })?;
        let mut state = Self {
            words: written.plugins,
            components: BTreeMap::new(),
        };
        let kept: BTreeSet<_> = state.hashes().collect();
        for hash in kept {
            let path = component(directory, &hash);
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(unreadable(&path, &error));
                }
                read => read.unwrap_or_default(),
            };
            if super::sha256(&bytes) == hash {
                state.components.insert(hash, bytes.into());
            }
        }
        Ok(state)
    }

    /// Writes it, whole or not at all. Blocks.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn save(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory.join(COMPONENTS))?;
        for hash in self.hashes() {
            let path = component(directory, &hash);
            let Some(bytes) = self.components.get(&hash) else {
                continue;
            };
            if !path.exists() {
                replace(&path, bytes)?;
            }
        }
        let said = self.words.iter().filter(|(_, w)| **w != Words::default());
        let written = Written {
            plugins: said
                .map(|(name, words)| (name.clone(), words.clone()))
                .collect(),
        };
        let text = toml::to_string(&written).map_err(io::Error::other)?;
        replace(&directory.join(FILE), format!("{HEAD}{text}").as_bytes())?;
        // What was said is written all the same.
        if let Err(error) = self.tidy(directory) {
            let dir = directory.display().to_string();
            warn!(dir, %error, "components that nobody needs could not be removed");
        }
        Ok(())
    }

    /// Removes components that nobody needs any more.
    fn tidy(&self, directory: &Path) -> io::Result<()> {
        let kept: BTreeSet<_> = self.hashes().map(|hash| format!("{hash}.wasm")).collect();
        for entry in fs::read_dir(directory.join(COMPONENTS))? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if !kept.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn hashes(&self) -> impl Iterator<Item = String> {
        let kept = self.words.values().filter_map(|words| words.kept.as_ref());
        let hashes = kept.map(|kept| kept.sha256.clone());
        // It becomes part of a path.
        hashes.filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

fn component(directory: &Path, hash: &str) -> std::path::PathBuf {
    directory.join(COMPONENTS).join(format!("{hash}.wasm"))
}

const FILE: &str = "plugins.toml";
const COMPONENTS: &str = "kept";
const HEAD: &str = "# What operators said about plugins; written by pgsteer.\n";

/// Versions that are remembered as gone back (ours).
const ROLLED_BACK_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        let load = || State::load(&path).expect("readable");
        assert!(load().words.is_empty());
        let bytes: Arc<[u8]> = b"component".as_slice().into();
        let kept = Kept {
            sha256: crate::plugins::sha256(&bytes),
            config: "{\"x\":1}".to_owned(),
            grants: Some(vec!["kv".to_owned()]),
            limits: Some(Limits(crate::testing::settings().plugins.limits)),
        };
        let words = Words {
            pinned: true,
            shadow: Some(0.05),
            rolled_back: vec!["abc/123".to_owned()],
            kept: Some(kept.clone()),
            ..Words::default()
        };
        let mut state = State::default();
        state.words.insert("10-a".to_owned(), words);
        state.words.insert("20-b".to_owned(), Words::default());
        state.components.insert(kept.sha256.clone(), bytes);
        state.save(&path).expect("written");
        let found = load();
        assert_eq!(found.words.len(), 1, "nothing was said about the other");
        assert_eq!(found.words["10-a"], state.words["10-a"]);
        assert_eq!(&*found.components[&kept.sha256], b"component");

        fs::write(component(&path, &kept.sha256), "other").expect("written");
        assert!(load().components.is_empty(), "it is not what it was");
        state.words.clear();
        state.save(&path).expect("written");
        assert!(!component(&path, &kept.sha256).exists(), "nobody needs it");
        fs::write(path.join(FILE), "[plugins.x]\nodd = 1\n").expect("written");
        assert!(State::load(&path).expect_err("odd").contains("odd"));
    }

    #[test]
    fn few_versions_are_remembered() {
        let mut words = Words::default();
        for number in 0..40 {
            words.note_rolled_back(format!("{}", number % 20));
        }
        assert_eq!(words.rolled_back.len(), ROLLED_BACK_MAX);
        assert_eq!(words.rolled_back.last().map(String::as_str), Some("19"));
    }
}
