//! Compares pgsteer with a direct connection, HAProxy (tcp), PgBouncer and Pgpool-II on one cluster, and
//! measures what pgsteer needs: time, memory, system calls, and how the cost grows.
//!
//! `make bench` runs all of it and writes `docs/performance.md` with its plots, and the figures as JSON
//! beside it. `make bench ARGS="--only select --rounds 3"` runs a part; what is not run keeps the figures
//! of the last time.
//!
//! Reading order: `scenarios` (what is measured), `stage` and `contenders` (on what), `load` and `measure`
//! (how), `results` (what is kept), `report` and `plot` (what is shown).

#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints, and clippy takes the helpers of tests for production code"
)]

mod clients;
mod compare;
mod components;
mod contenders;
mod curves;
mod load;
mod measure;
mod memory;
mod options;
mod pictures;
mod plot;
mod reloads;
mod report;
mod results;
mod scaling;
mod scenarios;
mod stage;
mod syscalls;
mod tables;
mod targets;

use anyhow::Result;
use options::Options;
use results::Results;
use stage::Stage;

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.list {
        for name in scenarios::names() {
            println!("{name}");
        }
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let before = Results::read(&options.json())?;
    let results = runtime.block_on(measure_all(&options, before.clone()))?;
    results.write(&options.json())?;
    report::write(&results, &options.output)?;
    println!("written to {}", options.output.display());
    for line in results.changes(&before) {
        println!("{line}");
    }
    Ok(())
}

/// Runs what was asked for, one after the other, and puts it in place of the old figures.
async fn measure_all(options: &Options, mut results: Results) -> Result<Results> {
    if options.note.is_some() || !options.render_only {
        results.note = options.note.clone().unwrap_or_default();
    }
    if options.render_only {
        return Ok(results);
    }
    println!("starting a primary and two streaming replicas");
    let stage = Stage::start(options).await?;
    results.site = stage.site().await?;
    for scenario in scenarios::all() {
        if options.wants(&scenario.name) {
            let found = compare::run(&stage, options, &scenario, options.rounds).await?;
            results.scenarios.insert(scenario.name, found);
            results.write(&options.json())?;
        }
    }
    if options.wants("syscalls") {
        results.syscalls = syscalls::run(&stage).await?;
    }
    if options.wants("memory") {
        results.memory = memory::run(&stage).await?;
    }
    for (name, curve) in curves::ALL {
        if options.wants(name) {
            let found = curve(&stage, options).await?;
            results.curves.insert((*name).to_owned(), found);
            results.write(&options.json())?;
        }
    }
    stage.stop().await?;
    Ok(results)
}
