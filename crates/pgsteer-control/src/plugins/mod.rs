//! Plugin files on their way into force: a directory is watched, what is new in it is read, loaded
//! off the reactor, compared if that is wanted, published and watched. What fails on the way changes
//! nothing but the report about it; what fails while it is watched makes place for the version
//! before it.

mod beside;
mod directory;
mod offline;
mod orders;
mod plan;
mod probation;
mod registry;
mod report;
mod rollout;
mod said;
mod samples;
mod shadow;
mod state;
mod supervisor;
mod swap;
mod verify;
mod watch;

use std::fmt::Write as _;
use std::sync::Arc;

use pgsteer_core::Settings;
use sha2::{Digest, Sha256};

pub use offline::read_plugin;
pub(crate) use supervisor::Supervisor;

/// A plugin that is part of the program.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// As a file would be named, without extension, such as `90-some-router`. A file in the
    /// directory replaces it if it is named the same apart from the number.
    pub name: String,
    /// The component.
    pub bytes: Arc<[u8]>,
    /// Its configuration, a JSON object. A file that replaces it gets the same, unless the file
    /// beside that one has a `[config]` of its own.
    pub config: Section,
}

/// Which part of the settings is the configuration of an embedded plugin.
pub type Section = fn(&Settings) -> &str;

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod chance_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
