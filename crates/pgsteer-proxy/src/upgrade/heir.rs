//! The process that takes over, seen by the one that starts it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Blocking;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use pgsteer_control::sockets::HandedOn;
use tokio::time::timeout;

use super::VARIABLE;
use super::link::{Hearing, Message, Telling, send_sockets, split};

/// The program as it was called, which is looked up again, so that a file that was replaced counts.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// As this process was called; `None` if nobody said how.
    pub(crate) fn own() -> Option<Self> {
        let mut words = std::env::args_os();
        let name = words.next().filter(|name| !name.is_empty())?;
        Some(Self {
            name,
            arguments: words.collect(),
        })
    }
}

/// A process that can take over.
pub(crate) struct Heir {
    pub(crate) pid: u32,
    pub(super) hearing: Hearing,
    pub(super) telling: Telling,
    // Ended if it has not taken over.
    child: Option<Child>,
}

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

impl Heir {
    /// Starts the program with these sockets, and waits until it can serve.
    ///
    /// # Errors
    /// It cannot be started, or ended, or said why it cannot serve, or takes too long. It is gone
    /// then.
    pub(crate) async fn start(program: &Program, sockets: &HandedOn) -> Result<Self, String> {
        let started = spawn(program, sockets).map_err(|error| format!("{error:#}"));
        let (child, hearing, telling) = started?;
        let mut heir = Self {
            pid: child.id(),
            hearing,
            telling,
            child: Some(child),
        };
        match timeout(READY_WITHIN, heir.hearing.next()).await {
            Ok(Some(Message::Ready { .. })) => Ok(heir),
            Ok(Some(Message::Failed { why })) => Err(why),
            Ok(_) => Err(heir.how_it_ended()),
            Err(_) => {
                let limit = READY_WITHIN.as_secs();
                Err(format!(
                    "the new process was not ready within {limit} s and was ended"
                ))
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        let status = match self.child.take() {
            Some(mut child) => end(&mut child),
            None => None,
        };
        ended_early(status)
    }

    /// It gets everything from now on.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) async fn hand_over(&mut self) -> std::io::Result<()> {
        self.telling.say(&Message::Yours).await?;
        // It lives longer than this process.
        self.child = None;
        Ok(())
    }
}

fn spawn(program: &Program, sockets: &HandedOn) -> Result<(Child, Hearing, Telling)> {
    let (own, theirs) = Blocking::pair()?;
    let child = Command::new(&program.name)
        .args(&program.arguments)
        .env(VARIABLE, std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .with_context(|| format!("{} cannot be started", program.name.to_string_lossy()))?;
    let mut child = child;
    let told = send_sockets(&own, sockets).and_then(|()| split(own));
    match told {
        Ok((hearing, telling)) => Ok((child, hearing, telling)),
        // It was faster than we are.
        Err(error) => Err(error.context(ended_early(end(&mut child)))),
    }
}

fn ended_early(status: Option<ExitStatus>) -> String {
    let how = status.map(|status| format!(" ({status})"));
    let how = how.unwrap_or_default();
    format!(
        "the new process ended before it was ready{how}: is the file a pgsteer that knows upgrades? \
         Its own words are in the log"
    )
}

/// Ends a process that did not take over.
fn end(child: &mut Child) -> Option<ExitStatus> {
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    // One whose end of the link is closed is about to end by itself.
    let _ = child.kill();
    child.wait().ok()
}

/// Start-up waits ten seconds for the nodes, and plugins may take as long to compile; ours.
const READY_WITHIN: Duration = Duration::from_secs(90);
