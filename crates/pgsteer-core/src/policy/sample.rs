//! A question of the past, kept to be asked again.

use std::sync::Arc;

use pgsteer_sql::{FunctionRef, RelationRef};

use super::{SessionFacts, StatementFacts, Value};
use crate::NodeId;

/// A [`Value`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedValue {
    /// NULL.
    Null,
    /// In text format.
    Text(String),
    /// In binary format, or no valid UTF-8.
    Binary(Vec<u8>),
}

/// Everything that plugins were told about one statement, and what came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// See [`SessionFacts`].
    pub user: String,
    /// See [`SessionFacts`].
    pub database: String,
    /// See [`SessionFacts`].
    pub application_name: String,
    /// See [`SessionFacts`].
    pub client_address: String,
    /// See [`SessionFacts`].
    pub settings: Vec<(String, String)>,
    /// See [`StatementFacts`].
    pub fingerprint: u64,
    /// See [`StatementFacts`].
    pub class: u16,
    /// See [`StatementFacts`].
    pub traits: u64,
    /// See [`StatementFacts`].
    pub balance_node: Option<NodeId>,
    /// The text; without its literals unless they were asked for.
    pub sql: String,
    /// See [`StatementFacts`].
    pub relations: Vec<RelationRef>,
    /// See [`StatementFacts`].
    pub functions: Vec<FunctionRef>,
    /// Values of parameters, if they were asked for.
    pub values: Vec<OwnedValue>,
    /// Marks by plugin (its file name): those of the transaction, those of the session.
    pub marks: Vec<(Arc<str>, u32, u32)>,
    /// File name of the plugin that decided, or empty.
    pub decided_by: String,
    /// Its route, in words.
    pub answer: String,
}

impl Sample {
    /// The session, in the form a policy is told; `settings` is room for those it has set.
    pub fn session<'a>(&'a self, settings: &'a mut Vec<(&'a str, &'a str)>) -> SessionFacts<'a> {
        settings.clear();
        settings.extend(self.settings.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        SessionFacts {
            id: 0,
            user: &self.user,
            database: &self.database,
            application_name: &self.application_name,
            client_address: &self.client_address,
            settings,
        }
    }

    /// The statement, in the form the plugin with this file name is told.
    pub fn statement<'a>(
        &'a self,
        file: &str,
        session_class: u32,
        values: &'a mut Vec<Value<'a>>,
    ) -> StatementFacts<'a> {
        values.clear();
        values.extend(self.values.iter().map(|value| match value {
            OwnedValue::Null => Value::Null,
            OwnedValue::Text(text) => Value::Text(text),
            OwnedValue::Binary(bytes) => Value::Binary(bytes),
        }));
        let own = self.marks.iter().find(|(name, ..)| **name == *file);
        let (transaction_marks, session_marks) = own.map_or((0, 0), |(_, t, s)| (*t, *s));
        StatementFacts {
            fingerprint: self.fingerprint,
            class: self.class,
            traits: self.traits,
            session_class,
            balance_node: self.balance_node,
            transaction_marks,
            session_marks,
            sql: &self.sql,
            relations: &self.relations,
            functions: &self.functions,
            values,
        }
    }
}
