//! What the names in a statement mean: relations and functions looked up in the catalog, along the
//! session's search path and through views. Remembered per worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgsteer_core::Catalog;
use pgsteer_core::catalog::{Persistence, Relation, RelationKind, SearchPath, Volatility};
use pgsteer_core::policy::traits;
use pgsteer_sql::{
    self as sql, Analysis, Cache, FunctionRef, RelationRef, is_write_in_disguise, known_volatility,
    leaves_rows_alone,
};

/// A relation a statement names, or one behind a view it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    /// Zero if it is not known.
    pub(crate) oid: u32,
}

/// What the catalog says about a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// Bits about functions and relations.
    pub(crate) traits: u64,
    /// Relations, those behind views too.
    pub(crate) relations: Vec<Named>,
    /// A function it calls may change rows.
    pub(crate) calls_writer: bool,
    /// It runs code of users, by calling it or by writing where there are triggers.
    pub(crate) runs_code: bool,
    /// Of that code some may leave something in the session.
    pub(crate) may_leave_something: bool,
}

/// Bits of an analysis that the catalog knows better.
const FROM_CATALOG: u64 = traits::VOLATILE_FUNCTION | traits::UNKNOWN_FUNCTION | traits::CATALOG;

/// Views behind views that are looked through; deeper ones are not known.
const VIEW_DEPTH_MAX: usize = 16;

/// Relations one name may mean, if the search path is not known; more are not looked at.
const MATCHES_MAX: usize = 16;

/// Relations behind the views of one statement; more are not known.
const NAMED_MAX: usize = 256;

/// The traits of a statement with what the catalog says.
pub(crate) fn complete(analysis: &Analysis, meaning: &Meaning) -> u64 {
    // Outside queries the class says it all.
    let asked = analysis.traits & traits::READS != 0;
    let from_text = analysis.traits & !FROM_CATALOG;
    from_text
        | if asked {
            meaning.traits
        } else {
            meaning.traits & traits::WRITTEN_RELATION
        }
}

/// Whether bits of a statement prove that it only reads.
pub(crate) fn is_proven_read(bits: u64) -> bool {
    let in_doubt = traits::UNKNOWN_RELATION | traits::THROUGH_VIEW;
    pgsteer_sql::is_proven_read(bits) && bits & in_doubt == 0
}

/// Looks names up in one catalog.
pub(crate) struct Lookup<'a> {
    pub(crate) catalog: Option<&'a Catalog>,
    pub(crate) path: &'a SearchPath,
    /// For the definitions of views.
    pub(crate) analyses: &'a RefCell<Cache>,
}

