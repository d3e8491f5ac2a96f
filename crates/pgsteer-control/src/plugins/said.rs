//! What the log says about the plugins directory itself, once and not at every look.

use std::path::Path;

use tracing::{info, warn};

use super::directory::Scan;

/// What was said already and need not be said again.
#[derive(Debug, Default)]
pub(crate) struct Said {
    unreadable: Option<String>,
    exposed: Option<String>,
    held: bool,
}

impl Said {
    /// Logs what is new about the directory.
    pub(crate) fn say(&mut self, directory: &Path, scan: &Scan) {
        let dir = directory.display().to_string();
        for file in &scan.misnamed {
            let advice = "name it NN-name.wasm, with two digits for its place in the order";
            warn!(file, advice, "plugin file ignored");
        }
        if scan.unreadable != self.unreadable {
            match &scan.unreadable {
                Some(error) => {
                    warn!(
                        dir,
                        error, "plugins directory cannot be read, plugins stay as they are"
                    );
                }
                None => info!(dir, "plugins directory can be read again"),
            }
            self.unreadable.clone_from(&scan.unreadable);
        }
        if scan.unreadable.is_some() {
            return;
        }
        if scan.held != self.held {
            if scan.held {
                info!(dir, "plugins are held back until the file HOLD is removed");
            } else {
                info!(dir, "plugins are taken again, as one set");
            }
            self.held = scan.held;
        }
        if !scan.held && scan.exposed != self.exposed {
            if let Some(problem) = &scan.exposed {
                let advice = "whoever can write it decides about every statement: chmod go-w";
                warn!(dir, problem, advice, "plugins directory is exposed");
            }
            self.exposed.clone_from(&scan.exposed);
        }
    }
}
