//! Properties of the analysis: it never panics, and a remembered one is right for every text that
//! finds it.

use pgsteer_sql::{Analysis, Cache, analyze};
use proptest::prelude::*;

/// Pieces that mean something to the grammar, so that random texts come near to real ones.
const PIECES: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "INSERT INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "DELETE",
    "WITH",
    "AS",
    "t",
    "\"T t\"",
    "s.t",
    "f",
    "pg_class",
    "set_config",
    "nextval",
    "(",
    ")",
    ",",
    "[",
    "]",
    ";",
    "1",
    "1.5e3",
    ".5",
    "'a'",
    "'it''s'",
    "E'\\''",
    "$1",
    "$$b$$",
    "$x$ ' $x$",
    "--c\n",
    "/* ( */",
    "=",
    "||",
    "::int",
    "IN",
    "ARRAY",
    "true",
    "FOR UPDATE",
    "INTO",
    "COPY",
    "TO STDOUT",
    "BEGIN",
    "PREPARE p",
    "EXPLAIN",
    "ROUTE",
    "PGPOOL",
    "SHOW",
    "EXECUTE p",
    "U&'x'",
    "X'1f'",
    "\t",
    "*",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

const SHAPES: &[&str] = &[
    "SELECT a FROM t WHERE b = ? AND c IN (?, ?, ?)",
    "SELECT f(?), f(?, ?), g(ARRAY[?, ?]) FROM s.t LIMIT ?",
    "INSERT INTO t VALUES (?, ?), (?, ?)",
    "UPDATE t SET a = ? WHERE b BETWEEN ? AND ?",
    "WITH w AS (SELECT ? AS a) SELECT * FROM w, t WHERE x LIKE ?",
    "DELETE FROM t USING u WHERE t.a = ? OR u.b = ?",
    "SELECT CASE WHEN a > ? THEN ? ELSE ? END FROM (VALUES (?, ?)) v(a, b)",
];

/// A statement twice, with different literals.
fn twice() -> impl Strategy<Value = (String, String)> {
    let literal = prop_oneof![
        "[0-9]{1,5}",
        "'[a-z ();,]{0,8}'",
        Just("1.5e-3".to_owned()),
        Just("$q$ ' $q$".to_owned()),
    ];
    let literals = prop::collection::vec(literal, 20);
    (prop::sample::select(SHAPES), literals).prop_map(|(shape, literals)| {
        let fill = |literals: &[String]| {
            let parts = shape.split('?').enumerate();
            let put = |(place, part): (usize, &str)| match place {
                0 => part.to_owned(),
                _ => format!("{}{part}", literals[place - 1]),
            };
            parts.map(put).collect::<String>()
        };
        (fill(&literals[..10]), fill(&literals[10..]))
    })
}

fn without_id(analysis: &Analysis) -> Analysis {
    Analysis {
        id: 0,
        ..analysis.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_it_panic(text in text()) {
        let analysis = analyze(text.as_bytes());
        // Several statements are never taken for a read.
        prop_assert!(analysis.statement_count <= 1 || !analysis.is_proven_read());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(analyze(&bytes).statement_count > 0);
    }

    #[test]
    fn literals_make_no_difference((a, b) in twice()) {
        let (first, second) = (analyze(a.as_bytes()), analyze(b.as_bytes()));
        prop_assert_eq!(first.fingerprint, second.fingerprint, "{} and {}", a, b);
        prop_assert_eq!(without_id(&first), without_id(&second), "{} and {}", a, b);
    }

    #[test]
    fn what_is_remembered_is_what_would_be_found(texts in prop::collection::vec(text(), 1..8)) {
        let mut cache = Cache::new(1 << 20);
        for text in texts.iter().chain(&texts) {
            let remembered = cache.analyze(text.as_bytes());
            let fresh = analyze(text.as_bytes());
            prop_assert_eq!(without_id(&remembered), without_id(&fresh), "{}", text);
        }
    }
}
