//! What becomes of statements that belong to somebody's trace, on its way to whoever collects traces.
//!
//! The data plane hands spans over and never waits: when the queue is full they are dropped and
//! counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// What a span is to the caller of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Something inside the proxy.
    Internal,
    /// What the proxy does for a client.
    Server,
    /// What a server does for the proxy.
    Client,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace, as the client named it.
    pub trace_id: [u8; 16],
    /// Its own name in it.
    pub span_id: [u8; 8],
    /// The span it is part of.
    pub parent_id: [u8; 8],
    /// What was done.
    pub name: &'static str,
    /// What it is to its caller.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Whatever else is known: names as OpenTelemetry has them where it has some.
    pub attributes: Vec<(&'static str, String)>,
}

/// The queue of spans; those of one query go together.
#[derive(Debug)]
pub struct Spans {
    sender: mpsc::Sender<Vec<Span>>,
    receiver: Mutex<Option<mpsc::Receiver<Vec<Span>>>>,
    /// Spans that were sent.
    pub sent: AtomicU64,
    /// Spans for which there was no room.
    pub dropped: AtomicU64,
    /// Spans that could not be sent.
    pub failed: AtomicU64,
}

/// Queries whose spans may wait; ours.
const WAITING_MAX: usize = 2048;

impl Default for Spans {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl Spans {
    /// The end at which spans are taken, once.
    pub fn take(&self) -> Option<mpsc::Receiver<Vec<Span>>> {
        let receiver = self.receiver.lock();
        receiver.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hands spans over, if there is room.
    pub fn put(&self, spans: Vec<Span>) {
        if let Err(full) = self.sender.try_send(spans) {
            let lost = full.into_inner().len() as u64;
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let spans = Spans::default();
        let span = Span {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent_id: [3; 8],
            name: "query",
            kind: SpanKind::Server,
            start_ns: 1,
            end_ns: 2,
            attributes: Vec::new(),
        };
        for _ in 0..WAITING_MAX + 3 {
            spans.put(vec![span.clone(), span.clone()]);
        }
        assert_eq!(spans.dropped.load(Ordering::Relaxed), 6);
        let mut taken = spans.take().expect("the first time");
        assert_eq!(taken.try_recv().map(|spans| spans.len()), Ok(2));
        assert!(spans.take().is_none());
    }
}
