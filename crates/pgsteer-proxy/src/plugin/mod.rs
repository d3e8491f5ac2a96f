//! `pgsteer plugin`: tools for those who write plugins, and orders to those that run.
//!
//! Every command makes a [`Report`], which is printed as text or as JSON. Exit codes: 0 good, 1 the
//! plugin, a case or the proxy says no, 2 bad usage.

mod args;
mod ask;
mod bench;
mod build;
mod cases;
mod check;
mod compile;
mod console;
mod expected;
mod failover;
mod inspect;
mod lock;
mod new;
mod question;
mod record;
mod replay;
mod run;
mod shown;
mod source;
mod test;
mod told;
mod vendor;

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

pub(crate) use args::PluginArgs;
use args::PluginCommand;

use crate::cli::{complain, say};

/// What a command has to say.
#[derive(Debug)]
pub(crate) struct Report {
    verdict: Verdict,
    /// For people.
    text: String,
    /// For programs.
    json: Value,
}

/// Whether what was looked at is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

impl Verdict {
    fn when(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

impl Report {
    fn good(text: impl Into<String>, json: Value) -> Self {
        Self {
            verdict: Verdict::Good,
            text: text.into(),
            json,
        }
    }
}

/// The command makes no sense as it was typed, or names something that is not there.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// Runs a command and prints what it has to say.
pub(crate) fn run(args: &PluginArgs) -> ExitCode {
    match perform(&args.command, args.json) {
        Ok(report) => {
            let text = if args.json {
                pretty(&report.json)
            } else {
                report.text
            };
            if !text.is_empty() {
                say(&text);
            }
            match report.verdict {
                Verdict::Good => ExitCode::SUCCESS,
                Verdict::Bad => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            let text = format!("{error:#}");
            if args.json {
                say(&pretty(&json!({ "error": text })));
            } else {
                complain(&format!("pgsteer: {text}"));
            }
            match error.downcast_ref::<Usage>() {
                Some(_) => ExitCode::from(2),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn perform(command: &PluginCommand, json: bool) -> Result<Report> {
    match command {
        PluginCommand::New(args) => new::run(args),
        PluginCommand::Build(args) => build::run(args, json),
        PluginCommand::Check(args) => check::run(args),
        PluginCommand::Inspect(args) => inspect::run(args),
        PluginCommand::Run(args) => run::run(args),
        PluginCommand::Test(args) => test::run(args),
        PluginCommand::Bench(args) => bench::run(args),
        PluginCommand::Record(args) => record::run(args),
        PluginCommand::Replay(args) => replay::run(args),
        PluginCommand::Compile(args) => compile::run(args),
        PluginCommand::List(args) => console::list(args),
        PluginCommand::Rollback(args) => console::order(args, "ROLLBACK"),
        PluginCommand::Pin(args) => console::order(args, "PIN"),
        PluginCommand::Unpin(args) => console::order(args, "UNPIN"),
        PluginCommand::Disable(args) => console::order(args, "DISABLE"),
        PluginCommand::Enable(args) => console::order(args, "ENABLE"),
        PluginCommand::Promote(args) => console::order(args, "PROMOTE"),
        PluginCommand::Shadow(args) => console::shadow(args),
        PluginCommand::Tell(args) => console::tell(args),
    }
}

fn pretty(json: &Value) -> String {
    // A value of ours always has a text.
    serde_json::to_string_pretty(json).unwrap_or_default()
}
