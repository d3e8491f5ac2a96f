//! One server process: started, signalled, waited for, never left behind.
//!
//! Each server has a thread of its own that starts it and then waits for it. The kernel's signal at
//! the parent's death is tied to the thread that forked, so this thread must live exactly as long as
//! the server; a thread of an async runtime gives no such promise. Signals go through a pidfd and
//! can therefore never hit a stranger that got the same process id.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

/// A running (or just ended) postmaster. Dropping it ends the server.
#[derive(Debug)]
pub(crate) struct Server {
    handle: Handle,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// A process that can be signalled and waited for without a race on its id.
#[derive(Debug)]
struct Handle {
    pid: Pid,
    fd: OwnedFd,
}

impl Server {
    /// Starts `command` with its output in `log`.
    pub(crate) fn spawn(name: &str, mut command: Command, log: File) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let (exited, exit) = watch::channel(None);
        std::thread::Builder::new()
            .name(format!("postgres-{name}"))
            .spawn(move || {
                let child = match start_child(&mut command) {
                    Ok((child, handle)) => {
                        // Nobody listens only if the spawning side panicked; the handle's owner is
                        // gone then and the process end will take the child along.
                        let _ = started.send(Ok(handle));
                        child
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                exited.send_replace(Some(reap(child)));
            })
            .context("cannot start a thread")?;
        let handle = start
            .recv()
            .map_err(|_| anyhow!("the thread of {name} died"))??;
        Ok(Self { handle, exit })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.handle.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How the server ended, `None` while it runs.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Whether the process is there, asked of the kernel.
    pub(crate) fn is_running(&self) -> bool {
        !self.handle.wait_blocking(Duration::ZERO)
    }

    /// Shuts down in the manner of `signal` (`INT` fast, `QUIT` immediate), then with more force if
    /// it takes longer than 30 s.
    pub(crate) async fn shut_down(&self, signal: Signal) {
        self.resume();
        for (signal, patience) in [(signal, FAST_PATIENCE), (Signal::QUIT, QUIT_PATIENCE)] {
            self.handle.send(signal);
            let mut exit = self.exit.clone();
            if tokio::time::timeout(patience, exit.wait_for(Option::is_some))
                .await
                .is_ok()
            {
                return;
            }
        }
        self.kill_all();
    }

    /// Asks for a shutdown without waiting for it.
    pub(crate) fn begin_shut_down(&self, signal: Signal) {
        self.resume();
        self.handle.send(signal);
    }

    /// Blocks until a shutdown that was begun is over, ten seconds at most.
    pub(crate) fn wait_blocking(&self) {
        self.handle.wait_blocking(DROP_PATIENCE);
    }

    /// Kills the postmaster and every process of the server, as a machine that fails does, and
    /// waits until all are gone, so that the data directory can be started again.
    pub(crate) fn kill_all(&self) {
        // A stopped postmaster cannot fork another child between the listing and the killing.
        self.handle.send(Signal::STOP);
        let children = self.children();
        self.handle.send(Signal::KILL);
        for child in &children {
            child.send(Signal::KILL);
        }
        self.handle.wait_blocking(KILL_PATIENCE);
        for child in &children {
            child.wait_blocking(KILL_PATIENCE);
        }
    }

    /// Stops every process of the server without ending it: connections stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.handle.send(Signal::STOP);
        for child in self.children() {
            child.send(Signal::STOP);
        }
    }

    /// Ends a pause. Harmless when there was none.
    pub(crate) fn resume(&self) {
        for child in self.children() {
            child.send(Signal::CONT);
        }
        self.handle.send(Signal::CONT);
    }

    fn children(&self) -> Vec<Handle> {
        children_of(self.pid())
            .into_iter()
            .filter_map(Handle::open)
            .collect()
    }
}

impl Drop for Server {
    /// Blocks until the server is gone, a few seconds at most: a test that ends must leave nothing.
    fn drop(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        self.begin_shut_down(Signal::QUIT);
        if !self.handle.wait_blocking(QUIT_PATIENCE) {
            self.kill_all();
        }
    }
}

impl Handle {
    /// `None` when there is no such process any more.
    fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, fd })
    }

    /// Sends a signal; a process that is gone needs none, so that is not an error.
    fn send(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.fd, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = %self.pid, ?signal, %error, "cannot signal a server process");
        }
    }

    /// Blocks until the process has ended; false when it has not within `patience`.
    fn wait_blocking(&self, patience: Duration) -> bool {
        let timeout = Timespec::try_from(patience).ok();
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        matches!(poll(&mut fds, timeout.as_ref()), Ok(ready) if ready > 0)
    }
}

fn start_child(command: &mut Command) -> Result<(Child, Handle)> {
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    // The child has not been waited for, so its id is its own.
    let handle = Handle::open(child.id()).context("cannot open a pidfd (Linux 5.3 has it)")?;
    Ok((child, handle))
}

fn reap(mut child: Child) -> ExitStatus {
    child.wait().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot wait for a server process");
        ExitStatus::default()
    })
}

/// Lists the processes whose parent is `parent`, from `/proc`.
fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

/// Reads the parent from `/proc/PID/stat`. The name before it is in parentheses and may hold
/// anything, so the fields are counted from the last one.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// A fast shutdown writes a checkpoint and waits until the replicas have it.
const FAST_PATIENCE: Duration = Duration::from_secs(30);
/// PostgreSQL kills what is left five seconds after an immediate shutdown was asked for
/// (`SIGKILL_CHILDREN_AFTER_SECS` in postmaster.c).
const QUIT_PATIENCE: Duration = Duration::from_secs(8);
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// For a fast shutdown in a destructor, which must not hold up the end of a program for long.
const DROP_PATIENCE: Duration = Duration::from_secs(10);
