//! `EXPLAIN ROUTE`: where a statement would go now, which rule said so, and on what grounds.

use std::rc::Rc;

use pgsteer_core::policy::{Fallback, Limits, Route, fresh, traits};
use pgsteer_core::{Moment, Node, NodeId, Role};
use pgsteer_sql::Analysis;

use crate::balance::Rule;
use crate::policies::Verdict;
use crate::session::Session;
use crate::steering::{Placement, Situation, Statement, Steering, Unplaced, Values};

/// Names of the bits of `traits`, in the order of `wit/v0.1/plugin.wit`.
const TRAITS: [&str; 32] = [
    "reads only",
    "writes",
    "locks",
    "calls a volatile function",
    "several statements",
    "parameters",
    "in a transaction",
    "read-only transaction",
    "serializable",
    "repeatable read",
    "tied to a node",
    "temporary relation",
    "system catalog",
    "calls an unknown function",
    "leading white space",
    "leading comment",
    "does not begin like a read",
    "the transaction wrote",
    "extended protocol",
    "text withheld",
    "savepoint",
    "unlogged relation",
    "unknown relation",
    "a relation this transaction wrote",
    "something behind a view needs the primary",
    "name of another session's temporary relation",
    "name of a volatile function",
    "rollback to savepoint",
    "makes a transaction read only",
    "name of a system catalog",
    "values not known yet",
    "values withheld",
];

impl Session {
    /// Rows of item and value.
    pub(crate) fn explain_route(&mut self, text: &str) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut row = |item: &str, value: String| rows.push(vec![item.to_owned(), value]);
        let mut analysis = self.steering.worker.analyze(text.as_bytes());
        let replaced = match self.ask_rewriters(&analysis, text.as_bytes(), false) {
            Ok(replaced) => replaced,
            Err(reply) => {
                row("refused", format!("{} {}", reply.sqlstate, reply.message));
                return rows;
            }
        };
        let mut text = text;
        if let Some(replaced) = &replaced {
            (text, analysis) = (&replaced.text, Rc::clone(&replaced.analysis));
            row("rewritten", text.to_owned());
        }
        let statement = Statement {
            analysis: &analysis,
            executed: None,
            text: text.as_bytes(),
            extended: false,
            values: Values::None,
        };
        let now = Situation {
            settings: &self.settings,
            transaction: &self.transaction,
            legs: &self.legs,
            avoid: &[],
            tied: None,
        };
        let placed = match self.steering.place(&statement, now) {
            Err(Unplaced::Late(placement, _)) => Ok(*placement),
            placed => placed,
        };
        row("statement", class(&analysis));
        row("fingerprint", analysis.fingerprint.to_string());
        match placed {
            Ok(placement) => {
                let trail = self.steering.trail(&placement);
                row("node", self.steering.show_node(placement.node));
                row("rule", trail.rule);
                row("plugin", trail.plugin);
                row("plugin said", trail.said);
                row("facts", trail.facts);
                for (item, value) in self.steering.grounds(&analysis, &placement) {
                    row(item, value);
                }
                for value in self.steering.alternatives(&placement) {
                    row("alternative", value);
                }
            }
            Err(Unplaced::Refused(reply)) => {
                row("refused", format!("{} {}", reply.sqlstate, reply.message));
            }
            Err(Unplaced::NoNode | Unplaced::Late(..)) => {
                row("node", "none: no node can run it now".to_owned());
            }
        }
        rows
    }
}

/// Who decided, in words.
pub(crate) struct Trail {
    pub(crate) rule: String,
    pub(crate) plugin: String,
    pub(crate) said: String,
    pub(crate) facts: String,
}

impl Trail {
    /// The same as the detail of a notice.
    pub(crate) fn detail(self) -> String {
        let Self {
            rule,
            plugin,
            said,
            facts,
        } = self;
        let mut lines = vec![
            format!("rule: {rule}"),
            format!("plugin: {plugin}"),
            format!("plugin said: {said}"),
        ];
        if !facts.is_empty() {
            lines.push(format!("facts: {facts}"));
        }
        lines.join("\n")
    }
}

