//! Plugin files on their way into force: a directory is watched, what is new in it is read, loaded
//! off the reactor and published. A refused file changes nothing but the report about it.

mod beside;
mod directory;
mod offline;
mod registry;
mod watch;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::policy::{LoadContext, LoadError, LoadedPlugin, PluginLoader, PluginSource};
use pgsteer_core::{Facts, Publisher, Settings};
use sha2::{Digest, Sha256};
use tokio::sync::watch as channel;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

pub use offline::read_plugin;

use directory::{Component, Directory, Scan};
use registry::Registry;
use watch::Hints;

/// A plugin that is part of the program.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// As a file would be named, without extension, such as `90-some-router`. A file in the
    /// directory replaces it if it is named the same apart from the number.
    pub name: String,
    /// The component.
    pub bytes: Arc<[u8]>,
}

/// Keeps the plugins in force equal to what the directory holds.
pub(crate) struct Supervisor {
    registry: Registry,
    // Empty while a look is under way on another thread, and without a directory.
    directory: Option<Directory>,
    loader: Arc<dyn PluginLoader>,
    workers: usize,
    settings: channel::Receiver<Arc<Settings>>,
    publisher: Arc<Publisher>,
    hints: Hints,
    unreadable: Option<String>,
}

impl Supervisor {
    pub(crate) fn new(
        embedded: Embedded,
        loader: Arc<dyn PluginLoader>,
        workers: usize,
        settings: channel::Receiver<Arc<Settings>>,
        publisher: Arc<Publisher>,
        _facts: &Arc<Facts>,
    ) -> Self {
        let component = Component {
            sha256: sha256(&embedded.bytes),
            bytes: embedded.bytes,
            beside: beside::Beside::default(),
        };
        let directory = settings.borrow().plugins.dir.clone().map(Directory::new);
        Self {
            registry: Registry::new(&embedded.name, component),
            directory,
            loader,
            workers,
            settings,
            publisher,
            hints: Hints::new(),
            unreadable: None,
        }
    }

    /// Loads everything that is there now.
    ///
    /// # Errors
    /// Why the embedded plugin was refused. Refused files are logged and left out.
    pub(crate) async fn first_round(&mut self) -> Result<(), String> {
        self.round(Duration::ZERO).await;
        self.registry
            .embedded_refusal()
            .map_or(Ok(()), |reason| Err(reason.to_owned()))
    }

    /// Goes on for ever.
    pub(crate) async fn run(mut self) {
        let mut pause = POLL;
        loop {
            tokio::select! {
                // Cancel safe: a timer.
                () = tokio::time::sleep(pause) => {}
                // Cancel safe: a hint stays until it is taken.
                () = self.hints.next() => {
                    // More will follow: a copy writes many times.
                    tokio::time::sleep(SETTLE_LOOK).await;
                }
                // Cancel safe: a change that nobody saw is reported again.
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            pause = if self.round(SETTLE).await {
                SETTLE_LOOK
            } else {
                POLL
            };
        }
    }

    /// Looks, loads, publishes. Says whether some file has not settled yet.
    async fn round(&mut self, settle: Duration) -> bool {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        let scan = self
            .look(settle, settings.plugins.limits.file_bytes_max)
            .await;
        let settling = scan.settling;
        for file in &scan.misnamed {
            let advice = "name it NN-name.wasm, with two digits for its place in the order";
            warn!(file, advice, "plugin file ignored");
        }
        self.registry.take_in(scan);
        for (id, source) in self.registry.pending(&settings) {
            let result = self.load(&source).await;
            self.registry.loaded(&id, &source, result);
        }
        self.registry.forgive(&settings);
        if let Some((set, reports)) = self.registry.take_changes() {
            self.publisher.publish(|snapshot| {
                snapshot.policies = Arc::new(set);
                snapshot.plugin_reports = Arc::new(reports);
            });
        }
        settling
    }

    async fn look(&mut self, settle: Duration, file_bytes_max: usize) -> Scan {
        let Some(mut directory) = self.directory.take() else {
            return nothing();
        };
        let path = directory.path().to_owned();
        self.hints.watch(&path);
        let (directory, scan) = match spawn_blocking(move || {
            let scan = directory.scan(Instant::now(), settle, file_bytes_max);
            (directory, scan)
        })
        .await
        {
            Ok(looked) => looked,
            Err(failure) => {
                error!(error = %failure, "looking at the plugins directory failed");
                (Directory::new(path), nothing())
            }
        };
        if scan.unreadable != self.unreadable {
            let dir = directory.path().display().to_string();
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
            self.hints.forget();
        }
        self.directory = Some(directory);
        scan
    }

    async fn load(&self, source: &PluginSource) -> Result<LoadedPlugin, LoadError> {
        let loader = Arc::clone(&self.loader);
        let topology = Arc::clone(&self.publisher.current().topology);
        let (source, workers) = (source.clone(), self.workers);
        let loaded = spawn_blocking(move || {
            let context = LoadContext {
                workers,
                topology: &topology,
                golden: &[],
                previous: None,
            };
            loader.load(&source, &context)
        })
        .await;
        loaded.unwrap_or_else(|failure| {
            let reason = format!("the loader itself failed: {failure}");
            Err(LoadError {
                stage: "compile",
                reason,
            })
        })
    }
}

/// As if the directory could not be read: nothing changes.
fn nothing() -> Scan {
    Scan {
        unreadable: Some(String::new()),
        ..Scan::default()
    }
}

/// SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

/// How often the directory is looked at without a hint (ours; a swap is live within a second).
const POLL: Duration = Duration::from_secs(1);

/// How long a file must stay the same before it is read (ours).
const SETTLE: Duration = Duration::from_millis(200);

/// How often it is looked at until then.
const SETTLE_LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
