//! The tables about plugins, and what operators say about them and about nodes.

use std::rc::Rc;
use std::sync::Arc;

use pgsteer_core::admin::{NODE_USAGE, NodeOrder, Order, USAGE};
use pgsteer_core::counters::Counter;
use pgsteer_core::policy::{
    FailureClass, Plugin, PluginCounters, PluginReport, PluginState, SeriesKind,
};
use pgsteer_wire::{ErrorReply, SqlState};
use tracing::info;

use crate::leg::Leg;
use crate::session::Session;

/// A row of `SHOW pool_plugins`.
pub(super) fn plugin_row(report: &PluginReport) -> Vec<String> {
    let plugin = report.plugin.as_ref();
    let text = |read: &dyn Fn(&Plugin) -> String| plugin.map_or_else(String::new, |p| read(p));
    let decides = matches!(report.state, PluginState::Live | PluginState::Probation);
    let quarantined = decides && plugin.is_some_and(|p| p.is_quarantined());
    let state = if quarantined {
        "quarantined"
    } else {
        report.state.name()
    };
    vec![
        report.file_name.clone(),
        text(&|p| p.name.clone()),
        text(&|p| p.version.clone()),
        report.sha256.clone(),
        text(&|p| p.generation.to_string()),
        text(&|p| p.hooks.to_string()),
        text(&|p| p.sum(|c| c.calls.get()).to_string()),
        text(&|p| p.sum(|c| c.cached.get()).to_string()),
        text(&|p| p.failures().to_string()),
        state.to_owned(),
        if report.pinned { "yes" } else { "no" }.to_owned(),
        report.reason.clone(),
    ]
}

/// A row of `SHOW pool_plugin_stats`.
pub(super) fn stats_row(plugin: &Plugin) -> Vec<String> {
    let sum = |read: &dyn Fn(&PluginCounters) -> &Counter| {
        plugin.sum(|counters| read(counters).get()).to_string()
    };
    let time = |share: f64| {
        let time = plugin.time_quantile(share);
        time.map_or_else(String::new, |t| format!("{:.1}", t.as_secs_f64() * 1e6))
    };
    let mut row = vec![
        plugin.file_name.to_string(),
        sum(&|c| &c.calls),
        sum(&|c| &c.cached),
        sum(&|c| &c.refusals),
        sum(&|c| &c.rewrites),
        sum(&|c| &c.events),
        sum(&|c| &c.events_dropped),
        time(0.5),
        time(0.99),
    ];
    for class in FailureClass::ALL {
        let of_class = |c: &PluginCounters| {
            let counter = c.failures.get(class as usize);
            counter.map_or(0, Counter::get)
        };
        row.push(plugin.sum(of_class).to_string());
    }
    row.extend([
        sum(&|c| &c.bad_rewrites),
        sum(&|c| &c.rested),
        sum(&|c| &c.rechecks),
        sum(&|c| &c.divergences),
        if plugin.forgets() { "no" } else { "yes" }.to_owned(),
        sum(&|c| &c.instances),
        plugin.memory_bytes().to_string(),
    ]);
    row
}

/// Rows of `SHOW pool_plugin_metrics`.
pub(super) fn metric_rows(plugin: &Plugin) -> Vec<Vec<String>> {
    let series = plugin.series.all();
    let row = |series: &Arc<pgsteer_core::policy::Series>| {
        let kind = match series.kind {
            SeriesKind::Counter => "counter",
            SeriesKind::Gauge => "gauge",
            SeriesKind::Histogram => "histogram",
        };
        let greatest = series
            .greatest()
            .map_or_else(String::new, |v| v.to_string());
        vec![
            plugin.file_name.to_string(),
            series.name.clone(),
            kind.to_owned(),
            series.unit.clone(),
            series.count().to_string(),
            series.value().to_string(),
            greatest,
        ]
    };
    series.iter().map(row).collect()
}

impl Session {
    /// Rows about each loaded plugin.
    pub(super) fn of_plugins(
        &self,
        rows: impl Fn(&Plugin) -> Vec<Vec<String>>,
    ) -> Vec<Vec<String>> {
        let snapshot = self.steering.worker.snapshot();
        let plugins = snapshot
            .plugin_reports
            .iter()
            .filter_map(|r| r.plugin.as_ref());
        plugins.flat_map(|plugin| rows(plugin)).collect()
    }

