//! How the cost of a statement grows with what grows in practice: texts, nodes, plugins, reloads.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use crate::compare;
use crate::components::{Answer, component};
use crate::contenders::{Contender, Pooling, Settings};
use crate::load::Load;
use crate::options::Options;
use crate::results::{Curve, today};
use crate::scenarios::{Scenario, Work, select};
use crate::stage::Stage;

type Measuring<'a> = Pin<Box<dyn Future<Output = Result<Curve>> + 'a>>;

/// Measures one curve.
pub(crate) type Measure = for<'a> fn(&'a Stage, &'a Options) -> Measuring<'a>;

/// All curves, by the names for `--only`.
pub(crate) const ALL: &[(&str, Measure)] = &[
    ("curve-literals", |stage, options| {
        Box::pin(literals(stage, options))
    }),
    ("curve-shapes", |stage, options| {
        Box::pin(shapes(stage, options))
    }),
    ("curve-nodes", |stage, options| {
        Box::pin(nodes(stage, options))
    }),
    ("curve-plugins", |stage, options| {
        Box::pin(plugins(stage, options))
    }),
    ("curve-reloads", |stage, options| {
        Box::pin(reloads(stage, options))
    }),
];

/// The same statement with other numbers in its text.
async fn literals(stage: &Stage, options: &Options) -> Result<Curve> {
    let script = |count: u32| {
        format!(
            "\\set aid random(1, {count})\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
        )
    };
    texts(stage, options, "different numbers in the text", &script).await
}

/// Statements that differ in more than their literals.
async fn shapes(stage: &Stage, options: &Options) -> Result<Curve> {
    let script = |count: u32| {
        format!(
            "\\set n random(1, {count})\nSELECT abalance AS c:n FROM pgbench_accounts WHERE aid = :n;\n"
        )
    };
    texts(stage, options, "different statements", &script).await
}

async fn texts(
    stage: &Stage,
    options: &Options,
    x: &str,
    script: &dyn Fn(u32) -> String,
) -> Result<Curve> {
    let mut curve = empty(x)?;
    for count in [1, 100, 10_000] {
        let load = Load {
            clients: 32,
            script: Some(script(count)),
            ..Load::default()
        };
        let scenario = Scenario {
            name: format!("{count} {x}"),
            work: Work::Bench(load),
            contenders: vec![
                Contender::PgBouncer(Pooling::Session),
                Contender::Pgsteer(Settings::default()),
            ],
        };
        curve.at.push(f64::from(count));
        add(&mut curve.lines, stage, options, &scenario).await?;
    }
    Ok(curve)
}

/// Nodes the proxy knows; all reads go to the first.
async fn nodes(stage: &Stage, options: &Options) -> Result<Curve> {
    let mut curve = empty("nodes")?;
    for (count, number) in [(1, 1.0), (8, 8.0), (64, 64.0)] {
        let settings = Settings {
            nodes: Some(count),
            ..Settings::default()
        };
        curve.at.push(number);
        add(&mut curve.lines, stage, options, &of("nodes", settings, 32)).await?;
    }
    Ok(curve)
}

/// Plugins in the chain that leave the decision to the built-in router behind them.
async fn plugins(stage: &Stage, options: &Options) -> Result<Curve> {
    let mut curve = empty("plugins in the chain")?;
    for (count, number) in [(1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0)] {
        curve.at.push(number);
        for (label, answer) in [
            ("remembered", Answer::Abstain),
            ("not remembered", Answer::AbstainOnce),
        ] {
            // The built-in router is one of them.
            let components = (1..count).map(|n| component(n + 10, answer)).collect();
            let settings = Settings {
                label: label.to_owned(),
                components,
                ..Settings::default()
            };
            let scenario = of("plugins", settings, 32);
            add(&mut curve.lines, stage, options, &scenario).await?;
        }
    }
    Ok(curve)
}

/// Changes of the configuration while statements run.
async fn reloads(stage: &Stage, options: &Options) -> Result<Curve> {
    let mut curve = empty("reloads per second")?;
    for count in [0, 1, 10, 100] {
        let mut scenario = of("reloads", Settings::default(), 32);
        scenario.work = Work::AmongReloads(select("simple", 32), count);
        curve.at.push(f64::from(count));
        add(&mut curve.lines, stage, options, &scenario).await?;
    }
    Ok(curve)
}

fn of(name: &str, settings: Settings, clients: usize) -> Scenario {
    Scenario {
        name: name.to_owned(),
        work: Work::Bench(select("simple", clients)),
        contenders: vec![Contender::Pgsteer(settings)],
    }
}

fn empty(x: &str) -> Result<Curve> {
    Ok(Curve {
        made: today()?,
        x: x.to_owned(),
        y: "proxy CPU per transaction, µs".to_owned(),
        ..Curve::default()
    })
}

/// Runs a scenario and adds its CPU times to the lines of a curve.
async fn add(
    lines: &mut BTreeMap<String, Vec<f64>>,
    stage: &Stage,
    options: &Options,
    scenario: &Scenario,
) -> Result<()> {
    // Relations within one proxy differ less from round to round than those between two.
    let rounds = options.rounds.min(3);
    let measured = compare::run(stage, options, scenario, rounds).await?;
    for (name, figures) in measured.results {
        lines.entry(name).or_default().push(figures.cpu_us);
    }
    Ok(())
}
