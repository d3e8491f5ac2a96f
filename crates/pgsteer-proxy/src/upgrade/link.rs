//! What two processes say to each other while one takes over from the other: lines of JSON over a
//! pair of sockets, the first with the listening sockets beside it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Blocking;

use anyhow::{Context, Result, bail};
use pgsteer_control::sockets::{HandedOn, Sockets};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Message {
    /// Old to new, with the sockets beside it: their names in the same order.
    Sockets { protocol: u32, names: Vec<String> },
    /// New to old: it can serve.
    Ready { pid: u32 },
    /// New to old: it cannot, and ends.
    Failed { why: String },
    /// Old to new: the clients that come now are yours, and so are the nodes.
    Yours,
    /// New to old: somebody wants the statement of one of your sessions cancelled.
    Cancel { number: u64, pid: u32, key: Vec<u8> },
    /// New to old: an operator stops all of us.
    Stop,
    /// Old to new: that has landed.
    Landed { number: u64 },
}

/// What both must speak; another number is another language.
pub(super) const PROTOCOL: u32 = 1;

/// Sockets that fit into one message (`SCM_MAX_FD` of the kernel).
const SOCKETS_MAX: usize = 253;

/// Longest line; ours.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Hands sockets over. Blocks only if nobody reads and there are more than any configuration has.
pub(super) fn send_sockets(stream: &Blocking, sockets: &HandedOn) -> Result<()> {
    let names = sockets.iter().map(|(name, _)| name.clone()).collect();
    let line = line(&Message::Sockets {
        protocol: PROTOCOL,
        names,
    });
    let fds: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    if fds.len() > SOCKETS_MAX || line.len() > LINE_BYTES_MAX {
        bail!("there are more than {SOCKETS_MAX} listening sockets, which cannot be handed over");
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let sent = sendmsg(
        stream,
        &[IoSlice::new(&line)],
        &mut beside,
        SendFlags::empty(),
    )?;
    if sent != line.len() {
        bail!("the listening sockets could not be handed over in one piece");
    }
    Ok(())
}

/// Takes the sockets that the other process handed over.
pub(super) fn receive_sockets(stream: &Blocking) -> Result<Sockets> {
    let (mut text, mut taken) = (Vec::new(), Vec::<OwnedFd>::new());
    let mut bytes = vec![0; LINE_BYTES_MAX];
    while !text.ends_with(b"\n") && text.len() <= LINE_BYTES_MAX {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(stream, &mut buffers, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes == 0 {
            bail!("it ended before it handed over its listening sockets");
        }
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                taken.extend(sockets);
            }
        }
        text.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
    }
    let message = serde_json::from_slice(&text).context("it says what is not understood")?;
    let Message::Sockets { protocol, names } = message else {
        bail!("it does not begin with its listening sockets");
    };
    if protocol != PROTOCOL || names.len() != taken.len() {
        bail!("it hands over in a way this version does not understand (protocol {protocol})");
    }
    let mut sockets = Sockets::default();
    for (name, socket) in names.into_iter().zip(taken) {
        sockets.put(name, socket);
    }
    Ok(sockets)
}

fn line(message: &Message) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The end that is read from.
#[derive(Debug)]
pub(super) struct Hearing {
    stream: OwnedReadHalf,
    pending: Vec<u8>,
}

/// The end that is written to.
#[derive(Debug)]
pub(super) struct Telling(OwnedWriteHalf);

/// Both ends, on the runtime this is called on.
pub(super) fn split(stream: Blocking) -> Result<(Hearing, Telling)> {
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    let hearing = Hearing {
        stream: read,
        pending: Vec::new(),
    };
    Ok((hearing, Telling(write)))
}

impl Hearing {
    /// The next message; `None` at the end, or if it is none.
    ///
    /// # Cancel safety
    /// Cancel safe: what was read is kept.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            if self.pending.len() > LINE_BYTES_MAX {
                return None;
            }
            if self.stream.read_buf(&mut self.pending).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl Telling {
    /// Says something.
    ///
    /// # Errors
    /// The other process is gone.
    pub(super) async fn say(&mut self, message: &Message) -> std::io::Result<()> {
        self.0.write_all(&line(message)).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn sockets_arrive_under_their_names() {
        let (old, new) = Blocking::pair().expect("a pair");
        let listeners = ["a", "b"].map(|name| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
            (name.to_owned(), listener)
        });
        let copies = listeners.iter().map(|(name, listener)| {
            let copy = listener.try_clone().expect("a copy");
            (name.clone(), OwnedFd::from(copy))
        });
        send_sockets(&old, &copies.collect()).expect("sent");
        let mut sockets = receive_sockets(&new).expect("received");
        for (name, listener) in &listeners {
            let socket = TcpListener::from(sockets.take(name).expect("it is there"));
            let addresses = (socket.local_addr(), listener.local_addr());
            assert_eq!(addresses.0.expect("one"), addresses.1.expect("one"));
        }
        assert!(sockets.take("a").is_none(), "taken already");
    }

    #[test]
    fn somebody_who_is_no_proxy_is_found_out() {
        use std::io::Write;
        for said in [&b"GET / HTTP/1.0\n"[..], b"{\"say\":\"yours\"}\n", b""] {
            let (mut old, new) = Blocking::pair().expect("a pair");
            old.write_all(said).expect("written");
            drop(old);
            assert!(receive_sockets(&new).is_err());
        }
        let (mut old, new) = Blocking::pair().expect("a pair");
        let other = b"{\"say\":\"sockets\",\"protocol\":2,\"names\":[]}\n";
        old.write_all(other).expect("written");
        let error = receive_sockets(&new).expect_err("another language");
        assert!(error.to_string().contains("protocol 2"), "{error}");
    }

    #[tokio::test]
    async fn messages_arrive_in_pieces_or_several_at_once() {
        use std::io::Write;
        let (mut old, new) = Blocking::pair().expect("a pair");
        let (mut hearing, _telling) = split(new).expect("split");
        let cancel = Message::Cancel {
            number: 7,
            pid: 1,
            key: vec![1, 255],
        };
        let bytes = [line(&Message::Yours), line(&cancel)].concat();
        let (first, second) = bytes.split_at(9);
        old.write_all(first).expect("written");
        let early = tokio::time::timeout(std::time::Duration::from_millis(1), hearing.next());
        assert!(early.await.is_err(), "half a line is none");
        old.write_all(second).expect("written");
        assert_eq!(hearing.next().await, Some(Message::Yours));
        assert_eq!(hearing.next().await, Some(cancel));
        drop(old);
        assert_eq!(hearing.next().await, None);
    }
}
