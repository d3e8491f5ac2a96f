//! Random programs at the level of messages, directly at the primary and through the proxy in every
//! pool mode, with reads balanced over replicas: the same messages with the same bodies, but for a
//! few exceptions that `compare.rs` lists.
//!
//! A case is known by its seed: `PGSTEER_FUZZ_SEED=17` runs it alone (in all modes), and what
//! differs is made small before it is shown. `PGSTEER_FUZZ_MINUTES` is for the long form. To look past
//! what is known already, `PGSTEER_FUZZ_WITHOUT='lastval|Neither'` leaves out messages.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes the helpers of tests for production code; seeds are shown"
)]

mod case;
mod compare;
mod conversation;
mod generate;
mod message;
mod random;
mod setup;
mod shrink;
mod support;
mod texts;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};

use case::Mode;
use setup::Stage;
use support::{Options, Running, cluster};

/// Cases of the short form, in each mode, always the same.
const FIXED: u64 = 35;
/// Differences shown at most.
const SHOWN: usize = 3;

fn proxy(mode: Mode) -> Running {
    // Each client may keep one, and one listens for all.
    let pool = match mode {
        Mode::Session => "mode = \"session\"\nconnections_per_node_max = 5",
        Mode::Transaction => "mode = \"transaction\"\nconnections_per_node_max = 5",
        Mode::Statement => "mode = \"statement\"\nconnections_per_node_max = 5",
        Mode::Crowd => "mode = \"transaction\"\nconnections_per_node_max = 2",
    };
    let (listen, weights) = match mode {
        // Who waits for a connection of one node while it has one of another may wait for ever.
        Mode::Crowd => ("workers = 2", [1, 0, 0]),
        _ => ("workers = 1", [0, 1, 1]),
    };
    let options = Options {
        pool,
        listen,
        ..Options::weights(weights)
    };
    options.start()
}

/// Runs cases until there are no more, or too many differ.
/// Only of programs that nobody has seen before some may end PostgreSQL itself.
fn run(name: &str, mode: Mode, seeds: impl Iterator<Item = u64>, is_new: bool) -> Result<()> {
    let stage = Stage::new(cluster(), name)?;
    let proxy = proxy(mode);
    let mut failures = Vec::new();
    let shown = number("PGSTEER_FUZZ_SHOWN").map_or(SHOWN, |n| usize::try_from(n).unwrap_or(SHOWN));
    for seed in seeds {
        let case = generate::case(seed, mode);
        if let Some(found) = case.difference(&stage, proxy.port())? {
            if let Some(why) = compare::known(&found) {
                println!("{mode:?}: seed {seed} differs as is known: {why}");
                continue;
            }
            println!("{mode:?}: seed {seed} differs");
            let (case, found) = shrink::smallest(case, found, &stage, proxy.port())?;
            println!("{}{found}", case.shown());
            failures.push(seed);
            if failures.len() >= shown {
                break;
            }
        }
    }
    let crashes = stage.crashes.get();
    ensure!(
        is_new || crashes == 0,
        "{crashes} programs were not compared"
    );
    ensure!(
        failures.is_empty(),
        "{mode:?}: seeds {failures:?} differ from direct connections, see above
{}",
        compare::exceptions()
    );
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn moment() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()) | now.as_secs() << 30)
}

/// One seed if it is given, else the usual ones.
fn short(name: &str, mode: Mode) -> Result<()> {
    if let Some(seed) = number("PGSTEER_FUZZ_SEED") {
        return run(name, mode, std::iter::once(seed), true);
    }
    let from = number("PGSTEER_FUZZ_FROM").unwrap_or(0);
    let count = number("PGSTEER_FUZZ_CASES").unwrap_or(FIXED);
    run(name, mode, from..from + count, false)
}

#[test]
fn in_session_mode() -> Result<()> {
    short("fuzz_session", Mode::Session)
}

#[test]
fn in_transaction_mode() -> Result<()> {
    short("fuzz_transaction", Mode::Transaction)
}

#[test]
fn in_statement_mode() -> Result<()> {
    short("fuzz_statement", Mode::Statement)
}

#[test]
fn in_transaction_mode_in_a_crowd() -> Result<()> {
    short("fuzz_crowd", Mode::Crowd)
}

/// What `make fuzz` runs, with seeds of its own each time.
#[test]
#[ignore = "takes PGSTEER_FUZZ_MINUTES (10), and is for `make fuzz`"]
fn the_long_form() -> Result<()> {
    let minutes = number("PGSTEER_FUZZ_MINUTES").unwrap_or(10);
    let modes = [
        Mode::Session,
        Mode::Transaction,
        Mode::Statement,
        Mode::Crowd,
    ];
    let share = Duration::from_secs(minutes * 60) / 4;
    for mode in modes {
        let end = Instant::now() + share;
        let name = format!("long_{mode:?}").to_lowercase();
        let mut count = 0_u64;
        let seeds = std::iter::from_fn(|| {
            count += 1;
            (Instant::now() < end).then(moment)
        });
        run(&name, mode, seeds, true)?;
        println!("{mode:?}: {count} cases");
    }
    Ok(())
}
