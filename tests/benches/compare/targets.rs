//! What pgsteer wants to reach, and what it reached in this run.

use std::fmt::Write as _;

use crate::results::Results;

/// A ratio or a size, and its bound.
struct Target {
    what: &'static str,
    bound: Bound,
    measured: Option<f64>,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}
use Bound::{AtLeast, AtMost};

/// The table of targets.
pub(crate) fn table(results: &Results) -> String {
    let mut text = "## Targets\n\n| what | target | measured | |\n|---|---|---:|---|\n".to_owned();
    for target in throughput(results).into_iter().chain(costs(results)) {
        let (relation, bound) = match target.bound {
            AtLeast(bound) => ("at least", bound),
            AtMost(bound) => ("at most", bound),
        };
        let (shown, met) = match target.measured {
            None => ("not measured".to_owned(), ""),
            Some(value) => {
                let is_met = match target.bound {
                    AtLeast(bound) => value >= bound,
                    AtMost(bound) => value <= bound,
                };
                let met = if is_met { "met" } else { "**not met**" };
                (format!("{value:.2}"), met)
            }
        };
        let what = target.what;
        let _ = writeln!(text, "| {what} | {relation} {bound} | {shown} | {met} |");
    }
    text += "\nWhere a target is missed, [profile.md](profile.md) says where the time goes and what was tried.\n\n";
    text
}

fn row(what: &'static str, bound: Bound, measured: Option<f64>) -> Target {
    Target {
        what,
        bound,
        measured,
    }
}

fn throughput(results: &Results) -> Vec<Target> {
    let tps = |scenario: &str, who| Some(results.of(scenario, who)?.tps);
    let against = |scenario: &str, other| Some(tps(scenario, "pgsteer")? / tps(scenario, other)?);
    let latency = |who| Some(1.0 / tps("select-simple-1", who)?);
    let added = |who| Some(latency(who)? - latency("direct")?);
    let added = || Some(added("pgsteer")? / added("pgbouncer")?);
    vec![
        row(
            "throughput against PgBouncer, 32 clients, simple",
            AtLeast(1.0),
            against(SIMPLE, "pgbouncer"),
        ),
        row(
            "the same, prepared",
            AtLeast(1.1),
            against(PREPARED, "pgbouncer"),
        ),
        row(
            "throughput against Pgpool-II, 32 clients, simple",
            AtLeast(3.0),
            against(SIMPLE, "pgpool"),
        ),
        row(
            "the same, prepared",
            AtLeast(3.0),
            against(PREPARED, "pgpool"),
        ),
        row(
            "latency added for one client, against what PgBouncer adds",
            AtMost(1.0),
            added(),
        ),
    ]
}

fn costs(results: &Results) -> Vec<Target> {
    let cpu = |scenario: &str, who| Some(results.of(scenario, who)?.cpu_us);
    let against = |scenario: &str, other| Some(cpu(scenario, "pgsteer")? / cpu(scenario, other)?);
    let built_in = cpu("routing", "pgsteer built-in, remembered");
    let smallest = cpu("routing", "pgsteer smallest, remembered");
    let idle = results.memory.costs.get("idle client");
    vec![
        row(
            "CPU per transaction against PgBouncer, 32 clients, simple",
            AtMost(1.0),
            against(SIMPLE, "pgbouncer"),
        ),
        row(
            "the same, prepared",
            AtMost(1.0),
            against(PREPARED, "pgbouncer"),
        ),
        row(
            "CPU of the built-in router, remembered, against the smallest component",
            AtMost(1.03),
            built_in.zip(smallest).map(|(a, b)| a / b),
        ),
        row(
            "100 MB COPY out, CPU per GB against HAProxy",
            AtMost(1.2),
            against("copy-out", "haproxy"),
        ),
        row(
            "memory of an idle client, in KiB",
            AtMost(4.0),
            idle.map(|cost| cost.bytes / 1024.0),
        ),
    ]
}

const SIMPLE: &str = "select-simple-32";
const PREPARED: &str = "select-prepared-32";
