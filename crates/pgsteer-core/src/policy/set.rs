//! The plugins in force, in the order they are asked.

use std::sync::{Arc, Mutex, PoisonError};

use super::{FailureClass, LoadedPlugin, PluginSource, PolicyError, Router, RouterFactory};
use crate::Generation;
use crate::counters::Counter;
use crate::settings::OnFailure;

/// What one worker counted about one plugin.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PluginCounters {
    /// Questions that went to the plugin.
    pub calls: Counter,
    /// Questions answered from memory.
    pub cached: Counter,
    /// Questions it failed to answer.
    pub failures: Counter,
}

/// A plugin in force.
#[derive(Debug)]
pub struct Plugin {
    /// File name without directory and extension.
    pub file_name: String,
    /// Name from its manifest.
    pub name: String,
    /// Version from its manifest.
    pub version: String,
    /// SHA-256 of the component in hexadecimal.
    pub sha256: String,
    /// Hooks it implements.
    pub hooks: Vec<&'static str>,
    /// Plugin generation in which it went live.
    pub generation: Generation,
    /// Its answers may be remembered.
    pub deterministic: bool,
    /// What it wants to be told about statements, bits of [`super::needs`].
    pub needs: u64,
    /// What happens to a statement when it fails.
    pub on_failure: OnFailure,
    factory: Arc<dyn RouterFactory>,
    // One mailbox per worker: filled by the loader, emptied once by the worker.
    mailboxes: Box<[Mailbox]>,
    counters: Box<[PluginCounters]>,
}

struct Mailbox(Mutex<Option<Box<dyn Router>>>);

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox")
    }
}

impl Plugin {
    /// Puts a loaded plugin in force.
    #[must_use]
    pub fn new(source: &PluginSource, loaded: LoadedPlugin, generation: Generation) -> Self {
        let counters = loaded
            .instances
            .iter()
            .map(|_| PluginCounters::default())
            .collect();
        let mailbox = |router| Mailbox(Mutex::new(Some(router)));
        Self {
            file_name: source.name.clone(),
            name: loaded.name,
            version: loaded.version,
            sha256: source.sha256.clone(),
            hooks: loaded.hooks,
            generation,
            deterministic: loaded.deterministic,
            needs: loaded.needs,
            on_failure: source.limits.on_failure,
            factory: loaded.factory,
            mailboxes: loaded.instances.into_iter().map(mailbox).collect(),
            counters,
        }
    }

    /// The instance built for this worker, the first time; a fresh one afterwards.
    ///
    /// # Errors
    /// A fresh instance was needed and could not be set up.
    pub fn instance(&self, worker: usize) -> Result<Box<dyn Router>, PolicyError> {
        let mailbox = self.mailboxes.get(worker).ok_or_else(|| PolicyError {
            class: FailureClass::Invalid,
            reason: format!("no instance for worker {worker}"),
        })?;
        let ready = mailbox
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        ready.map_or_else(|| self.factory.instantiate(), Ok)
    }

    /// The counters of one worker, which alone may write them.
    #[must_use]
    pub fn counters(&self, worker: usize) -> &PluginCounters {
        &self.counters[worker]
    }

    /// Sum over all workers.
    #[must_use]
    pub fn sum(&self, read: impl Fn(&PluginCounters) -> u64) -> u64 {
        self.counters.iter().map(read).sum()
    }
}

/// All plugins in force. A worker notices a change by the generation.
#[derive(Debug, Default)]
pub struct PolicySet {
    /// Grows with every change of plugins.
    pub generation: Generation,
    /// In the order they are asked.
    pub plugins: Vec<Arc<Plugin>>,
}

/// What became of a plugin file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginState {
    /// It decides.
    Live,
    /// It was refused; whatever ran before goes on.
    Refused,
}

/// A line of `SHOW pool_plugins`.
#[derive(Clone, Debug)]
pub struct PluginReport {
    /// File name without directory and extension.
    pub file_name: String,
    /// SHA-256 of the component in hexadecimal.
    pub sha256: String,
    /// What became of it.
    pub state: PluginState,
    /// Stage and reason of a refusal, or empty.
    pub reason: String,
    /// The plugin, while it is live.
    pub plugin: Option<Arc<Plugin>>,
}
