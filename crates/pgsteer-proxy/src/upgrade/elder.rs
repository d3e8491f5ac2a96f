//! The process before this one, seen by the one that takes over.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Blocking;
use std::time::Duration;

use anyhow::{Context, Result};
use pgsteer_control::sockets::Sockets;
use pgsteer_core::succession::StrangeCancel;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::VARIABLE;
use super::link::{Hearing, Message, Telling, receive_sockets, split};

/// The process before this one.
pub(crate) struct Elder {
    pid: u32,
    stream: Blocking,
    sockets: Option<Sockets>,
}

/// The process that started this one so that it takes over; `None` if this one was started as usual.
/// Takes the standard input, so it is called once, before anything else.
///
/// # Errors
/// The process before does not hand over as it should.
pub(crate) fn elder() -> Result<Option<Elder>> {
    let Some(pid) = std::env::var(VARIABLE)
        .ok()
        .and_then(|pid| pid.parse().ok())
    else {
        return Ok(None);
    };
    // Programs that a proxy starts inherit the variable, too.
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
    if parent.and_then(|parent| u32::try_from(parent).ok()) != Some(pid) {
        return Ok(None);
    }
    let what = || format!("process {pid} hands its work over to this one, and");
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    let stream = Blocking::from(stdin);
    stream.set_read_timeout(Some(HANDED_OVER_WITHIN))?;
    let sockets = receive_sockets(&stream).with_context(what)?;
    stream.set_read_timeout(None)?;
    Ok(Some(Elder {
        pid,
        stream,
        sockets: Some(sockets),
    }))
}

impl Elder {
    /// The sockets it handed over.
    pub(crate) fn sockets(&mut self) -> Sockets {
        self.sockets.take().unwrap_or_default()
    }

    /// Tells it that this process cannot take over; it goes on.
    pub(crate) fn decline(&self, why: &str) {
        use std::io::Write as _;
        let message = Message::Failed {
            why: why.to_owned(),
        };
        let mut line = serde_json::to_vec(&message).unwrap_or_default();
        line.push(b'\n');
        // If it is gone, nobody needs to know.
        let _ = (&self.stream).write_all(&line);
    }

    /// Tells it that this process is ready, and waits until it has stopped accepting. If it is gone
    /// instead, this process goes on alone.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) async fn take_over(&self) -> Result<Link> {
        let (mut hearing, mut telling) = split(self.stream.try_clone()?)?;
        let ready = Message::Ready {
            pid: std::process::id(),
        };
        let said = telling.say(&ready).await;
        let elder = self.pid;
        match hearing.next().await {
            Some(Message::Yours) if said.is_ok() => info!(elder, "took over"),
            _ => warn!(
                elder,
                "the process before this one is gone: this one goes on alone"
            ),
        }
        Ok(Link { hearing, telling })
    }
}

/// The way to the process before this one, which has retired.
pub(crate) struct Link {
    hearing: Hearing,
    telling: Telling,
}

impl Link {
    /// Carries cancel requests over until that process ends; tells it when this one stops.
    pub(crate) async fn carry(
        self,
        mut strange: mpsc::Receiver<StrangeCancel>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Self {
            mut hearing,
            mut telling,
        } = self;
        let mut under_way = HashMap::new();
        let mut number = 0;
        loop {
            // All branches are cancel safe: a request stays in the channel, and what was heard of
            // an answer is kept.
            tokio::select! {
                Some(cancel) = strange.recv(), if under_way.len() < CANCELS_MAX => {
                    number += 1;
                    let StrangeCancel { pid, key, landed } = cancel;
                    under_way.insert(number, landed);
                    if telling.say(&Message::Cancel { number, pid, key }).await.is_err() {
                        break;
                    }
                }
                Ok(()) = stopping.changed() => {
                    if telling.say(&Message::Stop).await.is_err() {
                        break;
                    }
                }
                heard = hearing.next() => match heard {
                    Some(Message::Landed { number }) => if let Some(landed) = under_way.remove(&number) {
                        // The client may have gone.
                        let _ = landed.send(());
                    },
                    Some(_) => {}
                    None => break,
                },
            }
        }
        info!("the process before this one has ended");
    }
}

/// Cancel requests that may be on their way; ours.
pub(super) const CANCELS_MAX: usize = 64;

/// The sockets come at once.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(10);
