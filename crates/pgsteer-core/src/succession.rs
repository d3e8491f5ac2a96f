//! Two processes on the same ports, while one takes over from the other: which of them decides about
//! nodes and keeps files, and how a cancel request finds the session it means.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{mpsc, oneshot};

/// What this process is among those on its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is about to take over; the one before it decides.
    Heir,
    /// It decides: promotes, runs commands, keeps what must outlive a restart.
    InCharge,
    /// Another one has taken over; only the sessions it has go on.
    Retired,
}

/// A cancel request for a session that is not of this process.
#[derive(Debug)]
pub struct StrangeCancel {
    /// Process id, as the client was told.
    pub pid: u32,
    /// Secret.
    pub key: Vec<u8>,
    /// Told when it has landed, or was in vain.
    pub landed: oneshot::Sender<()>,
}

/// Where this process stands, and the way to the one before it.
#[derive(Debug)]
pub struct Succession {
    stage: AtomicU8,
    elder: OnceLock<mpsc::Sender<StrangeCancel>>,
}

impl Default for Succession {
    fn default() -> Self {
        Self {
            stage: AtomicU8::new(Stage::InCharge as u8),
            elder: OnceLock::new(),
        }
    }
}

impl Succession {
    /// What this process is now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            stage if stage == Stage::Heir as u8 => Stage::Heir,
            stage if stage == Stage::InCharge as u8 => Stage::InCharge,
            _ => Stage::Retired,
        }
    }

    /// Whether this process decides about nodes and keeps files.
    #[must_use]
    pub fn is_in_charge(&self) -> bool {
        self.stage() == Stage::InCharge
    }

    /// It is something else from now on.
    pub fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Cancel requests that nobody here knows go this way, once and for all.
    pub fn set_elder(&self, way: mpsc::Sender<StrangeCancel>) {
        // There is one process before this one.
        let _ = self.elder.set(way);
    }

    /// Hands a cancel request that nobody here knows to the process before this one, if there still
    /// is one, and waits until it has landed.
    pub async fn cancel_elsewhere(&self, pid: u32, key: &[u8]) {
        let Some(elder) = self.elder.get() else {
            return;
        };
        let (landed, answer) = oneshot::channel();
        let key = key.to_vec();
        if elder.send(StrangeCancel { pid, key, landed }).await.is_ok() {
            // Nobody answers any more once the other process has ended, and its sessions with it.
            let _ = answer.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Stage, Succession};

    #[test]
    fn a_process_is_in_charge_until_it_is_told_otherwise() {
        let succession = Succession::default();
        assert!(succession.is_in_charge());
        for stage in [Stage::Heir, Stage::InCharge, Stage::Retired] {
            succession.set(stage);
            assert_eq!(succession.stage(), stage);
        }
    }
}