impl Steering {
    /// Which rule decided about a statement.
    pub(crate) fn trail(&self, placement: &Placement) -> Trail {
        let verdict = &placement.verdict;
        let asked = self.worker.policies.borrow_mut().explain(verdict);
        let (plugin, said) = match asked {
            Some((plugin, said)) => {
                let named = format!("{} {} ({})", plugin.name, plugin.version, plugin.file_name);
                (named, said)
            }
            None => ("none: no plugin had an opinion".to_owned(), String::new()),
        };
        let route = route(verdict);
        let said = if said.is_empty() {
            route
        } else {
            format!("{route}: {said}")
        };
        Trail {
            rule: self.rule(placement),
            plugin,
            said,
            facts: facts(placement.traits),
        }
    }

    fn rule(&self, placement: &Placement) -> String {
        let short = |node: NodeId| format!("node {node}");
        match placement.rule {
            Rule::Policy => "as the plugin said".to_owned(),
            Rule::TiedToNode => "the transaction is tied to this node".to_owned(),
            Rule::SessionState => {
                "it concerns the session and runs where the session is; other nodes are told when \
                 they are used"
                    .to_owned()
            }
            Rule::NotARead => "it is not proven to only read: the primary".to_owned(),
            Rule::TiedToPrimary => {
                "only the primary knows what the session or transaction set: the primary".to_owned()
            }
            Rule::OneSnapshot => "the transaction reads one snapshot on one node".to_owned(),
            Rule::Replaced(drawn) => {
                format!("{} does not keep the limits, this one does", short(drawn))
            }
            Rule::NoneKeepsLimits(drawn) => {
                format!("{} does not keep the limits: the primary", short(drawn))
            }
            Rule::NoCandidate => "no node the plugin allows is usable: the primary".to_owned(),
        }
    }

