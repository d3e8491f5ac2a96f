//! Wakes the supervisor when something happens in the directory of plugins. Only a hint: what is
//! true is found out by looking, and a look once a second finds what a lost hint does not tell.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::debug;

use super::directory::HOLD;

/// A hint that something happened.
pub(crate) struct Hints {
    watcher: Option<RecommendedWatcher>,
    sender: mpsc::Sender<()>,
    receiver: mpsc::Receiver<()>,
    // There was a file that holds everything back, however short its life.
    held: Arc<AtomicBool>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        // One hint is as good as many: the channel itself joins bursts.
        let (sender, receiver) = mpsc::channel(1);
        Self {
            watcher: None,
            sender,
            receiver,
            held: Arc::default(),
        }
    }

    /// Begins to watch; without effect if it watches already.
    pub(crate) fn watch(&mut self, directory: &Path) {
        if self.watcher.is_some() {
            return;
        }
        let (sender, held) = (self.sender.clone(), Arc::clone(&self.held));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = event {
                if is_about_reading(&event.kind) {
                    return;
                }
                if event.paths.iter().any(|path| path.ends_with(HOLD)) {
                    held.store(true, Ordering::Release);
                }
            }
            // Full means that a hint is waiting already.
            let _waiting = sender.try_send(());
        })
        .and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => debug!(%error, "plugins directory is polled, not watched"),
        }
    }

    /// Forgets the watch: the directory is gone, and another one may come in its place.
    pub(crate) fn forget(&mut self) {
        self.watcher = None;
    }

    /// Whether everything was held back at some moment since this was asked last.
    pub(crate) fn take_held(&self) -> bool {
        self.held.swap(false, Ordering::AcqRel)
    }

    /// Waits for a hint.
    ///
    /// # Cancel safety
    /// Cancel safe: a hint that nobody took stays.
    pub(crate) async fn next(&mut self) {
        // Never `None`: a sender is held here.
        let _hint = self.receiver.recv().await;
    }
}

/// Looking at the directory is itself reported; it must not lead to another look.
fn is_about_reading(kind: &EventKind) -> bool {
    let written = AccessKind::Close(AccessMode::Write);
    matches!(kind, EventKind::Access(access) if *access != written)
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn only_changes_are_hints() {
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        assert!(is_about_reading(&open) && is_about_reading(&read));
        let changes = [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Any,
        ];
        assert!(!changes.iter().any(is_about_reading));
    }
}
