//! What a rule is about and what it does.

use std::fmt;

use pgsteer_plugin_sdk::{Class, NodeId, Statement, Traits};

/// What happens to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is refused.
    Block,
    /// It is refused if it comes more often.
    Throttle(Rate),
    /// It runs elsewhere.
    Reroute(Target),
}

/// Where a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Primary,
    Replicas,
    Node(NodeId),
}

/// How often something may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_minute: u64,
}

/// A rule of the configuration. All conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) conditions: Conditions,
    pub(crate) action: Action,
    pub(crate) because: String,
}

/// What a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) fingerprint: Option<u64>,
    pub(crate) class: Option<Class>,
    pub(crate) relation: Option<Name>,
    pub(crate) function: Option<Name>,
    pub(crate) user: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) begins: Option<String>,
    pub(crate) contains: Option<String>,
}

/// A name with or without its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    schema: Option<String>,
    name: String,
}

impl Conditions {
    /// Whether what is asked about a statement holds; the session is another matter.
    pub(crate) fn fit(&self, statement: &Statement) -> bool {
        let relations = || statement.relations.iter();
        let functions = || statement.functions.iter();
        self.fingerprint
            .is_none_or(|id| id == statement.fingerprint)
            && self
                .class
                .is_none_or(|class| self.class_fits(class, statement))
            && self
                .relation
                .as_ref()
                .is_none_or(|name| relations().any(|r| name.fits(r.schema.as_deref(), &r.name)))
            && self
                .function
                .as_ref()
                .is_none_or(|name| functions().any(|f| name.fits(f.schema.as_deref(), &f.name)))
            && self.text_fits(statement)
    }

    /// The class is that of the outermost statement, and of one of several; what else is in it counts
    /// as of every class.
    fn class_fits(&self, class: Class, statement: &Statement) -> bool {
        if class == statement.class || statement.traits.contains(Traits::SEVERAL) {
            return true;
        }
        let Some(name) = self.relation.as_ref().filter(|_| changes_rows(class)) else {
            return false;
        };
        let mut written = statement.relations.iter().filter(|r| r.written);
        let is_written = written
            .clone()
            .any(|r| name.fits(r.schema.as_deref(), &r.name));
        // A plain INSERT is no DELETE; with one in its WITH list it writes something else as well.
        let is_plain = match statement.class {
            Class::Insert | Class::Update | Class::Delete => written.nth(1).is_none(),
            Class::Schema => true,
            _ => false,
        };
        is_written && !is_plain
    }

    /// Whatever the case. Of a text that is too long nothing is known: it may be any.
    fn text_fits(&self, statement: &Statement) -> bool {
        let is_asked = self.begins.is_some() || self.contains.is_some();
        if !is_asked || statement.traits.contains(Traits::TEXT_WITHHELD) {
            return true;
        }
        let text = statement.sql.trim_start().to_lowercase();
        self.begins
            .as_ref()
            .is_none_or(|begin| text.starts_with(begin))
            && self
                .contains
                .as_ref()
                .is_none_or(|part| text.contains(part))
    }

    /// Whether it asks about the session.
    pub(crate) fn has_session(&self) -> bool {
        self.user.is_some() || self.application_name.is_some()
    }
}

fn changes_rows(class: Class) -> bool {
    matches!(
        class,
        Class::Insert | Class::Update | Class::Delete | Class::Merge
    )
}

impl Name {
    pub(crate) fn parse(text: &str) -> Self {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema.to_owned()), name),
            None => (None, text),
        };
        Self {
            schema,
            name: name.to_owned(),
        }
    }

    /// A rule without a schema is about that name in every schema; one with a schema also about a
    /// statement that names none, because it may mean that one.
    fn fits(&self, schema: Option<&str>, name: &str) -> bool {
        let same_schema = match (&self.schema, schema) {
            (Some(mine), Some(schema)) => mine == schema,
            _ => true,
        };
        self.name == name && same_schema
    }
}

/// What a rule of the configuration is called, by its position.
pub(crate) fn name(position: usize) -> String {
    format!("rule {}", position + 1)
}

impl Rate {
    /// `5/s` or `90/min`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let count: u64 = count.parse().ok().filter(|count| *count <= RATE_MAX)?;
        let per_minute = match unit {
            "s" => count * 60,
            "min" => count,
            _ => return None,
        };
        Some(Self { per_minute })
    }
}

impl Target {
    /// `primary`, `replicas` or `node 2`.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        match words {
            ["primary"] => Some(Self::Primary),
            ["replicas"] => Some(Self::Replicas),
            ["node", number] => Some(Self::Node(NodeId(number.parse().ok()?))),
            _ => None,
        }
    }
}

impl Action {
    /// The words that its `Display` makes.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        match words {
            ["block"] => Some(Self::Block),
            ["throttle", "to", rate] => Rate::parse(rate).map(Self::Throttle),
            ["reroute", "to", target @ ..] => Target::parse(target).map(Self::Reroute),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("block"),
            Self::Throttle(rate) => write!(f, "throttle to {rate}"),
            Self::Reroute(Target::Primary) => f.write_str("reroute to primary"),
            Self::Reroute(Target::Replicas) => f.write_str("reroute to replicas"),
            Self::Reroute(Target::Node(node)) => write!(f, "reroute to node {}", node.0),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per_minute {
            n if n % 60 == 0 => write!(f, "{}/s", n / 60),
            n => write!(f, "{n}/min"),
        }
    }
}

/// Ours; keeps the sums of a bucket small.
const RATE_MAX: u64 = 1_000_000;
