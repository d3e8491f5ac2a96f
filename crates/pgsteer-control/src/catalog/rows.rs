//! From the rows of a load to a catalog. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgsteer_core::Catalog;
use pgsteer_core::catalog::{
    CatalogBuilder, Function, Persistence, Relation, RelationKind, Volatility,
};

use super::load::Trouble;

/// Columns of a row as text; fewer than there are places leave nulls.
pub(super) type Columns<'a> = [Option<&'a str>; COLUMNS_MAX];

/// Columns of the widest row, that of a function.
pub(super) const COLUMNS_MAX: usize = 9;

/// Collects rows of every kind.
pub(super) struct Rows {
    builder: CatalogBuilder,
    rows_max: usize,
    relations: usize,
    functions: usize,
    // Views whose query was not read yet, by their object ids.
    views: BTreeMap<u32, PendingView>,
    paths: Paths,
}

struct PendingView {
    schema: Arc<str>,
    name: Box<str>,
    persistence: Persistence,
}

/// Values of `search_path` by where they are set.
#[derive(Default)]
struct Paths {
    // Built in, and set in the configuration of the server.
    boot: Option<String>,
    server: Option<String>,
    // For all roles: in all databases, and in this one.
    all: Option<String>,
    database: Option<String>,
    // For one role, and whether in this database alone, which goes before.
    roles: BTreeMap<String, (bool, String)>,
}

impl Rows {
    /// For a load that began at this schema epoch.
    pub(super) fn new(epoch: u64, rows_max: usize) -> Self {
        Self {
            builder: CatalogBuilder::new(epoch),
            rows_max,
            relations: 0,
            functions: 0,
            views: BTreeMap::new(),
            paths: Paths::default(),
        }
    }

    /// Takes in a row.
    ///
    /// # Errors
    /// There are too many, or it is not one that was asked for.
    pub(super) fn take(&mut self, columns: &Columns<'_>) -> Result<(), Trouble> {
        match *columns {
            [
                Some("relation"),
                Some(oid),
                Some(schema),
                Some(name),
                Some(persistence),
                view,
                code,
                ..,
            ] => {
                self.relations += 1;
                if self.relations > self.rows_max {
                    return Err(Trouble::TooMany("relations", self.rows_max));
                }
                let is_view = view == Some("t");
                self.relation(
                    oid,
                    (schema, name),
                    persistence,
                    (is_view, code != Some("f")),
                )
            }
            [Some("function"), ..] => {
                self.functions += 1;
                if self.functions > self.rows_max {
                    return Err(Trouble::TooMany("functions", self.rows_max));
                }
                self.function(columns)
            }
            [Some("view"), Some(oid), text, ..] => self.view(oid, text),
            [Some("setting"), Some(in_database), role, Some(path), ..] => {
                self.paths.set(in_database == "t", role, path);
                Ok(())
            }
            [Some("server"), Some(source), own, boot, ..] => {
                self.paths.boot = boot.map(str::to_owned);
                let shows = SERVER_SOURCES.contains(&source);
                self.paths.server = own.filter(|_| shows).map(str::to_owned);
                Ok(())
            }
            [Some("file"), Some(path), ..] => {
                self.paths.server = Some(path.to_owned());
                Ok(())
            }
            _ => Err(Trouble::Nonsense),
        }
    }

    fn relation(
        &mut self,
        oid: &str,
        name: (&str, &str),
        persistence: &str,
        (is_view, runs_code): (bool, bool),
    ) -> Result<(), Trouble> {
        let oid = oid.parse().map_err(|_| Trouble::Nonsense)?;
        let persistence = match persistence {
            "p" => Persistence::Permanent,
            "t" => Persistence::Temporary,
            "u" => Persistence::Unlogged,
            _ => return Err(Trouble::Nonsense),
        };
        let (schema, name) = (self.builder.schema(name.0), name.1);
        if is_view {
            let view = PendingView {
                schema,
                name: name.into(),
                persistence,
            };
            self.views.insert(oid, view);
            return Ok(());
        }
        let relation = Relation {
            oid,
            schema,
            kind: RelationKind::Stored,
            persistence,
            runs_code,
        };
        self.builder.relation(name, relation);
        Ok(())
    }

