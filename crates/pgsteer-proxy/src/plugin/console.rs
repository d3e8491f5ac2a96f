//! Orders to a running proxy about its plugins, and the list of them: what can be typed into its
//! console, without a client for PostgreSQL.

use anyhow::{Context, Result};
use pgsteer_control::client::{self, Answer, AskError};
use pgsteer_core::admin::Order;
use serde_json::{Map, Value, json};

use super::args::{ListArgs, OrderArgs, ShadowArgs, TellArgs};
use super::{Report, shown, usage};
use crate::cli::ProxyArgs;

/// An order that is one word.
pub(crate) fn order(args: &OrderArgs, verb: &str) -> Result<Report> {
    send(&args.proxy, &format!("PLUGIN {} {verb}", name(&args.name)?))
}

/// Another way for the next version into force.
pub(crate) fn shadow(args: &ShadowArgs) -> Result<Report> {
    let order = format!("PLUGIN {} SHADOW {}", name(&args.name)?, args.share);
    send(&args.proxy, &order)
}

fn send(proxy: &ProxyArgs, order: &str) -> Result<Report> {
    Order::parse(order).map_err(usage)?;
    Ok(lines(&ask(proxy, &format!("PGSTEER {order}"))?))
}

/// A command for the plugin itself.
pub(crate) fn tell(args: &TellArgs) -> Result<Report> {
    let text = args.text.replace('\'', "''");
    let command = format!("PGSTEER PLUGIN {} TELL '{text}'", name(&args.name)?);
    Ok(lines(&ask(&args.proxy, &command)?))
}

/// What the proxy answered, line by line.
fn lines(answer: &Answer) -> Report {
    let lines: Vec<&str> = answer.rows.iter().map(|row| first(row)).collect();
    Report::good(lines.join("\n"), json!({ "result": lines }))
}

/// The plugins of the proxy.
pub(crate) fn list(args: &ListArgs) -> Result<Report> {
    let answer = ask(&args.proxy, "SHOW pool_plugins")?;
    let object = |row: &Vec<String>| {
        let pairs = answer.columns.iter().zip(row);
        let pairs = pairs.map(|(name, value)| (name.clone(), json!(value)));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    let all: Vec<Value> = answer.rows.iter().map(object).collect();
    Ok(Report::good(listed(&answer), Value::Array(all)))
}

/// The columns that fit a screen, and the reasons below.
fn listed(answer: &Answer) -> String {
    let place = |column: &str| answer.columns.iter().position(|name| name == column);
    let cell = |row: &Vec<String>, column: &str| {
        let text = place(column).and_then(|index| row.get(index));
        text.cloned().unwrap_or_default()
    };
    let known = SHOWN.iter().filter(|column| place(column).is_some());
    let mut rows = vec![known.clone().map(|c| (*c).to_owned()).collect::<Vec<_>>()];
    for row in &answer.rows {
        rows.push(known.clone().map(|column| cell(row, column)).collect());
    }
    let mut text = shown::table(&rows);
    for row in &answer.rows {
        let (file, reason) = (cell(row, "file"), cell(row, "reason"));
        if !reason.is_empty() {
            text.push_str(&format!("\n{file}: {reason}"));
        }
    }
    text
}

const SHOWN: [&str; 10] = [
    "file", "state", "version", "hooks", "calls", "cached", "failures", "refusals", "rewrites",
    "pinned",
];

/// Asks, and waits for the answer.
pub(super) fn ask(proxy: &ProxyArgs, command: &str) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(client::ask_table(&proxy.target(), command)) {
        Ok(answer) => Ok(answer),
        Err(refused @ AskError::Refused { .. }) => Err(refused.into()),
        Err(other) => Err(other).context("no answer"),
    }
}

/// The first column.
pub(super) fn first(row: &[String]) -> &str {
    row.first().map_or("", String::as_str)
}

/// A name as the console reads it: it stands among words.
fn name(given: &str) -> Result<&str> {
    let name = given.strip_suffix(".wasm").unwrap_or(given);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(usage(format!(
            "\"{given}\" is no name of a plugin; `pgsteer plugin list` shows them"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        assert_eq!(name("10-mine.wasm").expect("a name"), "10-mine");
        for odd in ["", "a b", "x';", "../x"] {
            assert!(name(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_list_has_what_fits_and_the_reasons() {
        let texts = |row: &[&str]| row.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let answer = Answer {
            columns: texts(&["file", "sha256", "state", "calls", "cached", "reason"]),
            rows: vec![
                texts(&["10-a", "abc", "live", "12", "", ""]),
                texts(&[
                    "20-b",
                    "def",
                    "refused",
                    "",
                    "",
                    "refused at stage inspect: x",
                ]),
            ],
        };
        assert_eq!(
            listed(&answer),
            "file  state    calls\n10-a  live     12\n20-b  refused\n\
             20-b: refused at stage inspect: x"
        );
    }
}
