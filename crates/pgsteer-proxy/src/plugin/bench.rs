//! `pgsteer plugin bench`: how long a plugin takes to answer, through the same interface and with
//! the same code of the host as in the proxy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pgsteer_core::policy::{Event, Hooks, LoadedPlugin, PluginSource, Policy, Sample};
use pgsteer_plugin_host::Options;
use serde_json::{Value, json};

use super::args::BenchArgs;
use super::run::question;
use super::{Report, compile, shown, source};
use crate::embedded::FLOOR_PLUGIN;

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<Report> {
    let source = source::read(&args.plugin)?;
    let sample = question(&args.sql, &args.moment).sample(&source.name);
    let time = Duration::from_millis(args.time);
    let mut plugin = Subject::load(&source)?;
    let mut floor = Subject::load(&floor(&source))?;
    let floor = floor.measure(Hook::Decide, &sample, time / 2)?;
    let hooks = [Hook::Decide, Hook::Rewrite, Hook::Admit, Hook::Observe];
    let mut measured = Vec::new();
    for hook in hooks {
        if plugin.hooks.has(hook.hook()) {
            measured.push((hook, plugin.measure(hook, &sample, time)?));
        }
    }
    if measured.is_empty() {
        bail!("{}.wasm has no hook that can be measured", source.name);
    }
    Ok(report(&args.sql, floor, &measured))
}

/// The plugin that does the least, with the limits of the one that is compared with it.
fn floor(source: &PluginSource) -> PluginSource {
    PluginSource {
        name: "floor".to_owned(),
        bytes: FLOOR_PLUGIN.into(),
        sha256: String::new(),
        config: "{}".to_owned(),
        ..source.clone()
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Decide,
    Rewrite,
    Admit,
    Observe,
}

impl Hook {
    fn hook(self) -> Hooks {
        match self {
            Self::Decide => Hooks::ROUTER,
            Self::Rewrite => Hooks::REWRITER,
            Self::Admit => Hooks::SESSION,
            Self::Observe => Hooks::OBSERVER,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Rewrite => "rewrite",
            Self::Admit => "admit",
            Self::Observe => "observe",
        }
    }
}

/// A loaded plugin and the instance that is asked.
struct Subject {
    hooks: Hooks,
    loaded: LoadedPlugin,
}

impl Subject {
    fn load(source: &PluginSource) -> Result<Self> {
        let loaded = source::quietly(|| compile::load(&Options::default(), source))?;
        Ok(Self {
            hooks: loaded.hooks,
            loaded,
        })
    }

    fn measure(&mut self, hook: Hook, sample: &Sample, time: Duration) -> Result<Figures> {
        let mut policy = self.loaded.instances.pop();
        let mut instance = match policy.take() {
            Some(instance) => instance,
            None => self.loaded.factory.instantiate()?,
        };
        let figures = measure(&mut *instance, hook, sample, time);
        figures.with_context(|| format!("it failed while {} was measured", hook.name()))
    }
}

/// Nanoseconds for one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    half: f64,
    ninety_nine: f64,
    calls: usize,
}

impl Figures {
    fn new(mut nanoseconds: Vec<u64>, per: f64) -> Self {
        nanoseconds.sort_unstable();
        let at = |share: usize| {
            let index = nanoseconds.len().saturating_sub(1) * share / 100;
            nanoseconds.get(index).map_or(0.0, |ns| *ns as f64 / per)
        };
        Self {
            half: at(50),
            ninety_nine: at(99),
            calls: nanoseconds.len(),
        }
    }
}

/// Calls before the first that counts, and those whose times are kept at most.
const WARM_UP_CALLS: usize = 1_000;
const CALLS_MAX: usize = 2_000_000;

fn measure(
    policy: &mut dyn Policy,
    hook: Hook,
    sample: &Sample,
    time: Duration,
) -> Result<Figures> {
    let (mut settings, mut values) = (Vec::new(), Vec::new());
    let session = sample.session(&mut settings);
    match hook {
        Hook::Decide => {
            let class = policy.open(&session)?.class;
            let statement = sample.statement("", class, &mut values);
            timed(time, 1.0, || policy.decide(&statement).map(drop))
        }
        Hook::Rewrite => {
            let class = policy.open_rewriter(&session)?;
            let statement = sample.statement("", class, &mut values);
            timed(time, 1.0, || policy.rewrite(&statement).map(drop))
        }
        Hook::Admit => timed(time, 1.0, || policy.admit(&session).map(drop)),
        Hook::Observe => {
            let events = vec![event(sample); EVENTS];
            timed(time, EVENTS as f64, || policy.observe(&events, 0))
        }
    }
}

