//! A program is what one session sends, step by step; a run is what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::lab::{Frame, Lab, Login, Wire, msg};
use crate::log::{self, How};

/// What is sent up to one ReadyForQuery.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A string of the simple protocol.
    Query(String),
    /// Messages of the extended protocol and a Sync.
    Batch(Vec<Part>),
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Parse of a statement with a name.
    Parse(&'static str, String),
    /// Bind and Execute of a statement with a name, in a portal of its own.
    Run(&'static str),
    /// All of an unnamed statement.
    Whole(String),
}

/// One session. Where a statement says `{m}` it gets its mark, at its end otherwise. `{n}` becomes a
/// number no other run has, for names that must not be met again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// What it is called in messages.
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) application_name: Option<&'static str>,
}

impl Program {
    /// Each statement as a string of the simple protocol.
    pub(crate) fn simple(statements: &[&str]) -> Self {
        let steps = statements.iter().map(|sql| Step::Query((*sql).to_owned()));
        Self {
            steps: steps.collect(),
            ..Self::default()
        }
    }

    /// Each statement unnamed and with a Sync of its own.
    pub(crate) fn extended(statements: &[&str]) -> Self {
        let whole = |sql: &&str| Step::Batch(vec![Part::Whole((*sql).to_owned())]);
        Self {
            steps: statements.iter().map(whole).collect(),
            ..Self::default()
        }
    }

    /// What a unit, a query or a part, is called in messages. Units are numbered over all steps.
    pub(crate) fn units(&self) -> Vec<String> {
        let part = |part: &Part| match part {
            Part::Parse(name, sql) => format!("[Parse {name}] {sql}"),
            Part::Run(name) => format!("[Run {name}]"),
            Part::Whole(sql) => format!("[extended] {sql}"),
        };
        let units = self.steps.iter().flat_map(|step| match step {
            Step::Query(sql) => vec![sql.clone()],
            Step::Batch(parts) => parts.iter().map(part).collect(),
        });
        units.collect()
    }
}

/// What a client saw of a unit, and where the servers say it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Command tag or SQLSTATE; `end` when the session ended, `skipped` after an error in a batch.
    pub(crate) outcome: String,
    /// Transaction state the client was told after its step.
    pub(crate) state: char,
    pub(crate) nodes: BTreeSet<usize>,
}

impl Seen {
    /// A SQLSTATE has a digit, a command tag without its counts has none.
    pub(crate) fn failed(&self) -> bool {
        self.outcome.contains(|c: char| c.is_ascii_digit()) || self.state == 'X'
    }
}

/// What was sent and seen, before the logs are read.
pub(crate) struct Run {
    number: usize,
    seen: Vec<Seen>,
    /// Units that are Parse messages.
    parses: Vec<bool>,
}

/// Sends `program` to a port and reads all answers.
pub(crate) fn run(lab: &Lab, port: u16, program: &Program, knows_catalogs: bool) -> Run {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut run = Run {
        number,
        seen: Vec::new(),
        parses: Vec::new(),
    };
    let mut wire = Wire::open(port);
    let names = program
        .application_name
        .map(|name| ("application_name", name));
    let login = Login {
        parameters: names.as_slice(),
        ..Login::default()
    };
    let refused = wire.log_in(&login, lab.database);
    assert_eq!(refused, None, "logging in with {}", lab.shown);
    // Until it knows what names mean, pgsteer takes statements with names for writes.
    let mut watcher = knows_catalogs.then(|| Wire::connect(port, lab.database));
    for step in &program.steps {
        let is_outside = run.seen.last().is_none_or(|seen| seen.state == 'I');
        if let Some(watcher) = watcher.as_mut().filter(|_| is_outside) {
            watcher.wait_for_catalog();
        }
        let alive = match step {
            Step::Query(sql) => run.query(&mut wire, sql),
            Step::Batch(parts) => run.batch(&mut wire, parts),
        };
        if !alive {
            break;
        }
    }
    wire.send(&msg::terminate());
    run
}

impl Run {
    fn marked(&self, sql: &str, unit: usize) -> String {
        let mark = format!("/*m{}.{unit}*/", self.number);
        let sql = sql.replace("{n}", &self.number.to_string());
        if sql.contains("{m}") {
            sql.replace("{m}", &mark)
        } else {
            format!("{sql} {mark}")
        }
    }

    /// False when the session has ended.
    fn query(&mut self, wire: &mut Wire, sql: &str) -> bool {
        wire.send(&msg::query(&self.marked(sql, self.seen.len())));
        let (frames, state) = answers(wire, b"");
        let outcome = frames.iter().filter_map(outcome_of).collect::<Vec<_>>();
        self.parses.push(false);
        self.seen.push(Seen {
            outcome: if state == 'X' {
                "end".to_owned()
            } else {
                outcome.join(" ")
            },
            state,
            nodes: BTreeSet::new(),
        });
        state != 'X'
    }

