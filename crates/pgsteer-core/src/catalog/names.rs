//! Building a catalog, and finding names in it along a search path.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Catalog, Function, Relation};

/// The schemas in which unqualified names are looked for, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SearchPath {
    /// These schemas; `pg_catalog` comes first if it is not among them. `$user` is replaced.
    Schemas(Box<[Box<str>]>),
    /// Not known: a name may mean any relation of that name.
    Unknown,
}

impl SearchPath {
    /// From the value of the parameter `search_path`, as `SHOW search_path` prints it: names
    /// separated by commas, quoted where they must be. `user` takes the place of `"$user"`.
    #[must_use]
    pub fn parse(value: &str, user: &str) -> Self {
        let mut schemas = Vec::new();
        let mut rest = value.trim_start();
        while !rest.is_empty() {
            let (name, after) = match rest.strip_prefix('"') {
                Some(quoted) => match quoted_name(quoted) {
                    Some(found) => found,
                    None => return Self::Unknown,
                },
                None => {
                    let end = rest.find(',').unwrap_or(rest.len());
                    let (name, after) = rest.split_at(end);
                    (name.trim().to_ascii_lowercase(), after)
                }
            };
            match name.as_str() {
                "" => {}
                "$user" => schemas.push(user.into()),
                _ => schemas.push(name.into()),
            }
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if rest.is_empty() => {}
                None => return Self::Unknown,
            }
        }
        Self::Schemas(schemas.into())
    }

    /// Whether unqualified names are looked for in a schema.
    fn contains(&self, schema: &str) -> bool {
        match self {
            Self::Schemas(schemas) => {
                schema == CATALOG_SCHEMA || schemas.iter().any(|s| **s == *schema)
            }
            Self::Unknown => true,
        }
    }
}

impl std::fmt::Display for SearchPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Schemas(schemas) => f.write_str(&schemas.join(", ")),
            Self::Unknown => f.write_str("not known"),
        }
    }
}

/// Schema of PostgreSQL's own objects.
const CATALOG_SCHEMA: &str = "pg_catalog";

/// The name up to the closing quote, and what follows.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

impl Catalog {
    /// The relations a name may mean: one if it is qualified, those in schemas of the path if not,
    /// all of that name if the path is not known. PostgreSQL takes the first one of the path, but
    /// leaves out schemas the role may not use, which the catalog does not tell.
    pub fn relations<'a>(
        &'a self,
        schema: Option<&'a str>,
        name: &str,
        path: &'a SearchPath,
    ) -> impl Iterator<Item = &'a Relation> {
        let all = self.relations_named(name);
        let may_be_meant = move |relation: &Relation| match schema {
            Some(schema) => &*relation.schema == schema,
            None => path.contains(&relation.schema),
        };
        all.iter().filter(move |relation| may_be_meant(relation))
    }

    /// All functions a call with so many arguments may mean: PostgreSQL chooses among them by the
    /// types of the arguments, which a text does not tell. `arguments` is `None` if their number
    /// is not known.
    pub fn functions<'a>(
        &'a self,
        schema: Option<&'a str>,
        name: &str,
        arguments: Option<u16>,
        path: &'a SearchPath,
    ) -> impl Iterator<Item = &'a Function> {
        let all = self.functions_named(name);
        let on_path = move |function: &Function| match (schema, path) {
            (Some(schema), _) => &*function.schema == schema,
            (None, path) => path.contains(&function.schema),
        };
        let fits = move |function: &Function| {
            arguments.is_none_or(|n| (function.arguments_min..=function.arguments_max).contains(&n))
        };
        all.iter().filter(move |f| on_path(f) && fits(f))
    }

    /// All functions of a name in any schema.
    #[must_use]
    pub fn functions_named(&self, name: &str) -> &[Function] {
        self.functions.get(name).map_or(&[][..], Vec::as_slice)
    }

    /// The relations of a name in any schema.
    #[must_use]
    pub fn relations_named(&self, name: &str) -> &[Relation] {
        self.relations.get(name).map_or(&[][..], Vec::as_slice)
    }

    /// The value of `search_path` a new session of a role begins with; `None` if not known.
    #[must_use]
    pub fn default_search_path(&self, role: &str) -> Option<&str> {
        let own = self.role_search_paths.get(role);
        own.or(self.search_path.as_ref()).map(|path| &**path)
    }

    /// Relations in it.
    #[must_use]
    pub fn relation_count(&self) -> usize {
        self.relations.values().map(Vec::len).sum()
    }
}

