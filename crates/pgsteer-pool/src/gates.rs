//! Which nodes may be connected to, as this worker was told, and the open sockets of each, so that
//! all of them can be closed at once, whoever uses them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pgsteer_core::NodeId;
use socket2::{SockRef, Socket};
use tokio::sync::Notify;

use crate::Stream;
use crate::limits::Slot;

/// A second handle on the socket of a connection, and its place among those that are counted. The
/// connection holds it, the gate knows it weakly: the socket closes when the connection is dropped.
#[derive(Debug)]
pub(crate) struct Severable {
    // None: out of file descriptors. That one cannot be severed, and does its work all the same.
    socket: Option<Socket>,
    slot: RefCell<Option<Slot>>,
}

pub(crate) type Handle = Rc<Severable>;

#[derive(Default)]
struct Gate {
    closed: Cell<bool>,
    // Wakes those that open a connection, or wait for one.
    shut: Notify,
    sockets: RefCell<Vec<Weak<Severable>>>,
}

/// The gates to all nodes.
pub(crate) struct Gates(Box<[Gate]>);

impl Gates {
    /// All open, to so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Gate::default()).collect())
    }

    /// Whether nothing may be sent to the node.
    pub(crate) fn is_closed(&self, node: NodeId) -> bool {
        self.0.get(node.index()).is_some_and(|g| g.closed.get())
    }

    /// Opens or closes the gate.
    pub(crate) fn set_closed(&self, node: NodeId, closed: bool) {
        if let Some(gate) = self.0.get(node.index())
            && !gate.closed.replace(closed)
            && closed
        {
            gate.shut.notify_waiters();
        }
    }

    /// Resolves when the gate is closed, or what goes through it is severed, after this call.
    pub(crate) fn shut(&self, node: NodeId) -> impl Future<Output = ()> {
        let notified = self.0.get(node.index()).map(|gate| gate.shut.notified());
        async move {
            match notified {
                Some(notified) => notified.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Remembers the socket of a connection that was opened.
    pub(crate) fn enter(&self, node: NodeId, stream: &Stream, slot: Slot) -> Handle {
        let socket = match stream {
            Stream::Tcp(stream) => SockRef::from(stream).try_clone(),
            Stream::Unix(stream) => SockRef::from(stream).try_clone(),
        };
        let handle = Rc::new(Severable {
            socket: socket.ok(),
            slot: RefCell::new(Some(slot)),
        });
        if let Some(gate) = self.0.get(node.index()) {
            let mut sockets = gate.sockets.borrow_mut();
            sockets.retain(|known| known.strong_count() > 0);
            sockets.push(Rc::downgrade(&handle));
        }
        handle
    }

    /// Closes every connection to the node from below, and ends attempts to open one: whoever waits
    /// for it sees it as closed by the server. They do not count any more, whenever their sessions
    /// look at them again.
    pub(crate) fn sever(&self, node: NodeId) {
        let Some(gate) = self.0.get(node.index()) else {
            return;
        };
        gate.shut.notify_waiters();
        let mut left = Vec::new();
        for handle in gate.sockets.take().iter().filter_map(Weak::upgrade) {
            let Some(socket) = &handle.socket else {
                left.push(Rc::downgrade(&handle));
                continue;
            };
            // One that is not connected any more is closed already.
            drop(socket.shutdown(std::net::Shutdown::Both));
            drop(handle.slot.take());
        }
        gate.sockets.borrow_mut().extend(left);
    }
}
