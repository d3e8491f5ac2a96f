//! `pgsteer plugin test`: the statements and failovers in cases.toml, and whether the answers are
//! those expected.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use pgsteer_core::Role;
use pgsteer_core::policy::{Grants, Hooks, PluginSource};
use pgsteer_plugin_host::tool::{Specimen, Workbench};
use serde_json::{Value, json};

use super::args::TestArgs;
use super::ask::{self, Said};
use super::build::Package;
use super::cases::{self, Case};
use super::failover::{self, Scenario};
use super::lock::Subject;
use super::question::topology;
use super::{Report, Verdict, lock, shown, source, usage};

/// Runs the command.
pub(crate) fn run(args: &TestArgs) -> Result<Report> {
    let Place { component, cases } = Place::find(args)?;
    let source = source::read_files(&component, args.config.as_deref())?;
    let shown = cases.display();
    let text = std::fs::read_to_string(&cases)
        .map_err(|error| usage(format!("{shown}: cannot be read: {error}; {CASES}")))?;
    let all = cases::parse(&text).map_err(|error| usage(format!("{shown}: {error:#}")))?;
    let lock = (!all.cases.is_empty()).then(|| cases.with_extension("lock.json"));
    let subject = Subject {
        file: &source.name,
        config: &source.config,
        grants: source.grants,
    };
    if let Some(lock) = &lock {
        write_lock(lock, &lock::render(&all.cases, subject))?;
    }
    let mut bench = Bench::new(source)?;
    let outcomes: Vec<Outcome> = all.cases.iter().map(|case| bench.try_case(case)).collect();
    let played = all.scenarios.iter().map(|scenario| bench.play(scenario));
    let played = played.collect::<Result<Vec<_>>>()?;
    let mut report = report(&outcomes, &played);
    let note = stale(&args.path, &component);
    report.text.extend(note.map(|note| format!("\n{note}")));
    report.json["lock"] = lock.map(|lock| lock.display().to_string()).into();
    Ok(report)
}

const CASES: &str = "write one with a [[case]] that has name, sql and route, rewrite or admit, or \
    with a [[failover]]";

/// Where everything is.
struct Place {
    component: PathBuf,
    cases: PathBuf,
}

impl Place {
    fn find(args: &TestArgs) -> Result<Self> {
        let path = &args.path;
        let (component, directory) = if path.is_dir() {
            let name = Package::read(path)?.name;
            (path.join(format!("{name}.wasm")), path.clone())
        } else {
            let parent = path.parent().unwrap_or(Path::new("."));
            (path.clone(), parent.to_owned())
        };
        if !component.is_file() {
            return Err(usage(missing(&component, &directory)));
        }
        let usual = || directory.join("cases.toml");
        Ok(Self {
            component,
            cases: args.cases.clone().unwrap_or_else(usual),
        })
    }
}

fn missing(component: &Path, directory: &Path) -> String {
    let component = component.display();
    if directory.join("Cargo.toml").is_file() {
        let directory = directory.display();
        return format!("{component} is not there: run `pgsteer plugin build {directory}` first");
    }
    format!("{component} is not there")
}

/// Leaves the file alone if nothing changed, so that nothing is compiled again.
fn write_lock(path: &Path, text: &str) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Says so if the sources are newer than the component.
fn stale(directory: &Path, component: &Path) -> Option<String> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let built = changed(component)?;
    let sources = std::fs::read_dir(directory.join("src")).ok()?;
    let newest: Option<SystemTime> = sources.flatten().filter_map(|e| changed(&e.path())).max();
    let is_stale = newest.is_some_and(|newest| newest > built);
    is_stale.then(|| {
        let (directory, component) = (directory.display(), component.display());
        format!(
            "note: {directory}/src is newer than {component}; run `pgsteer plugin build {directory}`"
        )
    })
}

/// A plugin that is asked case by case, each with a fresh instance.
struct Bench {
    source: PluginSource,
    workbench: Workbench,
    loaded: Vec<Loaded>,
}

/// The plugin with one configuration, on one topology.
struct Loaded {
    config: String,
    nodes: Vec<(Role, f64)>,
    specimen: Specimen,
}

impl Bench {
    fn new(source: PluginSource) -> Result<Self> {
        Ok(Self {
            source,
            workbench: source::workbench()?,
            loaded: Vec::new(),
        })
    }

    fn try_case(&mut self, case: &Case) -> Outcome {
        let name = self.source.name.clone();
        let specimen = self.specimen(case.config.as_deref(), &case.nodes);
        let (said, differences) = match specimen {
            Ok(specimen) => {
                let said = ask_all(specimen, case, &name);
                let differences = case.expected.differences(&ask::answers(&said));
                (said, differences)
            }
            Err(error) => (Vec::new(), vec![format!("{error:#}")]),
        };
        Outcome {
            name: case.name.clone(),
            sql: case.question.sql.clone(),
            said,
            differences,
        }
    }

    /// Goes through a failover, with one instance from beginning to end.
    fn play(&mut self, scenario: &Scenario) -> Result<failover::Outcome> {
        let specimen = self.specimen(scenario.config.as_deref(), &[])?;
        if !specimen.summary().inspection.hooks.has(Hooks::FAILOVER) {
            let name = &scenario.name;
            bail!("failover \"{name}\": the plugin has no hook `failover`");
        }
        Ok(failover::run(scenario, |crisis| {
            specimen.ask(|policy| policy.remedy(crisis)).answer
        }))
    }