    fn view(&mut self, oid: &str, text: Option<&str>) -> Result<(), Trouble> {
        let oid: u32 = oid.parse().map_err(|_| Trouble::Nonsense)?;
        let view = self.views.remove(&oid).ok_or(Trouble::Nonsense)?;
        let text = text.ok_or(Trouble::ViewVanished)?;
        let relation = Relation {
            oid,
            schema: view.schema,
            kind: RelationKind::View(text.into()),
            persistence: view.persistence,
            runs_code: true,
        };
        self.builder.relation(&view.name, relation);
        Ok(())
    }

    fn function(&mut self, columns: &Columns<'_>) -> Result<(), Trouble> {
        let [
            _,
            Some(schema),
            Some(name),
            arguments,
            defaults,
            variadic,
            volatility,
            direct,
            lasting,
        ] = *columns
        else {
            return Err(Trouble::Nonsense);
        };
        let number = |text: Option<&str>| -> Result<u16, Trouble> {
            text.and_then(|text| text.parse().ok())
                .ok_or(Trouble::Nonsense)
        };
        let (arguments, defaults) = (number(arguments)?, number(defaults)?);
        let is_variadic = variadic == Some("t");
        // The last argument of a variadic function stands for any number, none among them.
        let needed = arguments.saturating_sub(defaults + u16::from(is_variadic));
        let function = Function {
            schema: self.builder.schema(schema),
            arguments_min: match direct {
                Some(_) => needed.min(number(direct)?),
                None => needed,
            },
            arguments_max: if is_variadic { u16::MAX } else { arguments },
            volatility: match volatility {
                Some("i") => Volatility::Immutable,
                Some("s") => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            may_leave_something: lasting == Some("t"),
        };
        self.builder.function(name, function);
        Ok(())
    }

    /// Views whose queries are still to be read.
    pub(super) fn views_wanted(&self) -> Vec<u32> {
        self.views.keys().copied().collect()
    }

    /// Whether the server's `search_path` makes a difference and is hidden by one of the probe role.
    pub(super) fn server_path_is_hidden(&self) -> bool {
        let Paths {
            server,
            all,
            database,
            ..
        } = &self.paths;
        server.is_none() && all.is_none() && database.is_none()
    }

    /// The configuration files were looked into: where they say nothing, the value is built in.
    pub(super) fn files_were_read(&mut self) {
        let paths = &mut self.paths;
        paths.server = paths.server.take().or(paths.boot.take());
    }

    /// The catalog, if nothing is missing.
    ///
    /// # Errors
    /// The query of a view is missing.
    pub(super) fn finish(mut self) -> Result<Catalog, Trouble> {
        if !self.views.is_empty() {
            return Err(Trouble::ViewVanished);
        }
        let paths = self.paths;
        if let Some(path) = paths.database.or(paths.all).or(paths.server) {
            self.builder.search_path(None, &path);
        }
        for (role, (_, path)) in &paths.roles {
            self.builder.search_path(Some(role), path);
        }
        Ok(self.builder.build())
    }
}

impl Paths {
    fn set(&mut self, in_database: bool, role: Option<&str>, path: &str) {
        let path = path.to_owned();
        match role {
            None if in_database => self.database = Some(path),
            None => self.all = Some(path),
            Some(role) => {
                let known = self.roles.get(role);
                if in_database || known.is_none_or(|(in_database, _)| !in_database) {
                    self.roles.insert(role.to_owned(), (in_database, path));
                }
            }
        }
    }
}

/// Where a value comes from that all sessions begin with (`pg_settings.source`).
const SERVER_SOURCES: [&str; 4] = [
    "default",
    "environment variable",
    "configuration file",
    "command line",
];

#[cfg(test)]
mod tests {
    use pgsteer_core::catalog::SearchPath;

    use super::*;

    fn rows(list: &[&[&str]]) -> Result<Rows, Trouble> {
        let mut rows = Rows::new(1, 2);
        for row in list {
            let mut columns = [None; COLUMNS_MAX];
            for (place, text) in columns.iter_mut().zip(*row) {
                *place = (*text != "NULL").then_some(*text);
            }
            rows.take(&columns)?;
        }
        Ok(rows)
    }

    fn catalog(list: &[&[&str]]) -> Catalog {
        let rows = rows(list).expect("rows are fine");
        rows.finish().expect("nothing is missing")
    }

