//! Tests of looking names up, in a small catalog.

use pgsteer_core::catalog::{CatalogBuilder, Function};

use super::*;

#[expect(clippy::too_many_lines, reason = "a table of relations and functions")]
fn catalog() -> Catalog {
    let mut builder = CatalogBuilder::new(1);
    let view = |query: &str| RelationKind::View(query.into());
    let relations = [
        (
            1,
            "public",
            "t",
            RelationKind::Stored,
            Persistence::Permanent,
        ),
        (
            2,
            "public",
            "u",
            RelationKind::Stored,
            Persistence::Unlogged,
        ),
        (3, "app", "t", RelationKind::Stored, Persistence::Unlogged),
        (
            4,
            "public",
            "v",
            view("SELECT a FROM public.t"),
            Persistence::Permanent,
        ),
        (
            5,
            "public",
            "vu",
            view("SELECT a FROM public.u"),
            Persistence::Permanent,
        ),
        (
            6,
            "public",
            "vvu",
            view("SELECT a FROM public.vu"),
            Persistence::Permanent,
        ),
        (
            7,
            "public",
            "vr",
            view("SELECT random()"),
            Persistence::Permanent,
        ),
        (
            8,
            "pg_temp_3",
            "mine",
            RelationKind::Stored,
            Persistence::Temporary,
        ),
        (
            9,
            "public",
            "mine",
            RelationKind::Stored,
            Persistence::Permanent,
        ),
        (
            10,
            "pg_catalog",
            "pg_class",
            RelationKind::Stored,
            Persistence::Permanent,
        ),
    ];
    for (oid, schema, name, kind, persistence) in relations {
        let schema = builder.schema(schema);
        builder.relation(
            name,
            Relation {
                oid,
                schema,
                kind,
                persistence,
                runs_code: false,
            },
        );
    }
    for (schema, name, arguments, volatility) in [
        ("pg_catalog", "random", 0, Volatility::Volatile),
        ("pg_catalog", "lower", 1, Volatility::Immutable),
        ("pg_catalog", "txid_current", 0, Volatility::Stable),
        ("public", "f", 1, Volatility::Stable),
        ("public", "f", 2, Volatility::Volatile),
        ("app", "lower", 1, Volatility::Volatile),
    ] {
        let schema = builder.schema(schema);
        builder.function(
            name,
            Function {
                schema,
                arguments_min: arguments,
                arguments_max: arguments,
                volatility,
                may_leave_something: false,
            },
        );
    }
    builder.build()
}

fn meaning_on(path: &str, text: &str, catalog: Option<&Catalog>) -> (u64, Vec<u32>) {
    let analyses = RefCell::new(Cache::new(1 << 20));
    let analysis = analyses.borrow_mut().analyze(text.as_bytes());
    let path = match path {
        "?" => SearchPath::Unknown,
        path => SearchPath::parse(path, "alice"),
    };
    let lookup = Lookup {
        catalog,
        path: &path,
        analyses: &analyses,
    };
    let meaning = lookup.meaning(&analysis);
    let oids = meaning.relations.iter().map(|r| r.oid).collect();
    (complete(&analysis, &meaning) & !traits::PARAMETERS, oids)
}

fn meaning(path: &str, text: &str) -> (u64, Vec<u32>) {
    meaning_on(path, text, Some(&catalog()))
}

const READS: u64 = traits::READS;

