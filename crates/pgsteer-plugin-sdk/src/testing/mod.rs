//! Inputs for native tests of a plugin, and what stands in for the proxy there.
//!
//! ```
//! use pgsteer_plugin_sdk::{Class, NodeRole, Traits, kv, testing};
//!
//! let read = testing::statement(Class::Select).with_traits(Traits::READS);
//! assert!(read.traits.contains(Traits::READS));
//! let nodes = testing::topology(&[(NodeRole::Primary, 0.0), (NodeRole::Replica, 1.0)]);
//! assert_eq!(nodes.candidates().len(), 2);
//!
//! kv::set_for("lease", b"mine", 1_000).unwrap();
//! testing::set_clock_ms(1_000);
//! assert_eq!(kv::get("lease"), None);
//! ```

mod cases;
mod crisis;
pub(crate) mod host;

pub use cases::{Exported, ask_rewriter, ask_router, cases};
pub use crisis::cluster;
pub use host::{logged, looked_at, metric, reset, set_clock_ms, set_relation};

use crate::{
    Class, Event, Function, Node, NodeId, NodeRole, Relation, Session, Statement, Topology, Traits,
    Value,
};

/// A statement of this class, without traits, outside of a transaction.
#[must_use]
pub fn statement(class: Class) -> Statement {
    Statement {
        class,
        ..Statement::default()
    }
}

impl Statement {
    /// Adds traits.
    #[must_use]
    pub fn with_traits(mut self, traits: Traits) -> Self {
        self.traits = self.traits | traits;
        self
    }

    /// Sets the marks of its transaction and its session.
    #[must_use]
    pub fn with_marks(mut self, transaction: u32, session: u32) -> Self {
        (self.transaction_marks, self.session_marks) = (transaction, session);
        self
    }

    /// Sets the number its session was opened with.
    #[must_use]
    pub fn with_session_class(mut self, class: u32) -> Self {
        self.session_class = class;
        self
    }

    /// Sets the node drawn for balanced reads.
    #[must_use]
    pub fn with_balance_node(mut self, node: NodeId) -> Self {
        self.balance_node = Some(node);
        self
    }

    /// Adds a relation it names.
    #[must_use]
    pub fn with_relation(mut self, schema: Option<&str>, name: &str, written: bool) -> Self {
        self.relations.push(Relation {
            schema: schema.map(Into::into),
            name: name.to_owned(),
            written,
        });
        self
    }

    /// Adds a function it calls.
    #[must_use]
    pub fn with_function(mut self, schema: Option<&str>, name: &str) -> Self {
        self.functions.push(Function {
            schema: schema.map(Into::into),
            name: name.to_owned(),
        });
        self
    }

    /// Adds the value of a parameter, in text format; `None` for NULL.
    #[must_use]
    pub fn with_value(mut self, value: Option<&str>) -> Self {
        let text = |value: &str| Value::Text(value.to_owned());
        self.values.push(value.map_or(Value::Null, text));
        self
    }

    /// Adds the value of a parameter, in binary format.
    #[must_use]
    pub fn with_binary_value(mut self, value: &[u8]) -> Self {
        self.values.push(Value::Binary(value.to_vec()));
        self
    }

    /// Sets the fingerprint.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: u64) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Sets the text.
    #[must_use]
    pub fn with_sql(mut self, sql: &str) -> Self {
        sql.clone_into(&mut self.sql);
        self
    }
}

/// A session of this user on this database.
#[must_use]
pub fn session(user: &str, database: &str) -> Session {
    Session {
        user: user.to_owned(),
        database: database.to_owned(),
        ..Session::default()
    }
}

impl Session {
    /// Sets its number.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        self.id = id;
        self
    }

    /// Sets the application name.
    #[must_use]
    pub fn with_application_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.application_name);
        self
    }

    /// Sets the client's address.
    #[must_use]
    pub fn with_client_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.client_address);
        self
    }

    /// Adds a setting that it has overridden.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A topology of usable nodes, numbered from 0, with these roles and weights.
#[must_use]
pub fn topology(nodes: &[(NodeRole, f64)]) -> Topology {
    let nodes = (0u32..).zip(nodes).map(|(id, &(role, weight))| Node {
        id: NodeId(id),
        host: format!("node{id}"),
        port: 5432,
        role,
        usable: true,
        weight,
        lag_bytes: None,
    });
    Topology {
        epoch: 1,
        nodes: nodes.collect(),
    }
}

impl Topology {
    /// Marks a node as not usable.
    #[must_use]
    pub fn without(mut self, id: NodeId) -> Self {
        for node in self.nodes.iter_mut().filter(|node| node.id == id) {
            node.usable = false;
        }
        self
    }
}

/// A statement of this class that ended well, on no server.
#[must_use]
pub fn event(class: Class) -> Event {
    Event {
        class,
        ..Event::default()
    }
}

impl Event {
    /// Sets the number of its session.
    #[must_use]
    pub fn of_session(mut self, id: u64) -> Self {
        self.session = id;
        self
    }

    /// Sets user and database.
    #[must_use]
    pub fn with_identity(mut self, user: &str, database: &str) -> Self {
        user.clone_into(&mut self.user);
        database.clone_into(&mut self.database);
        self
    }

    /// Sets the fingerprint.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: u64) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Adds traits.
    #[must_use]
    pub fn with_traits(mut self, traits: Traits) -> Self {
        self.traits = self.traits | traits;
        self
    }

    /// Sets the node it ran on.
    #[must_use]
    pub fn on_node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// Sets what came back: rows and bytes.
    #[must_use]
    pub fn with_rows(mut self, rows: u64, bytes: u64) -> Self {
        (self.rows, self.bytes) = (rows, bytes);
        self
    }

    /// Sets how long it took.
    #[must_use]
    pub fn taking_us(mut self, microseconds: u64) -> Self {
        self.microseconds = microseconds;
        self
    }

    /// It failed.
    #[must_use]
    pub fn failing(mut self, sqlstate: &str) -> Self {
        self.error = Some(sqlstate.to_owned());
        self
    }
}
