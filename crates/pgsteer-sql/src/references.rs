//! What a syntax tree refers to: relations, functions, parameters, and what in it writes or locks.
//!
//! A walk that knows the node types misses those its author forgot. So the tree is handed to a
//! serialiser, which is shown every struct and every field of it, whatever they are called; it looks
//! at a few kinds and passes through all others. Nothing is written anywhere.

mod visit;

use serde::Serialize;

use crate::analysis::{FunctionRef, RelationRef, bits};
use visit::{Visitor, boolean, number, text};

/// What was found in one statement.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Bits of the analysis.
    pub(crate) traits: u64,
    /// Relations, in the order they were met.
    pub(crate) relations: Vec<RelationRef>,
    /// Functions that are called.
    pub(crate) functions: Vec<FunctionRef>,
    /// Highest `$n`.
    pub(crate) parameter_count: u16,
    /// Calls `set_config`; `Some(true)` if every call says that it is for the transaction only.
    pub(crate) set_config: Option<bool>,
    /// Something other than a relation has a name in the schema of temporary objects.
    pub(crate) names_temporary: bool,
}

/// Whether this is the schema of temporary objects, of this session or by its real name.
pub(crate) fn is_temporary_schema(name: &str) -> bool {
    name.strip_prefix("pg_temp").is_some_and(|rest| {
        let number = rest.strip_prefix('_');
        let digits = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
        rest.is_empty() || number.is_some_and(digits)
    })
}

/// Names that a statement may have; one with more is not understood.
const NAMES_MAX: usize = 1000;

/// Walks one statement; `None` if it names too much.
pub(crate) fn collect(statement: &pg_query::NodeEnum, found: &mut References) -> Option<()> {
    let mut walk = Walk {
        found,
        scopes: Vec::new(),
        scope: None,
        named: Vec::new(),
        strings: None,
        sequence_len: None,
        element: Element::default(),
        last_element: Element::default(),
    };
    statement.serialize(Visitor(&mut walk)).ok()?;
    walk.resolve();
    let count = found.relations.len() + found.functions.len();
    (count < NAMES_MAX).then_some(())
}

/// Where a name stands: names of WITH queries mean something in parts of a statement only.
#[derive(Debug)]
enum Scope {
    /// A statement with the queries of its WITH list.
    Statement {
        outer: Option<usize>,
        queries: Vec<String>,
        recursive: bool,
    },
    /// One of those queries, by its place in the list of its statement.
    Query { of: usize, place: usize },
}

/// A relation as it was met.
struct Met {
    schema: String,
    name: String,
    written: bool,
    scope: Option<usize>,
}

/// An element of a list.
#[derive(Clone, Copy, Default)]
struct Element {
    fresh: bool,
    is_constant: bool,
    is_true: bool,
}

/// The state of a walk.
pub(crate) struct Walk<'a> {
    found: &'a mut References,
    scopes: Vec<Scope>,
    scope: Option<usize>,
    named: Vec<Met>,
    /// Strings are collected while this is set.
    strings: Option<Vec<String>>,
    /// The length of the next list goes here while this is set to none inside.
    sequence_len: Option<Option<usize>>,
    element: Element,
    /// The one that was left last.
    last_element: Element,
}

/// A struct that is being visited, with what is kept of it.
pub(crate) enum Visited {
    /// Nothing of it matters but what is inside.
    Plain,
    /// A statement that may have a WITH list; `target`: its relation is written.
    Statement {
        target: bool,
        outer: Option<usize>,
    },
    With,
    Query {
        outer: Option<usize>,
    },
    Relation {
        schema: String,
        name: String,
    },
    Function(Call),
    String,
    Parameter,
    Constant,
}

/// A call of a function.
#[derive(Default)]
pub(crate) struct Call {
    names: Vec<String>,
    arguments: usize,
    ordered: usize,
    within: bool,
    variadic: bool,
}

impl Call {
    fn function(mut self) -> FunctionRef {
        let ordered = if self.within { self.ordered } else { 0 };
        let count = u16::try_from(self.arguments + ordered);
        FunctionRef {
            name: self.names.pop().unwrap_or_default().into(),
            schema: self.names.pop().map(Into::into),
            arguments: count.ok().filter(|_| !self.variadic),
        }
    }
}

