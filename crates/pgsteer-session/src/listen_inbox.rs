//! Notifications on their way from the connection that listens to a session that wants to hear them.
//! The two may be on different threads.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use pgsteer_wire::HEADER_LEN;
use pgsteer_wire::frame::cstr;

use crate::cancel::CancelSlot;

/// Bytes that may wait for one client; a notification has up to 8 kB. All who hear a message share it.
const WAITING_MAX: usize = 16 << 20;

/// Why a session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// The client does not read, and too much waits for it.
    Full,
    /// The connection that listened is lost, and with it what was sent meanwhile.
    Lost,
}

/// A NotificationResponse on its way to those who hear its channel.
#[derive(Debug)]
pub(crate) struct Notification<'a> {
    pub(crate) channel: &'a str,
    /// The server that sent it.
    pub(crate) server: u32,
    /// The session it is of, if that is known.
    pub(crate) session: Option<u32>,
    /// The message, with the id of that session.
    pub(crate) message: Bytes,
    /// The message as it came.
    pub(crate) untold: &'a [u8],
}

/// What a session wants to hear, and what it has not been told yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    slot: Arc<CancelSlot>,
    // The process id the client was given.
    own: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    channels: HashMap<Box<str>, Standing>,
    ready: VecDeque<Bytes>,
    /// From the session's own servers, on channels it has not committed to yet.
    held: Vec<(Box<str>, Bytes)>,
    waiting_bytes: usize,
    doom: Option<Doom>,
    waker: Option<Waker>,
}

/// Whether a session hears a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It does.
    Heard,
    /// It will, if its transaction is committed.
    Wished,
}

