//! A configuration that changes again and again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::contenders::Front;

/// A thread that changes the configuration of a pgsteer and says so with SIGHUP.
pub(crate) struct Reloads {
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Reloads {
    /// Begins; 0 times a second is never.
    ///
    /// # Errors
    /// There is no configuration.
    pub(crate) fn start(front: &Front, per_second: u32) -> Result<Self> {
        let file = front.dir.join("pgsteer.toml");
        let text: Arc<str> = fs::read_to_string(&file)?.into();
        let pid = front.pid().context("a process")?;
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            for number in 1_u32.. {
                let wait = match per_second {
                    0 => Duration::from_secs(3600),
                    _ => {
                        let due = Duration::from_secs(number.into()) / per_second;
                        due.saturating_sub(begun.elapsed())
                    }
                };
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                change(&file, &text, number)?;
                hang_up(pid)?;
            }
            // As it was, for the next turn.
            change(&file, &text, 0)
        });
        Ok(Self { stop, thread })
    }

    /// Ends, and says what went wrong.
    ///
    /// # Errors
    /// A change could not be made.
    pub(crate) fn stop(self) -> Result<()> {
        // It may have ended by itself, which `join` tells.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("a panic"))?
    }
}

/// Another deadline for drains: a change that reaches the data plane and does nothing there.
fn change(file: &PathBuf, text: &str, number: u32) -> Result<()> {
    let other = format!("drain_timeout = \"{}ms\"", 1000 + number % 1000);
    let text = text.replace("drain_timeout = \"1s\"", &other);
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, file).context("cannot replace the configuration")
}

fn hang_up(pid: u32) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process")?;
    kill_process(pid, Signal::HUP).context("the process is gone")
}
