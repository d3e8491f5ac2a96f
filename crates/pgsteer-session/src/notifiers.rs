//! Whose a notification is. It carries the process id of a server, but clients know each other, and
//! themselves, by the ids that the proxy gave them: many take what they sent themselves for news of
//! somebody else's if it does not carry their own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use pgsteer_sql::Analysis;
use pgsteer_wire::{HEADER_LEN, frame};
use tokio::time::timeout;

use crate::session::{Session, Soon, at_once, later};

/// Servers that are remembered: more than any number of connections that is allowed. If there are more
/// all the same, notifications that are on their way come with the servers' ids.
const SERVERS_MAX: usize = 16 * 1024;

/// How long a statement that notifies waits for what others have sent; ours. Usually it is a round trip.
const OTHERS_MAX: Duration = Duration::from_secs(1);

/// The sessions that notified last, by the process ids of their servers.
#[derive(Debug, Default)]
pub(crate) struct Notifiers(Mutex<HashMap<u32, u32>>);

impl Notifiers {
    fn map(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this server sends from now on is of the session with this id.
    fn note(&self, server: u32, session: u32) {
        let mut map = self.map();
        if map.len() >= SERVERS_MAX && !map.contains_key(&server) {
            map.clear();
        }
        map.insert(server, session);
    }

    /// What its servers send from now on is of others.
    fn forget(&self, session: u32) {
        self.map().retain(|_, of| *of != session);
    }

    /// The session whose notification this is, if that is known.
    pub(crate) fn session(&self, server: u32) -> Option<u32> {
        self.map().get(&server).copied()
    }

    /// Puts what a server said unasked where the client with this id reads it. `server` is the process
    /// id of that server, which nobody else has.
    pub(crate) fn pass_on(
        &self,
        mut messages: &[u8],
        (server, own): (u32, u32),
        out: &mut BytesMut,
    ) {
        while let Ok(Some(header)) = frame::header(messages) {
            let (message, rest) = messages.split_at(header.frame_len().min(messages.len()));
            let session = match sender(message) {
                Some(from) if from == server => Some(own),
                // Its own servers are others' now.
                Some(from) => self.session(from).filter(|session| *session != own),
                None => None,
            };
            match session {
                Some(session) => put_as(message, session, out),
                None => out.extend_from_slice(message),
            }
            messages = rest;
        }
    }
}

/// The process id in a NotificationResponse.
pub(crate) fn sender(message: &[u8]) -> Option<u32> {
    let is = message.first() == Some(&pgsteer_wire::backend::tag::NOTIFICATION);
    let (id, _) = message.get(HEADER_LEN..)?.split_first_chunk::<4>()?;
    is.then(|| u32::from_be_bytes(*id))
}

/// Puts a NotificationResponse there with the id of a session.
pub(crate) fn put_as(message: &[u8], session: u32, out: &mut BytesMut) {
    let (head, rest) = message.split_at(HEADER_LEN.min(message.len()));
    out.extend_from_slice(head);
    out.extend_from_slice(&session.to_be_bytes());
    out.extend_from_slice(rest.get(4..).unwrap_or_default());
}

impl Session {
    /// If this statement notifies: it is about to be sent. Who listens itself hears its own by its own id, so
    /// what others sent through its server must have arrived. If that takes long, what it sends comes
    /// by the id of the server.
    pub(crate) fn before_notify(&mut self, analysis: &Analysis) -> Soon<'_, ()> {
        match self.listening.is_some() && analysis.notifies {
            true => later(self.await_others()),
            false => at_once(()),
        }
    }

    async fn await_others(&mut self) {
        let arrived = timeout(OTHERS_MAX, self.catch_up_with_hub()).await;
        if let Some(listening) = self.listening.as_mut().filter(|_| arrived.is_ok()) {
            listening.note_clear();
        }
    }

    /// Tells the client what this server of its said unasked.
    pub(crate) fn tell_aside(&mut self, messages: &[u8], server: u32) {
        let notifiers = &self.steering.worker.shared.notifiers;
        let ids = (server, self.cancel.pid);
        notifiers.pass_on(messages, ids, &mut self.client.output);
    }

    /// Everything it has sent has arrived: what its servers send from now on is of others.
    pub(crate) fn end_notifying(&self) {
        let notifiers = &self.steering.worker.shared.notifiers;
        notifiers.forget(self.cancel.pid);
    }

    /// It is sent to this server.
    pub(crate) fn note_notifier(&mut self, server: u32) {
        let is_own = match &mut self.listening {
            Some(listening) => listening.note_notified(),
            None => true,
        };
        let notifiers = &self.steering.worker.shared.notifiers;
        if is_own {
            notifiers.note(server, self.cancel.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(server: u32, text: &str) -> Vec<u8> {
        let len = u32::try_from(4 + 4 + text.len()).unwrap();
        let mut message = vec![b'A'];
        message.extend_from_slice(&len.to_be_bytes());
        message.extend_from_slice(&server.to_be_bytes());
        message.extend_from_slice(text.as_bytes());
        message
    }

    #[test]
    fn notifications_carry_the_ids_that_sessions_know() {
        let notifiers = Notifiers::default();
        notifiers.note(7, 700);
        notifiers.note(8, 800);
        let said = [
            notification(7, "another's\0x\0"),
            b"N\0\0\0\x06\0\0".to_vec(),
            notification(8, "of a server that is another's now\0\0"),
            notification(9, "of nobody who is known\0\0"),
            notification(5, "its own\0\0"),
        ];
        let mut out = BytesMut::new();
        notifiers.pass_on(&said.concat(), (5, 800), &mut out);
        let expected = [
            notification(700, "another's\0x\0"),
            b"N\0\0\0\x06\0\0".to_vec(),
            notification(8, "of a server that is another's now\0\0"),
            notification(9, "of nobody who is known\0\0"),
            notification(800, "its own\0\0"),
        ];
        assert_eq!(out, expected.concat());
        notifiers.forget(700);
        assert_eq!(notifiers.session(7), None);
    }

    #[test]
    fn no_more_servers_are_remembered_than_there_is_room_for() {
        let notifiers = Notifiers::default();
        for server in 0..3 * u32::try_from(SERVERS_MAX).unwrap() {
            notifiers.note(server, 1);
            assert!(notifiers.map().len() <= SERVERS_MAX);
            assert_eq!(notifiers.session(server), Some(1));
        }
    }
}