    /// The plugin with this configuration, if not its own, and these nodes.
    fn specimen(&mut self, config: Option<&str>, nodes: &[(Role, f64)]) -> Result<&mut Specimen> {
        let config = config.unwrap_or(&self.source.config).to_owned();
        if self.source.grants.has(Grants::KV) {
            // An engine remembers what plugins keep; a case begins with an empty store.
            self.workbench = source::workbench()?;
            self.loaded.clear();
        }
        let same = |loaded: &Loaded| loaded.config == config && loaded.nodes == nodes;
        let index = match self.loaded.iter().position(same) {
            Some(index) => index,
            None => {
                let source = PluginSource {
                    config: config.clone(),
                    ..self.source.clone()
                };
                let specimen = source::load(&self.workbench, &source, &topology(nodes))?;
                self.loaded.push(Loaded {
                    config,
                    nodes: nodes.to_vec(),
                    specimen,
                });
                self.loaded.len() - 1
            }
        };
        let found = self.loaded.get_mut(index).context("it was loaded")?;
        found.specimen.renew();
        Ok(&mut found.specimen)
    }
}

/// Only what the case is about, as the SDK does it natively.
fn ask_all(specimen: &mut Specimen, case: &Case, file: &str) -> Vec<Said> {
    let (expected, question) = (&case.expected, &case.question);
    let mut said = Vec::new();
    if expected.admit.is_some() {
        said.extend(ask::admit(specimen, question, file));
    }
    if expected.rewrite.is_some() {
        said.extend(ask::rewrite(specimen, question, file));
    }
    if expected.route.is_some() {
        said.extend(ask::decide(specimen, question, file));
    }
    said
}

/// What became of a case.
struct Outcome {
    name: String,
    sql: String,
    said: Vec<Said>,
    differences: Vec<String>,
}

fn report(outcomes: &[Outcome], played: &[failover::Outcome]) -> Report {
    let mut lines = Vec::new();
    for outcome in outcomes {
        let passed = outcome.differences.is_empty();
        let mark = if passed { "ok    " } else { "FAILED" };
        lines.push(format!("{mark}  {}", outcome.name));
        if passed {
            continue;
        }
        if !outcome.sql.is_empty() {
            lines.push(format!("        {}", outcome.sql));
        }
        for difference in &outcome.differences {
            lines.push(format!("        {difference}"));
        }
        let details = outcome.said.iter().flat_map(|said| &said.details);
        lines.extend(details.map(|detail| format!("        ({detail})")));
    }
    for scenario in played {
        let mark = if scenario.is_good() {
            "ok    "
        } else {
            "FAILED"
        };
        lines.push(format!("{mark}  {}", scenario.name));
        let differences = scenario.differences().into_iter();
        lines.extend(differences.map(|difference| format!("        {difference}")));
    }
    let wrong = outcomes
        .iter()
        .filter(|o| !o.differences.is_empty())
        .count();
    let failed = wrong + played.iter().filter(|scenario| !scenario.is_good()).count();
    let total = outcomes.len() + played.len();
    let cases = shown::plural(total, "case");
    lines.push(String::new());
    lines.push(match failed {
        0 => format!("{cases}, all as expected"),
        failed => format!("{cases}, {failed} not as expected"),
    });
    let case = |outcome: &Outcome| {
        json!({
            "name": outcome.name,
            "passed": outcome.differences.is_empty(),
            "differences": outcome.differences,
            "answers": outcome.said.iter().map(|s| s.json.clone()).collect::<Vec<Value>>(),
        })
    };
    Report {
        verdict: Verdict::when(failed == 0),
        text: lines.join("\n"),
        json: json!({
            "cases": outcomes.iter().map(case).collect::<Vec<_>>(),
            "failovers": played.iter().map(failover::Outcome::json).collect::<Vec<_>>(),
            "passed": total - failed,
            "failed": failed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_and_counted() {
        let outcome = |name: &str, differences: &[&str]| Outcome {
            name: name.to_owned(),
            sql: "SELECT 1".to_owned(),
            said: Vec::new(),
            differences: differences.iter().map(|d| (*d).to_owned()).collect(),
        };
        let good = [outcome("a", &[])];
        let fine = report(&good, &[]);
        assert_eq!(fine.verdict, Verdict::Good);
        assert_eq!(fine.text, "ok      a\n\n1 case, all as expected");
        let mixed = report(&[outcome("a", &[]), outcome("b", &["route: no"])], &[]);
        assert_eq!(mixed.verdict, Verdict::Bad);
        assert_eq!(
            mixed.text,
            "ok      a\nFAILED  b\n        SELECT 1\n        route: no\n\n\
             2 cases, 1 not as expected"
        );
        assert_eq!(mixed.json["failed"], 1);
    }

    #[test]
    fn a_component_that_is_not_there_is_to_be_built() {
        let dir = tempfile::tempdir().expect("a directory");
        let reason = || {
            let args = TestArgs {
                path: dir.path().join("x.wasm"),
                cases: None,
                config: None,
            };
            Place::find(&args).err().expect("nothing there").to_string()
        };
        assert!(reason().ends_with("is not there"), "{}", reason());
        std::fs::write(dir.path().join("Cargo.toml"), "").expect("written");
        assert!(reason().contains("pgsteer plugin build"), "{}", reason());
    }
}
