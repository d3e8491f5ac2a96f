//! The commands that the proxy answers itself, and how their answers are put on the wire.
//!
//! `columns` names what comes out, `nodes` and `sessions` are the tables about these, `status` and
//! `router` the settings, `options` what a session may set, `plugins` the plugins and the orders about them.

mod admin;
mod columns;
mod nodes;
mod options;
mod plugins;
mod router;
mod sessions;
mod status;
mod time;

use bytes::BytesMut;
use pgsteer_core::{Node, Snapshot};
use pgsteer_sql::Console;
use pgsteer_wire::{ErrorReply, SqlState, encode};

pub(crate) use admin::{Access, Extended, WELCOME, access, is_console};
pub(crate) use columns::columns;
pub(crate) use options::{Options, switch};

use crate::session::{Rare, Session};
use status::Item;

/// What the client gets for a command.
pub(crate) enum Answer {
    /// Rows of text.
    Rows(Vec<Vec<String>>),
    /// A command tag.
    Done(&'static str),
}

impl Session {
    /// The answer to a command.
    pub(crate) fn command<'a>(
        &'a mut self,
        command: &'a Console,
    ) -> Rare<'a, Result<Answer, ErrorReply>> {
        Box::pin(async move {
            let rows = match command {
                Console::PoolNodes => self.of_nodes(|node, snapshot, session| {
                    nodes::node_row(node, &snapshot.topology.nodes, &session.steering)
                }),
                Console::PoolBackendStats => self
                    .of_nodes(|node, _, session| nodes::backend_stats_row(node, &session.steering)),
                Console::PoolHealthCheckStats => self.of_nodes(|node, _, session| {
                    let facts = &session.steering.worker.shared.facts;
                    nodes::health_check_row(node, facts.probes.node(node.id))
                }),
                Console::PoolPlugins => {
                    let snapshot = self.steering.worker.snapshot();
                    let reports = snapshot.plugin_reports.iter();
                    reports.map(plugins::plugin_row).collect()
                }
                Console::PoolPluginStats => self.of_plugins(|p| vec![plugins::stats_row(p)]),
                Console::PoolPluginMetrics => self.of_plugins(plugins::metric_rows),
                Console::Tell { plugin, text } => self.tell(plugin, text)?,
                Console::Order(text) => self.order(text).await?,
                Console::PoolVersion => {
                    vec![vec![concat!("pgsteer ", env!("CARGO_PKG_VERSION")).into()]]
                }
                Console::PoolProcesses => self.processes(),
                Console::PoolPools => self.pools(),
                Console::PoolPins => self.pins(),
                // There is no query cache; this is what Pgpool-II says with its own switched off.
                Console::PoolCache => {
                    let zeros = ["0", "0", "0.00", "0", "0", "0", "0", "0", "0"];
                    vec![zeros.map(str::to_owned).to_vec()]
                }
                Console::PoolStatus => status::status_rows(self.items()),
                Console::Show(name) if status::is_group(name) => {
                    status::group_rows(self.items(), name)
                }
                Console::Show(name) => vec![vec![self.shown(name)?]],
                Console::Set { name, value } => return self.set_option(name, value.as_deref()),
                Console::Reset(name) => return self.reset_options(name.as_deref()),
                Console::ExplainRoute(text) => self.explain_route(text),
            };
            Ok(Answer::Rows(rows))
        })
    }

    fn of_nodes(&self, row: impl Fn(&Node, &Snapshot, &Self) -> Vec<String>) -> Vec<Vec<String>> {
        let snapshot = self.steering.worker.snapshot();
        let nodes = snapshot.topology.nodes.iter();
        nodes.map(|node| row(node, &snapshot, self)).collect()
    }

    /// All settings as they are for this session.
    fn items(&self) -> Vec<Item> {
        let snapshot = self.steering.worker.snapshot();
        status::items(
            &snapshot.settings,
            &snapshot.topology,
            &self.options,
            &self.steering.overridden,
        )
    }

    fn shown(&self, name: &str) -> Result<String, ErrorReply> {
        let found = self.items().into_iter().find(|item| item.name == name);
        found.map(|item| item.shown).ok_or_else(|| {
            let text = format!("config variable \"{name}\" not found");
            ErrorReply::error(SqlState::UNDEFINED_OBJECT, text)
        })
    }
}

/// RowDescription, or NoData.
pub(crate) fn put_description(out: &mut BytesMut, command: &Console) {
    match columns(command) {
        Some(columns) => encode::row_description(out, &columns),
        None => encode::frame(out, b'n', b""),
    }
}

/// The rows, and CommandComplete.
pub(crate) fn put_answer(out: &mut BytesMut, answer: &Answer) {
    match answer {
        Answer::Rows(rows) => {
            for row in rows {
                encode::data_row(out, row);
            }
            encode::command_complete(out, &format!("SELECT {}", rows.len()));
        }
        Answer::Done(tag) => encode::command_complete(out, tag),
    }
}
