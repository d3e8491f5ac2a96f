//! Nanoseconds from the text of a statement to its node: analysis, names, plugins, rules.
//!
//! `cargo bench -p pgsteer-proxy`. "cached" is a statement whose shape was seen before, with other
//! literals; "new shape" is one that is parsed and taken to the component.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/decider/mod.rs"]
mod decider;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

/// Rounds of which the median is shown, and statements in each.
const ROUNDS: usize = 21;
const PER_ROUND: u32 = 20_000;

fn main() {
    let read = "SELECT balance FROM accounts WHERE id = ";
    for (what, router, statement) in [
        ("no relation", "", "SELECT "),
        ("point select", "", read),
        (
            "with a function",
            "",
            "SELECT lower(name) FROM accounts WHERE id = ",
        ),
        ("insert", "", "INSERT INTO accounts VALUES ("),
        (
            "with a pattern list, so by exact text",
            "primary_routing_query_pattern_list = \"SELECT .* FROM secrets.*\"",
            read,
        ),
    ] {
        let end = if statement.ends_with('(') { ")" } else { "" };
        let mut world = decider::world(router);
        let mut text = String::new();
        let mut number = 0_u32;
        measure(&format!("{what}, cached"), PER_ROUND, || {
            number = (number + 1) % 1000;
            text.clear();
            let _ = write!(text, "{statement}{number}{end}");
            world.decider.decide(text.as_bytes()).is_some()
        });
    }
    let mut world = decider::world("");
    let mut number = 0_u32;
    measure("new shape", 500, || {
        number += 1;
        let text = format!("SELECT balance AS b{number} FROM accounts WHERE id = 1");
        world.decider.decide(text.as_bytes()).is_some()
    });
}

fn measure(what: &str, per_round: u32, mut call: impl FnMut() -> bool) {
    assert!(call(), "{what}: no node");
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..per_round {
                black_box(call());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(per_round)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (best, median) = (rounds[0], rounds[ROUNDS / 2]);
    println!("{what:46} {median:8.0} ns (best {best:.0})");
}