    #[test]
    fn relations_are_kept_as_they_are() {
        let catalog = catalog(&[
            &["relation", "17000", "app", "t", "u", "f"],
            &["relation", "17001", "app", "v", "p", "t"],
            &["view", "17001", " SELECT t.a FROM app.t;"],
        ]);
        let table = &catalog.relations_named("t")[0];
        assert_eq!((table.oid, &*table.schema), (17000, "app"));
        assert_eq!(table.persistence, Persistence::Unlogged);
        let view = &catalog.relations_named("v")[0];
        let text = " SELECT t.a FROM app.t;";
        assert_eq!(view.kind, RelationKind::View(text.into()));
    }

    #[test]
    fn calls_may_leave_out_and_add_arguments() {
        type Call = (u16, u16, Volatility);
        let cases: [(&[&str], Call); 6] = [
            (&["2", "0", "f", "i"], (2, 2, Volatility::Immutable)),
            (&["3", "2", "f", "s"], (1, 3, Volatility::Stable)),
            (&["2", "0", "t", "v"], (1, u16::MAX, Volatility::Volatile)),
            (&["1", "1", "t", "v"], (0, u16::MAX, Volatility::Volatile)),
            (&["2", "0", "f", "i", "1"], (1, 2, Volatility::Immutable)),
            (&["0", "0", "f", "?"], (0, 0, Volatility::Volatile)),
        ];
        for (columns, expected) in cases {
            let row = [&["function", "pg_catalog", "f"], columns].concat();
            let catalog = catalog(&[&row]);
            let f = &catalog.functions_named("f")[0];
            let found = (f.arguments_min, f.arguments_max, f.volatility);
            assert_eq!(found, expected, "{columns:?}");
        }
    }

    #[test]
    fn search_paths_have_an_order() {
        let server = ["server", "configuration file", "server", "boot"];
        let all: &[&[&str]] = &[
            &server,
            &["setting", "t", "alice", "role in database"],
            &["setting", "f", "alice", "role"],
            &["setting", "f", "bob", "role"],
            &["setting", "f", "NULL", "all"],
            &["setting", "t", "NULL", "database"],
        ];
        let path = |rows: &[&[&str]], role| {
            let catalog = catalog(rows);
            catalog.default_search_path(role).map(str::to_owned)
        };
        for (count, role, expected) in [
            (6, "alice", "role in database"),
            (6, "bob", "role"),
            (6, "carol", "database"),
            (5, "carol", "all"),
            (1, "carol", "server"),
        ] {
            assert_eq!(path(&all[..count], role).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_value_of_the_probe_role_hides_the_servers() {
        let hidden = || rows(&[&["server", "user", "probe", "boot"]]).expect("fine");
        assert!(hidden().server_path_is_hidden());
        let unknown = hidden().finish().expect("complete");
        assert_eq!(unknown.default_search_path("x"), None);
        let mut nothing_in_files = hidden();
        nothing_in_files.files_were_read();
        let catalog = nothing_in_files.finish().expect("complete");
        assert_eq!(catalog.default_search_path("x"), Some("boot"));
        let mut in_files = hidden();
        let mut columns = [None; COLUMNS_MAX];
        columns[..2].copy_from_slice(&[Some("file"), Some("app, public")]);
        in_files.take(&columns).expect("fine");
        in_files.files_were_read();
        let catalog = in_files.finish().expect("complete");
        let path = catalog.default_search_path("x").expect("known");
        assert_ne!(SearchPath::parse(path, "x"), SearchPath::Unknown);
        assert_eq!(path, "app, public");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let relation = |oid: &'static str| ["relation", oid, "app", "t", "p", "f"];
        let cases: [(&[&[&str]], &str); 5] = [
            (&[&["what"]], "rows were not those asked for"),
            (&[&relation("x")], "rows were not those asked for"),
            (
                &[&relation("1"), &relation("2"), &relation("3")],
                "there are more than 2 relations",
            ),
            (
                &[
                    &["relation", "1", "app", "v", "p", "t"],
                    &["view", "1", "NULL"],
                ],
                "a view was dropped meanwhile",
            ),
            (&[&["view", "1", "x"]], "rows were not those asked for"),
        ];
        for (list, expected) in cases {
            let trouble = rows(list).err().expect("refused");
            assert!(trouble.to_string().contains(expected), "{trouble}");
        }
        let incomplete = rows(&[&["relation", "1", "app", "v", "p", "t"]]).expect("fine");
        assert!(incomplete.finish().is_err());
    }
}
