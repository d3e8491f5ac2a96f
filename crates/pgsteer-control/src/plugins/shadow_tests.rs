//! Tests of what a shadow's tally means.

use std::time::Duration;

use super::*;

fn rollout() -> Rollout {
    Rollout {
        shadow_share: 0.1,
        shadow_decisions: 1000,
        shadow_time: Duration::from_secs(60),
        differences_max: 0.01,
        ..crate::testing::settings().plugins.rollout
    }
}

fn tally(asked: u64, different: u64, traps: u64) -> Tally {
    Tally {
        asked,
        different,
        failures: [traps, 0, 0, 0, 0],
        words: vec!["an example".to_owned()],
    }
}

#[test]
fn outcomes() {
    let passed = |text: &str| Outcome::Passed(text.to_owned());
    let refused = |text: &str| Outcome::Refused(text.to_owned());
    let cases = [
        (tally(999, 999, 0), false, Outcome::Going),
        (
            tally(1000, 10, 0),
            false,
            passed("1000 statements compared, 10 answered in another way (1%), no failures"),
        ),
        (
            tally(1000, 11, 1),
            false,
            refused(
                "1000 statements compared, 11 answered in another way (1.1%), 1 trap \
                 (differences_max is 1%): an example",
            ),
        ),
        (
            tally(400, 5, 5),
            false,
            refused("it failed 5 of 400 times (5 trap)"),
        ),
        (tally(600, 5, 5), false, Outcome::Going),
        (
            tally(0, 0, 0),
            true,
            passed("0 statements compared, 0 answered in another way (0%), no failures"),
        ),
        (
            tally(10, 5, 0),
            true,
            refused(
                "10 statements compared, 5 answered in another way (50%), no failures \
                 (differences_max is 1%): an example",
            ),
        ),
    ];
    for (tally, is_over, expected) in cases {
        assert_eq!(judge(&tally, &rollout(), is_over), expected);
    }
}

#[test]
fn few_differences_are_kept_in_words_and_none_with_values() {
    let sample = Sample {
        sql: "SELECT 'secret'".to_owned(),
        fingerprint: 255,
        ..Sample::default()
    };
    let mut tally = Tally::default();
    for _ in 0..9 {
        tally.differ(&sample, Taken::Bare, || "words".to_owned());
    }
    assert_eq!((tally.different, tally.words.len()), (9, WORDS_MAX));
    let mut tally = Tally::default();
    tally.differ(&sample, Taken::Whole, || "words".to_owned());
    assert_eq!(
        tally.words,
        ["a statement with fingerprint 00000000000000ff"]
    );
}
