//! `pgsteer explain`: asks a running proxy where a statement would go, and why.

use anyhow::{Context, Result};
use pgsteer_control::client;

use crate::cli::{ExplainArgs, say};

/// Asks and prints.
pub(crate) fn run(args: &ExplainArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let question = format!("EXPLAIN ROUTE {}", args.sql);
    let rows = runtime
        .block_on(client::ask(&args.proxy.target(), &question))
        .context("no answer")?;
    say(&if args.json {
        as_json(&rows)
    } else {
        as_table(&rows)
    });
    Ok(())
}

/// Items, right-aligned, and their values.
fn as_table(rows: &[Vec<String>]) -> String {
    let width = rows.iter().map(|row| item(row).len()).max().unwrap_or(0);
    let line = |row: &Vec<String>| format!("{:>width$}  {}", item(row), value(row));
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A list of objects with one field, because an item may be there more than once.
fn as_json(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("  {{{}: {}}}", quote(item(row)), quote(value(row)));
    let lines: Vec<_> = rows.iter().map(line).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}

fn item(row: &[String]) -> &str {
    row.first().map_or("", String::as_str)
}

fn value(row: &[String]) -> &str {
    row.get(1).map_or("", String::as_str)
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_as_table_and_as_json() {
        let row = |item: &str, value: &str| vec![item.to_owned(), value.to_owned()];
        let rows = [row("node", "1"), row("rule", "as \"said\"\n")];
        assert_eq!(as_table(&rows[..1]), "node  1");
        assert_eq!(
            as_json(&rows),
            "[\n  {\"node\": \"1\"},\n  {\"rule\": \"as \\\"said\\\"\\u000a\"}\n]"
        );
    }
}
