//! Configuration in three stages: as written (`raw`), checked (`validate`), and settings that cannot
//! be wrong ([`pgsteer_core::Settings`]). A file or environment variables are the source.

mod auth;
mod backend_nodes;
mod changes;
pub(crate) mod check;
#[cfg(test)]
mod docs;
mod environment;
#[cfg(test)]
mod environment_tests;
mod error;
mod failover;
pub(crate) mod hba;
mod keys;
mod limits;
mod listen;
mod operation;
pub(crate) mod plugins;
mod pool;
pub(crate) mod raw;
mod shape;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod units;
pub(crate) mod userlist;
pub(crate) mod validate;
mod variables;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use pgsteer_core::Settings;

pub(crate) use backend_nodes::flag as backend_flag;
pub use changes::Changes;
pub use error::{ConfigError, ConfigErrors};
pub use keys::{Kind, Reload, SETTINGS, Setting};
pub(crate) use shape::syntax_error;

use check::{Checker, Origin, ReadFile};

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A TOML file.
    File(PathBuf),
    /// The `PGPOOL_*` variables of the `bitnami/pgpool` image.
    Environment,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What an operator should read: variables that have no effect, odd values. One sentence each.
    pub warnings: Vec<String>,
    /// What is worth a line but needs no action.
    pub notes: Vec<String>,
    /// What it was read from.
    pub files: Files,
}

/// Files as they were read for a configuration.
#[derive(Clone, Default)]
pub struct Files(HashMap<PathBuf, String>);

// There may be passwords in them.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Loads the configuration from a file or from the variables of this process. In both cases
/// `PGSTEER_PLUGINS_DIR` overrides `plugins.dir`.
///
/// Blocks while it reads files.
///
/// # Errors
/// Every mistake that was found, not only the first.
pub fn load(source: &Source) -> Result<Loaded, ConfigErrors> {
    load_changed(source, &Changes::default(), &Files::default())
}

/// The same with what operators changed since it was read from these files: they count as they were
/// then, so that nothing else changes.
///
/// # Errors
/// As [`load`].
pub fn load_changed(
    source: &Source,
    changes: &Changes,
    files: &Files,
) -> Result<Loaded, ConfigErrors> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let read = RefCell::new(Files::default());
    let read_file = |path: &Path| {
        let text = match files.0.get(path) {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(path)?,
        };
        read.borrow_mut().0.insert(path.to_path_buf(), text.clone());
        Ok(text)
    };
    let loaded = load_with(source, changes, variables, &read_file, cores)?;
    Ok(Loaded {
        files: read.into_inner(),
        ..loaded
    })
}

/// [`load_changed`] as a pure function of the variables, of what `read_file` returns, and of the number of
/// processor cores.
///
/// # Errors
/// Every mistake that was found, not only the first.
pub fn load_with(
    source: &Source,
    changes: &Changes,
    variables: impl IntoIterator<Item = (String, String)>,
    read_file: ReadFile<'_>,
    cores: usize,
) -> Result<Loaded, ConfigErrors> {
    match source {
        Source::File(path) => from_file(path, changes, variables, read_file, cores),
        Source::Environment => environment::load(changes, variables, read_file, cores),
    }
}

fn from_file(
    path: &Path,
    changes: &Changes,
    variables: impl IntoIterator<Item = (String, String)>,
    read_file: ReadFile<'_>,
    cores: usize,
) -> Result<Loaded, ConfigErrors> {
    let file = path.display().to_string();
    let text = read_file(path).map_err(|error| ConfigErrors(vec![unreadable(&file, &error)]))?;
    let mut origin = Origin {
        file: Some(file.clone()),
        base: path.parent().map(Path::to_path_buf).unwrap_or_default(),
        ..Origin::default()
    };
    let plugins_dir = variables
        .into_iter()
        .find(|(name, value)| name == PLUGINS_DIR && !value.is_empty())
        .map(|(_, value)| value);
    if plugins_dir.is_some() {
        origin
            .variables
            .insert("plugins.dir".to_owned(), PLUGINS_DIR.to_owned());
    }
    changes.mark(&mut origin);
    let mut checker = Checker::new(&origin, read_file);
    let Some(mut raw) = shape::read(&text, changes, &mut checker, &file) else {
        return Err(ConfigErrors(checker.errors));
    };
    if let Some(dir) = plugins_dir {
        raw.plugins.dir = Some(toml::Value::String(dir));
    }
    let settings = validate::settings(raw, cores, &mut checker);
    finish(checker, settings, Vec::new())
}

fn finish(
    checker: Checker<'_>,
    settings: Settings,
    notes: Vec<String>,
) -> Result<Loaded, ConfigErrors> {
    if checker.errors.is_empty() {
        return Ok(Loaded {
            settings,
            warnings: checker.warnings,
            notes,
            files: Files::default(),
        });
    }
    Err(ConfigErrors(checker.errors))
}

fn unreadable(file: &str, error: &io::Error) -> ConfigError {
    ConfigError {
        file: Some(file.to_owned()),
        place: "file".to_owned(),
        problem: format!("cannot be read: {error}"),
        advice: "name an existing file with --config".to_owned(),
    }
}

/// Variable that overrides `plugins.dir`.
const PLUGINS_DIR: &str = "PGSTEER_PLUGINS_DIR";
