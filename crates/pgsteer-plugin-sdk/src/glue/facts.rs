//! What the host tells, in the types of this crate.

use crate::bindings::host::pgsteer::plugin::types;
use crate::bindings::observer::exports::pgsteer::plugin::observer;
use crate::{
    Class, Event, Function, Node, NodeId, NodeRole, Relation, Session, Statement, Topology, Traits,
    Value,
};

impl From<types::Session> for Session {
    fn from(session: types::Session) -> Self {
        let types::Session {
            id,
            user,
            database,
            application_name,
            client_address,
            settings,
        } = session;
        Self {
            id,
            user,
            database,
            application_name,
            client_address,
            settings,
        }
    }
}

impl From<types::Statement> for Statement {
    fn from(statement: types::Statement) -> Self {
        Self {
            fingerprint: statement.fingerprint,
            class: Class::from_code(statement.class),
            traits: Traits::from_bits(statement.traits),
            session_class: statement.session_class,
            balance_node: statement.balance_node.map(NodeId),
            transaction_marks: statement.transaction_marks,
            session_marks: statement.session_marks,
            sql: statement.sql,
            relations: statement.relations.into_iter().map(Into::into).collect(),
            functions: statement.functions.into_iter().map(Into::into).collect(),
            values: statement.values.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<types::Relation> for Relation {
    fn from(relation: types::Relation) -> Self {
        let types::Relation {
            schema,
            name,
            written,
        } = relation;
        Self {
            schema,
            name,
            written,
        }
    }
}

impl From<types::Function> for Function {
    fn from(function: types::Function) -> Self {
        let types::Function { schema, name } = function;
        Self { schema, name }
    }
}

impl From<types::Topology> for Topology {
    fn from(topology: types::Topology) -> Self {
        let nodes = topology.nodes.into_iter().map(Node::from).collect();
        Self {
            epoch: topology.epoch,
            nodes,
        }
    }
}

impl From<types::Node> for Node {
    fn from(node: types::Node) -> Self {
        let role = match node.role {
            1 => NodeRole::Primary,
            2 => NodeRole::Replica,
            _ => NodeRole::Unknown,
        };
        let (id, lag_bytes) = (NodeId(node.id), node.lag_bytes);
        let types::Node {
            host,
            port,
            usable,
            weight,
            ..
        } = node;
        Self {
            id,
            host,
            port,
            role,
            usable,
            weight,
            lag_bytes,
        }
    }
}

impl From<types::Value> for Value {
    fn from(value: types::Value) -> Self {
        match value {
            types::Value::Null => Self::Null,
            types::Value::Text(text) => Self::Text(text),
            types::Value::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<observer::Event> for Event {
    fn from(event: observer::Event) -> Self {
        Self {
            session: event.session,
            user: event.user,
            database: event.database,
            fingerprint: event.fingerprint,
            class: Class::from_code(event.class),
            traits: Traits::from_bits(event.traits),
            node: event.node.map(NodeId),
            rows: event.rows,
            bytes: event.bytes,
            microseconds: event.microseconds,
            error: event.error,
        }
    }
}
