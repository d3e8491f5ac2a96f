//! Nanoseconds from the text of a statement to its node: analysis, names, plugins, rules.
//!
//! `cargo bench -p pgsteer-proxy`. "cached" is a statement whose shape was seen before, with other
//! literals; "the question alone" leaves out analysis and names; "new shape" is one that is parsed and taken to the component.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/decider/mod.rs"]
mod decider;
#[path = "../../../tests/support/measure.rs"]
mod measure;

use std::fmt::Write as _;

use measure::measure;

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
        let mut world = decider::world(Some(router));
        let mut text = String::new();
        let mut number = 0_u32;
        measure(&format!("{what}, cached"), || {
            number = (number + 1) % 1000;
            text.clear();
            let _ = write!(text, "{statement}{number}{end}");
            world.decider.decide(text.as_bytes()).is_some()
        });
    }
    let mut world = decider::world(Some(""));
    world
        .decider
        .question(b"SELECT balance FROM accounts WHERE id = 1", |ask| {
            measure("the question to the plugins alone, remembered", ask);
        });
    let mut world = decider::world(None);
    let mut number = 0_u32;
    let mut text = String::new();
    measure("point select, no router there", || {
        number = (number + 1) % 1000;
        text.clear();
        let _ = write!(text, "{read}{number}");
        world.decider.decide(text.as_bytes()).is_some()
    });
    let mut world = decider::world(Some(""));
    let mut number = 0_u32;
    measure("new shape", || {
        number += 1;
        let text = format!("SELECT balance AS b{number} FROM accounts WHERE id = 1");
        world.decider.decide(text.as_bytes()).is_some()
    });
}