/// Events that an observer is told at once.
const EVENTS: usize = 64;

fn event(sample: &Sample) -> Event<'_> {
    Event {
        session: 1,
        user: &sample.user,
        database: &sample.database,
        fingerprint: sample.fingerprint,
        class: sample.class,
        traits: sample.traits,
        node: None,
        rows: 1,
        bytes: 100,
        microseconds: 250,
        error: None,
    }
}

/// Times calls one by one, without what looking at the clock takes.
fn timed<E: std::error::Error + Send + Sync + 'static>(
    time: Duration,
    per: f64,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<Figures> {
    for _ in 0..WARM_UP_CALLS {
        call()?;
    }
    let looking = clock_cost();
    let mut nanoseconds = Vec::new();
    let end = Instant::now() + time;
    loop {
        let start = Instant::now();
        call()?;
        let stop = Instant::now();
        let took = u64::try_from((stop - start).as_nanos()).unwrap_or(u64::MAX);
        nanoseconds.push(took.saturating_sub(looking));
        if stop >= end || nanoseconds.len() >= CALLS_MAX {
            return Ok(Figures::new(nanoseconds, per));
        }
    }
}

/// Nanoseconds between two looks at the clock.
fn clock_cost() -> u64 {
    let pairs = (0..WARM_UP_CALLS).map(|_| {
        let start = Instant::now();
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    });
    let mut pairs: Vec<u64> = pairs.collect();
    pairs.sort_unstable();
    pairs.get(WARM_UP_CALLS / 2).copied().unwrap_or_default()
}

fn report(sql: &str, floor: Figures, measured: &[(Hook, Figures)]) -> Report {
    let texts = |row: [&str; 5]| row.map(str::to_owned).to_vec();
    let mut rows = vec![texts(["hook", "p50", "p99", "calls", "floor"])];
    let mut hooks = serde_json::Map::new();
    for (hook, figures) in measured {
        let nanoseconds = |ns: f64| format!("{ns:.0} ns");
        // An event is a part of a call: there is no floor for it.
        let share = match hook {
            Hook::Observe => String::new(),
            _ => shown::share(floor.half.min(figures.half), figures.half),
        };
        rows.push(vec![
            hook.name().to_owned(),
            nanoseconds(figures.half),
            nanoseconds(figures.ninety_nine),
            shown::count(figures.calls as u64),
            share,
        ]);
        hooks.insert(hook.name().to_owned(), figures_json(*figures));
    }
    let mut text = shown::table(&rows);
    text.push_str(&format!(
        "\n\nasked about: {sql}\nfloor: {:.0} ns, what a router takes that says the same to everything\n\
         remembered answers do not reach the plugin and cost some nanoseconds",
        floor.half
    ));
    if measured.iter().any(|(hook, _)| *hook == Hook::Observe) {
        text.push_str(&format!("\nobserve: for each of {EVENTS} events"));
    }
    if cfg!(debug_assertions) {
        text.push_str("\nnote: this pgsteer was built without optimisation; its part is slower");
    }
    let json = json!({ "sql": sql, "floor": figures_json(floor), "hooks": Value::Object(hooks) });
    Report::good(text, json)
}

fn figures_json(figures: Figures) -> Value {
    json!({
        "p50_ns": figures.half,
        "p99_ns": figures.ninety_nine,
        "calls": figures.calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_quantiles() {
        let figures = Figures::new((1..=100).rev().collect(), 1.0);
        assert_eq!((figures.half, figures.ninety_nine), (50.0, 99.0));
        assert_eq!(figures.calls, 100);
        let none = Figures::new(Vec::new(), 1.0);
        assert_eq!(none.half, 0.0);
    }

    #[test]
    fn a_report_has_a_line_for_each_hook() {
        let figures = |half| Figures {
            half,
            ninety_nine: 2.0 * half,
            calls: 1_000,
        };
        let measured = [
            (Hook::Decide, figures(400.0)),
            (Hook::Observe, figures(30.0)),
        ];
        let report = report("SELECT 1", figures(100.0), &measured);
        assert!(
            report.text.contains("decide   400 ns  800 ns  1,000  25%"),
            "{}",
            report.text
        );
        assert!(report.text.contains("observe  30 ns"), "{}", report.text);
        assert_eq!(report.json["hooks"]["decide"]["p50_ns"], 400.0);
    }
}