impl Inbox {
    /// An empty one, of the session with this slot and process id.
    pub(crate) fn new(slot: Arc<CancelSlot>, own: u32) -> Self {
        Self {
            slot,
            own,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session hears this channel if its transaction is committed.
    pub(crate) fn wish(&self, channel: &str) {
        let mut state = self.state();
        if !state.channels.contains_key(channel) {
            state.channels.insert(channel.into(), Standing::Wished);
        }
    }

    /// The session hears this channel from now on.
    pub(crate) fn hear(&self, channel: &str) {
        let mut state = self.state();
        state.channels.insert(channel.into(), Standing::Heard);
        let State { held, ready, .. } = &mut *state;
        let mine = held.extract_if(.., |(of, _)| &**of == channel);
        ready.extend(mine.map(|(_, message)| message));
    }

    /// Whether the session hears this channel, or will.
    pub(crate) fn hears(&self, channel: &str) -> bool {
        self.state().channels.contains_key(channel)
    }

    /// The session does not hear this channel any more, or none; gives those it heard.
    pub(crate) fn drop_channels(&self, only: Option<&str>) -> Vec<Box<str>> {
        let mut state = self.state();
        let fits = |name: &str| only.is_none_or(|only| only == name);
        let State {
            channels,
            ready,
            waiting_bytes,
            ..
        } = &mut *state;
        // What came while the session did not want to be told is not told any more.
        ready.retain(|message| {
            let gone = channel(message).is_some_and(fits);
            *waiting_bytes -= if gone { message.len() } else { 0 };
            !gone
        });
        let gone = channels.extract_if(|name, _| fits(name));
        gone.map(|(name, _)| name).collect()
    }

    /// The transaction is over: what was only wished for is not heard. Gives those channels.
    pub(crate) fn settle(&self) -> Vec<Box<str>> {
        let mut state = self.state();
        let State {
            held,
            channels,
            waiting_bytes,
            ..
        } = &mut *state;
        for (_, message) in held.drain(..) {
            *waiting_bytes -= message.len();
        }
        let wished = channels.extract_if(|_, standing| *standing == Standing::Wished);
        wished.map(|(name, _)| name).collect()
    }

    /// A notification came.
    pub(crate) fn push(&self, came: &Notification<'_>) {
        let channel = came.channel;
        let is_mine = || self.slot.servers().iter().any(|s| s.pid == came.server);
        let message = match came.session {
            // Through a server that was its own once.
            Some(session) if session == self.own && !is_mine() => {
                &Bytes::copy_from_slice(came.untold)
            }
            _ => &came.message,
        };
        let mut state = self.state();
        if state.doom.is_some() {
            return;
        }
        match state.channels.get(channel) {
            Some(Standing::Heard) => state.ready.push_back(message.clone()),
            // What its own transaction sends it hears if it is committed, and nothing else.
            Some(Standing::Wished) if is_mine() => {
                state.held.push((channel.into(), message.clone()));
            }
            _ => return,
        }
        state.waiting_bytes += message.len();
        if state.waiting_bytes > WAITING_MAX {
            state.end(Doom::Full);
        }
        state.wake();
    }

    /// The session must end.
    pub(crate) fn end(&self, doom: Doom) {
        let mut state = self.state();
        state.end(doom);
        state.wake();
    }

    /// Ready when there is something to tell, or the session must end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, may_tell: bool) -> Poll<()> {
        let mut state = self.state();
        if state.doom.is_some() || (may_tell && !state.ready.is_empty()) {
            return Poll::Ready(());
        }
        let known = state
            .waker
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()));
        if !known {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Moves what is to be told to where it is told.
    pub(crate) fn take(&self, out: &mut BytesMut) {
        let mut state = self.state();
        while let Some(message) = state.ready.pop_front() {
            state.waiting_bytes -= message.len();
            out.extend_from_slice(&message);
        }
    }

    /// Whether the session must end.
    pub(crate) fn doom(&self) -> Option<Doom> {
        self.state().doom
    }
}

/// The channel of a NotificationResponse.
fn channel(message: &[u8]) -> Option<&str> {
    let (name, _) = cstr(message.get(HEADER_LEN + 4..)?)?;
    std::str::from_utf8(name).ok()
}

impl State {
    fn end(&mut self, doom: Doom) {
        self.doom = self.doom.or(Some(doom));
        self.ready.clear();
        self.held.clear();
        self.waiting_bytes = 0;
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::cancel::CancelRegistry;
    use crate::whereabouts::About;

    fn inbox() -> Inbox {
        let about = About {
            user: "u".into(),
            database: "d".into(),
            client_host: "".into(),
            client_port: 0,
            local: None,
            application_name: "".into(),
            session: 1,
            is_encrypted: false,
            is_console: false,
            started: SystemTime::UNIX_EPOCH,
        };
        let session = Arc::new(CancelRegistry::default()).register(about, 4);
        Inbox::new(Arc::clone(&session.unwrap().slot), OWN)
    }

    const OWN: u32 = 1 << 30;

    fn push(inbox: &Inbox, channel: &str, message: &[u8]) {
        inbox.push(&Notification {
            channel,
            server: 1,
            session: None,
            message: Bytes::copy_from_slice(message),
            untold: message,
        });
    }

    fn told(inbox: &Inbox) -> String {
        let mut out = BytesMut::new();
        inbox.take(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_is_heard_is_told_in_order_and_the_rest_is_not() {
        let inbox = inbox();
        inbox.hear("a");
        inbox.wish("b");
        for (channel, text) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")] {
            push(&inbox, channel, text.as_bytes());
        }
        assert_eq!(told(&inbox), "14");
        assert_eq!(inbox.settle(), ["b".into()]);
        inbox.hear("b");
        push(&inbox, "b", b"5");
        assert_eq!(told(&inbox), "5");
        let mut gone = inbox.drop_channels(None);
        gone.sort();
        assert_eq!(gone, ["a".into(), "b".into()]);
        push(&inbox, "a", b"6");
        assert_eq!(told(&inbox), "");
    }

    #[test]
    fn what_came_through_a_server_that_is_not_its_own_any_more_is_not_its_own() {
        let inbox = inbox();
        inbox.hear("a");
        for session in [OWN, OWN + 1] {
            inbox.push(&Notification {
                channel: "a",
                server: 1,
                session: Some(session),
                message: Bytes::from_static(b"told"),
                untold: b"as it came ",
            });
        }
        assert_eq!(told(&inbox), "as it came told");
    }

    #[test]
    fn a_client_that_does_not_read_is_given_up() {
        let inbox = inbox();
        inbox.hear("a");
        let message = vec![0; 8000];
        for _ in 0..WAITING_MAX / 8000 {
            push(&inbox, "a", &message);
        }
        assert_eq!(inbox.doom(), None);
        push(&inbox, "a", &message);
        assert_eq!(inbox.doom(), Some(Doom::Full));
        assert_eq!(inbox.state().ready.len(), 0, "and its memory is free");
    }
}
