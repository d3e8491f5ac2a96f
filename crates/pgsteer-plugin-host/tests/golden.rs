//! Questions of the recent past: what a new version answers, and what the one before it did.

use pgsteer_core::policy::{
    LoadContext, LoadError, LoadReport, LoadedPlugin, PluginLoader as _, Sample,
};

use support::{BAD, Guest, loader, only, source, topology};

mod support;

/// Refuses the fingerprint [`BAD`].
const REFUSE: &str = "i32.const 256 i32.const 5 i32.store8";

/// Routes to node 1.
const NODE_1: &str = "i32.const 256 i32.const 3 i32.store8 i32.const 260 i32.const 1 i32.store";

fn samples(count: usize) -> Vec<Sample> {
    let sample = |number| Sample {
        fingerprint: BAD,
        class: 1,
        sql: format!("SELECT {number}"),
        ..Sample::default()
    };
    (0..count).map(sample).collect()
}

fn load(
    guest: &Guest,
    golden: &[Sample],
    previous: Option<&LoadedPlugin>,
) -> Result<LoadedPlugin, LoadError> {
    let topology = topology();
    let context = LoadContext {
        workers: 1,
        topology: &topology,
        golden,
        previous: previous.map(|loaded| &*loaded.factory),
    };
    loader().load(&source(guest.build()), &context)
}

fn compare(new: &Guest, old: &Guest, count: usize) -> Result<LoadReport, LoadError> {
    let old = load(old, &[], None).expect("a good guest");
    load(new, &samples(count), Some(&old)).map(|loaded| loaded.report)
}

#[test]
fn differences_are_counted_and_described() {
    let plain = Guest::default();
    let report = compare(&plain, &plain, 7).expect("the same");
    assert_eq!((report.golden_asked, report.golden_different), (7, 0));
    let report = compare(&Guest::bad_decide(NODE_1), &plain, 7).expect("not judged");
    assert_eq!((report.golden_asked, report.golden_different), (7, 7));
    assert_eq!(report.differences.len(), 5);
    assert_eq!(report.differences[0], "SELECT 0: primary -> node 1");
    let stages: Vec<_> = report.stages.iter().map(|(stage, _)| *stage).collect();
    let expected = [
        "inspect", "compile", "link", "describe", "canary", "golden", "build",
    ];
    assert_eq!(stages, expected);
}

#[test]
fn without_a_version_before_only_failures_count() {
    let refusing = Guest::bad_decide(REFUSE);
    let loaded = load(&refusing, &samples(30), None).expect("nothing to compare with");
    assert_eq!(
        (loaded.report.golden_asked, loaded.report.golden_different),
        (30, 0)
    );
    let failing = Guest::bad_decide("unreachable");
    let error = load(&failing, &samples(1), None).err().expect("it traps");
    assert_eq!(error.stage, "golden");
    assert!(error.reason.contains("SELECT 0"), "{error}");
    let endless = Guest::bad_decide("(loop br 0)");
    let error = load(&endless, &samples(1), None)
        .err()
        .expect("it never ends");
    assert!(
        error.stage == "golden" && error.reason.contains("too slow"),
        "{error}"
    );
    assert!(load(&failing, &[], None).is_ok(), "nobody asked");
}

#[test]
fn who_refuses_everything_is_refused() {
    let (plain, refusing) = (Guest::default(), Guest::bad_decide(REFUSE));
    let error = compare(&refusing, &plain, 20).expect_err("it refuses all of them");
    assert_eq!(error.stage, "golden");
    assert!(error.reason.contains("all of 20"), "{error}");
    assert!(compare(&refusing, &plain, 19).is_ok(), "too few to tell");
    assert!(compare(&refusing, &refusing, 40).is_ok(), "as before");
    // One of them is let through.
    let old = load(&plain, &[], None).expect("a good guest");
    let mut samples = samples(25);
    samples[0].fingerprint = 1;
    assert!(load(&refusing, &samples, Some(&old)).is_ok());
}

#[test]
fn only_what_both_implement_is_compared() {
    let everything = Guest {
        world: "everything".to_owned(),
        ..Guest::default()
    };
    let report = compare(&everything, &only("router"), 3).expect("good");
    assert_eq!((report.golden_asked, report.golden_different), (3, 0));
    let report = compare(&everything, &only("session"), 3).expect("good");
    assert_eq!((report.golden_asked, report.golden_different), (3, 0));
    let report = compare(&only("session"), &everything, 3).expect("good");
    assert_eq!(report.golden_asked, 0, "nothing to ask about statements");
    // The version before fails: that is no fault of the new one.
    let report = compare(&Guest::default(), &Guest::bad_decide("unreachable"), 3).expect("good");
    assert_eq!((report.golden_asked, report.golden_different), (3, 0));
}