    /// What its names mean and what a replica must keep.
    fn grounds(&self, analysis: &Analysis, placement: &Placement) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        let (has_catalog, path) = self.names.describe();
        if !analysis.relations.is_empty() || !analysis.functions.is_empty() {
            let loaded = if has_catalog { "loaded" } else { "not loaded" };
            all.push(("catalog", format!("{loaded}, search path {path}")));
        }
        for relation in &placement.meaning.relations {
            let known = match relation.oid {
                0 => format!("{}: not known", relation.name),
                oid => format!("{}: oid {oid}", relation.name),
            };
            all.push(("relation", known));
        }
        for function in &analysis.functions {
            let schema = function.schema.as_ref().map(|s| format!("{s}."));
            let schema = schema.unwrap_or_default();
            all.push(("function", format!("{schema}{}", function.name)));
        }
        if let Route::Balanced(_) = placement.verdict.route {
            all.push(("limits", self.show_limits(placement)));
        }
        all
    }

    fn show_limits(&self, placement: &Placement) -> String {
        let limits = placement.verdict.limits;
        let mut parts = Vec::new();
        for (bit, words) in [
            (fresh::SESSION, "this session's writes"),
            (fresh::DATABASE, "all writes to the database"),
            (fresh::RELATIONS, "all writes to its relations"),
            (fresh::KEYS, "all writes under its keys"),
        ] {
            if limits.fresh & bit != 0 {
                parts.push(format!("has replayed {words}"));
            }
        }
        if limits.lag_bytes > 0 {
            parts.push(format!("at most {} bytes behind", limits.lag_bytes));
        }
        if limits.lag_ms > 0 {
            parts.push(format!("at most {} ms behind", limits.lag_ms));
        }
        if parts.is_empty() {
            return "none".to_owned();
        }
        if limits.wait_ms > 0 {
            parts.push(format!("waited for up to {} ms", limits.wait_ms));
        }
        let otherwise = match limits.otherwise {
            Fallback::Primary => "the primary",
            Fallback::Another => "another that does, or the primary",
            Fallback::LeastLag => "the one that lags least, or the primary",
        };
        format!("a replica {}; otherwise {otherwise}", parts.join(", "))
    }

    /// The nodes it does not go to, and why not.
    fn alternatives(&self, placement: &Placement) -> Vec<String> {
        let is_inside = placement.traits & traits::IN_TRANSACTION != 0;
        let floor = self.floor(&placement.verdict, &placement.meaning, is_inside);
        let nodes = &self.snapshot.topology.nodes;
        let others = nodes.iter().filter(|n| n.id != placement.node);
        let line = |node: &Node| {
            let why = self.why_not(node, placement, floor);
            format!("{}: {why}", self.show_node(node.id))
        };
        others.map(line).collect()
    }

    fn why_not(&self, node: &Node, placement: &Placement, floor: Moment) -> String {
        if !node.is_usable() {
            return "not usable".to_owned();
        }
        let verdict = &placement.verdict;
        if !matches!(verdict.route, Route::Balanced(_)) || placement.rule == Rule::NotARead {
            return "not asked for".to_owned();
        }
        let candidates = self.policies.candidates(verdict.plugin);
        let weight = candidates
            .iter()
            .find(|c| c.node == node.id)
            .map(|c| c.weight);
        match weight {
            None => return "not among the session's nodes".to_owned(),
            Some(weight) if weight <= 0.0 => return "weight 0".to_owned(),
            Some(_) => {}
        }
        self.missed_limit(node.id, verdict.limits, floor)
            .unwrap_or_else(|| "would do, but was not drawn for this session".to_owned())
    }

    /// The limit a replica does not keep.
    fn missed_limit(&self, node: NodeId, limits: Limits, floor: Moment) -> Option<String> {
        if self.keeps(node, limits, floor) {
            return None;
        }
        let known = self.worker.shared.facts.freshness.node(node)?;
        if known.as_of() < floor {
            let missing = floor.since(known.as_of());
            return Some(format!(
                "has not replayed writes of the last {missing:?} before the floor"
            ));
        }
        let lag = known
            .lag()
            .map_or_else(|| "unknown time".to_owned(), |l| format!("{l:?}"));
        let bytes = known
            .lag_bytes()
            .map_or_else(|| "unknown".to_owned(), |b| b.to_string());
        Some(format!("too far behind: {bytes} bytes, {lag}"))
    }

    fn show_node(&self, id: NodeId) -> String {
        let Some(node) = self.snapshot.topology.node(id) else {
            return format!("{id}");
        };
        let role = match node.role {
            Role::Primary => "primary",
            Role::Replica => "standby",
            Role::Unknown => "unknown",
        };
        format!("{id} ({role} {}:{})", node.host, node.port)
    }
}

fn class(analysis: &Analysis) -> String {
    if analysis.statement_count > 1 {
        return format!(
            "{} statements, the first {:?}",
            analysis.statement_count, analysis.class
        );
    }
    format!("{:?}", analysis.class).to_lowercase()
}

fn facts(bits: u64) -> String {
    let named = TRAITS.iter().enumerate();
    let set = named.filter(|(bit, _)| bits >> bit & 1 == 1);
    let words: Vec<_> = set.map(|(_, words)| *words).collect();
    words.join(", ")
}

fn route(verdict: &Verdict) -> String {
    match &verdict.route {
        // What becomes of it if nobody has an opinion.
        Route::Abstain => Route::Primary.to_string(),
        Route::Reject(_) => "refused".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::traits;

    #[test]
    fn every_bit_has_a_name() {
        assert_eq!(super::TRAITS.len(), usize::try_from(traits::COUNT).unwrap());
        let bits = traits::READS | traits::UNLOGGED;
        assert_eq!(super::facts(bits), "reads only, unlogged relation");
    }
}
