//! Statements without their literals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteer_sql::without_literals;

fuzz_target!(|text: &str| {
    let once = without_literals(text);
    assert_eq!(without_literals(&once), once, "once is enough");
});