    /// A command for a plugin of this worker.
    pub(super) fn tell(
        &mut self,
        plugin: &str,
        text: &str,
    ) -> Result<Vec<Vec<String>>, ErrorReply> {
        self.check_operator()?;
        info!(
            plugin,
            text,
            user = &*self.steering.identity.user,
            "operator tells a plugin"
        );
        let worker = &self.steering.worker;
        let mut policies = worker.policies.borrow_mut();
        policies.refresh(worker.subscription.borrow_mut().get());
        let answer = policies.command(plugin, text).map_err(refused)?;
        Ok(answer.lines().map(|line| vec![line.to_owned()]).collect())
    }

    /// An order for the control plane.
    pub(super) async fn order(&mut self, text: &str) -> Result<Vec<Vec<String>>, ErrorReply> {
        self.check_operator()?;
        let facts = Arc::clone(&self.steering.worker.shared.facts);
        let user = Rc::clone(&self.steering.identity.user);
        let answer = if let Some(rest) = about_nodes(text) {
            let order = NodeOrder::parse(rest).map_err(|why| misread(why, NODE_USAGE))?;
            self.let_go_of_all()?;
            info!(?order, user = &*user, "an operator orders");
            facts.node_desk.ask(order, &user).await
        } else {
            let order = Order::parse(text).map_err(|why| misread(why, USAGE))?;
            facts.desk.ask(order, &user).await
        };
        let lines = answer.map_err(refused)?;
        Ok(lines.into_iter().map(|line| vec![line]).collect())
    }

    /// While this session waits for an order to be carried out it looks after no connection; one on
    /// the node that the order is about would be waited for in turn.
    fn let_go_of_all(&mut self) -> Result<(), ErrorReply> {
        let bound = |leg: &Leg| leg.in_transaction() || leg.pinned.is_some();
        if self.busy || self.legs.iter().any(bound) {
            let text = "PGSTEER NODE cannot be used in a transaction block, nor in a session that \
                        left something on a server";
            let reply = ErrorReply::error(SqlState::ACTIVE_SQL_TRANSACTION, text);
            return Err(reply.with_hint("Use another session, or pgsteer node."));
        }
        for leg in std::mem::take(&mut self.legs) {
            self.let_go(leg);
        }
        Ok(())
    }

    fn check_operator(&self) -> Result<(), ErrorReply> {
        let user = &*self.steering.identity.user;
        let operators = &self.steering.worker.snapshot().settings.operators;
        if operators.iter().any(|operator| operator == user) {
            return Ok(());
        }
        let text = format!("user \"{user}\" may not give orders to the proxy");
        let reply = ErrorReply::error(SqlState::INSUFFICIENT_PRIVILEGE, text);
        Err(reply.with_hint("Add the user to console.operators in the configuration."))
    }
}

/// What follows `NODE`, if that comes first.
fn about_nodes(text: &str) -> Option<&str> {
    let (word, rest) = text
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((text, ""));
    word.eq_ignore_ascii_case("node").then_some(rest)
}

/// An order that is not understood.
fn misread(why: String, usage: &'static str) -> ErrorReply {
    if why == usage {
        let hint = format!("{USAGE}; {NODE_USAGE}");
        return ErrorReply::error(SqlState::SYNTAX_ERROR, "no such command".to_owned())
            .with_hint(hint);
    }
    ErrorReply::error(SqlState::SYNTAX_ERROR, why)
}

fn refused(why: String) -> ErrorReply {
    ErrorReply::error(SqlState::NOT_IN_PREREQUISITE_STATE, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_about_nodes_are_told_from_those_about_plugins() {
        assert_eq!(about_nodes("NODE 1 DETACH"), Some("1 DETACH"));
        assert_eq!(about_nodes("node"), Some(""));
        assert_eq!(about_nodes("nodes 1 detach"), None);
        assert_eq!(about_nodes("plugin node rollback"), None);
        let hint = misread(NODE_USAGE.to_owned(), NODE_USAGE).hint;
        assert!(hint.is_some_and(|hint| hint.contains("SWITCHOVER")));
        assert_eq!(misread("why".to_owned(), USAGE).message, "why");
    }
}