/// Collects the rows of a load.
#[derive(Debug, Default)]
pub struct CatalogBuilder {
    catalog: Catalog,
    schemas: std::collections::HashSet<Arc<str>>,
}

impl CatalogBuilder {
    /// For a load that began when the database was at this schema epoch.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let catalog = Catalog {
            epoch,
            ..Catalog::default()
        };
        Self {
            catalog,
            ..Self::default()
        }
    }

    /// The shared form of a schema's name.
    pub fn schema(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.schemas.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.schemas.insert(Arc::clone(&name));
        name
    }

    /// Adds a relation under its name.
    pub fn relation(&mut self, name: &str, relation: Relation) {
        add(&mut self.catalog.relations, name, relation);
    }

    /// Adds a function under its name.
    pub fn function(&mut self, name: &str, function: Function) {
        add(&mut self.catalog.functions, name, function);
    }

    /// Sets the value of `search_path` that sessions of a role begin with, or of all roles that
    /// have none of their own.
    pub fn search_path(&mut self, role: Option<&str>, value: &str) {
        match role {
            Some(role) => {
                let paths = &mut self.catalog.role_search_paths;
                paths.insert(role.into(), value.into());
            }
            None => self.catalog.search_path = Some(value.into()),
        }
    }

    /// The catalog.
    #[must_use]
    pub fn build(self) -> Catalog {
        self.catalog
    }
}

fn add<T>(to: &mut HashMap<Box<str>, Vec<T>>, name: &str, item: T) {
    match to.get_mut(name) {
        Some(same_name) => same_name.push(item),
        None => {
            to.insert(name.into(), vec![item]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Persistence, RelationKind, Volatility};

    fn catalog() -> Catalog {
        let mut builder = CatalogBuilder::new(0);
        for (oid, schema) in [(1, "public"), (2, "app"), (3, "alice")] {
            let schema = builder.schema(schema);
            let relation = Relation {
                oid,
                schema,
                kind: RelationKind::Stored,
                persistence: Persistence::Permanent,
                runs_code: false,
            };
            builder.relation("t", relation);
        }
        let functions = [
            ("pg_catalog", 1, 1, Volatility::Immutable),
            ("app", 2, u16::MAX, Volatility::Volatile),
        ];
        for (schema, arguments_min, arguments_max, volatility) in functions {
            let schema = builder.schema(schema);
            let function = Function {
                schema,
                arguments_min,
                arguments_max,
                volatility,
                may_leave_something: false,
            };
            builder.function("f", function);
        }
        builder.build()
    }

    fn found(schema: Option<&str>, path: &SearchPath) -> Vec<u32> {
        let catalog = catalog();
        catalog
            .relations(schema, "t", path)
            .map(|r| r.oid)
            .collect()
    }

    #[test]
    fn names_are_looked_for_in_the_schemas_of_the_path() {
        let path = |value| SearchPath::parse(value, "alice");
        assert_eq!(found(None, &path("\"$user\", public")), [1, 3]);
        assert_eq!(found(None, &path("app")), [2]);
        assert_eq!(found(None, &path("nowhere")), [0_u32; 0]);
        assert_eq!(found(Some("app"), &path("public")), [2]);
        assert_eq!(found(None, &SearchPath::Unknown), [1, 2, 3]);
    }

    #[test]
    fn functions_are_chosen_by_the_number_of_arguments() {
        let catalog = catalog();
        let path = SearchPath::parse("app", "alice");
        let count = |arguments, path| catalog.functions(None, "f", arguments, path).count();
        assert_eq!(count(Some(1), &path), 1);
        assert_eq!(count(Some(7), &path), 1);
        assert_eq!(count(Some(0), &path), 0);
        assert_eq!(count(None, &path), 2);
        let public = SearchPath::parse("public", "alice");
        assert_eq!(count(None, &public), 1);
    }

    #[test]
    fn search_paths_are_read_as_the_server_reads_them() {
        let schemas =
            |names: &[&str]| SearchPath::Schemas(names.iter().map(|n| Box::from(*n)).collect());
        for (value, expected) in [
            ("\"$user\", public", schemas(&["u", "public"])),
            ("A,\"B c\" , \"d\"\"e\"", schemas(&["a", "B c", "d\"e"])),
            ("", schemas(&[])),
            ("\"\"", schemas(&[])),
            ("\"open", SearchPath::Unknown),
            ("\"a\" b", SearchPath::Unknown),
        ] {
            assert_eq!(SearchPath::parse(value, "u"), expected, "{value}");
        }
    }
}
