//! Instructions per transaction of the hottest scenarios, which are the same on a busy machine and on a
//! quiet one: a change that makes a statement dearer fails here.
//!
//! Counted by callgrind in a build of its own, with optimisation but without link-time optimisation, and
//! with the checks of a development build. What is counted is the thread of the one
//! worker, for few transactions and for many; the difference leaves out logins and all that happens
//! once. The bounds are in `bounds.toml`. A change of the compiler or of the C library moves all of them
//! a little; `PGSTEER_COUNT_RUNS=5` counts several times and shows the spread.

#![expect(
    clippy::panic,
    reason = "clippy takes the helpers of tests for production code"
)]

mod counted;
mod scenarios;
#[path = "../support/wire.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use pgsteer_testkit::Cluster;

use counted::{Counted, Programs};
use scenarios::{Pooling, SCENARIOS, Scenario};

#[test]
fn transactions_take_no_more_instructions_than_before() {
    let Some(programs) = Programs::find().expect("the program can be built") else {
        println!("left out: there is no valgrind (make test installs it)");
        return;
    };
    let runs = std::env::var("PGSTEER_COUNT_RUNS").ok();
    let runs = runs.and_then(|text| text.parse().ok()).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can be started");
    let counts = runtime.block_on(count_all(&programs, runs));
    let counts = counts.expect("everything can be counted");
    let mut wrong = String::new();
    for scenario in &SCENARIOS {
        let count = &counts[scenario.name];
        let bound = bound(scenario.name).expect("bounds.toml has it");
        let middle = middle(count);
        println!(
            "{:36} {middle:8.0} of {bound:8.0}, all: {count:.0?}",
            scenario.name
        );
        if middle > bound * (1.0 + TOLERANCE) {
            let _ = writeln!(
                wrong,
                "{}: {middle:.0}, the bound is {bound:.0}",
                scenario.name
            );
        } else if middle < bound * (1.0 - TOLERANCE) {
            println!(
                "{} got cheaper: bounds.toml can say {middle:.0}",
                scenario.name
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "more than {:.0} % more instructions per transaction than tests/instructions/bounds.toml allows:\n{wrong}",
        TOLERANCE * 100.0
    );
}

/// Counts of each scenario, so many times.
async fn count_all(programs: &Programs, runs: usize) -> Result<BTreeMap<&'static str, Vec<f64>>> {
    let cluster = Cluster::builder()
        .fast(true)
        .replicas(0)
        .hba_line("host all all 127.0.0.1/32 trust")
        .start()
        .await?;
    let table =
        "CREATE TABLE counted AS SELECT n AS id, n AS balance FROM generate_series(1, 1000) n";
    cluster.primary().sql(table).await?;
    cluster
        .primary()
        .sql("CREATE INDEX ON counted (id)")
        .await?;
    cluster.primary().sql("VACUUM ANALYZE").await?;
    let mut counts: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for _ in 0..runs {
        for pooling in [Pooling::Session, Pooling::Transaction] {
            let counted = Counted::start(programs, &cluster, pooling).await?;
            let of_pooling = |scenario: &&Scenario| scenario.pooling == pooling;
            for scenario in SCENARIOS.iter().filter(of_pooling) {
                let count = scenario.count(&counted).context(scenario.name)?;
                counts.entry(scenario.name).or_default().push(count);
            }
        }
    }
    cluster.stop().await?;
    Ok(counts)
}

/// What a scenario may take.
fn bound(name: &str) -> Option<f64> {
    let bounds: toml::Table = include_str!("bounds.toml").parse().ok()?;
    let bound = bounds.get(name)?;
    bound.as_integer().map(|bound| bound as f64)
}

fn middle(counts: &[f64]) -> f64 {
    let mut sorted = counts.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Two runs of the same program differ by much less.
const TOLERANCE: f64 = 0.03;
