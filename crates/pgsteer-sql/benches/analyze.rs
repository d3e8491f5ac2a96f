//! Nanoseconds for the steps from a text to its analysis, and for finding one that is remembered.
//!
//! `cargo bench -p pgsteer-sql`. The rows `pg_query::...` are the parts of other ways to get there.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../../../tests/support/measure.rs"]
mod measure;

use pgsteer_sql::{Cache, analyze};

use measure::measure;

fn main() {
    let list = format!("SELECT * FROM t WHERE a IN ({}1)", "1234,".repeat(10_000));
    let nested = format!("SELECT {}1{}", "(".repeat(2_000), ")".repeat(2_000));
    let texts = [
        (
            "point select",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 4711",
        ),
        (
            "join",
            "SELECT o.id, c.name, sum(l.price * l.count) FROM orders o JOIN customers c ON c.id = \
             o.customer LEFT JOIN lines l ON l.order_id = o.id WHERE o.placed > now() - interval \
             '1 day' AND c.country IN ('de', 'jp', 'us') GROUP BY 1, 2 HAVING count(*) > 3 ORDER \
             BY 3 DESC LIMIT 20",
        ),
        ("50 kB list", &*list),
        ("nested 2,000", &*nested),
    ];
    for (name, text) in texts {
        println!("{name}, {} bytes", text.len());
        measure("  pg_query::parse", || pg_query::parse(text, 0).is_ok());
        measure("  pg_query::summary", || {
            pg_query::summary(text, 0, -1).is_ok()
        });
        measure("  pg_query::scan", || pg_query::scan(text).is_ok());
        measure("  analyze, all of it", || {
            analyze(text.as_bytes()).fingerprint != 0
        });
        let mut cache = Cache::new(16 << 20);
        measure("  cache hit", || {
            cache.analyze(text.as_bytes()).fingerprint != 0
        });
    }
}