#[test]
fn relations_along_the_search_path() {
    let unlogged = READS | traits::UNLOGGED;
    for (path, text, bits, oids) in [
        ("public", "SELECT * FROM t", READS, vec![1]),
        ("app", "SELECT * FROM t", unlogged, vec![3]),
        // Which of them the role may use is not known.
        ("public, app", "SELECT * FROM t", unlogged, vec![1, 3]),
        ("public", "SELECT * FROM app.t", unlogged, vec![3]),
        (
            "public",
            "SELECT * FROM public.t JOIN u ON true",
            unlogged,
            vec![1, 2],
        ),
        ("?", "SELECT * FROM t", unlogged, vec![1, 3]),
        (
            "public",
            "SELECT * FROM nowhere",
            READS | traits::UNKNOWN_RELATION,
            vec![0],
        ),
        (
            "public",
            "SELECT * FROM mine",
            READS | traits::TEMPORARY_NAME,
            vec![9],
        ),
        (
            "public",
            "SELECT * FROM pg_class",
            READS | traits::CATALOG | traits::CATALOG_NAME,
            vec![10],
        ),
        (
            "public",
            "SELECT * FROM public.pg_class",
            READS | traits::UNKNOWN_RELATION | traits::CATALOG_NAME,
            vec![0],
        ),
        (
            "public",
            "INSERT INTO t VALUES (1)",
            traits::WRITES,
            vec![1],
        ),
    ] {
        let found = meaning(path, text);
        let bits = bits
            | if text.starts_with("INSERT") {
                traits::NOT_LIKE_A_READ
            } else {
                0
            };
        assert_eq!(found, (bits, oids), "{path}: {text}");
    }
}

#[test]
fn views_are_seen_through() {
    let hidden = READS | traits::THROUGH_VIEW;
    assert_eq!(meaning("public", "SELECT * FROM v"), (READS, vec![4, 1]));
    assert_eq!(meaning("public", "SELECT * FROM vu"), (hidden, vec![5, 2]));
    assert_eq!(
        meaning("public", "SELECT * FROM vvu"),
        (hidden, vec![6, 5, 2])
    );
    assert_eq!(meaning("public", "SELECT * FROM vr"), (hidden, vec![7]));
}

#[test]
fn functions_by_signature() {
    let volatile = READS | traits::VOLATILE_FUNCTION | traits::VOLATILE_NAME;
    for (path, text, expected) in [
        ("public", "SELECT lower('a')", READS | traits::VOLATILE_NAME),
        ("app", "SELECT lower('a')", volatile),
        ("public", "SELECT random()", volatile),
        ("public", "SELECT f(1)", READS | traits::VOLATILE_NAME),
        ("public", "SELECT f(1, 2)", volatile),
        ("public", "SELECT f(VARIADIC ARRAY[1])", volatile),
        (
            "app",
            "SELECT f(1)",
            READS | traits::UNKNOWN_FUNCTION | traits::VOLATILE_NAME,
        ),
        ("app", "SELECT public.f(1)", READS | traits::VOLATILE_NAME),
        // The catalog says that it is stable.
        (
            "public",
            "SELECT txid_current()",
            READS | traits::VOLATILE_FUNCTION,
        ),
    ] {
        assert_eq!(meaning(path, text).0, expected, "{path}: {text}");
    }
}

#[test]
fn without_a_catalog_relations_are_unknown_and_functions_are_as_the_text_says() {
    let without = |text| meaning_on("public", text, None);
    let unknown = READS | traits::UNKNOWN_RELATION;
    assert_eq!(without("SELECT * FROM t"), (unknown, vec![0]));
    assert_eq!(without("SELECT lower('a')"), (READS, vec![]));
    assert_eq!(
        without("SELECT f(1)"),
        (READS | traits::UNKNOWN_FUNCTION, vec![])
    );
    assert!(!is_proven_read(unknown) && is_proven_read(READS));
}

#[test]
fn functions_after_which_rows_may_be_different() {
    let writer = |catalog: Option<&Catalog>, text: &str| {
        let analyses = RefCell::new(Cache::new(1 << 20));
        let analysis = analyses.borrow_mut().analyze(text.as_bytes());
        let path = SearchPath::parse("public", "alice");
        let lookup = Lookup {
            catalog,
            path: &path,
            analyses: &analyses,
        };
        lookup.meaning(&analysis).calls_writer
    };
    let catalog = catalog();
    for catalog in [None, Some(&catalog)] {
        assert!(!writer(catalog, "SELECT random(), lower('a')"));
        assert!(writer(catalog, "SELECT f(1, 2)"));
        assert!(writer(catalog, "SELECT nextval('s')"));
    }
    assert!(!writer(Some(&catalog), "SELECT f(1)"));
    assert!(!writer(Some(&catalog), "SELECT * FROM vr"));
}
