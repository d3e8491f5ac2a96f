//! Writes files on a thread of its own: a disk that hangs must not hold up a failover.

use std::io;
use std::path::PathBuf;
use std::thread;

use tokio::sync::mpsc;
use tracing::{error, warn};

use super::{audit, memory};

/// Something to be written.
pub(super) enum Note {
    /// A line of the audit log.
    Audit(PathBuf, String),
    /// What must outlive a restart: directory and text.
    Memory(PathBuf, String),
}

/// The writing end. What was handed over is written even if this is dropped.
pub(super) struct Scribe(mpsc::Sender<Note>);

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, mut notes) = mpsc::channel(NOTES_WAITING_MAX);
        thread::Builder::new()
            .name("failover-files".to_owned())
            .spawn(move || {
                while let Some(note) = notes.blocking_recv() {
                    write(note);
                }
            })?;
        Ok(Self(sender))
    }

    /// Hands something over; `false` if too much waits already.
    pub(super) fn put(&self, note: Note) -> bool {
        self.0.try_send(note).is_ok()
    }
}

fn write(note: Note) {
    match note {
        Note::Audit(path, line) => {
            if let Err(problem) = audit::append(&path, &line) {
                let file = path.display().to_string();
                error!(file, %problem, line, "the audit log could not be written");
            }
        }
        Note::Memory(directory, text) => {
            if let Err(problem) = memory::save(&directory, &text) {
                let dir = directory.display().to_string();
                warn!(dir, %problem, "what is known of the nodes could not be written");
            }
        }
    }
}

/// Notes that may wait for the disk (ours).
const NOTES_WAITING_MAX: usize = 1024;
