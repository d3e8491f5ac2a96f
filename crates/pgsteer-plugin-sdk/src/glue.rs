//! Between the generated bindings and [`Router`]: the state of the instance and the conversions.
//! Used by [`export_router!`](crate::export_router) only.

use std::cell::RefCell;

use crate::bindings::exports::pgsteer::plugin::{lifecycle, router};
use crate::bindings::pgsteer::plugin::types;
use crate::{
    Class, Fallback, Function, Limits, Needs, Node, NodeId, NodeRole, Opening, Relation, Reuse,
    Route, Routed, Router, Session, Spread, Statement, Topology, Traits,
};

/// The one instance of a plugin inside its component.
#[derive(Debug)]
pub struct State<R>(RefCell<Option<R>>);

impl<R: Router> State<R> {
    /// Not configured yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only made in a constant")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// See [`Router::configure`].
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn configure(&self, json: &str) -> Result<(), String> {
        report_panics();
        *self.0.borrow_mut() = Some(R::configure(json)?);
        Ok(())
    }

    /// See [`Router::needs`].
    pub fn needs(&self) -> u64 {
        self.with(|plugin| plugin.needs().0)
    }

    /// See [`Router::explain`].
    pub fn explain(&self, reason: u32) -> String {
        self.with(|plugin| plugin.explain(reason))
    }

    /// See [`Router::self_test`].
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn self_test(&self) -> Result<(), String> {
        self.with(Router::self_test)
    }

    /// See [`Router::topology_changed`].
    pub fn topology_changed(&self, topology: types::Topology) {
        let topology = topology.into();
        self.with(|plugin| plugin.topology_changed(&topology));
    }

    /// See [`Router::open`].
    pub fn open(&self, session: types::Session) -> router::Opening {
        let session = session.into();
        self.with(|plugin| plugin.open(&session)).into()
    }

    /// See [`Router::decide`].
    pub fn decide(&self, statement: types::Statement) -> router::Routed {
        let statement = statement.into();
        self.with(|plugin| plugin.decide(&statement)).into()
    }

    fn with<T>(&self, ask: impl FnOnce(&mut R) -> T) -> T {
        let mut state = self.0.borrow_mut();
        ask(state
            .as_mut()
            .expect("the host configures an instance before it asks"))
    }
}

/// A panic ends the instance; without this nobody would learn what it said.
fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
}

/// The manifest in the words of the interface.
#[must_use]
pub fn describe<R: Router>() -> lifecycle::Manifest {
    let manifest = R::MANIFEST;
    lifecycle::Manifest {
        name: manifest.name.to_owned(),
        version: manifest.version.to_owned(),
        // What it has is asked once it is configured.
        needs: Needs::none().sql().relations().functions().0,
        deterministic: manifest.deterministic,
    }
}

impl From<types::Session> for Session {
    fn from(session: types::Session) -> Self {
        let types::Session {
            user,
            database,
            application_name,
            client_address,
            settings,
        } = session;
        Self {
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
            parameter_count: statement.parameter_count,
            sql: statement.sql,
            relations: statement.relations.into_iter().map(Into::into).collect(),
            functions: statement.functions.into_iter().map(Into::into).collect(),
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

impl From<Opening> for router::Opening {
    fn from(opening: Opening) -> Self {
        let candidates = opening.candidates.iter();
        let candidates = candidates
            .map(|c| router::Candidate {
                node: c.node.0,
                weight: c.weight,
            })
            .collect();
        Self {
            class: opening.class,
            candidates,
        }
    }
}

impl From<Routed> for router::Routed {
    fn from(routed: Routed) -> Self {
        let route = match routed.route {
            Route::Abstain => router::Route::Abstain,
            Route::Primary => router::Route::Primary,
            Route::Balanced(Spread::Session) => router::Route::Balanced(router::Spread::Session),
            Route::Balanced(Spread::Statement) => {
                router::Route::Balanced(router::Spread::Statement)
            }
            Route::Node(NodeId(id)) => router::Route::Node(id),
            Route::Everywhere => router::Route::Everywhere,
            Route::Reject(rejection) => router::Route::Reject(types::Rejection {
                sqlstate: rejection.sqlstate,
                message: rejection.message,
                hint: rejection.hint,
            }),
        };
        let reuse = match routed.reuse {
            Reuse::Never => router::Reuse::Never,
            Reuse::Statement => router::Reuse::Statement,
        };
        let Limits {
            fresh,
            otherwise,
            lag_bytes,
            lag_ms,
        } = routed.limits;
        Self {
            route,
            reuse,
            marks: router::Marks {
                transaction: routed.marks.transaction,
                session: routed.marks.session,
                clear_transaction: routed.marks.clear_transaction,
            },
            also_writes: routed.also_writes,
            reason: routed.reason,
            limits: router::Limits {
                fresh: fresh.0,
                otherwise: match otherwise {
                    Fallback::Primary => router::Fallback::Primary,
                    Fallback::Another => router::Fallback::Another,
                    Fallback::LeastLag => router::Fallback::LeastLag,
                },
                lag_bytes,
                lag_ms,
            },
            trusts_functions: routed.trusts_functions,
        }
    }
}
