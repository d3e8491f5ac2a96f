//! A question to a plugin, made from a text and the moment it is asked in. What the catalog would
//! say is assumed: relations are plain permanent tables, and functions are what their names say.

use std::sync::Arc;

use pgsteer_core::policy::{OwnedValue, Sample, traits};
use pgsteer_core::topology::{Activity, Health};
use pgsteer_core::{Node, NodeId, Role, Topology};
use pgsteer_sql::{TEXT_LEN_MAX, Volatility, analyze, known_volatility};

/// Who asks what, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Question {
    pub(crate) sql: String,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) application_name: String,
    pub(crate) client_address: String,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) moment: Moment,
    pub(crate) values: Vec<OwnedValue>,
    /// What the plugin set earlier in this transaction and in this session.
    pub(crate) marks: (u32, u32),
    /// The node drawn for balanced reads.
    pub(crate) balance_node: Option<u16>,
}

/// What the session is in the middle of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) transaction: Transaction,
    pub(crate) extended: bool,
}

/// The explicit transaction it is in, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transaction {
    #[default]
    None,
    ReadWrite,
    ReadOnly,
}

impl Transaction {
    /// A transaction that is read only is one.
    pub(crate) fn new(in_transaction: bool, read_only: bool) -> Self {
        match (in_transaction, read_only) {
            (_, true) => Self::ReadOnly,
            (true, false) => Self::ReadWrite,
            (false, false) => Self::None,
        }
    }

    fn bits(self) -> u64 {
        match self {
            Self::None => 0,
            Self::ReadWrite => traits::IN_TRANSACTION,
            Self::ReadOnly => traits::IN_TRANSACTION | traits::TRANSACTION_READ_ONLY,
        }
    }
}

impl Question {
    /// Everything that the plugin with this file name is told.
    pub(crate) fn sample(&self, file: &str) -> Sample {
        let analysis = analyze(self.sql.as_bytes());
        let mut bits = analysis.traits | self.moment.transaction.bits();
        if self.moment.extended || !self.values.is_empty() {
            bits |= traits::EXTENDED;
        }
        if bits & traits::PARAMETERS != 0 && self.values.is_empty() {
            bits |= traits::VALUES_UNKNOWN;
        }
        if bits & traits::CATALOG != 0 {
            bits |= traits::CATALOG_NAME;
        }
        let is_volatile = |f: &pgsteer_sql::FunctionRef| {
            known_volatility(f.schema.as_deref(), &f.name) == Volatility::Volatile
        };
        if analysis.functions.iter().any(is_volatile) {
            bits |= traits::VOLATILE_NAME;
        }
        let sql = if self.sql.len() <= TEXT_LEN_MAX {
            self.sql.clone()
        } else {
            String::new()
        };
        Sample {
            user: self.user.clone(),
            database: self.database.clone(),
            application_name: self.application_name.clone(),
            client_address: self.client_address.clone(),
            settings: self.settings.clone(),
            fingerprint: analysis.fingerprint,
            class: analysis.class as u16,
            traits: bits,
            balance_node: self.balance_node.map(NodeId),
            sql,
            relations: analysis.relations,
            functions: analysis.functions,
            values: self.values.clone(),
            marks: vec![(Arc::from(file), self.marks.0, self.marks.1)],
            ..Sample::default()
        }
    }
}

impl Question {
    /// The kind of statement, in a word.
    pub(crate) fn class(&self) -> String {
        format!("{:?}", analyze(self.sql.as_bytes()).class).to_lowercase()
    }
}

/// Names of the traits that a text and a moment can have.
pub(crate) fn trait_names(bits: u64) -> impl Iterator<Item = &'static str> {
    let set = NAMED.iter().filter(move |(bit, _)| bits & bit != 0);
    set.map(|(_, name)| *name)
}

