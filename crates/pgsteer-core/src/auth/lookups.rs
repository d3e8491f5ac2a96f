//! The way from a login to the control plane, which looks users up that are not in the settings.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::User;

/// What came of a look-up.
#[derive(Clone, Debug)]
pub enum Found {
    /// This is known of the user.
    User(User),
    /// There is no such user, or it may not log in.
    Nobody,
    /// There is one, but no password with which it may log in now: none is set, or it has expired.
    NoPassword,
    /// Nobody could be asked, or what was asked was refused. The log has the reason.
    Failed,
}

/// A question on its way.
#[derive(Debug)]
pub struct Lookup {
    /// The name.
    pub user: String,
    /// Whether what is remembered of the user was found to be wrong, and must not be the answer.
    pub is_stale: bool,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Found>,
}

/// Where questions are handed in.
#[derive(Debug)]
pub struct Lookups {
    sender: mpsc::Sender<Lookup>,
    receiver: Mutex<Option<mpsc::Receiver<Lookup>>>,
}

/// Questions that may wait; ours. A login that finds no room waits.
const WAITING_MAX: usize = 1024;

impl Default for Lookups {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Lookups {
    /// The end at which questions are taken, once.
    pub fn take(&self) -> Option<mpsc::Receiver<Lookup>> {
        let receiver = self.receiver.lock();
        receiver.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks for a user and waits for the answer, without a limit of its own.
    ///
    /// # Cancel safety
    /// Cancel safe: a question that was handed in is answered all the same, to nobody.
    pub async fn ask(&self, user: &str) -> Found {
        let (reply, answer) = oneshot::channel();
        let lookup = Lookup {
            user: user.to_owned(),
            is_stale: false,
            reply,
        };
        if self.sender.send(lookup).await.is_err() {
            return Found::Failed;
        }
        answer.await.unwrap_or(Found::Failed)
    }

    /// Says that what is remembered of a user let nobody in: its password may have changed.
    pub fn doubt(&self, user: &str) {
        let (reply, _) = oneshot::channel();
        let lookup = Lookup {
            user: user.to_owned(),
            is_stale: true,
            reply,
        };
        // A full queue means that there is enough to do; what is remembered ages anyhow.
        let _ = self.sender.try_send(lookup);
    }
}
