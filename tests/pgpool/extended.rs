//! The extended protocol message by message: a statement is parsed once and run later.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::matrix::SETUP;
use crate::program::{Part, Program, Step, nodes};

const READ: &str = "SELECT i FROM t1";
const WRITE: &str = "INSERT INTO t2 VALUES (1)";

/// In a script, `name: text` is a Parse, `run name` is Bind and Execute, anything else is a whole
/// unnamed statement. Each inner list is sent up to one Sync.
type Script = &'static [&'static [&'static str]];

fn program(script: Script) -> Program {
    let part = |text: &&'static str| {
        if let Some(name) = text.strip_prefix("run ") {
            Part::Run(name)
        } else if let Some((name, sql)) = text.split_once(": ") {
            Part::Parse(name, sql.to_owned())
        } else {
            Part::Whole((*text).to_owned())
        }
    };
    let steps = script
        .iter()
        .map(|parts| Step::Batch(parts.iter().map(part).collect()));
    Program {
        steps: steps.collect(),
        ..Program::default()
    }
}

/// Pgpool-II's own test, with the nodes it expects.
const REFERENCE: Script = &[
    &["BEGIN"],
    &["S1: SELECT 1"],
    &[WRITE],
    &["run S1"],
    &["SELECT 2"],
    &["COMMIT"],
    &["SELECT 3"],
    &["BEGIN"],
    &["run S1"],
    &["SELECT 4"],
    &["COMMIT"],
];

const SCRIPTS: &[Script] = &[
    // Parsed once, run often.
    &[
        &["s: SELECT i FROM t1"],
        &["run s"],
        &["run s"],
        &["BEGIN"],
        &["run s"],
        &["COMMIT"],
        &["run s"],
    ],
    &[
        &["s: INSERT INTO t2 VALUES (1)"],
        &["run s"],
        &["BEGIN"],
        &["run s"],
        &[READ],
        &["COMMIT"],
    ],
    &[&["s: SELECT nextval('sq')"], &["run s"], &[READ]],
    &[&["s: SELECT * FROM pg_class LIMIT 1"], &["run s"]],
    &[&["s: SHOW work_mem"], &["SET work_mem = '5MB'"], &["run s"]],
    // Several Parse messages before the first Bind.
    &[
        &["a: SELECT 1", "b: INSERT INTO t2 VALUES (1)", "c: SELECT 2"],
        &["run c"],
        &["run b"],
        &["run a"],
    ],
    // Parsed before the transaction wrote.
    &[
        &["s: SELECT i FROM t1"],
        &["BEGIN"],
        &[WRITE],
        &["run s"],
        &["COMMIT"],
    ],
    &[
        &["BEGIN"],
        &["s: SELECT i FROM t1"],
        &["run s"],
        &[WRITE],
        &["run s"],
        &["ROLLBACK"],
    ],
    // One batch.
    &[&["s: SELECT 1", "run s"], &["run s"]],
    &[&[READ, "SELECT 2"], &["SELECT 3"]],
    &[&["BEGIN", READ, "COMMIT"], &[READ]],
    &[&["BEGIN", WRITE, READ, "COMMIT"], &[READ]],
    &[&[WRITE, READ]],
    &[&[WRITE, "SELECT 1", WRITE]],
    // Errors.
    &[&["SELECT 1/0"], &[READ]],
    &[&["BEGIN"], &["SELECT 1/0"], &["ROLLBACK"], &[READ]],
    &[&["SELEC 1"], &[READ]],
];

#[test]
fn parsed_and_run_later() -> Result<()> {
    create_database("extended", SETUP)?;
    let programs: Vec<Program> = std::iter::once(REFERENCE)
        .chain(SCRIPTS.iter().copied())
        .map(program)
        .collect();
    let group = Group {
        database: "extended",
        settings: &[],
        safer: &["D3", "re-homed"],
        exact: &["D3", "re-homed"],
    };
    let seen = group.run(&programs)?;
    let reads = programs[0].units().into_iter().zip(&seen[0]);
    let reads = reads.filter(|(sql, _)| sql.contains("SELECT") || sql.contains("Run"));
    let reads: Vec<String> = reads.map(|(_, seen)| nodes(seen)).collect();
    assert_eq!(
        reads[1..].join(" "),
        "0 0 1 0 1",
        "Pgpool-II's reads after the Parse"
    );
    Ok(())
}