    fn batch(&mut self, wire: &mut Wire, parts: &[Part]) -> bool {
        let first = self.seen.len();
        let mut bytes = Vec::new();
        for (unit, part) in (first..).zip(parts) {
            bytes.extend(match part {
                Part::Parse(name, sql) => msg::parse(name, &self.marked(sql, unit)),
                Part::Run(name) => {
                    let portal = self.portal(unit);
                    [msg::bind(&portal, name, &[]), msg::execute(&portal, 0)].concat()
                }
                Part::Whole(sql) => msg::statement(&self.marked(sql, unit), &[]),
            });
            self.parses.push(matches!(part, Part::Parse(..)));
        }
        // A server that waits for data takes a Sync for nothing: it comes after the data.
        let copies = |part: &Part| matches!(part, Part::Whole(sql) if sql.contains("FROM STDIN"));
        let after_copy = if parts.iter().any(copies) {
            bytes.extend(msg::flush());
            wire.send(&bytes);
            msg::sync()
        } else {
            bytes.extend(msg::sync());
            wire.send(&bytes);
            Vec::new()
        };
        let (frames, state) = answers(wire, &after_copy);
        let mut frames = frames.iter();
        let mut failed = None;
        for part in parts {
            let ends: &[u8] = if matches!(part, Part::Parse(..)) {
                b"1E"
            } else {
                b"CIsE"
            };
            let end = frames.by_ref().find(|frame| ends.contains(&frame.tag));
            let outcome = match (&failed, end) {
                (Some(_), _) => "skipped".to_owned(),
                (None, Some(end)) => outcome_of(end).unwrap_or_default(),
                (None, None) => "end".to_owned(),
            };
            failed = failed.or(end.filter(|end| end.tag == b'E'));
            self.seen.push(Seen {
                outcome,
                state,
                nodes: BTreeSet::new(),
            });
        }
        state != 'X'
    }

    fn portal(&self, unit: usize) -> String {
        format!("portal{}_{unit}", self.number)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        (0..self.seen.len()).flat_map(|unit| [format!("{}.{unit}", self.number), self.portal(unit)])
    }
}

/// Everything up to ReadyForQuery, and its state; `X` if it did not come. A COPY gets one row, and
/// `then` is sent after it or after an error that came instead.
fn answers(wire: &mut Wire, then: &[u8]) -> (Vec<Frame>, char) {
    let mut frames = Vec::new();
    let mut then = Some(then);
    while let Ok(frame) = wire.read() {
        match frame.tag {
            b'G' => {
                wire.send(&[msg::copy_data(b"1\n"), msg::copy_done()].concat());
                wire.send(then.take().unwrap_or_default());
            }
            b'E' => wire.send(then.take().unwrap_or_default()),
            b'Z' => {
                let state = frame.body.first().copied().map_or('X', char::from);
                return (frames, state);
            }
            _ => {}
        }
        frames.push(frame);
    }
    (frames, 'X')
}

fn outcome_of(frame: &Frame) -> Option<String> {
    match frame.tag {
        b'E' => Some(frame.error().0),
        // Without row counts: a table is not the same for whoever comes second.
        b'C' => {
            let tag = String::from_utf8_lossy(&frame.body);
            let tag = tag.trim_end_matches(|c: char| c.is_ascii_digit() || " \0".contains(c));
            Some(tag.to_owned())
        }
        b'I' => Some("empty".to_owned()),
        b'1' => Some("parsed".to_owned()),
        _ => None,
    }
}

/// Reads the logs and fills in the nodes of all runs.
pub(crate) fn locate(runs: Vec<Vec<Run>>) -> Result<Vec<Vec<Vec<Seen>>>> {
    let names: Vec<String> = runs.iter().flatten().flat_map(Run::names).collect();
    let sightings = log::sightings(&names)?;
    let all = runs.into_iter();
    Ok(all
        .map(|runs| {
            runs.into_iter()
                .map(|run| run.located(&sightings))
                .collect()
        })
        .collect())
}

impl Run {
    fn located(mut self, sightings: &BTreeMap<String, Vec<(usize, How)>>) -> Vec<Seen> {
        for unit in 0..self.seen.len() {
            let nodes_of = |name: String, wanted: &[How]| {
                let all = sightings.get(&name).into_iter().flatten();
                let matching = all.filter(|(_, how)| wanted.contains(how));
                matching.map(|(node, _)| *node).collect::<BTreeSet<_>>()
            };
            let how = if self.parses[unit] {
                How::Parsed
            } else {
                How::Ran
            };
            let mut nodes = nodes_of(format!("{}.{unit}", self.number), &[how, How::Failed]);
            nodes.extend(nodes_of(self.portal(unit), &[How::Ran]));
            self.seen[unit].nodes = nodes;
        }
        self.seen
    }
}

/// The nodes of a statement as digits.
pub(crate) fn nodes(seen: &Seen) -> String {
    seen.nodes.iter().map(usize::to_string).collect()
}
