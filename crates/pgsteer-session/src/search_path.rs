//! The catalog a session sees, and the search path along which its names are looked up.

use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use pgsteer_core::catalog::SearchPath;
use pgsteer_core::{Catalog, Database};
use pgsteer_sql::{Analysis, set_value};

use crate::journal::{Settings, USER_PARAMETERS};
use crate::names::{Lookup, Meaning};
use crate::transaction::Transaction;
use crate::worker::Worker;

/// The parameter that names the schemas.
const PARAMETER: &str = "search_path";

/// What a session's names are looked up in.
#[derive(Debug)]
pub(crate) struct NameSpace {
    database: Arc<Database>,
    version: Option<u64>,
    catalog: Option<Arc<Catalog>>,
    path: SearchPath,
    /// Where the books stood when the path was worked out.
    books: (u64, u64, usize),
    /// The path a session begins with, taken when it is first known: ALTER ROLE concerns later ones.
    default_path: Option<Box<str>>,
    /// A number for catalog and path.
    moment: u64,
}

impl NameSpace {
    /// Nothing is known yet.
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            version: None,
            catalog: None,
            path: SearchPath::Unknown,
            books: (0, 0, 0),
            default_path: None,
            moment: 0,
        }
    }

    /// Takes over a newer catalog and what the session set. Costs some comparisons if nothing
    /// changed.
    pub(crate) fn refresh(
        &mut self,
        worker: &Worker,
        user: &str,
        settings: &Settings,
        transaction: &Transaction,
    ) {
        let books = transaction.books_stand(settings);
        let version = Some(self.database.version());
        if self.version == version && self.books == books {
            return;
        }
        if self.version != version {
            self.version = version;
            self.catalog = self.database.catalog();
        }
        self.books = books;
        if let (None, Some(catalog)) = (&self.default_path, &self.catalog) {
            self.default_path = catalog.default_search_path(user).map(Into::into);
        }
        let last = |name: &str| transaction.last_set(settings, name);
        let other_user = USER_PARAMETERS.iter().any(|name| last(name).is_some());
        let value = last(PARAMETER).and_then(set_value);
        let value = value.as_deref().or(self.default_path.as_deref());
        self.path = match value {
            Some(value) if !other_user => SearchPath::parse(value, user),
            _ => SearchPath::Unknown,
        };
        let mut hasher = worker.hasher.build_hasher();
        Arc::as_ptr(&self.database).hash(&mut hasher);
        (self.version, &self.path).hash(&mut hasher);
        self.moment = hasher.finish();
    }

    /// Another number whenever the schema may have changed.
    pub(crate) fn schema(&self) -> u64 {
        self.database.version()
    }

    /// What the names in a statement mean now.
    pub(crate) fn meaning(&self, worker: &Worker, analysis: &Analysis) -> Rc<Meaning> {
        if analysis.relations.is_empty() && analysis.functions.is_empty() {
            return Rc::clone(&worker.no_names);
        }
        if let Some(known) = worker.meanings.borrow().get(analysis, self.moment) {
            return known;
        }
        let lookup = Lookup {
            catalog: self.catalog.as_deref(),
            path: &self.path,
            analyses: &worker.analyses,
        };
        let meaning = Rc::new(lookup.meaning(analysis));
        let mut meanings = worker.meanings.borrow_mut();
        meanings.insert(analysis, self.moment, &meaning);
        meaning
    }

    /// The number of the one relation a bare name means; zero if that is not known.
    pub(crate) fn oid(&self, name: &str) -> u32 {
        let Some(catalog) = &self.catalog else {
            return 0;
        };
        let (schema, name) = match name.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, name),
        };
        let mut found = catalog.relations(schema, name, &self.path);
        match (found.next(), found.next()) {
            (Some(relation), None) => relation.oid,
            _ => 0,
        }
    }

    /// Whether the catalog may say soon what it does not say now.
    pub(crate) fn is_awaited(&self) -> bool {
        self.catalog.is_none()
    }

    /// The catalog and the path, to be shown.
    pub(crate) fn describe(&self) -> (bool, &SearchPath) {
        (self.catalog.is_some(), &self.path)
    }
}
