//! What a syntax tree refers to: relations, functions, parameters, and what in it writes or locks.
//!
//! A walk that knows the node types misses those its author forgot. So the tree is serialised first,
//! and this walk visits every object of the result, whatever it is called; it looks for a few kinds
//! and passes through all others.

use serde_json::{Map, Value};

use crate::analysis::{FunctionRef, RelationRef, bits};

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
}

/// Walks one statement; `None` if it cannot be serialised, which no parse result is known for.
pub(crate) fn collect(statement: &pg_query::NodeEnum, found: &mut References) -> Option<()> {
    let tree = serde_json::to_value(statement).ok()?;
    Walk {
        found,
        with_queries: Vec::new(),
    }
    .value(&tree);
    Some(())
}

struct Walk<'a, 't> {
    found: &'a mut References,
    /// Names that mean a WITH query here and no relation, innermost last.
    with_queries: Vec<&'t str>,
}

impl<'t> Walk<'_, 't> {
    fn value(&mut self, value: &'t Value) {
        match value {
            Value::Object(object) => self.object(object),
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            _ => {}
        }
    }

    fn object(&mut self, object: &'t Map<String, Value>) {
        if object.contains_key("relname") {
            self.relation(object, false);
        } else if object.contains_key("funcname") && object.contains_key("args") {
            self.function(object);
        } else if object.contains_key("locked_rels") {
            self.found.traits |= bits::LOCKING;
        } else if let Some(number) = object.get("ParamRef").and_then(|p| p.get("number")) {
            let number = number.as_u64().and_then(|n| u16::try_from(n).ok());
            let count = &mut self.found.parameter_count;
            *count = number.unwrap_or(u16::MAX).max(*count);
        }
        let outer = self.with_queries.len();
        if let Some(Value::Object(with)) = object.get("with_clause") {
            self.with_clause(with);
        }
        for (key, value) in object {
            match (key.as_str(), value) {
                ("with_clause", _) | (_, Value::Null) => {}
                ("into_clause", _) => {
                    self.found.traits |= bits::WRITES;
                    self.value(value);
                }
                ("InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt", _) => {
                    self.found.traits |= bits::WRITES;
                    self.target(value);
                    self.value(value);
                }
                _ => self.value(value),
            }
        }
        self.with_queries.truncate(outer);
    }

    /// A query of a WITH list sees those before it, or with RECURSIVE all of them.
    fn with_clause(&mut self, with: &'t Map<String, Value>) {
        let queries = with.get("ctes").and_then(Value::as_array);
        let queries = queries.map_or(&[][..], Vec::as_slice);
        let name = |query: &'t Value| {
            let query = query.get("node")?.get("CommonTableExpr")?;
            query.get("ctename")?.as_str()
        };
        let recursive = with.get("recursive").and_then(Value::as_bool) == Some(true);
        if recursive {
            self.with_queries.extend(queries.iter().filter_map(name));
        }
        for query in queries {
            self.value(query);
            if !recursive {
                self.with_queries.extend(name(query));
            }
        }
    }

    /// What INSERT, UPDATE, DELETE and MERGE write is a relation, whatever a WITH query is called.
    fn target(&mut self, statement: &'t Value) {
        if let Some(Value::Object(relation)) = statement.get("relation") {
            self.relation(relation, true);
        }
    }

    fn relation(&mut self, object: &'t Map<String, Value>, written: bool) {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (schema, name) = (text("schemaname"), text("relname"));
        if !written && schema.is_empty() && self.with_queries.contains(&name) {
            return;
        }
        let schema = (!schema.is_empty()).then(|| schema.into());
        let relations = &mut self.found.relations;
        let known = relations
            .iter_mut()
            .find(|r| *r.name == *name && r.schema == schema);
        match known {
            Some(known) => known.written |= written,
            None => relations.push(RelationRef {
                schema,
                name: name.into(),
                written,
            }),
        }
    }

    fn function(&mut self, object: &'t Map<String, Value>) {
        let list = |key: &str| object.get(key).and_then(Value::as_array);
        let (names, arguments) = (list("funcname"), list("args"));
        let mut names = names.into_iter().flatten().rev();
        let mut next = || {
            names
                .next()?
                .get("node")?
                .get("String")?
                .get("sval")?
                .as_str()
        };
        let (name, schema) = (next().unwrap_or_default(), next());
        // The text tells how many arguments there are unless the last one is an array of them.
        let variadic = object.get("func_variadic").and_then(Value::as_bool) == Some(true);
        let mut count = arguments.map_or(0, Vec::len);
        if object.get("agg_within_group").and_then(Value::as_bool) == Some(true) {
            count += list("agg_order").map_or(0, Vec::len);
        }
        if name == "set_config" {
            let local = arguments.and_then(|a| a.last()).is_some_and(is_true);
            self.found.set_config = Some(self.found.set_config.unwrap_or(true) && local);
        }
        let function = FunctionRef {
            schema: schema.map(Into::into),
            name: name.into(),
            arguments: u16::try_from(count).ok().filter(|_| !variadic),
        };
        if !self.found.functions.contains(&function) {
            self.found.functions.push(function);
        }
    }
}

/// Whether an argument is the literal `true`.
fn is_true(argument: &Value) -> bool {
    let constant = argument
        .get("node")
        .and_then(|n| n.get("AConst"))
        .and_then(|c| c.get("val"))
        .and_then(|v| v.get("Boolval"))
        .and_then(|b| b.get("boolval"));
    constant.and_then(Value::as_bool) == Some(true)
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
        assert_eq!(shown("SELECT * FROM f(g(1)) AS t(a int)"), ["f/1", "g/1"]);
        assert_eq!(shown("CALL p(f(1))"), ["p/1", "f/1"]);
    }
}
