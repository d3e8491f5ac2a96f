//! Runs a scenario: the contenders take turns in every round, so that a slow moment hits all of them,
//! and the middle of the rounds counts.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::clients::{RawClient, crowd};
use crate::contenders::Front;
use crate::load::{self, Sample};
use crate::measure::{cpu_time, family, median, memory};
use crate::options::Options;
use crate::reloads::Reloads;
use crate::results::{Figures, Measured, today};
use crate::scenarios::{Scenario, Work};
use crate::stage::Stage;

/// Starts the contenders of a scenario, lets them take turns, and stops them.
///
/// # Errors
/// A contender does not start, or fails.
pub(crate) async fn run(
    stage: &Stage,
    options: &Options,
    scenario: &Scenario,
    rounds: usize,
) -> Result<Measured> {
    let mut fronts = Vec::new();
    for contender in &scenario.contenders {
        let clients = scenario.work.clients();
        let front = contender.start(stage, clients).await;
        fronts.push(front.with_context(|| format!("{}: {}", scenario.name, contender.name()))?);
    }
    let mut samples = vec![Vec::new(); fronts.len()];
    let mut idle = 0;
    for round in 1..=rounds {
        for (front, samples) in fronts.iter().zip(&mut samples) {
            let (sample, crowd) = once(&scenario.work, front, options)
                .with_context(|| format!("{}: {}", scenario.name, front.name))?;
            idle = crowd;
            println!(
                "round {round} {:24} {:24} {:10.1}/s {:10.1} us cpu",
                scenario.name, front.name, sample.tps, sample.cpu_us
            );
            samples.push(sample);
        }
    }
    let results = fronts.iter().zip(&samples);
    let results = results.map(|(front, samples)| (front.name.clone(), figures(samples)));
    Ok(Measured {
        made: today()?,
        rounds,
        seconds: options.seconds,
        idle,
        order: fronts.iter().map(|front| front.name.clone()).collect(),
        results: results.collect(),
    })
}

/// One contender's turn, and how many idle clients there were.
fn once(work: &Work, front: &Front, options: &Options) -> Result<(Sample, usize)> {
    let (port, pid) = (front.port, front.pid());
    match work {
        Work::Bench(load) => {
            let sample = load::run(load, port, pid, options.seconds, &front.dir)?;
            Ok((sample, 0))
        }
        Work::AmongIdle(load, count) => {
            let idle = crowd(port, *count)?;
            let sample = load::run(load, port, pid, options.seconds, &front.dir)?;
            let count = idle.len();
            for client in idle {
                client.close();
            }
            Ok((sample, count))
        }
        Work::AmongReloads(load, per_second) => {
            let reloads = Reloads::start(front, *per_second)?;
            let sample = load::run(load, port, pid, options.seconds, &front.dir);
            reloads.stop()?;
            Ok((sample?, 0))
        }
        Work::CopyOut => {
            let mut client = RawClient::connect(port)?;
            let sample = timed(pid, || {
                client.query("COPY copied TO STDOUT")?;
                Ok(())
            });
            client.close();
            Ok((sample?, 0))
        }
        Work::CopyIn => {
            let mut client = RawClient::connect(port)?;
            client.query("CREATE UNLOGGED TABLE IF NOT EXISTS copied_in (body text)")?;
            client.query("TRUNCATE copied_in")?;
            let row = [vec![b'y'; 1000], vec![b'\n']].concat();
            let sample = timed(pid, || {
                client.copy_in("COPY copied_in FROM STDIN", &row, 100_000)
            });
            client.close();
            Ok((sample?, 0))
        }
    }
}

/// Moves the bytes of a COPY; "transactions" are copies.
fn timed(pid: Option<u32>, work: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let pids = pid.map(family).unwrap_or_default();
    let (start, before) = (Instant::now(), cpu_time(&pids));
    work()?;
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu_time(&pids));
    Ok(Sample {
        tps: 1.0 / seconds,
        cpu_us: (after - before).as_secs_f64() * 1e6,
        memory: memory(&pids)?,
    })
}

fn figures(samples: &[Sample]) -> Figures {
    let all = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
    let tps = all(|sample| sample.tps);
    let least = tps.iter().copied().fold(f64::INFINITY, f64::min);
    let most = tps.iter().copied().fold(0.0, f64::max);
    Figures {
        tps: median(&tps),
        tps_least: least,
        tps_most: most,
        cpu_us: median(&all(|sample| sample.cpu_us)),
        memory: median(&all(|sample| sample.memory as f64)),
    }
}

impl Work {
    /// Clients at one time.
    fn clients(&self) -> usize {
        match self {
            Self::Bench(load) | Self::AmongReloads(load, _) => load.clients,
            Self::AmongIdle(load, idle) => load.clients + idle,
            Self::CopyOut | Self::CopyIn => 1,
        }
    }
}
