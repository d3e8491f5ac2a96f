//! Components that cost as little as one can, to see what asking them costs.

use pgsteer_testkit::guest::Guest;

/// What a component answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The primary, and that may be remembered.
    Primary,
    /// The primary, this once.
    PrimaryOnce,
    /// Nothing, and that may be remembered.
    Abstain,
    /// Nothing, this once.
    AbstainOnce,
}

/// A file for the directory of plugins; `number` makes it another one than those with other numbers.
pub(crate) fn component(number: usize, answer: Answer) -> (String, Vec<u8>) {
    let is_kept = matches!(answer, Answer::Primary | Answer::Abstain);
    let route = usize::from(matches!(answer, Answer::Primary | Answer::PrimaryOnce));
    let mut fields = format!("(data (i32.const 8000) \"{number:04}\")");
    if is_kept {
        fields += DETERMINISTIC;
    }
    let guest = Guest {
        needs: "i64.const 0".to_owned(),
        decide: format!("i32.const 256 i32.const {route} i32.store8 i32.const 256"),
        fields,
        ..Guest::default()
    };
    (format!("{number}-simple{number}.wasm"), guest.build())
}

/// The byte behind the promise in the manifest, and the one behind `reuse` in an answer.
const DETERMINISTIC: &str = "(data (i32.const 96) \"\\01\") (data (i32.const 288) \"\\01\")";
