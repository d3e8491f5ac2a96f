//! `dml_adaptive_object_relationship_list`: what is written along with a relation or by a function.

use pgsteer_plugin_sdk::{Function, Relation, Statement};

/// Pairs `object:dependent`; the object is a relation or, with `()`, a function.
#[derive(Clone, Debug, Default)]
pub struct Relationships(Vec<Pair>);

#[derive(Clone, Debug)]
struct Pair {
    object: Object,
    dependent: String,
}

#[derive(Clone, Debug)]
enum Object {
    Relation(String),
    Function(String),
}

impl Relationships {
    /// Reads a list.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let elements = text.split(',').map(str::trim).filter(|e| !e.is_empty());
        Ok(Self(elements.map(pair).collect::<Result<_, _>>()?))
    }

    /// Whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether functions are listed.
    pub(crate) fn name_functions(&self) -> bool {
        let is_function = |pair: &Pair| matches!(pair.object, Object::Function(_));
        self.0.iter().any(is_function)
    }

    /// What counts as written with a statement that writes.
    pub(crate) fn dependents(&self, statement: &Statement) -> Vec<String> {
        let fits = |pair: &&Pair| match &pair.object {
            Object::Relation(name) => statement.relations.iter().any(|r| is_relation(r, name)),
            Object::Function(name) => statement.functions.iter().any(|f| is_function(f, name)),
        };
        let found = self.0.iter().filter(fits);
        found.map(|pair| pair.dependent.clone()).collect()
    }
}

fn pair(element: &str) -> Result<Pair, String> {
    let wrong = || format!("\"{element}\" must be relation:dependent or function():dependent");
    let (object, dependent) = element.split_once(':').ok_or_else(wrong)?;
    let (object, dependent) = (object.trim(), dependent.trim());
    if object.is_empty() || dependent.is_empty() || dependent.contains(':') {
        return Err(wrong());
    }
    let object = match object.strip_suffix("()") {
        Some(function) => Object::Function(function.to_owned()),
        None => Object::Relation(object.to_owned()),
    };
    Ok(Pair {
        object,
        // The proxy knows names as PostgreSQL folds them.
        dependent: dependent.to_lowercase(),
    })
}

/// Bare names are enough; with a schema both must be the same.
fn is_name(listed: &str, schema: Option<&str>, name: &str) -> bool {
    match (listed.split_once('.'), schema) {
        (Some((listed_schema, listed)), Some(schema)) => {
            listed_schema.eq_ignore_ascii_case(schema) && listed.eq_ignore_ascii_case(name)
        }
        (Some((_, listed)), None) => listed.eq_ignore_ascii_case(name),
        (None, _) => listed.eq_ignore_ascii_case(name),
    }
}

fn is_relation(relation: &Relation, listed: &str) -> bool {
    is_name(listed, relation.schema.as_deref(), &relation.name)
}

fn is_function(function: &Function, listed: &str) -> bool {
    is_name(listed, function.schema.as_deref(), &function.name)
}
