//! The plugins in force, in the order they are asked, and what became of each file.

use std::sync::Arc;

use super::Plugin;
use crate::Generation;

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
    /// It decides, and has proven itself.
    Live,
    /// It decides and is watched: if it fails, the version before it comes back.
    Probation,
    /// It is asked, and what it says is compared and thrown away.
    Shadow,
    /// It was refused; whatever ran before goes on.
    Refused,
    /// An operator took it out of force.
    Disabled,
}

impl PluginState {
    /// As the console shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Probation => "probation",
            Self::Shadow => "shadow",
            Self::Refused => "refused",
            Self::Disabled => "disabled",
        }
    }
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
    /// An operator said that newer files are to wait.
    pub pinned: bool,
    /// Stage and reason of a refusal, progress of a shadow or a probation, or empty.
    pub reason: String,
    /// The plugin, while it is loaded.
    pub plugin: Option<Arc<Plugin>>,
}
