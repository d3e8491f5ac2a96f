//! Inputs for native tests of a plugin.
//!
//! ```
//! use pgsteer_plugin_sdk::{Class, NodeRole, Traits, testing};
//!
//! let read = testing::statement(Class::Select).with_traits(Traits::READS);
//! assert!(read.traits.contains(Traits::READS));
//! let nodes = testing::topology(&[(NodeRole::Primary, 0.0), (NodeRole::Replica, 1.0)]);
//! assert_eq!(nodes.candidates().len(), 2);
//! ```

use std::cell::RefCell;

use crate::{
    Class, Function, Node, NodeId, NodeRole, Relation, Session, Statement, Topology, Traits,
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

    /// Sets the text.
    #[must_use]
    pub fn with_sql(mut self, sql: &str) -> Self {
        self.sql = Some(sql.to_owned());
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

/// What was logged on this thread since the last call, each line with its level in front.
#[must_use]
pub fn logged() -> Vec<String> {
    LOG.take()
}

#[cfg_attr(
    target_arch = "wasm32",
    expect(dead_code, reason = "lines go to the host there")
)]
pub(crate) fn keep_log_line(line: String) {
    LOG.with_borrow_mut(|lines| lines.push(line));
}

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}
