//! `pgsteer plugin record`: the next decisions of a running proxy, one JSON object a line.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use pgsteer_core::admin::Order;
use serde_json::json;

use super::args::RecordArgs;
use super::console::{ask, first};
use super::{Report, shown, usage};
use crate::cli::complain;

/// Runs the command.
pub(crate) fn run(args: &RecordArgs) -> Result<Report> {
    let values = if args.values { " WITH VALUES" } else { "" };
    let order = format!("RECORD {}{values}", args.number);
    Order::parse(&order).map_err(usage)?;
    let number = shown::count(args.number.into());
    complain(&format!("waiting for the next {number} decisions"));
    let answer = ask(&args.proxy, &format!("PGSTEER {order}"))?;
    let mut lines = String::new();
    for row in &answer.rows {
        lines.push_str(first(row));
        lines.push('\n');
    }
    // Remarks begin with `#`.
    let is_decision = |row: &&Vec<String>| first(row).starts_with('{');
    let count = answer.rows.iter().filter(is_decision).count();
    let Some(output) = &args.output else {
        return Ok(Report::good(lines.trim_end(), parsed(&lines)));
    };
    write(output, &lines)?;
    let what = if args.values {
        "with literals and the values of parameters: keep it like a password"
    } else {
        "without literals and values"
    };
    let output = output.display();
    Ok(Report::good(
        format!("{output}: {}, {what}", shown::plural(count, "decision")),
        json!({ "file": output.to_string(), "decisions": count, "values": args.values }),
    ))
}

/// A list of what is in the lines.
fn parsed(lines: &str) -> serde_json::Value {
    let decisions = lines.lines().filter(|line| line.starts_with('{'));
    let parsed = decisions.map(|line| {
        let value = serde_json::from_str(line);
        value.unwrap_or_else(|_| serde_json::Value::from(line))
    });
    parsed.collect()
}

/// Only its owner reads what was said to the databases.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
