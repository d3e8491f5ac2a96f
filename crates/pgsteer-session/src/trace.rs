//! What a statement that belongs to somebody's trace does while it is here: the query as a whole, and
//! in it the waits, what plugins took, and the time on nodes. Everything else pays for it with one
//! look at an option.

use std::time::{Instant, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_core::spans::{Span, SpanKind};
use pgsteer_sql::{TraceParent, trace_parent};

use crate::session::{Session, query_text};

/// Spans of one query besides its own; ours. Those after them are left out.
const CHILDREN_MAX: usize = 64;

/// A query whose client records what becomes of it.
#[derive(Debug)]
pub(crate) struct Trace {
    parent: TraceParent,
    id: u64,
    began: Instant,
    began_ns: u64,
    /// The fingerprint of its statement.
    fingerprint: u64,
    children: Vec<Span>,
    left_out: usize,
}

impl Trace {
    /// Something that began then, and has ended now.
    pub(crate) fn child(
        &mut self,
        name: &'static str,
        kind: SpanKind,
        began: Instant,
    ) -> Option<&mut Span> {
        if self.children.len() >= CHILDREN_MAX {
            self.left_out += 1;
            return None;
        }
        let number = self.children.len() as u64 + 1;
        let span = Span {
            trace_id: self.parent.trace_id,
            span_id: self.id.wrapping_add(number).to_be_bytes(),
            parent_id: self.id.to_be_bytes(),
            name,
            kind,
            start_ns: self.at(began),
            end_ns: self.at(Instant::now()),
            attributes: Vec::new(),
        };
        self.children.push(span);
        self.children.last_mut()
    }

    fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.began).as_nanos();
        self.began_ns
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

impl Session {
    /// A statement of the query that is under way has this text. The first one that names a trace
    /// counts.
    pub(crate) fn note_trace(&mut self, text: &[u8], fingerprint: u64) {
        let steering = &mut self.steering;
        if steering.trace.is_some() || steering.snapshot.settings.tracing.endpoint.is_none() {
            return;
        }
        let Some(parent) = trace_parent(text).filter(|parent| parent.is_sampled) else {
            return;
        };
        let mut id = [0; 8];
        if getrandom::fill(&mut id).is_err() {
            return;
        }
        let (now, began) = (Instant::now(), self.meter.query_began());
        let began = began.unwrap_or(now);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.map_or(0, |since| since.as_nanos());
        let before = now.saturating_duration_since(began).as_nanos();
        steering.trace = Some(Box::new(Trace {
            parent,
            // Zero stands for none, here and for the children that are counted from it.
            id: u64::from_be_bytes(id).clamp(1, u64::MAX - CHILDREN_MAX as u64),
            began,
            began_ns: u64::try_from(wall.saturating_sub(before)).unwrap_or(u64::MAX),
            fingerprint,
            children: Vec::new(),
            left_out: 0,
        }));
    }

    /// The same for the Query at the front of the client's input.
    pub(crate) fn note_trace_of_query(&mut self, fingerprint: u64) {
        if self.steering.snapshot.settings.tracing.endpoint.is_none() {
            return;
        }
        // Out of the buffer, which is the session's as well; only while traces are looked for.
        let text = query_text(self.client.input.bytes()).to_vec();
        self.note_trace(&text, fingerprint);
    }

    /// A moment, if somebody wants to know what follows.
    pub(crate) fn traced_now(&self) -> Option<Instant> {
        self.steering.trace.as_ref().map(|_| Instant::now())
    }

    /// The wait that began then is over.
    pub(crate) fn trace_wait(&mut self, began: Option<Instant>) {
        if let (Some(trace), Some(began)) = (&mut self.steering.trace, began) {
            trace.child("wait", SpanKind::Internal, began);
        }
    }

    /// What was sent to a node then is answered.
    pub(crate) fn trace_node(&mut self, node: NodeId, began: Option<Instant>) {
        let (Some(trace), Some(began)) = (&mut self.steering.trace, began) else {
            return;
        };
        let known = self.steering.snapshot.topology.node(node);
        if let Some(span) = trace.child("node", SpanKind::Client, began)
            && let Some(known) = known
        {
            span.attributes = vec![
                ("db.system.name", "postgresql".to_owned()),
                ("server.address", known.host.to_string()),
                ("server.port", known.port.to_string()),
                ("pgsteer.node", node.0.to_string()),
            ];
        }
    }

    /// The query is answered: whoever records it is told.
    pub(crate) fn end_trace(&mut self, ended: Instant) {
        let Some(trace) = self.steering.trace.take() else {
            return;
        };
        let mut attributes = vec![
            ("db.system.name", "postgresql".to_owned()),
            ("db.namespace", self.steering.identity.database.to_string()),
            ("db.user", self.steering.identity.user.to_string()),
            ("pgsteer.fingerprint", format!("{:016x}", trace.fingerprint)),
        ];
        if trace.left_out > 0 {
            attributes.push(("pgsteer.spans_left_out", trace.left_out.to_string()));
        }
        let own = Span {
            trace_id: trace.parent.trace_id,
            span_id: trace.id.to_be_bytes(),
            parent_id: trace.parent.span_id,
            name: "query",
            kind: SpanKind::Server,
            start_ns: trace.began_ns,
            end_ns: trace.at(ended),
            attributes,
        };
        let mut spans = trace.children;
        spans.push(own);
        self.steering.worker.shared.facts.spans.put(spans);
    }
}