const NAMED: [(u64, &str); 18] = [
    (traits::READS, "reads only"),
    (traits::WRITES, "writes"),
    (traits::LOCKING, "locks"),
    (traits::VOLATILE_FUNCTION, "calls a volatile function"),
    (traits::UNKNOWN_FUNCTION, "calls an unknown function"),
    (traits::SEVERAL, "several statements"),
    (traits::PARAMETERS, "parameters"),
    (traits::VALUES_UNKNOWN, "values not known yet"),
    (traits::EXTENDED, "extended protocol"),
    (traits::IN_TRANSACTION, "in a transaction"),
    (traits::TRANSACTION_READ_ONLY, "read-only transaction"),
    (traits::CATALOG, "system catalog"),
    (traits::LEADING_SPACE, "leading white space"),
    (traits::LEADING_COMMENT, "leading comment"),
    (traits::TEXT_WITHHELD, "text withheld"),
    (traits::SAVEPOINT, "savepoint"),
    (traits::ROLLBACK_TO, "rollback to savepoint"),
    (traits::SETS_READ_ONLY, "makes a transaction read only"),
];

/// Nodes with these roles and weights, all of them usable.
pub(crate) fn topology(nodes: &[(Role, f64)]) -> Topology {
    let node = |(index, (role, weight)): (u16, &(Role, f64))| Node {
        weight: *weight,
        role: *role,
        health: Health::Up,
        last_probe_ok: true,
        lag_bytes: (*role == Role::Replica).then_some(0),
        ..Node::unknown(NodeId(index), &format!("node{index}"), 5432)
    };
    Topology {
        epoch: 1,
        activity: Activity::None,
        nodes: (0..).zip(nodes).map(node).collect(),
    }
}

/// Where nobody says otherwise: one primary, two replicas.
pub(crate) const NODES: [(Role, f64); 3] = [
    (Role::Primary, 1.0),
    (Role::Replica, 1.0),
    (Role::Replica, 1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(sql: &str, moment: Moment, values: &[&str]) -> u64 {
        let text = |v: &&str| OwnedValue::Text((*v).to_owned());
        let question = Question {
            sql: sql.to_owned(),
            moment,
            values: values.iter().map(text).collect(),
            ..Question::default()
        };
        question.sample("10-x").traits
    }

    #[test]
    fn the_moment_and_the_text_make_the_traits() {
        let none = Moment::default();
        let read_only = Moment {
            transaction: Transaction::new(false, true),
            extended: false,
        };
        let parameters = traits::READS | traits::PARAMETERS;
        for (sql, moment, values, expected) in [
            ("SELECT * FROM t", none, &[][..], traits::READS),
            (
                "SELECT 1",
                read_only,
                &[],
                traits::READS | traits::IN_TRANSACTION | traits::TRANSACTION_READ_ONLY,
            ),
            ("SELECT $1", none, &[], parameters | traits::VALUES_UNKNOWN),
            ("SELECT $1", none, &["1"], parameters | traits::EXTENDED),
            (
                "SELECT nextval('s')",
                none,
                &[],
                traits::READS | traits::VOLATILE_FUNCTION | traits::VOLATILE_NAME,
            ),
            (
                "DELETE FROM t",
                none,
                &[],
                traits::WRITES | traits::NOT_LIKE_A_READ,
            ),
        ] {
            assert_eq!(bits(sql, moment, values), expected, "{sql}");
        }
    }

    #[test]
    fn marks_belong_to_the_plugin() {
        let question = Question {
            marks: (1, 2),
            ..Question::default()
        };
        let sample = question.sample("10-x");
        let mut values = Vec::new();
        let facts = sample.statement("10-x", 0, &mut values);
        assert_eq!((facts.transaction_marks, facts.session_marks), (1, 2));
    }

    #[test]
    fn nodes_are_usable() {
        let topology = topology(&NODES);
        assert!(topology.nodes.iter().all(Node::is_usable));
        assert_eq!(topology.primary().map(|n| n.id), Some(NodeId(0)));
    }
}