impl Walk<'_> {
    /// A struct begins.
    pub(crate) fn enter(&mut self, name: &str) -> Visited {
        match name {
            "SelectStmt" => self.statement(false),
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
                self.found.traits |= bits::WRITES;
                self.statement(true)
            }
            "WithClause" => Visited::With,
            "CommonTableExpr" => {
                let outer = self.scope;
                if let Some(of) = outer
                    && let Some(Scope::Statement { queries, .. }) = self.scopes.get(of)
                {
                    let place = queries.len();
                    self.open(Scope::Query { of, place });
                }
                Visited::Query { outer }
            }
            "RangeVar" => Visited::Relation {
                schema: String::new(),
                name: String::new(),
            },
            "FuncCall" => Visited::Function(Call::default()),
            "IntoClause" => {
                self.found.traits |= bits::WRITES;
                Visited::Plain
            }
            "LockingClause" => {
                self.found.traits |= bits::LOCKING;
                Visited::Plain
            }
            "String" => Visited::String,
            "ParamRef" => Visited::Parameter,
            "AConst" => Visited::Constant,
            _ => Visited::Plain,
        }
    }

    fn statement(&mut self, target: bool) -> Visited {
        let outer = self.scope;
        self.open(Scope::Statement {
            outer,
            queries: Vec::new(),
            recursive: false,
        });
        Visited::Statement { target, outer }
    }

    fn open(&mut self, scope: Scope) {
        self.scope = Some(self.scopes.len());
        self.scopes.push(scope);
    }

    /// A field of a struct that is being visited.
    pub(crate) fn field<T: Serialize + ?Sized>(
        &mut self,
        visited: &mut Visited,
        key: &'static str,
        value: &T,
    ) -> Result<(), visit::Never> {
        match (visited, key) {
            (Visited::Statement { target: true, .. }, "relation") => {
                let before = self.named.len();
                value.serialize(Visitor(self))?;
                let target = self.named.get_mut(before..).unwrap_or_default();
                target.iter_mut().for_each(|met| met.written = true);
                Ok(())
            }
            (Visited::With, "recursive") => {
                let statement = self.scope.and_then(|at| self.scopes.get_mut(at));
                if let Some(Scope::Statement { recursive, .. }) = statement {
                    *recursive = boolean(value);
                }
                Ok(())
            }
            (Visited::Query { outer }, "ctename") => {
                let statement = outer.and_then(|at| self.scopes.get_mut(at));
                if let Some(Scope::Statement { queries, .. }) = statement {
                    queries.push(text(value));
                }
                Ok(())
            }
            (Visited::Relation { schema, .. }, "schemaname") => {
                *schema = text(value);
                Ok(())
            }
            (Visited::Relation { name, .. }, "relname") => {
                *name = text(value);
                Ok(())
            }
            (Visited::String, "sval") => {
                let part = text(value);
                self.found.names_temporary |= is_temporary_schema(&part);
                if let Some(strings) = &mut self.strings {
                    strings.push(part);
                }
                Ok(())
            }
            (Visited::Parameter, "number") => {
                let count = &mut self.found.parameter_count;
                *count = u16::try_from(number(value)).unwrap_or(u16::MAX).max(*count);
                Ok(())
            }
            // So that the value is the only truth in it.
            (Visited::Constant, "isnull") => Ok(()),
            // A value is no name.
            (Visited::Constant, "val") => {
                let known = self.found.names_temporary;
                value.serialize(Visitor(self))?;
                self.found.names_temporary = known;
                Ok(())
            }
            (Visited::Function(call), _) => self.call_field(call, key, value),
            _ => value.serialize(Visitor(self)),
        }
    }

    fn call_field<T: Serialize + ?Sized>(
        &mut self,
        call: &mut Call,
        key: &'static str,
        value: &T,
    ) -> Result<(), visit::Never> {
        match key {
            "funcname" => {
                let outer = self.strings.replace(Vec::new());
                value.serialize(Visitor(self))?;
                call.names = std::mem::replace(&mut self.strings, outer).unwrap_or_default();
            }
            "args" => {
                call.arguments = self.counted(value)?;
                if call.names.last().is_some_and(|name| name == "set_config") {
                    let local = self.last_element.is_constant && self.last_element.is_true;
                    let all = self.found.set_config.unwrap_or(true);
                    self.found.set_config = Some(all && local);
                }
            }
            "agg_order" => call.ordered = self.counted(value)?,
            "agg_within_group" => call.within = boolean(value),
            "func_variadic" => call.variadic = boolean(value),
            _ => value.serialize(Visitor(self))?,
        }
        Ok(())
    }

    /// Visits a list and says how long it is.
    fn counted<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<usize, visit::Never> {
        let outer = self.sequence_len.replace(None);
        value.serialize(Visitor(self))?;
        let len = std::mem::replace(&mut self.sequence_len, outer);
        Ok(len.flatten().unwrap_or(0))
    }

    /// A list begins; the first one after it was asked for is counted.
    fn list(&mut self, len: Option<usize>) {
        if let Some(wanted @ None) = &mut self.sequence_len {
            *wanted = len.or(Some(0));
        }
    }

    /// A struct ends.
    pub(crate) fn leave(&mut self, visited: Visited) {
        match visited {
            Visited::Statement { outer, .. } | Visited::Query { outer } => self.scope = outer,
            Visited::Relation { schema, name } => {
                let scope = self.scope;
                self.named.push(Met {
                    schema,
                    name,
                    written: false,
                    scope,
                });
            }
            Visited::Function(call) => {
                let function = call.function();
                let functions = &mut self.found.functions;
                if functions.len() < NAMES_MAX && !functions.contains(&function) {
                    functions.push(function);
                }
            }
            _ => {}
        }
    }

    /// Whether a name without schema means a WITH query where it stands.
    fn is_with_query(&self, name: &str, scope: Option<usize>) -> bool {
        let mut at = scope;
        let mut seen = usize::MAX;
        while let Some(scope) = at.and_then(|at| self.scopes.get(at)) {
            match scope {
                // A query of a WITH list sees those before it, or with RECURSIVE all of them.
                Scope::Query { of, place } => (at, seen) = (Some(*of), *place),
                Scope::Statement {
                    outer,
                    queries,
                    recursive,
                } => {
                    let visible = if *recursive { usize::MAX } else { seen };
                    if queries.iter().take(visible).any(|query| query == name) {
                        return true;
                    }
                    (at, seen) = (*outer, usize::MAX);
                }
            }
        }
        false
    }

    /// Tells relations from WITH queries, now that all of those are known.
    fn resolve(&mut self) {
        for met in std::mem::take(&mut self.named) {
            if self.found.relations.len() >= NAMES_MAX {
                return;
            }
            // What a statement writes is a relation, whatever a WITH query is called.
            let hidden =
                !met.written && met.schema.is_empty() && self.is_with_query(&met.name, met.scope);
            if hidden {
                continue;
            }
            let schema = (!met.schema.is_empty()).then(|| Box::from(met.schema));
            let relations = &mut self.found.relations;
            let known = relations
                .iter_mut()
                .find(|r| *r.name == *met.name && r.schema == schema);
            match known {
                Some(known) => known.written |= met.written,
                None => relations.push(RelationRef {
                    schema,
                    name: met.name.into(),
                    written: met.written,
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> References {
        let parsed = pg_query::parse(text, 0).expect("valid");
        let mut found = References::default();
        for statement in &parsed.protobuf.stmts {
            let node = statement.stmt.as_deref().and_then(|n| n.node.as_ref());
            collect(node.expect("a statement"), &mut found).expect("serialised");
        }
        found
    }

    fn relations(text: &str) -> Vec<String> {
        let shown = |r: &RelationRef| {
            let schema = r
                .schema
                .as_ref()
                .map_or_else(String::new, |s| format!("{s}."));
            format!("{schema}{}{}", r.name, if r.written { "!" } else { "" })
        };
        let mut all: Vec<_> = found(text).relations.iter().map(shown).collect();
        all.sort();
        all
    }

    #[test]
    fn relations_are_found_wherever_they_stand() {
        for (text, expected) in [
            ("SELECT 1", &[][..]),
            (
                "SELECT * FROM a JOIN s.b USING (x), LATERAL (SELECT * FROM c) d",
                &["a", "c", "s.b"],
            ),
            (
                "SELECT (SELECT x FROM a) FROM b WHERE EXISTS (TABLE c)",
                &["a", "b", "c"],
            ),
            (
                "SELECT * FROM a UNION SELECT * FROM b ORDER BY (SELECT 1 FROM c)",
                &["a", "b", "c"],
            ),
            (
                "SELECT CASE WHEN x IN (SELECT y FROM a) THEN 1 END FROM b TABLESAMPLE system (1)",
                &["a", "b"],
            ),
            (
                "SELECT sum(x) FILTER (WHERE x > (SELECT 1 FROM a)) OVER (ORDER BY (SELECT 1 FROM b))",
                &["a", "b"],
            ),
            (
                "INSERT INTO a SELECT * FROM b RETURNING (SELECT 1 FROM c)",
                &["a!", "b", "c"],
            ),
            (
                "INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET y = (SELECT 1 FROM b)",
                &["a!", "b"],
            ),
            ("UPDATE a SET x = 1 FROM b WHERE a.y = b.y", &["a!", "b"]),
            ("DELETE FROM s.a USING b", &["b", "s.a!"]),
            (
                "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE",
                &["a!", "b"],
            ),
            ("COPY (SELECT * FROM a) TO STDOUT", &["a"]),
            ("COPY a TO STDOUT", &["a"]),
            ("EXPLAIN SELECT * FROM a", &["a"]),
            ("PREPARE p AS SELECT * FROM a", &["a"]),
            ("DECLARE c CURSOR FOR SELECT * FROM a", &["a"]),
            (
                "SELECT * FROM JSON_TABLE((SELECT j FROM a), '$' COLUMNS (x int)) t",
                &["a"],
            ),
            ("SELECT * FROM ROWS FROM (f((SELECT 1 FROM a))) t", &["a"]),
        ] {
            assert_eq!(relations(text), expected, "{text}");
        }
    }

    #[test]
    fn with_queries_hide_relations_where_they_are_visible() {
        for (text, expected) in [
            ("WITH t AS (SELECT 1) SELECT * FROM t", &[][..]),
            ("WITH t AS (SELECT * FROM t) SELECT * FROM t", &["t"]),
            (
                "WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT * FROM t",
                &[],
            ),
            ("WITH t AS (SELECT 1) SELECT * FROM s.t", &["s.t"]),
            (
                "SELECT * FROM t WHERE x IN (WITH t AS (SELECT 1) SELECT * FROM t)",
                &["t"],
            ),
            (
                "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM b",
                &["b"],
            ),
            (
                "WITH t AS (SELECT 1) INSERT INTO t SELECT * FROM t",
                &["t!"],
            ),
            (
                "WITH w AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM w",
                &["t!"],
            ),
        ] {
            assert_eq!(relations(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_are_found_with_the_number_of_their_arguments() {
        let shown = |text: &str| {
            let shown = |f: &FunctionRef| {
                let schema = f
                    .schema
                    .as_ref()
                    .map_or_else(String::new, |s| format!("{s}."));
                let count = f
                    .arguments
                    .map_or_else(|| "?".to_owned(), |n| n.to_string());
                format!("{schema}{}/{count}", f.name)
            };
            found(text).functions.iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(
            shown("SELECT f(), s.g(1, 2), count(*)"),
            ["f/0", "s.g/2", "count/0"]
        );
        assert_eq!(shown("SELECT f(VARIADIC ARRAY[1])"), ["f/?"]);
        assert_eq!(
            shown("SELECT substring('a' FROM 1)"),
            ["pg_catalog.substring/2"]
        );
        assert_eq!(
            shown("SELECT 'x'::numeric(1), v.a FROM (VALUES (1)) v(a)"),
            [""; 0]
        );
        assert_eq!(shown("SELECT * FROM f(g(1)) AS t(a int)"), ["g/1", "f/1"]);
        assert_eq!(shown("CALL p(f(1))"), ["f/1", "p/1"]);
        let ordered = "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t";
        assert_eq!(shown(ordered), ["percentile_cont/2"]);
    }

    #[test]
    fn set_config_is_local_if_its_last_argument_says_so() {
        for (text, expected) in [
            ("SELECT set_config('a', $1, true)", Some(true)),
            ("SELECT set_config('a', 'b', false)", Some(false)),
            ("SELECT set_config('a', 'b', f(true))", Some(false)),
            ("SELECT set_config('a', 'b', (ARRAY[true])[1])", Some(false)),
            ("SELECT set_config('a', 'b', true AND $1)", Some(false)),
            (
                "SELECT set_config('a', 'b', true), set_config('a', 'b', $1)",
                Some(false),
            ),
            ("SELECT true", None),
        ] {
            assert_eq!(found(text).set_config, expected, "{text}");
        }
    }
}
