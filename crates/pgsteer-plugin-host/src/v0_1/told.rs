//! What guests are told, in the types of the interface. Nothing is copied: texts go straight into
//! the guest's memory.

use pgsteer_core::policy::{Event, SessionFacts, StatementFacts, Value, needs, traits};
use pgsteer_core::{Node, Role};
use pgsteer_sql::{FunctionRef, RelationRef};

use super::bindings::exports::pgsteer::plugin::observer;
use super::bindings::pgsteer::plugin::types;
use crate::limits::SQL_BYTES_MAX;

pub(super) fn session<'a>(facts: &SessionFacts<'a>) -> types::Session<'a> {
    types::Session {
        id: facts.id,
        user: facts.user,
        database: facts.database,
        application_name: facts.application_name,
        client_address: facts.client_address,
        settings: facts.settings,
    }
}

/// Lists of a statement in the form the interface takes them; empty, and free, unless asked for.
#[derive(Default)]
pub(super) struct Lists<'a> {
    relations: Vec<types::Relation<'a>>,
    functions: Vec<types::Function<'a>>,
    values: Vec<types::Value<'a>>,
    values_withheld: bool,
}

impl<'a> Lists<'a> {
    /// What a plugin with these needs is told.
    pub(super) fn new(facts: &StatementFacts<'a>, needs: u64) -> Self {
        let mut lists = Self::default();
        if needs & needs::RELATIONS != 0 {
            lists.relations = facts.relations.iter().map(relation).collect();
        }
        if needs & needs::FUNCTIONS != 0 {
            lists.functions = facts.functions.iter().map(function).collect();
        }
        if needs & needs::VALUES != 0 {
            let bytes: usize = facts.values.iter().map(value_bytes).sum();
            if bytes <= SQL_BYTES_MAX {
                lists.values = facts.values.iter().map(value).collect();
            } else {
                lists.values_withheld = true;
            }
        }
        lists
    }
}

/// Who is told about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Gets the text whatever it needs.
    Rewriter,
    Router,
}

pub(super) fn statement<'a>(
    facts: &StatementFacts<'a>,
    asked: Asked,
    needs: u64,
    lists: &'a Lists<'a>,
) -> types::Statement<'a> {
    let needs_text = asked == Asked::Rewriter || needs & needs::SQL != 0;
    let (sql, mut withheld) = match needs_text {
        true if facts.sql.len() <= SQL_BYTES_MAX => (facts.sql, 0),
        true => ("", traits::TEXT_WITHHELD),
        false => ("", 0),
    };
    if lists.values_withheld {
        withheld |= traits::VALUES_WITHHELD;
    }
    types::Statement {
        fingerprint: facts.fingerprint,
        class: facts.class,
        traits: facts.traits | withheld,
        session_class: facts.session_class,
        balance_node: facts.balance_node.map(|node| u32::from(node.0)),
        transaction_marks: facts.transaction_marks,
        session_marks: facts.session_marks,
        sql,
        relations: &lists.relations,
        functions: &lists.functions,
        values: &lists.values,
    }
}

pub(super) fn event<'a>(event: &Event<'a>, needs: u64) -> observer::Event<'a> {
    let told = needs & needs::IDENTITY != 0;
    observer::Event {
        session: event.session,
        user: if told { event.user } else { "" },
        database: if told { event.database } else { "" },
        fingerprint: event.fingerprint,
        class: event.class,
        traits: event.traits,
        node: event.node.map(|node| u32::from(node.0)),
        rows: event.rows,
        bytes: event.bytes,
        microseconds: event.microseconds,
        error: event.error,
    }
}

pub(super) fn node(node: &Node) -> types::Node<'_> {
    types::Node {
        id: u32::from(node.id.0),
        host: &node.host,
        port: node.port,
        role: match node.role {
            Role::Unknown => 0,
            Role::Primary => 1,
            Role::Replica => 2,
        },
        usable: node.is_usable(),
        weight: node.weight,
        lag_bytes: node.lag_bytes,
    }
}

fn relation(relation: &RelationRef) -> types::Relation<'_> {
    types::Relation {
        schema: relation.schema.as_deref(),
        name: &relation.name,
        written: relation.written,
    }
}

fn function(function: &FunctionRef) -> types::Function<'_> {
    types::Function {
        schema: function.schema.as_deref(),
        name: &function.name,
    }
}

fn value<'a>(value: &Value<'a>) -> types::Value<'a> {
    match value {
        Value::Null => types::Value::Null,
        Value::Text(text) => types::Value::Text(text),
        Value::Binary(bytes) => types::Value::Binary(bytes),
    }
}

fn value_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::Null => 0,
        Value::Text(text) => text.len(),
        Value::Binary(bytes) => bytes.len(),
    }
}
