//! What a session can see of its own routing: a notice for each statement sent to a node, and the
//! same for the log. SQL text never goes to the log above level debug.

use pgsteer_core::NodeId;
use pgsteer_sql::set_value;
use pgsteer_wire::{ErrorReply, encode};
use tracing::debug;

use crate::batch::Batch;
use crate::console::switch;
use crate::end::End;
use crate::session::{Session, Soon, at_once, later};
use crate::steering::Placement;

/// The parameter that adds to the notices why a statement went where it went.
pub(crate) const NOTICE_ROUTE: &str = "pgsteer.notice_route";

/// What is sent, in Pgpool-II's words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message {
    Query,
    Parse,
    Bind,
    Execute,
}

impl Message {
    fn prefix(self) -> &'static str {
        match self {
            Self::Query => "",
            Self::Parse => "Parse: ",
            Self::Bind => "Bind: ",
            Self::Execute => "Execute: ",
        }
    }
}

impl Session {
    /// Whether anybody wants to know of the statements of this session. Runs for every statement,
    /// and costs next to nothing while nobody does.
    pub(crate) fn is_observed(&self) -> bool {
        self.options.notice_per_node_statement
            || self.options.logs_statements()
            || self.explains_routes()
    }

    /// Whether the session has set `pgsteer.notice_route`. Looked up only once it was ever set.
    fn explains_routes(&self) -> bool {
        if !self.knows_notice_route {
            return false;
        }
        let text = self.transaction.last_set(&self.settings, NOTICE_ROUTE);
        text.and_then(set_value).is_some_and(|value| is_on(&value))
    }

    /// A statement is about to be sent to a node. Nothing that is on its way to the client may be
    /// cut in two by it: see [`Session::observe_in`].
    pub(crate) fn observe(
        &mut self,
        node: NodeId,
        message: Message,
        text: &[u8],
        placement: Option<&Placement>,
    ) {
        let text = String::from_utf8_lossy(text);
        let prefix = message.prefix();
        if self.options.logs_statements() {
            let pid = self.held(node).map_or(0, |leg| leg.peek().key.pid);
            debug!(
                target: "pgsteer::statement",
                "DB node id: {node} backend pid: {pid} statement: {prefix}{text}"
            );
        }
        let explains = self.explains_routes();
        if !explains && !self.options.notice_per_node_statement {
            return;
        }
        let mut notice =
            ErrorReply::notice(format!("DB node id: {node} statement: {prefix}{text}"));
        if explains {
            notice.detail = placement.map(|p| self.steering.trail(p).detail());
        }
        encode::error(&mut self.client.output, &notice);
    }

    /// The same inside a batch, after everything that is due before; `false` if the batch has
    /// failed meanwhile. Without observers it does nothing.
    pub(crate) fn observe_in<'a>(
        &'a mut self,
        batch: &'a mut Batch,
        node: NodeId,
        message: Message,
        text: &'a [u8],
    ) -> Soon<'a, Result<bool, End>> {
        if !self.is_observed() {
            return at_once(Ok(true));
        }
        later(async move {
            if !self.drain(batch).await? {
                return Ok(false);
            }
            self.observe(node, message, text, batch.last_placement(node));
            Ok(true)
        })
    }
}

/// Whether it means on; [`set_value`] quotes what SET was given.
fn is_on(value: &str) -> bool {
    switch(NOTICE_ROUTE, value.trim_matches('"')).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_the_parameter() {
        for (text, expected) in [
            ("SET pgsteer.notice_route = on", true),
            ("SET pgsteer.notice_route TO 'TRUE'", true),
            ("SET SESSION pgsteer.notice_route = 1", true),
            ("SET pgsteer.notice_route = off", false),
            ("SET pgsteer.notice_route TO DEFAULT", false),
            ("RESET pgsteer.notice_route", false),
            (
                "SELECT pg_catalog.set_config('pgsteer.notice_route','on',false)",
                true,
            ),
        ] {
            let value = set_value(text);
            assert_eq!(value.is_some_and(|v| is_on(&v)), expected, "{text}");
        }
    }
}
