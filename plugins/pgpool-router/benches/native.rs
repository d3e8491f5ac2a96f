//! Nanoseconds of an answer of this router compiled for the processor, without WebAssembly.
//!
//! `cargo bench --manifest-path plugins/Cargo.toml -p pgpool-router`; `cargo bench -p pgsteer-plugin-host`
//! asks the component the same questions, and the difference is what its interface costs.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(dead_code, reason = "not all of the router is asked")]

// The library is a component only, so that it is optimised as one piece: its parts are taken one by one.
#[path = "../src/decide.rs"]
mod decide;
#[path = "../src/functions.rs"]
mod functions;
#[path = "../src/lists.rs"]
mod lists;
#[path = "../../../tests/support/measure.rs"]
mod measure;
#[path = "../src/parameters.rs"]
mod parameters;
#[path = "../src/reason.rs"]
mod reason;
#[path = "../src/redirect.rs"]
mod redirect;
#[path = "../src/relationships.rs"]
mod relationships;
#[path = "../src/writing.rs"]
mod writing;

use std::hint::black_box;

use parameters::{DisableOnWrite, Parameters};
use pgsteer_plugin_sdk::testing::statement;
use pgsteer_plugin_sdk::{Class, Route, Traits};

fn main() -> Result<(), String> {
    let parameters = Parameters::from_json("{}")?;
    let select = statement(Class::Select).with_traits(Traits::READS);
    let inside = select.clone().with_traits(Traits::IN_TRANSACTION);
    let insert = statement(Class::Insert).with_traits(Traits::WRITES);
    for (what, asked) in [
        ("native: select", &select),
        ("native: in transaction", &inside),
        ("native: insert", &insert),
    ] {
        measure::measure(what, || {
            let answer = decide::decide(&parameters, black_box(asked));
            matches!(answer.route, Route::Primary | Route::Balanced(_))
        });
    }
    Ok(())
}