impl Lookup<'_> {
    /// What the names in a statement mean. Without a catalog nothing is known of relations, and of
    /// functions what the text says.
    pub(crate) fn meaning(&self, analysis: &Analysis) -> Meaning {
        let mut meaning = Meaning::default();
        self.collect(analysis, self.path, 0, &mut meaning);
        meaning
    }

    fn collect(&self, analysis: &Analysis, path: &SearchPath, depth: usize, into: &mut Meaning) {
        let Some(catalog) = self.catalog else {
            into.traits |= analysis.traits & FROM_CATALOG;
            let writer = |f: &FunctionRef| {
                let (schema, name) = (f.schema.as_deref(), &*f.name);
                known_volatility(schema, name) != sql::Volatility::Stable
                    && !leaves_rows_alone(schema, name)
            };
            into.calls_writer |= analysis.functions.iter().any(writer);
            let of_user = |f: &FunctionRef| {
                known_volatility(f.schema.as_deref(), &f.name) == sql::Volatility::Unknown
            };
            into.may_leave_something |= analysis.functions.iter().any(of_user);
            into.runs_code |= into.may_leave_something;
            into.runs_code |= analysis.relations.iter().any(|r| r.written);
            if !analysis.relations.is_empty() {
                into.traits |= traits::UNKNOWN_RELATION;
            }
            let unknown = |r: &RelationRef| named(&r.name, 0);
            into.relations
                .extend(analysis.relations.iter().map(unknown));
            return;
        };
        for function in &analysis.functions {
            let bits = function_bits(catalog, function, path);
            let may_write = bits & (traits::VOLATILE_FUNCTION | traits::UNKNOWN_FUNCTION) != 0;
            self.code(catalog, function, path, into);
            into.calls_writer |=
                may_write && !leaves_rows_alone(function.schema.as_deref(), &function.name);
            into.traits |= bits;
        }
        for relation in &analysis.relations {
            self.relation(catalog, relation, path, depth, into);
        }
    }

    /// What the code behind a call may do besides.
    fn code(
        &self,
        catalog: &Catalog,
        function: &FunctionRef,
        path: &SearchPath,
        into: &mut Meaning,
    ) {
        let (schema, name) = (function.schema.as_deref(), &*function.name);
        let mut known = false;
        for found in catalog.functions(schema, name, function.arguments, path) {
            known = true;
            into.runs_code |= &*found.schema != "pg_catalog";
            into.may_leave_something |= found.may_leave_something;
        }
        // Perhaps it was made a moment ago.
        into.may_leave_something |= !known;
        into.runs_code |= !known;
    }

    fn relation(
        &self,
        catalog: &Catalog,
        named_as: &RelationRef,
        path: &SearchPath,
        depth: usize,
        into: &mut Meaning,
    ) {
        let name = &*named_as.name;
        let before = into.relations.len();
        for found in catalog.relations(named_as.schema.as_deref(), name, path) {
            if into.relations.len() - before >= MATCHES_MAX {
                into.relations.push(named(name, 0));
                into.traits |= traits::UNKNOWN_RELATION;
                break;
            }
            into.relations.push(named(name, found.oid));
            into.runs_code |= named_as.written && found.runs_code;
            into.traits |= relation_bits(found);
            if let RelationKind::View(query) = &found.kind {
                into.traits |= self.behind_view(query, depth, into.relations.len(), into);
            }
        }
        if into.relations.len() == before {
            into.relations.push(named(name, 0));
            into.traits |= traits::UNKNOWN_RELATION;
            into.runs_code |= named_as.written;
        }
        for same_name in catalog.relations_named(name) {
            if same_name.persistence == Persistence::Temporary {
                into.traits |= traits::TEMPORARY_NAME;
            }
            if &*same_name.schema == "pg_catalog" {
                into.traits |= traits::CATALOG_NAME;
            }
        }
    }

    /// The bits for what stands behind a view; its relations count as named.
    fn behind_view(&self, query: &str, depth: usize, count: usize, into: &mut Meaning) -> u64 {
        if depth >= VIEW_DEPTH_MAX || count >= NAMED_MAX {
            return traits::THROUGH_VIEW;
        }
        let analysis = self.analyses.borrow_mut().analyze(query.as_bytes());
        // Its names are qualified, except those of PostgreSQL itself.
        let path = SearchPath::Schemas(Box::default());
        let mut behind = Meaning::default();
        self.collect(&analysis, &path, depth + 1, &mut behind);
        into.relations.append(&mut behind.relations);
        into.calls_writer |= behind.calls_writer;
        into.runs_code |= behind.runs_code;
        into.may_leave_something |= behind.may_leave_something;
        let bits = complete(&analysis, &behind);
        let harmless = is_proven_read(bits) && bits & traits::UNLOGGED == 0;
        if harmless { 0 } else { traits::THROUGH_VIEW }
    }
}

fn named(name: &str, oid: u32) -> Named {
    let name = name.into();
    Named { name, oid }
}

fn relation_bits(relation: &Relation) -> u64 {
    let catalog = if &*relation.schema == "pg_catalog" {
        traits::CATALOG
    } else {
        0
    };
    catalog
        | match relation.persistence {
            Persistence::Permanent => 0,
            Persistence::Unlogged => traits::UNLOGGED,
            // Of some session, perhaps of this one.
            Persistence::Temporary => traits::UNKNOWN_RELATION,
        }
}

fn function_bits(catalog: &Catalog, function: &FunctionRef, path: &SearchPath) -> u64 {
    let (schema, name) = (function.schema.as_deref(), &*function.name);
    let mut bits = 0;
    let mut known = false;
    for found in catalog.functions(schema, name, function.arguments, path) {
        known = true;
        if found.volatility == Volatility::Volatile {
            bits |= traits::VOLATILE_FUNCTION;
        }
    }
    if !known {
        bits |= traits::UNKNOWN_FUNCTION;
    }
    if is_write_in_disguise(schema, name) {
        bits |= traits::VOLATILE_FUNCTION;
    }
    let by_name = catalog
        .functions_named(name)
        .iter()
        .any(|f| f.volatility == Volatility::Volatile && schema.is_none_or(|s| *s == *f.schema));
    bits | if by_name { traits::VOLATILE_NAME } else { 0 }
}

/// Meanings remembered per worker before all are forgotten.
const REMEMBERED_MAX: usize = 8192;

/// Remembered meanings.
#[derive(Debug, Default)]
pub(crate) struct Meanings(HashMap<(u64, u64), Rc<Meaning>, foldhash::fast::RandomState>);

impl Meanings {
    /// The meaning of a statement; `moment` is a number for catalog and search path.
    pub(crate) fn get(&self, analysis: &Analysis, moment: u64) -> Option<Rc<Meaning>> {
        self.0.get(&(analysis.id, moment)).map(Rc::clone)
    }

    /// Remembers one, if its analysis can be told from others.
    pub(crate) fn insert(&mut self, analysis: &Analysis, moment: u64, meaning: &Rc<Meaning>) {
        if analysis.id == 0 {
            return;
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert((analysis.id, moment), Rc::clone(meaning));
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
